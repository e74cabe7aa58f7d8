/* Upsampling over grids, channels last (tensor/ops_image.h); which positions are seen: tensor/cpu/upsampling.c. */
#include "tensor/ops/shapes.h"
#include "tensor/ops_image.h"

typedef struct {
    ls_upsampling_kind kind;
    int64_t size[3];
    ls_grid grid;
} upsampling_attributes;

static ls_status upsampling_shape(ls_node *node)
{
    upsampling_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    ls_grid *g = &at->grid;
    int axes;
    ls_status status = ls_check_types(node);
    if (status == LS_OK)
        status = ls_grid_of(x, g, &axes);
    if (status != LS_OK)
        return status;
    for (int own = 0; own < axes; own++) {
        if (at->size[own] < 1)
            return ls_fail(LS_ESHAPE, "to size %lld on axis %d: it must be at least 1", (long long)at->size[own], own);
        g->out[3 - axes + own] = at->size[own];
    }
    ls_set_grid_shape(node->out[0], g, axes, g->channels);
    return LS_OK;
}

static ls_status upsampling_forward(ls_node *node, ls_device *device)
{
    const upsampling_attributes *at = node->attributes;
    return device->upsample(device, &at->grid, at->kind, node->in[0]->data, node->out[0]->data,
                            ls_tape_arena(node->tape));
}

static ls_status upsampling_backward(ls_node *node, ls_device *device)
{
    const upsampling_attributes *at = node->attributes;
    void *dx = ls_gradient(node, 0);
    return dx ? device->upsample_backward(device, &at->grid, at->kind, node->out[0]->grad, dx,
                                          ls_tape_arena(node->tape))
              : LS_OK;
}

static const ls_op upsampling_op = {"upsampling", upsampling_shape, upsampling_forward, upsampling_backward};

ls_tensor *ls_upsampling(ls_tape *tape, ls_tensor *x, ls_upsampling_kind kind, const int64_t *size)
{
    upsampling_attributes at = {.kind = kind};
    for (int i = 0; i < 3 && i < x->ndim - 2; i++)
        at.size[i] = size[i];
    return ls_apply(tape, &upsampling_op, 1, &x, &at, sizeof at, 1, NULL);
}
