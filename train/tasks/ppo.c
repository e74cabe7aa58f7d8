/* Task ppo: proximal policy optimisation (Schulman et al. 2017; Ouyang et al. 2022, section 3.5) with a rule, a reward
 * model, or both as the reward.
 *
 * An iteration draws answers (rollout.h) and gives token t of each the reward
 *     r_t = - kl_coef kl_t,   and the answer's on the last one      kl_t an estimate of KL to the model as it began
 * then generalised advantages, whitened over all tokens of the iteration, and targets for the values from those that
 * were not; epochs x minibatches updates follow, with the losses of policy_loss.h and value_loss.h, each divided by the
 * step's tokens. The value of the state before a token is a vector's product with a hidden state there: the policy's
 * own (ppo/value), as in TRL's AutoModelForCausalLMWithValueHead, where value_stop keeps its gradient out of the shared
 * network, or that of a second network, the critic (critic/...), as in InstructGPT. With kl_target the coefficient
 * follows the KL of each iteration (Ziegler et al. 2019, section 2.2). */
#include "train/tasks/lm.h"
#include "train/tasks/policy_loss.h"
#include "train/tasks/policy_step.h"
#include "train/tasks/value_loss.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    ls_rollout_options rollout;
    int64_t epochs, minibatches, warmup;
    int kl, critic;
    const char *critic_from;
    double clip_low, clip_high, clip_value, value_coef, kl_coef, kl_target, kl_horizon, gamma, lambda;
    bool whiten, value_stop;
} ppo_options;

#define AT(field) offsetof(ppo_options, field)
static const ls_option rows[] = {
    LS_ROLLOUT_OPTION_ROWS(AT(rollout)),
    {"epochs", LS_OPTION_INT, AT(epochs), 0, 1, 1000, "2", NULL, "passes over an iteration's answers"},
    {"minibatches", LS_OPTION_INT, AT(minibatches), 0, 1, 1000, "2", NULL,
     "steps of a pass; an iteration draws batch.grain x batch.grains x this many answers"},
    {"clip_low", LS_OPTION_FLOAT, AT(clip_low), 0, 0, 1, "0.2", NULL,
     "the ratio to the drawing policy counts down to 1 - this"},
    {"clip_high", LS_OPTION_FLOAT, AT(clip_high), 0, 0, 100, "0.2", NULL, "and up to 1 + this"},
    {"clip_value", LS_OPTION_FLOAT, AT(clip_value), 0, 0, 1e6, "0.2", NULL,
     "how far a value may move from what it was when drawn"},
    {"value_coef", LS_OPTION_FLOAT, AT(value_coef), 0, 0, 1e3, "0.1", NULL, "weight of the values' loss"},
    {"critic", LS_OPTION_CHOICE, AT(critic), 0, 0, 0, "trunk", LS_CRITIC_CHOICES,
     "what gives the values: a vector on the policy's own states, or a second network of its shape"},
    {"critic_from", LS_OPTION_PATH, AT(critic_from), 0, 0, 0, NULL, NULL,
     "run folder that a separate critic begins as, say the reward model's; else as the policy"},
    {"value_stop", LS_OPTION_BOOL, AT(value_stop), 0, 0, 0, "false", NULL,
     "values learn from hidden states but do not change them"},
    {"warmup", LS_OPTION_INT, AT(warmup), 0, 0, 1e6, "0", NULL, "first iterations that teach the values alone"},
    {"kl_coef", LS_OPTION_FLOAT, AT(kl_coef), 0, 0, 1e3, "0.01", NULL,
     "KL to the model as it began, taken off each token's reward; 0: no reference is kept"},
    {"kl", LS_OPTION_CHOICE, AT(kl), 0, 0, 0, "k1", LS_KL_CHOICES,
     "its estimator in the reward; the log has all three"},
    {"kl_target", LS_OPTION_FLOAT, AT(kl_target), 0, 0, 1e6, "0", NULL,
     "KL of an answer that kl_coef is steered to; 0: it is fixed"},
    {"kl_horizon", LS_OPTION_FLOAT, AT(kl_horizon), 0, 1, 1e12, "10000", NULL, "answers over which it is"},
    {"gamma", LS_OPTION_FLOAT, AT(gamma), 0, 0, 1, "1", NULL, "discount of later rewards"},
    {"lambda", LS_OPTION_FLOAT, AT(lambda), 0, 0, 1, "0.95", NULL, "of generalised advantage estimation"},
    {"whiten", LS_OPTION_BOOL, AT(whiten), 0, 0, 0, "true", NULL,
     "advantages to mean 0 and deviation 1 over the iteration"},
    {0},
};
#undef AT

enum { TARGET = LS_POLICY_SUMS, TARGET_SQUARES, MISS, MISS_SQUARES, COEFFICIENT, SUMS };

typedef struct {
    ppo_options options;
    ls_run *run;
    ls_policy_networks networks;
    ls_rollout rollout;
    ls_policy_step step;
    double kl_coef;                                           /* state */
    float *advantage, *target;                                /* [rows, tokens] by cells of the buffer */
    double *reward, *value, *gain, *aim;                      /* scratch: of one answer, and all gains in order */
    float *cell_value, *cell_target, *weight, *policy_weight; /* of the grain in work, by cells */
    const ls_grain *grain; /* that was computed last, as both below */
    const float *costs;    /* by cells */
    double sums[SUMS];
} ppo;

static void ppo_free(void *self)
{
    ppo *task = self;
    if (!task)
        return;
    ls_policy_step_close(&task->step);
    ls_rollout_close(&task->rollout);
    ls_policy_networks_free(&task->networks);
    void *const blocks[] = {
        task->advantage,  task->target,      task->reward, task->value,         task->gain, task->aim,
        task->cell_value, task->cell_target, task->weight, task->policy_weight, task};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        free(blocks[i]);
}

static ls_status make_rooms(ppo *task)
{
    const size_t T = (size_t)task->rollout.tokens, all = (size_t)task->rollout.rows,
                 cells = (size_t)task->run->config->batch.grain * T;
    float **const floats[] = {&task->cell_value, &task->cell_target, &task->weight, &task->policy_weight};
    bool whole = (task->advantage = calloc(all * T, sizeof *task->advantage)) &&
                 (task->target = calloc(all * T, sizeof *task->target));
    whole = whole && (task->reward = calloc(T, sizeof(double))) && (task->value = calloc(T, sizeof(double))) &&
            (task->aim = calloc(T, sizeof(double)));
    whole = whole && (task->gain = calloc(all * T, sizeof *task->gain));
    for (size_t i = 0; whole && i < sizeof floats / sizeof *floats; i++)
        whole = (*floats[i] = calloc(cells, sizeof **floats[i])) != NULL;
    if (!whole)
        return ls_fail(LS_EMEM, "no memory for task ppo");
    return ls_policy_step_open(&task->step, &task->rollout, task->options.epochs, task->options.minibatches);
}

static ls_status ppo_init(ls_run *run, const void *options, void **self)
{
    ls_transformer_options model;
    ls_status status = ls_lm_options(run, &model);
    if (status != LS_OK)
        return status;
    ppo *task = calloc(1, sizeof *task);
    if (!task)
        return ls_fail(LS_EMEM, "no memory for task ppo");
    task->options = *(const ppo_options *)options;
    task->run = run;
    task->kl_coef = task->options.kl_coef;
    status = ls_policy_networks_make(&task->networks, run, &model,
                                     &(ls_policy_networks_options){.reference = task->options.kl_coef > 0,
                                                                   .critic = (ls_critic)task->options.critic,
                                                                   .critic_from = task->options.critic_from,
                                                                   .reward_model = task->options.rollout.reward_model});
    if (status == LS_OK)
        status = ls_rollout_open(&task->rollout, run, &task->options.rollout, &task->networks,
                                 ls_run_rows_per_step(run) * task->options.minibatches);
    if (status == LS_OK)
        status = make_rooms(task);
    if (status == LS_OK)
        *self = task;
    else
        ppo_free(task);
    return status;
}

static ls_status ppo_begin(void *self)
{
    return ls_policy_networks_begin(&((ppo *)self)->networks);
}

static int ppo_parameters(void *self, ls_parameter **parameters)
{
    return ls_transformer_parameters(((ppo *)self)->networks.policy, parameters);
}

static ls_status ppo_state(void *self, ls_state_tree *tree)
{
    ppo *task = self;
    const ls_status status = ls_state_add_f64(tree, "ppo/kl_coef", 0, &task->kl_coef);
    return status == LS_OK ? ls_rollout_state(&task->rollout, tree) : status;
}

static void ppo_rows(const void *options, ls_data_options *data)
{
    (void)options;
    data->pack = false;
    data->epochs = 0;
}

/* ---- an iteration ---- */

/* Of the token that cell `cell` of the buffer predicts: how far the drawing policy was from the reference. */
static double drift(const ppo *task, int64_t cell)
{
    return task->networks.reference ? (double)task->rollout.logp[cell] - (double)task->rollout.reference_logp[cell] : 0;
}

/* Before the next drawing: the coefficient follows the KL that an answer of the last iteration had on average. */
static void steer_coefficient(ppo *task)
{
    const ls_rollout *r = &task->rollout;
    if (task->options.kl_target <= 0 || !r->iteration)
        return;
    double kl = 0;
    for (int64_t row = 0; row < r->rows; row++)
        for (int64_t t = 0; t < ls_policy_answer_tokens(&task->step, row); t++)
            kl += drift(task, row * r->tokens + r->prompt[row] - 1 + t);
    const double error = kl / (double)r->rows / task->options.kl_target - 1;
    const double bounded = error < -0.2 ? -0.2 : error > 0.2 ? 0.2 : error;
    task->kl_coef *= 1 + bounded * (double)r->rows / task->options.kl_horizon;
}

/* Advantages and targets of all tokens of the iteration, in the order of rows: the same on every rank. */
static void find_advantages(ppo *task)
{
    const ls_rollout *r = &task->rollout;
    int64_t all = 0;
    for (int64_t row = 0; row < r->rows; row++) {
        const int64_t n = ls_policy_answer_tokens(&task->step, row), first = row * r->tokens + r->prompt[row] - 1;
        for (int64_t t = 0; t < n; t++) {
            task->reward[t] =
                -task->kl_coef * ls_kl_estimate((ls_kl_estimator)task->options.kl, drift(task, first + t));
            task->reward[t] += t == n - 1 ? (double)r->reward[row] : 0;
            task->value[t] = (double)r->value[first + t];
        }
        ls_gae(n, task->options.gamma, task->options.lambda, task->reward, task->value, task->gain + all, task->aim);
        for (int64_t t = 0; t < n; t++)
            task->target[first + t] = (float)task->aim[t];
        all += n;
    }
    if (task->options.whiten)
        ls_whiten(all, task->gain);
    all = 0;
    for (int64_t row = 0; row < r->rows; row++)
        for (int64_t t = 0; t < ls_policy_answer_tokens(&task->step, row); t++)
            task->advantage[row * r->tokens + r->prompt[row] - 1 + t] = (float)task->gain[all++];
}

static ls_status ppo_prepare(void *self)
{
    ppo *task = self;
    task->rollout.seconds = task->rollout.processor_seconds = 0;
    if (ls_policy_step_draws(&task->step)) {
        steer_coefficient(task);
        const ls_status status = ls_rollout_draw(&task->rollout);
        if (status != LS_OK)
            return status;
    }
    find_advantages(task);
    ls_policy_step_order(&task->step);
    return LS_OK;
}

/* ---- a step ---- */

static int64_t ppo_count(void *self)
{
    return ls_policy_step_tokens(&((ppo *)self)->step);
}

static const ls_grain *ppo_grain(void *self, int64_t number)
{
    ppo *task = self;
    const ls_rollout *r = &task->rollout;
    const bool teaches = r->iteration > task->options.warmup;
    const ls_grain *grain = ls_policy_step_grain(&task->step, number);
    for (int64_t i = 0; i < grain->rows; i++)
        for (int64_t t = 0; t < grain->tokens; t++) {
            const int64_t cell = i * grain->tokens + t, from = task->step.row[i] * r->tokens + t;
            const bool counts = grain->labels[cell] >= 0;
            task->cell_value[cell] = r->value[from];
            task->step.gain[cell] = counts ? task->advantage[from] : 0;
            task->cell_target[cell] = counts ? task->target[from] : 0;
            task->weight[cell] = counts;
            task->policy_weight[cell] = counts && teaches;
        }
    return grain;
}

static void count_values(ppo *task, const ls_grain *grain)
{
    double *sums = task->sums;
    for (int64_t cell = 0; cell < grain->rows * grain->tokens; cell++) {
        if (grain->labels[cell] < 0)
            continue;
        const double target = (double)task->cell_target[cell], miss = target - (double)task->cell_value[cell];
        sums[TARGET] += target;
        sums[TARGET_SQUARES] += target * target;
        sums[MISS] += miss;
        sums[MISS_SQUARES] += miss * miss;
    }
    if (grain->number == 0)
        sums[COEFFICIENT] = task->kl_coef;
}

static ls_tensor *ppo_loss(void *self, ls_tape *tape, const ls_grain *grain)
{
    ppo *task = self;
    const ppo_options *o = &task->options;
    ls_tensor *value;
    ls_tensor *cost =
        ls_policy_costs(&task->rollout, task->networks.policy, tape, &task->rollout.batch, &value, o->value_stop);
    task->grain = grain;
    task->costs = ls_tape_read_later(tape, cost);
    const ls_policy_terms policy = {.old = task->step.old,
                                    .advantage = task->step.gain,
                                    .weight = task->policy_weight,
                                    .clip_low = o->clip_low,
                                    .clip_high = o->clip_high};
    const ls_value_terms values = {
        .old = task->cell_value, .target = task->cell_target, .weight = task->weight, .clip = o->clip_value};
    return ls_add(tape, ls_policy_loss_sum(tape, cost, &policy),
                  ls_scale(tape, ls_value_loss_sum(tape, value, &values), o->value_coef, 0));
}

static const double *ppo_grain_sums(void *self)
{
    ppo *task = self;
    memset(task->sums, 0, sizeof task->sums);
    if (!task->costs)
        return task->sums;
    ls_policy_count_rows(&task->step, task->sums);
    ls_policy_count_tokens(&task->step, task->costs, task->options.clip_low, task->options.clip_high, task->networks.reference,
                           task->sums);
    count_values(task, task->grain);
    return task->sums;
}

static ls_tensor *ppo_evaluate(void *self, ls_tape *tape, const ls_grain *grain, double *sums)
{
    return ls_policy_evaluate(&((ppo *)self)->rollout, tape, grain, sums);
}

static int64_t ppo_sums(void *self)
{
    (void)self;
    return SUMS;
}

static double return_variance(const double *sums)
{
    return ls_policy_variance(sums[TARGET], sums[TARGET_SQUARES], sums[LS_POLICY_TOKENS]);
}

static double return_std(const double *sums, int64_t counted)
{
    (void)counted;
    return sqrt(return_variance(sums));
}

/* 1 - Var(G - V) / Var(G) of the values when drawn. */
static double explained_variance(const double *sums, int64_t counted)
{
    (void)counted;
    const double all = return_variance(sums);
    return all > 0 ? 1 - ls_policy_variance(sums[MISS], sums[MISS_SQUARES], sums[LS_POLICY_TOKENS]) / all : 0;
}

static double kl_coef(const double *sums, int64_t counted)
{
    (void)counted;
    return sums[COEFFICIENT];
}

static const ls_measure measures[] = {
    LS_POLICY_ANSWER_MEASURES,
    {.name = "explained_variance", .higher_is_better = true, .value = explained_variance},
    {.name = "return_std", .value = return_std},
    LS_POLICY_TOKEN_MEASURES,
    {.name = "kl_coef", .value = kl_coef},
    {.name = "rollout_seconds", .value = ls_policy_rollout_seconds},
    {.name = "rollout_busy", .value = ls_policy_rollout_busy},
    {0},
};

extern const ls_task ls_task_ppo;
const ls_task ls_task_ppo = {
    .name = "ppo",
    .sentence = "proximal policy optimisation: answers are judged by a rule or a reward model, tokens by values that "
                "are learnt",
    .options = rows,
    .options_size = sizeof(ppo_options),
    .init = ppo_init,
    .free = ppo_free,
    .parameters = ppo_parameters,
    .rows = ppo_rows,
    .begin = ppo_begin,
    .state = ppo_state,
    .prepare = ppo_prepare,
    .count = ppo_count,
    .grain = ppo_grain,
    .grain_loss = ppo_loss,
    .grain_sums = ppo_grain_sums,
    .evaluate = ppo_evaluate,
    .measures = measures,
    .held_out_measures = LS_POLICY_HELD_OUT_MEASURES,
    .sums = ppo_sums,
};
