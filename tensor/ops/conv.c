/* Convolution over grids of one to three axes, channels last, and its transpose (tensor/ops_image.h). Both are the same
 * three device functions: what the one does forwards the other does backwards.
 *
 *     conv        y = conv(x, w)              dx = conv_input(dy, w)     dw = conv_weight(x, dy)
 *     transposed  y = conv_input(x, w)        dx = conv(dy, w)           dw = conv_weight(dy, x) */
#include "tensor/ops/shapes.h"
#include "tensor/ops_image.h"

typedef struct {
    ls_conv_options options;
    int64_t output_padding[3];
    ls_activation activation;
    bool transposed;
    int axes;
    ls_grid grid; /* of the convolution: the transposed one's x is its result */
} conv_attributes;

enum { SAVED_PRE };

ls_status ls_grid_of(const ls_tensor *x, ls_grid *grid, int *axes)
{
    *axes = x->ndim - 2;
    if (*axes < 1 || *axes > 3)
        return ls_fail(LS_ESHAPE, "x %s: a grid is [N, L, C], [N, H, W, C] or [N, T, H, W, C]", ls_describe(x).text);
    for (int i = 1; i < x->ndim; i++)
        if (x->shape[i] < 1)
            return ls_fail(LS_ESHAPE, "x %s: only the batch of a grid may be empty", ls_describe(x).text);
    *grid = (ls_grid){.type = x->type, .batch = x->shape[0], .channels = x->shape[x->ndim - 1], .groups = 1};
    for (int i = 0; i < 3; i++) {
        const int own = i - (3 - *axes);
        grid->in[i] = own >= 0 ? x->shape[1 + own] : 1;
        grid->out[i] = grid->window[i] = grid->stride[i] = grid->dilation[i] = 1;
    }
    return LS_OK;
}

void ls_set_grid_shape(ls_tensor *out, const ls_grid *grid, int axes, int64_t channels)
{
    int64_t shape[LS_MAX_DIMS] = {grid->batch};
    for (int i = 0; i < axes; i++)
        shape[1 + i] = grid->out[3 - axes + i];
    shape[1 + axes] = channels;
    ls_set_shape(out, grid->type, axes + 2, shape);
}

/* Window, stride, padding and dilation of each axis, from the weights' shape and the options. */
static ls_status read_options(const conv_attributes *at, const ls_tensor *w, int axes, ls_grid *grid)
{
    const ls_conv_options *o = &at->options;
    if (w->ndim != axes + 2)
        return ls_fail(LS_ESHAPE, "w %s: for a grid of %d axes it has %d: [O, K.., C / groups]", ls_describe(w).text, axes, axes + 2);
    grid->groups = o->groups ? o->groups : 1;
    if (grid->groups < 1)
        return ls_fail(LS_EARG, "groups is %lld, it must be at least 1", (long long)grid->groups);
    for (int own = 0; own < axes; own++) {
        const int i = 3 - axes + own;
        grid->window[i] = w->shape[1 + own];
        if (grid->window[i] < 1)
            return ls_fail(LS_ESHAPE, "w %s: the window is empty", ls_describe(w).text);
        grid->stride[i] = o->stride[own] ? o->stride[own] : 1;
        grid->dilation[i] = o->dilation[own] ? o->dilation[own] : 1;
        grid->padding[i] = o->padding[own];
        if (grid->stride[i] < 1 || grid->dilation[i] < 1 || grid->padding[i] < 0)
            return ls_fail(LS_EARG, "axis %d: stride %lld and dilation %lld must be at least 1, padding %lld at least 0", own, (long long)grid->stride[i],
                           (long long)grid->dilation[i], (long long)grid->padding[i]);
    }
    return LS_OK;
}

static ls_status check_channels(const ls_grid *grid, const ls_tensor *x, const ls_tensor *w, const ls_tensor *bias, int64_t outputs)
{
    if (grid->channels % grid->groups || grid->outputs % grid->groups || w->shape[0] != grid->outputs ||
        w->shape[w->ndim - 1] != grid->channels / grid->groups)
        return ls_fail(LS_ESHAPE, "x %s and w %s with %lld groups: channels do not fit", ls_describe(x).text, ls_describe(w).text, (long long)grid->groups);
    if (bias && (bias->ndim != 1 || bias->shape[0] != outputs))
        return ls_fail(LS_ESHAPE, "bias %s: it must be [%lld]", ls_describe(bias).text, (long long)outputs);
    return LS_OK;
}

static ls_status conv_shape(ls_node *node)
{
    conv_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *w = node->in[1], *bias = node->in[2];
    ls_grid *g = &at->grid;
    ls_status status = ls_check_types_gains(node, 2);
    if (status == LS_OK)
        status = ls_grid_of(x, g, &at->axes);
    if (status == LS_OK)
        status = read_options(at, w, at->axes, g);
    if (status != LS_OK)
        return status;
    g->outputs = w->shape[0];
    for (int i = 3 - at->axes; i < 3; i++) {
        const int64_t reach = g->dilation[i] * (g->window[i] - 1) + 1, room = g->in[i] + 2 * g->padding[i];
        if (reach > room)
            return ls_fail(LS_ESHAPE, "x %s and w %s: the window reaches over %lld positions, there are %lld with padding", ls_describe(x).text,
                           ls_describe(w).text, (long long)reach, (long long)room);
        g->out[i] = (room - reach) / g->stride[i] + 1;
    }
    status = check_channels(g, x, w, bias, g->outputs);
    if (status == LS_OK)
        ls_set_grid_shape(node->out[0], g, at->axes, g->outputs);
    return status;
}

/* `grid` is the convolution that this one is the gradient of: its `in` is our result, its `out` our x. */
static ls_status transposed_shape(ls_node *node)
{
    conv_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *w = node->in[1], *bias = node->in[2];
    ls_grid *g = &at->grid;
    ls_status status = ls_check_types_gains(node, 2);
    if (status == LS_OK)
        status = ls_grid_of(x, g, &at->axes);
    if (status == LS_OK)
        status = read_options(at, w, at->axes, g);
    if (status != LS_OK)
        return status;
    g->outputs = g->channels;
    g->channels = w->shape[w->ndim - 1] * g->groups;
    ls_grid result = *g;
    for (int i = 3 - at->axes; i < 3; i++) {
        const int64_t extra = at->output_padding[i - (3 - at->axes)];
        g->out[i] = g->in[i];
        g->in[i] = (g->out[i] - 1) * g->stride[i] - 2 * g->padding[i] + g->dilation[i] * (g->window[i] - 1) + extra + 1;
        if (extra < 0 || (extra >= g->stride[i] && extra >= g->dilation[i]))
            return ls_fail(LS_EARG, "output_padding is %lld, it must be below stride %lld or dilation %lld", (long long)extra, (long long)g->stride[i],
                           (long long)g->dilation[i]);
        if (g->in[i] < 1)
            return ls_fail(LS_ESHAPE, "x %s and w %s: nothing is left of an axis", ls_describe(x).text, ls_describe(w).text);
        result.out[i] = g->in[i];
    }
    status = check_channels(g, x, w, bias, g->channels);
    if (status == LS_OK)
        ls_set_grid_shape(node->out[0], &result, at->axes, g->channels);
    return status;
}

static void count_flops(const ls_node *node)
{
    const ls_grid *g = &((const conv_attributes *)node->attributes)->grid;
    double products = (double)g->batch * (double)g->outputs * (double)(g->channels / g->groups);
    for (int i = 0; i < 3; i++)
        products *= (double)g->out[i] * (double)g->window[i];
    ls_tape_count_flops(node->tape, 2 * products);
}

static ls_status conv_forward(ls_node *node, ls_device *device)
{
    const conv_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *w = node->in[1], *bias = node->in[2], *y = node->out[0];
    if (node->recorded && at->activation != LS_ACT_NONE) {
        node->saved[SAVED_PRE] = ls_node_take(node, (size_t)y->count * ls_type_size(y->type));
        if (!node->saved[SAVED_PRE])
            return LS_EMEM;
    }
    count_flops(node);
    return device->conv(device, &at->grid, x->data, w->data, bias ? bias->data : NULL, bias ? bias->type : y->type, at->activation, y->data,
                        node->saved[SAVED_PRE], ls_tape_arena(node->tape));
}

static ls_status transposed_forward(ls_node *node, ls_device *device)
{
    const conv_attributes *at = node->attributes;
    const ls_tensor *y = node->out[0];
    count_flops(node);
    return device->conv_input(device, &at->grid, node->in[0]->data, node->in[1]->data, false, y->data, ls_tape_arena(node->tape));
}

static ls_status conv_backward(ls_node *node, ls_device *device)
{
    const conv_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *w = node->in[1], *y = node->out[0];
    const ls_type sum_type = ls_wide_type(x->type);
    ls_arena *arena = ls_tape_arena(node->tape);
    const void *dpre = ls_activation_backward(node, device, at->activation, node->saved[SAVED_PRE]);
    if (!dpre)
        return LS_EMEM;
    ls_status status = LS_OK;
    bool accumulate = true;
    void *dx = at->transposed ? ls_gradient(node, 0) : ls_gradient_open(node, 0, x->type, &accumulate);
    if (dx && at->transposed) { /* forward overwrites: by way of scratch where something is there already */
        void *own = ls_node_take(node, (size_t)x->count * ls_type_size(x->type));
        if (!own)
            return LS_EMEM;
        count_flops(node);
        status = device->conv(device, &at->grid, dpre, w->data, NULL, x->type, LS_ACT_NONE, own, NULL, arena);
        device->add_to(device, x->type, x->count, own, dx);
    } else if (dx) {
        count_flops(node);
        status = device->conv_input(device, &at->grid, dpre, w->data, accumulate, dx, arena);
    }
    void *dw = ls_gradient_as(node, 1, sum_type);
    if (dw && status == LS_OK) {
        count_flops(node);
        status = at->transposed ? device->conv_weight(device, &at->grid, dpre, x->data, dw, arena)
                                : device->conv_weight(device, &at->grid, x->data, dpre, dw, arena);
    }
    void *dbias = node->in[2] ? ls_gradient_as(node, 2, sum_type) : NULL;
    const int64_t channels = y->shape[y->ndim - 1];
    if (dbias)
        device->sum_rows(device, y->type, y->count / channels, channels, dpre, dbias, arena);
    return status;
}

static const ls_conv_options none = {.groups = 1};
static const ls_op conv_op = {"conv", conv_shape, conv_forward, conv_backward};
static const ls_op transposed_op = {"conv_transpose", transposed_shape, transposed_forward, conv_backward};

ls_tensor *ls_conv(ls_tape *tape, ls_tensor *x, ls_tensor *w, ls_tensor *bias, const ls_conv_options *options, ls_activation act)
{
    const conv_attributes at = {.options = options ? *options : none, .activation = act};
    return ls_apply(tape, &conv_op, 3, (ls_tensor *[]){x, w, bias}, &at, sizeof at, 1, NULL);
}

ls_tensor *ls_conv_transpose(ls_tape *tape, ls_tensor *x, ls_tensor *w, ls_tensor *bias, const ls_conv_options *options, const int64_t *output_padding)
{
    conv_attributes at = {.options = options ? *options : none, .transposed = true};
    for (int i = 0; output_padding && i < 3 && i < x->ndim - 2; i++)
        at.output_padding[i] = output_padding[i];
    ls_tensor *y = ls_apply(tape, &transposed_op, 3, (ls_tensor *[]){x, w, NULL}, &at, sizeof at, 1, NULL);
    return bias ? ls_add(tape, y, bias) : y;
}
