/* See value_loss.h. */
#include "train/tasks/value_loss.h"

#include <math.h>

void ls_gae(int64_t n, double gamma, double lambda, const double *reward, const double *value, double *advantage,
            double *target)
{
    double next_value = 0, next_advantage = 0;
    for (int64_t t = n - 1; t >= 0; t--) {
        const double delta = reward[t] + gamma * next_value - value[t];
        advantage[t] = delta + gamma * lambda * next_advantage;
        target[t] = advantage[t] + value[t];
        next_advantage = advantage[t];
        next_value = value[t];
    }
}

void ls_whiten(int64_t n, double *x)
{
    double mean = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        mean += x[i];
    mean /= n > 0 ? (double)n : 1;
    for (int64_t i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    const double scale = 1 / sqrt((n > 1 ? squares / (double)(n - 1) : 0) + 1e-8);
    for (int64_t i = 0; i < n; i++)
        x[i] = (x[i] - mean) * scale;
}

static ls_tensor *given(ls_tape *tape, const ls_tensor *like, const void *data)
{
    return ls_constant(tape, like->type, like->ndim, like->shape, data);
}

ls_tensor *ls_value_loss_sum(ls_tape *tape, ls_tensor *value, const ls_value_terms *t)
{
    ls_tensor *old = given(tape, value, t->old), *target = given(tape, value, t->target);
    ls_tensor *near = ls_add(tape, ls_clamp(tape, ls_sub(tape, value, old), -t->clip, t->clip), old);
    ls_tensor *worst =
        ls_max(tape, ls_square(tape, ls_sub(tape, value, target)), ls_square(tape, ls_sub(tape, near, target)));
    return ls_scale(tape, ls_sum(tape, ls_mul(tape, worst, given(tape, value, t->weight)), LS_ALL), 0.5, 0);
}
