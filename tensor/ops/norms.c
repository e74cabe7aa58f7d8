/* Along the last axis: softmax and log-softmax, layer norm (Ba et al. 2016), RMS norm (Zhang & Sennrich 2019).
 *     layer   y = (x - mean) / sqrt(variance + eps) * gain + bias
 *     rms     y = x / sqrt(mean(x^2) + eps) * gain */
#include "tensor/ops/shapes.h"

static int64_t width_of(const ls_tensor *x)
{
    return x->shape[x->ndim - 1];
}

static ls_status check_last_axis(const ls_tensor *x)
{
    return x->ndim >= 1 ? LS_OK : ls_fail(LS_ESHAPE, "%s has no last axis", ls_describe(x).text);
}

/* ---- softmax ---- */

static ls_status softmax_shape(ls_node *node)
{
    ls_status status = check_last_axis(node->in[0]);
    return status == LS_OK ? ls_shape_like_input(node) : status;
}

static const ls_op softmax_op, log_softmax_op;

static ls_status softmax_forward(ls_node *node, ls_device *device)
{
    const ls_tensor *x = node->in[0];
    device->softmax(device, x->type, node->op == &log_softmax_op, x->count / width_of(x), width_of(x), x->data,
                    node->out[0]->data);
    return LS_OK;
}

static ls_status softmax_backward(ls_node *node, ls_device *device)
{
    const ls_tensor *y = node->out[0];
    void *dx = ls_gradient(node, 0);
    if (dx)
        device->softmax_backward(device, y->type, node->op == &log_softmax_op, y->count / width_of(y), width_of(y),
                                 y->data, y->grad, dx);
    return LS_OK;
}

static const ls_op softmax_op = {"softmax", softmax_shape, softmax_forward, softmax_backward};
static const ls_op log_softmax_op = {"log_softmax", softmax_shape, softmax_forward, softmax_backward};

ls_tensor *ls_softmax(ls_tape *tape, ls_tensor *x)
{
    return ls_apply(tape, &softmax_op, 1, &x, NULL, 0, 1, NULL);
}

ls_tensor *ls_log_softmax(ls_tape *tape, ls_tensor *x)
{
    return ls_apply(tape, &log_softmax_op, 1, &x, NULL, 0, 1, NULL);
}

/* ---- norms ---- */

typedef struct {
    bool rms;
    double eps;
} norm_attributes;

enum { SAVED_STATS }; /* [rows, 2]: mean, 1 / deviation */

static ls_status norm_remake(ls_node *node, ls_device *device);

static ls_status norm_shape(ls_node *node)
{
    const norm_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *bias = node->in[2];
    ls_status status = ls_check_types_gains(node, 1);
    if (status == LS_OK)
        status = check_last_axis(x);
    if (status != LS_OK)
        return status;
    for (int i = 1; i <= 2; i++) {
        const ls_tensor *gain = node->in[i];
        if (gain && (gain->ndim != 1 || gain->shape[0] != width_of(x)))
            return ls_fail(LS_ESHAPE, "x %s and %s %s: it must be [%lld]", ls_describe(x).text,
                           i == 1 ? "gain" : "bias", ls_describe(gain).text, (long long)width_of(x));
    }
    if (bias && bias->type != node->in[1]->type)
        return ls_fail(LS_ETYPE, "gain is %s, but bias is %s", ls_type_name(node->in[1]->type),
                       ls_type_name(bias->type));
    if (!(at->eps > 0))
        return ls_fail(LS_EARG, "eps is %g, it must be above 0", at->eps);
    ls_set_shape(node->out[0], x->type, x->ndim, x->shape);
    node->remake = norm_remake;
    return LS_OK;
}

/* Result and statistics. */
static void compute_norm(const ls_node *node, ls_device *device)
{
    const norm_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *gain = node->in[1], *bias = node->in[2];
    int64_t width = width_of(x), rows = x->count / width;
    device->norm(device, x->type, gain->type, at->rms, rows, width, at->eps, x->data, gain->data,
                 bias ? bias->data : NULL, node->out[0]->data, node->saved[SAVED_STATS]);
}

static ls_status norm_forward(ls_node *node, ls_device *device)
{
    const ls_tensor *x = node->in[0];
    const int64_t rows = x->count / width_of(x);
    node->saved[SAVED_STATS] = ls_node_take(node, (size_t)rows * 2 * ls_type_size(ls_wide_type(x->type)));
    if (!node->saved[SAVED_STATS])
        return LS_EMEM;
    compute_norm(node, device);
    return LS_OK;
}

static ls_status norm_remake(ls_node *node, ls_device *device)
{
    const ls_status status = ls_make_inputs_again(node);
    if (status == LS_OK)
        compute_norm(node, device);
    return status;
}

static ls_status norm_backward(ls_node *node, ls_device *device)
{
    const norm_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *gain = node->in[1];
    int64_t width = width_of(x), rows = x->count / width;
    ls_type sum_type = ls_wide_type(x->type);
    void *dx = ls_gradient(node, 0);
    if (!dx && node->in[0]->needs_grad)
        return LS_EMEM;
    if (!dx) { /* the device always makes dx: a frozen trunk below trained gains is rare */
        dx = ls_node_take(node, (size_t)x->count * ls_type_size(x->type));
        if (!dx)
            return LS_EMEM;
        device->fill(device, x->type, x->count, 0, dx);
    }
    void *dgain = ls_gradient_as(node, 1, sum_type), *dbias = ls_gradient_as(node, 2, sum_type);
    device->norm_backward(device, x->type, gain->type, at->rms, rows, width, x->data, gain->data,
                          node->saved[SAVED_STATS], node->out[0]->grad, dx, dgain, dbias, ls_tape_arena(node->tape));
    return LS_OK;
}

static const ls_op layer_norm_op = {"layer_norm", norm_shape, norm_forward, norm_backward};
static const ls_op rms_norm_op = {"rms_norm", norm_shape, norm_forward, norm_backward};

ls_tensor *ls_layer_norm(ls_tape *tape, ls_tensor *x, ls_tensor *gain, ls_tensor *bias, double eps)
{
    const norm_attributes at = {.rms = false, .eps = eps};
    return ls_apply(tape, &layer_norm_op, 3, (ls_tensor *[]){x, gain, bias}, &at, sizeof at, 1, NULL);
}

ls_tensor *ls_rms_norm(ls_tape *tape, ls_tensor *x, ls_tensor *gain, double eps)
{
    const norm_attributes at = {.rms = true, .eps = eps};
    return ls_apply(tape, &rms_norm_op, 3, (ls_tensor *[]){x, gain, NULL}, &at, sizeof at, 1, NULL);
}
