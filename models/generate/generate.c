/* The generation loop: rows in groups, each prompt read at once, then one token a step for all rows of the group that
 * still go on. See generate.h.
 *
 * Neither the group nor who has finished shows in the text: a row's logits do not feel the other rows (tensor/cpu), and
 * its draws come from {seed, row id, position}. */
#include "models/generate/generate.h"

#include "models/generate/sample.h"
#include "models/kv_cache.h"

#include <stdlib.h>

enum { GROUP = 16 };
#define ARENA_BYTES ((size_t)1 << 36) /* addresses; memory comes when it is touched */

typedef struct {
    ls_transformer *model;
    const ls_generate_options *options;
    ls_tape *tape;
    ls_kv_cache *cache;
    ls_candidate *room;
    float *logits; /* [GROUP, V] f32 */
    int64_t vocabulary, context;
    ls_generate_token token;
    void *token_context;
    int32_t *out;
    int64_t *lengths;
    const int64_t *row_ids;
    bool ended[GROUP];
    int32_t last[GROUP]; /* the token a row goes on from */
} generation;

/* Logits of the last position of `rows` rows of hidden states [rows * n, D], into g->logits. */
static ls_status read_logits(generation *g, ls_tensor *hidden, int64_t rows, int64_t n)
{
    if (n > 1)
        hidden = ls_narrow(g->tape, hidden, 0, n - 1, 1); /* a prompt: one row */
    ls_tensor *logits = ls_linear(g->tape, hidden, ls_transformer_head(g->model, g->tape), NULL, LS_ACT_NONE);
    logits = ls_cast(g->tape, logits, LS_F32);
    ls_status status = ls_tape_status(g->tape);
    for (int64_t i = 0; status == LS_OK && i < rows * g->vocabulary; i++)
        g->logits[i] = ((const float *)logits->data)[i];
    return status;
}

/* Draws row `row`'s next token, `r` being its place in the group and `logits` its own. */
static void draw(generation *g, int64_t row, int64_t r, const float *logits)
{
    const ls_generate_options *o = g->options;
    int64_t position = ls_kv_cache_length(g->cache, r);
    ls_random stream = {.seed = o->seed,
                        .slot = (uint32_t)(g->row_ids ? g->row_ids[row] : row),
                        .step = (uint32_t)position,
                        .purpose = LS_RANDOM_SAMPLE};
    int32_t id = ls_sample(o, g->vocabulary, logits, ls_random_uniform(&stream, 0), g->room);
    if (id == o->stop_id) {
        g->ended[r] = true;
        return;
    }
    g->out[row * o->max_tokens + g->lengths[row]++] = id;
    g->last[r] = id;
    bool more = !g->token || g->token(g->token_context, row, id);
    g->ended[r] = !more || g->lengths[row] == o->max_tokens || position >= g->context;
}

/* Extends rows [r, r + rows) of the group by n ids each and draws their next tokens. */
static ls_status extend(generation *g, int64_t first, int64_t r, int64_t rows, int64_t n, const int32_t *ids)
{
    ls_tape_reset(g->tape, g->options->seed, 0, 0);
    ls_no_grad_begin(g->tape);
    ls_tensor *hidden = ls_transformer_extend(g->model, g->tape, g->cache, r, rows, n, ids);
    ls_status status = read_logits(g, hidden, rows, n);
    ls_no_grad_end(g->tape);
    for (int64_t i = 0; status == LS_OK && i < rows; i++)
        draw(g, first + r + i, r + i, g->logits + i * g->vocabulary);
    return status;
}

/* One more token for every run of neighbours that go on; *any: there was one. */
static ls_status step(generation *g, int64_t first, int64_t rows, bool *any)
{
    *any = false;
    for (int64_t r = 0, run; r < rows; r += run) {
        if (g->ended[r]) {
            run = 1;
            continue;
        }
        for (run = 1; r + run < rows && !g->ended[r + run];)
            run++;
        *any = true;
        ls_status status = extend(g, first, r, run, 1, g->last + r);
        if (status != LS_OK)
            return status;
    }
    return LS_OK;
}

static ls_status generate_group(generation *g, int64_t first, int64_t rows, const int32_t *ids, const int64_t *offsets)
{
    for (int64_t r = 0; r < rows; r++) {
        ls_kv_cache_truncate(g->cache, r, 0);
        g->ended[r] = false;
        g->lengths[first + r] = 0;
        const int64_t begin = offsets[first + r];
        ls_status status = extend(g, first, r, 1, offsets[first + r + 1] - begin, ids + begin);
        if (status != LS_OK)
            return status;
    }
    for (bool any = true; any;) {
        ls_status status = step(g, first, rows, &any);
        if (status != LS_OK)
            return status;
    }
    return LS_OK;
}

static ls_status check_prompts(const generation *g, int64_t rows, const int64_t *offsets, int64_t *longest)
{
    *longest = 0;
    for (int64_t row = 0; row < rows; row++) {
        const int64_t n = offsets[row + 1] - offsets[row];
        if (n < 1)
            return ls_fail(LS_EARG, "prompt %lld is empty; begin it with a token, e.g. the tokenizer's begin-of-text",
                           (long long)row);
        if (n > g->context)
            return ls_fail(LS_EARG, "prompt %lld has %lld tokens, the model's context is %lld; shorten it",
                           (long long)row, (long long)n, (long long)g->context);
        *longest = n > *longest ? n : *longest;
    }
    return LS_OK;
}

ls_status ls_generate(ls_transformer *model, ls_device *device, const ls_generate_options *options, int64_t rows,
                      const int32_t *ids, const int64_t *offsets, const int64_t *row_ids, int32_t *out,
                      int64_t *lengths, ls_generate_token token, void *context)
{
    const ls_transformer_options *o = ls_transformer_config(model);
    generation g = {.model = model,
                    .options = options,
                    .vocabulary = o->vocabulary,
                    .context = o->context,
                    .token = token,
                    .token_context = context,
                    .out = out,
                    .lengths = lengths,
                    .row_ids = row_ids};
    int64_t longest;
    ls_status status = check_prompts(&g, rows, offsets, &longest);
    if (status != LS_OK || rows < 1)
        return status;
    if (options->max_tokens < 1) {
        for (int64_t row = 0; row < rows; row++)
            lengths[row] = 0;
        return LS_OK;
    }
    ls_parameter *parameters;
    ls_transformer_parameters(model, &parameters);
    const int64_t group = rows < GROUP ? rows : GROUP,
                  room = g.context - longest < options->max_tokens ? g.context : longest + options->max_tokens;
    g.room = malloc((size_t)g.vocabulary * sizeof *g.room);
    g.logits = malloc((size_t)(group * g.vocabulary) * sizeof *g.logits);
    if (!g.room || !g.logits)
        status = ls_fail(LS_EMEM, "no memory for the logits of %lld rows of %lld", (long long)group,
                         (long long)g.vocabulary);
    if (status == LS_OK)
        status = ls_kv_cache_create(&g.cache, model, group, room, parameters[0].type);
    if (status == LS_OK)
        status = ls_tape_create(&g.tape, device, ARENA_BYTES);
    for (int64_t first = 0; status == LS_OK && first < rows; first += group)
        status = generate_group(&g, first, rows - first < group ? rows - first : group, ids, offsets);
    ls_tape_free(g.tape);
    ls_kv_cache_free(g.cache);
    free(g.logits);
    free(g.room);
    return status;
}
