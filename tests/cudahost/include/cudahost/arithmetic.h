/* CUDA's arithmetic that C++ lacks: intrinsics, bit counts, min and max over any two numbers of a type, cached loads.
 * The fast approximations (__expf and its kin) are the exact functions here: their errors must be judged on paper. */
#ifndef CUDAHOST_ARITHMETIC_H
#define CUDAHOST_ARITHMETIC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

namespace cudahost
{
template <class To, class From> static inline To same_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From), "same size");
    To to;
    __builtin_memcpy(&to, &from, sizeof to);
    return to;
}
} // namespace cudahost

#define CUDAHOST_MIN_MAX(type)                                                                                         \
    static inline type min(type a, type b)                                                                             \
    {                                                                                                                  \
        return b < a ? b : a;                                                                                          \
    }                                                                                                                  \
    static inline type max(type a, type b)                                                                             \
    {                                                                                                                  \
        return a < b ? b : a;                                                                                          \
    }
CUDAHOST_MIN_MAX(int)
CUDAHOST_MIN_MAX(unsigned int)
CUDAHOST_MIN_MAX(long)
CUDAHOST_MIN_MAX(unsigned long)
CUDAHOST_MIN_MAX(long long)
CUDAHOST_MIN_MAX(unsigned long long)

/* A NaN loses against a number, as fminf and fmaxf have it. */
static inline float min(float a, float b)
{
    return fminf(a, b);
}

static inline float max(float a, float b)
{
    return fmaxf(a, b);
}

static inline double min(double a, double b)
{
    return fmin(a, b);
}

static inline double max(double a, double b)
{
    return fmax(a, b);
}

static inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}

static inline double rsqrt(double x)
{
    return 1.0 / sqrt(x);
}

static inline float __saturatef(float x)
{
    return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f;
}

/* Macros: the host's C library has functions of its own under some of these names. */
#define __expf(x)          expf(x)
#define __exp10f(x)        exp10f(x)
#define __logf(x)          logf(x)
#define __log2f(x)         log2f(x)
#define __log10f(x)        log10f(x)
#define __sinf(x)          sinf(x)
#define __cosf(x)          cosf(x)
#define __tanf(x)          tanf(x)
#define __tanhf(x)         tanhf(x)
#define __powf(x, y)       powf(x, y)
#define __sincosf(x, s, c) sincosf(x, s, c)
#define __fdividef(x, y)   ((x) / (y))
#define fdividef(x, y)     ((x) / (y))

#define CUDAHOST_ROUNDED(type, prefix, suffix, fused, root)                                                            \
    static inline type prefix##add_rn(type a, type b)                                                                  \
    {                                                                                                                  \
        return a + b;                                                                                                  \
    }                                                                                                                  \
    static inline type prefix##sub_rn(type a, type b)                                                                  \
    {                                                                                                                  \
        return a - b;                                                                                                  \
    }                                                                                                                  \
    static inline type prefix##mul_rn(type a, type b)                                                                  \
    {                                                                                                                  \
        return a * b;                                                                                                  \
    }                                                                                                                  \
    static inline type prefix##div_rn(type a, type b)                                                                  \
    {                                                                                                                  \
        return a / b;                                                                                                  \
    }                                                                                                                  \
    static inline type prefix##sqrt_rn(type a)                                                                         \
    {                                                                                                                  \
        return root(a);                                                                                                \
    }                                                                                                                  \
    static inline type prefix##rcp_rn(type a)                                                                          \
    {                                                                                                                  \
        return 1 / a;                                                                                                  \
    }                                                                                                                  \
    static inline type __fma##suffix##_rn(type a, type b, type c)                                                      \
    {                                                                                                                  \
        return fused(a, b, c);                                                                                         \
    }
CUDAHOST_ROUNDED(float, __f, f, fmaf, sqrtf)
CUDAHOST_ROUNDED(double, __d, , fma, sqrt)

/* Float to integer as the GPU does it: out of range clamps, NaN is 0. */
template <class I> static inline I cudahost_to_integer(double x, double low, double high, I lowest, I highest)
{
    return x != x ? 0 : x <= low ? lowest : x >= high ? highest : (I)x;
}

static inline int __float2int_rn(float x)
{
    return cudahost_to_integer<int>(rint((double)x), -2147483648.0, 2147483647.0, INT32_MIN, INT32_MAX);
}

static inline int __float2int_rz(float x)
{
    return cudahost_to_integer<int>(trunc((double)x), -2147483648.0, 2147483647.0, INT32_MIN, INT32_MAX);
}

static inline int __float2int_rd(float x)
{
    return cudahost_to_integer<int>(floor((double)x), -2147483648.0, 2147483647.0, INT32_MIN, INT32_MAX);
}

static inline int __float2int_ru(float x)
{
    return cudahost_to_integer<int>(ceil((double)x), -2147483648.0, 2147483647.0, INT32_MIN, INT32_MAX);
}

static inline unsigned __float2uint_rn(float x)
{
    return cudahost_to_integer<unsigned>(rint((double)x), 0.0, 4294967295.0, 0, UINT32_MAX);
}

static inline unsigned __float2uint_rz(float x)
{
    return cudahost_to_integer<unsigned>(trunc((double)x), 0.0, 4294967295.0, 0, UINT32_MAX);
}

static inline long long __float2ll_rn(float x)
{
    return cudahost_to_integer<long long>(rint((double)x), -0x1p63, 0x1p63, INT64_MIN, INT64_MAX);
}

static inline long long __double2ll_rn(double x)
{
    return cudahost_to_integer<long long>(rint(x), -0x1p63, 0x1p63, INT64_MIN, INT64_MAX);
}

static inline float __int2float_rn(int x)
{
    return (float)x;
}

static inline float __uint2float_rn(unsigned x)
{
    return (float)x;
}

static inline float __ll2float_rn(long long x)
{
    return (float)x;
}

static inline float __ull2float_rn(unsigned long long x)
{
    return (float)x;
}

static inline double __ll2double_rn(long long x)
{
    return (double)x;
}

static inline float __double2float_rn(double x)
{
    return (float)x;
}

static inline int __float_as_int(float x)
{
    return cudahost::same_bits<int>(x);
}

static inline unsigned __float_as_uint(float x)
{
    return cudahost::same_bits<unsigned>(x);
}

static inline float __int_as_float(int x)
{
    return cudahost::same_bits<float>(x);
}

static inline float __uint_as_float(unsigned x)
{
    return cudahost::same_bits<float>(x);
}

static inline long long __double_as_longlong(double x)
{
    return cudahost::same_bits<long long>(x);
}

static inline double __longlong_as_double(long long x)
{
    return cudahost::same_bits<double>(x);
}

static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

static inline int __popcll(unsigned long long x)
{
    return __builtin_popcountll(x);
}

static inline int __clz(int x)
{
    return x == 0 ? 32 : __builtin_clz((unsigned)x);
}

static inline int __clzll(long long x)
{
    return x == 0 ? 64 : __builtin_clzll((unsigned long long)x);
}

static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}

static inline int __ffsll(long long x)
{
    return __builtin_ffsll(x);
}

static inline unsigned __brev(unsigned x)
{
    unsigned y = 0;
    for (int i = 0; i < 32; i++)
        y |= (x >> i & 1u) << (31 - i);
    return y;
}

static inline int __mulhi(int a, int b)
{
    return (int)((int64_t)a * b >> 32);
}

static inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)((uint64_t)a * b >> 32);
}

static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long)((__extension__(unsigned __int128) a * b) >> 64);
}

static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift)
{
    return (unsigned)(((uint64_t)high << 32 | low) << (shift & 31) >> 32);
}

static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift)
{
    return (unsigned)(((uint64_t)high << 32 | low) >> (shift & 31));
}

/* Loads and stores with a cache hint; the hint means nothing here. */
template <class T> static inline T __ldg(const T *address)
{
    return *address;
}

template <class T> static inline T __ldca(const T *address)
{
    return *address;
}

template <class T> static inline T __ldcg(const T *address)
{
    return *address;
}

template <class T> static inline T __ldcs(const T *address)
{
    return *address;
}

template <class T> static inline void __stcg(T *address, T value)
{
    *address = value;
}

template <class T> static inline void __stcs(T *address, T value)
{
    *address = value;
}

template <class T> static inline void __stwt(T *address, T value)
{
    *address = value;
}

#endif
