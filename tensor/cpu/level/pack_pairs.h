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

/* 32 columns of two rows: their 16-bit numbers in turns. */
LANES_INLINE void pair_whole_rows(const uint16_t *first, const uint16_t *second, float *panel)
{
    static const uint16_t turns[64] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
                                       11, 43, 12, 44, 13, 45, 14, 46, 15, 47, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53,
                                       22, 54, 23, 55, 24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63};
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

/* A strip's n <= ROWS numbers of one or two rows; `second` is NULL behind the last row. Masks keep reads inside the matrix and
 * writes inside the strip, so that no strip and no row is left to single numbers. */
LANES_INLINE void pair_strip(int64_t n, const uint16_t *first, const uint16_t *second, float *to)
{
    const __m256i turns = _mm256_setr_epi16(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __mmask8 real = (__mmask8)((1u << n) - 1);
    const __m128i low = _mm_maskz_loadu_epi16(real, first), high = second ? _mm_maskz_loadu_epi16(real, second) : _mm_setzero_si128();
    const __m256i units = _mm256_permutex2var_epi16(_mm256_castsi128_si256(low), turns, _mm256_castsi128_si256(high));
    _mm256_mask_storeu_epi32(to, (1u << ROWS) - 1, units);
}

static void pack_strips(ls_type type, int64_t m, int64_t k, const void *a, int64_t lda, float *to)
{
    enum { AT_ONCE = 8 }; /* rows of k whose lines stay in the first cache while all strips are cut from them */
    (void)type;
    for (int64_t first = 0; first < k; first += AT_ONCE)
        for (int64_t i = 0; i < m; i += ROWS) {
            const int64_t end = k - first < AT_ONCE ? k : first + AT_ONCE, n = m - i < ROWS ? m - i : ROWS;
            const uint16_t *row = (const uint16_t *)a + first * lda + i;
            float *at = to + i * ((k + 1) / 2) + first / 2 * ROWS;
            if (end - first == AT_ONCE && n == ROWS) {
                for (int p = 0; p < AT_ONCE; p += 2)
                    pair_strip(ROWS, row + p * lda, row + (p + 1) * lda, at + p / 2 * ROWS);
                continue;
            }
            for (int64_t p = first; p < end; p += 2, at += ROWS, row += 2 * lda)
                pair_strip(n, row, p + 1 < k ? row + lda : NULL, at);
        }
}
