/* The variant's kernels as a table. */
#include "tensor/cpu/vector/prototypes.h"

extern const ls_kernels KERNEL(table);
const ls_kernels KERNEL(table) = {
    .unary = KERNEL(unary),
    .unary_backward = KERNEL(unary_backward),
    .gated = KERNEL(gated),
    .gated_backward = KERNEL(gated_backward),
    .add_to = KERNEL(add_to),
    .fill = KERNEL(fill),
    .widen = KERNEL(widen),
    .narrow = KERNEL(narrow),
    .add_real = KERNEL(add_real),
    .where = KERNEL(where),
    .where_backward = KERNEL(where_backward),
    .dropout = KERNEL(dropout),
    .gumbel = KERNEL(gumbel),
    .binary = KERNEL(binary),
    .binary_gradient = KERNEL(binary_gradient),
    .reduce_partial = KERNEL(reduce_partial),
    .reduce_real = KERNEL(reduce_real),
    .reduce_store = KERNEL(reduce_store),
    .reduce_columns = KERNEL(reduce_columns),
    .reduce_columns_backward = KERNEL(reduce_columns_backward),
    .sum_rows = KERNEL(sum_rows),
    .top_k = KERNEL(top_k),
    .sort = KERNEL(sort),
    .scatter_add_elements = KERNEL(scatter_add_elements),
    .cumulate = KERNEL(cumulate),
    .softmax = KERNEL(softmax),
    .softmax_backward = KERNEL(softmax_backward),
    .norm = KERNEL(norm),
    .norm_backward = KERNEL(norm_backward),
    .element_loss = KERNEL(element_loss),
    .element_loss_backward = KERNEL(element_loss_backward),
    .row_loss = KERNEL(row_loss),
    .row_loss_backward = KERNEL(row_loss_backward),
    .cosine = KERNEL(cosine),
    .cosine_backward = KERNEL(cosine_backward),
    .rotary = KERNEL(rotary),
    .channel_moments = KERNEL(channel_moments),
    .channel_normalise = KERNEL(channel_normalise),
    .channel_gradients = KERNEL(channel_gradients),
    .channel_backward = KERNEL(channel_backward),
    .pool_greatest = KERNEL(pool_greatest),
    .pool_greatest_backward = KERNEL(pool_greatest_backward),
    .pool_add = KERNEL(pool_add),
    .pool_finish = KERNEL(pool_finish),
    .pool_add_backward = KERNEL(pool_add_backward),
    .blend = KERNEL(blend),
    .add_blend = KERNEL(add_blend),
};

#if defined(LS_ELEMENT_F32)
extern const ls_flat_kernels KERNEL(flat);
const ls_flat_kernels KERNEL(flat) = {
    .carry = KERNEL(carry),
    .squares = KERNEL(squares),
    .optimizer_step = KERNEL(optimizer_step),
    .average = KERNEL(average),
};
#endif
