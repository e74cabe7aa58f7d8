/* The merge table and the merge loop. See bpe.h.
 *
 * Words are short (English: 5 bytes), so the usual loop looks for the lowest rank along an array: n^2 steps of one
 * comparison, all in L1. A word may also be a megabyte without a blank; from SHORT symbols on a heap of (rank, place)
 * over a linked list keeps it n log n. Both join the same pairs in the same order. */
#include "datasets/tokenizer/bpe.h"

#include <stdlib.h>
#include <string.h>

enum { SHORT = 64 };
static const uint32_t NO_RANK = UINT32_MAX;
static const uint64_t NO_PAIR = UINT64_MAX;

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* The slot that holds the pair, or the empty one where it belongs. */
static size_t slot_of(const ls_merges *merges, uint64_t pair)
{
    uint64_t hash = pair * UINT64_C(0x9e3779b97f4a7c15);
    size_t mask = merges->slots - 1, at = (size_t)(hash ^ hash >> 32) & mask;
    while (merges->slot[at].pair != pair && merges->slot[at].pair != NO_PAIR)
        at = (at + 1) & mask;
    return at;
}

void ls_merges_free(ls_merges *merges)
{
    free(merges->slot);
    memset(merges, 0, sizeof *merges);
}

static bool grow_table(ls_merges *merges)
{
    if (merges->slots >= 2 * (merges->count + 1))
        return true;
    ls_merges grown = {.slots = merges->slots ? 2 * merges->slots : 1024, .count = merges->count};
    grown.slot = malloc(grown.slots * sizeof *grown.slot);
    if (!grown.slot)
        return false;
    for (size_t i = 0; i < grown.slots; i++)
        grown.slot[i].pair = NO_PAIR;
    for (size_t i = 0; i < merges->slots; i++)
        if (merges->slot[i].pair != NO_PAIR)
            grown.slot[slot_of(&grown, merges->slot[i].pair)] = merges->slot[i];
    free(merges->slot);
    *merges = grown;
    return true;
}

ls_status ls_merges_put(ls_merges *merges, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    if (!grow_table(merges))
        return ls_fail(LS_EMEM, "no memory for %zu merges", merges->count + 1);
    ls_merge *slot = &merges->slot[slot_of(merges, pair_of(left, right))];
    merges->count += slot->pair == NO_PAIR;
    *slot = (ls_merge){pair_of(left, right), rank, id};
    return LS_OK;
}

const ls_merge *ls_merges_find(const ls_merges *merges, int32_t left, int32_t right)
{
    if (!merges->slots)
        return NULL;
    const ls_merge *slot = &merges->slot[slot_of(merges, pair_of(left, right))];
    return slot->pair == NO_PAIR ? NULL : slot;
}

static int by_rank(const void *a, const void *b)
{
    const ls_merge *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return (x->pair > y->pair) - (x->pair < y->pair);
}

ls_status ls_merges_sorted(const ls_merges *merges, ls_merge **sorted)
{
    size_t count = 0;
    *sorted = malloc((merges->count + 1) * sizeof **sorted);
    if (!*sorted)
        return ls_fail(LS_EMEM, "no memory to sort %zu merges", merges->count);
    for (size_t i = 0; i < merges->slots; i++)
        if (merges->slot[i].pair != NO_PAIR)
            (*sorted)[count++] = merges->slot[i];
    qsort(*sorted, count, sizeof **sorted, by_rank);
    return LS_OK;
}

void ls_merge_space_free(ls_merge_space *space)
{
    free(space->id);
    free(space->next);
    free(space->previous);
    free(space->made);
    free(space->rank);
    free(space->heap);
    memset(space, 0, sizeof *space);
}

ls_status ls_merge_space_grow(ls_merge_space *space, size_t count)
{
    if (count <= space->room)
        return LS_OK;
    size_t room = 256;
    while (room < count)
        room *= 2;
    ls_merge_space_free(space);
    space->id = malloc(room * sizeof *space->id);
    space->next = malloc(room * sizeof *space->next);
    space->previous = malloc(room * sizeof *space->previous);
    space->made = malloc(room * sizeof *space->made);
    space->rank = malloc(room * sizeof *space->rank);
    space->heap = malloc(3 * room * sizeof *space->heap); /* one entry a pair, two more a merge */
    if (!space->id || !space->next || !space->previous || !space->made || !space->rank || !space->heap) {
        ls_merge_space_free(space);
        return ls_fail(LS_EMEM, "no memory for a word of %zu bytes", count);
    }
    space->room = room;
    return LS_OK;
}

/* What (left, right) become, and when. */
static void look_up(const ls_merges *merges, int32_t left, int32_t right, uint32_t *rank, int32_t *made)
{
    const ls_merge *merge = ls_merges_find(merges, left, right);
    *rank = merge ? merge->rank : NO_RANK;
    *made = merge ? merge->id : -1;
}

static size_t merge_short_word(const ls_merges *merges, int32_t *id, size_t count)
{
    uint32_t rank[SHORT]; /* of the pair that starts here */
    int32_t made[SHORT];
    for (size_t i = 0; i + 1 < count; i++)
        look_up(merges, id[i], id[i + 1], &rank[i], &made[i]);
    rank[count - 1] = NO_RANK;
    for (;;) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++)
            if (rank[i] < rank[best])
                best = i;
        if (rank[best] == NO_RANK)
            return count;
        id[best] = made[best];
        count--;
        for (size_t i = best + 1; i < count; i++) {
            id[i] = id[i + 1];
            rank[i] = rank[i + 1];
            made[i] = made[i + 1];
        }
        rank[best] = NO_RANK;
        if (best + 1 < count)
            look_up(merges, id[best], id[best + 1], &rank[best], &made[best]);
        if (best)
            look_up(merges, id[best - 1], id[best], &rank[best - 1], &made[best - 1]);
    }
}

/* The heap holds rank << 32 | place, lowest on top: of equal ranks the leftmost. */
static void heap_push(uint64_t *heap, size_t *used, uint64_t entry)
{
    size_t at = (*used)++;
    for (; at && heap[(at - 1) / 2] > entry; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = entry;
}

static uint64_t heap_pop(uint64_t *heap, size_t *used)
{
    uint64_t top = heap[0], last = heap[--*used];
    size_t at = 0, child;
    while ((child = 2 * at + 1) < *used) {
        child += child + 1 < *used && heap[child + 1] < heap[child];
        if (heap[child] >= last)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}

/* Ranks the pair that starts at `at` and queues it if it merges. */
static void consider(const ls_merges *merges, ls_merge_space *space, size_t *used, int32_t at)
{
    int32_t next = space->next[at];
    space->rank[at] = NO_RANK;
    if (next < 0)
        return;
    look_up(merges, space->id[at], space->id[next], &space->rank[at], &space->made[at]);
    if (space->rank[at] != NO_RANK)
        heap_push(space->heap, used, (uint64_t)space->rank[at] << 32 | (uint32_t)at);
}

size_t ls_merge_long_word(const ls_merges *merges, ls_merge_space *space, size_t count)
{
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        space->previous[i] = (int32_t)i - 1;
        space->next[i] = i + 1 < count ? (int32_t)i + 1 : -1;
    }
    for (size_t i = 0; i < count; i++)
        consider(merges, space, &used, (int32_t)i);
    while (used) {
        uint64_t top = heap_pop(space->heap, &used);
        int32_t at = (int32_t)(uint32_t)top;
        if (space->rank[at] != top >> 32)
            continue; /* one of the two has been merged since */
        int32_t gone = space->next[at], after = space->next[gone];
        space->id[at] = space->made[at];
        space->rank[gone] = NO_RANK;
        space->next[at] = after;
        if (after >= 0)
            space->previous[after] = at;
        consider(merges, space, &used, at);
        if (space->previous[at] >= 0)
            consider(merges, space, &used, space->previous[at]);
    }
    size_t kept = 0;
    for (int32_t at = 0; at >= 0; at = space->next[at])
        space->id[kept++] = space->id[at];
    return kept;
}

size_t ls_merge_word(const ls_merges *merges, ls_merge_space *space, size_t count)
{
    if (count < 2)
        return count;
    return count <= SHORT ? merge_short_word(merges, space->id, count) : ls_merge_long_word(merges, space, count);
}
