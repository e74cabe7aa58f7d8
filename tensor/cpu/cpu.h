/* The CPU device's own functions, in one place: tensor/cpu/cpu.c puts them into the table of tensor/device.h, where
 * each is described. Not for use outside tensor/cpu/ and its tests. */
#pragma once
#include "tensor/cpu/held.h"
#include "tensor/cpu/vector/kernels.h"
#include "tensor/device.h"
#include "tensor/numerics.h"
#include "tensor/strides.h"

/* What device->self points to. */
typedef struct {
    ls_numerics level;
    const ls_level *kernels; /* own vector kernels of that level */
    ls_held *held, *tight;   /* weights as panels of products, and as those of decoding (tight.h) */
} ls_cpu;

ls_numerics ls_cpu_best_level(void); /* of this processor */
/* The kernels compiled for a level (AVX512_BF16 has AVX512's). Calling them needs the processor. */
const ls_level *ls_cpu_kernels(ls_numerics level);
/* The kernels for numbers of `type` (f32, bf16, f16, f64) at the device's level. */
const ls_kernels *ls_cpu_kernels_of(ls_device *device, ls_type type);

/* Work cut by shape alone: f(context, begin, end) for [0, count) in ranges of `piece`, on the team when count * cost
 * (elements of memory touched) is worth waking it. Ranges must be independent: their order is not fixed. */
typedef void (*ls_cpu_range)(void *context, int64_t begin, int64_t end);
void ls_cpu_ranges(ls_device *device, int64_t count, int64_t piece, int64_t cost, ls_cpu_range f, void *context);
enum { LS_CPU_PIECE = 16384, LS_CPU_WORTH = 32768 }; /* elements: one range; the least work that wakes the team */

/* Where a walk over the rows (all dimensions but the last) stands, as offsets of the row's first elements. */
typedef struct {
    const ls_strides *strides;
    int64_t at[LS_MAX_DIMS], a, b;
} ls_cpu_cursor;
ls_cpu_cursor ls_cpu_cursor_at(const ls_strides *strides, int64_t row);
void ls_cpu_cursor_next(ls_cpu_cursor *cursor);

/* tensor/cpu/matmul.c, attention.c, cross_entropy.c */
ls_status ls_cpu_matmul(ls_device *device, const ls_matmul_args *args, ls_arena *scratch);
/* The last thing for n finished numbers of C from `element` on, which stand rounded in `pre`, or in C where there is none: C = the
 * activation of them. It reads rounded numbers, so fusing it changes no bit. */
void ls_cpu_activate(ls_device *device, const ls_matmul_args *args, int64_t element, int64_t n);
ls_status ls_cpu_attention(ls_device *device, const ls_attention_args *args, ls_arena *scratch);
ls_status ls_cpu_attention_backward(ls_device *device, const ls_attention_args *args, ls_arena *scratch);
ls_status ls_cpu_cross_entropy(ls_device *device, const ls_cross_entropy_args *args, ls_arena *scratch);

/* tensor/cpu/conv.c, pooling.c, upsampling.c, group_norm.c */
ls_status ls_cpu_conv(ls_device *device, const ls_grid *grid, const void *x, const void *w, const void *bias, ls_type type_bias, ls_activation activation, void *y, void *pre, ls_arena *scratch);
ls_status ls_cpu_conv_input(ls_device *device, const ls_grid *grid, const void *dy, const void *w, bool accumulate, void *dx, ls_arena *scratch);
ls_status ls_cpu_conv_weight(ls_device *device, const ls_grid *grid, const void *x, const void *dy, void *dw, ls_arena *scratch);
void ls_cpu_pool(ls_device *device, const ls_grid *grid, ls_pooling_kind kind, const void *x, void *y, int32_t *which);
void ls_cpu_pool_backward(ls_device *device, const ls_grid *grid, ls_pooling_kind kind, const void *dy, const int32_t *which, void *dx);
ls_status ls_cpu_upsample(ls_device *device, const ls_grid *grid, ls_upsampling_kind kind, const void *x, void *y, ls_arena *scratch);
ls_status ls_cpu_upsample_backward(ls_device *device, const ls_grid *grid, ls_upsampling_kind kind, const void *dy, void *dx, ls_arena *scratch);
ls_status ls_cpu_group_norm(ls_device *device, ls_type type, ls_type gain_type, int64_t outer, int64_t rows, int64_t channels, int64_t groups, double eps, bool given, const void *x, const void *gain, const void *bias, void *y, double *stats, ls_arena *scratch);
ls_status ls_cpu_group_norm_backward(ls_device *device, ls_type type, ls_type gain_type, int64_t outer, int64_t rows, int64_t channels, int64_t groups, double eps, const void *x, const void *gain, const double *stats, const void *dy, void *dx, void *dgain, void *dbias, ls_arena *scratch);

/* tensor/cpu/elementwise.c */
void ls_cpu_unary(ls_device *device, ls_unary op, ls_type type, int64_t n, double a, double b, const void *x, void *y);
void ls_cpu_scale_by(ls_device *device, ls_type type, int64_t n, const void *factor, const void *x, void *y);
void ls_cpu_unary_backward(ls_device *device, ls_unary op, ls_type type, int64_t n, double a, double b, const void *x, const void *y, const void *dy, void *dx);
void ls_cpu_gated(ls_device *device, ls_unary f, ls_type type, int64_t n, const void *gate, const void *x, void *y);
void ls_cpu_gated_backward(ls_device *device, ls_unary f, ls_type type, int64_t n, const void *gate, const void *x, const void *dy, void *dgate, bool add_gate, void *dx, bool add_x);
void ls_cpu_where(ls_device *device, ls_type type, int64_t n, const uint8_t *condition, const void *a, const void *b, void *y);
void ls_cpu_where_backward(ls_device *device, ls_type type, int64_t n, const uint8_t *condition, const void *dy, void *da, void *db);
void ls_cpu_cast(ls_device *device, ls_type from, ls_type to, int64_t n, const void *x, void *y);
void ls_cpu_add_to(ls_device *device, ls_type type, int64_t n, const void *x, void *y);
void ls_cpu_fill(ls_device *device, ls_type type, int64_t n, double value, void *y);
void ls_cpu_gumbel(ls_device *device, ls_type type, int64_t n, double scale, const ls_random *stream, uint64_t first, const void *x, void *y);
void ls_cpu_dropout(ls_device *device, ls_type type, int64_t n, double p, const ls_random *stream, uint64_t first, const void *x, void *y, bool accumulate);

/* tensor/cpu/losses.c */
void ls_cpu_sum_losses(ls_device *device, ls_type type, int64_t rows, const int32_t *labels, const float *weights, const void *losses, ls_type sum_type, void *sum);
void ls_cpu_element_loss(ls_device *device, const ls_element_loss_args *args);
void ls_cpu_element_loss_backward(ls_device *device, const ls_element_loss_args *args);
void ls_cpu_row_loss(ls_device *device, const ls_row_loss_args *args);
void ls_cpu_row_loss_backward(ls_device *device, const ls_row_loss_args *args);
void ls_cpu_cosine(ls_device *device, ls_type type, int64_t rows, int64_t width, double eps, const void *a, const void *b, void *y, double *stats);
void ls_cpu_cosine_backward(ls_device *device, ls_type type, int64_t rows, int64_t width, double eps, const void *a, const void *b, const double *stats, const void *dy, void *da, void *db);

/* tensor/cpu/sort.c */
ls_status ls_cpu_sort(ls_device *device, ls_type type, int64_t rows, int64_t length, bool descending, const void *x, void *values, int32_t *index, ls_arena *scratch);
void ls_cpu_scatter_add_elements(ls_device *device, ls_type type, int64_t rows, int64_t length, int64_t k, const int32_t *index, const void *y, void *x);
void ls_cpu_cumulative_sum(ls_device *device, ls_type type, int64_t outer, int64_t length, int64_t inner, bool reverse, bool accumulate, const void *x, void *y);

/* tensor/cpu/binary.c */
void ls_cpu_binary(ls_device *device, ls_binary op, ls_type type, const ls_strides *shape, const void *a, const void *b, void *y);
void ls_cpu_binary_backward(ls_device *device, ls_binary op, ls_type type, const ls_strides *shape, const void *a, const void *b, const void *dy, void *da, void *db, ls_arena *scratch);

/* tensor/cpu/rows.c */
void ls_cpu_reduce(ls_device *device, ls_reduce op, ls_type type, int64_t outer, int64_t length, int64_t inner, const void *x, void *y);
void ls_cpu_reduce_backward(ls_device *device, ls_reduce op, ls_type type, int64_t outer, int64_t length, int64_t inner, const void *x, const void *y, const void *dy, void *dx);
void ls_cpu_top_k(ls_device *device, ls_type type, int64_t rows, int64_t length, int64_t k, const void *x, void *values, int32_t *index);
void ls_cpu_softmax(ls_device *device, ls_type type, bool log, int64_t rows, int64_t length, const void *x, void *y);
void ls_cpu_softmax_backward(ls_device *device, ls_type type, bool log, int64_t rows, int64_t length, const void *y, const void *dy, void *dx);
void ls_cpu_norm(ls_device *device, ls_type type, ls_type gain_type, bool rms, int64_t rows, int64_t width, double eps, const void *x, const void *gain, const void *bias, void *y, void *stats);
void ls_cpu_norm_backward(ls_device *device, ls_type type, ls_type gain_type, bool rms, int64_t rows, int64_t width, const void *x, const void *gain, const void *stats, const void *dy, void *dx, void *dgain, void *dbias, ls_arena *scratch);
void ls_cpu_sum_rows(ls_device *device, ls_type type, int64_t rows, int64_t width, const void *x, void *y, ls_arena *scratch);
void ls_cpu_rotary(ls_device *device, ls_type type, int64_t rows, int64_t heads, int64_t width, const double *frequency, bool interleaved, bool inverse, const int32_t *position, const void *x, void *y, bool accumulate);

/* tensor/cpu/move.c */
void ls_cpu_copy_strided(ls_device *device, ls_type type, const ls_strides *shape, const void *x, void *y);
void ls_cpu_add_strided(ls_device *device, ls_type type, const ls_strides *shape, const void *y, void *x);
void ls_cpu_gather_rows(ls_device *device, ls_type type, int64_t n, int64_t width, const int32_t *index, const void *x, void *y);
void ls_cpu_scatter_add_rows(ls_device *device, ls_type type, ls_type x_type, int64_t n, int64_t width, int64_t x_rows, const int32_t *index, const void *y, void *x, ls_arena *scratch);

/* tensor/cpu/flat.c */
void ls_cpu_carry(ls_device *device, int64_t n, const float *x, int levels, const float *const *level, float *dst);
void ls_cpu_chunk_squares(ls_device *device, int64_t n, const float *x, double *sums);
void ls_cpu_optimizer_step(ls_device *device, const ls_optimizer_args *args);
void ls_cpu_average(ls_device *device, int64_t n, double weight, const float *x, float *average);
