/* A device of plain loops, with just what the reducer calls: its tests then say nothing about tensor/cpu. */
#pragma once
#include "tensor/device.h"

#include <stdlib.h>
#include <string.h>

static ls_status plain_allocate(ls_device *device, size_t bytes, void **block)
{
    (void)device;
    *block = aligned_alloc(64, (bytes + 63) / 64 * 64);
    return *block ? LS_OK : ls_fail(LS_EMEM, "no memory for %zu bytes", bytes);
}

static void plain_release(ls_device *device, void *block, size_t bytes)
{
    (void)device, (void)bytes;
    free(block);
}

static void plain_carry(ls_device *device, int64_t n, const float *x, int levels, const float *const *level, float *dst)
{
    (void)device;
    for (int64_t i = 0; i < n; i++) {
        float sum = x[i];
        for (int l = 0; l < levels; l++)
            sum += level[l][i];
        dst[i] = sum;
    }
}

static void plain_chunk_squares(ls_device *device, int64_t n, const float *x, double *sums)
{
    (void)device;
    for (int64_t begin = 0; begin < n; begin += LS_CHUNK) {
        double sum = 0;
        for (int64_t i = begin; i < n && i < begin + LS_CHUNK; i++)
            sum += (double)x[i] * (double)x[i];
        sums[begin / LS_CHUNK] = sum;
    }
}

static void plain_move(ls_device *device, size_t bytes, const void *x, void *y)
{
    (void)device;
    if (bytes)
        memmove(y, x, bytes);
}

static ls_device plain_device(void)
{
    return (ls_device){.name = "plain",
                       .allocate = plain_allocate,
                       .release = plain_release,
                       .move = plain_move,
                       .carry = plain_carry,
                       .chunk_squares = plain_chunk_squares};
}
