/* What a step of every policy gradient task is made of (grpo, ppo): which rows of the iteration it takes, its grains by
 * cells, and the numbers that all of them log.
 *
 * An iteration is epochs x minibatches steps, counted from the run's step alone. Each pass takes the iteration's rows
 * in another order, a permutation of {seed, pass}; a grain is a fixed set of rows of it. */
#pragma once
#include "train/tasks/rollout.h"

/* Sums over the answers and tokens of a step; a task's own ones follow. */
enum {
    LS_POLICY_ANSWERS,
    LS_POLICY_TOKENS,
    LS_POLICY_RIGHT,
    LS_POLICY_ENDED,
    LS_POLICY_REWARD,
    LS_POLICY_REWARD_SQUARES,
    LS_POLICY_SCORE,
    LS_POLICY_CLIPPED,
    LS_POLICY_RATIO,
    LS_POLICY_RATIO_OFF,
    LS_POLICY_SURPRISAL,
    LS_POLICY_K1,
    LS_POLICY_K2,
    LS_POLICY_K3,
    LS_POLICY_SECONDS,
    LS_POLICY_BUSY,
    LS_POLICY_SUMS
};

typedef struct {
    ls_rollout *rollout;
    int64_t epochs, minibatches, rows; /* rows of a step */
    int64_t *order;                    /* [rollout->rows] of this pass */
    /* the grain in work: its rows, and by cells the log-probabilities when drawn and of the reference, and advantages
     */
    ls_grain grain;
    int64_t *row;
    float *old, *kept, *gain;
} ls_policy_step;

/* Of an open rollout. LS_EMEM. Close also after a failure. */
ls_status ls_policy_step_open(ls_policy_step *step, ls_rollout *rollout, int64_t epochs, int64_t minibatches);
void ls_policy_step_close(ls_policy_step *step);
/* The run's next step begins an iteration: its rows are to be drawn. */
bool ls_policy_step_draws(const ls_policy_step *step);
/* Puts the rows of the pass in order. */
void ls_policy_step_order(ls_policy_step *step);
/* Row of the buffer that is at `place` of this step; its answer's tokens; those of all rows of the step. */
int64_t ls_policy_step_row(const ls_policy_step *step, int64_t place);
int64_t ls_policy_answer_tokens(const ls_policy_step *step, int64_t row);
int64_t ls_policy_step_tokens(const ls_policy_step *step);
/* Grain `number` of the step: batch, row, old and kept are its own; gain and what else there is by cells are the task's
 * to fill. Valid until the next. */
const ls_grain *ls_policy_step_grain(ls_policy_step *step, int64_t number);

/* Adds what the grain's rows say to sums; with cost [cells] what its tokens say, under this clipping, `reference`: kept
 * is one. */
void ls_policy_count_rows(const ls_policy_step *step, double *sums);
void ls_policy_count_tokens(const ls_policy_step *step, const float *cost, double clip_low, double clip_high,
                            bool reference, double *sums);
/* Held out: the loss of the gold answers, and greedy answers judged. */
ls_tensor *ls_policy_evaluate(ls_rollout *rollout, ls_tape *tape, const ls_grain *grain, double *sums);

/* Of n numbers, from their sum and that of their squares; never below 0. */
double ls_policy_variance(double sum, double squares, double n);
/* The measures of these sums, and rows of them for a task's table: of answers, the first three of held-out data too,
 * and of tokens. */
enum { LS_POLICY_HELD_OUT_MEASURES = 3 };
typedef double ls_policy_measure(const double *sums, int64_t counted);
ls_policy_measure ls_policy_accuracy, ls_policy_ended, ls_policy_length, ls_policy_reward, ls_policy_score,
    ls_policy_reward_std, ls_policy_clip_fraction, ls_policy_ratio, ls_policy_ratio_off, ls_policy_entropy,
    ls_policy_kl_k1, ls_policy_kl_k2, ls_policy_kl_k3, ls_policy_rollout_seconds, ls_policy_rollout_busy;
/* clang-format off */
#define LS_POLICY_ANSWER_MEASURES \
    {.name = "accuracy", .higher_is_better = true, .value = ls_policy_accuracy}, \
    {.name = "ended", .higher_is_better = true, .value = ls_policy_ended}, \
    {.name = "length", .value = ls_policy_length}, \
    {.name = "reward", .higher_is_better = true, .value = ls_policy_reward}, \
    {.name = "reward_std", .higher_is_better = true, .value = ls_policy_reward_std}, \
    {.name = "score", .higher_is_better = true, .value = ls_policy_score}
#define LS_POLICY_TOKEN_MEASURES \
    {.name = "clip_fraction", .value = ls_policy_clip_fraction}, \
    {.name = "ratio", .value = ls_policy_ratio}, \
    {.name = "ratio_off", .value = ls_policy_ratio_off}, \
    {.name = "entropy", .value = ls_policy_entropy}, \
    {.name = "kl_k1", .value = ls_policy_kl_k1}, \
    {.name = "kl_k2", .value = ls_policy_kl_k2}, \
    {.name = "kl_k3", .value = ls_policy_kl_k3}
/* clang-format on */
