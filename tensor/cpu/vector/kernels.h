/* Vector kernels: serial loops over ranges, one source in this folder, compiled once for each variant = instruction-set
 * level x element type. tensor/cpu/ cuts the work into ranges and calls them through these tables.
 *
 * Arrays (const void *, void *) are of the variant's element type (f32, bf16, f16, f64), dense; `real` is what it is computed
 * in: f32, or f64 for f64. Every variant of one type gives the same bits: a multiplication and an addition are two
 * roundings (no fma, so that no level must imitate one), and sums go over 16 virtual lanes (variant.h). */
#pragma once
#include "tensor/device.h"

typedef struct {
    /* unary.c */
    void (*unary)(ls_unary op, int64_t n, double a, double b, const void *x, void *y);
    void (*unary_backward)(ls_unary op, int64_t n, double a, double b, const void *x, const void *y, const void *dy, void *dx);

    /* unary.c, a block at a time */
    void (*gated)(ls_unary op, int64_t n, const void *gate, const void *x, void *y);
    void (*gated_backward)(ls_unary op, int64_t n, const void *gate, const void *x, const void *dy, void *dgate, bool add_gate, void *dx, bool add_x);

    /* elementwise.c */
    void (*add_to)(int64_t n, const void *x, void *y);
    void (*fill)(int64_t n, double value, void *y);
    void (*widen)(int64_t n, const void *x, void *real);
    void (*narrow)(int64_t n, const void *real, void *y);
    void (*add_real)(int64_t n, const void *real, void *y); /* y += real */
    void (*where)(int64_t n, const uint8_t *condition, const void *a, const void *b, void *y);
    void (*where_backward)(int64_t n, const uint8_t *condition, const void *dy, void *da, void *db);
    /* random.c */
    void (*dropout)(int64_t n, double p, const ls_random *stream, uint64_t first, const void *x, void *y, bool accumulate);
    void (*gumbel)(int64_t n, double scale, const ls_random *stream, uint64_t first, const void *x, void *y);
    /* elementwise.c; steps of 0 or 1 */
    void (*binary)(ls_binary op, int64_t n, const void *a, int64_t step_a, const void *b, int64_t step_b, void *y);
    /* g = dy * derivative by operand 0 (a) or 1 (b) */
    void (*binary_gradient)(ls_binary op, int operand, int64_t n, const void *a, int64_t step_a, const void *b, int64_t step_b, const void *dy, void *real_g);

    /* reduce.c. partial: sum (SUM, MEAN), sum of squares (NORM), MAX or MIN of any number of elements, in lanes */
    double (*reduce_partial)(ls_reduce op, int64_t n, const void *x);
    double (*reduce_real)(int64_t n, const void *real);     /* sum of any number of reals, in lanes */
    void (*reduce_store)(ls_reduce op, int64_t length, double total, void *y); /* y[0] from all partials together */
    /* columns [begin, end) of x [length, inner], in ascending order of the rows */
    void (*reduce_columns)(ls_reduce op, int64_t length, int64_t inner, int64_t begin, int64_t end, const void *x, void *y);
    /* the same columns; inner = 1 is a row */
    void (*reduce_columns_backward)(ls_reduce op, int64_t length, int64_t inner, int64_t begin, int64_t end, const void *x, const void *y, const void *dy, void *dx);
    void (*sum_rows)(int64_t rows, int64_t width, int64_t begin, int64_t end, const void *x, void *real_y); /* real_y = */
    void (*top_k)(int64_t length, int64_t k, const void *x, void *values, int32_t *index); /* one row */
    /* sort.c: one row; scratch of length (2 elements + 4 bytes) */
    void (*sort)(int64_t length, bool descending, const void *x, void *values, int32_t *index, void *scratch);
    void (*scatter_add_elements)(int64_t k, const int32_t *index, const void *y, void *x);
    /* cumulate.c: columns [begin, end) of [length, inner]; inner = 1 is a row */
    void (*cumulate)(int64_t length, int64_t inner, int64_t begin, int64_t end, bool reverse, bool accumulate, const void *x, void *y);

    /* softmax.c, norm.c, rotary.c: whole rows */
    void (*softmax)(bool log, int64_t rows, int64_t length, const void *x, void *y);
    void (*softmax_backward)(bool log, int64_t rows, int64_t length, const void *y, const void *dy, void *dx);
    void (*norm)(bool rms, bool gain_real, int64_t rows, int64_t width, double eps, const void *x, const void *gain, const void *bias, void *y, void *real_stats);
    /* dgain, dbias [width] of these rows alone, overwritten [may be NULL] */
    void (*norm_backward)(bool rms, bool gain_real, int64_t rows, int64_t width, const void *x, const void *gain, const void *real_stats, const void *dy, void *dx, void *real_dgain, void *real_dbias);
    /* losses.c. Elements: at most 512, with a weight each [may be NULL]; rows: whole ones */
    double (*element_loss)(ls_element_loss kind, int64_t n, const void *x, const void *target, const float *weights, const float *pos_weights);
    void (*element_loss_backward)(ls_element_loss kind, int64_t n, double scale, const void *x, const void *target, const float *weights, const float *pos_weights, void *dx, void *dtarget);
    void (*row_loss)(const ls_row_loss_args *args, int64_t row);
    void (*row_loss_backward)(const ls_row_loss_args *args, int64_t row);
    void (*cosine)(int64_t width, double eps, const void *a, const void *b, void *y, double stats[3]);
    void (*cosine_backward)(int64_t width, double eps, const void *a, const void *b, const double stats[3], const void *dy, void *da, void *db);
    void (*rotary)(int64_t rows, int64_t heads, int64_t width, const double *frequency, bool interleaved, bool inverse, const int32_t *position, const void *x, void *y, bool accumulate);
    /* channels.c: positions [rows, width]; mean, scale, shift, of_dy, of_x, constant, best, sum are [width] reals */
    void (*channel_moments)(int64_t rows, int64_t width, const void *x, double *mean, double *squares);
    void (*channel_normalise)(int64_t rows, int64_t width, const void *x, const void *mean, const void *scale, const void *shift, void *y);
    void (*channel_gradients)(int64_t rows, int64_t width, const void *x, const void *mean, const void *dy, double *product, double *plain);
    void (*channel_backward)(int64_t rows, int64_t width, const void *x, const void *mean, const void *dy, const void *of_dy, const void *of_x, const void *constant, void *dx);
    void (*pool_greatest)(bool first, int32_t tap, int64_t width, const void *x, void *best, int32_t *which);
    void (*pool_greatest_backward)(int32_t tap, int64_t width, const int32_t *which, const void *dy, void *dx);
    void (*pool_add)(int64_t width, const void *x, void *sum);
    void (*pool_finish)(int64_t width, double scale, const void *sum, void *y);
    void (*pool_add_backward)(int64_t width, double scale, const void *dy, void *dx);
    /* y = sum of weight[k] x[k] in ascending k; 1 to 8 of them */
    void (*blend)(int taps, int64_t width, const double *weight, const void *const *x, void *y);
    void (*add_blend)(int taps, int64_t width, const double *weight, const void *const *x, void *sum); /* sum += the same */
} ls_kernels;

/* Flat buffers are f32 (but for `working`). */
typedef struct {
    void (*carry)(int64_t n, const float *x, int levels, const float *const *level, int64_t at, float *dst);
    double (*squares)(int64_t n, const float *x); /* at most one chunk */
    void (*optimizer_step)(const ls_optimizer_args *args, int64_t begin, int64_t end);
    void (*average)(int64_t n, float weight, const float *x, float *average);
} ls_flat_kernels;

typedef struct {
    const ls_kernels *type[LS_F16 + 1]; /* by ls_type; NULL: integers */
    const ls_flat_kernels *flat;
} ls_level;
