/* Batch norm (Ioffe & Szegedy 2015) and group norm (Wu & He 2018), channels last (tensor/ops_image.h).
 *
 * Batch norm's inputs are x, gain, bias and the running mean and variance. The last two are statistics: their "gradient"
 * is this grain's term of the fold over the step's grains (ls_tape_fold), momentum (1 - momentum)^(grains - 1 - grain)
 * times the grain's own mean or unbiased variance; it does not depend on the loss. */
#include "base/math.h"
#include "tensor/ops/shapes.h"
#include "tensor/ops_image.h"
#include "tensor/tape.h"

typedef struct {
    double eps;
    int64_t groups, outer, rows; /* groups 0: batch norm */
    double fold;                 /* weight of this grain in the running statistics */
} norm_attributes;

enum { SAVED_STATS }; /* [outer, groups, 2] f64 */

static ls_status norm_shape(ls_node *node)
{
    norm_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    const int64_t channels = x->ndim ? x->shape[x->ndim - 1] : 0;
    const bool batch = at->groups == 0;
    if (x->ndim < 2)
        return ls_fail(LS_ESHAPE, "x %s: it needs rows and channels", ls_describe(x).text);
    for (int i = 1; i < node->inputs; i++)
        if (node->in[i] && (node->in[i]->ndim != 1 || node->in[i]->shape[0] != channels))
            return ls_fail(LS_ESHAPE, "x %s and %s: gain, bias and running statistics must be [%lld]", ls_describe(x).text,
                           ls_describe(node->in[i]).text, (long long)channels);
    if (node->in[1] && node->in[2] && node->in[1]->type != node->in[2]->type)
        return ls_fail(LS_ETYPE, "gain is %s, but bias is %s", ls_type_name(node->in[1]->type), ls_type_name(node->in[2]->type));
    if (batch)
        at->groups = channels;
    if (at->groups < 1 || channels % at->groups)
        return ls_fail(LS_EARG, "%lld groups do not divide %lld channels", (long long)at->groups, (long long)channels);
    if (!(at->eps > 0))
        return ls_fail(LS_EARG, "eps is %g, it must be above 0", at->eps);
    at->outer = batch ? 1 : x->shape[0];
    at->rows = ls_extent(x, batch ? 0 : 1, x->ndim - 1);
    if (batch && at->rows == 0 && node->in[3] && !ls_tape_in_no_grad(node->tape))
        return ls_fail(LS_ESHAPE, "x %s: there are no rows to take statistics of", ls_describe(x).text);
    ls_set_shape(node->out[0], x->type, x->ndim, x->shape);
    return LS_OK;
}

static ls_status run_norm(ls_node *node, ls_device *device, bool given, double *stats)
{
    const norm_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *gain = node->in[1], *bias = node->in[2];
    const ls_type gain_type = gain ? gain->type : bias ? bias->type : ls_wide_type(x->type);
    return device->group_norm(device, x->type, gain_type, at->outer, at->rows, x->shape[x->ndim - 1], at->groups, at->eps, given, x->data,
                              gain ? gain->data : NULL, bias ? bias->data : NULL, node->out[0]->data, stats, ls_tape_arena(node->tape));
}

/* Between pairs and a row of their first (or second) numbers: out of the pairs, or into them. */
static ls_strides every_second(int64_t n, bool from_pairs)
{
    return (ls_strides){.ndim = 1, .shape = {n}, .stride_a = {from_pairs ? 2 : 1}, .stride_b = {from_pairs ? 1 : 2}};
}

/* The running statistics as pairs in f64. */
static ls_status take_running(ls_node *node, ls_device *device, double *stats)
{
    const norm_attributes *at = node->attributes;
    const ls_strides spread = every_second(at->groups, false);
    double *wide = ls_node_take(node, (size_t)at->groups * sizeof *wide);
    if (!wide)
        return LS_EMEM;
    for (int which = 0; which < 2; which++) {
        device->cast(device, node->in[3 + which]->type, LS_F64, at->groups, node->in[3 + which]->data, wide);
        device->copy_strided(device, LS_F64, &spread, wide, stats + which);
    }
    return LS_OK;
}

static ls_status norm_forward(ls_node *node, ls_device *device)
{
    const norm_attributes *at = node->attributes;
    const bool running = node->inputs == 5 && node->in[3] && ls_tape_in_no_grad(node->tape);
    double *stats = ls_node_take(node, (size_t)(at->outer * at->groups) * 2 * sizeof(double));
    if (!stats)
        return LS_EMEM;
    node->saved[SAVED_STATS] = stats;
    const ls_status status = running ? take_running(node, device, stats) : LS_OK;
    return status == LS_OK ? run_norm(node, device, running, stats) : status;
}

/* This grain's terms of the running statistics: fold times (variance times n / (n - 1)), each product rounded in f64. */
static ls_status add_statistics(ls_node *node, ls_device *device)
{
    const norm_attributes *at = node->attributes;
    const ls_strides gather = every_second(at->groups, true);
    const double n = (double)at->rows, *stats = node->saved[SAVED_STATS];
    double *own = ls_node_take(node, (size_t)at->groups * sizeof *own);
    if (!own)
        return LS_EMEM;
    for (int which = 0; which < 2; which++) {
        const ls_tensor *running = node->in[3 + which];
        const ls_type type = running ? ls_wide_type(running->type) : LS_F32;
        void *to = running ? ls_gradient_as(node, 3 + which, type) : NULL;
        void *terms = to ? ls_node_take(node, (size_t)at->groups * ls_type_size(type)) : NULL;
        if (!to)
            continue;
        if (!terms)
            return LS_EMEM;
        device->copy_strided(device, LS_F64, &gather, stats + which, own);
        if (which && n > 1)
            device->unary(device, LS_UNARY_SCALE, LS_F64, at->groups, n / (n - 1), 0, own, own);
        device->unary(device, LS_UNARY_SCALE, LS_F64, at->groups, at->fold, 0, own, own);
        device->cast(device, LS_F64, type, at->groups, own, terms);
        device->add_to(device, type, at->groups, terms, to);
    }
    return LS_OK;
}

static ls_status norm_backward(ls_node *node, ls_device *device)
{
    const norm_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *gain = node->in[1], *bias = node->in[2];
    const ls_type sum_type = ls_wide_type(x->type), gain_type = gain ? gain->type : bias ? bias->type : sum_type;
    void *dx = ls_gradient(node, 0), *dgain = gain ? ls_gradient_as(node, 1, sum_type) : NULL, *dbias = bias ? ls_gradient_as(node, 2, sum_type) : NULL;
    const ls_status status = node->inputs == 5 ? add_statistics(node, device) : LS_OK;
    if (status != LS_OK)
        return status;
    return device->group_norm_backward(device, x->type, gain_type, at->outer, at->rows, x->shape[x->ndim - 1], at->groups, at->eps, x->data,
                                       gain ? gain->data : NULL, node->saved[SAVED_STATS], node->out[0]->grad, dx, dgain, dbias,
                                       ls_tape_arena(node->tape));
}

static const ls_op batch_norm_op = {"batch_norm", norm_shape, norm_forward, norm_backward};
static const ls_op group_norm_op = {"group_norm", norm_shape, norm_forward, norm_backward};

ls_tensor *ls_batch_norm(ls_tape *tape, ls_tensor *x, ls_tensor *gain, ls_tensor *bias, ls_tensor *running_mean, ls_tensor *running_variance, double eps)
{
    const ls_parameter *p = running_mean ? running_mean->parameter : NULL;
    const double momentum = p ? p->momentum : 0;
    const norm_attributes at = {.eps = eps, .fold = momentum * ls_math_power(1 - momentum, tape->grains - 1 - tape->grain)};
    return ls_apply(tape, &batch_norm_op, 5, (ls_tensor *[]){x, gain, bias, running_mean, running_variance}, &at, sizeof at, 1, NULL);
}

ls_tensor *ls_group_norm(ls_tape *tape, ls_tensor *x, int64_t groups, ls_tensor *gain, ls_tensor *bias, double eps)
{
    if (groups < 1) {
        ls_tape_raise(tape, LS_EARG, "group_norm: %lld groups, there must be at least 1", (long long)groups);
        groups = 1;
    }
    const norm_attributes at = {.eps = eps, .groups = groups};
    return ls_apply(tape, &group_norm_op, 3, (ls_tensor *[]){x, gain, bias}, &at, sizeof at, 1, NULL);
}
