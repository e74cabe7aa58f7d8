/* Pooling over grids, channels last (tensor/ops_image.h). */
#include "tensor/ops/shapes.h"
#include "tensor/ops_image.h"

typedef struct {
    ls_pooling_kind kind;
    bool global;
    int64_t window[3], stride[3], padding[3];
    ls_grid grid;
} pool_attributes;

enum { SAVED_WHICH };

static ls_status pool_shape(ls_node *node)
{
    pool_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    ls_grid *g = &at->grid;
    int axes;
    const ls_status status = ls_grid_of(x, g, &axes);
    if (status != LS_OK)
        return status;
    for (int own = 0; own < axes; own++) {
        const int i = 3 - axes + own;
        g->window[i] = at->global ? g->in[i] : at->window[own];
        g->stride[i] = at->stride[own] ? at->stride[own] : g->window[i];
        g->padding[i] = at->padding[own];
        if (g->window[i] < 1 || g->stride[i] < 1 || g->padding[i] < 0 || 2 * g->padding[i] > g->window[i])
            return ls_fail(LS_EARG, "axis %d: window %lld and stride %lld must be at least 1, padding %lld at most half the window", own,
                           (long long)g->window[i], (long long)g->stride[i], (long long)g->padding[i]);
        if (g->window[i] > g->in[i] + 2 * g->padding[i])
            return ls_fail(LS_ESHAPE, "x %s: a window of %lld on axis %d, there are %lld positions with padding", ls_describe(x).text,
                           (long long)g->window[i], own, (long long)(g->in[i] + 2 * g->padding[i]));
        g->out[i] = (g->in[i] + 2 * g->padding[i] - g->window[i]) / g->stride[i] + 1;
    }
    g->outputs = g->channels;
    if (at->global)
        ls_set_shape(node->out[0], x->type, 2, (int64_t[]){g->batch, g->channels});
    else
        ls_set_grid_shape(node->out[0], g, axes, g->channels);
    return LS_OK;
}

static ls_status pool_forward(ls_node *node, ls_device *device)
{
    const pool_attributes *at = node->attributes;
    const ls_tensor *y = node->out[0];
    if (node->recorded && at->kind == LS_POOL_MAX) {
        node->saved[SAVED_WHICH] = ls_node_take(node, (size_t)y->count * sizeof(int32_t));
        if (!node->saved[SAVED_WHICH])
            return LS_EMEM;
    }
    device->pool(device, &at->grid, at->kind, node->in[0]->data, y->data, node->saved[SAVED_WHICH]);
    return LS_OK;
}

static ls_status pool_backward(ls_node *node, ls_device *device)
{
    const pool_attributes *at = node->attributes;
    void *dx = ls_gradient(node, 0);
    if (dx)
        device->pool_backward(device, &at->grid, at->kind, node->out[0]->grad, node->saved[SAVED_WHICH], dx);
    return LS_OK;
}

static const ls_op pool_op = {"pool", pool_shape, pool_forward, pool_backward};

ls_tensor *ls_pooling(ls_tape *tape, ls_tensor *x, ls_pooling_kind kind, const int64_t *window, const int64_t *stride, const int64_t *padding)
{
    pool_attributes at = {.kind = kind};
    for (int i = 0; i < 3 && i < x->ndim - 2; i++) {
        at.window[i] = window[i];
        at.stride[i] = stride ? stride[i] : 0;
        at.padding[i] = padding ? padding[i] : 0;
    }
    return ls_apply(tape, &pool_op, 1, &x, &at, sizeof at, 1, NULL);
}

ls_tensor *ls_global_pooling(ls_tape *tape, ls_tensor *x, ls_pooling_kind kind)
{
    const pool_attributes at = {.kind = kind, .global = true};
    return ls_apply(tape, &pool_op, 1, &x, &at, sizeof at, 1, NULL);
}
