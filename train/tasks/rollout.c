/* See rollout.h: memory, and an iteration as a whole. */
#include "train/tasks/rollout_work.h"

#include "datasets/template.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- memory ---- */

static bool batch_make(ls_policy_rows *b, int64_t cells)
{
    int32_t **const arrays[] = {&b->ids, &b->labels, &b->positions, &b->segments, &b->group};
    bool whole = true;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        whole &= (*arrays[i] = calloc((size_t)cells, sizeof **arrays[i])) != NULL;
    return whole;
}

static bool buffer_make(ls_rollout *r)
{
    const size_t rows = (size_t)r->rows, cells = rows * (size_t)r->tokens;
    r->ids = calloc(cells, sizeof *r->ids);
    r->logp = calloc(cells, sizeof *r->logp);
    r->reference_logp = calloc(cells, sizeof *r->reference_logp);
    r->value = calloc(cells, sizeof *r->value);
    r->prompt = calloc(rows, sizeof *r->prompt);
    r->length = calloc(rows, sizeof *r->length);
    r->ended = calloc(rows, sizeof *r->ended);
    r->right = calloc(rows, sizeof *r->right);
    r->reward = calloc(rows, sizeof *r->reward);
    return r->ids && r->logp && r->reference_logp && r->value && r->prompt && r->length && r->ended && r->right &&
           r->reward;
}

static bool work_make(ls_rollout *r)
{
    struct ls_rollout_work *w = r->work;
    const int64_t T = r->tokens, B = r->run->config->batch.grain;
    w->prompts = r->rows / r->options.group;
    w->most_mine = (w->prompts + r->run->ranks - 1) / r->run->ranks;
    const size_t prompts = (size_t)w->most_mine, rows = prompts * (size_t)r->options.group,
                 most = (size_t)r->options.max_tokens;
    w->record_bytes = sizeof(ls_rollout_record) + (size_t)T * (sizeof(int32_t) + 3 * sizeof(float));
    w->bytes = calloc((size_t)r->run->ranks, sizeof *w->bytes);
    w->mine = calloc(rows, w->record_bytes);
    w->all = calloc((size_t)r->rows, w->record_bytes);
    w->ids = calloc(prompts, (size_t)T * sizeof *w->ids);
    w->offsets = calloc(prompts + 1, sizeof *w->offsets);
    w->row_ids = calloc(rows, sizeof *w->row_ids);
    w->lengths = calloc(rows, sizeof *w->lengths);
    w->drawn = calloc(rows, most * sizeof *w->drawn);
    w->ends = calloc(rows, 1);
    w->gold = calloc(prompts, sizeof *w->gold);
    w->gold_bytes = calloc(prompts, sizeof *w->gold_bytes);
    w->eval_ids = calloc((size_t)(B * T), sizeof *w->eval_ids);
    w->eval_drawn = calloc((size_t)B, most * sizeof *w->eval_drawn);
    w->eval_offsets = calloc((size_t)B + 1, sizeof *w->eval_offsets);
    w->eval_lengths = calloc((size_t)B, sizeof *w->eval_lengths);
    w->eval_ends = calloc((size_t)B, 1);
    return w->bytes && w->mine && w->all && w->ids && w->offsets && w->row_ids && w->lengths && w->drawn && w->ends &&
           w->gold && w->gold_bytes && w->eval_ids && w->eval_drawn && w->eval_offsets && w->eval_lengths &&
           w->eval_ends;
}

static ls_status check(const ls_rollout *r)
{
    const ls_train_config *config = r->run->config;
    const char *task = config->task->name;
    if (r->rows % r->options.group)
        return ls_fail(
            LS_ERECIPE,
            "an iteration has %lld rows (batch.grain x batch.grains x %s.minibatches), no multiple of %s.group = %lld",
            (long long)r->rows, task, task, (long long)r->options.group);
    if (ls_transformer_config(r->policy)->dropout > 0)
        return ls_fail(
            LS_ERECIPE,
            "model.dropout is %g; %s compares log-probabilities of one network with themselves, so it must be 0",
            ls_transformer_config(r->policy)->dropout, task);
    if (!ls_data_tokenizer_path(r->run->train_data))
        return ls_fail(LS_ERECIPE,
                       "%s holds no tokenizer, which %s needs to read answers; pack it again with `lockstep data pack`",
                       config->data.train.source[0].path, task);
    return LS_OK;
}

static ls_status open_tokenizer(ls_rollout *r)
{
    const ls_data *data = r->run->train_data;
    struct ls_rollout_work *w = r->work;
    ls_status status = ls_tokenizer_open(&w->tokenizer, ls_data_tokenizer_path(data));
    if (status != LS_OK)
        return status;
    const char *name = ls_data_template(data);
    ls_template template;
    if (!*name) {
        w->end = ls_tokenizer_eot(w->tokenizer);
        return LS_OK;
    }
    status = ls_template_open(&template, name, w->tokenizer, NULL);
    w->end = template.end;
    return status;
}

ls_status ls_rollout_open(ls_rollout *r, ls_run *run, const ls_rollout_options *options, ls_transformer *policy,
                          ls_transformer *reference, int64_t rows)
{
    *r = (ls_rollout){.run = run,
                      .options = *options,
                      .policy = policy,
                      .reference = reference,
                      .rows = rows,
                      .tokens = run->config->batch.tokens};
    ls_status status = check(r);
    if (status != LS_OK)
        return status;
    r->work = calloc(1, sizeof *r->work);
    if (!r->work || !buffer_make(r) || !work_make(r) || !batch_make(&r->batch, run->config->batch.grain * r->tokens))
        return ls_fail(LS_EMEM, "no memory for rollouts of %lld rows of %lld tokens", (long long)rows,
                       (long long)r->tokens);
    status = open_tokenizer(r);
    return status == LS_OK ? ls_grain_memory_make(&r->work->memory, run->train_data) : status;
}

void ls_rollout_close(ls_rollout *r)
{
    struct ls_rollout_work *w = r->work;
    if (w) {
        ls_rollout_forget_gold(w);
        ls_engine_close(w->engine);
        ls_tokenizer_free(w->tokenizer);
        ls_grain_memory_free(&w->memory);
        void *const blocks[] = {
            w->bytes,        w->mine,      w->all,  w->ids,        w->offsets,  w->row_ids,    w->lengths,
            w->drawn,        w->ends,      w->gold, w->gold_bytes, w->eval_ids, w->eval_drawn, w->eval_offsets,
            w->eval_lengths, w->eval_ends, w};
        for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
            free(blocks[i]);
    }
    void *const blocks[] = {
        r->ids,    r->logp,      r->reference_logp, r->prompt,          r->length,         r->ended,      r->right,
        r->reward, r->batch.ids, r->batch.labels,   r->batch.positions, r->batch.segments, r->batch.group};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        free(blocks[i]);
    *r = (ls_rollout){0};
}

static ls_status add_array(ls_state_tree *tree, const char *name, ls_type type, int64_t rows, int64_t tokens,
                           void *data)
{
    const ls_state_entry entry = {.name = name,
                                  .kind = LS_STATE_TASK,
                                  .type = type,
                                  .flags = LS_STATE_REPLICATED,
                                  .ndim = tokens ? 2 : 1,
                                  .shape = {rows, tokens},
                                  .held = rows * (tokens ? tokens : 1),
                                  .data = data};
    return ls_state_add(tree, &entry);
}

ls_status ls_rollout_state(ls_rollout *r, ls_state_tree *tree)
{
    ls_status status = ls_state_add_i64(tree, "rollout/iteration", 0, &r->iteration);
    const struct {
        const char *name;
        ls_type type;
        int64_t tokens;
        void *data;
    } arrays[] = {
        {"rollout/ids", LS_I32, r->tokens, r->ids}, {"rollout/logp", LS_F32, r->tokens, r->logp},
        {"rollout/prompt", LS_I32, 0, r->prompt},   {"rollout/length", LS_I32, 0, r->length},
        {"rollout/ended", LS_I32, 0, r->ended},     {"rollout/right", LS_I32, 0, r->right},
        {"rollout/reward", LS_F32, 0, r->reward},   {"rollout/reference_logp", LS_F32, r->tokens, r->reference_logp},
    };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays && status == LS_OK; i++)
        status = add_array(tree, arrays[i].name, arrays[i].type, r->rows, arrays[i].tokens, arrays[i].data);
    return status == LS_OK && r->value_head ? add_array(tree, "rollout/value", LS_F32, r->rows, r->tokens, r->value)
                                            : status;
}

/* ---- an iteration ---- */

ls_rollout_record *ls_rollout_record_at(const ls_rollout *r, char *records, int64_t i)
{
    return (ls_rollout_record *)(records + (size_t)i * r->work->record_bytes);
}

int32_t *ls_rollout_ids(ls_rollout_record *row)
{
    return (int32_t *)(row + 1);
}

float *ls_rollout_logp(const ls_rollout *r, ls_rollout_record *row)
{
    return (float *)(ls_rollout_ids(row) + r->tokens);
}

static ls_status draw_mine(ls_rollout *r)
{
    struct ls_rollout_work *w = r->work;
    ls_status status = LS_OK;
    w->mine_count = 0;
    ls_rollout_forget_gold(w);
    for (int64_t p = r->run->rank; p < w->prompts && status == LS_OK; p += r->run->ranks)
        status = ls_rollout_read_prompt(r, p);
    if (status == LS_OK)
        status = ls_rollout_draw_answers(r);
    for (int64_t i = 0; i < w->mine_count * r->options.group && status == LS_OK; i++)
        status = ls_rollout_judge_row(r, i);
    if (status == LS_OK)
        status = ls_rollout_measure(r, r->policy, false);
    if (status == LS_OK && r->reference)
        status = ls_rollout_measure(r, r->reference, true);
    return status;
}

/* The records of all ranks, into the buffer in the order of rows. */
static void take_records(ls_rollout *r)
{
    const int64_t ranks = r->run->ranks, group = r->options.group;
    int64_t at = 0;
    for (int64_t rank = 0; rank < ranks; rank++)
        for (int64_t p = rank; p < r->work->prompts; p += ranks)
            for (int64_t s = 0; s < group; s++, at++) {
                ls_rollout_record *row = ls_rollout_record_at(r, r->work->all, at);
                const int64_t to = p * group + s;
                memcpy(r->ids + to * r->tokens, ls_rollout_ids(row), (size_t)r->tokens * sizeof *r->ids);
                memcpy(r->logp + to * r->tokens, ls_rollout_logp(r, row), (size_t)r->tokens * sizeof *r->logp);
                memcpy(r->reference_logp + to * r->tokens, ls_rollout_logp(r, row) + r->tokens,
                       (size_t)r->tokens * sizeof *r->logp);
                memcpy(r->value + to * r->tokens, ls_rollout_logp(r, row) + 2 * r->tokens,
                       (size_t)r->tokens * sizeof *r->value);
                r->prompt[to] = row->prompt;
                r->length[to] = row->length;
                r->ended[to] = row->ended;
                r->right[to] = row->right;
                r->reward[to] = row->reward;
            }
}

/* Fisher & Yates with the counter RNG, the same on every rank. */
static void shuffle_rewards(ls_rollout *r)
{
    const ls_random stream = {
        .seed = (uint64_t)r->run->config->run.seed, .step = (uint32_t)r->iteration, .purpose = LS_RANDOM_TASK};
    for (int64_t i = r->rows - 1; i > 0; i--) {
        const int64_t j = (int64_t)ls_random_below(&stream, 2 * (uint64_t)i, (uint64_t)i + 1);
        const float reward = r->reward[i];
        r->reward[i] = r->reward[j];
        r->reward[j] = reward;
    }
}

ls_status ls_rollout_draw(ls_rollout *r)
{
    struct ls_rollout_work *w = r->work;
    const double begin = now();
    ls_status status = ls_agree(r->run->world, draw_mine(r), "rollout");
    for (int64_t rank = 0; rank < r->run->ranks; rank++) {
        const int64_t prompts = rank < w->prompts ? (w->prompts - rank + r->run->ranks - 1) / r->run->ranks : 0;
        w->bytes[rank] = (size_t)(prompts * r->options.group) * w->record_bytes;
    }
    if (status == LS_OK)
        status = ls_all_gather_varying(r->run->world, w->mine, w->all, w->bytes, "rollout");
    if (status != LS_OK)
        return status;
    take_records(r);
    if (r->options.shuffle)
        shuffle_rewards(r);
    r->run->position += w->prompts;
    r->iteration++;
    r->seconds = now() - begin;
    return LS_OK;
}
