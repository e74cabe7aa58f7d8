/* Matrix products: batched matmul, and the linear layer with bias and activation fused.
 *
 *     C = op(A) op(B)       dop(A) = dC op(B)^T       dop(B) = op(A)^T dC
 * With op(A) = A^T the first is transposed as a whole, dA = op(B) dC^T, so that no gradient is ever transposed in
 * memory; likewise for B. */
#include "tensor/ops/shapes.h"

/* One product through the device, with scratch given back, and its arithmetic counted. */
static ls_status multiply(const ls_node *node, ls_device *device, const ls_matmul_args *args)
{
    ls_arena *arena = ls_tape_arena(node->tape);
    const ls_tape_mark mark = ls_tape_marked(node->tape);
    ls_status status = device->matmul(device, args, arena);
    ls_tape_release(node->tape, mark);
    ls_tape_count_flops(node->tape, 2.0 * (double)args->batch * (double)args->m * (double)args->n * (double)args->k);
    return status;
}

/* ---- matmul ---- */

typedef struct {
    bool trans_a, trans_b;
    bool shared_b; /* one matrix B for all of A's batch */
    int64_t batch, m, n, k;
} matmul_attributes;

static ls_status matmul_shape(ls_node *node)
{
    matmul_attributes *at = node->attributes;
    const ls_tensor *a = node->in[0], *b = node->in[1];
    ls_tensor *c = node->out[0];
    ls_status status = ls_check_types(node);
    if (status != LS_OK)
        return status;
    if (a->ndim < 2 || b->ndim < 2 || (b->ndim > 2 && b->ndim != a->ndim))
        return ls_fail(LS_ESHAPE, "%s and %s: both need two axes, and b as many as a or just two", ls_describe(a).text,
                       ls_describe(b).text);
    int lead = a->ndim - 2;
    const int64_t *last_a = a->shape + lead, *last_b = b->shape + b->ndim - 2;
    at->m = last_a[at->trans_a ? 1 : 0];
    at->k = last_a[at->trans_a ? 0 : 1];
    at->n = last_b[at->trans_b ? 0 : 1];
    int64_t k_of_b = last_b[at->trans_b ? 1 : 0];
    if (at->k != k_of_b)
        return ls_fail(LS_ESHAPE, "%s%s and %s%s: inner sizes %lld and %lld differ", ls_describe(a).text,
                       at->trans_a ? " transposed" : "", ls_describe(b).text, at->trans_b ? " transposed" : "",
                       (long long)at->k, (long long)k_of_b);
    for (int i = 0; b->ndim > 2 && i < lead; i++)
        if (a->shape[i] != b->shape[i])
            return ls_fail(LS_ESHAPE, "%s and %s: leading axes differ", ls_describe(a).text, ls_describe(b).text);
    ls_set_shape(c, a->type, a->ndim, a->shape);
    c->shape[lead] = at->m;
    c->shape[lead + 1] = at->n;
    at->batch = ls_extent(a, 0, lead);
    at->shared_b = b->ndim == 2;
    if (at->shared_b && !at->trans_a) { /* rows of all matrices are rows of one */
        at->m *= at->batch;
        at->batch = 1;
    }
    return LS_OK;
}

static ls_status matmul_forward(ls_node *node, ls_device *device)
{
    const matmul_attributes *at = node->attributes;
    const ls_tensor *a = node->in[0], *b = node->in[1], *c = node->out[0];
    const ls_matmul_args args = {
        .batch = at->batch,
        .m = at->m,
        .n = at->n,
        .k = at->k,
        .trans_a = at->trans_a,
        .trans_b = at->trans_b,
        .type_ab = a->type,
        .type_c = c->type,
        .a = a->data,
        .b = b->data,
        .c = c->data,
        .lda = at->trans_a ? at->m : at->k,
        .ldb = at->trans_b ? at->k : at->n,
        .ldc = at->n,
        .stride_a = at->m * at->k,
        .stride_b = at->shared_b ? 0 : at->k * at->n,
        .stride_c = at->m * at->n,
    };
    return multiply(node, device, &args);
}

static ls_status matmul_backward_a(ls_node *node, ls_device *device)
{
    const matmul_attributes *at = node->attributes;
    const ls_tensor *a = node->in[0], *b = node->in[1], *c = node->out[0];
    ls_matmul_args args = {.batch = at->batch, .type_ab = a->type, .type_c = a->grad_type};
    args.c = ls_gradient_open(node, 0, a->grad_type, &args.accumulate);
    if (!args.c)
        return LS_OK;
    int64_t stride_b = at->shared_b ? 0 : at->k * at->n, ldb = at->trans_b ? at->k : at->n;
    if (at->trans_a) { /* dA [k, m] = op(B) dC^T */
        args.m = at->k, args.n = at->m, args.k = at->n;
        args.a = b->data, args.lda = ldb, args.stride_a = stride_b, args.trans_a = at->trans_b;
        args.b = c->grad, args.ldb = at->n, args.stride_b = at->m * at->n, args.trans_b = true;
    } else { /* dA [m, k] = dC op(B)^T */
        args.m = at->m, args.n = at->k, args.k = at->n;
        args.a = c->grad, args.lda = at->n, args.stride_a = at->m * at->n;
        args.b = b->data, args.ldb = ldb, args.stride_b = stride_b, args.trans_b = !at->trans_b;
    }
    args.ldc = args.n, args.stride_c = at->m * at->k;
    return multiply(node, device, &args);
}

static ls_status matmul_backward_b(ls_node *node, ls_device *device)
{
    const matmul_attributes *at = node->attributes;
    const ls_tensor *a = node->in[0], *b = node->in[1], *c = node->out[0];
    ls_matmul_args args = {.batch = at->batch, .type_ab = b->type};
    args.type_c = at->shared_b ? ls_wide_type(b->type) : b->grad_type;
    args.c = ls_gradient_open(node, 1, args.type_c, &args.accumulate);
    if (!args.c)
        return LS_OK;
    int64_t lda = at->trans_a ? at->m : at->k;
    if (at->trans_b) { /* dB [n, k] = dC^T op(A) */
        args.m = at->n, args.n = at->k, args.k = at->m;
        args.a = c->grad, args.lda = at->n, args.stride_a = at->m * at->n, args.trans_a = true;
        args.b = a->data, args.ldb = lda, args.stride_b = at->m * at->k, args.trans_b = at->trans_a;
    } else { /* dB [k, n] = op(A)^T dC */
        args.m = at->k, args.n = at->n, args.k = at->m;
        args.a = a->data, args.lda = lda, args.stride_a = at->m * at->k, args.trans_a = !at->trans_a;
        args.b = c->grad, args.ldb = at->n, args.stride_b = at->m * at->n;
    }
    args.ldc = args.n, args.stride_c = at->k * at->n;
    if (!at->shared_b)
        return multiply(node, device, &args);
    args.batch = 1; /* one B got a share from each matrix of A: added in ascending order */
    ls_status status = LS_OK;
    for (int64_t i = 0; i < at->batch && status == LS_OK; i++) {
        status = multiply(node, device, &args);
        args.accumulate = true;
        args.a = (const char *)args.a + (size_t)args.stride_a * ls_type_size(args.type_ab);
        args.b = (const char *)args.b + (size_t)args.stride_b * ls_type_size(args.type_ab);
    }
    return status;
}

static ls_status matmul_backward(ls_node *node, ls_device *device)
{
    ls_status status = matmul_backward_a(node, device);
    return status == LS_OK ? matmul_backward_b(node, device) : status;
}

static const ls_op matmul_op = {"matmul", matmul_shape, matmul_forward, matmul_backward};

ls_tensor *ls_matmul(ls_tape *tape, ls_tensor *a, ls_tensor *b, bool trans_a, bool trans_b)
{
    const matmul_attributes at = {.trans_a = trans_a, .trans_b = trans_b};
    return ls_apply(tape, &matmul_op, 2, (ls_tensor *[]){a, b}, &at, sizeof at, 1, NULL);
}

/* ---- linear ---- */

typedef struct {
    ls_activation activation;
    int64_t rows, in, out;
} linear_attributes;

enum { SAVED_PRE }; /* what went into the activation */

static ls_status activation_remake(ls_node *node, ls_device *device)
{
    const linear_attributes *at = node->attributes;
    const ls_tensor *y = node->out[0];
    device->unary(device, ls_activation_function(at->activation), y->type, y->count, 0, 0, node->saved[SAVED_PRE], y->data);
    return LS_OK;
}

static ls_status linear_shape(ls_node *node)
{
    linear_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *w = node->in[1], *bias = node->in[2];
    ls_status status = ls_check_types_gains(node, 2);
    if (status != LS_OK)
        return status;
    if (x->ndim < 1 || w->ndim != 2 || x->shape[x->ndim - 1] != w->shape[1])
        return ls_fail(LS_ESHAPE, "x %s and w %s: w is [out, in], and x's last axis is in", ls_describe(x).text,
                       ls_describe(w).text);
    if (bias && (bias->ndim != 1 || bias->shape[0] != w->shape[0]))
        return ls_fail(LS_ESHAPE, "bias %s and w %s: bias is [out]", ls_describe(bias).text, ls_describe(w).text);
    at->out = w->shape[0];
    at->in = w->shape[1];
    at->rows = ls_extent(x, 0, x->ndim - 1);
    ls_set_shape(node->out[0], x->type, x->ndim, x->shape);
    node->out[0]->shape[x->ndim - 1] = at->out;
    if (at->activation != LS_ACT_NONE)
        node->remake = activation_remake;
    return LS_OK;
}

static ls_status linear_forward(ls_node *node, ls_device *device)
{
    const linear_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *w = node->in[1], *bias = node->in[2], *y = node->out[0];
    if (node->recorded && at->activation != LS_ACT_NONE) {
        node->saved[SAVED_PRE] = ls_node_take(node, (size_t)y->count * ls_type_size(y->type));
        if (!node->saved[SAVED_PRE])
            return LS_EMEM;
    }
    const ls_matmul_args args = {
        .batch = 1,
        .m = at->rows,
        .n = at->out,
        .k = at->in,
        .trans_b = true,
        .weights_b = w->parameter,
        .type_ab = x->type,
        .type_c = y->type,
        .type_bias = bias ? bias->type : y->type,
        .a = x->data,
        .b = w->data,
        .bias = bias ? bias->data : NULL,
        .c = y->data,
        .pre = node->saved[SAVED_PRE],
        .lda = at->in,
        .ldb = at->in,
        .ldc = at->out,
        .activation = at->activation,
    };
    return multiply(node, device, &args);
}

const void *ls_activation_backward(ls_node *node, ls_device *device, ls_activation activation, const void *pre)
{
    const ls_tensor *y = node->out[0];
    if (activation == LS_ACT_NONE)
        return y->grad;
    void *dpre = ls_node_take(node, (size_t)y->count * ls_type_size(y->type));
    if (!dpre)
        return NULL;
    device->fill(device, y->type, y->count, 0, dpre);
    device->unary_backward(device, ls_activation_function(activation), y->type, y->count, 0, 0, pre, y->data, y->grad, dpre);
    return dpre;
}

static ls_status linear_backward(ls_node *node, ls_device *device)
{
    const linear_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *w = node->in[1];
    ls_type sum_type = ls_wide_type(x->type);
    const void *dpre = ls_activation_backward(node, device, at->activation, node->saved[SAVED_PRE]);
    if (!dpre)
        return LS_EMEM;
    ls_status status = LS_OK;
    bool accumulate;
    void *dx = ls_gradient_open(node, 0, x->grad_type, &accumulate);
    if (dx) {
        const ls_matmul_args args = {
            .batch = 1,
            .m = at->rows,
            .n = at->in,
            .k = at->out,
            .weights_b = w->parameter,
            .type_ab = x->type,
            .type_c = x->grad_type,
            .a = dpre,
            .b = w->data,
            .c = dx,
            .lda = at->out,
            .ldb = at->in,
            .ldc = at->in,
            .accumulate = accumulate,
        };
        status = multiply(node, device, &args);
    }
    void *dw = ls_gradient_open(node, 1, sum_type, &accumulate);
    if (dw && status == LS_OK) {
        const ls_matmul_args args = {
            .batch = 1,
            .m = at->out,
            .n = at->in,
            .k = at->rows,
            .trans_a = true,
            .type_ab = x->type,
            .type_c = sum_type,
            .a = dpre,
            .b = x->data,
            .c = dw,
            .lda = at->out,
            .ldb = at->in,
            .ldc = at->in,
            .accumulate = accumulate,
        };
        status = multiply(node, device, &args);
    }
    void *dbias = node->in[2] ? ls_gradient_as(node, 2, sum_type) : NULL;
    if (dbias)
        device->sum_rows(device, x->type, at->rows, at->out, dpre, dbias, ls_tape_arena(node->tape));
    return status;
}

static const ls_op linear_op = {"linear", linear_shape, linear_forward, linear_backward};

ls_tensor *ls_linear(ls_tape *tape, ls_tensor *x, ls_tensor *w, ls_tensor *bias, ls_activation act)
{
    const linear_attributes at = {.activation = act};
    return ls_apply(tape, &linear_op, 3, (ls_tensor *[]){x, w, bias}, &at, sizeof at, 1, NULL);
}
