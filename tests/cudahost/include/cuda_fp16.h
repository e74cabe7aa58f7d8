/* IEEE half precision as CUDA names it: storage, conversions (to nearest, ties to even; NaN is 0x7FFF) and arithmetic,
 * which converts to float, computes, and rounds, as the GPU's own half instructions do for these operations. */
#ifndef CUDAHOST_CUDA_FP16_H
#define CUDAHOST_CUDA_FP16_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
#include <cudahost/arithmetic.h>

typedef struct __attribute__((aligned(2))) {
    unsigned short x;
} __half_raw;

namespace cudahost
{
static inline unsigned short fp16_bits(float f)
{
    uint32_t u = same_bits<uint32_t>(f), sign = u >> 16 & 0x8000u, size = u & 0x7fffffffu;
    if (f != f)
        return 0x7fff;
    if (size >= 0x477ff000u) /* 65520 and above round to infinity */
        return (unsigned short)(sign | 0x7c00u);
    if (size < 0x38800000u) /* below 2^-14: halves are multiples of 2^-24, and this sum rounds to one */
        return (unsigned short)(sign | (same_bits<uint32_t>(same_bits<float>(size) + 0.5f) - 0x3f000000u));
    size -= 112u << 23;
    return (unsigned short)(sign | (size + 0xfffu + (size >> 13 & 1u)) >> 13);
}

static inline float fp16_value(unsigned short bits)
{
    uint32_t sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, fraction = bits & 0x3ffu;
    if (exponent == 0)
        return same_bits<float>(sign | same_bits<uint32_t>((float)fraction * 0x1p-24f));
    if (exponent == 31)
        return same_bits<float>(sign | 0x7f800000u | fraction << 13);
    return same_bits<float>(sign | (exponent + 112u) << 23 | fraction << 13);
}
} // namespace cudahost

struct __attribute__((aligned(2))) __half {
    unsigned short bits;

    __half() = default;
    __half(__half_raw raw) : bits(raw.x)
    {
    }
    __half(float f) : bits(cudahost::fp16_bits(f))
    {
    }
    __half(double f) : bits(cudahost::fp16_bits((float)f))
    {
    }
    __half(int i) : bits(cudahost::fp16_bits((float)i))
    {
    }
    operator float() const
    {
        return cudahost::fp16_value(bits);
    }
    operator __half_raw() const
    {
        return {bits};
    }
};

struct __attribute__((aligned(4))) __half2 {
    __half x, y;
};

typedef __half half;
typedef __half2 half2;

static inline __half __float2half(float f)
{
    return __half(f);
}

static inline __half __float2half_rn(float f)
{
    return __half(f);
}

static inline __half __double2half(double f)
{
    return __half((float)f);
}

static inline float __half2float(__half b)
{
    return (float)b;
}

static inline unsigned short __half_as_ushort(__half b)
{
    return b.bits;
}

static inline __half __ushort_as_half(unsigned short bits)
{
    return __half(__half_raw{bits});
}

static inline __half2 make_half2(__half x, __half y)
{
    return {x, y};
}

static inline __half2 __halves2half2(__half x, __half y)
{
    return {x, y};
}

static inline __half2 __floats2half2_rn(float x, float y)
{
    return {__half(x), __half(y)};
}

static inline __half2 __float22half2_rn(float2 f)
{
    return {__half(f.x), __half(f.y)};
}

static inline __half2 __float2half2_rn(float f)
{
    return {__half(f), __half(f)};
}

static inline float2 __half22float2(__half2 b)
{
    return make_float2((float)b.x, (float)b.y);
}

static inline __half __low2half(__half2 b)
{
    return b.x;
}

static inline __half __high2half(__half2 b)
{
    return b.y;
}

static inline float __low2float(__half2 b)
{
    return (float)b.x;
}

static inline float __high2float(__half2 b)
{
    return (float)b.y;
}

static inline __half __hadd(__half a, __half b)
{
    return __half((float)a + (float)b);
}

static inline __half __hsub(__half a, __half b)
{
    return __half((float)a - (float)b);
}

static inline __half __hmul(__half a, __half b)
{
    return __half((float)a * (float)b);
}

#define CUDAHOST_OPERATOR(op)                                                                                          \
    static inline __half operator op(__half a, __half b)                                                               \
    {                                                                                                                  \
        return __half((float)a op(float) b);                                                                           \
    }                                                                                                                  \
    static inline __half &operator op##=(__half &a, __half b)                                                          \
    {                                                                                                                  \
        return a = a op b;                                                                                             \
    }
CUDAHOST_OPERATOR(+)
CUDAHOST_OPERATOR(-)
CUDAHOST_OPERATOR(*)
CUDAHOST_OPERATOR(/)
#undef CUDAHOST_OPERATOR

#define CUDAHOST_OPERATOR(op)                                                                                          \
    static inline bool operator op(__half a, __half b)                                                                 \
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

static inline __half operator-(__half a)
{
    a.bits = (unsigned short)(a.bits ^ 0x8000u);
    return a;
}
#endif
#endif
