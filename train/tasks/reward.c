/* Task reward: a number for how good an answer is (models/reward.h), from what people or a checker said of answers.
 *
 * Pairs: the loss of Bradley and Terry; outcomes: binary cross-entropy; both in train/tasks/preference.h. The margin is
 * reward.margin plus the pair's own. reward.center keeps rewards around 0, of which pairs say nothing. */
#include "base/log.h"
#include "models/reward.h"
#include "train/answers.h"
#include "train/tasks/lm.h"
#include "train/tasks/preference.h"
#include "train/tasks/texts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    double margin, center;
} reward_options;

static const ls_option rows[] = {
    {"margin", LS_OPTION_FLOAT, offsetof(reward_options, margin), 0, -100, 100, "0", NULL,
     "by which the preferred answer's reward should be greater, added to the pair's own; pairs only"},
    {"center", LS_OPTION_FLOAT, offsetof(reward_options, center), 0, 0, 100, "0", NULL,
     "weight of (r+ + r-)^2, which keeps rewards around 0, as 0.01; pairs only"},
    {0},
};

/* What is added up over held-out data; "better" are preferred answers, and those with an outcome of 0.5 or more. */
enum { RIGHT, REWARD, REWARD_SQUARED, TEXTS, REWARD_OF_BETTER, BETTER, SUMS };

typedef struct {
    reward_options options;
    ls_shards_form form;
    ls_reward_model model;
    double mean,
        deviation; /* of the last evaluation: what rewards are shifted and scaled by when they are used (section 2.3) */
    ls_texts texts; /* of the grain that was computed last, as all below */
    const float *scores;
    double sums[SUMS];
} reward;

static void reward_free(void *self)
{
    reward *task = self;
    if (task)
        ls_reward_model_free(&task->model);
    free(task);
}

static ls_status reward_init(ls_run *run, const void *options, void **self)
{
    ls_transformer_options model;
    ls_status status = ls_texts_check_data(run, 1u << LS_SHARDS_PAIRS | 1u << LS_SHARDS_OUTCOMES);
    if (status == LS_OK)
        status = ls_lm_options(run, &model);
    if (status != LS_OK)
        return status;
    reward *task = calloc(1, sizeof *task);
    if (!task)
        return ls_fail(LS_EMEM, "no memory for task reward");
    *task =
        (reward){.options = *(const reward_options *)options, .form = ls_data_form(ls_run_data(run)), .deviation = 1};
    status = ls_reward_model_create(&task->model, &model);
    if (status == LS_OK && task->form == LS_SHARDS_OUTCOMES && (task->options.margin != 0 || task->options.center != 0))
        status =
            ls_fail(LS_ERECIPE,
                    "reward.margin and reward.center are for pairs, but %s holds answers with outcomes; leave them out",
                    ls_run_config(run)->data.train.source[0].path);
    if (status == LS_OK)
        *self = task;
    else
        reward_free(task);
    return status;
}

static int reward_parameters(void *self, ls_parameter **parameters)
{
    return ls_transformer_parameters(((reward *)self)->model.trunk, parameters);
}

static ls_tensor *scores_of(const reward *task, ls_tape *tape, const ls_grain *grain, const ls_texts *texts)
{
    const ls_token_rows token_rows = {.rows = grain->rows,
                                      .tokens = grain->tokens,
                                      .ids = grain->ids,
                                      .positions = grain->positions,
                                      .segments = grain->segments};
    return ls_reward_scores(&task->model, tape, &token_rows, texts->count, texts->last); /* [n] */
}

static ls_tensor *loss_of(const reward *task, ls_tape *tape, ls_tensor *r, const ls_texts *texts)
{
    const int64_t pairs = texts->count / 2;
    if (task->form == LS_SHARDS_OUTCOMES)
        return ls_outcome_sum(tape, r, texts->value);
    float *margin = ls_arena_array(ls_tape_arena(tape), float, pairs + 1);
    for (int64_t i = 0; margin && i < pairs; i++)
        margin[i] = (float)(task->options.margin + (double)texts->value[2 * i]);
    return ls_bradley_terry_sum(tape, r, margin, task->options.center);
}

static void count(const reward *task, const float *r, const ls_texts *texts, double *sums)
{
    const bool pairs = task->form == LS_SHARDS_PAIRS;
    for (int64_t i = 0; i < texts->count; i++) {
        const bool better = pairs ? i % 2 == 0 : texts->value[i] >= 0.5f;
        sums[REWARD] += (double)r[i];
        sums[REWARD_SQUARED] += (double)r[i] * (double)r[i];
        sums[TEXTS] += 1;
        sums[REWARD_OF_BETTER] += better ? (double)r[i] : 0;
        sums[BETTER] += better;
        sums[RIGHT] += pairs ? better && r[i] > r[i + 1] : (r[i] > 0) == better;
    }
}

static ls_tensor *reward_loss(void *self, ls_tape *tape, const ls_grain *grain)
{
    reward *task = self;
    task->texts = ls_texts_of(tape, grain);
    ls_tensor *r = scores_of(task, tape, grain, &task->texts);
    task->scores = ls_tape_read_later(tape, r);
    return loss_of(task, tape, r, &task->texts);
}

static const double *reward_grain_sums(void *self)
{
    reward *task = self;
    memset(task->sums, 0, sizeof task->sums);
    if (task->scores)
        count(task, task->scores, &task->texts, task->sums);
    return task->sums;
}

static ls_tensor *reward_evaluate(void *self, ls_tape *tape, const ls_grain *grain, double *sums)
{
    reward *task = self;
    ls_tensor *loss = reward_loss(self, tape, grain);
    if (ls_tape_wait(tape) == LS_OK)
        count(task, task->scores, &task->texts, sums);
    return loss;
}

static int64_t reward_sums(void *self)
{
    (void)self;
    return SUMS;
}

static double accuracy(const double *sums, int64_t counted)
{
    return sums[RIGHT] / (double)counted;
}

static double low(const double *sums, int64_t counted)
{
    double least, most;
    ls_wilson_interval((int64_t)sums[RIGHT], counted, &least, &most);
    return least;
}

static double high(const double *sums, int64_t counted)
{
    double least, most;
    ls_wilson_interval((int64_t)sums[RIGHT], counted, &least, &most);
    return most;
}

/* Mean reward of the better ones minus that of the others; 0 where one kind is missing. */
static double margin(const double *sums, int64_t counted)
{
    const double others = sums[TEXTS] - sums[BETTER];
    (void)counted;
    return sums[BETTER] > 0 && others > 0
               ? sums[REWARD_OF_BETTER] / sums[BETTER] - (sums[REWARD] - sums[REWARD_OF_BETTER]) / others
               : 0;
}

static double mean(const double *sums, int64_t counted)
{
    (void)counted;
    return sums[TEXTS] > 0 ? sums[REWARD] / sums[TEXTS] : 0;
}

static double spread(const double *sums, int64_t counted)
{
    const double variance =
        sums[TEXTS] > 0 ? sums[REWARD_SQUARED] / sums[TEXTS] - mean(sums, counted) * mean(sums, counted) : 0;
    return variance > 0 ? sqrt(variance) : 0;
}

static const ls_measure measures[] = {
    {"accuracy", true, accuracy, false},
    {"accuracy_low", true, low, true},
    {"accuracy_high", true, high, true},
    {"margin", true, margin, false},
    {"reward", true, mean, false},
    {"spread", true, spread, false},
    {0},
};

static void reward_evaluated(void *self, const double *sums, int64_t counted)
{
    reward *task = self;
    task->mean = mean(sums, counted);
    task->deviation = spread(sums, counted);
}

static ls_status reward_report(void *self, const char *folder, const double *sums, int64_t counted)
{
    (void)folder;
    const reward *task = self;
    const bool pairs = task->form == LS_SHARDS_PAIRS;
    ls_log_write(LS_LOG_INFO, "eval",
                 "%.0f of %lld held-out %s judged right: %.2f%%, 95%% interval %.2f%% to %.2f%%; %s %.3f apart, "
                 "rewards %.3f with spread %.3f",
                 sums[RIGHT], (long long)counted, pairs ? "pairs" : "answers", 100 * accuracy(sums, counted),
                 100 * low(sums, counted), 100 * high(sums, counted),
                 pairs ? "the two of a pair are" : "right and wrong ones are", margin(sums, counted),
                 mean(sums, counted), spread(sums, counted));
    return LS_OK;
}

static ls_status reward_state(void *self, ls_state_tree *tree)
{
    reward *task = self;
    const ls_status status = ls_state_add_f64(tree, "reward/mean", 0, &task->mean);
    return status == LS_OK ? ls_state_add_f64(tree, "reward/deviation", 0, &task->deviation) : status;
}

extern const ls_task ls_task_reward;
const ls_task ls_task_reward = {
    .name = "reward",
    .sentence = "a reward model: which of two answers people prefer, or which answers are right",
    .options = rows,
    .options_size = sizeof(reward_options),
    .init = reward_init,
    .free = reward_free,
    .parameters = reward_parameters,
    .grain_loss = reward_loss,
    .grain_sums = reward_grain_sums,
    .evaluate = reward_evaluate,
    .measures = measures,
    .sums = reward_sums,
    .evaluated = reward_evaluated,
    .report = reward_report,
    .state = reward_state,
};
