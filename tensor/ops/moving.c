/* Operators that only move elements: reshape (a view), stop-gradient (a view), permute, narrow, concat, split.
 * The last four are one strided copy a piece; backward is the same copy the other way. */
#include "tensor/ops/shapes.h"

#include <string.h>

static ls_strides turned(const ls_strides *strides)
{
    ls_strides out = *strides;
    memcpy(out.stride_a, strides->stride_b, sizeof out.stride_a);
    memcpy(out.stride_b, strides->stride_a, sizeof out.stride_b);
    return out;
}

/* Copies, or adds where `accumulate`: to[by stride_b] (+)= from[by stride_a]. */
static void move(ls_device *device, ls_type type, const ls_strides *strides, const void *from, void *to,
                 bool accumulate)
{
    ls_strides back = turned(strides);
    if (accumulate)
        device->add_strided(device, type, &back, from, to);
    else
        device->copy_strided(device, type, strides, from, to);
}

static const void *element(const ls_tensor *x, const void *data, int64_t offset)
{
    return (const char *)data + (size_t)offset * ls_type_size(x->type);
}

static void *element_in(const ls_tensor *x, void *data, int64_t offset)
{
    return (char *)data + (size_t)offset * ls_type_size(x->type);
}

/* ---- reshape ---- */

typedef struct {
    int ndim;
    int64_t shape[LS_MAX_DIMS];
} reshape_attributes;

static ls_status reshape_shape(ls_node *node)
{
    const reshape_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    ls_tensor *y = node->out[0];
    if (at->ndim < 0 || at->ndim > LS_MAX_DIMS)
        return ls_fail(LS_ESHAPE, "to %d axes; there may be 0 to %d", at->ndim, LS_MAX_DIMS);
    ls_set_shape(y, x->type, at->ndim, at->shape);
    y->data = x->data;
    if (ls_extent(y, 0, y->ndim) != x->count)
        return ls_fail(LS_ESHAPE, "%s to %s: the number of elements must stay", ls_describe(x).text,
                       ls_describe(y).text);
    return LS_OK;
}

static ls_status reshape_backward(ls_node *node, ls_device *device)
{
    (void)device;
    ls_gradient_pass(node, 0, node->out[0]->grad);
    return LS_OK;
}

static const ls_op reshape_op = {"reshape", reshape_shape, NULL, reshape_backward};

ls_tensor *ls_reshape(ls_tape *tape, ls_tensor *x, int ndim, const int64_t *shape)
{
    reshape_attributes at = {.ndim = ndim};
    for (int i = 0; i < ndim && i < LS_MAX_DIMS; i++)
        at.shape[i] = shape[i];
    return ls_apply(tape, &reshape_op, 1, &x, &at, sizeof at, 1, NULL);
}

/* ---- stop-gradient ---- */

static ls_status view_shape(ls_node *node)
{
    ls_set_shape(node->out[0], node->in[0]->type, node->in[0]->ndim, node->in[0]->shape);
    node->out[0]->data = node->in[0]->data;
    return LS_OK;
}

static const ls_op stop_gradient_op = {.name = "stop_gradient", .shape = view_shape};

ls_tensor *ls_stop_gradient(ls_tape *tape, ls_tensor *x)
{
    return ls_apply(tape, &stop_gradient_op, 1, &x, NULL, 0, 1, NULL);
}

/* ---- permute ---- */

typedef struct {
    int axes[LS_MAX_DIMS];
} permute_attributes;

static ls_status permute_shape(ls_node *node)
{
    const permute_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    ls_tensor *y = node->out[0];
    unsigned seen = 0;
    y->type = x->type;
    y->ndim = x->ndim;
    for (int i = 0; i < x->ndim; i++) {
        int axis = at->axes[i];
        if (axis < 0 || axis >= x->ndim || seen & 1u << axis)
            return ls_fail(LS_ESHAPE, "%s: axes[%d] is %d; they must name each of 0 to %d once", ls_describe(x).text, i,
                           axis, x->ndim - 1);
        seen |= 1u << axis;
        y->shape[i] = x->shape[axis];
    }
    return LS_OK;
}

/* From x to y, over y's shape. */
static ls_strides permute_strides(const ls_node *node)
{
    const permute_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *y = node->out[0];
    int64_t dense[LS_MAX_DIMS];
    ls_dense_strides(x->ndim, x->shape, dense);
    ls_strides strides = {.ndim = y->ndim};
    for (int i = 0; i < y->ndim; i++) {
        strides.shape[i] = y->shape[i];
        strides.stride_a[i] = dense[at->axes[i]];
    }
    ls_dense_strides(y->ndim, y->shape, strides.stride_b);
    return strides;
}

static ls_status permute_forward(ls_node *node, ls_device *device)
{
    ls_strides strides = permute_strides(node);
    device->copy_strided(device, node->in[0]->type, &strides, node->in[0]->data, node->out[0]->data);
    return LS_OK;
}

static ls_status permute_backward(ls_node *node, ls_device *device)
{
    ls_strides forward = permute_strides(node), back = turned(&forward);
    bool accumulate;
    void *dx = ls_gradient_open(node, 0, node->in[0]->type, &accumulate);
    if (dx)
        move(device, node->in[0]->type, &back, node->out[0]->grad, dx, accumulate);
    return LS_OK;
}

static const ls_op permute_op = {"permute", permute_shape, permute_forward, permute_backward};

ls_tensor *ls_permute(ls_tape *tape, ls_tensor *x, const int *axes)
{
    permute_attributes at = {{0}};
    memcpy(at.axes, axes, (size_t)x->ndim * sizeof *axes);
    return ls_apply(tape, &permute_op, 1, &x, &at, sizeof at, 1, NULL);
}

/* ---- pieces of one axis: narrow, split, concat ----
 * `piece` is elements [begin, begin + its size) of `whole` along `axis`; the strides go from whole to piece. */

static ls_strides piece_strides(const ls_tensor *whole, const ls_tensor *piece)
{
    ls_strides strides = {.ndim = whole->ndim};
    memcpy(strides.shape, piece->shape, sizeof strides.shape);
    ls_dense_strides(whole->ndim, whole->shape, strides.stride_a);
    ls_dense_strides(piece->ndim, piece->shape, strides.stride_b);
    return strides;
}

static int64_t piece_offset(const ls_tensor *whole, int axis, int64_t begin)
{
    return begin * ls_extent(whole, axis + 1, whole->ndim);
}

typedef struct {
    int axis;
    int64_t begin, length;
} narrow_attributes;

static ls_status narrow_shape(ls_node *node)
{
    narrow_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    ls_status status = ls_check_axis(x, &at->axis);
    if (status != LS_OK)
        return status;
    int64_t size = x->shape[at->axis];
    if (at->begin < 0 || at->length < 0 || at->begin > size - at->length)
        return ls_fail(LS_ESHAPE, "%s: elements %lld to %lld of axis %d, which has %lld", ls_describe(x).text,
                       (long long)at->begin, (long long)(at->begin + at->length - 1), at->axis, (long long)size);
    ls_set_shape(node->out[0], x->type, x->ndim, x->shape);
    node->out[0]->shape[at->axis] = at->length;
    return LS_OK;
}

static ls_status narrow_forward(ls_node *node, ls_device *device)
{
    const narrow_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *y = node->out[0];
    ls_strides strides = piece_strides(x, y);
    device->copy_strided(device, x->type, &strides, element(x, x->data, piece_offset(x, at->axis, at->begin)), y->data);
    return LS_OK;
}

static ls_status narrow_backward(ls_node *node, ls_device *device)
{
    const narrow_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *y = node->out[0];
    ls_strides strides = piece_strides(x, y);
    void *dx = ls_gradient(node, 0);
    if (dx)
        device->add_strided(device, x->type, &strides, y->grad,
                            element_in(x, dx, piece_offset(x, at->axis, at->begin)));
    return LS_OK;
}

static const ls_op narrow_op = {"narrow", narrow_shape, narrow_forward, narrow_backward};

ls_tensor *ls_narrow(ls_tape *tape, ls_tensor *x, int axis, int64_t begin, int64_t length)
{
    const narrow_attributes at = {axis, begin, length};
    return ls_apply(tape, &narrow_op, 1, &x, &at, sizeof at, 1, NULL);
}

typedef struct {
    int axis;
    const int64_t *lengths; /* split's, on the arena */
} pieces_attributes;

static ls_status split_shape(ls_node *node)
{
    pieces_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    ls_status status = ls_check_axis(x, &at->axis);
    if (status != LS_OK)
        return status;
    int64_t sum = 0;
    for (int i = 0; i < node->outputs; i++) {
        sum += at->lengths[i];
        ls_set_shape(node->out[i], x->type, x->ndim, x->shape);
        node->out[i]->shape[at->axis] = at->lengths[i];
    }
    if (sum != x->shape[at->axis])
        return ls_fail(LS_ESHAPE, "%s into %d parts of axis %d: their lengths add up to %lld, not %lld",
                       ls_describe(x).text, node->outputs, at->axis, (long long)sum, (long long)x->shape[at->axis]);
    return LS_OK;
}

static ls_status split_forward(ls_node *node, ls_device *device)
{
    const pieces_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    int64_t begin = 0;
    for (int i = 0; i < node->outputs; begin += at->lengths[i++]) {
        ls_strides strides = piece_strides(x, node->out[i]);
        device->copy_strided(device, x->type, &strides, element(x, x->data, piece_offset(x, at->axis, begin)),
                             node->out[i]->data);
    }
    return LS_OK;
}

static ls_status split_backward(ls_node *node, ls_device *device)
{
    const pieces_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    bool all = true, accumulate = true;
    for (int i = 0; i < node->outputs; i++)
        all = all && node->out[i]->grad;
    /* Parts cover x, so they overwrite; but a part nobody used leaves a hole, which must be zeros. */
    void *dx = all ? ls_gradient_open(node, 0, x->type, &accumulate) : ls_gradient(node, 0);
    int64_t begin = 0;
    for (int i = 0; dx && i < node->outputs; begin += at->lengths[i++]) {
        if (!node->out[i]->grad)
            continue;
        ls_strides to_piece = piece_strides(x, node->out[i]), back = turned(&to_piece);
        move(device, x->type, &back, node->out[i]->grad, element_in(x, dx, piece_offset(x, at->axis, begin)),
             accumulate);
    }
    return LS_OK;
}

static const ls_op split_op = {"split", split_shape, split_forward, split_backward};

void ls_split(ls_tape *tape, ls_tensor *x, int axis, int n, const int64_t *lengths, ls_tensor **parts)
{
    const pieces_attributes at = {axis, ls_copy_array(tape, lengths, n, sizeof *lengths)};
    ls_apply(tape, &split_op, 1, &x, &at, sizeof at, n, parts);
}

static ls_status concat_shape(ls_node *node)
{
    pieces_attributes *at = node->attributes;
    const ls_tensor *first = node->in[0];
    ls_tensor *y = node->out[0];
    ls_status status = ls_check_types(node);
    if (status == LS_OK)
        status = ls_check_axis(first, &at->axis);
    if (status != LS_OK)
        return status;
    ls_set_shape(y, first->type, first->ndim, first->shape);
    for (int i = 1; i < node->inputs; i++) {
        const ls_tensor *x = node->in[i];
        bool fits = x->ndim == first->ndim;
        for (int k = 0; fits && k < x->ndim; k++)
            fits = k == at->axis || x->shape[k] == first->shape[k];
        if (!fits)
            return ls_fail(LS_ESHAPE, "input 0 is %s, but input %d is %s: only axis %d may differ",
                           ls_describe(first).text, i, ls_describe(x).text, at->axis);
        y->shape[at->axis] += x->shape[at->axis];
    }
    return LS_OK;
}

static ls_status concat_forward(ls_node *node, ls_device *device)
{
    const pieces_attributes *at = node->attributes;
    const ls_tensor *y = node->out[0];
    int64_t begin = 0;
    for (int i = 0; i < node->inputs; begin += node->in[i++]->shape[at->axis]) {
        const ls_tensor *x = node->in[i];
        ls_strides to_piece = piece_strides(y, x), back = turned(&to_piece);
        device->copy_strided(device, y->type, &back, x->data, element_in(y, y->data, piece_offset(y, at->axis, begin)));
    }
    return LS_OK;
}

static ls_status concat_backward(ls_node *node, ls_device *device)
{
    const pieces_attributes *at = node->attributes;
    const ls_tensor *y = node->out[0];
    int64_t begin = 0;
    for (int i = 0; i < node->inputs; begin += node->in[i++]->shape[at->axis]) {
        const ls_tensor *x = node->in[i];
        ls_strides to_piece = piece_strides(y, x);
        bool accumulate;
        void *dx = ls_gradient_open(node, i, x->type, &accumulate);
        if (dx)
            move(device, y->type, &to_piece, element(y, y->grad, piece_offset(y, at->axis, begin)), dx, accumulate);
    }
    return LS_OK;
}

static const ls_op concat_op = {"concat", concat_shape, concat_forward, concat_backward};

ls_tensor *ls_concat(ls_tape *tape, int n, ls_tensor *const *x, int axis)
{
    const pieces_attributes at = {.axis = axis};
    return ls_apply(tape, &concat_op, n, x, &at, sizeof at, 1, NULL);
}
