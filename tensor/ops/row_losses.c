/* Losses of rows of logits x [..., C] against rows of the same shape, summed over rows with a weight each:
 *
 *     soft cross-entropy   -sum_c t'_c log softmax(x)_c,  t' = (1 - s) t + s / C: targets t that are a distribution
 * (soft labels, mixup), label smoothing s (Szegedy et al. 2016). PyTorch's cross_entropy with probabilities. A class
 * with t' = 0 costs nothing, though its logit be -infinity. kl of logits         KL(p || q) = sum_c p_c (log p_c - log
 * q_c), q = softmax(x), p = softmax(t): distillation (Hinton et al. 2015) at temperature 1, a penalty against a
 * reference policy.
 *
 * No log-probabilities are kept, a row's statistics are. Rows are summed in f64 by the device. */
#include "tensor/ops/shapes.h"

typedef struct {
    ls_row_loss kind;
    double smoothing;
    const float *weights; /* [rows], on the arena; NULL: all 1 */
    float *losses;        /* the caller's, or NULL */
} row_loss_attributes;

enum { SAVED_STATS, SAVED_LOSSES };

static ls_status row_loss_shape(ls_node *node)
{
    const row_loss_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    ls_status status = ls_check_pair(node);
    if (status != LS_OK)
        return status;
    if (x->ndim < 1)
        return ls_fail(LS_ESHAPE, "%s has no axis of classes", ls_describe(x).text);
    if (x->shape[x->ndim - 1] < 1 && ls_extent(x, 0, x->ndim - 1) > 0)
        return ls_fail(LS_ESHAPE, "%s: rows without a class are no distributions", ls_describe(x).text);
    if (!(at->smoothing >= 0 && at->smoothing <= 1))
        return ls_fail(LS_EARG, "label smoothing is %g, it must be in [0, 1]", at->smoothing);
    ls_set_shape(node->out[0], ls_wide_type(x->type), 0, NULL);
    return LS_OK;
}

static ls_row_loss_args args_of(const ls_node *node)
{
    const row_loss_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    return (ls_row_loss_args){.kind = at->kind,
                              .type = x->type,
                              .rows = ls_extent(x, 0, x->ndim - 1),
                              .classes = x->shape[x->ndim - 1],
                              .smoothing = at->smoothing,
                              .x = x->data,
                              .target = node->in[1]->data,
                              .weights = at->weights,
                              .losses = node->saved[SAVED_LOSSES],
                              .stats = node->saved[SAVED_STATS]};
}

static ls_status row_loss_forward(ls_node *node, ls_device *device)
{
    const row_loss_attributes *at = node->attributes;
    const size_t rows = (size_t)args_of(node).rows;
    node->saved[SAVED_STATS] = ls_node_take(node, 4 * rows * sizeof(double));
    node->saved[SAVED_LOSSES] = ls_node_take(node, rows * sizeof(double));
    if (!node->saved[SAVED_STATS] || !node->saved[SAVED_LOSSES])
        return LS_EMEM;
    const ls_row_loss_args args = args_of(node);
    device->row_loss(device, &args);
    device->sum_losses(device, LS_F64, args.rows, NULL, at->weights, args.losses, node->out[0]->type, node->out[0]->data);
    return ls_give_losses(node, LS_F64, args.rows, args.losses, at->losses);
}

static ls_status row_loss_backward(ls_node *node, ls_device *device)
{
    ls_row_loss_args args = args_of(node);
    args.dloss = node->out[0]->grad;
    args.dx = ls_gradient(node, 0);
    args.dtarget = ls_gradient(node, 1);
    if (args.dx || args.dtarget)
        device->row_loss_backward(device, &args);
    return LS_OK;
}

static const ls_op ops[LS_ROW_LOSS_COUNT] = {
    [LS_LOSS_SOFT_CROSS_ENTROPY] = {"soft_cross_entropy_sum", row_loss_shape, row_loss_forward, row_loss_backward},
    [LS_LOSS_KL_OF_LOGITS] = {"kl_of_logits_sum", row_loss_shape, row_loss_forward, row_loss_backward},
};

static ls_tensor *row_loss(ls_tape *tape, ls_row_loss kind, ls_tensor *x, ls_tensor *target, double smoothing,
                           const float *weights, float *losses)
{
    const int64_t rows = x->ndim ? ls_extent(x, 0, x->ndim - 1) : 1;
    const row_loss_attributes at = {kind, smoothing,
                                    weights ? ls_copy_array(tape, weights, rows, sizeof *weights) : NULL, losses};
    return ls_apply(tape, &ops[kind], 2, (ls_tensor *[]){x, target}, &at, sizeof at, 1, NULL);
}

ls_tensor *ls_soft_cross_entropy_sum(ls_tape *tape, ls_tensor *x, ls_tensor *target, double smoothing,
                                     const float *weights, float *losses)
{
    return row_loss(tape, LS_LOSS_SOFT_CROSS_ENTROPY, x, target, smoothing, weights, losses);
}

ls_tensor *ls_kl_of_logits_sum(ls_tape *tape, ls_tensor *x, ls_tensor *target, const float *weights, float *losses)
{
    return row_loss(tape, LS_LOSS_KL_OF_LOGITS, x, target, 0, weights, losses);
}
