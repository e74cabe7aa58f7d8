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

static void pack_lines(ls_type type, int64_t m, int64_t k, const void *a, int64_t lda, float *to, int64_t to_row)
{
    for (int64_t p = 0; p < k; p++, to += to_row)
        if (type == LS_F32)
            memcpy(to, (const float *)a + p * lda, (size_t)m * sizeof *to);
        else if (type == LS_F16)
            for (int64_t i = 0; i < m; i++)
                to[i] = element(LS_F16, a, p * lda + i);
        else
            for (int64_t i = 0; i < m; i++)
                to[i] = element(LS_BF16, a, p * lda + i);
}
