/* See rollout.h. What a rank makes of its prompts stands in records, one a row, until all ranks exchange them. */
#include "train/tasks/rollout.h"

#include "base/log.h"
#include "datasets/template.h"
#include "train/answers.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A row in exchange: this head, then ids, log-probabilities, those of the reference, and values, each [tokens]. */
typedef struct {
    int32_t prompt, length, ended, right;
    float reward;
} record;

struct ls_rollout_work {
    ls_tokenizer *tokenizer;
    ls_engine *engine;
    int32_t end;                 /* end-of-text */
    ls_grain_memory memory;      /* one row of the data */
    int64_t prompts, most_mine;  /* of an iteration; of a rank */
    size_t record_bytes, *bytes; /* [ranks] */
    char *mine, *all;            /* records of this rank, of all in rank order */
    int32_t *ids;                /* own prompts, one after the other */
    int64_t *offsets, *row_ids, *lengths;
    int32_t *drawn;
    uint8_t *ends;
    char **gold; /* [most_mine] the text to be judged by */
    size_t *gold_bytes;
    int64_t mine_count; /* own prompts of this iteration */
    /* of a held-out grain */
    int32_t *eval_ids, *eval_drawn;
    int64_t *eval_offsets, *eval_lengths;
    uint8_t *eval_ends;
};

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
    w->record_bytes = sizeof(record) + (size_t)T * (sizeof(int32_t) + 3 * sizeof(float));
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

static void forget_gold(struct ls_rollout_work *w)
{
    for (int64_t i = 0; w->gold && i < w->most_mine; i++) {
        free(w->gold[i]);
        w->gold[i] = NULL;
    }
}

void ls_rollout_close(ls_rollout *r)
{
    struct ls_rollout_work *w = r->work;
    if (w) {
        forget_gold(w);
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
    const ls_token_rows rows = {
        .rows = b->rows, .tokens = b->tokens, .ids = b->ids, .positions = b->positions, .segments = b->segments};
    ls_tensor *hidden = ls_transformer_hidden(model, tape, &rows);
    if (value) {
        ls_tensor *states = ls_cast(tape, stop ? ls_stop_gradient(tape, hidden) : hidden, LS_F32);
        *value = ls_sum(tape, ls_mul(tape, states, ls_use(tape, r->value_head)), -1);
    }
    if (r->options.temperature != 1)
        hidden = ls_scale(tape, hidden, 1 / r->options.temperature, 0);
    return ls_cross_entropy_groups(tape, hidden, ls_transformer_head(model, tape), b->labels, b->rows * b->tokens,
                                   b->group);
}

/* ---- one prompt of the data ---- */

/* The prompt is what stands before the first label, the gold answer the labels that follow: ids[0 .. *prompt), then
 * `*answer` labels from labels[*prompt - 1] on. */
static ls_status find_prompt(const int32_t *labels, int64_t tokens, int64_t *prompt, int64_t *answer)
{
    int64_t t = 0;
    while (t < tokens && labels[t] < 0)
        t++;
    *prompt = t + 1;
    for (*answer = 0; t < tokens && labels[t] >= 0; t++)
        ++*answer;
    return *answer ? LS_OK
                   : ls_fail(LS_ERECIPE, "a sample has no answer to judge by; pack prompts with their gold answers "
                                         "(data pack --prompt --response)");
}

static ls_status text_of(const struct ls_rollout_work *w, const int32_t *ids, int64_t count, char **text, size_t *bytes)
{
    while (count && ids[count - 1] == w->end)
        count--;
    return ls_tokenizer_decode(w->tokenizer, ids, count, text, bytes);
}

static ls_status read_prompt(ls_rollout *r, int64_t number)
{
    struct ls_rollout_work *w = r->work;
    ls_grain grain;
    const ls_grain_request request = {.position = r->run->position + number, .rows = 1};
    int64_t prompt, answer;
    ls_status status = ls_data_fill_grain(r->run->train_data, &request, &w->memory, &grain);
    if (status == LS_OK)
        status = find_prompt(grain.labels, r->tokens, &prompt, &answer);
    if (status == LS_OK && prompt + r->options.max_tokens > r->tokens)
        status = ls_fail(LS_ERECIPE,
                         "its prompt has %lld tokens and an answer may have %lld, but rows have batch.tokens = %lld; "
                         "raise that or lower max_tokens",
                         (long long)prompt, (long long)r->options.max_tokens, (long long)r->tokens);
    if (status != LS_OK)
        return ls_fail_at(status, "sample %lld", (long long)(grain.samples ? grain.samples[0] : number));
    const int64_t i = w->mine_count++, at = w->offsets[i];
    memcpy(w->ids + at, grain.ids, (size_t)prompt * sizeof *w->ids);
    w->offsets[i + 1] = at + prompt;
    for (int64_t s = 0; s < r->options.group; s++)
        w->row_ids[i * r->options.group + s] = number * r->options.group + s;
    return text_of(w, grain.labels + prompt - 1, answer, &w->gold[i], &w->gold_bytes[i]);
}

/* ---- an iteration ---- */

static record *record_at(const ls_rollout *r, char *records, int64_t i)
{
    return (record *)(records + (size_t)i * r->work->record_bytes);
}

static int32_t *ids_of(record *row)
{
    return (int32_t *)(row + 1);
}

static float *logp_of(const ls_rollout *r, record *row)
{
    return (float *)(ids_of(row) + r->tokens);
}

static ls_status open_engine(ls_rollout *r)
{
    if (r->work->engine)
        return LS_OK;
    return ls_engine_open(&r->work->engine, r->policy, r->run->device, &(ls_engine_options){.slots = r->options.slots});
}

static ls_status draw_answers(ls_rollout *r)
{
    struct ls_rollout_work *w = r->work;
    const ls_generate_options how = {.max_tokens = r->options.max_tokens,
                                     .temperature = r->options.temperature,
                                     .top_p = 1,
                                     .stop_id = w->end,
                                     .seed = (uint64_t)r->run->config->run.seed,
                                     .draw = (uint64_t)r->iteration};
    const ls_generate_rows rows = {.prompts = w->mine_count,
                                   .samples = r->options.group,
                                   .ids = w->ids,
                                   .offsets = w->offsets,
                                   .row_ids = w->row_ids,
                                   .out = w->drawn,
                                   .lengths = w->lengths,
                                   .ends = w->ends};
    const ls_status status = open_engine(r);
    return status == LS_OK && w->mine_count ? ls_engine_run(w->engine, &how, &rows, NULL, NULL) : status;
}

/* The record of own row i: prompt, answer, its end if it has one, and the reward. */
static ls_status judge_row(ls_rollout *r, int64_t i)
{
    struct ls_rollout_work *w = r->work;
    const int64_t p = i / r->options.group, prompt = w->offsets[p + 1] - w->offsets[p];
    const int32_t *answer = w->drawn + i * r->options.max_tokens;
    record *row = record_at(r, w->mine, i);
    int32_t *ids = ids_of(row);
    memset(row, 0, w->record_bytes);
    memcpy(ids, w->ids + w->offsets[p], (size_t)prompt * sizeof *ids);
    memcpy(ids + prompt, answer, (size_t)w->lengths[i] * sizeof *ids);
    row->prompt = (int32_t)prompt;
    row->ended = w->ends[i] == LS_END_STOP;
    row->length = (int32_t)(prompt + w->lengths[i]);
    if (row->ended)
        ids[row->length++] = w->end;
    char *text;
    size_t bytes;
    const ls_status status = text_of(w, answer, w->lengths[i], &text, &bytes);
    if (status != LS_OK)
        return status;
    row->right =
        row->ended && ls_answer_right((ls_answer_rule)r->options.rule, text, bytes, w->gold[p], w->gold_bytes[p]);
    row->reward = (float)((double)row->right - (row->ended ? 0 : r->options.missing_end));
    free(text);
    return LS_OK;
}

/* Log-probabilities of own rows [first, first + count) under one model, into their records. */
static ls_status measure_rows(ls_rollout *r, ls_transformer *model, int64_t first, int64_t count, bool reference)
{
    ls_policy_rows *b = &r->batch;
    b->rows = count;
    b->tokens = 1;
    for (int64_t i = 0; i < count; i++) {
        const int32_t length = record_at(r, r->work->mine, first + i)->length;
        b->tokens = length > b->tokens ? length : b->tokens;
    }
    for (int64_t i = 0; i < count; i++) {
        record *row = record_at(r, r->work->mine, first + i);
        put_row(b, i, ids_of(row), row->prompt, row->length);
    }
    ls_tape *tape = r->run->tape;
    ls_tape_reset(tape, 0, 0, 0);
    ls_no_grad_begin(tape);
    const bool values = r->value_head && !reference;
    ls_tensor *value = NULL;
    const ls_tensor *costs = ls_policy_costs(r, model, tape, b, values ? &value : NULL, false);
    ls_no_grad_end(tape);
    const ls_status status = ls_tape_status(tape);
    for (int64_t i = 0; i < count && status == LS_OK; i++) {
        float *logp = logp_of(r, record_at(r, r->work->mine, first + i)), *to = logp + (reference ? r->tokens : 0);
        for (int64_t t = 0; t < b->tokens; t++) {
            const int64_t cell = i * b->tokens + t;
            const bool counts = b->labels[cell] >= 0;
            to[t] = counts ? -((const float *)costs->data)[cell] : 0;
            if (values)
                logp[2 * r->tokens + t] = counts ? ((const float *)value->data)[cell] : 0;
        }
    }
    return status;
}

static ls_status measure_all(ls_rollout *r, ls_transformer *model, bool reference)
{
    const int64_t rows = r->work->mine_count * r->options.group, B = r->run->config->batch.grain;
    ls_status status = LS_OK;
    for (int64_t first = 0; first < rows && status == LS_OK; first += B)
        status = measure_rows(r, model, first, rows - first < B ? rows - first : B, reference);
    return status;
}

static ls_status draw_mine(ls_rollout *r)
{
    struct ls_rollout_work *w = r->work;
    ls_status status = LS_OK;
    w->mine_count = 0;
    forget_gold(w);
    for (int64_t p = r->run->rank; p < w->prompts && status == LS_OK; p += r->run->ranks)
        status = read_prompt(r, p);
    if (status == LS_OK)
        status = draw_answers(r);
    for (int64_t i = 0; i < w->mine_count * r->options.group && status == LS_OK; i++)
        status = judge_row(r, i);
    if (status == LS_OK)
        status = measure_all(r, r->policy, false);
    if (status == LS_OK && r->reference)
        status = measure_all(r, r->reference, true);
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
                record *row = record_at(r, r->work->all, at);
                const int64_t to = p * group + s;
                memcpy(r->ids + to * r->tokens, ids_of(row), (size_t)r->tokens * sizeof *r->ids);
                memcpy(r->logp + to * r->tokens, logp_of(r, row), (size_t)r->tokens * sizeof *r->logp);
                memcpy(r->reference_logp + to * r->tokens, logp_of(r, row) + r->tokens,
                       (size_t)r->tokens * sizeof *r->logp);
                memcpy(r->value + to * r->tokens, logp_of(r, row) + 2 * r->tokens,
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

/* ---- held-out prompts ---- */

ls_status ls_rollout_judge_held_out(ls_rollout *r, const ls_grain *grain, double *right, double *ended, double *tokens)
{
    struct ls_rollout_work *w = r->work;
    const int64_t most = r->options.max_tokens;
    ls_status status = open_engine(r);
    for (int64_t b = 0; b < grain->rows && status == LS_OK; b++) {
        int64_t prompt, answer;
        status = find_prompt(grain->labels + b * grain->tokens, grain->tokens, &prompt, &answer);
        if (status == LS_OK)
            memcpy(w->eval_ids + w->eval_offsets[b], grain->ids + b * grain->tokens,
                   (size_t)prompt * sizeof *w->eval_ids);
        w->eval_offsets[b + 1] = w->eval_offsets[b] + prompt;
    }
    const ls_generate_options greedy = {.max_tokens = most, .top_p = 1, .stop_id = w->end};
    const ls_generate_rows rows = {.prompts = grain->rows,
                                   .samples = 1,
                                   .ids = w->eval_ids,
                                   .offsets = w->eval_offsets,
                                   .out = w->eval_drawn,
                                   .lengths = w->eval_lengths,
                                   .ends = w->eval_ends};
    if (status == LS_OK)
        status = ls_engine_run(w->engine, &greedy, &rows, NULL, NULL);
    for (int64_t b = 0; b < grain->rows && status == LS_OK; b++) {
        int64_t prompt, answer;
        char *text = NULL, *gold = NULL;
        size_t bytes = 0, gold_bytes = 0;
        status = find_prompt(grain->labels + b * grain->tokens, grain->tokens, &prompt, &answer);
        if (status == LS_OK)
            status = text_of(w, w->eval_drawn + b * most, w->eval_lengths[b], &text, &bytes);
        if (status == LS_OK)
            status = text_of(w, grain->labels + b * grain->tokens + prompt - 1, answer, &gold, &gold_bytes);
        const bool stopped = w->eval_ends[b] == LS_END_STOP;
        if (status == LS_OK) {
            *right += stopped && ls_answer_right((ls_answer_rule)r->options.rule, text, bytes, gold, gold_bytes);
            *ended += stopped;
            *tokens += (double)(w->eval_lengths[b] + stopped);
        }
        free(text);
        free(gold);
    }
    return status;
}
