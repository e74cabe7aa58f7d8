/* The parts of the naive device: reference_device.c has the table and the simple loops, reference_products.c matrix
 * products and attention; the others are named below. */
#pragma once
#include "tests/tensor/reference_device.h"

ls_status reference_matmul(ls_device *device, const ls_matmul_args *p, ls_arena *scratch);
void reference_rotary(ls_device *device, ls_type type, int64_t rows, int64_t heads, int64_t width, const double *frequency,
                      bool interleaved, bool inverse, const int32_t *position, const void *x, void *y, bool accumulate);
ls_status reference_attention(ls_device *device, const ls_attention_args *p, ls_arena *scratch);
ls_status reference_attention_backward(ls_device *device, const ls_attention_args *p, ls_arena *scratch);
ls_status reference_cross_entropy(ls_device *device, const ls_cross_entropy_args *p, ls_arena *scratch);
/* reference_grids.c */
ls_status reference_conv(ls_device *device, const ls_grid *grid, const void *x, const void *w, const void *bias, ls_type type_bias, ls_activation activation, void *y, void *pre, ls_arena *scratch);
ls_status reference_conv_input(ls_device *device, const ls_grid *grid, const void *dy, const void *w, bool accumulate, void *dx, ls_arena *scratch);
ls_status reference_conv_weight(ls_device *device, const ls_grid *grid, const void *x, const void *dy, void *dw, ls_arena *scratch);
void reference_pool(ls_device *device, const ls_grid *grid, ls_pooling_kind kind, const void *x, void *y, int32_t *which);
void reference_pool_backward(ls_device *device, const ls_grid *grid, ls_pooling_kind kind, const void *dy, const int32_t *which, void *dx);
ls_status reference_group_norm(ls_device *device, ls_type type, ls_type gain_type, int64_t outer, int64_t rows, int64_t channels, int64_t groups, double eps, bool given, const void *x, const void *gain, const void *bias, void *y, double *stats, ls_arena *scratch);
ls_status reference_group_norm_backward(ls_device *device, ls_type type, ls_type gain_type, int64_t outer, int64_t rows, int64_t channels, int64_t groups, double eps, const void *x, const void *gain, const double *stats, const void *dy, void *dx, void *dgain, void *dbias, ls_arena *scratch);
ls_status reference_upsample(ls_device *device, const ls_grid *grid, ls_upsampling_kind kind, const void *x, void *y, ls_arena *scratch);
ls_status reference_upsample_backward(ls_device *device, const ls_grid *grid, ls_upsampling_kind kind, const void *dy, void *dx, ls_arena *scratch);
/* reference_losses.c */
void reference_sum_losses(ls_device *device, ls_type type, int64_t rows, const int32_t *labels, const float *weights, const void *losses, ls_type sum_type, void *sum);
void reference_element_loss(ls_device *device, const ls_element_loss_args *args);
void reference_element_loss_backward(ls_device *device, const ls_element_loss_args *args);
void reference_row_loss(ls_device *device, const ls_row_loss_args *args);
void reference_row_loss_backward(ls_device *device, const ls_row_loss_args *args);
void reference_cosine(ls_device *device, ls_type type, int64_t rows, int64_t width, double eps, const void *a, const void *b, void *y, double *stats);
void reference_cosine_backward(ls_device *device, ls_type type, int64_t rows, int64_t width, double eps, const void *a, const void *b, const double *stats, const void *dy, void *da, void *db);
/* reference_orders.c */
ls_status reference_sort(ls_device *device, ls_type type, int64_t rows, int64_t length, bool descending, const void *x, void *values, int32_t *index, ls_arena *scratch);
void reference_scatter_add_elements(ls_device *device, ls_type type, int64_t rows, int64_t length, int64_t k, const int32_t *index, const void *y, void *x);
void reference_cumulative_sum(ls_device *device, ls_type type, int64_t outer, int64_t length, int64_t inner, bool reverse, bool accumulate, const void *x, void *y);
void reference_gumbel(ls_device *device, ls_type type, int64_t n, double scale, const ls_random *stream, uint64_t first, const void *x, void *y);

void reference_add(ls_type type, void *array, int64_t i, double value);
ls_type reference_wide(ls_type type); /* f32, or f64 for f64 */
/* Sums in f64 that are put into the array at once: zeros, then add_all, which frees. */
double *reference_zeros(int64_t n);
void reference_add_all(ls_type type, void *array, int64_t n, double *sums);
double reference_activation(ls_unary op, double a, double b, double x);
double reference_log_sum_exp(const double *x, int64_t n);
