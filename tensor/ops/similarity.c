/* Cosine similarity over the last axis: y = a . b / (max(|a|, eps) max(|b|, eps)), as PyTorch's cosine_similarity.
 *     da = dy (b / (|a| |b|) - y a / |a|^2),   without the second term where |a| <= eps: the divisor is a constant
 * there. (PyTorch's gradient keeps that term below eps, which is not the derivative of its value.) */
#include "tensor/ops/shapes.h"

typedef struct {
    double eps;
} cosine_attributes;

enum { SAVED_STATS }; /* [rows, 3] f64: a . b, |a|, |b| */

static ls_status cosine_shape(ls_node *node)
{
    const cosine_attributes *at = node->attributes;
    const ls_tensor *a = node->in[0];
    ls_status status = ls_check_pair(node);
    if (status != LS_OK)
        return status;
    if (a->ndim < 1)
        return ls_fail(LS_ESHAPE, "%s has no last axis", ls_describe(a).text);
    if (!(at->eps > 0))
        return ls_fail(LS_EARG, "eps is %g, it must be above 0", at->eps);
    ls_set_shape(node->out[0], a->type, a->ndim - 1, a->shape);
    return LS_OK;
}

static ls_status cosine_forward(ls_node *node, ls_device *device)
{
    const cosine_attributes *at = node->attributes;
    const ls_tensor *a = node->in[0], *y = node->out[0];
    double *stats = node->saved[SAVED_STATS] = ls_node_take(node, (size_t)y->count * 3 * sizeof *stats);
    if (!stats)
        return LS_EMEM;
    device->cosine(device, a->type, y->count, a->shape[a->ndim - 1], at->eps, a->data, node->in[1]->data, y->data,
                   stats);
    return LS_OK;
}

static ls_status cosine_backward(ls_node *node, ls_device *device)
{
    const cosine_attributes *at = node->attributes;
    const ls_tensor *a = node->in[0], *y = node->out[0];
    void *da = ls_gradient(node, 0), *db = ls_gradient(node, 1);
    if (da || db)
        device->cosine_backward(device, a->type, y->count, a->shape[a->ndim - 1], at->eps, a->data, node->in[1]->data,
                                node->saved[SAVED_STATS], y->grad, da, db);
    return LS_OK;
}

static const ls_op cosine_op = {"cosine_similarity", cosine_shape, cosine_forward, cosine_backward};

ls_tensor *ls_cosine_similarity(ls_tape *tape, ls_tensor *a, ls_tensor *b, double eps)
{
    const cosine_attributes at = {eps};
    return ls_apply(tape, &cosine_op, 2, (ls_tensor *[]){a, b}, &at, sizeof at, 1, NULL);
}
