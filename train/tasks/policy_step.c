/* See policy_step.h. */
#include "train/tasks/policy_step.h"

#include "base/math.h"
#include "train/tasks/lm.h"
#include "train/tasks/policy_loss.h"

#include <math.h>
#include <stdlib.h>

enum { ORDER_STREAM = 1000 }; /* of the sampler's permutations; data sets have the numbers from 0 on */

ls_status ls_policy_step_open(ls_policy_step *step, ls_rollout *rollout, int64_t epochs, int64_t minibatches)
{
    const size_t grain = (size_t)rollout->run->config->batch.grain, cells = grain * (size_t)rollout->tokens;
    *step = (ls_policy_step){
        .rollout = rollout, .epochs = epochs, .minibatches = minibatches, .rows = ls_run_rows_per_step(rollout->run)};
    step->order = calloc((size_t)rollout->rows, sizeof *step->order);
    step->row = calloc(grain, sizeof *step->row);
    step->old = calloc(cells, sizeof *step->old);
    step->kept = calloc(cells, sizeof *step->kept);
    step->gain = calloc(cells, sizeof *step->gain);
    return step->order && step->row && step->old && step->kept && step->gain
               ? LS_OK
               : ls_fail(LS_EMEM, "no memory for a step of %lld rows", (long long)step->rows);
}

void ls_policy_step_close(ls_policy_step *step)
{
    free(step->order);
    free(step->row);
    free(step->old);
    free(step->kept);
    free(step->gain);
    *step = (ls_policy_step){0};
}

bool ls_policy_step_draws(const ls_policy_step *step)
{
    return step->rollout->run->step % (step->epochs * step->minibatches) == 0;
}

void ls_policy_step_order(ls_policy_step *step)
{
    const ls_run *run = step->rollout->run;
    const int64_t rows = step->rollout->rows;
    for (int64_t i = 0; i < rows; i++)
        step->order[i] =
            (int64_t)ls_sampler_permute((uint64_t)run->config->run.seed, ORDER_STREAM,
                                        (uint32_t)(run->step / step->minibatches), (uint64_t)rows, (uint64_t)i);
}

int64_t ls_policy_step_row(const ls_policy_step *step, int64_t place)
{
    return step->order[step->rollout->run->step % step->minibatches * step->rows + place];
}

int64_t ls_policy_answer_tokens(const ls_policy_step *step, int64_t row)
{
    return step->rollout->length[row] - step->rollout->prompt[row];
}

int64_t ls_policy_step_tokens(const ls_policy_step *step)
{
    int64_t tokens = 0;
    for (int64_t i = 0; i < step->rows; i++)
        tokens += ls_policy_answer_tokens(step, ls_policy_step_row(step, i));
    return tokens;
}

const ls_grain *ls_policy_step_grain(ls_policy_step *step, int64_t number)
{
    ls_rollout *r = step->rollout;
    const int64_t B = r->run->config->batch.grain;
    for (int64_t i = 0; i < B; i++)
        step->row[i] = ls_policy_step_row(step, number * B + i);
    ls_rollout_batch(r, B, step->row);
    const int64_t T = r->batch.tokens;
    for (int64_t i = 0; i < B; i++)
        for (int64_t t = 0; t < T; t++) {
            step->old[i * T + t] = r->logp[step->row[i] * r->tokens + t];
            step->kept[i * T + t] = r->reference_logp[step->row[i] * r->tokens + t];
        }
    step->grain = (ls_grain){.step = r->run->step,
                             .number = number,
                             .rows = B,
                             .tokens = T,
                             .slot = (uint32_t)(number * B),
                             .ids = r->batch.ids,
                             .labels = r->batch.labels,
                             .positions = r->batch.positions,
                             .segments = r->batch.segments,
                             .samples = step->row};
    return &step->grain;
}

/* ---- what is logged ---- */

void ls_policy_count_rows(const ls_policy_step *step, double *sums)
{
    const ls_rollout *r = step->rollout;
    for (int64_t i = 0; i < step->grain.rows; i++) {
        const int64_t row = step->row[i];
        const double reward = (double)r->reward[row];
        sums[LS_POLICY_ANSWERS]++;
        sums[LS_POLICY_RIGHT] += r->right[row];
        sums[LS_POLICY_ENDED] += r->ended[row];
        sums[LS_POLICY_REWARD] += reward;
        sums[LS_POLICY_SCORE] += (double)r->score[row];
        sums[LS_POLICY_REWARD_SQUARES] += reward * reward;
    }
    if (step->grain.number == 0) {
        sums[LS_POLICY_SECONDS] = r->seconds;
        sums[LS_POLICY_BUSY] = r->seconds > 0 ? r->processor_seconds / (r->seconds * ls_team_threads(r->run->device->team)) : 0;
    }
}

void ls_policy_count_tokens(const ls_policy_step *step, const float *cost, double clip_low, double clip_high,
                            bool reference, double *sums)
{
    const ls_policy_rows *b = &step->rollout->batch;
    for (int64_t cell = 0; cell < b->rows * b->tokens; cell++) {
        if (b->labels[cell] < 0)
            continue;
        const double logp = -(double)cost[cell], old = (double)step->old[cell], ratio = ls_math_exp(logp - old),
                     d = logp - (double)step->kept[cell], gain = (double)step->gain[cell];
        sums[LS_POLICY_TOKENS]++;
        sums[LS_POLICY_RATIO] += ratio;
        sums[LS_POLICY_RATIO_OFF] += logp != old;
        sums[LS_POLICY_CLIPPED] += (ratio < 1 - clip_low && gain < 0) || (ratio > 1 + clip_high && gain > 0);
        sums[LS_POLICY_SURPRISAL] -= old;
        if (reference) {
            sums[LS_POLICY_K1] += ls_kl_estimate(LS_KL_K1, d);
            sums[LS_POLICY_K2] += ls_kl_estimate(LS_KL_K2, d);
            sums[LS_POLICY_K3] += ls_kl_estimate(LS_KL_K3, d);
        }
    }
}

ls_tensor *ls_policy_evaluate(ls_rollout *rollout, ls_tape *tape, const ls_grain *grain, double *sums)
{
    double right = 0, ended = 0, tokens = 0;
    if (ls_rollout_judge_held_out(rollout, grain, &right, &ended, &tokens) != LS_OK)
        ls_tape_raise(tape, LS_ERECIPE, "%s", ls_fail_sentence());
    sums[LS_POLICY_ANSWERS] += (double)grain->rows;
    sums[LS_POLICY_RIGHT] += right;
    sums[LS_POLICY_ENDED] += ended;
    sums[LS_POLICY_TOKENS] += tokens;
    return ls_lm_loss(rollout->networks->policy, tape, grain);
}

static double share(double part, double of)
{
    return of > 0 ? part / of : 0;
}

double ls_policy_variance(double sum, double squares, double n)
{
    const double mean = share(sum, n), variance = share(squares, n) - mean * mean;
    return variance > 0 ? variance : 0;
}

#define MEASURE(name, part, of)                                                                                        \
    double ls_policy_##name(const double *sums, int64_t counted)                                                       \
    {                                                                                                                  \
        (void)counted;                                                                                                 \
        return share(sums[LS_POLICY_##part], sums[LS_POLICY_##of]);                                                    \
    }
MEASURE(accuracy, RIGHT, ANSWERS)
MEASURE(reward, REWARD, ANSWERS)
MEASURE(score, SCORE, ANSWERS)
MEASURE(ended, ENDED, ANSWERS)
MEASURE(length, TOKENS, ANSWERS)
MEASURE(clip_fraction, CLIPPED, TOKENS)
MEASURE(ratio, RATIO, TOKENS)
MEASURE(ratio_off, RATIO_OFF, TOKENS)
MEASURE(entropy, SURPRISAL, TOKENS)
MEASURE(kl_k1, K1, TOKENS)
MEASURE(kl_k2, K2, TOKENS)
MEASURE(kl_k3, K3, TOKENS)
#undef MEASURE

double ls_policy_reward_std(const double *sums, int64_t counted)
{
    (void)counted;
    return sqrt(ls_policy_variance(sums[LS_POLICY_REWARD], sums[LS_POLICY_REWARD_SQUARES], sums[LS_POLICY_ANSWERS]));
}

double ls_policy_rollout_seconds(const double *sums, int64_t counted)
{
    (void)counted;
    return sums[LS_POLICY_SECONDS];
}

double ls_policy_rollout_busy(const double *sums, int64_t counted)
{
    (void)counted;
    return sums[LS_POLICY_BUSY];
}
