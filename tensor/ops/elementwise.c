/* Elementwise operators: two inputs with broadcasting, one input, where, cast.
 *
 * Broadcasting (NumPy's rule): shapes are aligned at the last axis, and a size of 1 repeats, which is stride 0. */
#include "tensor/ops/shapes.h"

/* ---- two inputs ---- */

typedef struct {
    bool in_place; /* the result takes b's place */
} binary_attributes;

static const ls_op binary_ops[LS_BINARY_COUNT];
static ls_status binary_remake(ls_node *node, ls_device *device);

static ls_status binary_shape(ls_node *node)
{
    const binary_attributes *at = node->attributes;
    const ls_tensor *a = node->in[0], *b = node->in[1];
    ls_tensor *y = node->out[0];
    ls_status status = ls_check_types(node);
    if (status != LS_OK)
        return status;
    y->type = a->type;
    y->ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int i = 0; i < y->ndim; i++) {
        int ia = i - (y->ndim - a->ndim), ib = i - (y->ndim - b->ndim);
        int64_t size_a = ia < 0 ? 1 : a->shape[ia], size_b = ib < 0 ? 1 : b->shape[ib];
        if (size_a != size_b && size_a != 1 && size_b != 1)
            return ls_fail(LS_ESHAPE,
                           "%s and %s: sizes %lld and %lld, aligned at the last axis, are neither equal nor 1",
                           ls_describe(a).text, ls_describe(b).text, (long long)size_a, (long long)size_b);
        y->shape[i] = size_a == 1 ? size_b : size_a;
    }
    if (at->in_place)
        y->data = b->data;
    if (node->op == &binary_ops[LS_BINARY_MUL])
        node->remake = binary_remake;
    return LS_OK;
}

static void broadcast_strides(const ls_tensor *x, int ndim, int64_t *stride)
{
    int64_t dense[LS_MAX_DIMS];
    ls_dense_strides(x->ndim, x->shape, dense);
    for (int i = 0; i < ndim; i++) {
        int ix = i - (ndim - x->ndim);
        stride[i] = ix < 0 || x->shape[ix] == 1 ? 0 : dense[ix];
    }
}

static ls_strides binary_strides(const ls_node *node)
{
    const ls_tensor *y = node->out[0];
    ls_strides strides = {.ndim = y->ndim};
    for (int i = 0; i < y->ndim; i++)
        strides.shape[i] = y->shape[i];
    broadcast_strides(node->in[0], y->ndim, strides.stride_a);
    broadcast_strides(node->in[1], y->ndim, strides.stride_b);
    return strides;
}

static ls_status binary_forward(ls_node *node, ls_device *device)
{
    ls_strides strides = binary_strides(node);
    device->binary(device, (ls_binary)(node->op - binary_ops), node->out[0]->type, &strides, node->in[0]->data,
                   node->in[1]->data, node->out[0]->data);
    return LS_OK;
}

static ls_status binary_remake(ls_node *node, ls_device *device)
{
    const ls_status status = ls_make_inputs_again(node);
    return status == LS_OK ? binary_forward(node, device) : status;
}

static ls_status binary_backward(ls_node *node, ls_device *device)
{
    ls_binary op = (ls_binary)(node->op - binary_ops);
    const ls_tensor *a = node->in[0], *b = node->in[1], *y = node->out[0];
    const void *dy = y->grad;
    bool pass_a = (op == LS_BINARY_ADD || op == LS_BINARY_SUB) && a->count == y->count;
    bool pass_b = op == LS_BINARY_ADD && b->count == y->count;
    if (pass_a)
        ls_gradient_pass(node, 0, dy);
    if (pass_b)
        ls_gradient_pass(node, 1, dy);
    void *da = pass_a ? NULL : ls_gradient(node, 0);
    void *db = pass_b ? NULL : ls_gradient(node, 1);
    if (!da && !db)
        return LS_OK;
    ls_strides strides = binary_strides(node);
    device->binary_backward(device, op, y->type, &strides, a->data, b->data, dy, da, db, ls_tape_arena(node->tape));
    return LS_OK;
}

static const ls_op binary_ops[LS_BINARY_COUNT] = {
    [LS_BINARY_ADD] = {"add", binary_shape, binary_forward, binary_backward},
    [LS_BINARY_SUB] = {"sub", binary_shape, binary_forward, binary_backward},
    [LS_BINARY_MUL] = {"mul", binary_shape, binary_forward, binary_backward},
    [LS_BINARY_DIV] = {"div", binary_shape, binary_forward, binary_backward},
    [LS_BINARY_MIN] = {"min", binary_shape, binary_forward, binary_backward},
    [LS_BINARY_MAX] = {"max", binary_shape, binary_forward, binary_backward},
};

static ls_tensor *binary(ls_tape *tape, ls_binary op, ls_tensor *a, ls_tensor *b)
{
    const binary_attributes at = {.in_place = false};
    return ls_apply(tape, &binary_ops[op], 2, (ls_tensor *[]){a, b}, &at, sizeof at, 1, NULL);
}

static bool same_shape(const ls_tensor *a, const ls_tensor *b)
{
    bool same = a->type == b->type && a->ndim == b->ndim;
    for (int i = 0; same && i < a->ndim; i++)
        same = a->shape[i] == b->shape[i];
    return same;
}

ls_tensor *ls_add_in_place(ls_tape *tape, ls_tensor *a, ls_tensor *b)
{
    const bool own = b->node && b->node->op->forward && !b->apart; /* its data is the tape's, and only its */
    const binary_attributes at = {.in_place = own && a != b && b->data && same_shape(a, b)};
    ls_tensor *sum = ls_apply(tape, &binary_ops[LS_BINARY_ADD], 2, (ls_tensor *[]){a, b}, &at, sizeof at, 1, NULL);
    if (at.in_place)
        b->data = NULL;
    return sum;
}

ls_tensor *ls_add(ls_tape *tape, ls_tensor *a, ls_tensor *b)
{
    return binary(tape, LS_BINARY_ADD, a, b);
}

ls_tensor *ls_sub(ls_tape *tape, ls_tensor *a, ls_tensor *b)
{
    return binary(tape, LS_BINARY_SUB, a, b);
}

ls_tensor *ls_mul(ls_tape *tape, ls_tensor *a, ls_tensor *b)
{
    return binary(tape, LS_BINARY_MUL, a, b);
}

ls_tensor *ls_div(ls_tape *tape, ls_tensor *a, ls_tensor *b)
{
    return binary(tape, LS_BINARY_DIV, a, b);
}

ls_tensor *ls_min(ls_tape *tape, ls_tensor *a, ls_tensor *b)
{
    return binary(tape, LS_BINARY_MIN, a, b);
}

ls_tensor *ls_max(ls_tape *tape, ls_tensor *a, ls_tensor *b)
{
    return binary(tape, LS_BINARY_MAX, a, b);
}

/* ---- one input ---- */

typedef struct {
    double a, b; /* of SCALE and CLAMP */
} unary_attributes;

static const ls_op unary_ops[LS_UNARY_COUNT];

static ls_status unary_forward(ls_node *node, ls_device *device)
{
    const unary_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    device->unary(device, (ls_unary)(node->op - unary_ops), x->type, x->count, at->a, at->b, x->data,
                  node->out[0]->data);
    return LS_OK;
}

static ls_status unary_backward(ls_node *node, ls_device *device)
{
    const unary_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *y = node->out[0];
    void *dx = ls_gradient(node, 0);
    if (dx)
        device->unary_backward(device, (ls_unary)(node->op - unary_ops), x->type, x->count, at->a, at->b, x->data,
                               y->data, y->grad, dx);
    return LS_OK;
}

static ls_status clamp_shape(ls_node *node)
{
    const unary_attributes *at = node->attributes;
    if (!(at->a <= at->b))
        return ls_fail(LS_EARG, "low %g is above high %g", at->a, at->b);
    return ls_shape_like_input(node);
}

static const ls_op unary_ops[LS_UNARY_COUNT] = {
    [LS_UNARY_EXP] = {"exp", ls_shape_like_input, unary_forward, unary_backward},
    [LS_UNARY_LOG] = {"log", ls_shape_like_input, unary_forward, unary_backward},
    [LS_UNARY_SQRT] = {"sqrt", ls_shape_like_input, unary_forward, unary_backward},
    [LS_UNARY_TANH] = {"tanh", ls_shape_like_input, unary_forward, unary_backward},
    [LS_UNARY_SIGMOID] = {"sigmoid", ls_shape_like_input, unary_forward, unary_backward},
    [LS_UNARY_SOFTPLUS] = {"softplus", ls_shape_like_input, unary_forward, unary_backward},
    [LS_UNARY_RELU] = {"relu", ls_shape_like_input, unary_forward, unary_backward},
    [LS_UNARY_GELU] = {"gelu", ls_shape_like_input, unary_forward, unary_backward},
    [LS_UNARY_GELU_TANH] = {"gelu_tanh", ls_shape_like_input, unary_forward, unary_backward},
    [LS_UNARY_SILU] = {"silu", ls_shape_like_input, unary_forward, unary_backward},
    [LS_UNARY_ABS] = {"abs", ls_shape_like_input, unary_forward, unary_backward},
    [LS_UNARY_NEG] = {"neg", ls_shape_like_input, unary_forward, unary_backward},
    [LS_UNARY_SQUARE] = {"square", ls_shape_like_input, unary_forward, unary_backward},
    [LS_UNARY_SCALE] = {"scale", ls_shape_like_input, unary_forward, unary_backward},
    [LS_UNARY_CLAMP] = {"clamp", clamp_shape, unary_forward, unary_backward},
};

static ls_tensor *unary(ls_tape *tape, ls_unary op, ls_tensor *x, double a, double b)
{
    const unary_attributes at = {a, b};
    return ls_apply(tape, &unary_ops[op], 1, &x, &at, sizeof at, 1, NULL);
}

ls_tensor *ls_exp(ls_tape *tape, ls_tensor *x)
{
    return unary(tape, LS_UNARY_EXP, x, 0, 0);
}

ls_tensor *ls_log(ls_tape *tape, ls_tensor *x)
{
    return unary(tape, LS_UNARY_LOG, x, 0, 0);
}

ls_tensor *ls_sqrt(ls_tape *tape, ls_tensor *x)
{
    return unary(tape, LS_UNARY_SQRT, x, 0, 0);
}

ls_tensor *ls_tanh(ls_tape *tape, ls_tensor *x)
{
    return unary(tape, LS_UNARY_TANH, x, 0, 0);
}

ls_tensor *ls_sigmoid(ls_tape *tape, ls_tensor *x)
{
    return unary(tape, LS_UNARY_SIGMOID, x, 0, 0);
}

ls_tensor *ls_softplus(ls_tape *tape, ls_tensor *x)
{
    return unary(tape, LS_UNARY_SOFTPLUS, x, 0, 0);
}

ls_tensor *ls_relu(ls_tape *tape, ls_tensor *x)
{
    return unary(tape, LS_UNARY_RELU, x, 0, 0);
}

ls_tensor *ls_gelu(ls_tape *tape, ls_tensor *x)
{
    return unary(tape, LS_UNARY_GELU, x, 0, 0);
}

ls_tensor *ls_gelu_tanh(ls_tape *tape, ls_tensor *x)
{
    return unary(tape, LS_UNARY_GELU_TANH, x, 0, 0);
}

ls_tensor *ls_silu(ls_tape *tape, ls_tensor *x)
{
    return unary(tape, LS_UNARY_SILU, x, 0, 0);
}

ls_tensor *ls_abs(ls_tape *tape, ls_tensor *x)
{
    return unary(tape, LS_UNARY_ABS, x, 0, 0);
}

ls_tensor *ls_neg(ls_tape *tape, ls_tensor *x)
{
    return unary(tape, LS_UNARY_NEG, x, 0, 0);
}

ls_tensor *ls_square(ls_tape *tape, ls_tensor *x)
{
    return unary(tape, LS_UNARY_SQUARE, x, 0, 0);
}

ls_tensor *ls_scale(ls_tape *tape, ls_tensor *x, double a, double b)
{
    return unary(tape, LS_UNARY_SCALE, x, a, b);
}

ls_tensor *ls_clamp(ls_tape *tape, ls_tensor *x, double low, double high)
{
    return unary(tape, LS_UNARY_CLAMP, x, low, high);
}

/* ---- where ---- */

typedef struct {
    const uint8_t *condition; /* on the arena */
} where_attributes;

static ls_status where_shape(ls_node *node)
{
    ls_status status = ls_check_pair(node);
    return status == LS_OK ? ls_shape_like_input(node) : status;
}

static ls_status where_forward(ls_node *node, ls_device *device)
{
    const where_attributes *at = node->attributes;
    ls_tensor *y = node->out[0];
    device->where(device, y->type, y->count, at->condition, node->in[0]->data, node->in[1]->data, y->data);
    return LS_OK;
}

static ls_status where_backward(ls_node *node, ls_device *device)
{
    const where_attributes *at = node->attributes;
    const ls_tensor *y = node->out[0];
    void *da = ls_gradient(node, 0), *db = ls_gradient(node, 1);
    if (da || db)
        device->where_backward(device, y->type, y->count, at->condition, y->grad, da, db);
    return LS_OK;
}

static const ls_op where_op = {"where", where_shape, where_forward, where_backward};

ls_tensor *ls_where(ls_tape *tape, const uint8_t *condition, ls_tensor *a, ls_tensor *b)
{
    const where_attributes at = {ls_copy_array(tape, condition, a->count, 1)};
    return ls_apply(tape, &where_op, 2, (ls_tensor *[]){a, b}, &at, sizeof at, 1, NULL);
}

/* ---- cast ---- */

static ls_status cast_shape(ls_node *node)
{
    const ls_type *to = node->attributes;
    ls_status status = ls_shape_like_input(node);
    if (*to != LS_F32 && *to != LS_F64 && !ls_type_is_narrow(*to))
        return ls_fail(LS_ETYPE, "to %s; tensors are f32, bf16 or f16", ls_type_name(*to));
    node->out[0]->type = *to;
    return status;
}

static ls_status cast_forward(ls_node *node, ls_device *device)
{
    const ls_tensor *x = node->in[0], *y = node->out[0];
    device->cast(device, x->type, y->type, x->count, x->data, y->data);
    return LS_OK;
}

static ls_status cast_backward(ls_node *node, ls_device *device)
{
    (void)device;
    ls_gradient_pass(node, 0, node->out[0]->grad);
    return LS_OK;
}

static const ls_op cast_op = {"cast", cast_shape, cast_forward, cast_backward};

ls_tensor *ls_cast(ls_tape *tape, ls_tensor *x, ls_type type)
{
    return x->type == type ? x : ls_apply(tape, &cast_op, 1, &x, &type, sizeof type, 1, NULL);
}
