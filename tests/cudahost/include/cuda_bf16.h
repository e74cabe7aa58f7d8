/* bfloat16 as CUDA names it: storage, conversions (to nearest, ties to even; NaN is 0x7FFF) and arithmetic, which
 * converts to float, computes, and rounds, as the GPU's own bf16 instructions do for these operations. */
#ifndef CUDAHOST_CUDA_BF16_H
#define CUDAHOST_CUDA_BF16_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
#include <cudahost/arithmetic.h>

typedef struct __attribute__((aligned(2))) {
    unsigned short x;
} __nv_bfloat16_raw;

namespace cudahost
{
static inline unsigned short bf16_bits(float f)
{
    uint32_t u = same_bits<uint32_t>(f);
    if (f != f)
        return 0x7fff;
    return (unsigned short)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

static inline float bf16_value(unsigned short bits)
{
    return same_bits<float>((uint32_t)bits << 16);
}
} // namespace cudahost

struct __attribute__((aligned(2))) __nv_bfloat16 {
    unsigned short bits;

    __nv_bfloat16() = default;
    __nv_bfloat16(__nv_bfloat16_raw raw) : bits(raw.x)
    {
    }
    __nv_bfloat16(float f) : bits(cudahost::bf16_bits(f))
    {
    }
    __nv_bfloat16(double f) : bits(cudahost::bf16_bits((float)f))
    {
    }
    __nv_bfloat16(int i) : bits(cudahost::bf16_bits((float)i))
    {
    }
    operator float() const
    {
        return cudahost::bf16_value(bits);
    }
    operator __nv_bfloat16_raw() const
    {
        return {bits};
    }
};

struct __attribute__((aligned(4))) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

static inline __nv_bfloat16 __float2bfloat16(float f)
{
    return __nv_bfloat16(f);
}

static inline __nv_bfloat16 __float2bfloat16_rn(float f)
{
    return __nv_bfloat16(f);
}

static inline __nv_bfloat16 __double2bfloat16(double f)
{
    return __nv_bfloat16((float)f);
}

static inline float __bfloat162float(__nv_bfloat16 b)
{
    return (float)b;
}

static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 b)
{
    return b.bits;
}

static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits)
{
    return __nv_bfloat16(__nv_bfloat16_raw{bits});
}

static inline __nv_bfloat162 make_bfloat162(__nv_bfloat16 x, __nv_bfloat16 y)
{
    return {x, y};
}

static inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y)
{
    return {x, y};
}

static inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y)
{
    return {__nv_bfloat16(x), __nv_bfloat16(y)};
}

static inline __nv_bfloat162 __float22bfloat162_rn(float2 f)
{
    return {__nv_bfloat16(f.x), __nv_bfloat16(f.y)};
}

static inline __nv_bfloat162 __float2bfloat162_rn(float f)
{
    return {__nv_bfloat16(f), __nv_bfloat16(f)};
}

static inline float2 __bfloat1622float2(__nv_bfloat162 b)
{
    return make_float2((float)b.x, (float)b.y);
}

static inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 b)
{
    return b.x;
}

static inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 b)
{
    return b.y;
}

static inline float __low2float(__nv_bfloat162 b)
{
    return (float)b.x;
}

static inline float __high2float(__nv_bfloat162 b)
{
    return (float)b.y;
}

static inline __nv_bfloat16 __hadd(__nv_bfloat16 a, __nv_bfloat16 b)
{
    return __nv_bfloat16((float)a + (float)b);
}

static inline __nv_bfloat16 __hsub(__nv_bfloat16 a, __nv_bfloat16 b)
{
    return __nv_bfloat16((float)a - (float)b);
}

static inline __nv_bfloat16 __hmul(__nv_bfloat16 a, __nv_bfloat16 b)
{
    return __nv_bfloat16((float)a * (float)b);
}

#define CUDAHOST_OPERATOR(op)                                                                                          \
    static inline __nv_bfloat16 operator op(__nv_bfloat16 a, __nv_bfloat16 b)                                          \
    {                                                                                                                  \
        return __nv_bfloat16((float)a op(float) b);                                                                    \
    }                                                                                                                  \
    static inline __nv_bfloat16 &operator op##=(__nv_bfloat16 &a, __nv_bfloat16 b)                                     \
    {                                                                                                                  \
        return a = a op b;                                                                                             \
    }
CUDAHOST_OPERATOR(+)
CUDAHOST_OPERATOR(-)
CUDAHOST_OPERATOR(*)
CUDAHOST_OPERATOR(/)
#undef CUDAHOST_OPERATOR

#define CUDAHOST_OPERATOR(op)                                                                                          \
    static inline bool operator op(__nv_bfloat16 a, __nv_bfloat16 b)                                                   \
    {                                                                                                                  \
        return (float)a op(float) b;                                                                                   \
    }
CUDAHOST_OPERATOR(<)
CUDAHOST_OPERATOR(>)
CUDAHOST_OPERATOR(<=)
CUDAHOST_OPERATOR(>=)
CUDAHOST_OPERATOR(==)
CUDAHOST_OPERATOR(!=)
#undef CUDAHOST_OPERATOR

static inline __nv_bfloat16 operator-(__nv_bfloat16 a)
{
    a.bits = (unsigned short)(a.bits ^ 0x8000u);
    return a;
}
#endif
#endif
