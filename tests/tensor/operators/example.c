/* The example of docs/adding-an-operator.md, which quotes this file: squared ReLU above a threshold,
 *     y = max(x - threshold, 0)^2        dy/dx = 2 max(x - threshold, 0)
 * (So et al. 2021, "Primer", with threshold 0). */
#include "tensor/ops/shapes.h"
#include "tests/tensor/operators/family.h"

typedef struct {
    double threshold;
} squared_relu_attributes;

enum { SAVED_RELU };

static ls_status squared_relu_shape(ls_node *node)
{
    const squared_relu_attributes *at = node->attributes;
    if (!isfinite(at->threshold))
        return ls_fail(LS_EARG, "threshold is %g, it must be finite", at->threshold);
    return ls_shape_like_input(node);
}

static ls_status squared_relu_forward(ls_node *node, ls_device *device)
{
    const squared_relu_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *y = node->out[0];
    void *relu = node->saved[SAVED_RELU] = ls_node_take(node, (size_t)x->count * ls_type_size(x->type));
    if (!relu)
        return LS_EMEM;
    device->unary(device, LS_UNARY_SCALE, x->type, x->count, 1, -at->threshold, x->data, y->data);
    device->unary(device, LS_UNARY_RELU, x->type, x->count, 0, 0, y->data, relu);
    device->unary(device, LS_UNARY_SQUARE, x->type, x->count, 0, 0, relu, y->data);
    return LS_OK;
}

static ls_status squared_relu_backward(ls_node *node, ls_device *device)
{
    const ls_tensor *x = node->in[0], *y = node->out[0];
    void *dx = ls_gradient(node, 0);
    if (dx) /* dx += dy * 2 relu: the square's own backward, as 2 relu is 0 where relu is */
        device->unary_backward(device, LS_UNARY_SQUARE, x->type, x->count, 0, 0, node->saved[SAVED_RELU], y->data,
                               y->grad, dx);
    return LS_OK;
}

static const ls_op squared_relu_op = {"squared_relu", squared_relu_shape, squared_relu_forward, squared_relu_backward};

static ls_tensor *squared_relu(ls_tape *tape, ls_tensor *x, double threshold)
{
    const squared_relu_attributes at = {threshold};
    return ls_apply(tape, &squared_relu_op, 1, &x, &at, sizeof at, 1, NULL);
}

/* ---- its description: how to build it, its formula, the shapes to try ---- */

static ls_tensor *build(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    (void)c;
    return squared_relu(tape, in[0], 0.25);
}

static double formula(double x)
{
    return x > 0.25 ? (x - 0.25) * (x - 0.25) : 0;
}

static const operator_case cases[] = {{"odd", {{2, {3, 7}}}, {0}}, {"past one vector", {{1, {67}}}, {0}}, {0}};

const operator_description operators_example[] = {
    {.name = "squared_relu", .inputs = 1, .build = build, .value_one = formula, .cases = cases, .draw = draw_any, .bench = BIG_ONE},
    {0},
};
