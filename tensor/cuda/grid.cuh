/* Places in grids, channels last, for convolution, pooling and upsampling. */
#pragma once
#include "tensor/cuda/cuda.cuh"

typedef struct {
    int64_t at[3];
} ls_place;

static inline __host__ __device__ int64_t ls_volume(const int64_t shape[3])
{
    return shape[0] * shape[1] * shape[2];
}

static inline __device__ ls_place ls_place_of(int64_t i, const int64_t shape[3])
{
    ls_place p;
    p.at[2] = i % shape[2], i /= shape[2];
    p.at[1] = i % shape[1];
    p.at[0] = i / shape[1];
    return p;
}

/* The position of x that position `out` of the result sees with tap `tap`; -1: it lies outside. */
static inline __device__ int64_t ls_seen(const ls_grid &g, ls_place out, ls_place tap)
{
    int64_t position = 0;
    for (int d = 0; d < 3; d++) {
        const int64_t i = out.at[d] * g.stride[d] + tap.at[d] * g.dilation[d] - g.padding[d];
        if (i < 0 || i >= g.in[d])
            return -1;
        position = position * g.in[d] + i;
    }
    return position;
}

/* The position of the result that sees position `in` of x with tap `tap`; -1: none does. */
static inline __device__ int64_t ls_seeing(const ls_grid &g, ls_place in, ls_place tap)
{
    int64_t position = 0;
    for (int d = 0; d < 3; d++) {
        const int64_t from = in.at[d] + g.padding[d] - tap.at[d] * g.dilation[d];
        if (from < 0 || from % g.stride[d] || from / g.stride[d] >= g.out[d])
            return -1;
        position = position * g.out[d] + from / g.stride[d];
    }
    return position;
}
