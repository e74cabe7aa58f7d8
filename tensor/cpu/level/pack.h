/* Packing for tensor/cpu/level/product.c where a unit of k is one number, f32, bf16 or f16, in f32. See product.h. */
#pragma once
#include "tensor/cpu/level/stored.h"

enum { UNIT = 1 };

LANES_INLINE void pack_rows(ls_type type, int64_t k, int64_t n, const void *b, int64_t ldb, float *panel)
{
    for (int64_t p = 0; p < k; p++, panel += WIDTH) {
        if (n == WIDTH) {
            for (int j = 0; j < WIDTH; j++)
                panel[j] = element(type, b, p * ldb + j);
            continue;
        }
        for (int64_t j = 0; j < WIDTH; j++)
            panel[j] = j < n ? element(type, b, p * ldb + j) : 0.0f;
    }
}

LANES_INLINE void pack_columns(ls_type type, int64_t k, int64_t n, const void *b, int64_t ldb, float *panel)
{
    int64_t done = 0; /* the first `done` rows of the panel are there */
#if LANES >= 8
    if (n == WIDTH)
        for (; done + 8 <= k; done += 8)
            for (int j = 0; j < WIDTH; j += 8) {
                __m256 row[8];
                for (int i = 0; i < 8; i++)
                    row[i] = load_8(type, b, (j + i) * ldb + done);
                transpose_8x8(row, panel + done * WIDTH + j, WIDTH);
            }
#endif
    for (int64_t j = 0; j < WIDTH; j++)
        for (int64_t p = done; p < k; p++)
            panel[p * WIDTH + j] = j < n ? element(type, b, j * ldb + p) : 0.0f;
}

static void pack(ls_type type, bool transposed, int64_t k, int64_t n, const void *b, int64_t ldb, float *panel)
{
    if (transposed && type == LS_F32)
        pack_columns(LS_F32, k, n, b, ldb, panel);
    else if (transposed && type == LS_F16)
        pack_columns(LS_F16, k, n, b, ldb, panel);
    else if (transposed)
        pack_columns(LS_BF16, k, n, b, ldb, panel);
    else if (type == LS_F32)
        pack_rows(LS_F32, k, n, b, ldb, panel);
    else if (type == LS_F16)
        pack_rows(LS_F16, k, n, b, ldb, panel);
    else
        pack_rows(LS_BF16, k, n, b, ldb, panel);
}

/* Six numbers of each of k rows; type is a constant at each call. */
LANES_INLINE void strip(ls_type type, int64_t k, int64_t n, const void *a, int64_t lda, int64_t i, bool wide, float *to)
{
    int64_t p = 0;
#if LANES >= 8
    for (; wide && p + 1 < k; p++) /* eight, of which the next row overwrites two */
        _mm256_storeu_ps(to + p * ROWS, load_8(type, a, p * lda + i));
#endif
    (void)wide;
    for (; p < k; p++)
        for (int64_t r = 0; r < ROWS; r++)
            to[p * ROWS + r] = r < n ? element(type, a, p * lda + i + r) : 0.0f;
}

static void pack_strips(ls_type type, int64_t m, int64_t k, const void *a, int64_t lda, float *to)
{
    enum { AT_ONCE = 8 }; /* rows of k whose lines stay in the first cache while all strips are cut from them */
    for (int64_t p = 0; p < k; p += AT_ONCE) {
        int64_t count = k - p < AT_ONCE ? k - p : AT_ONCE;
        for (int64_t i = 0; i < m; i += ROWS) {
            int64_t n = m - i < ROWS ? m - i : ROWS;
            const bool wide = i + 8 <= m;
            float *at = to + i * k + p * ROWS;
            if (type == LS_F32)
                strip(LS_F32, count, n, (const float *)a + p * lda, lda, i, wide, at);
            else if (type == LS_F16)
                strip(LS_F16, count, n, (const uint16_t *)a + p * lda, lda, i, wide, at);
            else
                strip(LS_BF16, count, n, (const uint16_t *)a + p * lda, lda, i, wide, at);
        }
    }
}
