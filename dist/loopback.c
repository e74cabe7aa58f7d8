/* The fabric of threads. Ranks meet at a hub, which the last one to leave frees. */
#include "dist/loopback.h"

#include "dist/fabric.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    int ranks;
    _Atomic int opened, users;
    pthread_barrier_t meeting;
    void **piece; /* [ranks], of the share in progress */
} hub;

static ls_status start(ls_world *world)
{
    hub *h = world->self;
    world->rank = world->near_rank = world->node_rank = atomic_fetch_add(&h->opened, 1);
    world->ranks = world->near_ranks = world->node_ranks = h->ranks;
    world->nodes = 1;
    if (world->options.node_per_rank) {
        world->nodes = h->ranks;
        world->node = world->rank;
        world->node_rank = 0;
        world->node_ranks = 1;
    }
    world->peers = calloc((size_t)h->ranks, sizeof *world->peers);
    world->near = calloc((size_t)h->ranks, sizeof *world->near);
    if (!world->peers || !world->near)
        return ls_fail(LS_EMEM, "no memory for a world of %d ranks", h->ranks);
    for (int rank = 0; rank < h->ranks; rank++) {
        world->near[rank] = rank;
        world->peers[rank] = (ls_peer){.host = "loopback",
                                       .near = rank,
                                       .node = world->options.node_per_rank ? rank : 0,
                                       .pid = getpid(),
                                       .pidfd = -1};
    }
    return LS_OK;
}

static ls_status share_memory(ls_world *world, size_t bytes, ls_shared *shared)
{
    hub *h = world->self;
    bytes = (bytes + 4095) / 4096 * 4096;
    shared->base = calloc((size_t)h->ranks, sizeof *shared->base);
    void *mine = aligned_alloc(4096, bytes);
    if (mine)
        memset(mine, 0, bytes);
    h->piece[world->rank] = mine;
    pthread_barrier_wait(&h->meeting);
    bool all = shared->base;
    for (int rank = 0; rank < h->ranks; rank++) {
        all = all && h->piece[rank];
        if (shared->base)
            shared->base[rank] = h->piece[rank];
    }
    pthread_barrier_wait(&h->meeting);
    return all ? LS_OK : ls_fail(LS_EMEM, "no memory for a window of %zu bytes", bytes);
}

static void unshare_memory(ls_world *world, ls_shared *shared)
{
    hub *h = world->self;
    pthread_barrier_wait(&h->meeting); /* nobody reads it any more */
    free(shared->base[world->rank]);
    free(shared->base);
    *shared = (ls_shared){0};
}

static void abort_job(ls_world *world, int exit_code)
{
    (void)world;
    fflush(NULL);
    _exit(exit_code);
}

static void stop(ls_world *world, bool orderly)
{
    hub *h = world->self;
    (void)orderly;
    if (atomic_fetch_sub(&h->users, 1) > 1)
        return;
    pthread_barrier_destroy(&h->meeting);
    free(h->piece);
    free(h);
}

static const ls_fabric fabric = {
    .start = start, .share = share_memory, .unshare = unshare_memory, .abort = abort_job, .stop = stop};

typedef struct {
    pthread_t thread;
    ls_world **world;
    hub *hub;
    const ls_world_options *options;
    ls_status status;
} opening;

static void *open_one(void *argument)
{
    opening *o = argument;
    o->status = ls_world_open_on(o->world, &fabric, o->hub, o->options);
    return NULL;
}

static int by_rank(const void *a, const void *b)
{
    const ls_world *const *x = a, *const *y = b;
    return (*x)->rank - (*y)->rank;
}

ls_status ls_loopback_open(ls_world **worlds, int ranks, const ls_world_options *options)
{
    hub *h = calloc(1, sizeof *h);
    opening *o = calloc((size_t)ranks, sizeof *o);
    if (h)
        h->piece = calloc((size_t)ranks, sizeof *h->piece);
    if (!h || !o || !h->piece) {
        free(h);
        free(o);
        return ls_fail(LS_EMEM, "no memory for a loopback world of %d ranks", ranks);
    }
    h->ranks = ranks;
    atomic_store(&h->users, ranks);
    pthread_barrier_init(&h->meeting, NULL, (unsigned)ranks);
    ls_status status = LS_OK;
    for (int k = 0; k < ranks; k++) { /* opening is collective, so all must open at once */
        o[k] = (opening){.world = &worlds[k], .hub = h, .options = options};
        if (pthread_create(&o[k].thread, NULL, open_one, &o[k]) != 0)
            abort(); /* the others wait for it at the hub, and it is a test's machine that has no thread left */
    }
    for (int k = 0; k < ranks; k++) {
        pthread_join(o[k].thread, NULL);
        if (o[k].status != LS_OK)
            status = ls_fail(o[k].status, "loopback world of %d ranks could not be opened", ranks);
    }
    free(o);
    if (status == LS_OK)
        qsort(worlds, (size_t)ranks, sizeof *worlds, by_rank);
    return status;
}
