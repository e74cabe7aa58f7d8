/* Task dpo: direct preference optimisation (Rafailov et al. 2023): a language model is made to prefer what people
 * preferred, without a reward model. With lp(y) the sum of log-probabilities of an answer's tokens (those with loss
 * mask 1), h = (lp(y+) - lp_ref(y+)) - (lp(y-) - lp_ref(y-)) and the loss one of ls_dpo_sum's of h (preference.h). With
 * dpo.average both lp are means over the answer's tokens, which is how TRL computes ipo, and what it calls
 * sigmoid_norm.
 *
 * The reference is the model as it began, a frozen copy beside it: working copy and masters, no moments, no gradients,
 * no exchange. It is kept in the checkpoint, so a resumed run has it, and its forward pass costs a third of a step.
 * (Storing lp_ref of all pairs before the first step would save that, but bind a run to the pairs it knew then.) */
#include "base/log.h"
#include "train/answers.h"
#include "train/tasks/lm.h"
#include "train/tasks/preference.h"
#include "train/tasks/texts.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    int loss; /* ls_dpo_kind */
    double beta, label_smoothing;
    bool average;
} dpo_options;

static const ls_option rows[] = {
    {"loss", LS_OPTION_CHOICE, offsetof(dpo_options, loss), 0, 0, 0, "sigmoid", LS_DPO_CHOICES,
     "of h, by how much the model moved towards the preferred answer: docs/alignment.md"},
    {"beta", LS_OPTION_FLOAT, offsetof(dpo_options, beta), 0, 1e-6, 1e3, "0.1", NULL,
     "how dear it is to move away from the reference: small values move far"},
    {"label_smoothing", LS_OPTION_FLOAT, offsetof(dpo_options, label_smoothing), 0, 0, 0.499, "0", NULL,
     "share of pairs taken to be labelled the wrong way round (sigmoid, robust)"},
    {"average", LS_OPTION_BOOL, offsetof(dpo_options, average), 0, 0, 0, "false", NULL,
     "log-probabilities are means over an answer's tokens, not sums: long answers count no more than short ones"},
    {0},
};

/* What is added up over pairs. Implicit rewards are beta (lp - lp_ref). */
enum { RIGHT, MARGIN, REWARD_CHOSEN, REWARD_REJECTED, LOGP_CHOSEN, LOGP_REJECTED, MOVED, TOKENS, SUMS };

typedef struct {
    dpo_options options;
    ls_transformer *policy, *reference;
    int64_t texts; /* of the grain that was computed last, as all below */
    const float *costs, *references, *tokens;
    double sums[SUMS];
} dpo;

static void dpo_free(void *self)
{
    dpo *task = self;
    if (!task)
        return;
    ls_transformer_free(task->reference);
    ls_transformer_free(task->policy);
    free(task);
}

static ls_status dpo_init(ls_run *run, const void *options, void **self)
{
    ls_transformer_options model;
    ls_status status = ls_texts_check_data(run, 1u << LS_SHARDS_PAIRS);
    if (status == LS_OK)
        status = ls_lm_options(run, &model);
    if (status != LS_OK)
        return status;
    dpo *task = calloc(1, sizeof *task);
    if (!task)
        return ls_fail(LS_EMEM, "no memory for task dpo");
    task->options = *(const dpo_options *)options;
    const dpo_options *o = &task->options;
    status = ls_transformer_create_with_reference(&task->policy, &task->reference, &model, 0);
    if (status == LS_OK && o->label_smoothing > 0 && (o->loss == LS_DPO_IPO || o->loss == LS_DPO_HINGE))
        status =
            ls_fail(LS_ERECIPE, "dpo.label_smoothing is %g, but dpo.loss: %s does not know it; use sigmoid or robust",
                    o->label_smoothing, o->loss == LS_DPO_IPO ? "ipo" : "hinge");
    if (status == LS_OK)
        *self = task;
    else
        dpo_free(task);
    return status;
}

static int dpo_parameters(void *self, ls_parameter **parameters)
{
    return ls_transformer_parameters(((dpo *)self)->policy, parameters);
}

/* Minus the log-probability of each text's answer: [n] f32. */
static ls_tensor *costs_of(ls_transformer *model, ls_tape *tape, const ls_grain *grain, const ls_texts *texts)
{
    const ls_token_rows token_rows = {.rows = grain->rows,
                                      .tokens = grain->tokens,
                                      .ids = grain->ids,
                                      .positions = grain->positions,
                                      .segments = grain->segments};
    ls_tensor *hidden = ls_transformer_hidden(model, tape, &token_rows);
    return ls_cross_entropy_groups(tape, hidden, ls_transformer_head(model, tape), grain->labels, texts->count,
                                   texts->of);
}

/* Tokens of each text's answer. */
static const float *answer_tokens(ls_tape *tape, const ls_grain *grain, const ls_texts *texts)
{
    float *tokens = ls_arena_array(ls_tape_arena(tape), float, texts->count + 1);
    if (!tokens) {
        ls_tape_raise(tape, LS_EMEM, "the arena has no room for %lld texts", (long long)texts->count);
        return NULL;
    }
    for (int64_t i = 0; i < texts->count; i++)
        tokens[i] = 0;
    for (int64_t c = 0; c < grain->rows * grain->tokens; c++)
        if (grain->labels[c] >= 0)
            tokens[texts->of[c]] += 1;
    return tokens;
}

/* What the pairs of the newest grain say, from costs [2p] of both models and the answers' tokens. */
static void count(const dpo *task, double *sums)
{
    const double beta = task->options.beta;
    const float *cost = task->costs, *reference = task->references, *tokens = task->tokens;
    for (int64_t i = 0; i < task->texts; i += 2) {
        double moved[2];
        for (int k = 0; k < 2; k++) {
            const double ratio = (double)reference[i + k] - (double)cost[i + k];
            moved[k] = beta * (task->options.average && tokens[i + k] > 0 ? ratio / (double)tokens[i + k] : ratio);
            sums[MOVED] += -ratio;
            sums[TOKENS] += (double)tokens[i + k];
        }
        sums[RIGHT] += moved[0] > moved[1];
        sums[MARGIN] += moved[0] - moved[1];
        sums[REWARD_CHOSEN] += moved[0];
        sums[REWARD_REJECTED] += moved[1];
        sums[LOGP_CHOSEN] -= (double)cost[i];
        sums[LOGP_REJECTED] -= (double)cost[i + 1];
    }
}

static ls_tensor *dpo_loss(void *self, ls_tape *tape, const ls_grain *grain)
{
    dpo *task = self;
    const ls_texts texts = ls_texts_of(tape, grain);
    task->texts = texts.count;
    task->tokens = answer_tokens(tape, grain, &texts);
    ls_no_grad_begin(tape);
    ls_tensor *reference = costs_of(task->reference, tape, grain, &texts);
    ls_no_grad_end(tape);
    ls_tensor *cost = costs_of(task->policy, tape, grain, &texts);
    task->costs = ls_tape_read_later(tape, cost);
    task->references = ls_tape_read_later(tape, reference);
    if (!task->costs || !task->references)
        return cost;
    ls_tensor *ratio = ls_sub(tape, reference, cost); /* lp - lp_ref, [2p] */
    if (task->options.average) {
        float *share = ls_arena_array(ls_tape_arena(tape), float, texts.count);
        for (int64_t i = 0; share && i < texts.count; i++)
            share[i] = task->tokens[i] > 0 ? 1 / task->tokens[i] : 0;
        ratio = ls_mul(tape, ratio, ls_constant(tape, LS_F32, LS_SHAPE(texts.count), share));
    }
    ratio = ls_reshape(tape, ratio, LS_SHAPE(texts.count / 2, 2));
    ls_tensor *h = ls_sub(tape, ls_narrow(tape, ratio, 1, 0, 1), ls_narrow(tape, ratio, 1, 1, 1));
    return ls_dpo_sum(tape, h, (ls_dpo_kind)task->options.loss, task->options.beta, task->options.label_smoothing);
}

static const double *dpo_grain_sums(void *self)
{
    dpo *task = self;
    memset(task->sums, 0, sizeof task->sums);
    if (task->costs && task->references)
        count(task, task->sums);
    return task->sums;
}

static ls_tensor *dpo_evaluate(void *self, ls_tape *tape, const ls_grain *grain, double *sums)
{
    ls_tensor *loss = dpo_loss(self, tape, grain);
    if (ls_tape_wait(tape) == LS_OK)
        count(self, sums);
    return loss;
}

static int64_t dpo_sums(void *self)
{
    (void)self;
    return SUMS;
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

static double logp_chosen(const double *sums, int64_t counted)
{
    return sums[LOGP_CHOSEN] / (double)counted;
}

static double logp_rejected(const double *sums, int64_t counted)
{
    return sums[LOGP_REJECTED] / (double)counted;
}

static double kl(const double *sums, int64_t counted)
{
    (void)counted;
    return sums[TOKENS] > 0 ? sums[MOVED] / sums[TOKENS] : 0;
}

static double accuracy(const double *sums, int64_t counted)
{
    return sums[RIGHT] / (double)counted;
}

static double margin(const double *sums, int64_t counted)
{
    return sums[MARGIN] / (double)counted;
}

static double reward_chosen(const double *sums, int64_t counted)
{
    return sums[REWARD_CHOSEN] / (double)counted;
}

static double reward_rejected(const double *sums, int64_t counted)
{
    return sums[REWARD_REJECTED] / (double)counted;
}

static const ls_measure measures[] = {
    {"accuracy", true, accuracy, false},
    {"accuracy_low", true, low, true},
    {"accuracy_high", true, high, true},
    {"margin", true, margin, false},
    {"reward_chosen", true, reward_chosen, false},
    {"reward_rejected", false, reward_rejected, false},
    {"logp_chosen", true, logp_chosen, false},
    {"logp_rejected", false, logp_rejected, false},
    {"kl_proxy", false, kl, false},
    {0},
};

static ls_status dpo_report(void *self, const char *folder, const double *sums, int64_t counted)
{
    (void)self;
    (void)folder;
    if (counted > 0)
        ls_log_write(
            LS_LOG_INFO, "eval",
            "the model moved towards the preferred answer in %.0f of %lld held-out pairs: %.2f%%, 95%% interval "
            "%.2f%% to %.2f%%",
            sums[RIGHT], (long long)counted, 100 * accuracy(sums, counted), 100 * low(sums, counted),
            100 * high(sums, counted));
    return LS_OK;
}

extern const ls_task ls_task_dpo;
const ls_task ls_task_dpo = {
    .name = "dpo",
    .sentence = "direct preference optimisation: prefer what people preferred, near the model it began as",
    .options = rows,
    .options_size = sizeof(dpo_options),
    .init = dpo_init,
    .free = dpo_free,
    .parameters = dpo_parameters,
    .grain_loss = dpo_loss,
    .grain_sums = dpo_grain_sums,
    .evaluate = dpo_evaluate,
    .measures = measures,
    .sums = dpo_sums,
    .report = dpo_report,
};
