/* See kv_cache.h. */
#include "models/kv_cache.h"

#include "models/transformer_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct ls_kv_cache {
    ls_device *device;
    const ls_transformer *model;
    int64_t sequences, pages, most_pages; /* a sequence's, by the model's context */
    ls_type type;
    int64_t row, page; /* numbers of a position of a head, of a page of one layer */
    char *keys, *values;
    size_t bytes;   /* of each of the two */
    int32_t *users; /* [pages] sequences that have it */
    int32_t *free;  /* stack of pages nobody has */
    int64_t free_count;
    int64_t *length, *held; /* [sequences] positions, pages */
    int32_t *page_of;       /* [sequences, most_pages] */
};

static int64_t row_of(const ls_transformer_options *o)
{
    return (o->head_width + LS_PAGE_ROW - 1) / LS_PAGE_ROW * LS_PAGE_ROW;
}

int64_t ls_kv_cache_pages(int64_t positions)
{
    return (positions + LS_PAGE - 1) / LS_PAGE;
}

/* Zeros, the host's take memory when they are written. NULL: none. */
static void *zeros(ls_device *device, size_t bytes)
{
    void *own;
    if (device->synchronize)
        return device->allocate(device, bytes, &own) == LS_OK ? own : NULL; /* which are zeros */
    void *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return block == MAP_FAILED ? NULL : block;
}

ls_status ls_kv_cache_create(ls_kv_cache **out, ls_device *device, const ls_transformer *model, int64_t sequences, int64_t pages)
{
    *out = NULL;
    const ls_transformer_options *o = &model->options;
    if (sequences < 1 || pages < 1)
        return ls_fail(LS_EARG, "a key/value cache of %lld sequences in %lld pages; one of each is the least",
                       (long long)sequences, (long long)pages);
    ls_kv_cache *cache = calloc(1, sizeof *cache);
    if (!cache)
        return ls_fail(LS_EMEM, "no memory for the key/value cache");
    *cache = (ls_kv_cache){.device = device,
                           .model = model,
                           .sequences = sequences,
                           .pages = pages,
                           .type = model->token->type,
                           .most_pages = ls_kv_cache_pages(o->context),
                           .row = row_of(o)};
    cache->page = o->kv_heads * LS_PAGE * cache->row;
    cache->bytes = (size_t)(o->layers * pages * cache->page) * ls_type_size(cache->type);
    cache->keys = zeros(device, cache->bytes);
    cache->values = zeros(device, cache->bytes);
    cache->users = calloc((size_t)pages, sizeof *cache->users);
    cache->free = malloc((size_t)pages * sizeof *cache->free);
    cache->length = calloc((size_t)sequences, sizeof *cache->length);
    cache->held = calloc((size_t)sequences, sizeof *cache->held);
    cache->page_of = calloc((size_t)(sequences * cache->most_pages), sizeof *cache->page_of);
    if (!cache->keys || !cache->values || !cache->users || !cache->free || !cache->length || !cache->held ||
        !cache->page_of) {
        const size_t bytes = 2 * cache->bytes;
        ls_kv_cache_free(cache);
        return ls_fail(
            LS_EMEM,
            "no memory for a key/value cache of %lld pages of %d positions (%zu bytes); ask for fewer rows or tokens",
            (long long)pages, LS_PAGE, bytes);
    }
    while (cache->free_count < pages) { /* the lowest is taken first */
        cache->free[cache->free_count] = (int32_t)(pages - 1 - cache->free_count);
        cache->free_count++;
    }
    *out = cache;
    return LS_OK;
}

static void give_back(ls_kv_cache *cache, void *block)
{
    if (block && cache->device->synchronize)
        cache->device->release(cache->device, block, cache->bytes);
    else if (block)
        munmap(block, cache->bytes);
}

void ls_kv_cache_free(ls_kv_cache *cache)
{
    if (!cache)
        return;
    give_back(cache, cache->keys);
    give_back(cache, cache->values);
    free(cache->users);
    free(cache->free);
    free(cache->length);
    free(cache->held);
    free(cache->page_of);
    free(cache);
}

int64_t ls_kv_cache_length(const ls_kv_cache *cache, int64_t sequence)
{
    return cache->length[sequence];
}

bool ls_kv_cache_reserve(ls_kv_cache *cache, int64_t sequence, int64_t positions)
{
    const int64_t pages = ls_kv_cache_pages(positions);
    if (pages > cache->most_pages || pages - cache->held[sequence] > cache->free_count)
        return false;
    while (cache->held[sequence] < pages) {
        const int32_t page = cache->free[--cache->free_count];
        cache->users[page] = 1;
        cache->page_of[sequence * cache->most_pages + cache->held[sequence]++] = page;
    }
    return true;
}

static void copy_page(ls_kv_cache *cache, int32_t from, int32_t to)
{
    const size_t bytes = (size_t)cache->page * ls_type_size(cache->type);
    for (int64_t layer = 0; layer < cache->model->options.layers; layer++) {
        const size_t first = (size_t)(layer * cache->pages + from) * bytes, second = (size_t)(layer * cache->pages + to) * bytes;
        cache->device->move(cache->device, bytes, cache->keys + first, cache->keys + second);
        cache->device->move(cache->device, bytes, cache->values + first, cache->values + second);
    }
}

bool ls_kv_cache_fork(ls_kv_cache *cache, int64_t from, int64_t to, int64_t positions)
{
    const int64_t length = cache->length[from], whole = length / LS_PAGE,
                  least = positions > length ? positions : length;
    const int32_t *theirs = cache->page_of + from * cache->most_pages;
    int32_t *mine = cache->page_of + to * cache->most_pages;
    if (ls_kv_cache_pages(least) - whole > cache->free_count || ls_kv_cache_pages(least) > cache->most_pages)
        return false;
    for (int64_t i = 0; i < whole; i++) {
        mine[i] = theirs[i];
        cache->users[theirs[i]]++;
    }
    cache->held[to] = whole;
    ls_kv_cache_reserve(cache, to, least);
    if (length % LS_PAGE)
        copy_page(cache, theirs[whole], mine[whole]);
    cache->length[to] = length;
    return true;
}

void ls_kv_cache_cut(ls_kv_cache *cache, int64_t sequence, int64_t length)
{
    if (length < cache->length[sequence])
        cache->length[sequence] = length;
}

void ls_kv_cache_clear(ls_kv_cache *cache, int64_t sequence)
{
    const int32_t *pages = cache->page_of + sequence * cache->most_pages;
    for (int64_t i = cache->held[sequence] - 1; i >= 0; i--)
        if (--cache->users[pages[i]] == 0)
            cache->free[cache->free_count++] = pages[i];
    cache->held[sequence] = 0;
    cache->length[sequence] = 0;
}

typedef struct {
    ls_kv_cache *cache;
    int64_t spans;
    const ls_page_span *span;
} extending;

static ls_tensor *attend_pages(void *context, ls_tape *tape, int layer, ls_tensor *q, ls_tensor *k, ls_tensor *v)
{
    const extending *e = context;
    const ls_transformer_options *o = &e->cache->model->options;
    const int64_t n = q->shape[0], d = o->head_width;
    const size_t base = (size_t)(layer * e->cache->pages * e->cache->page) * ls_type_size(e->cache->type);
    ls_pages *pages = ls_arena_array(ls_tape_arena(tape), ls_pages, 1);
    if (!pages || ls_tape_status(tape) != LS_OK)
        return q;
    *pages = (ls_pages){.keys = e->cache->keys + base,
                        .values = e->cache->values + base,
                        .type = e->cache->type,
                        .row = e->cache->row,
                        .window = o->window,
                        .spans = e->spans,
                        .span = e->span};
    q = ls_reshape(tape, q, LS_SHAPE(n, o->heads, d));
    k = ls_reshape(tape, k, LS_SHAPE(n, o->kv_heads, d));
    v = ls_reshape(tape, v, LS_SHAPE(n, o->kv_heads, d));
    return ls_reshape(tape, ls_paged_attention(tape, q, k, v, pages), LS_SHAPE(n, o->heads * d));
}

/* Ids and positions of all new tokens in one row, and where each sequence's keys are. False: an error is on the tape.
 */
static bool lay_out(ls_tape *tape, const ls_kv_cache *cache, int64_t extensions, const ls_extension *extension,
                    int64_t n, int32_t *ids, int32_t *positions, ls_page_span *span)
{
    if (!ids || !positions || !span) {
        ls_tape_raise(tape, LS_EMEM, "the arena has no room for %lld positions", (long long)n);
        return false;
    }
    for (int64_t i = 0, row = 0; i < extensions; i++) {
        const ls_extension *e = &extension[i];
        const int64_t length = cache->length[e->sequence], room = cache->held[e->sequence] * LS_PAGE;
        if (length + e->count > room || length + e->count > cache->model->options.context) {
            ls_tape_raise(tape, LS_EARG,
                          "sequence %lld holds %lld positions and %lld more were asked for; it has pages for %lld",
                          (long long)e->sequence, (long long)length, (long long)e->count, (long long)room);
            return false;
        }
        span[i] = (ls_page_span){row, e->count, length, cache->page_of + e->sequence * cache->most_pages};
        for (int64_t t = 0; t < e->count; t++, row++) {
            ids[row] = e->ids[t];
            positions[row] = (int32_t)(length + t);
        }
    }
    return true;
}

ls_tensor *ls_transformer_extend(ls_transformer *model, ls_tape *tape, ls_kv_cache *cache, int64_t extensions,
                                 const ls_extension *extension)
{
    ls_arena *arena = ls_tape_arena(tape);
    int64_t n = 0;
    for (int64_t i = 0; i < extensions; i++)
        n += extension[i].count;
    int32_t *ids = ls_arena_array(arena, int32_t, n), *positions = ls_arena_array(arena, int32_t, n);
    ls_page_span *span = ls_arena_array(arena, ls_page_span, extensions);
    if (!lay_out(tape, cache, extensions, extension, n, ids, positions, span))
        return ls_use(tape, model->token); /* harmless after an error */
    extending e = {.cache = cache, .spans = extensions, .span = span};
    ls_tensor *x = ls_transformer_embed(model, tape, n, ids, positions);
    for (int layer = 0; layer < model->options.layers; layer++)
        x = ls_transformer_run_block(model, tape, layer, x, positions, attend_pages, &e);
    for (int64_t i = 0; i < extensions; i++)
        cache->length[extension[i].sequence] += extension[i].count;
    return ls_transformer_final_norm(model, tape, x);
}
