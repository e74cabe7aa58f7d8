/* See policy_loss.h. */
#include "train/tasks/policy_loss.h"

#include "base/math.h"

#include <math.h>

static ls_tensor *penalty(ls_tape *tape, ls_tensor *d, ls_kl_estimator kl)
{
    if (kl == LS_KL_K1)
        return d;
    if (kl == LS_KL_K2)
        return ls_scale(tape, ls_square(tape, d), 0.5, 0);
    return ls_add(tape, ls_scale(tape, ls_exp(tape, ls_neg(tape, d)), 1, -1), d);
}

double ls_kl_estimate(ls_kl_estimator kl, double d)
{
    if (kl == LS_KL_K1)
        return d;
    return kl == LS_KL_K2 ? d * d / 2 : ls_math_exp(-d) - 1 + d;
}

static ls_tensor *given(ls_tape *tape, const ls_tensor *like, const void *data)
{
    return ls_constant(tape, like->type, like->ndim, like->shape, data);
}

ls_tensor *ls_policy_loss_sum(ls_tape *tape, ls_tensor *cost, const ls_policy_terms *t)
{
    ls_tensor *logp = ls_neg(tape, cost), *advantage = given(tape, cost, t->advantage);
    ls_tensor *ratio = ls_exp(tape, ls_sub(tape, logp, given(tape, cost, t->old)));
    ls_tensor *clipped = ls_clamp(tape, ratio, 1 - t->clip_low, 1 + t->clip_high);
    ls_tensor *loss = ls_neg(tape, ls_min(tape, ls_mul(tape, ratio, advantage), ls_mul(tape, clipped, advantage)));
    if (t->beta > 0) {
        ls_tensor *kl = penalty(tape, ls_sub(tape, logp, given(tape, cost, t->reference)), t->kl);
        loss = ls_add(tape, loss, ls_scale(tape, kl, t->beta, 0));
    }
    return ls_sum(tape, ls_mul(tape, loss, given(tape, cost, t->weight)), LS_ALL);
}

void ls_group_advantages(int64_t rows, int64_t group, bool scale, const float *reward, float *advantage, float *flat)
{
    for (int64_t first = 0; first < rows; first += group) {
        double mean = 0, squares = 0;
        bool equal = true;
        for (int64_t i = first; i < first + group; i++) {
            mean += (double)reward[i];
            equal = equal && reward[i] == reward[first];
        }
        mean /= (double)group;
        for (int64_t i = first; i < first + group; i++)
            squares += ((double)reward[i] - mean) * ((double)reward[i] - mean);
        const double deviation = group > 1 ? sqrt(squares / (double)(group - 1)) : 0;
        for (int64_t i = first; i < first + group; i++) {
            advantage[i] = equal ? 0 : (float)(((double)reward[i] - mean) / (scale ? deviation + 1e-4 : 1));
            flat[i] = equal;
        }
    }
}
