/* See block_mask.h. */
#include "tensor/block_mask.h"

#include <string.h>

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t key_blocks_of(const ls_block_mask *mask)
{
    return (mask->keys + mask->block - 1) / mask->block;
}

static int64_t bitmap_words(const ls_block_mask *mask)
{
    return mask->block * ls_mask_words(mask->block);
}

/* ---- building ---- */

typedef struct {
    ls_block_mask mask;
    ls_mask_sees sees;
    const void *context;
    int64_t count;  /* of blocks */
    int64_t *first; /* these three NULL: only count */
    ls_mask_block *blocks;
    uint64_t *bits;
    uint64_t bitmap[LS_MASK_BLOCK_MOST * LS_MASK_BLOCK_MOST / 64]; /* of the block that is being looked at */
} building;

enum { ABSENT = -3 };

/* Asks for every pair of a block. ABSENT, LS_MASK_WHOLE, LS_MASK_CAUSAL, or 0: it needs the bitmap that was made. */
static int look_at_block(building *b, int64_t row, int64_t query_block, int64_t key_block)
{
    const ls_block_mask *m = &b->mask;
    int64_t words = ls_mask_words(m->block), query = query_block * m->block, key = key_block * m->block;
    int64_t queries = least(m->block, m->queries - query), keys = least(m->block, m->keys - key);
    bool none = true, all = true, causal = true;
    memset(b->bitmap, 0, (size_t)bitmap_words(m) * sizeof *b->bitmap);
    for (int64_t i = 0; i < queries; i++)
        for (int64_t j = 0; j < keys; j++) {
            bool seen = b->sees(b->context, row, query + i, key + j);
            none = none && !seen;
            all = all && seen;
            causal = causal && seen == (key + j <= query + i + m->keys - m->queries);
            b->bitmap[i * words + j / 64] |= (uint64_t)seen << j % 64;
        }
    return none ? ABSENT : all ? LS_MASK_WHOLE : causal ? LS_MASK_CAUSAL : 0;
}

static void list_block(building *b, int64_t key_block, int kind)
{
    int32_t bitmap = (int32_t)b->mask.bitmaps;
    int64_t words = bitmap_words(&b->mask);
    if (b->blocks)
        b->blocks[b->count] = (ls_mask_block){(int32_t)key_block, kind == 0 ? bitmap : kind};
    if (b->bits && kind == 0)
        memcpy(b->bits + bitmap * words, b->bitmap, (size_t)words * sizeof *b->bits);
    b->mask.bitmaps += kind == 0;
    b->count++;
}

static void list_blocks(building *b)
{
    int64_t query_blocks = ls_mask_query_blocks(&b->mask), key_blocks = key_blocks_of(&b->mask);
    b->count = b->mask.bitmaps = 0;
    for (int64_t at = 0; at < b->mask.rows * query_blocks; at++) {
        for (int64_t key_block = 0; key_block < key_blocks; key_block++) {
            int kind = look_at_block(b, at / query_blocks, at % query_blocks, key_block);
            if (kind != ABSENT)
                list_block(b, key_block, kind);
        }
        if (b->first)
            b->first[at + 1] = b->count;
    }
}

static ls_status check_sizes(const ls_block_mask *mask)
{
    int64_t block = mask->block;
    if (block < LS_MASK_BLOCK_LEAST || block > LS_MASK_BLOCK_MOST || (block & (block - 1)))
        return ls_fail(LS_EARG, "block mask: blocks of %lld positions; it must be a power of two from %d to %d",
                       (long long)block, LS_MASK_BLOCK_LEAST, LS_MASK_BLOCK_MOST);
    if (mask->rows < 0 || mask->queries < 0 || mask->keys < 0 || mask->keys > INT32_MAX)
        return ls_fail(LS_EARG, "block mask: %lld rows of %lld queries and %lld keys; none may be negative or above 2^31",
                       (long long)mask->rows, (long long)mask->queries, (long long)mask->keys);
    return LS_OK;
}

ls_status ls_block_mask_build(ls_block_mask **mask, ls_arena *arena, int64_t rows, int64_t queries, int64_t keys,
                              int64_t block, ls_mask_sees sees, const void *context)
{
    *mask = NULL;
    building b = {
        .mask = {.rows = rows, .queries = queries, .keys = keys, .block = block}, .sees = sees, .context = context};
    ls_status status = check_sizes(&b.mask);
    if (status != LS_OK)
        return status;
    list_blocks(&b);
    ls_block_mask *made = ls_arena_array(arena, ls_block_mask, 1);
    b.first = ls_arena_array(arena, int64_t, rows * ls_mask_query_blocks(&b.mask) + 1);
    b.blocks = ls_arena_array(arena, ls_mask_block, b.count);
    b.bits = ls_arena_array(arena, uint64_t, b.mask.bitmaps * bitmap_words(&b.mask));
    status = ls_arena_status(arena);
    if (status != LS_OK)
        return status;
    b.first[0] = 0;
    list_blocks(&b);
    *made = b.mask;
    made->first = b.first;
    made->blocks = b.blocks;
    made->bits = b.bits;
    *mask = made;
    return LS_OK;
}

/* ---- asking ---- */

static ls_status check_query_block(const ls_block_mask *mask, int64_t at)
{
    int64_t begin = mask->first[at], end = mask->first[at + 1];
    if (begin > end || (at == 0 && begin != 0))
        return ls_fail(LS_EARG, "block mask: first[%lld] is %lld and first[%lld] %lld; they begin at 0 and never fall",
                       (long long)at, (long long)begin, (long long)at + 1, (long long)end);
    for (int64_t i = begin; i < end; i++) {
        const ls_mask_block *block = &mask->blocks[i];
        if (block->key_block < (i > begin ? mask->blocks[i - 1].key_block + 1 : 0) ||
            block->key_block >= key_blocks_of(mask))
            return ls_fail(LS_EARG,
                           "block mask: block %lld is key block %d; in each query block they ascend below %lld",
                           (long long)i, block->key_block, (long long)key_blocks_of(mask));
        if (block->kind < LS_MASK_CAUSAL || block->kind >= mask->bitmaps)
            return ls_fail(LS_EARG, "block mask: block %lld asks for bitmap %d, there are %lld", (long long)i,
                           block->kind, (long long)mask->bitmaps);
    }
    return LS_OK;
}

ls_status ls_block_mask_check(const ls_block_mask *mask, int64_t batch, int64_t queries, int64_t keys)
{
    ls_status status = check_sizes(mask);
    if (status != LS_OK)
        return status;
    if ((mask->rows != 1 && mask->rows != batch) || mask->queries != queries || mask->keys != keys)
        return ls_fail(LS_ESHAPE,
                       "block mask: for %lld rows of %lld queries and %lld keys; here are %lld of %lld, %lld",
                       (long long)mask->rows, (long long)mask->queries, (long long)mask->keys, (long long)batch,
                       (long long)queries, (long long)keys);
    for (int64_t at = 0; at < mask->rows * ls_mask_query_blocks(mask) && status == LS_OK; at++)
        status = check_query_block(mask, at);
    return status;
}

/* The lowest n bits. */
static uint64_t ones(int64_t n)
{
    return n <= 0 ? 0 : n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

uint64_t ls_block_mask_word(const ls_block_mask *mask, const ls_mask_block *block, int64_t query, int64_t word)
{
    int64_t key = block->key_block * mask->block + 64 * word;
    uint64_t inside = ones(least(mask->block - 64 * word, mask->keys - key));
    if (block->kind == LS_MASK_WHOLE)
        return inside;
    if (block->kind == LS_MASK_CAUSAL)
        return inside & ones(query + mask->keys - mask->queries - key + 1);
    return inside &
           mask->bits[block->kind * bitmap_words(mask) + query % mask->block * ls_mask_words(mask->block) + word];
}

bool ls_block_mask_at(const ls_block_mask *mask, int64_t row, int64_t query, int64_t key)
{
    int64_t at = (mask->rows == 1 ? 0 : row) * ls_mask_query_blocks(mask) + query / mask->block;
    for (int64_t low = mask->first[at], high = mask->first[at + 1]; low < high;) {
        int64_t middle = low + (high - low) / 2;
        const ls_mask_block *block = &mask->blocks[middle];
        if (block->key_block == key / mask->block)
            return ls_block_mask_word(mask, block, query, key % mask->block / 64) >> key % mask->block % 64 & 1;
        if (block->key_block < key / mask->block)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

int64_t ls_block_mask_pairs(const ls_block_mask *mask, int64_t batch)
{
    int64_t pairs = 0, query_blocks = ls_mask_query_blocks(mask), words = ls_mask_words(mask->block);
    for (int64_t at = 0; at < mask->rows * query_blocks; at++) {
        int64_t first = at % query_blocks * mask->block, last = least(first + mask->block, mask->queries);
        for (int64_t i = mask->first[at]; i < mask->first[at + 1]; i++)
            for (int64_t query = first; query < last; query++)
                for (int64_t word = 0; word < words; word++)
                    pairs += __builtin_popcountll(ls_block_mask_word(mask, &mask->blocks[i], query, word));
    }
    return mask->rows == 1 ? pairs * batch : pairs;
}
