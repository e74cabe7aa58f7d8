/* Dropout (Srivastava et al. 2014) from the counter RNG: y = x / (1 - p) where a uniform number is at least p, else 0.
 * No mask is kept: backward draws the same numbers again from the same counter. */
#include "tensor/ops/shapes.h"

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
