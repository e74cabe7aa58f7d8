/* Numbers in device memory and what they are computed in; sums of a block of threads in one fixed order. */
#pragma once
#include "tensor/cuda/launch.cuh"

#include <math.h>
#include <stdint.h>

typedef __nv_bfloat16 ls_bf16;
typedef __half ls_f16;

/* f32, bf16 and f16 are computed in f32, f64 in f64. */
template <typename T> struct ls_wide_of { typedef float type; };
template <> struct ls_wide_of<double> { typedef double type; };
template <typename T> using ls_wide = typename ls_wide_of<T>::type;

static inline __device__ float ls_get(const float *x, int64_t i) { return x[i]; }
static inline __device__ double ls_get(const double *x, int64_t i) { return x[i]; }
static inline __device__ float ls_get(const ls_bf16 *x, int64_t i) { return __bfloat162float(x[i]); }
static inline __device__ float ls_get(const ls_f16 *x, int64_t i) { return __half2float(x[i]); }
static inline __device__ void ls_put(float *y, int64_t i, float value) { y[i] = value; }
static inline __device__ void ls_put(double *y, int64_t i, double value) { y[i] = value; }
static inline __device__ void ls_put(ls_bf16 *y, int64_t i, float value) { y[i] = __float2bfloat16(value); /* to nearest even */ }
static inline __device__ void ls_put(ls_f16 *y, int64_t i, float value) { y[i] = __float2half_rn(value); }

/* A number as memory of type T would hold it. */
template <typename T, typename W> static inline __device__ W ls_rounded(W value)
{
    T held[1];
    ls_put(held, 0, value);
    return ls_get(held, 0);
}

/* As many elements as one load of 16 bytes brings. */
template <typename T> struct alignas(16) ls_pack {
    enum { COUNT = 16 / sizeof(T) };
    T v[COUNT];
};

/* What two numbers become on the way to a block's one; all are symmetric, so a butterfly gives every lane the same bits. */
struct ls_plus {
    template <typename W> __device__ W operator()(W a, W b) const { return a + b; }
};
struct ls_greater { /* a NaN wins */
    template <typename W> __device__ W operator()(W a, W b) const { return a > b || a != a ? a : b; }
};
struct ls_less {
    template <typename W> __device__ W operator()(W a, W b) const { return a < b || a != a ? a : b; }
};

enum { LS_WARP = 32, LS_WARPS_MOST = 32 };

template <typename W, typename Op> __device__ inline W ls_warp_all(W value, Op op)
{
    for (int distance = LS_WARP / 2; distance > 0; distance /= 2)
        value = op(value, __shfl_xor_sync(0xffffffffu, value, distance));
    return value;
}

/* The threads' values joined, in every thread: lanes by a butterfly, then warps by another one. All threads of the block
 * must call it; there are whole warps. `nothing` joined with a value is that value. */
template <typename W, typename Op> __device__ inline W ls_block_all(W value, W nothing, Op op)
{
    __shared__ W of_warp[LS_WARPS_MOST];
    const int warps = (int)blockDim.x / LS_WARP, lane = (int)threadIdx.x % LS_WARP;
    value = ls_warp_all(value, op);
    if (warps == 1)
        return value;
    __syncthreads(); /* the last call's readers have gone */
    if (lane == 0)
        of_warp[threadIdx.x / LS_WARP] = value;
    __syncthreads();
    return ls_warp_all(lane < warps ? of_warp[lane] : nothing, op);
}

template <typename W> __device__ inline W ls_block_sum(W value)
{
    return ls_block_all(value, (W)0, ls_plus());
}
