/* Operators that draw from the counter RNG.
 *
 * Dropout (Srivastava et al. 2014): y = x / (1 - p) where a uniform number is at least p, else 0. No mask is kept:
 * backward draws the same numbers again from the same counter.
 * Gumbel-softmax (Jang et al. 2017, Maddison et al. 2017): softmax((x + g) / temperature), g = -log(-log u); hard: the
 * one-hot vector of its greatest element (the first of equals), with the soft one's gradient (straight-through). */
#include "tensor/ops/shapes.h"

#include <math.h>

typedef struct {
    double p;
    ls_random stream;
} dropout_attributes;

static ls_status dropout_shape(ls_node *node)
{
    const dropout_attributes *at = node->attributes;
    if (!(at->p > 0 && at->p < 1))
        return ls_fail(LS_EARG, "p is %g, it must be in [0, 1)", at->p);
    return ls_shape_like_input(node);
}

static ls_status dropout_forward(ls_node *node, ls_device *device)
{
    const dropout_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    device->dropout(device, x->type, x->count, at->p, &at->stream, 0, x->data, node->out[0]->data, false);
    return LS_OK;
}

static ls_status dropout_backward(ls_node *node, ls_device *device)
{
    const dropout_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    bool accumulate;
    void *dx = ls_gradient_open(node, 0, x->type, &accumulate);
    if (dx)
        device->dropout(device, x->type, x->count, at->p, &at->stream, 0, node->out[0]->grad, dx, accumulate);
    return LS_OK;
}

static const ls_op dropout_op = {"dropout", dropout_shape, dropout_forward, dropout_backward};

ls_tensor *ls_dropout(ls_tape *tape, ls_tensor *x, double p)
{
    if (p == 0 || ls_tape_in_no_grad(tape))
        return x;
    const dropout_attributes at = {p, ls_tape_random(tape, LS_RANDOM_DROPOUT)};
    return ls_apply(tape, &dropout_op, 1, &x, &at, sizeof at, 1, NULL);
}

/* ---- Gumbel-softmax ---- */

typedef struct {
    double temperature;
    bool hard;
    ls_random stream;
} gumbel_attributes;

enum { SAVED_SOFT }; /* the softmax, in x's type */

static ls_status gumbel_shape(ls_node *node)
{
    const gumbel_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    if (x->ndim < 1)
        return ls_fail(LS_ESHAPE, "%s has no last axis", ls_describe(x).text);
    if (!(at->temperature > 0 && at->temperature < INFINITY))
        return ls_fail(LS_EARG, "temperature is %g, it must be above 0 and finite", at->temperature);
    return ls_shape_like_input(node);
}

/* y: 0 but for a 1 at index[r] of row r. */
static void one_hot(ls_device *device, int64_t rows, int64_t length, const int32_t *index, ls_tensor *y)
{
    device->fill(device, y->type, y->count, 0, y->data);
    for (int64_t r = 0; r < rows; r++)
        device->fill(device, y->type, 1, 1, (char *)y->data + (size_t)(r * length + index[r]) * ls_type_size(y->type));
}

static ls_status gumbel_forward(ls_node *node, ls_device *device)
{
    const gumbel_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    ls_tensor *y = node->out[0];
    const ls_type wide = ls_wide_type(x->type);
    const int64_t length = x->shape[x->ndim - 1], rows = x->count / length;
    void *soft = node->saved[SAVED_SOFT] =
        at->hard ? ls_node_take(node, (size_t)x->count * ls_type_size(x->type)) : y->data;
    const ls_tape_mark mark = ls_tape_marked(node->tape);
    void *noisy = x->type == wide ? soft : ls_node_take(node, (size_t)x->count * ls_type_size(wide));
    int32_t *winner = at->hard ? ls_node_take_host(node, (size_t)rows * sizeof *winner) : NULL;
    if (!soft || !noisy || (at->hard && !winner))
        return LS_EMEM;
    if (noisy != soft)
        device->cast(device, x->type, wide, x->count, x->data, noisy);
    device->gumbel(device, wide, x->count, 1 / at->temperature, &at->stream, 0, noisy != soft ? noisy : x->data, noisy);
    device->softmax(device, wide, false, rows, length, noisy, noisy);
    if (noisy != soft)
        device->cast(device, wide, x->type, x->count, noisy, soft);
    if (at->hard) {
        device->top_k(device, wide, rows, length, 1, noisy, NULL, winner);
        one_hot(device, rows, length, winner, y);
    }
    ls_tape_release(node->tape, mark);
    return LS_OK;
}

static ls_status gumbel_backward(ls_node *node, ls_device *device)
{
    const gumbel_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *y = node->out[0];
    const int64_t length = x->shape[x->ndim - 1], rows = x->count / length;
    void *dx = ls_gradient(node, 0), *dnoisy = ls_node_take(node, (size_t)x->count * ls_type_size(x->type));
    if (!dx)
        return LS_OK;
    if (!dnoisy)
        return LS_EMEM;
    device->fill(device, x->type, x->count, 0, dnoisy);
    device->softmax_backward(device, x->type, false, rows, length, node->saved[SAVED_SOFT], y->grad, dnoisy);
    device->unary_backward(device, LS_UNARY_SCALE, x->type, x->count, 1 / at->temperature, 0, x->data, y->data, dnoisy,
                           dx);
    return LS_OK;
}

static const ls_op gumbel_op = {"gumbel_softmax", gumbel_shape, gumbel_forward, gumbel_backward};

ls_tensor *ls_gumbel_softmax(ls_tape *tape, ls_tensor *x, double temperature, bool hard)
{
    const gumbel_attributes at = {temperature, hard, ls_tape_random(tape, LS_RANDOM_GUMBEL)};
    return ls_apply(tape, &gumbel_op, 1, &x, &at, sizeof at, 1, NULL);
}
