/* The inner matrix product of the CPU: everything that multiplies matrices (matmul, attention, cross-entropy) goes
 * through this one kernel, and so shares its promise about bits:
 *
 *     c[i, j] = sum over p of a[i, p] b[p, j]  is ONE chain of fused multiply-adds in ascending p, whatever m, n, the
 *     tile, the row's place in it, the strides, the thread, or the vector width (avx2 and avx512 agree).
 *
 * So how a caller cuts its rows and columns is free, and how it cuts k is part of the result (LS_PRODUCT_CHUNK).
 *
 * Where the processor multiplies bf16 (level avx512_bf16), bf16 operands have a table of their own, of twice the rate: a
 * unit of k is a pair of numbers, and a link of the chain is VDPBF16PS, which adds both products to the sum, each rounded
 * to nearest, the pair's second number first, and takes denormal numbers for 0. Everything else sees units of four bytes
 * and is the same.
 *
 * Why not oneDNN's sgemm here (2.6.3, measured by bench/tensor/bench_matmul): its remainder kernels change a row's
 * bits with the number of rows (m mod 6 on AVX2), and each primitive's execution takes memory from the heap five
 * times; both are promised not to happen in a step. The rate is the same. */
#pragma once
#include "base/type.h"
#include "tensor/numerics.h"

enum {
    LS_PRODUCT_CHUNK = 256,    /* units of the longest chain; longer sums add the chunks' results in ascending order */
    LS_PRODUCT_MAX_WIDTH = 32, /* of a panel, on any level */
    LS_PRODUCT_TURN = 8,       /* columns that `turn` takes at once */
};

/* Memory that will be read soon: each block of rows of a product touches `lines` lines of 64 bytes in each of `rows` rows,
 * `row` bytes apart, then goes on by `next` bytes. Addresses need not be valid. */
typedef struct {
    const char *at;
    int64_t rows, row, lines, next;
} ls_product_ahead;

/* A piece of k whose rows of B lie `b` floats from where B begins. */
typedef struct {
    int64_t b, k;
} ls_product_run;

/* What becomes of sums after the last chunk of k: c[i * ldc + j] = bf16 of (((add ? c : 0) + (sums + sum)) + bias[j]), without what is NULL. */
typedef struct {
    const float *sums; /* of the chunks before */
    int64_t sums_row;
    const float *bias;
    uint16_t *c;
    int64_t ldc;
    bool add;
} ls_product_last;

typedef struct {
    int width; /* columns of a panel: two native vectors */
    int rows;  /* of a strip: what stays in registers */
    int unit;  /* numbers along k that are multiplied at once: 1 in f32, or 2 in bf16; then k below is counted in numbers
                  where numbers are read (pack, pack_lines), in units elsewhere, and `f32` means a unit's four bytes */
    /* panel[p * width + j] = op(B)[p, j] as f32, p < k, j < width; columns from n on are 0. B f32, bf16 or f16, stored
     * [k, n] or, transposed, [n, k], rows ldb apart. */
    void (*pack)(ls_type type, bool transposed, int64_t k, int64_t n, const void *b, int64_t ldb, float *panel);
    /* c[i * ldc + j] = (add ? c + sum : sum), i < m, j < width; a[i * a_row + p * a_k], b[p * b_row + j], p < k. */
    void (*multiply)(int64_t m, int64_t k, const float *a, int64_t a_row, int64_t a_k, const float *b, int64_t b_row,
                     float *c, int64_t ldc, bool add);
    /* The same of columns j < width / 2. */
    void (*multiply_half)(int64_t m, int64_t k, const float *a, int64_t a_row, int64_t a_k, const float *b, int64_t b_row,
                          float *c, int64_t ldc, bool add);
    /* The same of m <= rows, and of columns j < width / 2 where n <= width / 2, else j < width; k in `runs` pieces, which a has one behind the other. */
    void (*multiply_runs)(int64_t m, int64_t n, int64_t runs, const ls_product_run *run, const float *a, int64_t a_row, int64_t a_k, const float *b,
                          int64_t b_row, float *c, int64_t ldc, bool add);
    /* multiply with a's strips of `rows` rows a_strip apart, and b a panel. `ahead` [may be NULL] moves on. */
    void (*multiply_strips)(int64_t m, int64_t k, const float *a, int64_t a_row, int64_t a_k, int64_t a_strip,
                            const float *b, float *c, int64_t ldc, bool add, ls_product_ahead *ahead);
    /* multiply_strips whose sums are then finished as `last` says, in bf16. NULL: not on this level. */
    void (*multiply_strips_last)(int64_t m, int64_t k, const float *a, int64_t a_row, int64_t a_k, int64_t a_strip,
                                 const float *b, const ls_product_last *last, ls_product_ahead *ahead);
    /* to[p * to_row + i] = a[p, i] as f32, i < m, p < k, rows of a lda apart: a matrix that is stored with its columns along k. */
    void (*pack_lines)(ls_type type, int64_t m, int64_t k, const void *a, int64_t lda, float *to, int64_t to_row);
    /* to[j * to_row + i] = tile[i * ld + j], i < m, j < LS_PRODUCT_TURN. */
    void (*turn)(int64_t m, const float *tile, int64_t ld, float *to, int64_t to_row);
} ls_product_kernels;

/* Of f32 numbers, and of those of `type`, which are widened to f32 where the level does not multiply them. */
const ls_product_kernels *ls_product_kernels_of(ls_numerics level);
const ls_product_kernels *ls_product_kernels_for(ls_numerics level, ls_type type);
