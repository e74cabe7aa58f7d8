/* The register kernel of tensor/cpu/product.h: 6 rows by two vectors of C stay in registers (Goto & van de Geijn 2008),
 * 12 of AVX2's 16, or 12 rows by one where C is no wider. Compiled once a level, and once more for pairs of bf16 numbers
 * (LS_PAIRS). */
#include "tensor/cpu/product.h"
#include "tensor/cpu/level/stored.h"

enum { ROWS = 6, HALF_ROWS = 12, WIDTH = 2 * LANES };
_Static_assert((int)WIDTH <= (int)LS_PRODUCT_MAX_WIDTH, "callers size their tiles by LS_PRODUCT_MAX_WIDTH");

/* The sums of one block of `rows` rows by `vectors`, both constants at each call, so that all of `sum` lives in registers. In k
 * there are `runs` pieces, b's each begin where their run says. */
LANES_INLINE void add_up(int rows, int vectors, int64_t runs, const ls_product_run *run, const float *a, int64_t a_row, int64_t a_k, const float *b,
                         int64_t b_row, lanes sum[HALF_ROWS][2])
{
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
        sum[i][0] = sum[i][1] = (lanes){0};
    for (int64_t r = 0; r < runs; r++) {
        const float *from = b + run[r].b;
        for (int64_t p = 0; p < run[r].k; p++) {
            lanes b0 = lanes_load(from), b1 = vectors == 2 ? lanes_load(from + LANES) : b0;
#pragma GCC unroll 12
            for (int i = 0; i < rows; i++) {
                lanes x = lanes_all(a[i * a_row]);
                sum[i][0] = lanes_add_product(x, b0, sum[i][0]);
                if (vectors == 2)
                    sum[i][1] = lanes_add_product(x, b1, sum[i][1]);
            }
            a += a_k;
            from += b_row;
        }
    }
}

LANES_INLINE void block(int rows, int vectors, int64_t runs, const ls_product_run *run, const float *a, int64_t a_row, int64_t a_k, const float *b,
                        int64_t b_row, float *c, int64_t ldc, bool add)
{
    lanes sum[HALF_ROWS][2];
    add_up(rows, vectors, runs, run, a, a_row, a_k, b, b_row, sum);
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            float *to = c + i * ldc + v * LANES;
            lanes_store(to, add ? lanes_load(to) + sum[i][v] : sum[i][v]);
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

/* Any number of rows up to six. */
static void some_rows(int64_t m, int64_t runs, const ls_product_run *run, const float *a, int64_t a_row, int64_t a_k, const float *b, int64_t b_row,
                      float *c, int64_t ldc, bool add)
{
    switch (m) {
    case 6: block(6, 2, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 5: block(5, 2, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 4: block(4, 2, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 3: block(3, 2, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 2: block(2, 2, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 1: block(1, 2, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    default: break;
    }
}

/* Up to twelve, of one vector. */
static void some_half_rows(int64_t m, int64_t runs, const ls_product_run *run, const float *a, int64_t a_row, int64_t a_k, const float *b, int64_t b_row,
                           float *c, int64_t ldc, bool add)
{
    switch (m) {
    case 12: block(12, 1, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 11: block(11, 1, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 10: block(10, 1, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 9: block(9, 1, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 8: block(8, 1, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 7: block(7, 1, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 6: block(6, 1, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 5: block(5, 1, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 4: block(4, 1, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 3: block(3, 1, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 2: block(2, 1, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    case 1: block(1, 1, runs, run, a, a_row, a_k, b, b_row, c, ldc, add); break;
    default: break;
    }
}

/* Rows of the next block, of `left`: whole ones, and in the end two of about the same, as a block of one or two rows waits for its sums. */
LANES_INLINE int64_t next_rows(int64_t left, int64_t most)
{
    return left >= 2 * most || left == most ? most : left > most ? (left + 1) / 2 : left;
}

static void multiply(int64_t m, int64_t k, const float *a, int64_t a_row, int64_t a_k, const float *b, int64_t b_row,
                     float *c, int64_t ldc, bool add)
{
    const ls_product_run all = {.k = k};
    for (int64_t rows; m > 0; m -= rows, a += rows * a_row, c += rows * ldc) {
        rows = next_rows(m, ROWS);
        for (int r = 0; r < rows; r++)
            __builtin_prefetch(c + r * ldc, 1, 3); /* to be written when the sums are there */
        some_rows(rows, 1, &all, a, a_row, a_k, b, b_row, c, ldc, add);
    }
}

static void multiply_half(int64_t m, int64_t k, const float *a, int64_t a_row, int64_t a_k, const float *b, int64_t b_row,
                          float *c, int64_t ldc, bool add)
{
    const ls_product_run all = {.k = k};
    for (int64_t rows; m > 0; m -= rows, a += rows * a_row, c += rows * ldc) {
        rows = next_rows(m, HALF_ROWS);
        some_half_rows(rows, 1, &all, a, a_row, a_k, b, b_row, c, ldc, add);
    }
}

static void multiply_runs(int64_t m, int64_t n, int64_t runs, const ls_product_run *run, const float *a, int64_t a_row, int64_t a_k, const float *b,
                          int64_t b_row, float *c, int64_t ldc, bool add)
{
    (n > LANES ? some_rows : some_half_rows)(m, runs, run, a, a_row, a_k, b, b_row, c, ldc, add);
}

static void multiply_strips(int64_t m, int64_t k, const float *a, int64_t a_row, int64_t a_k, int64_t a_strip,
                            const float *b, float *c, int64_t ldc, bool add, ls_product_ahead *ahead)
{
    const ls_product_run all = {.k = k};
    for (; m >= ROWS; m -= ROWS, a += a_strip, c += ROWS * ldc) {
        for (int r = 0; r < ROWS; r++) {
            __builtin_prefetch(c + r * ldc, 1, 3);
            __builtin_prefetch(c + r * ldc + LANES, 1, 3);
        }
        if (ahead)
            touch(ahead);
        some_rows(ROWS, 1, &all, a, a_row, a_k, b, WIDTH, c, ldc, add);
    }
    some_rows(m, 1, &all, a, a_row, a_k, b, WIDTH, c, ldc, add);
}

#if defined(LS_PAIRS)
/* A block of two vectors of the last chunk, from row i on. */
LANES_INLINE void last_block(int rows, int64_t k, const float *a, int64_t a_row, int64_t a_k, const float *b, const ls_product_last *last, int64_t i)
{
    const ls_product_run all = {.k = k};
    lanes sum[HALF_ROWS][2];
    add_up(rows, 2, 1, &all, a, a_row, a_k, b, WIDTH, sum);
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) {
            uint16_t *to = last->c + (i + r) * last->ldc + v * LANES;
            lanes y = sum[r][v];
            if (last->sums)
                y = lanes_load(last->sums + (i + r) * last->sums_row + v * LANES) + y;
            if (last->add)
                y = load_lanes(LS_BF16, to, 0) + y;
            if (last->bias)
                y += lanes_load(last->bias + v * LANES);
            store_rounded(to, y);
        }
}

static void multiply_strips_last(int64_t m, int64_t k, const float *a, int64_t a_row, int64_t a_k, int64_t a_strip,
                                 const float *b, const ls_product_last *last, ls_product_ahead *ahead)
{
    int64_t i = 0;
    for (; i + ROWS <= m; i += ROWS, a += a_strip) {
        for (int r = 0; r < ROWS; r++)
            __builtin_prefetch(last->c + (i + r) * last->ldc, 1, 3);
        if (ahead)
            touch(ahead);
        last_block(ROWS, k, a, a_row, a_k, b, last, i);
    }
    switch (m - i) {
    case 5: last_block(5, k, a, a_row, a_k, b, last, i); break;
    case 4: last_block(4, k, a, a_row, a_k, b, last, i); break;
    case 3: last_block(3, k, a, a_row, a_k, b, last, i); break;
    case 2: last_block(2, k, a, a_row, a_k, b, last, i); break;
    case 1: last_block(1, k, a, a_row, a_k, b, last, i); break;
    default: break;
    }
}
#endif

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
    .pack_lines = pack_lines,
    .multiply = multiply,
    .multiply_half = multiply_half,
    .multiply_runs = multiply_runs,
    .multiply_strips = multiply_strips,
#if defined(LS_PAIRS)
    .multiply_strips_last = multiply_strips_last,
#endif
    .turn = turn,
};
