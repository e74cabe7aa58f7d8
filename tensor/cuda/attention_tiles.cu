/* The list of attention's tiles, made on the host from segments, spans and shapes. */
#include "tensor/cuda/attention.cuh"

#include <stdlib.h>

/* A run of queries and the run of keys they may see. */
typedef struct {
    int64_t row, q_begin, q_end, k_begin, k_end, position, page;
} part;

typedef struct {
    ls_attention_tile *tile; /* NULL: only counted */
    int64_t count;
    bool by_keys, causal;
    int64_t window, size;
} tile_list;

static void add_tile(tile_list *list, const part *p, int64_t q_begin, int64_t q_end, int64_t k_begin, int64_t k_end)
{
    if (list->tile) {
        ls_attention_tile tile = {p->row, q_begin, q_end, k_begin, k_end, p->position, p->page};
        list->tile[list->count] = tile;
    }
    list->count++;
}

static int64_t at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The first border of tiles from `begin` at or before `at`. */
static int64_t border(const tile_list *list, int64_t begin, int64_t at)
{
    return at <= begin ? begin : begin + (at - begin) / list->size * list->size;
}

static void add_query_tiles(tile_list *list, const part *p)
{
    for (int64_t q = p->q_begin; q < p->q_end; q += list->size) {
        const int64_t q_end = at_most(q + list->size, p->q_end);
        int64_t k_begin = p->k_begin, k_end = p->k_end;
        if (list->window)
            k_begin = border(list, k_begin, q + p->position - list->window + 1);
        if (list->causal)
            k_end = at_most(k_end, q_end - 1 + p->position + 1);
        add_tile(list, p, q, q_end, k_begin, k_end);
    }
}

static void add_key_tiles(tile_list *list, const part *p)
{
    for (int64_t k = p->k_begin; k < p->k_end; k += list->size) {
        const int64_t k_end = at_most(k + list->size, p->k_end);
        int64_t q_begin = p->q_begin, q_end = p->q_end;
        if (list->causal)
            q_begin = border(list, q_begin, k - p->position);
        if (list->window)
            q_end = at_most(q_end, k_end - 1 + list->window - p->position);
        add_tile(list, p, q_begin, q_end, k, k_end);
    }
}

static void add_part(tile_list *list, const part *p)
{
    if (list->by_keys)
        add_key_tiles(list, p);
    else
        add_query_tiles(list, p);
}

/* The end of the run of equal ids that begins at `at`. */
static int64_t run_end(const int32_t *id, int64_t n, int64_t at)
{
    int64_t end = at + 1;
    while (end < n && id[end] == id[at])
        end++;
    return end;
}

static void add_self(tile_list *list, const ls_attention_args *a, int64_t row)
{
    const int64_t shift = a->keys - a->queries;
    part p = {row, 0, a->queries, 0, a->keys, shift, 0};
    if (!a->segments) {
        add_part(list, &p);
        return;
    }
    const int32_t *id = a->segments + row * a->keys;
    for (int64_t k = 0; k < a->keys; k = p.k_end) {
        p.k_begin = k, p.k_end = run_end(id, a->keys, k);
        p.q_begin = p.k_begin < shift ? 0 : p.k_begin - shift;
        p.q_end = p.k_end < shift ? 0 : p.k_end - shift;
        add_part(list, &p);
    }
}

/* Every run of queries, with the keys of its id: none for padding. Keys whose id no query has get no tile: their gradients
 * are left as they are. */
static void add_cross(tile_list *list, const ls_attention_args *a, int64_t row)
{
    const int32_t *query_id = a->query_segments + row * a->queries, *key_id = a->segments ? a->segments + row * a->keys : NULL;
    part p = {row, 0, 0, 0, 0, a->keys - a->queries, 0};
    for (int64_t q = 0; q < a->queries; q = p.q_end) {
        const int32_t id = query_id[q];
        p.q_begin = q, p.q_end = run_end(query_id, a->queries, q);
        p.k_begin = p.k_end = 0;
        if (!key_id) {
            p.k_end = id == 0 ? a->keys : 0;
        } else if (id >= 0) {
            while (p.k_begin < a->keys && key_id[p.k_begin] != id)
                p.k_begin++;
            p.k_end = p.k_begin < a->keys ? run_end(key_id, a->keys, p.k_begin) : p.k_begin;
        }
        add_part(list, &p);
    }
}

static int64_t span_pages(const ls_page_span *span)
{
    return (span->position + span->queries + LS_PAGE - 1) / LS_PAGE;
}

static void make_list(tile_list *list, const ls_attention_args *a)
{
    int64_t page = 0;
    list->count = 0;
    for (int64_t s = 0; s < a->spans; page += span_pages(&a->span[s++])) {
        const ls_page_span *span = &a->span[s];
        const part p = {0, span->row, span->row + span->queries, 0, span->position + span->queries, span->position - span->row, page};
        add_part(list, &p);
    }
    for (int64_t row = 0; row < a->batch && a->spans == 0; row++)
        if (a->query_segments && !a->mask)
            add_cross(list, a, row);
        else if (a->mask) {
            const part p = {row, 0, a->queries, 0, a->keys, a->keys - a->queries, 0};
            add_part(list, &p);
        } else {
            add_self(list, a, row);
        }
}

/* Host memory for a list, kept from call to call: a step takes nothing from the heap once it has been as long. */
static void *host_room(ls_cuda *cuda, size_t bytes)
{
    if (bytes > cuda->list_room || !cuda->list) {
        void *list = realloc(cuda->list, bytes + 1);
        if (!list) {
            ls_cuda_raise(cuda, LS_EMEM, "cuda: no memory for the list of attention's tiles");
            return NULL;
        }
        cuda->list = list, cuda->list_room = bytes;
    }
    return cuda->list;
}

const ls_attention_tile *ls_attention_tiles(ls_cuda_call &call, const ls_attention_args *args, bool by_keys, int64_t size, int64_t *tiles)
{
    tile_list list = {NULL, 0, by_keys, (args->causal || args->spans) && !args->mask, args->mask ? 0 : args->window, size};
    if ((args->segments && ls_cuda_owns(call.cuda, args->segments)) || (args->query_segments && ls_cuda_owns(call.cuda, args->query_segments)))
        ls_cuda_wait(call.cuda); /* the ids are read here */
    make_list(&list, args);
    *tiles = list.count;
    const size_t bytes = (size_t)list.count * sizeof *list.tile;
    ls_attention_tile *device = call.scratch<ls_attention_tile>(list.count);
    list.tile = device ? static_cast<ls_attention_tile *>(host_room(call.cuda, bytes)) : NULL;
    if (list.tile) {
        make_list(&list, args);
        ls_cuda_copy_in(call.cuda, device, list.tile, bytes);
    }
    return device;
}

ls_block_mask ls_attention_mask(ls_cuda_call &call, const ls_block_mask *mask, int *shift)
{
    ls_block_mask on_device = *mask;
    for (*shift = 0; (int64_t)1 << *shift < mask->block;)
        ++*shift;
    const int64_t blocks = mask->rows * ls_mask_query_blocks(mask);
    on_device.first = call.in<int64_t>(mask->first, blocks + 1);
    on_device.blocks = call.in<ls_mask_block>(mask->blocks, mask->first[blocks]);
    on_device.bits = call.in<uint64_t>(mask->bits, mask->bitmaps * mask->block * ls_mask_words(mask->block));
    return on_device;
}
