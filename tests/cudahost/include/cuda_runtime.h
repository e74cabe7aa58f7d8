/* The emulation's <cuda_runtime.h>: the runtime's functions, and in C++ what a kernel's source needs. */
#ifndef CUDAHOST_CUDA_RUNTIME_H
#define CUDAHOST_CUDA_RUNTIME_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
#include <cudahost/kernel.h>
#include <cudahost/warp.h>
#include <cudahost/arithmetic.h>
#include <cudahost/launch.h>

template <class T> static inline cudaError_t cudaMalloc(T **pointer, size_t bytes)
{
    return cudaMalloc(reinterpret_cast<void **>(pointer), bytes);
}

template <class T> static inline cudaError_t cudaMallocAsync(T **pointer, size_t bytes, cudaStream_t stream)
{
    return cudaMallocAsync(reinterpret_cast<void **>(pointer), bytes, stream);
}

extern "C" cudaError_t cudahost_malloc_managed(void **pointer, size_t bytes, unsigned int flags);

template <class T>
static inline cudaError_t cudaMallocManaged(T **pointer, size_t bytes, unsigned int flags = cudaMemAttachGlobal)
{
    return cudahost_malloc_managed(reinterpret_cast<void **>(pointer), bytes, flags);
}

template <class T> static inline cudaError_t cudaMallocHost(T **pointer, size_t bytes)
{
    return cudaMallocHost(reinterpret_cast<void **>(pointer), bytes);
}

template <class T>
static inline cudaError_t cudaFuncSetAttribute(T *function, enum cudaFuncAttribute attribute, int value)
{
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(function), attribute, value);
}
#endif
#endif
