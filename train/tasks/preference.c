/* See preference.h. */
#include "train/tasks/preference.h"

/* - sum log sigmoid(x) */
static ls_tensor *minus_log_sigmoid(ls_tape *tape, ls_tensor *x)
{
    return ls_sum(tape, ls_softplus(tape, ls_neg(tape, x)), LS_ALL);
}

ls_tensor *ls_bradley_terry_sum(ls_tape *tape, ls_tensor *rewards, const void *margin, double center)
{
    const int64_t pairs = rewards->count / 2;
    ls_tensor *r = ls_reshape(tape, rewards, LS_SHAPE(pairs, 2));
    ls_tensor *better = ls_narrow(tape, r, 1, 0, 1), *worse = ls_narrow(tape, r, 1, 1, 1); /* [p, 1] */
    ls_tensor *apart = ls_sub(tape, better, worse);
    ls_tensor *loss =
        minus_log_sigmoid(tape, ls_sub(tape, apart, ls_constant(tape, rewards->type, LS_SHAPE(pairs, 1), margin)));
    if (center == 0)
        return loss;
    ls_tensor *off = ls_sum(tape, ls_square(tape, ls_add(tape, better, worse)), LS_ALL);
    return ls_add(tape, loss, ls_scale(tape, off, center, 0));
}

ls_tensor *ls_outcome_sum(ls_tape *tape, ls_tensor *rewards, const void *target)
{
    ls_tensor *z = ls_constant(tape, rewards->type, LS_SHAPE(rewards->count), target);
    return ls_bce_with_logits_sum(tape, rewards, z, rewards->count, NULL, NULL);
}

ls_tensor *ls_dpo_sum(ls_tape *tape, ls_tensor *h, ls_dpo_kind kind, double beta, double smoothing)
{
    if (kind == LS_DPO_IPO)
        return ls_sum(tape, ls_square(tape, ls_scale(tape, h, 1, -0.5 / beta)), LS_ALL);
    if (kind == LS_DPO_HINGE)
        return ls_sum(tape, ls_relu(tape, ls_scale(tape, h, -beta, 1)), LS_ALL);
    ls_tensor *loss = minus_log_sigmoid(tape, ls_scale(tape, h, beta, 0));
    if (smoothing == 0)
        return loss;
    ls_tensor *other = minus_log_sigmoid(tape, ls_scale(tape, h, -beta, 0));
    const double scale = kind == LS_DPO_ROBUST ? 1 / (1 - 2 * smoothing) : 1, sign = kind == LS_DPO_ROBUST ? -1 : 1;
    return ls_add(tape, ls_scale(tape, loss, (1 - smoothing) * scale, 0),
                  ls_scale(tape, other, sign * smoothing * scale, 0));
}
