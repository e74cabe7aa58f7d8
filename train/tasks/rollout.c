/* See rollout.h: memory, and an iteration as a whole. */
#include "train/tasks/rollout_work.h"

#include "datasets/template.h"
#include "train/samples.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
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
    r->score = calloc(rows, sizeof *r->score);
    return r->ids && r->logp && r->reference_logp && r->value && r->prompt && r->length && r->ended && r->right &&
           r->reward && r->score;
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
    w->gold = calloc(prompts, (size_t)T * sizeof *w->gold);
    w->gold_count = calloc(prompts, sizeof *w->gold_count);
    w->last = calloc((size_t)B, sizeof *w->last);
    w->eval_ids = calloc((size_t)(B * T), sizeof *w->eval_ids);
    w->eval_drawn = calloc((size_t)B, most * sizeof *w->eval_drawn);
    w->eval_offsets = calloc((size_t)B + 1, sizeof *w->eval_offsets);
    w->eval_lengths = calloc((size_t)B, sizeof *w->eval_lengths);
    w->eval_ends = calloc((size_t)B, 1);
    return w->bytes && w->mine && w->all && w->ids && w->offsets && w->row_ids && w->lengths && w->drawn && w->ends &&
           w->gold && w->gold_count && w->last && w->eval_ids && w->eval_drawn && w->eval_offsets && w->eval_lengths &&
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
    if (ls_transformer_config(r->networks->policy)->dropout > 0)
        return ls_fail(
            LS_ERECIPE,
            "model.dropout is %g; %s compares log-probabilities of one network with themselves, so it must be 0",
            ls_transformer_config(r->networks->policy)->dropout, task);
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

/* Room for the longest texts that rows can have. */
static ls_status make_texts(ls_rollout *r)
{
    struct ls_rollout_work *w = r->work;
    const int64_t most = r->options.max_tokens > r->tokens ? r->options.max_tokens : r->tokens;
    w->text_room = (size_t)most * ls_tokenizer_longest(w->tokenizer) + 1;
    w->text = malloc(w->text_room);
    w->gold_text = malloc(w->text_room);
    return w->text && w->gold_text ? LS_OK : ls_fail(LS_EMEM, "no memory for texts of %zu bytes", w->text_room);
}

ls_status ls_rollout_open(ls_rollout *r, ls_run *run, const ls_rollout_options *options, ls_policy_networks *networks,
                          int64_t rows)
{
    *r = (ls_rollout){
        .run = run, .options = *options, .networks = networks, .rows = rows, .tokens = run->config->batch.tokens};
    ls_status status = check(r);
    if (status != LS_OK)
        return status;
    r->work = calloc(1, sizeof *r->work);
    if (!r->work || !buffer_make(r) || !work_make(r) || !batch_make(&r->batch, run->config->batch.grain * r->tokens))
        return ls_fail(LS_EMEM, "no memory for rollouts of %lld rows of %lld tokens", (long long)rows,
                       (long long)r->tokens);
    status = open_tokenizer(r);
    if (status == LS_OK)
        status = make_texts(r);
    return status == LS_OK ? ls_grain_memory_make(&r->work->memory, run->train_data) : status;
}

void ls_rollout_close(ls_rollout *r)
{
    struct ls_rollout_work *w = r->work;
    if (w) {
        ls_samples_close(w->samples);
        ls_engine_close(w->engine);
        ls_tokenizer_free(w->tokenizer);
        ls_grain_memory_free(&w->memory);
        void *const blocks[] = {w->bytes,      w->mine,     w->all,        w->ids,          w->offsets,
                                w->row_ids,    w->lengths,  w->drawn,      w->ends,         w->gold,
                                w->gold_count, w->eval_ids, w->eval_drawn, w->eval_offsets, w->eval_lengths,
                                w->eval_ends,  w->text,     w->gold_text,  w->last,         w};
        for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
            free(blocks[i]);
    }
    void *const blocks[] = {r->ids,       r->logp,         r->reference_logp,  r->prompt,         r->length,
                            r->ended,     r->right,        r->value,           r->score,          r->reward,
                            r->batch.ids, r->batch.labels, r->batch.positions, r->batch.segments, r->batch.group};
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
    if (status == LS_OK && r->networks->judge.trunk)
        status = add_array(tree, "rollout/score", LS_F32, r->rows, 0, r->score);
    if (status == LS_OK && r->networks->value_head)
        status = add_array(tree, "rollout/value", LS_F32, r->rows, r->tokens, r->value);
    return status == LS_OK ? ls_policy_networks_state(r->networks, tree) : status;
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

static void reward_row(const ls_rollout *r, ls_rollout_record *row)
{
    const ls_rollout_options *o = &r->options;
    row->reward = (float)(o->rule_scale * (double)row->right - (row->ended ? 0 : o->missing_end) +
                          o->model_scale * (double)row->score);
}

static ls_status draw_mine(ls_rollout *r)
{
    struct ls_rollout_work *w = r->work;
    ls_status status = LS_OK;
    w->mine_count = 0;
    for (int64_t p = r->run->rank; p < w->prompts && status == LS_OK; p += r->run->ranks)
        status = ls_rollout_read_prompt(r, p);
    if (status == LS_OK)
        status = ls_rollout_draw_answers(r);
    for (int64_t i = 0; i < w->mine_count * r->options.group && status == LS_OK; i++)
        status = ls_rollout_judge_row(r, i);
    if (status == LS_OK)
        status = ls_rollout_measure(r);
    for (int64_t i = 0; i < w->mine_count * r->options.group && status == LS_OK; i++)
        reward_row(r, ls_rollout_record_at(r, w->mine, i));
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
                r->score[to] = row->score;
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

/* A few rows of the iteration, from all over it, in the run folder: the same ones on any rank count. */
static ls_status keep_samples(ls_rollout *r)
{
    struct ls_rollout_work *w = r->work;
    const int64_t wanted = r->options.samples < r->rows ? r->options.samples : r->rows;
    const bool folder = r->run->metrics; /* --dry-run has none */
    if (r->run->rank || !folder || !wanted || r->iteration % r->options.samples_every)
        return LS_OK;
    ls_status status =
        w->samples ? LS_OK : ls_samples_open(&w->samples, r->run->config->run.run, r->run->step, w->text_room);
    for (int64_t i = 0; i < wanted && status == LS_OK; i++) {
        const int64_t row = i * r->rows / wanted, prompt = r->prompt[row];
        const int32_t *ids = r->ids + row * r->tokens;
        ls_sample sample = {.step = r->run->step + 1,
                            .prompt = w->gold_text,
                            .text = w->text,
                            .reward = (double)r->reward[row],
                            .right = r->right[row],
                            .ended = r->ended[row],
                            .score = (double)r->score[row],
                            .scored = r->networks->judge.trunk != NULL};
        status = ls_rollout_text(w, ids, prompt, w->gold_text, &sample.prompt_bytes);
        if (status == LS_OK)
            status = ls_rollout_text(w, ids + prompt, r->length[row] - prompt, w->text, &sample.text_bytes);
        if (status == LS_OK)
            status = ls_samples_add(w->samples, &sample);
    }
    return status;
}

ls_status ls_rollout_draw(ls_rollout *r)
{
    struct ls_rollout_work *w = r->work;
    const double begin = seconds_of(CLOCK_MONOTONIC), work = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
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
    status = ls_agree(r->run->world, keep_samples(r), "samples.jsonl");
    r->run->position += w->prompts;
    r->iteration++;
    r->seconds = seconds_of(CLOCK_MONOTONIC) - begin;
    r->processor_seconds = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - work;
    return status;
}
