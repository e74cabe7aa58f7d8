/* Schedule `block` over NCCL: this rank's sums are made as ever (dist/reduce_block.c); with its last grain their buckets go to
 * the owners, last to first, as backward finishes them, on every rank in the same order. The main thread only queues, and
 * waits once, in finish. */
#include "dist/nccl/buckets.h"

#include <stdlib.h>

typedef struct {
    ls_nccl_buckets buckets;
    ls_nccl_plan plan;
    ls_counter counter; /* empty */
    int64_t *missing;   /* [buckets], chunks of the last grain */
    int64_t next;       /* the bucket that travels next; -1: all have */
    float *sum;         /* [slice] */
} block;

static int most_in_block(const ls_reducer *r, int ranks)
{
    return ls_counter_places(ranks * ((r->options.max_grains + r->ranks - 1) / r->ranks), false);
}

static void close_block(ls_reducer *r)
{
    block *b = r->beside;
    if (b) {
        ls_nccl_end_streams(r);
        if (b->sum)
            r->device->release(r->device, b->sum, ls_nccl_slice_bytes(r));
        ls_nccl_buckets_close(&b->buckets);
        free(b->plan.groups);
        free(b->missing);
        free(b);
    }
    ls_schedule_block.close(r);
}

static ls_status open_block(ls_reducer *r)
{
    block *b = r->beside = calloc(1, sizeof *b);
    if (!b)
        return ls_fail(LS_EMEM, "no memory for a reducer");
    ls_status status = ls_nccl_buckets_open(&b->buckets, r, most_in_block);
    if (status == LS_OK)
        status = ls_schedule_block.open(r);
    if (status == LS_OK)
        status = r->device->allocate(r->device, ls_nccl_slice_bytes(r), (void **)&b->sum);
    if (status != LS_OK)
        return status;
    b->plan.nodes = ls_block_plan(r);
    b->plan.groups = calloc((size_t)b->buckets.groups, sizeof *b->plan.groups);
    b->missing = calloc((size_t)ls_nccl_bucket_number(r), sizeof *b->missing);
    return b->plan.groups && b->missing ? LS_OK : ls_fail(LS_EMEM, "no memory for a reducer over %lld elements", (long long)r->elements);
}

static ls_status begin_block(ls_reducer *r)
{
    block *b = r->beside;
    for (int g = 0; g < b->buckets.groups; g++) {
        const ls_nccl_group group = b->buckets.group[g];
        const int last = group.first + group.size - 1;
        const int64_t begin = ls_schedule_grain(LS_SCHEDULE_BLOCK, r->grains, group.first, r->ranks, 0);
        const int64_t end = ls_schedule_grain(LS_SCHEDULE_BLOCK, r->grains, last, r->ranks, 0) + ls_schedule_grains(LS_SCHEDULE_BLOCK, r->grains, last, r->ranks);
        b->plan.groups[g].count = ls_tree_cover(begin, end, r->grains, b->plan.groups[g].node);
    }
    ls_counter_reset(&b->counter, r->grains);
    ls_nccl_count_missing(r, b->missing);
    b->next = ls_nccl_bucket_number(r) - 1;
    return ls_schedule_block.begin(r);
}

/* In `fast` a rank brings one sum: of its nodes in their order, or zeros. */
static float *join_nodes(const block *b, int nodes, float *const *mine, int64_t count, float *otherwise)
{
    ls_device *device = b->buckets.nccl->beside;
    const float *level[LS_COUNTER_DEPTH];
    if (nodes == 0) {
        device->fill(device, LS_F32, count, 0, otherwise);
        return otherwise;
    }
    for (int k = 0; k < nodes - 1; k++)
        level[k] = mine[nodes - 2 - k];
    if (nodes > 1)
        device->carry(device, count, mine[nodes - 1], nodes - 1, level, mine[0]);
    return mine[0];
}

static ls_status send_sums(ls_reducer *r, int64_t bucket)
{
    block *b = r->beside;
    const int64_t begin = bucket * r->bucket, count = ls_nccl_bucket_count(r, bucket);
    float *const *partial = ls_block_partials(r), *mine[LS_COUNTER_DEPTH];
    const int nodes = b->plan.nodes[r->rank].count;
    for (int k = 0; k < nodes; k++)
        mine[k] = partial[k] + begin;
    const ls_status status = ls_nccl_after_compute(b->buckets.nccl);
    if (status != LS_OK)
        return status;
    if (b->buckets.nccl->mode == LS_NCCL_FAST)
        return ls_nccl_fast(&b->buckets, begin, count, join_nodes(b, nodes, mine, count, partial[0] + begin), b->sum, true);
    return ls_nccl_exact(&b->buckets, &b->plan, begin, count, mine, &b->counter, NULL, b->sum);
}

/* Elements [begin, begin + chunks) are final if this is the rank's last grain; then what is whole may go. */
static ls_status complete(ls_reducer *r, int64_t begin, int64_t chunks)
{
    block *b = r->beside;
    ls_status status = LS_OK;
    if (r->ended + 1 < r->mine)
        return LS_OK;
    for (int64_t chunk = begin / LS_CHUNK; chunk < begin / LS_CHUNK + chunks; chunk++)
        b->missing[chunk * LS_CHUNK / r->bucket]--;
    while (status == LS_OK && b->next >= 0 && b->missing[b->next] == 0)
        status = send_sums(r, b->next--);
    return status;
}

static ls_status add_to_block(ls_reducer *r, int64_t begin, int64_t count, float *gradient)
{
    const ls_status status = ls_schedule_block.add(r, begin, count, gradient);
    return status == LS_OK ? complete(r, begin, ls_nccl_chunks(count)) : status;
}

static float *place_in_block(const ls_reducer *r, int64_t begin)
{
    return ls_schedule_block.place(r, begin);
}

static ls_status end_of_block_grain(ls_reducer *r)
{
    ls_status status = ls_schedule_block.grain_end(r);
    for (int64_t chunk = 0; chunk < r->chunks && status == LS_OK; chunk++)
        if (!r->covered[chunk])
            status = complete(r, chunk * LS_CHUNK, 1);
    return status;
}

static ls_status finish_block(ls_reducer *r, float **slice_sum)
{
    block *b = r->beside;
    ls_status status = LS_OK;
    while (status == LS_OK && b->next >= 0) /* of a rank without grains */
        status = send_sums(r, b->next--);
    *slice_sum = b->sum;
    return ls_nccl_end_step(b->buckets.nccl, status);
}

const ls_schedule_table ls_nccl_block = {
    .open = open_block,
    .close = close_block,
    .begin = begin_block,
    .add = add_to_block,
    .place = place_in_block,
    .grain_end = end_of_block_grain,
    .finish = finish_block,
};
