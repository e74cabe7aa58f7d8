/* y[i] = f(i, inputs' element i): the loop of every elementwise entry. */
#pragma once
#include "tensor/cuda/cuda.cuh"

template <typename T, int IN> struct ls_inputs {
    const T *x[IN > 0 ? IN : 1];
};

/* A thread computes ls_pack<T>::COUNT elements; `aligned`: every array begins at a multiple of 16 bytes. */
template <typename T, int IN, typename F> __global__ void ls_map_kernel(int64_t n, bool aligned, ls_inputs<T, IN> in, T *y, F f)
{
    typedef ls_pack<T> pack;
    typedef ls_wide<T> W;
    const int64_t begin = ls_thread() * pack::COUNT;
    W v[IN > 0 ? IN : 1];
    if (aligned && begin + pack::COUNT <= n) {
        pack read[IN > 0 ? IN : 1], made;
        for (int k = 0; k < IN; k++)
            read[k] = *reinterpret_cast<const pack *>(in.x[k] + begin);
        for (int j = 0; j < pack::COUNT; j++) {
            for (int k = 0; k < IN; k++)
                v[k] = ls_get(read[k].v, j);
            ls_put(made.v, j, f(begin + j, v));
        }
        *reinterpret_cast<pack *>(y + begin) = made;
        return;
    }
    for (int64_t i = begin; i < begin + pack::COUNT && i < n; i++) {
        for (int k = 0; k < IN; k++)
            v[k] = ls_get(in.x[k], i);
        ls_put(y, i, f(i, v));
    }
}

template <typename T, int IN, typename F> static inline void ls_map(ls_cuda_call &call, int64_t n, ls_inputs<T, IN> in, T *y, F f)
{
    bool aligned = reinterpret_cast<uintptr_t>(y) % 16 == 0;
    for (int k = 0; k < IN; k++)
        aligned &= reinterpret_cast<uintptr_t>(in.x[k]) % 16 == 0;
    const int64_t threads = (n + ls_pack<T>::COUNT - 1) / ls_pack<T>::COUNT;
    LS_CUDA_RUN(call, ls_map_kernel, ls_cuda_blocks(threads, LS_CUDA_BLOCK), LS_CUDA_BLOCK, n, aligned, in, y, f);
}
