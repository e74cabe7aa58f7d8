/* Task grpo: group-relative policy optimisation (Shao et al. 2024, "DeepSeekMath", section 4.1) with a rule as the
 * reward.
 *
 * An iteration draws G answers to each prompt (rollout.h), gives each the advantage
 *     A_i = (s_i - mean_G) / (std_G + 1e-4)          std with n - 1; loss dr_grpo: without the division (Liu et al.
 * 2025) on all of its tokens, and makes epochs x minibatches updates with the loss of policy_loss.h, whose sum is over
 *     grpo      tokens, each weighing 1 / its answer's length, divided by the answers of the step
 *     dapo      tokens, divided by the tokens of the step (Yu et al. 2025; the default of TRL)
 *     dr_grpo   tokens, divided by answers x max_tokens
 * Counts are the whole step's, known before backward. A group whose rewards are all equal teaches nothing: flat_groups
 * says how many there are. A grain is a fixed set of rows: of a permutation of the iteration's rows, another one each
 * epoch. */
#include "base/math.h"
#include "train/tasks/lm.h"
#include "train/tasks/policy_loss.h"
#include "train/tasks/rollout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LOSS_GRPO, LOSS_DAPO, LOSS_DR_GRPO };

typedef struct {
    ls_rollout_options rollout;
    int64_t epochs, minibatches;
    int loss, kl;
    double clip_low, clip_high, beta;
} grpo_options;

#define AT(field) offsetof(grpo_options, field)
static const ls_option rows[] = {
    LS_ROLLOUT_OPTION_ROWS(AT(rollout)),
    {"epochs", LS_OPTION_INT, AT(epochs), 0, 1, 1000, "1", NULL, "passes over an iteration's answers"},
    {"minibatches", LS_OPTION_INT, AT(minibatches), 0, 1, 1000, "1", NULL,
     "steps of a pass; an iteration draws batch.grain x batch.grains x this many answers"},
    {"loss", LS_OPTION_CHOICE, AT(loss), 0, 0, 0, "dapo", "grpo|dapo|dr_grpo",
     "what a token weighs: docs/generation.md"},
    {"clip_low", LS_OPTION_FLOAT, AT(clip_low), 0, 0, 1, "0.2", NULL,
     "the ratio to the drawing policy counts down to 1 - this"},
    {"clip_high", LS_OPTION_FLOAT, AT(clip_high), 0, 0, 100, "0.2", NULL, "and up to 1 + this (DAPO: 0.28)"},
    {"beta", LS_OPTION_FLOAT, AT(beta), 0, 0, 1e3, "0", NULL,
     "weight of the KL to the model as it began; 0: no reference is kept"},
    {"kl", LS_OPTION_CHOICE, AT(kl), 0, 0, 0, "k3", LS_KL_CHOICES, "its estimator in the loss; the log has all three"},
    {0},
};
#undef AT

/* What is added up over the answers and tokens of a step. */
enum {
    ANSWERS,
    TOKENS,
    RIGHT,
    ENDED,
    REWARD,
    REWARD_SQUARES,
    CLIPPED,
    RATIO,
    RATIO_OFF,
    SURPRISAL,
    K1,
    K2,
    K3,
    FLAT,
    SECONDS,
    SUMS
};

typedef struct {
    grpo_options options;
    ls_run *run;
    ls_transformer *policy, *reference;
    ls_rollout rollout;
    int64_t step_rows;
    int64_t *order;          /* [rows] of this epoch */
    float *advantage, *flat; /* [rows] */
    /* the grain in work, by cells */
    ls_grain grain;
    int64_t *row;
    float *old, *kept, *gain, *weight;
    double sums[SUMS];
} grpo;

static void grpo_free(void *self)
{
    grpo *task = self;
    if (!task)
        return;
    ls_rollout_close(&task->rollout);
    ls_transformer_free(task->reference);
    ls_transformer_free(task->policy);
    void *const blocks[] = {task->order, task->advantage, task->flat,   task->row, task->old,
                            task->kept,  task->gain,      task->weight, task};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        free(blocks[i]);
}

static ls_status make_rooms(grpo *task)
{
    const size_t all = (size_t)task->rollout.rows, grain = (size_t)task->run->config->batch.grain,
                 cells = grain * (size_t)task->rollout.tokens;
    task->order = calloc(all, sizeof *task->order);
    task->advantage = calloc(all, sizeof *task->advantage);
    task->flat = calloc(all, sizeof *task->flat);
    task->row = calloc(grain, sizeof *task->row);
    task->old = calloc(cells, sizeof *task->old);
    task->kept = calloc(cells, sizeof *task->kept);
    task->gain = calloc(cells, sizeof *task->gain);
    task->weight = calloc(cells, sizeof *task->weight);
    if (!task->order || !task->advantage || !task->flat || !task->row || !task->old || !task->kept || !task->gain ||
        !task->weight)
        return ls_fail(LS_EMEM, "no memory for task grpo");
    return LS_OK;
}

static ls_status grpo_init(ls_run *run, const void *options, void **self)
{
    ls_transformer_options model;
    ls_status status = ls_lm_options(run, &model);
    if (status != LS_OK)
        return status;
    grpo *task = calloc(1, sizeof *task);
    if (!task)
        return ls_fail(LS_EMEM, "no memory for task grpo");
    task->options = *(const grpo_options *)options;
    task->run = run;
    task->step_rows = ls_run_rows_per_step(run);
    status = task->options.beta > 0 ? ls_transformer_create_with_reference(&task->policy, &task->reference, &model, 0)
                                    : ls_transformer_create(&task->policy, &model);
    if (status == LS_OK)
        status = ls_rollout_open(&task->rollout, run, &task->options.rollout, task->policy, task->reference,
                                 task->step_rows * task->options.minibatches);
    if (status == LS_OK)
        status = make_rooms(task);
    if (status == LS_OK)
        *self = task;
    else
        grpo_free(task);
    return status;
}

static int grpo_parameters(void *self, ls_parameter **parameters)
{
    return ls_transformer_parameters(((grpo *)self)->policy, parameters);
}

static ls_status grpo_state(void *self, ls_state_tree *tree)
{
    return ls_rollout_state(&((grpo *)self)->rollout, tree);
}

/* One sample a row: prompts are looked for in them. */
static void grpo_rows(const void *options, ls_data_options *data)
{
    (void)options;
    data->pack = false;
    data->epochs = 0; /* prompts come again for as long as the run goes on */
}

/* ---- a step ---- */

/* Draws when an iteration begins; afterwards knows this step's rows. Steps of an iteration are counted from run->step
 * alone. */
static ls_status grpo_prepare(void *self)
{
    grpo *task = self;
    const int64_t per_iteration = task->options.epochs * task->options.minibatches,
                  step = task->run->step % per_iteration;
    task->rollout.seconds = 0;
    const ls_status status = step == 0 ? ls_rollout_draw(&task->rollout) : LS_OK;
    if (status != LS_OK)
        return status;
    ls_group_advantages(task->rollout.rows, task->options.rollout.group, task->options.loss != LOSS_DR_GRPO,
                        task->rollout.reward, task->advantage, task->flat);
    const int64_t pass = (task->run->step / task->options.minibatches);
    for (int64_t i = 0; i < task->rollout.rows; i++)
        task->order[i] = (int64_t)ls_sampler_permute((uint64_t)task->run->config->run.seed, 1000, (uint32_t)pass,
                                                     (uint64_t)task->rollout.rows, (uint64_t)i);
    return LS_OK;
}

static int64_t row_of(const grpo *task, int64_t place)
{
    return task->order[task->run->step % task->options.minibatches * task->step_rows + place];
}

static int64_t answer_tokens(const grpo *task, int64_t row)
{
    return task->rollout.length[row] - task->rollout.prompt[row];
}

static int64_t grpo_count(void *self)
{
    const grpo *task = self;
    if (task->options.loss == LOSS_GRPO)
        return task->step_rows;
    if (task->options.loss == LOSS_DR_GRPO)
        return task->step_rows * task->options.rollout.max_tokens;
    int64_t tokens = 0;
    for (int64_t i = 0; i < task->step_rows; i++)
        tokens += answer_tokens(task, row_of(task, i));
    return tokens;
}

static const ls_grain *grpo_grain(void *self, int64_t number)
{
    grpo *task = self;
    ls_rollout *r = &task->rollout;
    const int64_t B = task->run->config->batch.grain;
    for (int64_t i = 0; i < B; i++)
        task->row[i] = row_of(task, number * B + i);
    ls_rollout_batch(r, B, task->row);
    const int64_t T = r->batch.tokens;
    for (int64_t i = 0; i < B; i++) {
        const int64_t row = task->row[i], from = row * r->tokens;
        const float weight = task->options.loss == LOSS_GRPO ? 1.0f / (float)answer_tokens(task, row) : 1.0f;
        for (int64_t t = 0; t < T; t++) {
            const int64_t cell = i * T + t;
            const bool counts = r->batch.labels[cell] >= 0;
            task->old[cell] = r->logp[from + t];
            task->kept[cell] = r->reference_logp[from + t];
            task->gain[cell] = counts ? task->advantage[row] : 0;
            task->weight[cell] = counts ? weight : 0;
        }
    }
    task->grain = (ls_grain){.step = task->run->step,
                             .number = number,
                             .rows = B,
                             .tokens = T,
                             .slot = (uint32_t)(number * B),
                             .ids = r->batch.ids,
                             .labels = r->batch.labels,
                             .positions = r->batch.positions,
                             .segments = r->batch.segments,
                             .samples = task->row};
    return &task->grain;
}

static void count_rows(grpo *task, int64_t number)
{
    const ls_rollout *r = &task->rollout;
    double *sums = task->sums;
    for (int64_t i = 0; i < task->grain.rows; i++) {
        const int64_t row = task->row[i];
        const double reward = (double)r->reward[row];
        sums[ANSWERS]++;
        sums[RIGHT] += r->right[row];
        sums[ENDED] += r->ended[row];
        sums[REWARD] += reward;
        sums[REWARD_SQUARES] += reward * reward;
        sums[FLAT] += (double)task->flat[row];
    }
    if (number == 0)
        sums[SECONDS] = r->seconds;
}

static void count_tokens(grpo *task, const float *cost)
{
    const ls_policy_rows *b = &task->rollout.batch;
    double *sums = task->sums;
    for (int64_t cell = 0; cell < b->rows * b->tokens; cell++) {
        if (b->labels[cell] < 0)
            continue;
        const double logp = -(double)cost[cell], ratio = ls_math_exp(logp - (double)task->old[cell]),
                     d = logp - (double)task->kept[cell];
        sums[TOKENS]++;
        sums[RATIO] += ratio;
        sums[RATIO_OFF] += logp != (double)task->old[cell];
        sums[CLIPPED] += (ratio < 1 - task->options.clip_low && task->gain[cell] < 0) ||
                         (ratio > 1 + task->options.clip_high && task->gain[cell] > 0);
        sums[SURPRISAL] -= (double)task->old[cell];
        if (task->reference) {
            sums[K1] += ls_kl_estimate(LS_KL_K1, d);
            sums[K2] += ls_kl_estimate(LS_KL_K2, d);
            sums[K3] += ls_kl_estimate(LS_KL_K3, d);
        }
    }
}

static ls_tensor *grpo_loss(void *self, ls_tape *tape, const ls_grain *grain)
{
    grpo *task = self;
    const grpo_options *o = &task->options;
    memset(task->sums, 0, sizeof task->sums);
    ls_tensor *cost = ls_policy_costs(&task->rollout, task->policy, tape, &task->rollout.batch, NULL, false);
    if (ls_tape_status(tape) == LS_OK) {
        count_rows(task, grain->number);
        count_tokens(task, cost->data);
    }
    const ls_policy_terms terms = {.old = task->old,
                                   .reference = task->reference ? task->kept : NULL,
                                   .advantage = task->gain,
                                   .weight = task->weight,
                                   .clip_low = o->clip_low,
                                   .clip_high = o->clip_high,
                                   .beta = o->beta,
                                   .kl = (ls_kl_estimator)o->kl};
    return ls_policy_loss_sum(tape, cost, &terms);
}

static const double *grpo_grain_sums(void *self)
{
    return ((grpo *)self)->sums;
}

/* Held out: the loss of the gold answers, and greedy answers judged. */
static ls_tensor *grpo_evaluate(void *self, ls_tape *tape, const ls_grain *grain, double *sums)
{
    grpo *task = self;
    double right = 0, ended = 0, tokens = 0;
    if (ls_rollout_judge_held_out(&task->rollout, grain, &right, &ended, &tokens) != LS_OK)
        ls_tape_raise(tape, LS_ERECIPE, "%s", ls_fail_sentence());
    sums[ANSWERS] += (double)grain->rows;
    sums[RIGHT] += right;
    sums[REWARD] += right;
    sums[REWARD_SQUARES] += right;
    sums[ENDED] += ended;
    sums[TOKENS] += tokens;
    return ls_lm_loss(task->policy, tape, grain);
}

static int64_t grpo_sums(void *self)
{
    (void)self;
    return SUMS;
}

static double share(double part, double of)
{
    return of > 0 ? part / of : 0;
}

#define MEASURE(name, part, of)                                                                                        \
    static double name(const double *sums, int64_t counted)                                                            \
    {                                                                                                                  \
        (void)counted;                                                                                                 \
        return share(sums[part], sums[of]);                                                                            \
    }
MEASURE(accuracy, RIGHT, ANSWERS)
MEASURE(reward, REWARD, ANSWERS)
MEASURE(ended, ENDED, ANSWERS)
MEASURE(length, TOKENS, ANSWERS)
MEASURE(flat_groups, FLAT, ANSWERS)
MEASURE(clip_fraction, CLIPPED, TOKENS)
MEASURE(ratio, RATIO, TOKENS)
MEASURE(ratio_off, RATIO_OFF, TOKENS)
MEASURE(entropy, SURPRISAL, TOKENS)
MEASURE(kl_k1, K1, TOKENS)
MEASURE(kl_k2, K2, TOKENS)
MEASURE(kl_k3, K3, TOKENS)
#undef MEASURE

static double reward_std(const double *sums, int64_t counted)
{
    (void)counted;
    const double mean = share(sums[REWARD], sums[ANSWERS]),
                 variance = share(sums[REWARD_SQUARES], sums[ANSWERS]) - mean * mean;
    return variance > 0 ? sqrt(variance) : 0;
}

static double rollout_seconds(const double *sums, int64_t counted)
{
    (void)counted;
    return sums[SECONDS];
}

static const ls_measure measures[] = {
    {.name = "accuracy", .higher_is_better = true, .value = accuracy},
    {.name = "ended", .higher_is_better = true, .value = ended},
    {.name = "length", .value = length},
    {.name = "reward", .higher_is_better = true, .value = reward},
    {.name = "reward_std", .higher_is_better = true, .value = reward_std},
    {.name = "flat_groups", .value = flat_groups},
    {.name = "clip_fraction", .value = clip_fraction},
    {.name = "ratio", .value = ratio},
    {.name = "ratio_off", .value = ratio_off},
    {.name = "entropy", .value = entropy},
    {.name = "kl_k1", .value = kl_k1},
    {.name = "kl_k2", .value = kl_k2},
    {.name = "kl_k3", .value = kl_k3},
    {.name = "rollout_seconds", .value = rollout_seconds},
    {0},
};

extern const ls_task ls_task_grpo;
const ls_task ls_task_grpo = {
    .name = "grpo",
    .sentence = "reinforcement learning without a critic: answers are compared with others to the same prompt",
    .options = rows,
    .options_size = sizeof(grpo_options),
    .init = grpo_init,
    .free = grpo_free,
    .parameters = grpo_parameters,
    .rows = grpo_rows,
    .state = grpo_state,
    .prepare = grpo_prepare,
    .count = grpo_count,
    .grain = grpo_grain,
    .grain_loss = grpo_loss,
    .grain_sums = grpo_grain_sums,
    .evaluate = grpo_evaluate,
    .measures = measures,
    .held_out_measures = 3,
    .sums = grpo_sums,
};
