/* Gated linear units: y = f(gate) x in one pass over memory, and both gradients in another (Shazeer 2020, "GLU variants improve
 * transformer"). f(gate) is kept by nobody; it is rounded as if it were, so the bits are those of an activation and a product. */
#include "tensor/ops/shapes.h"

typedef struct {
    ls_activation activation;
} gated_attributes;

static ls_status gated_forward(ls_node *node, ls_device *device)
{
    const gated_attributes *at = node->attributes;
    const ls_tensor *y = node->out[0];
    device->gated(device, ls_activation_function(at->activation), y->type, y->count, node->in[0]->data, node->in[1]->data, y->data);
    return LS_OK;
}

static ls_status gated_remake(ls_node *node, ls_device *device)
{
    const ls_status status = ls_make_inputs_again(node);
    return status == LS_OK ? gated_forward(node, device) : status;
}

static ls_status gated_shape(ls_node *node)
{
    const gated_attributes *at = node->attributes;
    if (at->activation == LS_ACT_NONE)
        return ls_fail(LS_EARG, "a gate without activation; ls_mul is that product");
    const ls_status status = ls_check_pair(node);
    node->remake = gated_remake;
    return status == LS_OK ? ls_shape_like_input(node) : status;
}

static ls_status gated_backward(ls_node *node, ls_device *device)
{
    const gated_attributes *at = node->attributes;
    const ls_tensor *gate = node->in[0], *x = node->in[1], *y = node->out[0];
    bool add_gate = false, add_x = false;
    void *dgate = ls_gradient_open(node, 0, y->type, &add_gate), *dx = ls_gradient_open(node, 1, y->type, &add_x);
    if (dgate || dx)
        device->gated_backward(device, ls_activation_function(at->activation), y->type, y->count, gate->data, x->data, y->grad,
                               dgate, add_gate, dx, add_x);
    return LS_OK;
}

static const ls_op gated_op = {"gated", gated_shape, gated_forward, gated_backward};

ls_tensor *ls_gated(ls_tape *tape, ls_activation activation, ls_tensor *gate, ls_tensor *x)
{
    const gated_attributes at = {activation};
    return ls_apply(tape, &gated_op, 2, (ls_tensor *[]){gate, x}, &at, sizeof at, 1, NULL);
}
