/* Every entry of the device's table but the matrix products, run on drawn numbers of odd sizes: for tests that compare
 * devices, levels and threads. */
#pragma once
#include "tensor/device.h"

enum { KERNEL_ARRAYS = 256 };

/* What the entries wrote, array by array; what lies between two arrays is zero. */
typedef struct {
    char *bytes;
    size_t used, room;
    int arrays;
    struct {
        const char *entry;
        int variant; /* the operator's number, or which call it was */
        ls_type type;
        int64_t count;
        size_t at;
    } array[KERNEL_ARRAYS];
} kernel_output;

typedef struct {
    const char *name;
    /* For about `n` elements of `type`. The same inputs for the same n and type, whatever the device. */
    void (*run)(ls_device *device, ls_type type, int64_t n, kernel_output *out);
} kernel_case;
extern const kernel_case kernel_cases[]; /* the last one is "flat buffers", which the reference device does not have */
extern const int kernel_case_count;

kernel_output kernel_output_create(void);
void kernel_output_free(kernel_output *out);
/* Fails the test where numbers differ by more than `relative` of their size and, near 0, `absolute`; a NaN agrees with a NaN
 * alone. */
void kernel_output_compare(const kernel_output *want, const kernel_output *got, ls_type type, double relative, double absolute);
