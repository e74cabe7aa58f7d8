/* Stored numbers, f32 or bf16, as f32. `type` is a constant at each call. */
#pragma once
#include "base/type.h"
#include "tensor/cpu/level/lanes.h"

LANES_INLINE float element(ls_type type, const void *x, int64_t i)
{
    if (type == LS_F32)
        return ((const float *)x)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)x)[i] << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

#if LANES >= 8
LANES_INLINE __m256 load_8(ls_type type, const void *x, int64_t i)
{
    if (type == LS_F32)
        return _mm256_loadu_ps((const float *)x + i);
    __m128i half = _mm_loadu_si128((const __m128i *)((const uint16_t *)x + i));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}
#endif
