/* See held.h. Sides are found by what they are, in a table that is never more than half full; their places are dealt from one
 * reserved range, whose pages are there when they are first written, and stay theirs for as long as the device lives, since the
 * same weights come again in the next step. */
#include "tensor/cpu/held.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    ENTRIES = 4096, /* a power of two */
};

typedef struct {
    ls_held_side side; /* data NULL: free */
    void *panels;
    uint64_t filled; /* number of the begin since which it is */
} entry;

struct ls_held {
    size_t most;
    bool on;
    uint64_t begins;
    char *range;
    size_t used;
    int64_t entries;
    entry entry[ENTRIES];
};

ls_held *ls_held_create(size_t most)
{
    ls_held *held = calloc(1, sizeof *held);
    if (held)
        held->most = most;
    return held;
}

void ls_held_free(ls_held *held)
{
    if (held && held->range)
        munmap(held->range, held->most);
    free(held);
}

static char *reserve(size_t most)
{
    void *range = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED)
        return NULL; /* then every product packs for itself */
    madvise(range, most, MADV_HUGEPAGE);
    return range;
}

size_t ls_held_begin(ls_held *held, size_t packed)
{
    held->begins++;
    if (packed <= held->most && !held->range)
        held->range = reserve(held->most);
    held->on = packed <= held->most && held->range;
    return held->on ? packed : 0;
}

void ls_held_end(ls_held *held)
{
    held->on = false;
}

static bool same(const ls_held_side *a, const ls_held_side *b)
{
    return a->data == b->data && a->columns == b->columns && a->k == b->k && a->ld == b->ld && a->type == b->type && a->along_k == b->along_k;
}

static entry *find(ls_held *held, const ls_held_side *side)
{
    const uint64_t words[] = {(uint64_t)(uintptr_t)side->data, (uint64_t)side->columns, (uint64_t)side->k};
    uint64_t at = ls_hash_bytes(words, sizeof words, side->along_k);
    while (held->entry[at % ENTRIES].side.data && !same(&held->entry[at % ENTRIES].side, side))
        at++;
    return &held->entry[at % ENTRIES];
}

void *ls_held_panels(ls_held *held, const ls_held_side *side, size_t bytes, bool *filled)
{
    *filled = false;
    if (!held->on)
        return NULL;
    entry *e = find(held, side);
    if (!e->side.data) {
        const size_t whole = (bytes + 63) / 64 * 64;
        if (whole > held->most - held->used || 2 * (held->entries + 1) > ENTRIES)
            return NULL;
        *e = (entry){.side = *side, .panels = held->range + held->used};
        held->used += whole;
        held->entries++;
    }
    *filled = e->filled == held->begins;
    e->filled = held->begins;
    return e->panels;
}
