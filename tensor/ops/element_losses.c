/* Losses that are sums over elements, each element with a weight or not:
 *
 *     square                 (x - t)^2
 *     binary cross-entropy   p t softplus(-x) + (1 - t) softplus(x)      of logits x, targets t in [0, 1]; p: weight of
 *                            the positive class. PyTorch's binary_cross_entropy_with_logits, in a form where no two
 *                            terms cancel.
 *     kl                     e^t (t - x)      of log-probabilities x = log q, t = log p: the sum over a distribution is
 *                            KL(p || q). PyTorch's kl_div(x, t, log_target=True); 0 where p is 0 (there NaN).
 *
 * They are sums and no means, as the loop alone knows the step's count. Both x and t get their gradients. */
#include "tensor/ops/shapes.h"

typedef struct {
    ls_element_loss kind;
    int64_t n;            /* weights */
    const float *weights; /* [n], on the arena; NULL: all 1 */
    int64_t classes;
    const float *pos_weights; /* [classes], on the arena; NULL: all 1 */
} element_loss_attributes;

static ls_status element_loss_shape(ls_node *node)
{
    const element_loss_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    ls_status status = ls_check_pair(node);
    if (status != LS_OK)
        return status;
    if (at->weights && (at->n ? x->count % at->n : x->count))
        return ls_fail(LS_ESHAPE, "%lld weights for the elements of %s: their number must divide that of the elements",
                       (long long)at->n, ls_describe(x).text);
    for (int64_t i = 0; at->pos_weights && i < at->classes; i++)
        if (!(at->pos_weights[i] >= 0))
            return ls_fail(LS_EARG, "weight %g of positive class %lld: it must be at least 0",
                           (double)at->pos_weights[i], (long long)i);
    ls_set_shape(node->out[0], ls_wide_type(x->type), 0, NULL);
    return LS_OK;
}

static ls_element_loss_args args_of(const ls_node *node)
{
    const element_loss_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    return (ls_element_loss_args){.kind = at->kind,
                                  .type = x->type,
                                  .count = x->count,
                                  .run = at->weights && at->n ? x->count / at->n : 1,
                                  .classes = at->classes,
                                  .x = x->data,
                                  .target = node->in[1]->data,
                                  .weights = at->weights,
                                  .pos_weights = at->pos_weights};
}

static ls_status element_loss_forward(ls_node *node, ls_device *device)
{
    ls_element_loss_args args = args_of(node);
    args.sum = node->out[0]->data;
    device->element_loss(device, &args);
    return LS_OK;
}

static ls_status element_loss_backward(ls_node *node, ls_device *device)
{
    ls_element_loss_args args = args_of(node);
    args.dloss = node->out[0]->grad;
    args.dx = ls_gradient(node, 0);
    args.dtarget = ls_gradient(node, 1);
    if (args.dx || args.dtarget)
        device->element_loss_backward(device, &args);
    return LS_OK;
}

static const ls_op ops[LS_LOSS_COUNT] = {
    [LS_LOSS_SQUARE] = {"mse_sum", element_loss_shape, element_loss_forward, element_loss_backward},
    [LS_LOSS_BINARY_CROSS_ENTROPY] = {"bce_with_logits_sum", element_loss_shape, element_loss_forward,
                                      element_loss_backward},
    [LS_LOSS_KL] = {"kl_sum", element_loss_shape, element_loss_forward, element_loss_backward},
};

static ls_tensor *element_loss(ls_tape *tape, ls_element_loss kind, ls_tensor *x, ls_tensor *target, int64_t n,
                               const float *weights, const float *pos_weights)
{
    const int64_t classes = x->ndim ? x->shape[x->ndim - 1] : 1;
    const element_loss_attributes at = {
        .kind = kind,
        .n = n,
        .weights = weights ? ls_copy_array(tape, weights, n, sizeof *weights) : NULL,
        .classes = classes,
        .pos_weights = pos_weights ? ls_copy_array(tape, pos_weights, classes, sizeof *pos_weights) : NULL,
    };
    return ls_apply(tape, &ops[kind], 2, (ls_tensor *[]){x, target}, &at, sizeof at, 1, NULL);
}

ls_tensor *ls_mse_sum(ls_tape *tape, ls_tensor *x, ls_tensor *target, int64_t n, const float *weights)
{
    return element_loss(tape, LS_LOSS_SQUARE, x, target, n, weights, NULL);
}

ls_tensor *ls_bce_with_logits_sum(ls_tape *tape, ls_tensor *x, ls_tensor *target, int64_t n, const float *weights,
                                  const float *pos_weights)
{
    return element_loss(tape, LS_LOSS_BINARY_CROSS_ENTROPY, x, target, n, weights, pos_weights);
}

ls_tensor *ls_kl_sum(ls_tape *tape, ls_tensor *log_q, ls_tensor *log_p, int64_t n, const float *weights)
{
    return element_loss(tape, LS_LOSS_KL, log_q, log_p, n, weights, NULL);
}
