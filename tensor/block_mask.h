/* Block mask: which query sees which key in attention. Any boolean mask, as a sparse table of blocks:
 *
 *              key blocks ->
 *   query      | W | . | . | . |     W  whole: every query of the block sees every key of it
 *   blocks     | B | C | . | . |     C  causal inside: query i sees key j where j <= i + Tk - Tq
 *     |        | W | . | C | . |     B  a bitmap says
 *     v        | . | . | . | . |     .  not listed: nobody sees anything, and it costs neither time nor memory
 *
 * (The BlockMask of FlexAttention, Dong et al. 2024, with bitmaps in place of a function that is asked again.) A query
 * that sees no key gets 0, and so do the gradients that would come from it. Two masks under which the same queries see
 * the same keys give the same results bit for bit, whatever their kinds of blocks; the block size shows in the bits of
 * dk and dv alone, and only below 64 (attention_tiles.h). */
#pragma once
#include "base/arena.h"
#include "base/error.h"
#include "base/type.h"

enum { LS_MASK_BLOCK_LEAST = 16, LS_MASK_BLOCK_MOST = 256 };
enum { LS_MASK_WHOLE = -1, LS_MASK_CAUSAL = -2 };

typedef struct {
    int32_t key_block; /* covers keys [key_block * block, (key_block + 1) * block); what is past the last is ignored */
    int32_t kind;      /* LS_MASK_WHOLE, LS_MASK_CAUSAL, or the number of a bitmap */
} ls_mask_block;

/* Made by ls_block_mask_build, or by hand. Attention reads it in place: it must live until the tape's reset. */
typedef struct {
    int64_t rows;          /* of the batch; 1: all rows share it */
    int64_t queries, keys; /* Tq, Tk */
    int64_t block;         /* positions along a side: a power of two, 16 to 256 */
    const int64_t *first;  /* [rows * query blocks + 1]: blocks of query block b are first[b] to first[b + 1] - 1 */
    const ls_mask_block *blocks; /* of one query block: ascending in key_block */
    int64_t bitmaps;
    const uint64_t *bits; /* [bitmaps, block, words]: bit j % 64 of word j / 64: query sees key j of the block */
} ls_block_mask;

static inline int64_t ls_mask_words(int64_t block)
{
    return (block + 63) / 64;
}

static inline int64_t ls_mask_query_blocks(const ls_block_mask *mask)
{
    return (mask->queries + mask->block - 1) / mask->block;
}

/* May be asked twice for each pair, always in the same order; must answer the same both times. */
typedef bool (*ls_mask_sees)(const void *context, int64_t row, int64_t query, int64_t key);

/* Builds a mask from the function, with the cheapest kind for each block; everything lives on `arena`. Asks for
 * every pair, so it is no faster than a dense mask; a mask with a known structure is cheaper made by hand.
 * LS_EARG: a block size that is not allowed, a negative number of rows, queries or keys. LS_EMEM. */
ls_status ls_block_mask_build(ls_block_mask **mask, ls_arena *arena, int64_t rows, int64_t queries, int64_t keys,
                              int64_t block, ls_mask_sees sees, const void *context);

/* Is it well formed, and a mask for [batch] rows of so many queries and keys? LS_ESHAPE, LS_EARG. */
ls_status ls_block_mask_check(const ls_block_mask *mask, int64_t batch, int64_t queries, int64_t keys);

/* Pairs (query, key) that are seen, in all `batch` rows together. */
int64_t ls_block_mask_pairs(const ls_block_mask *mask, int64_t batch);

/* Bit j: does `query` see key 64 word + j of the block? 0 past the end of the block, and of the keys. */
uint64_t ls_block_mask_word(const ls_block_mask *mask, const ls_mask_block *block, int64_t query, int64_t word);

/* Does one query see one key? For plain loops: it searches the table. */
bool ls_block_mask_at(const ls_block_mask *mask, int64_t row, int64_t query, int64_t key);
