/* See engine.h. One step is forward() over the pieces that plan_step() listed, and one draw for every row that has read
 * its prompt. Sequences of the cache: one a slot, and one for the prompt that its samples begin with. */
#include "models/generate/engine.h"

#include "models/generate/sample.h"
#include "models/kv_cache.h"

#include <stdlib.h>
#include <string.h>

enum {
    PROMPT_TOKENS = 512,
    FEW_ROWS = 4, /* drawn together wait for the weights' memory */
    ENOUGH_STEPS = 128, /* to make up for what holding weights for decoding takes */
};
#define ARENA_BYTES ((size_t)1 << 36) /* addresses; memory comes when it is touched */

typedef struct {
    int64_t row;    /* -1: the slot is free */
    int64_t prompt; /* its length */
    int64_t read;   /* positions of it in the cache */
    const int32_t *ids;
    int32_t last; /* the token it goes on from */
} slot;

struct ls_engine {
    ls_transformer *model;
    ls_device *device;
    ls_tape *tape;
    ls_kv_cache *cache;
    ls_engine_options options;
    int64_t vocabulary, context;
    slot *slots;
    slot shared;          /* the prompt whose samples are being admitted; row: its number, -1: none */
    ls_extension *pieces; /* [slots + 1] of this step */
    int64_t piece_count, piece_rows;
    int64_t *drawing;    /* [slots] slots that draw in this step */
    int32_t *at, *drawn; /* [slots] their rows of the hidden states; what they draw */
    int64_t drawing_count;
    bool held;           /* the weights, for decoding */
    ls_candidate *room;  /* [threads, vocabulary] */
    const float *logits; /* [drawing_count, vocabulary] of this step */
    ls_engine_work work;
    /* of this run */
    const ls_generate_options *how;
    const ls_generate_rows *rows;
    ls_generate_token token;
    void *context_of_token;
    int64_t next; /* row to be admitted */
};

ls_status ls_engine_open(ls_engine **out, ls_transformer *model, ls_device *device, const ls_engine_options *options)
{
    *out = NULL;
    const ls_transformer_options *o = ls_transformer_config(model);
    if (options->slots < 1)
        return ls_fail(LS_EARG, "the engine was given %lld slots; one is the least", (long long)options->slots);
    ls_engine *e = calloc(1, sizeof *e);
    if (!e)
        return ls_fail(LS_EMEM, "no memory for the generation engine");
    *e = (ls_engine){
        .model = model, .device = device, .options = *options, .vocabulary = o->vocabulary, .context = o->context};
    const size_t slots = (size_t)options->slots;
    if (!e->options.prompt_tokens)
        e->options.prompt_tokens = PROMPT_TOKENS;
    if (!e->options.pages)
        e->options.pages = (options->slots + 1) * ls_kv_cache_pages(o->context);
    e->slots = calloc(slots, sizeof *e->slots);
    e->pieces = calloc(slots + 1, sizeof *e->pieces);
    e->drawing = calloc(slots, sizeof *e->drawing);
    e->at = calloc(slots, sizeof *e->at);
    e->drawn = calloc(slots, sizeof *e->drawn);
    e->room = malloc((size_t)(ls_team_threads(device->team) * o->vocabulary) * sizeof *e->room);
    ls_status status = LS_OK;
    if (!e->slots || !e->pieces || !e->drawing || !e->at || !e->drawn || !e->room)
        status = ls_fail(LS_EMEM, "no memory for the generation engine's %lld slots", (long long)options->slots);
    if (status == LS_OK)
        status = ls_kv_cache_create(&e->cache, device, model, options->slots + 1, e->options.pages);
    if (status == LS_OK)
        status = ls_tape_create(&e->tape, device, ARENA_BYTES);
    if (status != LS_OK)
        ls_engine_close(e);
    else
        *out = e;
    return status;
}

void ls_engine_close(ls_engine *e)
{
    if (!e)
        return;
    if (e->held)
        ls_hold_for_decoding(e->device, LS_F32, 0);
    ls_tape_free(e->tape);
    ls_kv_cache_free(e->cache);
    free(e->slots);
    free(e->pieces);
    free(e->drawing);
    free(e->at);
    free(e->drawn);
    free(e->room);
    free(e);
}

const ls_engine_work *ls_engine_done(const ls_engine *e)
{
    return &e->work;
}

/* ---- who gets a slot ---- */

static int64_t prompt_length(const ls_engine *e, int64_t prompt)
{
    return e->rows->offsets[prompt + 1] - e->rows->offsets[prompt];
}

/* Positions a row may come to hold; the last token is drawn, not read. */
static int64_t most_positions(const ls_engine *e, int64_t prompt)
{
    const int64_t most = prompt_length(e, prompt) + e->how->max_tokens - 1;
    return most < e->context ? most : e->context;
}

static bool shares(const ls_engine *e, int64_t prompt)
{
    return e->rows->samples > 1 && prompt_length(e, prompt) > 1;
}

static ls_status check_rows(const ls_engine *e)
{
    for (int64_t p = 0; p < e->rows->prompts; p++) {
        const int64_t n = prompt_length(e, p);
        if (n < 1)
            return ls_fail(LS_EARG, "prompt %lld is empty; begin it with a token, e.g. the tokenizer's begin-of-text",
                           (long long)p);
        if (n > e->context)
            return ls_fail(LS_EARG, "prompt %lld has %lld tokens, the model's context is %lld; shorten it",
                           (long long)p, (long long)n, (long long)e->context);
        const int64_t need = ls_kv_cache_pages(most_positions(e, p)) + (shares(e, p) ? ls_kv_cache_pages(n - 1) : 0);
        if (need > e->options.pages)
            return ls_fail(LS_EARG,
                           "prompt %lld has %lld tokens and may grow by %lld: it needs %lld pages of %d positions, but "
                           "there are %lld; give the engine more",
                           (long long)p, (long long)n, (long long)e->how->max_tokens, (long long)need, LS_PAGE,
                           (long long)e->options.pages);
    }
    return LS_OK;
}

/* Puts the next row into `to`. False: it has to wait, for pages or for its prompt to be read. */
static bool admit_row(ls_engine *e, int64_t number)
{
    slot *to = &e->slots[number];
    const int64_t prompt = e->next / e->rows->samples, sample = e->next % e->rows->samples,
                  n = prompt_length(e, prompt);
    const slot begins = {.row = e->next, .prompt = n, .ids = e->rows->ids + e->rows->offsets[prompt]};
    const int64_t prefix = e->options.slots; /* its sequence */
    if (!shares(e, prompt)) {
        if (!ls_kv_cache_reserve(e->cache, number, most_positions(e, prompt)))
            return false;
        *to = begins;
        return true;
    }
    if (e->shared.row != prompt) {
        if (!ls_kv_cache_reserve(e->cache, prefix, n - 1))
            return false;
        e->shared = begins;
        e->shared.row = prompt;
        e->shared.prompt = n - 1; /* every sample reads the last token itself, and draws from it */
    }
    if (e->shared.read < e->shared.prompt || !ls_kv_cache_fork(e->cache, prefix, number, most_positions(e, prompt)))
        return false;
    *to = begins;
    to->read = n - 1;
    e->work.shared_tokens += sample ? n - 1 : 0;
    if (sample == e->rows->samples - 1) {
        ls_kv_cache_clear(e->cache, prefix);
        e->shared.row = -1;
    }
    return true;
}

static void admit(ls_engine *e)
{
    const int64_t rows = e->rows->prompts * e->rows->samples;
    for (int64_t s = 0; s < e->options.slots && e->next < rows; s++)
        if (e->slots[s].row < 0) {
            if (!admit_row(e, s))
                return;
            e->next++;
        }
}

/* ---- a step ---- */

static void add_piece(ls_engine *e, int64_t sequence, const int32_t *ids, int64_t count)
{
    e->pieces[e->piece_count++] = (ls_extension){sequence, count, ids};
    e->piece_rows += count;
}

/* As much of a prompt as the step still has room for; one last token costs no more than any decoding row. */
static void read_prompt(ls_engine *e, slot *s, int64_t sequence, int64_t *room)
{
    const int64_t left = s->prompt - s->read, count = left == 1 || left < *room ? left : *room;
    if (!count)
        return;
    add_piece(e, sequence, s->ids + s->read, count);
    s->read += count;
    *room -= left == 1 ? 0 : count;
    e->work.prompt_tokens += count;
}

static void plan_step(ls_engine *e)
{
    int64_t room = e->options.prompt_tokens;
    e->piece_count = e->piece_rows = e->drawing_count = 0;
    if (e->shared.row >= 0 && e->shared.read < e->shared.prompt)
        read_prompt(e, &e->shared, e->options.slots, &room);
    for (int64_t i = 0; i < e->options.slots; i++) {
        slot *s = &e->slots[i];
        if (s->row < 0)
            continue;
        if (s->read < s->prompt)
            read_prompt(e, s, i, &room);
        else
            add_piece(e, i, &s->last, 1);
        if (s->read < s->prompt)
            continue;
        e->at[e->drawing_count] = (int32_t)(e->piece_rows - 1);
        e->drawing[e->drawing_count++] = i;
    }
}

/* Runs the pieces, and leaves the logits of the rows that draw. */
static ls_status forward(ls_engine *e)
{
    ls_tape_reset(e->tape, e->how->seed, 0, 0);
    ls_no_grad_begin(e->tape);
    ls_tensor *hidden = ls_transformer_extend(e->model, e->tape, e->cache, e->piece_count, e->pieces);
    if (e->drawing_count) {
        if (e->drawing_count < e->piece_rows)
            hidden = ls_gather(e->tape, hidden, e->drawing_count, e->at);
        ls_tensor *logits = ls_linear(e->tape, hidden, ls_transformer_head(e->model, e->tape), NULL, LS_ACT_NONE);
        e->logits = ls_tape_read(e->tape, ls_cast(e->tape, logits, LS_F32));
    }
    ls_no_grad_end(e->tape);
    e->work.steps++;
    return ls_tape_wait(e->tape);
}

static void draw(void *context, int64_t item)
{
    ls_engine *e = context;
    const int64_t number = e->drawing[item], row = e->slots[number].row;
    const ls_random stream = {.seed = e->how->seed,
                              .slot = (uint32_t)(e->rows->row_ids ? e->rows->row_ids[row] : row),
                              .step = (uint32_t)ls_kv_cache_length(e->cache, number),
                              .purpose = LS_RANDOM_SAMPLE};
    e->drawn[item] =
        ls_sample(e->how, e->vocabulary, e->logits + item * e->vocabulary, ls_random_uniform(&stream, 4 * e->how->draw),
                  e->room + ls_team_thread_number() * e->vocabulary);
}

static bool stops(const ls_generate_options *how, int32_t id)
{
    bool stop = id == how->stop_id;
    for (int64_t i = 0; i < how->stop_count; i++)
        stop = stop || id == how->stop_ids[i];
    return stop;
}

static void end_row(ls_engine *e, int64_t number, ls_generate_end why)
{
    if (e->rows->ends)
        e->rows->ends[e->slots[number].row] = (uint8_t)why;
    e->slots[number].row = -1;
    ls_kv_cache_clear(e->cache, number);
}

static void take_token(ls_engine *e, int64_t number, int32_t id)
{
    slot *s = &e->slots[number];
    if (stops(e->how, id)) {
        end_row(e, number, LS_END_STOP);
        return;
    }
    const int64_t row = s->row, length = ++e->rows->lengths[row];
    e->rows->out[row * e->how->max_tokens + length - 1] = id;
    s->last = id;
    e->work.new_tokens++;
    if (e->token && !e->token(e->context_of_token, row, id))
        end_row(e, number, LS_END_CALLER);
    else if (length == e->how->max_tokens || ls_kv_cache_length(e->cache, number) >= e->context)
        end_row(e, number, LS_END_LENGTH);
}

/* Empty slots and cache, also after a run that failed. */
static void begin_run(ls_engine *e)
{
    for (int64_t i = 0; i <= e->options.slots; i++)
        ls_kv_cache_clear(e->cache, i);
    for (int64_t i = 0; i < e->options.slots; i++)
        e->slots[i].row = -1;
    e->shared = (slot){.row = -1};
    e->next = 0;
    for (int64_t r = 0; r < e->rows->prompts * e->rows->samples; r++)
        e->rows->lengths[r] = 0;
}

/* Where few rows are drawn together in many steps, in this run and the ones before, and the weights are those of the run before. */
static void hold_weights(ls_engine *e)
{
    const int64_t rows = e->rows->prompts * e->rows->samples, together = rows < e->options.slots ? rows : e->options.slots;
    if (!e->options.weights_stay || e->held || together < 1 || together > FEW_ROWS)
        return;
    const int64_t most_steps = (rows + together - 1) / together * e->how->max_tokens;
    if (e->work.steps + most_steps < ENOUGH_STEPS)
        return;
    ls_parameter *parameter;
    int64_t numbers = 0;
    ls_type type = LS_F32;
    for (int i = ls_transformer_parameters(e->model, &parameter); i > 0; i--, parameter++) {
        numbers += parameter->count;
        type = parameter->ndim > 1 ? parameter->type : type;
    }
    e->held = ls_hold_for_decoding(e->device, type, numbers) > 0;
}

ls_status ls_engine_run(ls_engine *e, const ls_generate_options *how, const ls_generate_rows *rows,
                        ls_generate_token token, void *context)
{
    e->how = how;
    e->rows = rows;
    e->token = token;
    e->context_of_token = context;
    begin_run(e);
    ls_status status = check_rows(e);
    if (how->max_tokens < 1) {
        if (rows->ends)
            memset(rows->ends, LS_END_LENGTH, (size_t)(rows->prompts * rows->samples));
        return status;
    }
    if (status == LS_OK)
        hold_weights(e);
    while (status == LS_OK) {
        admit(e);
        plan_step(e);
        if (!e->piece_count)
            break;
        status = forward(e);
        if (status != LS_OK)
            break;
        ls_team_run(e->device->team, e->drawing_count, draw, e);
        for (int64_t i = 0; i < e->drawing_count; i++)
            take_token(e, e->drawing[i], e->drawn[i]);
    }
    return status;
}
