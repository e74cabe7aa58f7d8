/* What CUDA adds to C++ inside a kernel: qualifiers, the built-in variables, block barriers, atomics on integers.
 *
 * A block's threads are fibers of one host thread, so `__shared__` is `static thread_local`: one copy for the block
 * that runs, at an address the checks can recognise. Float atomics are left out on purpose: their order is not fixed.
 */
#ifndef CUDAHOST_KERNEL_H
#define CUDAHOST_KERNEL_H

#include <stdint.h>
#include <stdio.h>
#include <assert.h>
#include <cuda_runtime_api.h>

#define __host__
#define __device__
#define __global__
#define __constant__
#define __shared__      static thread_local
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__    __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))

/* The place of a call in the kernel's source: the default value of a last argument. */
#define CUDAHOST_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

extern "C" {
/* Constant while a thread's code runs, as in CUDA; the emulation sets them when it switches threads. blockDim and
 * gridDim are not dim3, whose constructors would keep the compiler from treating them as constants. */
#ifndef CUDAHOST_RUNTIME
extern const uint3 threadIdx, blockIdx, blockDim, gridDim;
#endif

void cudahost_syncthreads(const char *file, int line);
int cudahost_syncthreads_count(int predicate, const char *file, int line);
void *cudahost_dynamic_shared(void);
void cudahost_trap(const char *file, int line) __attribute__((noreturn));
/* Tells the checks that `bytes` at `address` are read and written as one, in no order with other atomics. */
void cudahost_atomic(const void *address, size_t bytes);
}

static const int warpSize = 32;

namespace cudahost
{
/* The block's dynamic shared memory: `extern __shared__ float name[]` is float *name = cudahost::dynamic_shared(). */
struct dynamic_shared_pointer {
    template <class T> operator T *() const
    {
        return static_cast<T *>(cudahost_dynamic_shared());
    }
};

static inline dynamic_shared_pointer dynamic_shared()
{
    return {};
}

/* CUDA runs atomics one at a time; here a thread is never interrupted, so a plain read and write is one. */
template <class T, class F> __attribute__((no_sanitize("thread"))) static inline T atomically(T *address, F change)
{
    cudahost_atomic(address, sizeof *address);
    T old = *address;
    *address = change(old);
    return old;
}
} // namespace cudahost

static inline void __syncthreads(CUDAHOST_HERE)
{
    cudahost_syncthreads(file, line);
}

static inline int __syncthreads_count(int predicate, CUDAHOST_HERE)
{
    return cudahost_syncthreads_count(predicate, file, line);
}

static inline int __syncthreads_or(int predicate, CUDAHOST_HERE)
{
    return cudahost_syncthreads_count(predicate, file, line) != 0;
}

static inline int __syncthreads_and(int predicate, CUDAHOST_HERE)
{
    return cudahost_syncthreads_count(!predicate, file, line) == 0;
}

static inline void __trap(CUDAHOST_HERE)
{
    cudahost_trap(file, line);
}

static inline void __threadfence()
{
}

static inline void __threadfence_block()
{
}

#define CUDAHOST_ATOMICS(type)                                                                                         \
    static inline type atomicAdd(type *address, type value)                                                            \
    {                                                                                                                  \
        return cudahost::atomically(address, [=](type old) { return (type)(old + value); });                           \
    }                                                                                                                  \
    static inline type atomicMax(type *address, type value)                                                            \
    {                                                                                                                  \
        return cudahost::atomically(address, [=](type old) { return old > value ? old : value; });                     \
    }                                                                                                                  \
    static inline type atomicMin(type *address, type value)                                                            \
    {                                                                                                                  \
        return cudahost::atomically(address, [=](type old) { return old < value ? old : value; });                     \
    }                                                                                                                  \
    static inline type atomicOr(type *address, type value)                                                             \
    {                                                                                                                  \
        return cudahost::atomically(address, [=](type old) { return (type)(old | value); });                           \
    }                                                                                                                  \
    static inline type atomicAnd(type *address, type value)                                                            \
    {                                                                                                                  \
        return cudahost::atomically(address, [=](type old) { return (type)(old & value); });                           \
    }                                                                                                                  \
    static inline type atomicExch(type *address, type value)                                                           \
    {                                                                                                                  \
        return cudahost::atomically(address, [=](type) { return value; });                                             \
    }                                                                                                                  \
    static inline type atomicCAS(type *address, type expected, type value)                                             \
    {                                                                                                                  \
        return cudahost::atomically(address, [=](type old) { return old == expected ? value : old; });                 \
    }

CUDAHOST_ATOMICS(int)
CUDAHOST_ATOMICS(unsigned int)
CUDAHOST_ATOMICS(unsigned long long)

#endif
