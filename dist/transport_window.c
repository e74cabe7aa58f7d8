/* Transport between ranks of one node: a shared window in which each rank owns its slots and the others read them.
 *
 *     a rank's part   | posted | released | segments [slots][near ranks] | slots [slots][slot_bytes] |
 *
 * `posted` and `released` only grow, each written by the part's owner alone. Exchange s may be read once the owner's
 * posted > s, and slot s % slots be written again once everybody's released > s - slots. A store is followed by a ring
 * of the peers' bells. */
#include "dist/fabric.h"
#include "dist/transport.h"

#include <stdlib.h>

typedef struct {
    _Alignas(64) _Atomic int64_t posted;
    _Alignas(64) _Atomic int64_t released;
    _Alignas(64) ls_segment segments[];
} part_head;

typedef struct {
    ls_world *world;
    int slots;
    size_t slot_bytes, data; /* where the slots begin */
    ls_shared shared;
    part_head **part; /* [near ranks] */
} window;

static bool reaches(const ls_world *world, int rank)
{
    return ls_world_near(world, rank) >= 0;
}

static void close_window(void *self)
{
    window *w = self;
    if (w->shared.base)
        w->world->fabric->unshare(w->world, &w->shared);
    free(w);
}

static ls_status open_window(void **self, ls_world *world, const ls_channel_options *options, int tag, const int *peers,
                             int count, char **slots)
{
    (void)tag, (void)peers, (void)count;
    window *w = calloc(1, sizeof *w);
    if (!w)
        return ls_fail(LS_EMEM, "no memory for a window");
    size_t table = sizeof(part_head) + sizeof(ls_segment) * (size_t)(options->slots * world->near_ranks);
    *w = (window){.world = world, .slots = options->slots, .slot_bytes = options->slot_bytes};
    w->data = (table + 4095) / 4096 * 4096;
    ls_status status = world->fabric->share(world, w->data + options->slot_bytes * (size_t)options->slots, &w->shared);
    if (status != LS_OK) {
        close_window(w);
        return status;
    }
    w->part = (part_head **)w->shared.base;
    *slots = (char *)w->part[world->near_rank] + w->data;
    *self = w;
    return LS_OK;
}

static int reader(void *self, int64_t s)
{
    window *w = self;
    for (int k = 0; k < w->world->near_ranks; k++)
        if (atomic_load_explicit(&w->part[k]->released, memory_order_acquire) <= s - w->slots)
            return w->world->near[k];
    return -1;
}

static ls_status post(void *self, int64_t s, const char *slot, const ls_segment *to)
{
    (void)slot;
    window *w = self;
    ls_world *world = w->world;
    part_head *mine = w->part[world->near_rank];
    for (int k = 0; k < world->near_ranks; k++)
        mine->segments[(s % w->slots) * world->near_ranks + k] = to[world->near[k]];
    atomic_store_explicit(&mine->posted, s + 1, memory_order_release);
    ls_board_ring_all(world);
    return LS_OK;
}

static ls_status take(void *self, int64_t s, int from, const void **data, size_t *bytes)
{
    window *w = self;
    part_head *theirs = w->part[ls_world_near(w->world, from)];
    *data = NULL;
    if (atomic_load_explicit(&theirs->posted, memory_order_acquire) <= s)
        return LS_OK;
    ls_segment segment = theirs->segments[(s % w->slots) * w->world->near_ranks + w->world->near_rank];
    *data = (const char *)theirs + w->data + (size_t)(s % w->slots) * w->slot_bytes + segment.offset;
    *bytes = segment.bytes;
    return LS_OK;
}

static void release(void *self, int64_t s)
{
    window *w = self;
    atomic_store_explicit(&w->part[w->world->near_rank]->released, s + 1, memory_order_release);
    ls_board_ring_all(w->world);
}

const ls_transport ls_transport_window = {
    .name = "window",
    .reaches = reaches,
    .open = open_window,
    .close = close_window,
    .reader = reader,
    .post = post,
    .take = take,
    .release = release,
};
