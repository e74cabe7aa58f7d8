/* What the shape rules of all operators share: checks with their sentences, and strides. */
#pragma once
#include "tensor/ops.h"

typedef struct {
    char text[112];
} ls_shape_text;

/* "f32 [2, 3]", for sentences: ls_describe(x).text lives until the end of the full expression. */
ls_shape_text ls_describe(const ls_tensor *x);

/* LS_ETYPE unless all inputs (NULL ones apart) have one float type. */
ls_status ls_check_types(const ls_node *node);
/* As above, but inputs from `from` on may be f32 beside bf16 or f16: gains and biases. */
ls_status ls_check_types_gains(const ls_node *node, int from);
/* LS_ETYPE, LS_ESHAPE unless inputs 0 and 1 have one float type and one shape. */
ls_status ls_check_pair(const ls_node *node);
/* A negative axis counts from the end. LS_ESHAPE: there is no such axis. */
ls_status ls_check_axis(const ls_tensor *x, int *axis);

void ls_set_shape(ls_tensor *out, ls_type type, int ndim, const int64_t *shape);
/* The shape rule of operators whose result is like their one input. */
ls_status ls_shape_like_input(ls_node *node);

/* Product of sizes [begin, end). */
int64_t ls_extent(const ls_tensor *x, int begin, int end);
/* f32, or f64 for f64: the type of sums and statistics. */
ls_type ls_wide_type(ls_type type);
/* The losses of rows in f32 for a caller who wants them, for which the device is waited for. NULL: nobody does. */
ls_status ls_give_losses(const ls_node *node, ls_type type, int64_t rows, const void *losses, float *to);
/* Row-major strides of a dense array. */
void ls_dense_strides(int ndim, const int64_t *shape, int64_t *stride);
/* Arrays given beside tensors, copied to the tape's arena; one of 0 elements may be NULL. NULL: an earlier error; or
 * raised now: count below 0, no memory. */
void *ls_copy_array(ls_tape *tape, const void *array, int64_t count, size_t element_bytes);
/* The same for arrays that nobody changes: one that a device prefetched is used where it is. */
const void *ls_keep_array(ls_tape *tape, const void *array, int64_t count, size_t element_bytes);
/* Memory of the device for forward's `saved` and for scratch; NULL: none left, with its sentence. The host may not touch it. */
void *ls_node_take(const ls_node *node, size_t bytes);
/* The same of the host: what the host makes for the device, and what it reads of a call's results. */
void *ls_node_take_host(const ls_node *node, size_t bytes);
/* Gradient of what went into the activation that out[0] came out of: out[0]->grad itself without one. NULL: no memory. */
const void *ls_activation_backward(ls_node *node, ls_device *device, ls_activation activation, const void *pre);
/* The grid of x [N, L1, .., Ld, C], its axes last in the three of ls_grid. LS_ESHAPE: d is not 1, 2 or 3. */
ls_status ls_grid_of(const ls_tensor *x, ls_grid *grid, int *axes);
/* Shape [N, grid->out, channels] for a result of the same number of axes. */
void ls_set_grid_shape(ls_tensor *out, const ls_grid *grid, int axes, int64_t channels);
