/* Turning a square of numbers in registers: lines that are stored along k come to lie in the lanes. */
#pragma once
#include "tensor/cpu/level/stored.h"

#if LANES >= 8
/* Of each four numbers of two registers, the halves: a0 b0 a1 b1, a2 b2 a3 b3; a0 a1 b0 b1, a2 a3 b2 b3. */
LANES_INLINE lanes unpack_low(lanes a, lanes b)
{
#if LANES == 16
    return (lanes)_mm512_unpacklo_ps((__m512)a, (__m512)b);
#else
    return (lanes)_mm256_unpacklo_ps((__m256)a, (__m256)b);
#endif
}

LANES_INLINE lanes unpack_high(lanes a, lanes b)
{
#if LANES == 16
    return (lanes)_mm512_unpackhi_ps((__m512)a, (__m512)b);
#else
    return (lanes)_mm256_unpackhi_ps((__m256)a, (__m256)b);
#endif
}

LANES_INLINE lanes shuffle_low(lanes a, lanes b)
{
#if LANES == 16
    return (lanes)_mm512_shuffle_ps((__m512)a, (__m512)b, 0x44);
#else
    return (lanes)_mm256_shuffle_ps((__m256)a, (__m256)b, 0x44);
#endif
}

LANES_INLINE lanes shuffle_high(lanes a, lanes b)
{
#if LANES == 16
    return (lanes)_mm512_shuffle_ps((__m512)a, (__m512)b, 0xee);
#else
    return (lanes)_mm256_shuffle_ps((__m256)a, (__m256)b, 0xee);
#endif
}

/* turned[i] = number i of each of LANES rows of w, `row` bytes apart. */
LANES_INLINE void turn(ls_type type, const char *w, int64_t row, int64_t i, lanes turned[LANES])
{
    lanes t[LANES], u[LANES];
#pragma GCC unroll 8
    for (int r = 0; r < LANES; r += 2) {
        const lanes a = load_lanes(type, w + r * row, i), b = load_lanes(type, w + (r + 1) * row, i);
        t[r] = unpack_low(a, b);
        t[r + 1] = unpack_high(a, b);
    }
#pragma GCC unroll 4
    for (int r = 0; r < LANES; r += 4) {
        u[r] = shuffle_low(t[r], t[r + 2]);
        u[r + 1] = shuffle_high(t[r], t[r + 2]);
        u[r + 2] = shuffle_low(t[r + 1], t[r + 3]);
        u[r + 3] = shuffle_high(t[r + 1], t[r + 3]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) { /* quarters of a register are rows' fours of numbers */
#if LANES == 16
        const __m512 a = _mm512_shuffle_f32x4((__m512)u[r], (__m512)u[r + 4], 0x88),
                     b = _mm512_shuffle_f32x4((__m512)u[r], (__m512)u[r + 4], 0xdd),
                     c = _mm512_shuffle_f32x4((__m512)u[r + 8], (__m512)u[r + 12], 0x88),
                     d = _mm512_shuffle_f32x4((__m512)u[r + 8], (__m512)u[r + 12], 0xdd);
        turned[r] = (lanes)_mm512_shuffle_f32x4(a, c, 0x88);
        turned[r + 4] = (lanes)_mm512_shuffle_f32x4(b, d, 0x88);
        turned[r + 8] = (lanes)_mm512_shuffle_f32x4(a, c, 0xdd);
        turned[r + 12] = (lanes)_mm512_shuffle_f32x4(b, d, 0xdd);
#else
        turned[r] = (lanes)_mm256_permute2f128_ps((__m256)u[r], (__m256)u[r + 4], 0x20);
        turned[r + 4] = (lanes)_mm256_permute2f128_ps((__m256)u[r], (__m256)u[r + 4], 0x31);
#endif
    }
}
#endif
