/* What networks say of drawn rows: log-probabilities and values, by the training's own forward pass. See rollout.h. */
#include "train/tasks/rollout_work.h"

/* ---- rows as the model takes them ---- */

static void put_row(ls_policy_rows *b, int64_t place, const int32_t *ids, int64_t prompt, int64_t length)
{
    for (int64_t t = 0; t < b->tokens; t++) {
        const int64_t cell = place * b->tokens + t;
        const bool real = t < length, predicts = t >= prompt - 1 && t + 1 < length;
        b->ids[cell] = real ? ids[t] : 0;
        b->labels[cell] = predicts ? ids[t + 1] : -1;
        b->positions[cell] = (int32_t)t;
        b->segments[cell] = real ? 0 : -1;
        b->group[cell] = predicts ? (int32_t)cell : -1;
    }
}

static ls_token_rows token_rows(const ls_policy_rows *b)
{
    return (ls_token_rows){
        .rows = b->rows, .tokens = b->tokens, .ids = b->ids, .positions = b->positions, .segments = b->segments};
}

void ls_rollout_batch(ls_rollout *r, int64_t count, const int64_t *row)
{
    ls_policy_rows *b = &r->batch;
    b->rows = count;
    b->tokens = 1;
    for (int64_t i = 0; i < count; i++)
        b->tokens = r->length[row[i]] > b->tokens ? r->length[row[i]] : b->tokens;
    for (int64_t i = 0; i < count; i++)
        put_row(b, i, r->ids + row[i] * r->tokens, r->prompt[row[i]], r->length[row[i]]);
}

ls_tensor *ls_policy_costs(const ls_rollout *r, ls_transformer *model, ls_tape *tape, const ls_policy_rows *b,
                           ls_tensor **value, bool stop)
{
    const ls_token_rows rows = token_rows(b);
    ls_tensor *hidden = ls_transformer_hidden(model, tape, &rows);
    if (value)
        *value = ls_policy_values(r->networks, tape, &rows, hidden, stop);
    if (r->options.temperature != 1)
        hidden = ls_scale(tape, hidden, 1 / r->options.temperature, 0);
    return ls_cross_entropy_groups(tape, hidden, ls_transformer_head(model, tape), b->labels, b->rows * b->tokens,
                                   b->group);
}

/* ---- own rows ---- */

/* Own rows [first, first + count) into the batch. */
static void put_own_rows(ls_rollout *r, int64_t first, int64_t count)
{
    ls_policy_rows *b = &r->batch;
    b->rows = count;
    b->tokens = 1;
    for (int64_t i = 0; i < count; i++) {
        const int32_t length = ls_rollout_record_at(r, r->work->mine, first + i)->length;
        b->tokens = length > b->tokens ? length : b->tokens;
    }
    for (int64_t i = 0; i < count; i++) {
        ls_rollout_record *row = ls_rollout_record_at(r, r->work->mine, first + i);
        put_row(b, i, ls_rollout_ids(row), row->prompt, row->length);
    }
}

/* A tape that keeps nothing for backward. */
static ls_tape *begin_looking(const ls_rollout *r)
{
    ls_tape_reset(r->run->tape, 0, 0, 0);
    ls_no_grad_begin(r->run->tape);
    return r->run->tape;
}

/* Log-probabilities of the batch, which is own rows from `first` on, under one model, into their records; with the
 * policy's, values. */
static ls_status measure_rows(ls_rollout *r, ls_transformer *model, int64_t first)
{
    const ls_policy_rows *b = &r->batch;
    const bool reference = model == r->networks->reference, values = r->networks->value_head && !reference;
    ls_tape *tape = begin_looking(r);
    ls_tensor *value = NULL;
    const ls_tensor *costs = ls_policy_costs(r, model, tape, b, values ? &value : NULL, false);
    ls_no_grad_end(tape);
    const float *cost = ls_tape_read(tape, costs), *own = values && cost ? ls_tape_read(tape, value) : NULL;
    const ls_status status = ls_tape_status(tape);
    for (int64_t i = 0; i < b->rows && status == LS_OK; i++) {
        float *logp = ls_rollout_logp(r, ls_rollout_record_at(r, r->work->mine, first + i)),
              *to = logp + (reference ? r->tokens : 0);
        for (int64_t t = 0; t < b->tokens; t++) {
            const int64_t cell = i * b->tokens + t;
            const bool counts = b->labels[cell] >= 0;
            to[t] = counts ? -cost[cell] : 0;
            if (values)
                logp[2 * r->tokens + t] = counts ? own[cell] : 0;
        }
    }
    return status;
}

/* What the reward model says of the same rows, read at their last tokens. */
static ls_status score_rows(ls_rollout *r, int64_t first)
{
    const ls_policy_networks *n = r->networks;
    const ls_policy_rows *b = &r->batch;
    const ls_token_rows rows = token_rows(b);
    const double most = r->options.model_clip;
    for (int64_t i = 0; i < b->rows; i++)
        r->work->last[i] = (int32_t)(i * b->tokens + ls_rollout_record_at(r, r->work->mine, first + i)->length - 1);
    ls_tape *tape = begin_looking(r);
    const ls_tensor *scores = ls_reward_scores(&n->judge, tape, &rows, b->rows, r->work->last);
    ls_no_grad_end(tape);
    const float *read = ls_tape_read(tape, scores);
    const ls_status status = ls_tape_status(tape);
    for (int64_t i = 0; i < b->rows && status == LS_OK; i++) {
        const double score = ((double)read[i] - n->judge_mean) / n->judge_deviation;
        ls_rollout_record_at(r, r->work->mine, first + i)->score = (float)(score < -most  ? -most
                                                                           : score > most ? most
                                                                                          : score);
    }
    return status;
}

ls_status ls_rollout_measure(ls_rollout *r)
{
    const int64_t rows = r->work->mine_count * r->options.group, B = r->run->config->batch.grain;
    const ls_policy_networks *n = r->networks;
    ls_status status = LS_OK;
    for (int64_t first = 0; first < rows && status == LS_OK; first += B) {
        put_own_rows(r, first, rows - first < B ? rows - first : B);
        status = measure_rows(r, n->policy, first);
        if (status == LS_OK && n->reference)
            status = measure_rows(r, n->reference, first);
        if (status == LS_OK && n->judge.trunk)
            status = score_rows(r, first);
    }
    return status;
}
