/* Schedule `block`: a rank computes a contiguous block of grains and keeps their sums; one exchange a step.
 *
 * The block's grains run through a binary counter whose places are whole gradients. What is left at the end are the
 * maximal nodes of the tree inside the block, which the tree alone determines, so everyone knows what everyone has:
 *
 *     G = 7, P = 2     rank 0: 0 1 2 3 -> (2,0)       rank 1: 4 5 6 -> (2,1)          root = (2,0) + (2,1)
 *     G = 8, P = 3     rank 0: 0 1 2 -> (1,0) (0,2)   rank 1: 3 4 5 -> (0,3) (1,2)    rank 2: 6 7 -> (1,3)
 *
 * Ranks that share memory keep these sums in it and read each other's (dist/shared_sums.h). Otherwise each slice goes to
 * its owner in pieces: exchange e carries piece e of every slice, of every node of every rank,
 * and the owner sends the nodes, in grain order, through a counter again. (Between nodes, where every rank has one node
 * of the tree, dist/halving.c does better.) */
#include "dist/reducer.h"
#include "dist/shared_sums.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    ls_job job;
    ls_reducer *reducer;
    int places;
    ls_shared_sums *shared; /* NULL: partial sums lie in this rank's own memory */
    float *sums;            /* [places][elements] */
    float **partial;        /* [places], whole gradients in `sums` */
    ls_counter counter;
    /* of the grain being added: to which sums, and where the result goes */
    int levels;
    const float *level[LS_COUNTER_DEPTH];
    float *dst;
    /* of the exchange */
    ls_block_nodes *nodes; /* [ranks] */
    float *scratch;        /* [places of the whole step][LS_CHUNK] */
    int64_t width, first, exchanges, posted, taken;
    int looking;
} block;

static const float zeros[LS_CHUNK];

static size_t sums_bytes(const block *b)
{
    return (size_t)b->reducer->elements * (size_t)b->places * sizeof(float);
}

static void close_block(ls_reducer *r)
{
    block *b = r->self;
    if (!b)
        return;
    if (b->sums && !b->shared)
        r->device->release(r->device, b->sums, sums_bytes(b));
    ls_shared_sums_close(b->shared);
    free(b->partial);
    free(b->nodes);
    free(b->scratch);
    free(b);
}

/* In shared memory where all ranks have it and it has room: then nothing is copied between them. */
static ls_status open_sums(block *b)
{
    ls_reducer *r = b->reducer;
    ls_status status = LS_ESPACE;
    if (!r->exchange && ls_shared_sums_fit(r))
        status = ls_shared_sums_open(&b->shared, r, b->places, &b->sums);
    if (status == LS_ESPACE)
        status = r->device->allocate(r->device, sums_bytes(b), (void **)&b->sums);
    r->shares_sums = b->shared != NULL;
    return status == LS_OK ? LS_OK : ls_fail_at(status, "%d partial sums; schedule round needs less memory", b->places);
}

static ls_status open_block(ls_reducer *r)
{
    block *b = r->self = calloc(1, sizeof *b);
    if (!b)
        return ls_fail(LS_EMEM, "no memory for a reducer");
    b->reducer = r;
    b->places = ls_counter_places((r->options.max_grains + r->ranks - 1) / r->ranks, r->ranks == 1);
    int scratch = ls_counter_places(r->options.max_grains, true);
    b->partial = calloc((size_t)b->places, sizeof *b->partial);
    b->nodes = calloc((size_t)r->ranks, sizeof *b->nodes);
    b->scratch = aligned_alloc(64, (size_t)scratch * LS_CHUNK * sizeof(float));
    if (!b->partial || !b->nodes || !b->scratch)
        return ls_fail(LS_EMEM, "no memory for a reducer over %d ranks", r->ranks);
    ls_status status = open_sums(b);
    for (int p = 0; p < b->places && status == LS_OK; p++)
        b->partial[p] = b->sums + p * r->elements;
    return status;
}

/* Which additions the next grain brings, the same for every range of it. */
static void plan_grain(ls_reducer *r)
{
    block *b = r->self;
    if (r->ended >= r->mine)
        return;
    int64_t grain = ls_schedule_grain(LS_SCHEDULE_BLOCK, r->grains, r->rank, r->ranks, r->ended);
    b->levels = ls_counter_push(&b->counter, (ls_tree_node){0, grain});
    int place = b->counter.depth - 1;
    for (int l = 0; l < b->levels; l++)
        b->level[l] = b->partial[place + b->levels - 1 - l];
    b->dst = b->partial[place];
}

/* What each rank will end with: the tree alone says it. */
static void list_nodes(block *b)
{
    const ls_reducer *r = b->reducer;
    for (int rank = 0; rank < r->ranks; rank++) {
        int64_t grains = ls_schedule_grains(LS_SCHEDULE_BLOCK, r->grains, rank, r->ranks);
        int64_t begin = ls_schedule_grain(LS_SCHEDULE_BLOCK, r->grains, rank, r->ranks, 0);
        b->nodes[rank].count = ls_tree_cover(begin, begin + grains, r->grains, b->nodes[rank].node);
    }
}

static ls_status begin(ls_reducer *r)
{
    block *b = r->self;
    ls_counter_reset(&b->counter, r->grains);
    plan_grain(r);
    list_nodes(b);
    if (b->shared)
        ls_shared_sums_begin(b->shared, b->nodes);
    return LS_OK;
}

/* Elements [begin, begin + count) are final if this is the last grain. */
static void complete(ls_reducer *r, int64_t begin, int64_t count)
{
    const block *b = r->self;
    if (b->shared && r->ended + 1 == r->mine)
        ls_shared_sums_complete(b->shared, begin, count);
}

static void carry(ls_reducer *r, int64_t begin, int64_t count, const float *x)
{
    block *b = r->self;
    const float *level[LS_COUNTER_DEPTH];
    for (int l = 0; l < b->levels; l++)
        level[l] = b->level[l] + begin;
    r->device->carry(r->device, count, x, b->levels, level, b->dst + begin);
}

static float *place(const ls_reducer *r, int64_t begin)
{
    const block *b = r->self;
    return b->levels == 0 ? b->dst + begin : NULL;
}

static ls_status add(ls_reducer *r, int64_t begin, int64_t count, float *gradient)
{
    if (gradient != place(r, begin))
        carry(r, begin, count, gradient);
    if (count % LS_CHUNK != 0)
        carry(r, begin + count, LS_CHUNK - count % LS_CHUNK, zeros);
    complete(r, begin, (count + LS_CHUNK - 1) / LS_CHUNK * LS_CHUNK);
    return LS_OK;
}

static ls_status grain_end(ls_reducer *r)
{
    for (int64_t chunk = 0; chunk < r->chunks; chunk++)
        if (!r->covered[chunk]) {
            carry(r, chunk * LS_CHUNK, LS_CHUNK, zeros);
            complete(r, chunk * LS_CHUNK, LS_CHUNK);
        }
    r->ended++;
    plan_grain(r);
    r->ended--;
    return LS_OK;
}

const ls_block_nodes *ls_block_plan(const ls_reducer *r)
{
    return ((const block *)r->self)->nodes;
}

float *const *ls_block_partials(const ls_reducer *r)
{
    return ((const block *)r->self)->partial;
}

static ls_status post_piece(block *b)
{
    ls_reducer *r = b->reducer;
    int64_t s = b->first + b->posted;
    float *slot = ls_channel_slot(r->channel, s);
    size_t used = 0;
    for (int rank = 0; rank < r->ranks; rank++) {
        int64_t n = rank == r->rank ? 0 : ls_piece(r, rank, b->posted, b->width);
        r->segments[rank] = (ls_segment){used * sizeof(float), (size_t)(n * b->nodes[r->rank].count) * sizeof(float)};
        if (n == 0)
            continue;
        int64_t at = r->slice[rank].begin + b->posted * b->width;
        for (int k = 0; k < b->nodes[r->rank].count; k++, used += (size_t)n)
            memcpy(slot + used, b->partial[k] + at, (size_t)n * sizeof(float));
    }
    b->posted++;
    return ls_channel_post(r->channel, s, r->segments);
}

/* In tiles that stay in the cache, however many nodes there are. */
void ls_block_add(ls_reducer *r, const ls_block_nodes *nodes, const float *const *source, int64_t stride, int64_t at,
                  int64_t n)
{
    const block *b = r->self;
    const float *sum[LS_COUNTER_DEPTH];
    float *own[LS_COUNTER_DEPTH];
    int64_t before = 0; /* nodes pushed before this rank's */
    for (int rank = 0; rank < r->rank; rank++)
        before += nodes[rank].count;
    for (int p = 0; p < ls_counter_places(r->options.max_grains, true); p++)
        own[p] = b->scratch + (size_t)p * LS_CHUNK;
    for (int64_t tile = 0; tile < n; tile += LS_CHUNK) {
        int64_t count = n - tile < LS_CHUNK ? n - tile : LS_CHUNK;
        float *to = b->partial[0] + at + tile; /* the sum's place, where nobody else looks */
        if (before <= 1)
            own[0] = to; /* place 0 is first written when this rank's own sum has been read */
        ls_counter counter;
        ls_counter_reset(&counter, r->grains);
        for (int rank = 0; rank < r->ranks; rank++)
            for (int k = 0; k < nodes[rank].count; k++) {
                const float *x = rank == r->rank ? b->partial[k] + at + tile : source[rank] + k * stride + tile;
                ls_counter_carry(&counter, nodes[rank].node[k], count, x, sum, own);
            }
        if (sum[0] != to)
            memcpy(to, sum[0], (size_t)count * sizeof(float));
    }
}

static ls_status take_piece(block *b, bool *moved, bool *whole)
{
    ls_reducer *r = b->reducer;
    int64_t s = b->first + b->taken, n = ls_piece(r, r->rank, b->taken, b->width);
    *whole = false;
    for (; n > 0 && b->looking < r->ranks; b->looking++) {
        if (b->looking == r->rank || b->nodes[b->looking].count == 0)
            continue;
        size_t bytes;
        const void *data;
        ls_status status = ls_channel_take(r->channel, s, b->looking, &data, &bytes);
        if (status != LS_OK || !data)
            return status;
        r->source[b->looking] = data;
        *moved = true;
    }
    if (n > 0)
        ls_block_add(r, b->nodes, r->source, n, r->slice[r->rank].begin + b->taken * b->width, n);
    ls_channel_release(r->channel, s);
    b->looking = 0;
    b->taken++;
    *whole = *moved = true;
    return LS_OK;
}

static ls_step step(ls_job *job, ls_world *world)
{
    block *b = (block *)job;
    bool moved = false, whole = true;
    (void)world;
    job->bucket = b->taken + 1;
    while (job->status == LS_OK && b->posted < b->exchanges &&
           ls_channel_writable(b->reducer->channel, b->first + b->posted)) {
        job->status = post_piece(b);
        moved = true;
    }
    while (job->status == LS_OK && whole && b->taken < b->posted)
        job->status = take_piece(b, &moved, &whole);
    if (job->status != LS_OK)
        return LS_STEP_FAILED;
    return b->taken == b->exchanges ? LS_STEP_DONE : moved ? LS_STEP_MOVED : LS_STEP_IDLE;
}

static int awaits(const ls_job *job, const ls_world *world)
{
    const block *b = (const block *)job;
    (void)world;
    return b->taken < b->posted ? b->looking : ls_channel_reader(b->reducer->channel, b->first + b->posted);
}

static ls_status finish(ls_reducer *r, float **slice_sum)
{
    block *b = r->self;
    *slice_sum = b->partial[0] + r->slice[r->rank].begin;
    if (r->ranks == 1)
        return LS_OK;
    if (b->shared)
        return ls_shared_sums_finish(b->shared);
    if (ls_halving_fits(r))
        return ls_halving_run(r, b->partial[0]);
    int most = 1;
    for (int rank = 0; rank < r->ranks; rank++)
        most = b->nodes[rank].count > most ? b->nodes[rank].count : most;
    b->width = ls_piece_room(r, sizeof(float)) / ((r->ranks - 1) * most);
    if (b->width < LS_REDUCE_LEAST)
        b->width = LS_REDUCE_LEAST; /* slot_bytes() of reduce.c left room for it */
    b->first = ls_channel_next(r->channel);
    b->exchanges = (r->largest_slice + b->width - 1) / b->width;
    b->posted = b->taken = b->looking = 0;
    b->job = (ls_job){.phase = "gradient exchange", .step = step, .awaits = awaits};
    return ls_comm_do(r->world, &b->job);
}

const ls_schedule_table ls_schedule_block = {
    .open = open_block,
    .close = close_block,
    .begin = begin,
    .add = add,
    .place = place,
    .grain_end = grain_end,
    .finish = finish,
};
