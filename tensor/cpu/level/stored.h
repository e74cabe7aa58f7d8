/* Stored numbers, f32, bf16 or f16, as f32. `type` is a constant at each call. */
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
