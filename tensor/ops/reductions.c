/* Sum, mean, maximum, minimum and Euclidean norm over one axis or over all; running sums along one.
 * A tensor is read as [outer, length, inner], the middle being reduced; the order of sums is the device's. */
#include "tensor/ops/shapes.h"

typedef struct {
    int axis; /* LS_ALL, or counted from the front once the shape rule has run */
} reduce_attributes;

typedef struct {
    int64_t outer, length, inner;
} reduce_view;

static reduce_view view_of(const ls_node *node)
{
    const reduce_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    if (at->axis == LS_ALL)
        return (reduce_view){1, x->count, 1};
    return (reduce_view){ls_extent(x, 0, at->axis), x->shape[at->axis], ls_extent(x, at->axis + 1, x->ndim)};
}

static ls_status reduce_shape(ls_node *node)
{
    reduce_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    ls_tensor *y = node->out[0];
    ls_status status = ls_check_types(node);
    if (status == LS_OK && at->axis != LS_ALL)
        status = ls_check_axis(x, &at->axis);
    if (status != LS_OK)
        return status;
    y->type = x->type;
    for (int i = 0; at->axis != LS_ALL && i < x->ndim; i++)
        if (i != at->axis)
            y->shape[y->ndim++] = x->shape[i];
    return LS_OK;
}

/* There is no greatest or least of no numbers. */
static ls_status extreme_shape(ls_node *node)
{
    ls_status status = reduce_shape(node);
    if (status == LS_OK && view_of(node).length == 0 && ls_extent(node->out[0], 0, node->out[0]->ndim) > 0)
        return ls_fail(LS_ESHAPE, "%s has no element along the axis", ls_describe(node->in[0]).text);
    return status;
}

static const ls_op reduce_ops[LS_REDUCE_COUNT];

static ls_status reduce_forward(ls_node *node, ls_device *device)
{
    reduce_view view = view_of(node);
    const ls_tensor *x = node->in[0];
    device->reduce(device, (ls_reduce)(node->op - reduce_ops), x->type, view.outer, view.length, view.inner, x->data,
                   node->out[0]->data);
    return LS_OK;
}

static ls_status reduce_backward(ls_node *node, ls_device *device)
{
    reduce_view view = view_of(node);
    const ls_tensor *x = node->in[0], *y = node->out[0];
    void *dx = ls_gradient(node, 0);
    if (dx)
        device->reduce_backward(device, (ls_reduce)(node->op - reduce_ops), x->type, view.outer, view.length,
                                view.inner, x->data, y->data, y->grad, dx);
    return LS_OK;
}

static const ls_op reduce_ops[LS_REDUCE_COUNT] = {
    [LS_REDUCE_SUM] = {"sum", reduce_shape, reduce_forward, reduce_backward},
    [LS_REDUCE_MEAN] = {"mean", reduce_shape, reduce_forward, reduce_backward},
    [LS_REDUCE_MAX] = {"reduce_max", extreme_shape, reduce_forward, reduce_backward},
    [LS_REDUCE_MIN] = {"reduce_min", extreme_shape, reduce_forward, reduce_backward},
    [LS_REDUCE_NORM] = {"norm", reduce_shape, reduce_forward, reduce_backward},
};

static ls_tensor *reduce(ls_tape *tape, ls_reduce op, ls_tensor *x, int axis)
{
    const reduce_attributes at = {axis};
    return ls_apply(tape, &reduce_ops[op], 1, &x, &at, sizeof at, 1, NULL);
}

ls_tensor *ls_sum(ls_tape *tape, ls_tensor *x, int axis)
{
    return reduce(tape, LS_REDUCE_SUM, x, axis);
}

ls_tensor *ls_mean(ls_tape *tape, ls_tensor *x, int axis)
{
    return reduce(tape, LS_REDUCE_MEAN, x, axis);
}

ls_tensor *ls_reduce_max(ls_tape *tape, ls_tensor *x, int axis)
{
    return reduce(tape, LS_REDUCE_MAX, x, axis);
}

ls_tensor *ls_reduce_min(ls_tape *tape, ls_tensor *x, int axis)
{
    return reduce(tape, LS_REDUCE_MIN, x, axis);
}

ls_tensor *ls_norm(ls_tape *tape, ls_tensor *x, int axis)
{
    return reduce(tape, LS_REDUCE_NORM, x, axis);
}

/* ---- running sums ---- */

static ls_status cumulative_shape(ls_node *node)
{
    reduce_attributes *at = node->attributes;
    ls_status status = ls_check_axis(node->in[0], &at->axis);
    return status == LS_OK ? ls_shape_like_input(node) : status;
}

static ls_status cumulative_forward(ls_node *node, ls_device *device)
{
    reduce_view view = view_of(node);
    const ls_tensor *x = node->in[0];
    device->cumulative_sum(device, x->type, view.outer, view.length, view.inner, false, false, x->data,
                           node->out[0]->data);
    return LS_OK;
}

/* y_i = x_0 + .. + x_i, so dx_i = dy_i + .. + dy_(n-1): the running sum from the end. */
static ls_status cumulative_backward(ls_node *node, ls_device *device)
{
    reduce_view view = view_of(node);
    const ls_tensor *x = node->in[0];
    bool accumulate;
    void *dx = ls_gradient_open(node, 0, x->type, &accumulate);
    if (dx)
        device->cumulative_sum(device, x->type, view.outer, view.length, view.inner, true, accumulate,
                               node->out[0]->grad, dx);
    return LS_OK;
}

static const ls_op cumulative_op = {"cumulative_sum", cumulative_shape, cumulative_forward, cumulative_backward};

ls_tensor *ls_cumulative_sum(ls_tape *tape, ls_tensor *x, int axis)
{
    const reduce_attributes at = {axis};
    return ls_apply(tape, &cumulative_op, 1, &x, &at, sizeof at, 1, NULL);
}
