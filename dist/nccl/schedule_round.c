/* Schedule `round` over NCCL: each bucket of each grain is copied into a slot and goes to the owners, who keep a counter of
 * slices. Buckets travel last to first on every rank. A slot is written again behind an event that says that its bucket has
 * gone: the stream waits, not the host. A bucket that is finished before its turn keeps its slot, and others take more. */
#include "dist/nccl/buckets.h"

#include <stdlib.h>

/* Memory of one bucket. */
typedef struct {
    float *at;
    cudaEvent_t gone;
    bool used; /* `gone` has been recorded */
} slot;

enum { FIRST_SLOTS = LS_REDUCE_SLOTS, SLOT_BLOCKS = 24 };

typedef struct {
    ls_nccl_buckets buckets;
    ls_nccl_plan plan;
    ls_block_nodes *nodes; /* [ranks], of the round */
    ls_counter counter;    /* at the beginning of the round */
    int places;
    float **own, *sums;    /* [places] slices, in `sums` */
    int64_t *missing;      /* [buckets], chunks of the grain */
    slot **place;          /* [buckets], of the grain; NULL: not begun */
    int64_t next, total;   /* exchanges of the step: round * buckets + (buckets - 1 - bucket) */
    /* Slots in blocks that double when all are in use: after the first step they suffice, unless the order changes. */
    slot *block[SLOT_BLOCKS];
    int64_t blocks, slots;
    slot **free; /* [slots], a ring: the one that has waited longest is used next */
    int64_t free_first, free_count;
} rounds;

static int most_in_round(const ls_reducer *r, int ranks)
{
    (void)r;
    return ls_counter_places(ranks, false);
}

static int64_t slots_of_block(int64_t number)
{
    return number == 0 ? FIRST_SLOTS : FIRST_SLOTS << (number - 1);
}

static size_t slot_bytes(const ls_reducer *r)
{
    return (size_t)r->bucket * sizeof(float);
}

static ls_status grow(ls_reducer *r)
{
    rounds *o = r->beside;
    const int64_t more = slots_of_block(o->blocks);
    if (o->blocks == SLOT_BLOCKS)
        return ls_fail(LS_EMEM, "more than %lld buckets of gradients in use at once; a larger batch.bucket needs fewer", (long long)o->slots);
    float *memory;
    ls_status status = r->device->allocate(r->device, (size_t)more * slot_bytes(r), (void **)&memory);
    if (status != LS_OK)
        return ls_fail_at(status, "%lld buckets of gradients", (long long)(o->slots + more));
    slot *slots = o->block[o->blocks] = calloc((size_t)more, sizeof *slots);
    slot **ring = calloc((size_t)(o->slots + more), sizeof *ring);
    if (!slots || !ring) {
        free(ring);
        r->device->release(r->device, memory, (size_t)more * slot_bytes(r));
        return ls_fail(LS_EMEM, "no memory for %lld buckets", (long long)(o->slots + more));
    }
    o->blocks++;
    for (int64_t k = 0; k < more; k++)
        slots[k].at = memory + k * r->bucket;
    for (int64_t k = 0; k < more && status == LS_OK; k++)
        status = ls_nccl_cuda(o->buckets.nccl, cudaEventCreateWithFlags(&slots[k].gone, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    for (int64_t k = 0; k < more; k++)
        ring[k] = &slots[k]; /* all others are in use */
    free(o->free);
    o->free = ring;
    o->free_first = 0;
    o->free_count = more;
    o->slots += more;
    return status;
}

static void close_slots(ls_reducer *r)
{
    rounds *o = r->beside;
    for (int64_t b = 0; b < o->blocks; b++) {
        const int64_t slots = slots_of_block(b);
        for (int64_t k = 0; k < slots; k++)
            if (o->block[b][k].gone)
                cudaEventDestroy(o->block[b][k].gone);
        r->device->release(r->device, o->block[b][0].at, (size_t)slots * slot_bytes(r));
        free(o->block[b]);
    }
    free(o->free);
}

static void close_round(ls_reducer *r)
{
    rounds *o = r->beside;
    if (!o)
        return;
    ls_nccl_end_streams(r);
    close_slots(r);
    if (o->sums)
        r->device->release(r->device, o->sums, (size_t)o->places * ls_nccl_slice_bytes(r));
    ls_nccl_buckets_close(&o->buckets);
    free(o->plan.groups);
    free(o->nodes);
    free(o->own);
    free(o->missing);
    free(o->place);
    free(o);
}

static ls_status open_round(ls_reducer *r)
{
    rounds *o = r->beside = calloc(1, sizeof *o);
    if (!o)
        return ls_fail(LS_EMEM, "no memory for a reducer");
    const size_t buckets = (size_t)ls_nccl_bucket_number(r);
    ls_status status = ls_nccl_buckets_open(&o->buckets, r, most_in_round);
    if (status != LS_OK)
        return status;
    o->places = ls_counter_places(r->options.max_grains, true);
    o->nodes = calloc((size_t)r->ranks, sizeof *o->nodes);
    o->plan = (ls_nccl_plan){o->nodes, calloc((size_t)o->buckets.groups, sizeof *o->plan.groups)};
    o->own = calloc((size_t)o->places, sizeof *o->own);
    o->missing = calloc(buckets, sizeof *o->missing);
    o->place = calloc(buckets, sizeof *o->place);
    if (!o->nodes || !o->plan.groups || !o->own || !o->missing || !o->place)
        return ls_fail(LS_EMEM, "no memory for a reducer over %zu buckets", buckets);
    status = r->device->allocate(r->device, (size_t)o->places * ls_nccl_slice_bytes(r), (void **)&o->sums);
    if (status != LS_OK)
        return ls_fail_at(status, "sums of %d slices", o->places);
    for (int p = 0; p < o->places; p++)
        o->own[p] = o->sums + p * r->slice[r->rank].count;
    return grow(r);
}

/* What ranks and groups bring in the round of exchange `next`: one leaf each, as far as there are grains. */
static void plan_round(const ls_reducer *r)
{
    rounds *o = r->beside;
    const int64_t first = o->next / ls_nccl_bucket_number(r) * r->ranks;
    for (int rank = 0; rank < r->ranks; rank++) {
        o->nodes[rank].count = first + rank < r->grains;
        o->nodes[rank].node[0] = (ls_tree_node){0, first + rank};
    }
    for (int g = 0; g < o->buckets.groups; g++) {
        const int64_t begin = first + o->buckets.group[g].first, end = begin + o->buckets.group[g].size;
        o->plan.groups[g].count = ls_tree_cover(begin, end < r->grains ? end : r->grains, r->grains, o->plan.groups[g].node);
    }
}

static ls_status begin_round(ls_reducer *r)
{
    rounds *o = r->beside;
    ls_counter_reset(&o->counter, r->grains);
    ls_nccl_count_missing(r, o->missing);
    o->next = 0;
    o->total = (r->grains + r->ranks - 1) / r->ranks * ls_nccl_bucket_number(r);
    plan_round(r);
    return LS_OK;
}

/* A slot that computation may write from here on. */
static ls_status take_slot(ls_reducer *r, slot **taken)
{
    rounds *o = r->beside;
    ls_status status = LS_OK;
    *taken = NULL;
    if (o->free_count == 0)
        status = grow(r);
    if (status != LS_OK)
        return status;
    slot *s = o->free[o->free_first];
    o->free_first = (o->free_first + 1) % o->slots;
    o->free_count--;
    if (s->used)
        status = ls_nccl_submit(o->buckets.nccl);
    if (status == LS_OK && s->used)
        status = ls_nccl_cuda(o->buckets.nccl, cudaStreamWaitEvent(o->buckets.nccl->compute, s->gone, 0), "cudaStreamWaitEvent for a bucket's memory");
    *taken = s;
    return status;
}

static ls_status give_slot(rounds *o, slot *s)
{
    s->used = true;
    o->free[(o->free_first + o->free_count++) % o->slots] = s;
    return ls_nccl_cuda(o->buckets.nccl, cudaEventRecord(s->gone, o->buckets.nccl->stream), "cudaEventRecord behind a bucket");
}

/* The exchange `next`. s: this rank's bucket, NULL: it has no grain in this round. */
static ls_status send_bucket(ls_reducer *r, slot *s)
{
    rounds *o = r->beside;
    const int64_t buckets = ls_nccl_bucket_number(r), bucket = buckets - 1 - o->next % buckets, begin = bucket * r->bucket, count = ls_nccl_bucket_count(r, bucket);
    const bool fast = o->buckets.nccl->mode == LS_NCCL_FAST;
    ls_status status = LS_OK;
    if (fast && !s) {
        status = take_slot(r, &s);
        if (status == LS_OK)
            r->device->fill(r->device, LS_F32, count, 0, s->at);
    }
    if (status == LS_OK)
        status = ls_nccl_after_compute(o->buckets.nccl);
    if (status == LS_OK)
        status = fast ? ls_nccl_fast(&o->buckets, begin, count, s->at, o->sums, o->next < buckets)
                      : ls_nccl_exact(&o->buckets, &o->plan, begin, count, s ? &s->at : NULL, &o->counter, o->own, NULL);
    if (status == LS_OK && s)
        status = give_slot(o, s);
    if (++o->next % buckets != 0)
        return status;
    for (int rank = 0; rank < r->ranks; rank++)
        if (o->nodes[rank].count)
            ls_counter_push(&o->counter, o->nodes[rank].node[0]);
    plan_round(r);
    return status;
}

/* Elements [begin, end) of this grain, which lie in one bucket, are there. */
static ls_status complete_part(ls_reducer *r, int64_t bucket, int64_t chunks)
{
    rounds *o = r->beside;
    const int64_t buckets = ls_nccl_bucket_number(r);
    ls_status status = LS_OK;
    o->missing[bucket] -= chunks;
    while (status == LS_OK && o->next < (r->ended + 1) * buckets) {
        const int64_t turn = buckets - 1 - o->next % buckets;
        if (o->missing[turn] > 0)
            break;
        slot *s = o->place[turn];
        o->place[turn] = NULL;
        status = send_bucket(r, s);
    }
    return status;
}

static ls_status find_place(ls_reducer *r, int64_t bucket)
{
    rounds *o = r->beside;
    return o->place[bucket] ? LS_OK : take_slot(r, &o->place[bucket]);
}

static ls_status add_to_round(ls_reducer *r, int64_t begin, int64_t count, float *gradient)
{
    rounds *o = r->beside;
    const int64_t end = begin + count;
    for (int64_t bucket = (end - 1) / r->bucket; bucket >= begin / r->bucket; bucket--) {
        const int64_t from = bucket * r->bucket > begin ? bucket * r->bucket : begin;
        const int64_t to = (bucket + 1) * r->bucket < end ? (bucket + 1) * r->bucket : end;
        const int64_t chunks = ls_nccl_chunks(to - from), padding = chunks * LS_CHUNK - (to - from);
        ls_status status = find_place(r, bucket);
        if (status != LS_OK)
            return status;
        float *place = o->place[bucket]->at + (from - bucket * r->bucket);
        r->device->carry(r->device, to - from, gradient + (from - begin), 0, NULL, place);
        if (padding)
            r->device->fill(r->device, LS_F32, padding, 0, place + (to - from));
        status = complete_part(r, bucket, chunks);
        if (status != LS_OK)
            return status;
    }
    return LS_OK;
}

static ls_status end_of_round_grain(ls_reducer *r)
{
    rounds *o = r->beside;
    ls_status status = LS_OK;
    for (int64_t chunk = r->chunks - 1; chunk >= 0 && status == LS_OK; chunk--) {
        const int64_t bucket = chunk * LS_CHUNK / r->bucket;
        if (r->covered[chunk])
            continue;
        status = find_place(r, bucket);
        if (status == LS_OK)
            r->device->fill(r->device, LS_F32, LS_CHUNK, 0, o->place[bucket]->at + (chunk * LS_CHUNK - bucket * r->bucket));
        if (status == LS_OK)
            status = complete_part(r, bucket, 1);
    }
    ls_nccl_count_missing(r, o->missing);
    return status;
}

static ls_status finish_round(ls_reducer *r, float **slice_sum)
{
    rounds *o = r->beside;
    ls_status status = LS_OK;
    while (status == LS_OK && o->next < o->total) /* rounds in which this rank has no grain */
        status = send_bucket(r, NULL);
    *slice_sum = o->sums;
    return ls_nccl_end_step(o->buckets.nccl, status);
}

const ls_schedule_table ls_nccl_round = {
    .open = open_round,
    .close = close_round,
    .begin = begin_round,
    .add = add_to_round,
    .grain_end = end_of_round_grain,
    .finish = finish_round,
};
