/* Schedule `round`: grain = round * P + rank; after each bucket of each grain its slices go to their owners, who keep
 * the counter for their slice only. The exchange goes on in the communication thread while the next bucket is computed.
 *
 *     exchange e = round * buckets + (buckets - 1 - bucket)      last bucket first: backward's usual order
 *
 * Exchanges run in that order on all ranks, whatever order gradients come in. A bucket whose exchange is near is
 * written straight into its slot; one that comes too early waits in `early`, address space that costs memory only when
 * it is used. The compute thread waits only when all the slots hold finished buckets, that is for peers, never for
 * itself:
 *
 *              taken            posted             free              total
 *     exchanges  |  others' parts  |  may be written  |  too early      |
 */
#include "dist/reducer.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    ls_job job;
    ls_reducer *reducer;
    int64_t buckets;
    ls_arena *memory; /* counters, then early buckets */
    int places;
    float **own;  /* [places], slices */
    float *early; /* [elements] */
    /* written by the compute thread, read by the communication thread */
    _Atomic int64_t *done; /* [buckets], grains of this rank whose bucket is complete */
    /* written by both, in turn */
    _Atomic int64_t *early_grain; /* [buckets], 1 + the grain of this rank that waits in `early`, 0: none */
    /* the compute thread's, of the grain */
    float **place;    /* [buckets], where the bucket is being written, NULL: not begun */
    int64_t *missing; /* [buckets], chunks */
    int64_t complete; /* exchanges whose bucket this rank has completed without a gap */
    /* the communication thread's */
    ls_counter counter; /* at the beginning of the round being taken */
    int64_t first, total, posted, taken;
    int looking;
    _Atomic int64_t free; /* exchanges below may be written; read by the compute thread */
} rounds;

static void close_round(ls_reducer *r)
{
    rounds *o = r->self;
    if (!o)
        return;
    if (atomic_load(&o->job.running)) { /* an error elsewhere ended the step */
        ls_comm_cancel(r->world, &o->job);
        r->abandoned = true;
    }
    ls_arena_free(o->memory);
    free(o->own);
    free(o->done);
    free(o->early_grain);
    free(o->place);
    free(o->missing);
    free(o);
}

static ls_status open_round(ls_reducer *r)
{
    rounds *o = r->self = calloc(1, sizeof *o);
    if (!o)
        return ls_fail(LS_EMEM, "no memory for a reducer");
    o->reducer = r;
    o->buckets = (r->elements + r->bucket - 1) / r->bucket;
    o->places = ls_counter_places(r->options.max_grains, true);
    size_t buckets = (size_t)o->buckets, slice = (size_t)r->slice[r->rank].count * sizeof(float);
    size_t whole = (size_t)r->elements * sizeof(float);
    o->own = calloc((size_t)o->places, sizeof *o->own);
    o->done = calloc(buckets, sizeof *o->done);
    o->early_grain = calloc(buckets, sizeof *o->early_grain);
    o->place = calloc(buckets, sizeof *o->place);
    o->missing = calloc(buckets, sizeof *o->missing);
    if (!o->own || !o->done || !o->early_grain || !o->place || !o->missing)
        return ls_fail(LS_EMEM, "no memory for a reducer over %lld buckets", (long long)o->buckets);
    ls_status status =
        ls_arena_create(&o->memory, "gradient slices", (slice + 8192) * (size_t)o->places + whole + 8192);
    if (status != LS_OK)
        return status;
    for (int p = 0; p < o->places; p++)
        o->own[p] = ls_arena_take(o->memory, slice);
    o->early = ls_arena_take(o->memory, whole);
    return ls_arena_status(o->memory);
}

static int64_t bucket_count(const rounds *o, int64_t bucket)
{
    const ls_reducer *r = o->reducer;
    int64_t left = r->elements - bucket * r->bucket;
    return left < r->bucket ? left : r->bucket;
}

static int64_t bucket_at(const rounds *o, int64_t exchange)
{
    return o->buckets - 1 - exchange % o->buckets;
}

/* ---- compute thread ---- */

static ls_status wait_for_move(rounds *o, uint32_t seen)
{
    ls_world *world = o->reducer->world;
    if (!atomic_load(&o->job.running))
        return ls_comm_wait(world, &o->job);
    double begin = ls_now();
    ls_flight_waits(world->comm.flight, true);
    ls_comm_await(world, seen);
    ls_flight_waits(world->comm.flight, false);
    world->comm.waited += ls_now() - begin;
    return LS_OK;
}

static bool is_complete(const rounds *o, int64_t exchange)
{
    return atomic_load(&o->done[bucket_at(o, exchange)]) > exchange / o->buckets;
}

/* Where the bucket of this grain is to be written. */
static ls_status find_place(rounds *o, int64_t bucket)
{
    ls_reducer *r = o->reducer;
    int64_t exchange = r->ended * o->buckets + (o->buckets - 1 - bucket);
    while (!o->place[bucket]) {
        uint32_t seen = ls_comm_moves(r->world);
        int64_t unlocked = atomic_load(&o->free);
        while (o->complete < exchange && is_complete(o, o->complete))
            o->complete++;
        if (exchange < unlocked) {
            o->place[bucket] = ls_channel_slot(r->channel, o->first + exchange);
        } else if (o->complete < unlocked && atomic_load(&o->early_grain[bucket]) == 0) {
            o->place[bucket] = o->early + bucket * r->bucket;
            atomic_store(&o->early_grain[bucket], r->ended + 1);
        } else {
            ls_status status = wait_for_move(o, seen);
            if (status != LS_OK)
                return status;
        }
    }
    return LS_OK;
}

static void plan_grain(rounds *o)
{
    for (int64_t bucket = 0; bucket < o->buckets; bucket++) {
        o->place[bucket] = NULL;
        o->missing[bucket] = bucket_count(o, bucket) / LS_CHUNK;
    }
}

/* `chunks` more of the bucket are there. */
static void complete(rounds *o, int64_t bucket, int64_t chunks)
{
    o->missing[bucket] -= chunks;
    if (o->missing[bucket] > 0)
        return;
    atomic_store(&o->done[bucket], o->reducer->ended + 1);
    ls_comm_ring(o->reducer->world);
}

static ls_status add(ls_reducer *r, int64_t begin, int64_t count, float *gradient)
{
    rounds *o = r->self;
    int64_t end = begin + count;
    for (int64_t bucket = (end - 1) / r->bucket; bucket >= begin / r->bucket; bucket--) {
        int64_t from = bucket * r->bucket > begin ? bucket * r->bucket : begin;
        int64_t to = (bucket + 1) * r->bucket < end ? (bucket + 1) * r->bucket : end;
        int64_t padding = to % LS_CHUNK ? LS_CHUNK - to % LS_CHUNK : 0;
        ls_status status = find_place(o, bucket);
        if (status != LS_OK)
            return status;
        float *place = o->place[bucket] + (from - bucket * r->bucket);
        r->device->move(r->device, (size_t)(to - from) * sizeof(float), gradient + (from - begin), place);
        memset(place + (to - from), 0, (size_t)padding * sizeof(float));
        complete(o, bucket, (to - from + padding) / LS_CHUNK);
    }
    return LS_OK;
}

static ls_status grain_end(ls_reducer *r)
{
    rounds *o = r->self;
    for (int64_t bucket = o->buckets - 1; bucket >= 0; bucket--) {
        if (o->missing[bucket] == 0)
            continue;
        ls_status status = find_place(o, bucket);
        if (status != LS_OK)
            return status;
        int64_t begin = bucket * r->bucket, chunks = bucket_count(o, bucket) / LS_CHUNK;
        for (int64_t k = 0; k < chunks; k++)
            if (!r->covered[begin / LS_CHUNK + k])
                memset(o->place[bucket] + k * LS_CHUNK, 0, LS_CHUNK * sizeof(float));
        complete(o, bucket, o->missing[bucket]);
    }
    plan_grain(o);
    return LS_OK;
}

/* ---- communication thread ---- */

static bool has_grain(const rounds *o, int rank, int64_t exchange)
{
    return exchange / o->buckets * o->reducer->ranks + rank < o->reducer->grains;
}

/* The part of the exchange's bucket that `rank` owns. */
static ls_slice_range part_of(const rounds *o, int64_t exchange, int rank)
{
    const ls_reducer *r = o->reducer;
    int64_t bucket = bucket_at(o, exchange), begin = bucket * r->bucket, end = begin + bucket_count(o, bucket);
    ls_slice_range slice = r->slice[rank];
    int64_t from = slice.begin > begin ? slice.begin : begin;
    int64_t to = slice.begin + slice.count < end ? slice.begin + slice.count : end;
    return (ls_slice_range){from, to > from ? to - from : 0};
}

static ls_status post_bucket(rounds *o)
{
    ls_reducer *r = o->reducer;
    int64_t bucket = bucket_at(o, o->posted), begin = bucket * r->bucket;
    bool mine = has_grain(o, r->rank, o->posted);
    if (mine && atomic_load(&o->early_grain[bucket]) == o->posted / o->buckets + 1) {
        memcpy(ls_channel_slot(r->channel, o->first + o->posted), o->early + begin,
               (size_t)bucket_count(o, bucket) * sizeof(float));
        atomic_store(&o->early_grain[bucket], 0);
    }
    for (int rank = 0; rank < r->ranks; rank++) {
        ls_slice_range part = part_of(o, o->posted, rank);
        r->segments[rank] =
            (ls_segment){(size_t)(part.begin - begin) * sizeof(float), mine ? (size_t)part.count * sizeof(float) : 0};
    }
    o->posted++;
    return ls_channel_post(r->channel, o->first + o->posted - 1, r->segments);
}

static void push_round(const rounds *o, int64_t exchange, ls_counter *counter)
{
    for (int rank = 0; rank < o->reducer->ranks && has_grain(o, rank, exchange); rank++)
        ls_counter_push(counter, (ls_tree_node){0, exchange / o->buckets * o->reducer->ranks + rank});
}

/* The grains of one round, in order, onto the counter of this part of the slice. */
static void add_part(rounds *o, ls_slice_range part)
{
    ls_reducer *r = o->reducer;
    const float *sum[LS_COUNTER_DEPTH];
    float *own[LS_COUNTER_DEPTH];
    for (int64_t tile = 0; tile < part.count; tile += LS_CHUNK) {
        int64_t n = part.count - tile < LS_CHUNK ? part.count - tile : LS_CHUNK;
        for (int p = 0; p < o->places; p++)
            sum[p] = own[p] = o->own[p] + (part.begin - r->slice[r->rank].begin) + tile;
        ls_counter counter = o->counter;
        for (int rank = 0; rank < r->ranks && has_grain(o, rank, o->taken); rank++) {
            ls_tree_node leaf = {0, o->taken / o->buckets * r->ranks + rank};
            ls_counter_carry(&counter, leaf, n, r->source[rank] + tile, sum, own);
        }
        ls_counter_settle(&counter, n, sum, own);
    }
}

static ls_status take_bucket(rounds *o, bool *moved, bool *whole)
{
    ls_reducer *r = o->reducer;
    ls_slice_range part = part_of(o, o->taken, r->rank);
    *whole = false;
    for (; part.count > 0 && o->looking < r->ranks && has_grain(o, o->looking, o->taken); o->looking++) {
        size_t bytes;
        const void *data;
        if (o->looking == r->rank) {
            int64_t begin = bucket_at(o, o->taken) * r->bucket;
            r->source[r->rank] = (float *)ls_channel_slot(r->channel, o->first + o->taken) + (part.begin - begin);
            continue;
        }
        ls_status status = ls_channel_take(r->channel, o->first + o->taken, o->looking, &data, &bytes);
        if (status != LS_OK || !data)
            return status;
        r->source[o->looking] = data;
        *moved = true;
    }
    if (part.count > 0)
        add_part(o, part);
    ls_channel_release(r->channel, o->first + o->taken);
    if ((o->taken + 1) % o->buckets == 0)
        push_round(o, o->taken, &o->counter);
    o->looking = 0;
    o->taken++;
    *whole = *moved = true;
    return LS_OK;
}

static bool unlock(rounds *o)
{
    int64_t unlocked = atomic_load(&o->free), before = unlocked;
    while (unlocked < o->total && ls_channel_writable(o->reducer->channel, o->first + unlocked))
        unlocked++;
    if (unlocked > before)
        atomic_store(&o->free, unlocked);
    return unlocked > before;
}

static bool ready(const rounds *o)
{
    return o->posted < atomic_load(&o->free) &&
           (!has_grain(o, o->reducer->rank, o->posted) || is_complete(o, o->posted));
}

static ls_step step(ls_job *job, ls_world *world)
{
    rounds *o = (rounds *)job;
    (void)world;
    bool moved = unlock(o), whole = true;
    job->bucket = bucket_at(o, o->taken) + 1;
    while (job->status == LS_OK && ready(o)) {
        job->status = post_bucket(o);
        moved = true;
    }
    while (job->status == LS_OK && whole && o->taken < o->posted)
        job->status = take_bucket(o, &moved, &whole);
    if (job->status != LS_OK)
        return LS_STEP_FAILED;
    return o->taken == o->total ? LS_STEP_DONE : moved ? LS_STEP_MOVED : LS_STEP_IDLE;
}

static int awaits(const ls_job *job, const ls_world *world)
{
    const rounds *o = (const rounds *)job;
    (void)world;
    if (o->taken < o->posted)
        return o->looking;
    return o->posted < atomic_load(&o->free) ? -1 : ls_channel_reader(o->reducer->channel, o->first + o->posted);
}

/* ---- the step's ends ---- */

static ls_status begin(ls_reducer *r)
{
    rounds *o = r->self;
    for (int64_t bucket = 0; bucket < o->buckets; bucket++) {
        atomic_store(&o->done[bucket], 0);
        atomic_store(&o->early_grain[bucket], 0);
    }
    plan_grain(o);
    ls_counter_reset(&o->counter, r->grains);
    o->first = ls_channel_next(r->channel);
    o->total = (r->grains + r->ranks - 1) / r->ranks * o->buckets;
    o->posted = o->taken = o->looking = 0;
    o->complete = 0;
    atomic_store(&o->free, 0);
    o->job = (ls_job){.phase = "gradient exchange", .step = step, .awaits = awaits};
    ls_comm_start(r->world, &o->job);
    return LS_OK;
}

static ls_status finish(ls_reducer *r, float **slice_sum)
{
    rounds *o = r->self;
    *slice_sum = o->own[0];
    return ls_comm_wait(r->world, &o->job);
}

const ls_schedule_table ls_schedule_round = {
    .open = open_round,
    .close = close_round,
    .begin = begin,
    .add = add,
    .grain_end = grain_end,
    .finish = finish,
};
