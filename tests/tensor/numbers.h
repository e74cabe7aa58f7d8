/* What the tests of the matrix kernels share: numbers from a formula, devices of several team sizes, and the two ways
 * to compare: bits, and the error relative to the norm of a reference in f64. */
#pragma once
#include "base/half.h"
#include "base/random.h"
#include "tensor/device.h"
#include "tests/tensor/stored_types.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static inline ls_device *device_of(int threads)
{
    ls_team *team;
    ls_device *device;
    cr_assert_eq(ls_team_create(&team, threads, 1), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_device_create_cpu(&device, team), LS_OK, "%s", ls_fail_sentence());
    return device;
}

static inline void device_done(ls_device *device)
{
    ls_team *team = device->team;
    device->free(device);
    ls_team_free(team);
}

static inline ls_arena *scratch_arena(void)
{
    ls_arena *arena;
    cr_assert_eq(ls_arena_create(&arena, "test", (size_t)4 << 30), LS_OK, "%s", ls_fail_sentence());
    return arena;
}

static inline void *array_of(ls_type type, int64_t count)
{
    void *x = calloc((size_t)(count ? count : 1),
                     ls_type_size(type)); /* zeros, and no more than asked for: ASan sees overruns */
    cr_assert_not_null(x);
    return x;
}

static inline double get(ls_type type, const void *x, int64_t i)
{
    if (type == LS_F64)
        return ((const double *)x)[i];
    if (type == LS_F32)
        return (double)((const float *)x)[i];
    if (type == LS_F16)
        return (double)ls_half_widen(((const uint16_t *)x)[i]);
    uint32_t bits = (uint32_t)((const uint16_t *)x)[i] << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return (double)y;
}

static inline void put(ls_type type, void *x, int64_t i, double value)
{
    float f = (float)value;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (type == LS_F64)
        ((double *)x)[i] = value;
    else if (type == LS_F32)
        ((float *)x)[i] = f;
    else if (type == LS_F16)
        ((uint16_t *)x)[i] = ls_half_narrow(f);
    else
        ((uint16_t *)x)[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Normal numbers times `spread`, a function of the seed and the place alone. */
static inline void *numbers(ls_type type, int64_t count, uint64_t seed, double spread)
{
    void *x = array_of(type, count);
    ls_random stream = {.seed = seed, .purpose = LS_RANDOM_TASK};
    for (int64_t i = 0; i < count; i++)
        put(type, x, i, spread * (double)ls_random_normal(&stream, (uint64_t)i));
    return x;
}

/* |x - want| / |want|, Euclidean; the plain norm of x where want is 0. */
static inline double relative_error(ls_type type, const void *x, const double *want, int64_t count)
{
    double error = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        double e = get(type, x, i) - want[i];
        error += e * e;
        norm += want[i] * want[i];
    }
    return sqrt(norm > 0 ? error / norm : error);
}

/* What results may be off by: of bf16 and f16 the rounding of one. */
static inline double tolerance(ls_type type)
{
    return type == LS_F64 ? 1e-12 : type == LS_F32 ? 1e-5 : type == LS_F16 ? 5e-4 : 4e-3;
}
