/* The walk of a query tile over its keys: attention_tiles.h. */
#include "tensor/cpu/attention_tiles.h"
#include "tensor/cpu/counts.h"

#include <string.h>

_Static_assert((int)LS_PAGE == (int)LS_KEY_TILE, "a step of the walk takes the keys of one page");

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The lowest n <= 64 bits. */
static uint64_t ones(int64_t n)
{
    return n <= 0 ? 0 : n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

void ls_key_walk_begin(ls_key_walk *walk, const ls_attention_plan *plan, const ls_query_tile *tile, int64_t kv_head)
{
    const ls_attention_args *x = plan->args;
    walk->plan = plan;
    walk->tile = tile;
    walk->kv_head = kv_head;
    walk->word = 0;
    if (x->mask) {
        int64_t row = x->mask->rows == 1 ? 0 : tile->batch;
        const int64_t *first = x->mask->first + row * ls_mask_query_blocks(x->mask) + tile->query / x->mask->block;
        walk->next = first[0];
        walk->end = first[1];
    } else {
        walk->next = tile->key_begin;
        if (x->window) /* tiles before the first query's window are seen by nobody */
            walk->next += most(0, tile->position - x->window + 1 - tile->key_begin) / LS_KEY_TILE * LS_KEY_TILE;
        walk->end = x->causal ? least(tile->key_end, tile->position + tile->queries) : tile->key_end;
    }
}

static void add_piece(ls_key_walk *walk, int64_t key, int64_t keys)
{
    int last = walk->pieces - 1;
    if (last >= 0 && walk->piece[last].key + walk->piece[last].keys == key) {
        walk->piece[last].keys += keys;
    } else {
        walk->piece[walk->pieces].key = key;
        walk->piece[walk->pieces++].keys = keys;
    }
    walk->keys += keys;
}

/* Sets `seen` from the words of the tile's queries; false: nobody sees anything. Lanes of padding do as the last pair.
 */
static bool see(ls_key_walk *walk, const uint64_t *word)
{
    int64_t lanes = ls_attention_lanes(walk->plan, walk->tile), pairs = ls_attention_pairs(walk->plan, walk->tile);
    uint64_t all = ones(walk->keys), any = 0;
    for (int64_t query = 0; query < walk->tile->queries; query++) {
        any |= word[query];
        all &= word[query];
    }
    walk->seen = all == ones(walk->keys) ? NULL : walk->words;
    for (int64_t lane = 0; walk->seen && lane < lanes; lane++) {
        uint64_t seen = word[least(lane, pairs - 1) / walk->plan->tile_heads];
        walk->words[lane] = (int32_t)(uint32_t)seen;
        walk->words[lanes + lane] = (int32_t)(uint32_t)(seen >> 32);
    }
    return any != 0;
}

/* The keys of a segment, 64 by 64; a window cuts off those that are far behind. */
static bool next_of_segment(ls_key_walk *walk)
{
    const ls_query_tile *tile = walk->tile;
    int64_t key = walk->next, keys = least(LS_KEY_TILE, walk->end - key);
    if (keys <= 0)
        return false;
    add_piece(walk, key, keys);
    walk->next += keys;
    int64_t window = walk->plan->args->window, last = tile->position + tile->queries - 1;
    bool whole_past = !walk->plan->args->causal || tile->position >= key + keys - 1;
    if (whole_past && (!window || last - window < key))
        return true;
    uint64_t word[LS_QUERY_TILE];
    for (int64_t query = 0; query < tile->queries; query++) {
        int64_t seen = tile->position + query - key + 1; /* keys up to the query's own */
        word[query] = ones(least(keys, seen)) & ~(window ? ones(seen - window) : 0);
    }
    see(walk, word);
    return true;
}

/* Takes one word of a block (the whole block, below 64). */
static void add_block(ls_key_walk *walk, const ls_mask_block *block, int64_t word_number, uint64_t *word)
{
    const ls_block_mask *mask = walk->plan->args->mask;
    int64_t key = block->key_block * mask->block + 64 * word_number;
    int64_t keys = least(least(64, mask->block), mask->keys - key), before = walk->keys;
    if (keys <= 0)
        return;
    for (int64_t query = 0; query < walk->tile->queries; query++)
        word[query] |= ls_block_mask_word(mask, block, walk->tile->query + query, word_number) << before;
    add_piece(walk, key, keys);
}

/* The next place of the grid where some block is present and seen. */
static bool next_of_mask(ls_key_walk *walk)
{
    const ls_block_mask *mask = walk->plan->args->mask;
    while (walk->next < walk->end) {
        uint64_t word[LS_QUERY_TILE] = {0};
        walk->keys = walk->pieces = 0;
        if (mask->block >= LS_KEY_TILE) {
            add_block(walk, &mask->blocks[walk->next], walk->word, word);
            walk->word = (walk->word + 1) % (mask->block / LS_KEY_TILE);
            walk->next += walk->word == 0;
        } else {
            int64_t place = mask->blocks[walk->next].key_block * mask->block / LS_KEY_TILE;
            for (; walk->next < walk->end; walk->next++) {
                if (mask->blocks[walk->next].key_block * mask->block / LS_KEY_TILE != place)
                    break;
                add_block(walk, &mask->blocks[walk->next], 0, word);
            }
        }
        if (see(walk, word))
            return true;
    }
    return false;
}

bool ls_key_walk_next(ls_key_walk *walk)
{
    walk->keys = walk->pieces = 0;
    walk->seen = NULL;
    return walk->plan->args->mask ? next_of_mask(walk) : next_of_segment(walk);
}

int64_t ls_key_walk_at(const ls_key_walk *walk, int64_t key)
{
    const ls_attention_plan *plan = walk->plan;
    if (plan->args->spans) /* a step's keys lie in one page */
        return plan->args->span[walk->tile->batch].pages[key / LS_PAGE] * plan->args->kv_heads * plan->kv_head +
               walk->kv_head * plan->kv_head + key % LS_PAGE * plan->kv_row;
    return (walk->tile->batch * plan->args->keys + key) * plan->kv_row + walk->kv_head * plan->kv_head;
}

static bool diagonal(const ls_key_walk *walk)
{
    return walk->seen && walk->plan->args->causal && !walk->plan->args->mask;
}

int64_t ls_key_walk_keys_before(const ls_key_walk *walk, int64_t pair)
{
    if (!diagonal(walk))
        return walk->keys;
    const int64_t last = (least(pair, ls_attention_pairs(walk->plan, walk->tile)) - 1) / walk->plan->tile_heads;
    return most(0, least(walk->keys, walk->tile->position + last - walk->piece[0].key + 1));
}

int64_t ls_key_walk_first_pair(const ls_key_walk *walk, int64_t key)
{
    if (!diagonal(walk))
        return 0;
    return most(0, walk->piece[0].key + key - walk->tile->position) * walk->plan->tile_heads;
}

void ls_key_walk_scores(const ls_key_walk *walk, const void *x, const float *panels, float *room, float *score)
{
    const ls_attention_plan *plan = walk->plan;
    int64_t width = plan->product->width, deep = plan->args->width, lanes = ls_attention_lanes(plan, walk->tile);
    for (int i = 0; i < walk->pieces; i++) {
        int64_t row = plan->kv_row;
        const float *rows = plan->narrow ? ls_key_walk_rows(walk, x, room, &row) : (const float *)x + ls_key_walk_at(walk, walk->piece[i].key);
        for (int64_t lane = 0; lane < lanes; lane += width)
            for (int64_t first = 0; first < deep; first += LS_PRODUCT_CHUNK)
                plan->product->multiply(least(walk->piece[i].keys, ls_key_walk_keys_before(walk, lane + width)), least(LS_PRODUCT_CHUNK, deep - first), rows + first,
                                        row, 1, panels + lane * deep + first * width, width, score + lane,
                                        lanes, first > 0);
        score += walk->piece[i].keys * lanes;
    }
}

/* Of the one page that a step's keys lie in. */
static void widen_rows(const ls_key_walk *walk, const uint16_t *x, float *room)
{
    const ls_attention_plan *plan = walk->plan;
    const ls_kernels *kernels = ls_cpu_kernels_of(plan->device, plan->args->type);
    const uint16_t *from = x + ls_key_walk_at(walk, walk->piece[0].key);
    for (int64_t key = 0; key < walk->keys; key++, from += plan->kv_row, room += plan->padded)
        kernels->widen(plan->padded, from, room); /* the row's zeros too */
}

const float *ls_key_walk_rows(const ls_key_walk *walk, const void *x, float *room, int64_t *row)
{
    const ls_attention_plan *plan = walk->plan;
    if (walk->pieces == 1 && !plan->narrow) {
        *row = plan->kv_row;
        return (const float *)x + ls_key_walk_at(walk, walk->piece[0].key);
    }
    *row = plan->padded;
    if (plan->narrow) {
        widen_rows(walk, x, room);
        return room;
    }
    float *to = room;
    for (int i = 0; i < walk->pieces; i++)
        for (int64_t key = 0; key < walk->piece[i].keys; key++, to += plan->padded)
            memcpy(to, (const float *)x + ls_key_walk_at(walk, walk->piece[i].key + key), (size_t)plan->padded * sizeof *to);
    return room;
}
