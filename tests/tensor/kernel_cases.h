/* Every entry of the CPU device but the matrix products, each run once on drawn numbers: for tests that compare levels
 * and threads by memcmp. */
#pragma once
#include "tensor/cpu/cpu.h"

typedef struct {
    const char *name;
    /* Fills out [at most `room` bytes] with all that the entry wrote, for about `n` elements of `type`; returns how many
     * bytes. The same inputs for the same n and type. */
    size_t (*run)(ls_device *device, ls_type type, int64_t n, void *out);
} kernel_case;
extern const kernel_case kernel_cases[];
extern const int kernel_case_count;
