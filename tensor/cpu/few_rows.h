/* Products of a few rows with a large matrix that is stored along k, as decoding makes them: c = x w^T, x [m, k] with m up to
 * LS_FEW_ROWS, w [n, k]. Such a product is as fast as the memory that holds w, if w is read once, in order, and not packed:
 * rows of w are turned in registers, so that columns of c lie in the lanes. Memory is read in the order of its
 * addresses, one block of LS_FEW_COLUMNS rows of w ahead of its use; with large pages (ls_device.allocate) it is twice as fast.
 * From some rows on the products weigh more than the memory. Then x is turned, once, so that rows of c lie in the lanes, and
 * numbers of w are repeated over them.
 *
 * The bits are those of every other product (product.h): one chain of multiply-adds over each LS_PRODUCT_CHUNK of k, chunks
 * added in ascending order. */
#pragma once
#include "tensor/cpu/cpu.h"

enum {
    LS_FEW_ROWS = 32,
    LS_FEW_COLUMNS = 16, /* that are computed side by side */
};

typedef struct {
    int64_t rows; /* up to which this is faster than a larger product's way */
    int64_t turned_rows; /* the same of multiply_turned; 0: there is none */
    /* c[r * ldc + j] = sum over p of x[r * ldx + p] w[j * ldw + p], r < m, j < n, p < k; w of `type`, f32, bf16 or f16. */
    void (*multiply)(ls_type type, int64_t m, int64_t n, int64_t k, const float *x, int64_t ldx, const void *w, int64_t ldw, float *c, int64_t ldc);
    /* c[j * width + r] = sum over p of x[p * width + r] w[j * ldw + p], r < width, j < n, p < k; width 16 or 32, w f32 (or pairs). */
    void (*multiply_turned)(int64_t width, int64_t n, int64_t k, const float *x, const float *w, int64_t ldw, float *c);
} ls_few_rows_kernels;

/* For w of `type`; pairs where the level multiplies bf16 (product.h). */
const ls_few_rows_kernels *ls_few_rows_kernels_for(ls_numerics level, ls_type type);
/* Whether ls_few_rows_multiply computes this one. */
bool ls_few_rows_fit(ls_numerics level, const ls_matmul_args *args);
ls_status ls_few_rows_multiply(ls_device *device, const ls_matmul_args *args, ls_arena *scratch);
