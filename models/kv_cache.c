/* See kv_cache.h. */
#include "models/kv_cache.h"

#include "models/transformer_internal.h"

#include <stdlib.h>
#include <string.h>

struct ls_kv_cache {
    const ls_transformer *model;
    ls_type type;
    int64_t rows, tokens, stride; /* bytes from one position to the next */
    int64_t *length;              /* [rows] */
    char *keys, *values;
};

ls_status ls_kv_cache_create(ls_kv_cache **out, const ls_transformer *model, int64_t rows, int64_t tokens, ls_type type)
{
    *out = NULL;
    const ls_transformer_options *o = &model->options;
    if (tokens > o->context)
        return ls_fail(LS_EARG, "%lld positions asked for, the model's context is %lld; ask for fewer tokens or shorten the prompt",
                       (long long)tokens, (long long)o->context);
    ls_kv_cache *cache = calloc(1, sizeof *cache);
    if (!cache)
        return ls_fail(LS_EMEM, "no memory for the key/value cache");
    *cache = (ls_kv_cache){.model = model, .type = type, .rows = rows, .tokens = tokens};
    cache->stride = o->kv_heads * o->head_width * (int64_t)ls_type_size(type);
    const size_t bytes = (size_t)(o->layers * rows * tokens * cache->stride);
    cache->length = calloc((size_t)rows, sizeof *cache->length);
    cache->keys = malloc(bytes);
    cache->values = malloc(bytes);
    if (!cache->length || !cache->keys || !cache->values) {
        ls_kv_cache_free(cache);
        return ls_fail(LS_EMEM, "no memory for a key/value cache of %lld rows x %lld positions (%zu bytes); ask for fewer rows or tokens",
                       (long long)rows, (long long)tokens, 2 * bytes);
    }
    *out = cache;
    return LS_OK;
}

void ls_kv_cache_free(ls_kv_cache *cache)
{
    if (!cache)
        return;
    free(cache->length);
    free(cache->keys);
    free(cache->values);
    free(cache);
}

int64_t ls_kv_cache_length(const ls_kv_cache *cache, int64_t row)
{
    return cache->length[row];
}

void ls_kv_cache_truncate(ls_kv_cache *cache, int64_t row, int64_t length)
{
    if (length < cache->length[row])
        cache->length[row] = length;
}

typedef struct {
    ls_kv_cache *cache;
    int64_t first, rows, n;
} extension;

static size_t place(const ls_kv_cache *cache, int layer, int64_t row, int64_t position)
{
    return (size_t)((((int64_t)layer * cache->rows + row) * cache->tokens + position) * cache->stride);
}

/* Stores the new keys and values, then attends row by row: rows have lengths of their own. */
static ls_tensor *attend_cached(void *context, ls_tape *tape, int layer, ls_tensor *q, ls_tensor *k, ls_tensor *v)
{
    const extension *e = context;
    ls_kv_cache *cache = e->cache;
    const ls_transformer_options *o = &cache->model->options;
    const int64_t d = o->head_width, n = e->n;
    ls_tensor **parts = ls_arena_array(ls_tape_arena(tape), ls_tensor *, e->rows);
    if (!parts || ls_tape_status(tape) != LS_OK)
        return q;
    for (int64_t r = 0; r < e->rows; r++) {
        const int64_t row = e->first + r, length = cache->length[row];
        const size_t at = place(cache, layer, row, length), bytes = (size_t)(n * cache->stride);
        memcpy(cache->keys + at, (const char *)k->data + (size_t)r * bytes, bytes);
        memcpy(cache->values + at, (const char *)v->data + (size_t)r * bytes, bytes);
        ls_tensor *queries = ls_reshape(tape, ls_narrow(tape, q, 0, r * n, n), LS_SHAPE(1, n, o->heads, d));
        ls_tensor *keys = ls_constant(tape, cache->type, LS_SHAPE(1, length + n, o->kv_heads, d), cache->keys + place(cache, layer, row, 0));
        ls_tensor *values = ls_constant(tape, cache->type, LS_SHAPE(1, length + n, o->kv_heads, d), cache->values + place(cache, layer, row, 0));
        parts[r] = ls_reshape(tape, ls_window_attention(tape, queries, keys, values, o->window, NULL), LS_SHAPE(n, o->heads * d));
    }
    return e->rows == 1 ? parts[0] : ls_concat(tape, (int)e->rows, parts, 0);
}

ls_tensor *ls_transformer_extend(ls_transformer *model, ls_tape *tape, ls_kv_cache *cache, int64_t first, int64_t rows,
                                 int64_t n, const int32_t *ids)
{
    extension e = {.cache = cache, .first = first, .rows = rows, .n = n};
    int32_t *positions = ls_arena_array(ls_tape_arena(tape), int32_t, rows * n);
    if (!positions) {
        ls_tape_raise(tape, LS_EMEM, "the arena has no room for %lld positions", (long long)(rows * n));
        return ls_use(tape, model->token); /* harmless after an error */
    }
    for (int64_t r = 0; r < rows; r++) {
        const int64_t length = cache->length[first + r];
        if (length + n > cache->tokens) {
            ls_tape_raise(tape, LS_EARG, "row %lld holds %lld positions and %lld more were asked for; the cache has %lld",
                          (long long)(first + r), (long long)length, (long long)n, (long long)cache->tokens);
            return ls_use(tape, model->token);
        }
        for (int64_t i = 0; i < n; i++)
            positions[r * n + i] = (int32_t)(length + i);
    }
    ls_tensor *x = ls_transformer_embed(model, tape, rows * n, ids, positions);
    for (int layer = 0; layer < model->options.layers; layer++)
        x = ls_transformer_run_block(model, tape, layer, x, positions, attend_cached, &e);
    for (int64_t r = 0; r < rows; r++)
        cache->length[first + r] += n;
    return ls_transformer_final_norm(model, tape, x);
}
