/* Packing for tensor/cpu/level/product.c where a unit of k is a pair of bf16 numbers: number 2p in the low half, 2p + 1 in the
 * high one, 0 behind the last. A stored row that runs along k holds such units as it lies. See product.h. */
#pragma once
#include <stdbool.h>

enum { UNIT = 2 };

LANES_INLINE float pair(uint16_t low, uint16_t high)
{
    const uint32_t bits = low | (uint32_t)high << 16;
    float unit;
    memcpy(&unit, &bits, sizeof unit);
    return unit;
}

/* Of n <= WIDTH columns of one or two rows of B; `second` is NULL behind the last row. */
LANES_INLINE void pair_rows(int64_t n, const uint16_t *first, const uint16_t *second, float *panel)
{
    for (int64_t j = 0; j < WIDTH; j++)
        panel[j] = j < n ? pair(first[j], second ? second[j] : 0) : 0.0f;
}

/* Numbers of two registers in turns. */
static const uint16_t turns[64] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
                                   11, 43, 12, 44, 13, 45, 14, 46, 15, 47, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53,
                                   22, 54, 23, 55, 24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63};

/* 32 columns of two rows. */
LANES_INLINE void pair_whole_rows(const uint16_t *first, const uint16_t *second, float *panel)
{
    const __m512i a = _mm512_loadu_si512(first), b = _mm512_loadu_si512(second);
    _mm512_storeu_si512(panel, _mm512_permutex2var_epi16(a, _mm512_loadu_si512(turns), b));
    _mm512_storeu_si512(panel + LANES, _mm512_permutex2var_epi16(a, _mm512_loadu_si512(turns + 32), b));
}

LANES_INLINE void pack_rows(int64_t k, int64_t n, const uint16_t *b, int64_t ldb, float *panel)
{
    for (int64_t p = 0; p < k; p += 2, b += 2 * ldb, panel += WIDTH) {
        if (n == WIDTH && p + 1 < k)
            pair_whole_rows(b, b + ldb, panel);
        else
            pair_rows(n, b, p + 1 < k ? b + ldb : NULL, panel);
    }
}

LANES_INLINE void pack_columns(int64_t k, int64_t n, const uint16_t *b, int64_t ldb, float *panel)
{
    int64_t done = 0; /* the first `done` numbers of each column are there */
    if (n == WIDTH)
        for (; done + 16 <= k; done += 16)
            for (int j = 0; j < WIDTH; j += 8) {
                __m256 row[8];
                for (int i = 0; i < 8; i++)
                    row[i] = _mm256_loadu_ps((const void *)(b + (j + i) * ldb + done));
                transpose_8x8(row, panel + done / 2 * WIDTH + j, WIDTH);
            }
    for (int64_t j = 0; j < WIDTH; j++)
        for (int64_t p = done; p < k; p += 2)
            panel[p / 2 * WIDTH + j] = j < n ? pair(b[j * ldb + p], p + 1 < k ? b[j * ldb + p + 1] : 0) : 0.0f;
}

static void pack(ls_type type, bool transposed, int64_t k, int64_t n, const void *b, int64_t ldb, float *panel)
{
    (void)type; /* bf16 */
    if (transposed)
        pack_columns(k, n, b, ldb, panel);
    else
        pack_rows(k, n, b, ldb, panel);
}

/* 32 columns of two rows at a time, the last ones under a mask. */
static void pack_lines(ls_type type, int64_t m, int64_t k, const void *a, int64_t lda, float *to, int64_t to_row)
{
    const __m512i low_turns = _mm512_loadu_si512(turns), high_turns = _mm512_loadu_si512(turns + 32);
    (void)type; /* bf16 */
    const uint16_t *row = a;
    for (int64_t p = 0; p < k; p += 2, row += 2 * lda, to += to_row)
        for (int64_t i = 0; i < m; i += 32) {
            const __mmask32 real = m - i < 32 ? (1u << (m - i)) - 1 : ~0u;
            const __m512i first = _mm512_maskz_loadu_epi16(real, row + i);
            const __m512i second = p + 1 < k ? _mm512_maskz_loadu_epi16(real, row + lda + i) : _mm512_setzero_si512();
            _mm512_mask_storeu_epi32(to + i, (__mmask16)real, _mm512_permutex2var_epi16(first, low_turns, second));
            if (real >> 16)
                _mm512_mask_storeu_epi32(to + i + 16, (__mmask16)(real >> 16), _mm512_permutex2var_epi16(first, high_turns, second));
        }
}
