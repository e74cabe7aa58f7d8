/* The register kernel of tensor/cpu/product.h: 6 rows by two vectors of C stay in registers (Goto & van de Geijn 2008),
 * 12 of AVX2's 16. Compiled once a level, and once more for pairs of bf16 numbers (LS_PAIRS). */
#include "tensor/cpu/product.h"
#include "tensor/cpu/level/lanes.h"

enum { ROWS = 6, WIDTH = 2 * LANES };
_Static_assert((int)WIDTH <= (int)LS_PRODUCT_MAX_WIDTH, "callers size their tiles by LS_PRODUCT_MAX_WIDTH");

/* One block of `rows` <= 6 rows; rows is a constant at each call, so that all of `sum` lives in registers. */
LANES_INLINE void block(int rows, int64_t k, const float *a, int64_t a_row, int64_t a_k, const float *b, int64_t b_row,
                        float *c, int64_t ldc, bool add)
{
    lanes sum[ROWS][2];
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
        sum[i][0] = sum[i][1] = (lanes){0};
    for (int64_t p = 0; p < k; p++) {
        lanes b0 = lanes_load(b), b1 = lanes_load(b + LANES);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            lanes x = lanes_all(a[i * a_row]);
            sum[i][0] = lanes_add_product(x, b0, sum[i][0]);
            sum[i][1] = lanes_add_product(x, b1, sum[i][1]);
        }
        a += a_k;
        b += b_row;
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++) {
        float *to = c + i * ldc;
        lanes_store(to, add ? lanes_load(to) + sum[i][0] : sum[i][0]);
        lanes_store(to + LANES, add ? lanes_load(to + LANES) + sum[i][1] : sum[i][1]);
    }
}

/* Brings the lines that `ahead` names into the second cache, and moves it on. */
LANES_INLINE void touch(ls_product_ahead *ahead)
{
    for (int64_t i = 0; i < ahead->rows; i++)
        for (int64_t line = 0; line < ahead->lines; line++)
            __builtin_prefetch(ahead->at + i * ahead->row + line * 64, 0, 2);
    ahead->at += ahead->next;
}

LANES_INLINE void strips(int64_t m, int64_t k, const float *a, int64_t a_row, int64_t a_k, int64_t a_strip,
                         const float *b, int64_t b_row, float *c, int64_t ldc, bool add, ls_product_ahead *ahead)
{
    int64_t i = 0;
    for (; i + ROWS <= m; i += ROWS, a += a_strip) {
        for (int r = 0; r < ROWS; r++)
            __builtin_prefetch(c + (i + r) * ldc, 1, 3); /* to be written when the sums are there */
        if (ahead)
            touch(ahead);
        block(ROWS, k, a, a_row, a_k, b, b_row, c + i * ldc, ldc, add);
    }
    c += i * ldc;
    switch (m - i) {
    case 5: block(5, k, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 4: block(4, k, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 3: block(3, k, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 2: block(2, k, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 1: block(1, k, a, a_row, a_k, b, b_row, c, ldc, add); break;
    default: break;
    }
}

static void multiply(int64_t m, int64_t k, const float *a, int64_t a_row, int64_t a_k, const float *b, int64_t b_row,
                     float *c, int64_t ldc, bool add)
{
    strips(m, k, a, a_row, a_k, ROWS * a_row, b, b_row, c, ldc, add, NULL);
}

static void multiply_strips(int64_t m, int64_t k, const float *a, int64_t a_row, int64_t a_k, int64_t a_strip,
                            const float *b, float *c, int64_t ldc, bool add, ls_product_ahead *ahead)
{
    strips(m, k, a, a_row, a_k, a_strip, b, WIDTH, c, ldc, add, ahead);
}

#if LANES >= 8
/* Columns of the panel from 8 rows of 8 stored numbers: an 8 x 8 transpose in registers. */
LANES_INLINE void transpose_8x8(const __m256 row[8], float *to, int64_t ld)
{
    __m256 t[8], u[8];
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(row[2 * i], row[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(row[2 * i], row[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        u[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(to + i * ld, _mm256_permute2f128_ps(u[i], u[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * ld, _mm256_permute2f128_ps(u[i], u[i + 4], 0x31));
    }
}
#endif

#if defined(LS_PAIRS)
#include "tensor/cpu/level/pack_pairs.h"
#else
#include "tensor/cpu/level/pack.h"
#endif

static void turn(int64_t m, const float *tile, int64_t ld, float *to, int64_t to_row)
{
    int64_t i = 0;
#if LANES >= 8
    for (; i + 8 <= m; i += 8) {
        __m256 row[8];
        for (int r = 0; r < 8; r++)
            row[r] = _mm256_loadu_ps(tile + (i + r) * ld);
        transpose_8x8(row, to + i, to_row);
    }
#endif
    for (; i < m; i++)
        for (int64_t j = 0; j < LS_PRODUCT_TURN; j++)
            to[j * to_row + i] = tile[i * ld + j];
}

extern const ls_product_kernels level_symbol(ls_product_kernels);
const ls_product_kernels level_symbol(ls_product_kernels) = {
    .width = WIDTH,
    .rows = ROWS,
    .unit = UNIT,
    .pack = pack,
    .pack_strips = pack_strips,
    .multiply = multiply,
    .multiply_strips = multiply_strips,
    .turn = turn,
#if defined(LS_PAIRS)
    .pair = pair_f32,
#endif
};
