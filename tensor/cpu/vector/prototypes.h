/* Every kernel of this variant, declared once: the sources of this folder define them, table.c lists them in order. */
#pragma once
#include "tensor/cpu/vector/variant.h"

void KERNEL(unary)(ls_unary op, int64_t n, double a, double b, const void *x, void *y);
void KERNEL(unary_backward)(ls_unary op, int64_t n, double a, double b, const void *x, const void *y, const void *dy, void *dx);
void KERNEL(gated)(ls_unary op, int64_t n, const void *gate, const void *x, void *y);
void KERNEL(gated_backward)(ls_unary op, int64_t n, const void *gate, const void *x, const void *dy, void *dgate, bool add_gate, void *dx, bool add_x);
void KERNEL(add_to)(int64_t n, const void *x, void *y);
void KERNEL(fill)(int64_t n, double value, void *y);
void KERNEL(widen)(int64_t n, const void *x, void *real);
void KERNEL(narrow)(int64_t n, const void *real, void *y);
void KERNEL(add_real)(int64_t n, const void *real, void *y);
void KERNEL(where)(int64_t n, const uint8_t *condition, const void *a, const void *b, void *y);
void KERNEL(where_backward)(int64_t n, const uint8_t *condition, const void *dy, void *da, void *db);
void KERNEL(dropout)(int64_t n, double p, const ls_random *stream, uint64_t first, const void *x, void *y, bool accumulate);
void KERNEL(gumbel)(int64_t n, double scale, const ls_random *stream, uint64_t first, const void *x, void *y);
void KERNEL(binary)(ls_binary op, int64_t n, const void *a, int64_t step_a, const void *b, int64_t step_b, void *y);
void KERNEL(binary_gradient)(ls_binary op, int operand, int64_t n, const void *a, int64_t step_a, const void *b, int64_t step_b, const void *dy, void *real_g);
double KERNEL(reduce_partial)(ls_reduce op, int64_t n, const void *x);
double KERNEL(reduce_real)(int64_t n, const void *real);
void KERNEL(reduce_store)(ls_reduce op, int64_t length, double total, void *y);
void KERNEL(reduce_columns)(ls_reduce op, int64_t length, int64_t inner, int64_t begin, int64_t end, const void *x, void *y);
void KERNEL(reduce_columns_backward)(ls_reduce op, int64_t length, int64_t inner, int64_t begin, int64_t end, const void *x, const void *y, const void *dy, void *dx);
void KERNEL(sum_rows)(int64_t rows, int64_t width, int64_t begin, int64_t end, const void *x, void *real_y);
void KERNEL(top_k)(int64_t length, int64_t k, const void *x, void *values, int32_t *index);
void KERNEL(sort)(int64_t length, bool descending, const void *x, void *values, int32_t *index, void *scratch);
void KERNEL(scatter_add_elements)(int64_t k, const int32_t *index, const void *y, void *x);
void KERNEL(cumulate)(int64_t length, int64_t inner, int64_t begin, int64_t end, bool reverse, bool accumulate, const void *x, void *y);
double KERNEL(element_loss)(ls_element_loss kind, int64_t n, const void *x, const void *target, const float *weights, const float *pos_weights);
void KERNEL(element_loss_backward)(ls_element_loss kind, int64_t n, double scale, const void *x, const void *target, const float *weights, const float *pos_weights, void *dx, void *dtarget);
void KERNEL(row_loss)(const ls_row_loss_args *args, int64_t row);
void KERNEL(row_loss_backward)(const ls_row_loss_args *args, int64_t row);
void KERNEL(cosine)(int64_t width, double eps, const void *a, const void *b, void *y, double stats[3]);
void KERNEL(cosine_backward)(int64_t width, double eps, const void *a, const void *b, const double stats[3], const void *dy, void *da, void *db);
void KERNEL(softmax)(bool log, int64_t rows, int64_t length, const void *x, void *y);
void KERNEL(softmax_backward)(bool log, int64_t rows, int64_t length, const void *y, const void *dy, void *dx);
void KERNEL(norm)(bool rms, bool gain_real, int64_t rows, int64_t width, double eps, const void *x, const void *gain, const void *bias, void *y, void *real_stats);
void KERNEL(norm_backward)(bool rms, bool gain_real, int64_t rows, int64_t width, const void *x, const void *gain, const void *real_stats, const void *dy, void *dx, void *real_dgain, void *real_dbias);
void KERNEL(rotary)(int64_t rows, int64_t heads, int64_t width, const double *frequency, bool interleaved, bool inverse, const int32_t *position, const void *x, void *y, bool accumulate);

/* flat.c: f32 only */
void KERNEL(carry)(int64_t n, const float *x, int levels, const float *const *level, int64_t at, float *dst);
double KERNEL(squares)(int64_t n, const float *x);
void KERNEL(optimizer_step)(const ls_optimizer_args *args, int64_t begin, int64_t end);
void KERNEL(average)(int64_t n, float weight, const float *x, float *average);
void KERNEL(channel_moments)(int64_t rows, int64_t width, const void *x, double *mean, double *squares);
void KERNEL(channel_normalise)(int64_t rows, int64_t width, const void *x, const void *mean, const void *scale, const void *shift, void *y);
void KERNEL(channel_gradients)(int64_t rows, int64_t width, const void *x, const void *mean, const void *dy, double *product, double *plain);
void KERNEL(channel_backward)(int64_t rows, int64_t width, const void *x, const void *mean, const void *dy, const void *of_dy, const void *of_x, const void *constant, void *dx);
void KERNEL(pool_greatest)(bool first, int32_t tap, int64_t width, const void *x, void *best, int32_t *which);
void KERNEL(pool_greatest_backward)(int32_t tap, int64_t width, const int32_t *which, const void *dy, void *dx);
void KERNEL(pool_add)(int64_t width, const void *x, void *sum);
void KERNEL(pool_finish)(int64_t width, double scale, const void *sum, void *y);
void KERNEL(pool_add_backward)(int64_t width, double scale, const void *dy, void *dx);
void KERNEL(blend)(int taps, int64_t width, const double *weight, const void *const *x, void *y);
void KERNEL(add_blend)(int taps, int64_t width, const double *weight, const void *const *x, void *sum);
