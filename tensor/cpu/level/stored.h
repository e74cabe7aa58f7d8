/* Stored numbers, f32, bf16 or f16, as f32, and f32 rounded to bf16. `type` is a constant at each call. */
#pragma once
#include "base/half.h"
#include "base/type.h"
#include "tensor/cpu/level/lanes.h"

LANES_INLINE float element(ls_type type, const void *x, int64_t i)
{
    if (type == LS_F32)
        return ((const float *)x)[i];
    if (type == LS_F16)
#if defined(__F16C__)
        return _cvtsh_ss(((const uint16_t *)x)[i]);
#else
        return ls_half_widen(((const uint16_t *)x)[i]);
#endif
    uint32_t bits = (uint32_t)((const uint16_t *)x)[i] << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

/* ls_type_size for these, of which the compiler makes a constant. */
LANES_INLINE int64_t stored_size(ls_type type)
{
    return type == LS_F32 ? 4 : 2;
}

#if LANES >= 8
LANES_INLINE __m256 load_8(ls_type type, const void *x, int64_t i)
{
    if (type == LS_F32)
        return _mm256_loadu_ps((const float *)x + i);
    __m128i half = _mm_loadu_si128((const __m128i *)((const uint16_t *)x + i));
    if (type == LS_F16)
        return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

LANES_INLINE lanes load_lanes(ls_type type, const void *x, int64_t i)
{
#if LANES == 16
    if (type == LS_F32)
        return lanes_load((const float *)x + i);
    __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)((const uint16_t *)x + i));
    if (type == LS_F16)
        return (lanes)_mm512_cvtph_ps(half);
    return (lanes)_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
#else
    return (lanes)load_8(type, x, i);
#endif
}
#endif

/* To bf16, to nearest, ties to even; a NaN stays one, as in ls_kernels. */
LANES_INLINE uint16_t rounded_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(x != x ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#if LANES == 16
LANES_INLINE __m256i rounded_lanes(lanes x)
{
    const __m512i bits = (__m512i)x, high = _mm512_srli_epi32(bits, 16), odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i near = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __mmask16 none = _mm512_cmp_ps_mask((__m512)x, (__m512)x, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(near, none, high, _mm512_set1_epi32(0x40)));
}

LANES_INLINE void store_rounded(uint16_t *to, lanes x)
{
#if defined(LS_PAIRS)
    /* The processor's own rounding is the same but for denormal numbers, of which it makes 0. */
    const __mmask16 denormal = _mm512_fpclass_ps_mask((__m512)x, 0x20);
    const __m256i near = __builtin_expect(denormal != 0, 0) ? rounded_lanes(x) : (__m256i)_mm512_cvtneps_pbh((__m512)x);
#else
    const __m256i near = rounded_lanes(x);
#endif
    _mm256_storeu_si256((void *)to, near);
}
#endif
