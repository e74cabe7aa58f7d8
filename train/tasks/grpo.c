/* Task grpo: group-relative policy optimisation (Shao et al. 2024, "DeepSeekMath", section 4.1) with a rule or a reward
 * model as the reward.
 *
 * An iteration draws G answers to each prompt (rollout.h), gives each the advantage
 *     A_i = (s_i - mean_G) / (std_G + 1e-4)     std with n - 1; dr_grpo: without the division (Liu et al. 2025)
 * on all of its tokens, and makes epochs x minibatches updates with the loss of policy_loss.h, whose sum is over
 *     grpo      tokens, each weighing 1 / its answer's length, divided by the answers of the step
 *     dapo      tokens, divided by the tokens of the step (Yu et al. 2025; the default of TRL)
 *     dr_grpo   tokens, divided by answers x max_tokens
 * Counts are the whole step's, known before backward. A group whose rewards are all equal teaches nothing: flat_groups
 * says how many there are. */
#include "train/tasks/lm.h"
#include "train/tasks/policy_loss.h"
#include "train/tasks/policy_step.h"

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

enum { FLAT = LS_POLICY_SUMS, SUMS };

typedef struct {
    grpo_options options;
    ls_run *run;
    ls_policy_networks networks;
    ls_rollout rollout;
    ls_policy_step step;
    float *advantage, *flat; /* [rows] */
    float *weight;           /* of the grain in work, by cells */
    int64_t rows;       /* of the grain that was computed last, as both below */
    const float *costs; /* by cells */
    double sums[SUMS];
} grpo;

static void grpo_free(void *self)
{
    grpo *task = self;
    if (!task)
        return;
    ls_policy_step_close(&task->step);
    ls_rollout_close(&task->rollout);
    ls_policy_networks_free(&task->networks);
    free(task->advantage);
    free(task->flat);
    free(task->weight);
    free(task);
}

static ls_status make_rooms(grpo *task)
{
    const size_t all = (size_t)task->rollout.rows,
                 cells = (size_t)task->run->config->batch.grain * (size_t)task->rollout.tokens;
    task->advantage = calloc(all, sizeof *task->advantage);
    task->flat = calloc(all, sizeof *task->flat);
    task->weight = calloc(cells, sizeof *task->weight);
    if (!task->advantage || !task->flat || !task->weight)
        return ls_fail(LS_EMEM, "no memory for task grpo");
    return ls_policy_step_open(&task->step, &task->rollout, task->options.epochs, task->options.minibatches);
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
    status = ls_policy_networks_make(&task->networks, run, &model,
                                     &(ls_policy_networks_options){.reference = task->options.beta > 0,
                                                                   .critic = LS_CRITIC_NONE,
                                                                   .reward_model = task->options.rollout.reward_model});
    if (status == LS_OK)
        status = ls_rollout_open(&task->rollout, run, &task->options.rollout, &task->networks,
                                 ls_run_rows_per_step(run) * task->options.minibatches);
    if (status == LS_OK)
        status = make_rooms(task);
    if (status == LS_OK)
        *self = task;
    else
        grpo_free(task);
    return status;
}

static ls_status grpo_begin(void *self)
{
    return ls_policy_networks_begin(&((grpo *)self)->networks);
}

static int grpo_parameters(void *self, ls_parameter **parameters)
{
    return ls_transformer_parameters(((grpo *)self)->networks.policy, parameters);
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

/* Draws when an iteration begins; afterwards knows this step's rows. */
static ls_status grpo_prepare(void *self)
{
    grpo *task = self;
    task->rollout.seconds = task->rollout.processor_seconds = 0;
    const ls_status status = ls_policy_step_draws(&task->step) ? ls_rollout_draw(&task->rollout) : LS_OK;
    if (status != LS_OK)
        return status;
    ls_group_advantages(task->rollout.rows, task->options.rollout.group, task->options.loss != LOSS_DR_GRPO,
                        task->rollout.reward, task->advantage, task->flat);
    ls_policy_step_order(&task->step);
    return LS_OK;
}

static int64_t grpo_count(void *self)
{
    const grpo *task = self;
    if (task->options.loss == LOSS_GRPO)
        return task->step.rows;
    if (task->options.loss == LOSS_DR_GRPO)
        return task->step.rows * task->options.rollout.max_tokens;
    return ls_policy_step_tokens(&task->step);
}

static const ls_grain *grpo_grain(void *self, int64_t number)
{
    grpo *task = self;
    const ls_grain *grain = ls_policy_step_grain(&task->step, number);
    for (int64_t i = 0; i < grain->rows; i++) {
        const int64_t row = task->step.row[i];
        const float weight =
            task->options.loss == LOSS_GRPO ? 1.0f / (float)ls_policy_answer_tokens(&task->step, row) : 1.0f;
        for (int64_t cell = i * grain->tokens; cell < (i + 1) * grain->tokens; cell++) {
            const bool counts = grain->labels[cell] >= 0;
            task->step.gain[cell] = counts ? task->advantage[row] : 0;
            task->weight[cell] = counts ? weight : 0;
        }
    }
    return grain;
}

static ls_tensor *grpo_loss(void *self, ls_tape *tape, const ls_grain *grain)
{
    grpo *task = self;
    const grpo_options *o = &task->options;
    ls_tensor *cost = ls_policy_costs(&task->rollout, task->networks.policy, tape, &task->rollout.batch, NULL, false);
    task->rows = grain->rows;
    task->costs = ls_tape_read_later(tape, cost);
    const ls_policy_terms terms = {.old = task->step.old,
                                   .reference = task->networks.reference ? task->step.kept : NULL,
                                   .advantage = task->step.gain,
                                   .weight = task->weight,
                                   .clip_low = o->clip_low,
                                   .clip_high = o->clip_high,
                                   .beta = o->beta,
                                   .kl = (ls_kl_estimator)o->kl};
    return ls_policy_loss_sum(tape, cost, &terms);
}

static const double *grpo_grain_sums(void *self)
{
    grpo *task = self;
    memset(task->sums, 0, sizeof task->sums);
    if (!task->costs)
        return task->sums;
    ls_policy_count_rows(&task->step, task->sums);
    for (int64_t i = 0; i < task->rows; i++)
        task->sums[FLAT] += (double)task->flat[task->step.row[i]];
    ls_policy_count_tokens(&task->step, task->costs, task->options.clip_low, task->options.clip_high, task->networks.reference,
                           task->sums);
    return task->sums;
}

static ls_tensor *grpo_evaluate(void *self, ls_tape *tape, const ls_grain *grain, double *sums)
{
    return ls_policy_evaluate(&((grpo *)self)->rollout, tape, grain, sums);
}

static int64_t grpo_sums(void *self)
{
    (void)self;
    return SUMS;
}

static double flat_groups(const double *sums, int64_t counted)
{
    (void)counted;
    return sums[LS_POLICY_ANSWERS] > 0 ? sums[FLAT] / sums[LS_POLICY_ANSWERS] : 0;
}

static const ls_measure measures[] = {
    LS_POLICY_ANSWER_MEASURES,
    {.name = "flat_groups", .value = flat_groups},
    LS_POLICY_TOKEN_MEASURES,
    {.name = "rollout_seconds", .value = ls_policy_rollout_seconds},
    {.name = "rollout_busy", .value = ls_policy_rollout_busy},
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
    .begin = grpo_begin,
    .state = grpo_state,
    .prepare = grpo_prepare,
    .count = grpo_count,
    .grain = grpo_grain,
    .grain_loss = grpo_loss,
    .grain_sums = grpo_grain_sums,
    .evaluate = grpo_evaluate,
    .measures = measures,
    .held_out_measures = LS_POLICY_HELD_OUT_MEASURES,
    .sums = grpo_sums,
};
