/* The one way to start a kernel: under nvcc <<<>>>; under the host emulation of tests/cudahost/ (LS_CUDAHOST), whose
 * headers stand in for CUDA's, a call of its scheduler. Kernels are plain CUDA C++: static shared arrays, or one dynamic
 * array by LS_DYNAMIC_SHARED; barriers, warp shuffles and votes, WMMA. No atomics on floats: every sum has one order. */
#pragma once
#include <cuda_runtime.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#ifdef LS_CUDAHOST
/* Arguments are taken at the call, as <<<>>> does: the kernel may run later. */
template <typename F, typename... A> static inline auto ls_bound(F f, A... arguments)
{
    return [=] { f(arguments...); };
}
#define LS_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                      \
    cudahost::launch((grid), (block), (shared_bytes), (stream),                                                        \
                     ls_bound([](auto... argument) { (kernel)(argument...); }, __VA_ARGS__), #kernel, __FILE__, __LINE__)
#define LS_DYNAMIC_SHARED(type, name) type *name = cudahost::dynamic_shared()
#else
#define LS_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                      \
    (kernel)<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)
#define LS_DYNAMIC_SHARED(type, name)                                                                                  \
    extern __shared__ __align__(128) double ls_dynamic_shared[];                                                       \
    type *name = reinterpret_cast<type *>(ls_dynamic_shared)
#endif
