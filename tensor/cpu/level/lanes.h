/* The widest float vector of the instruction-set level that a source is being compiled for, and the few operations the
 * matrix kernels need of it. Sources in tensor/cpu/level/ are compiled once a level (ls_product_level in
 * tensor/cpu/CMakeLists.txt) and chosen at run time; a source that is compiled only once must not include this header.
 *
 * A kernel keeps its bits at every width by putting independent results into the lanes and never adding across them. */
#pragma once
#include <stdint.h>
#include <string.h>
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t lanes_i __attribute__((vector_size(4 * LANES)));
typedef uint32_t lanes_u __attribute__((vector_size(4 * LANES))); /* exponents wrap without being undefined */

#define LANES_INLINE static inline __attribute__((always_inline, unused))

/* Named so that tables of the levels do not collide: level_symbol(ls_product_kernels) is ls_product_kernels_avx2. */
#define LANES_PASTE(name, level)  name##_##level
#define LANES_SYMBOL(name, level) LANES_PASTE(name, level)
#define level_symbol(name)        LANES_SYMBOL(name, LS_LEVEL)

LANES_INLINE lanes lanes_load(const float *x)
{
    lanes y;
    memcpy(&y, x, sizeof y); /* one unaligned load */
    return y;
}

LANES_INLINE void lanes_store(float *y, lanes x)
{
    memcpy(y, &x, sizeof x);
}

/* x in every lane; subtracting +0 keeps every value, and is no instruction. */
LANES_INLINE lanes lanes_all(float x)
{
#if defined(LS_PAIRS)
    return (lanes)_mm512_set1_ps(x); /* two bf16 numbers, of which no arithmetic may touch the bits */
#else
    return x - (lanes){0};
#endif
}

/* a b + c, rounded once where the level has FMA (avx2 and up: equal bits), twice at `generic`. */
LANES_INLINE lanes lanes_fma(lanes a, lanes b, lanes c)
{
#if defined(__AVX512F__)
    return (lanes)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
    return (lanes)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* c plus the product of one unit of k (product.h): of two numbers, or with LS_PAIRS of two pairs of bf16 numbers. */
LANES_INLINE lanes lanes_add_product(lanes a, lanes b, lanes c)
{
#if defined(LS_PAIRS)
    return (lanes)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
#else
    return lanes_fma(a, b, c);
#endif
}

/* Where a comparison holds: a bit a lane with AVX-512, elsewhere all bits of the lane. */
#if defined(__AVX512F__)
typedef __mmask16 lanes_where;
#else
typedef lanes_i lanes_where;
#endif

/* Where the mask is set a, else b. */
LANES_INLINE lanes lanes_choose(lanes_where mask, lanes a, lanes b)
{
#if defined(__AVX512F__)
    return (lanes)_mm512_mask_blend_ps(mask, (__m512)b, (__m512)a);
#else
    return (lanes)((mask & (lanes_i)a) | (~mask & (lanes_i)b));
#endif
}

/* Where a < b, a == b, and neither is a NaN. */
LANES_INLINE lanes_where lanes_below(lanes a, lanes b)
{
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ);
#else
    return a < b;
#endif
}

LANES_INLINE lanes_where lanes_equal(lanes a, lanes b)
{
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ);
#else
    return a == b;
#endif
}

/* b where either is a NaN, as MAXPS. */
LANES_INLINE lanes lanes_max(lanes a, lanes b)
{
#if defined(__AVX512F__)
    return (lanes)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return lanes_choose(a > b, a, b);
#endif
}

/* e^x for x <= 0 and a little above (|x| < 87): 2^n times a polynomial of degree 6 on [-ln2/2, ln2/2] (Cephes' expf
 * coefficients), below 1.5 ulp. Under -87 the result is 0; NaN stays NaN. */
LANES_INLINE lanes lanes_exp(lanes x)
{
    const lanes magic = lanes_all(12582912.0f); /* 1.5 * 2^23: adding it rounds to the nearest integer */
    lanes shifted = lanes_fma(x, lanes_all(1.44269504088896341f), magic);
    lanes n = shifted - magic;
    lanes r = lanes_fma(n, lanes_all(-0.693359375f), x); /* ln 2 in two parts, the first exact in few bits */
    r = lanes_fma(n, lanes_all(2.12194440e-4f), r);
    lanes p = lanes_all(1.9875691500e-4f);
    p = lanes_fma(p, r, lanes_all(1.3981999507e-3f));
    p = lanes_fma(p, r, lanes_all(8.3334519073e-3f));
    p = lanes_fma(p, r, lanes_all(4.1665795894e-2f));
    p = lanes_fma(p, r, lanes_all(1.6666665459e-1f));
    p = lanes_fma(p, r, lanes_all(5.0000001201e-1f));
    p = lanes_fma(p, r * r, r) + 1.0f;
    lanes_u exponent =
        (lanes_u)shifted << 23; /* magic's own bits fall out; far below -87 it wraps, and the choice drops it */
    lanes y = (lanes)((lanes_u)p + exponent);
    y = lanes_choose(lanes_below(x, lanes_all(-87.0f)), (lanes){0}, y);
    return lanes_choose(lanes_equal(x, x), y, x);
}
