/* Where an element of a broadcast or permuted loop stands in its operands. */
#pragma once
#include "tensor/cuda/cuda.cuh"

/* One more than the greatest place that the strides reach: the elements of the array that is read. 0: nothing is. */
static inline int64_t ls_walk_reach(const ls_strides *s, const int64_t *stride)
{
    int64_t last = 0;
    for (int d = 0; d < s->ndim; d++) {
        if (s->shape[d] == 0)
            return 0;
        last += (s->shape[d] - 1) * stride[d];
    }
    return last + 1;
}

/* Places of element i in both operands. */
static inline __device__ void ls_walk_at(const ls_strides &s, int64_t i, int64_t *a, int64_t *b)
{
    *a = *b = 0;
    for (int d = s.ndim - 1; d > 0; d--) {
        const int64_t rest = i / s.shape[d], at = i - rest * s.shape[d];
        *a += at * s.stride_a[d];
        *b += at * s.stride_b[d];
        i = rest;
    }
    *a += i * s.stride_a[0];
    *b += i * s.stride_b[0];
}
