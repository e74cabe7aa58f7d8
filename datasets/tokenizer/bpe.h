/* Byte-pair encoding of one word (Sennrich et al. 2016): while any two neighbours have a merge, the pair of lowest
 * rank is joined, the leftmost first. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct {
    uint64_t pair; /* left id << 32 | right id */
    uint32_t rank; /* lower goes first */
    int32_t id;    /* what the two become */
} ls_merge;

/* Which pairs merge: a hash table with open addressing, at most half full. All zero: empty. */
typedef struct {
    ls_merge *slot;
    size_t slots, count;
} ls_merges;

void ls_merges_free(ls_merges *merges);
/* A pair that is there already is replaced, as Hugging Face does. LS_EMEM. */
ls_status ls_merges_put(ls_merges *merges, int32_t left, int32_t right, uint32_t rank, int32_t id);
/* NULL: the two do not merge. */
const ls_merge *ls_merges_find(const ls_merges *merges, int32_t left, int32_t right);
/* All merges by rank, then pair, in *sorted (free it). LS_EMEM. */
ls_status ls_merges_sorted(const ls_merges *merges, ls_merge **sorted);

/* Work space that grows to the longest word seen, so that a word costs no malloc. All zero: empty. */
typedef struct {
    int32_t *id; /* the word, in and out */
    int32_t *next, *previous, *made;
    uint32_t *rank;
    uint64_t *heap;
    size_t room;
} ls_merge_space;

void ls_merge_space_free(ls_merge_space *space);
/* Room for words of `count` symbols in space->id, whose contents are lost. LS_EMEM. */
ls_status ls_merge_space_grow(ls_merge_space *space, size_t count);
/* Merges space->id[0..count) in place and returns the new count. */
size_t ls_merge_word(const ls_merges *merges, ls_merge_space *space, size_t count);
/* The same by the heap whatever the length: for the test that both ways agree. */
size_t ls_merge_long_word(const ls_merges *merges, ls_merge_space *space, size_t count);
