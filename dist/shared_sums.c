/* See shared_sums.h. A rank's part of the shared memory:
 *
 *     | released | ready [buckets] | partial sums [places][elements] |
 *
 * Both are numbers of steps that only grow, written by the part's owner alone: ready[b] = s says that bucket b of its
 * partial sums is final for step s, released = s that it has read all it needs of the others' in step s. A rank ends its
 * step when everybody has released it, so the next step's first store meets no reader. */
#include "dist/shared_sums.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    _Alignas(64) _Atomic int64_t released;
    _Alignas(64) _Atomic int64_t ready[];
} part_head;

struct ls_shared_sums {
    ls_job job;
    ls_reducer *reducer;
    const ls_block_nodes *nodes;
    ls_shared memory;
    part_head **part; /* [ranks] */
    size_t sums_at;   /* where the partial sums begin in a part */
    int places;
    int64_t buckets;
    int64_t *missing; /* [buckets], chunks of this step that this rank has not finished; the compute thread's */
    int64_t step;     /* its number, from 1 */
    int64_t next;     /* bucket to be added, downwards; the communication thread's */
    bool released;
};

/* What `rank` owns of a bucket. */
static ls_slice_range part_of(const ls_shared_sums *shared, int64_t bucket, int rank)
{
    const ls_reducer *r = shared->reducer;
    const ls_slice_range slice = r->slice[rank];
    const int64_t begin = bucket * r->bucket, end = begin + r->bucket, slice_end = slice.begin + slice.count;
    const int64_t from = slice.begin > begin ? slice.begin : begin, to = slice_end < end ? slice_end : end;
    return (ls_slice_range){from, to > from ? to - from : 0};
}

static float *sums_of(const ls_shared_sums *shared, int rank)
{
    return (float *)(void *)((char *)shared->part[rank] + shared->sums_at);
}

/* ---- opening ---- */

bool ls_shared_sums_fit(const ls_reducer *r)
{
    return r->ranks > 1 && !r->options.transport && r->world->nodes == 1 && r->world->near_ranks == r->ranks;
}

static ls_status take_memory(ls_world *world, void *argument)
{
    ls_shared_sums *shared = argument;
    const size_t sums = sizeof(float) * (size_t)shared->reducer->elements * (size_t)shared->places;
    return world->fabric->share(world, shared->sums_at + sums, &shared->memory);
}

static ls_status give_memory(ls_world *world, void *argument)
{
    world->fabric->unshare(world, &((ls_shared_sums *)argument)->memory);
    return LS_OK;
}

ls_status ls_shared_sums_open(ls_shared_sums **out, ls_reducer *r, int places, float **sums)
{
    *out = NULL;
    ls_shared_sums *shared = calloc(1, sizeof *shared);
    if (!shared)
        return ls_fail(LS_EMEM, "no memory for a reducer");
    shared->reducer = r;
    shared->places = places;
    shared->buckets = (r->elements + r->bucket - 1) / r->bucket;
    shared->sums_at = (sizeof(part_head) + sizeof(int64_t) * (size_t)shared->buckets + 4095) / 4096 * 4096;
    shared->missing = calloc((size_t)shared->buckets, sizeof *shared->missing);
    ls_status status = shared->missing ? LS_OK : ls_fail(LS_EMEM, "no memory for a reducer");
    if (status == LS_OK)
        status = ls_barrier(r->world, "opening of the partial sums");
    if (status == LS_OK)
        status = ls_comm_call(r->world, "opening of the partial sums", take_memory, shared);
    if (status != LS_OK) {
        free(shared->missing);
        free(shared);
        return status;
    }
    shared->part = (part_head **)shared->memory.base; /* all ranks are near, in the world's order */
    *sums = sums_of(shared, r->rank);
    *out = shared;
    return LS_OK;
}

void ls_shared_sums_close(ls_shared_sums *shared)
{
    if (!shared)
        return;
    ls_reducer *r = shared->reducer;
    if (atomic_load(&shared->job.running)) { /* an error elsewhere ended the step */
        ls_comm_cancel(r->world, &shared->job);
        r->abandoned = true;
    }
    /* Peers that failed never come to free a window, and those in a step still read: it ends with the process. */
    if (!r->abandoned && ls_board_status(r->world) == LS_OK)
        ls_comm_call(r->world, "closing of the partial sums", give_memory, shared);
    free(shared->missing);
    free(shared);
}

/* ---- compute thread ---- */

void ls_shared_sums_complete(ls_shared_sums *shared, int64_t begin, int64_t count)
{
    ls_reducer *r = shared->reducer;
    for (int64_t at = begin; at < begin + count;) {
        const int64_t bucket = at / r->bucket, bucket_end = (bucket + 1) * r->bucket;
        const int64_t end = bucket_end < begin + count ? bucket_end : begin + count;
        shared->missing[bucket] -= (end - at) / LS_CHUNK;
        at = end;
        if (shared->missing[bucket] > 0)
            continue;
        atomic_store_explicit(&shared->part[r->rank]->ready[bucket], shared->step, memory_order_release);
        for (int rank = 0; rank < r->ranks; rank++)
            if (part_of(shared, bucket, rank).count > 0)
                ls_bell_ring(&r->world->board[rank]->bell);
    }
}

/* ---- communication thread ---- */

/* A rank whose part of the next bucket is not final yet, -1: none. This rank itself comes last: it is never "late". */
static int unready(const ls_shared_sums *shared)
{
    const ls_reducer *r = shared->reducer;
    for (int k = 1; k <= r->ranks; k++) {
        const int rank = (r->rank + k) % r->ranks;
        if (shared->nodes[rank].count > 0 &&
            atomic_load_explicit(&shared->part[rank]->ready[shared->next], memory_order_acquire) < shared->step)
            return rank;
    }
    return -1;
}

static int unreleased(const ls_shared_sums *shared)
{
    for (int rank = 0; rank < shared->reducer->ranks; rank++)
        if (atomic_load_explicit(&shared->part[rank]->released, memory_order_acquire) < shared->step)
            return rank;
    return -1;
}

static void add_bucket(ls_shared_sums *shared, ls_slice_range part)
{
    ls_reducer *r = shared->reducer;
    for (int rank = 0; rank < r->ranks; rank++)
        r->source[rank] = sums_of(shared, rank) + part.begin;
    ls_block_add(r, shared->nodes, r->source, r->elements, part.begin, part.count);
}

static ls_step step(ls_job *job, ls_world *world)
{
    ls_shared_sums *shared = (ls_shared_sums *)job;
    bool moved = false;
    job->bucket = shared->next + 1;
    for (; shared->next >= 0; shared->next--) {
        const ls_slice_range part = part_of(shared, shared->next, shared->reducer->rank);
        if (part.count == 0)
            continue;
        if (moved || unready(shared) >= 0)
            return moved ? LS_STEP_MOVED : LS_STEP_IDLE; /* one bucket a turn: the thread has other duties */
        add_bucket(shared, part);
        moved = true;
    }
    if (!shared->released) {
        shared->released = true;
        atomic_store_explicit(&shared->part[shared->reducer->rank]->released, shared->step, memory_order_release);
        ls_board_ring_all(world);
    }
    return unreleased(shared) < 0 ? LS_STEP_DONE : moved ? LS_STEP_MOVED : LS_STEP_IDLE;
}

static int awaits(const ls_job *job, const ls_world *world)
{
    const ls_shared_sums *shared = (const ls_shared_sums *)job;
    const int rank = shared->next >= 0 ? unready(shared) : unreleased(shared);
    return rank == world->rank ? -1 : rank;
}

/* ---- the step's ends ---- */

void ls_shared_sums_begin(ls_shared_sums *shared, const ls_block_nodes *nodes)
{
    const ls_reducer *r = shared->reducer;
    for (int64_t bucket = 0; bucket < shared->buckets; bucket++) {
        const int64_t left = r->chunks - bucket * (r->bucket / LS_CHUNK);
        shared->missing[bucket] = left < r->bucket / LS_CHUNK ? left : r->bucket / LS_CHUNK;
    }
    shared->nodes = nodes;
    shared->step++;
    shared->next = shared->buckets - 1;
    shared->released = false;
    shared->job = (ls_job){.phase = "gradient exchange", .step = step, .awaits = awaits};
    ls_comm_start(r->world, &shared->job);
}

ls_status ls_shared_sums_finish(ls_shared_sums *shared)
{
    return ls_comm_wait(shared->reducer->world, &shared->job);
}
