/* The reducer: what its schedules have in common. Checks, coverage of a grain, and opening. */
#include "dist/reducer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t bucket_of(const ls_reduce_options *options)
{
    int64_t bucket = options->bucket ? options->bucket : LS_REDUCE_BUCKET;
    return bucket < options->elements ? bucket : options->elements;
}

/* A slot carries a bucket; in `block` it also holds some elements of every node for every peer, however many. */
static size_t slot_bytes(ls_schedule schedule, int64_t max_grains, int64_t bucket, int ranks)
{
    int64_t least = 0;
    if (schedule != LS_SCHEDULE_ROUND)
        least = LS_REDUCE_LEAST * (ranks - 1) * ls_counter_places((max_grains + ranks - 1) / ranks, false);
    return sizeof(float) * (size_t)(bucket > least ? bucket : least);
}

size_t ls_reduce_memory(const ls_reduce_options *options, int ranks)
{
    size_t whole = sizeof(float) * (size_t)options->elements, slots = 0;
    int64_t begin, slice, each = (options->max_grains + ranks - 1) / ranks;
    ls_slice(options->elements, 0, ranks, &begin, &slice);
    if (ranks > 1)
        slots = LS_REDUCE_SLOTS * slot_bytes(options->schedule, options->max_grains, bucket_of(options), ranks);
    if (options->exchange && ranks > 1) /* slots of the device, and room for what others send; `block`: the sum as well */
        slots += 2 * LS_REDUCE_SLOTS * sizeof(float) * (size_t)bucket_of(options) + sizeof(float) * (size_t)slice;
    if (options->schedule == LS_SCHEDULE_ROUND && ranks > 1)
        return slots + sizeof(float) * (size_t)(slice * ls_counter_places(options->max_grains, true));
    return slots + whole * (size_t)ls_counter_places(each, ranks == 1);
}

int64_t ls_piece_room(const ls_reducer *r, size_t size)
{
    size_t most = LS_REDUCE_PIECE * sizeof(float), slot = ls_channel_slot_bytes(r->channel);
    return (int64_t)((slot < most ? slot : most) / size);
}

int64_t ls_piece(const ls_reducer *r, int rank, int64_t exchange, int64_t width)
{
    int64_t left = r->slice[rank].count - exchange * width;
    return left < 0 ? 0 : left < width ? left : width;
}

static ls_status check_options(const ls_reduce_options *o, int ranks)
{
    if (o->elements < LS_CHUNK || o->elements % LS_CHUNK != 0)
        return ls_fail(LS_EARG, "reducer over %lld elements; needs whole chunks of %d, at least one",
                       (long long)o->elements, LS_CHUNK);
    if (o->bucket < 0 || o->bucket % LS_CHUNK != 0)
        return ls_fail(LS_ERECIPE, "buckets of %lld elements; needs whole chunks of %d", (long long)o->bucket,
                       LS_CHUNK);
    if (o->bucket > (1 << 28))
        return ls_fail(LS_ERECIPE, "buckets of %lld elements, at most %d; a bucket should fit in the cache",
                       (long long)o->bucket, 1 << 28);
    if (o->max_grains < ranks)
        return ls_fail(
            LS_ERECIPE,
            "%d ranks for %lld grains a step: a grain is computed by one rank, so the others would have nothing "
            "to do; start at most %lld ranks, or make batch.grain smaller",
            ranks, (long long)o->max_grains, (long long)o->max_grains);
    return LS_OK;
}

static ls_status allocate(ls_reducer *r)
{
    size_t ranks = (size_t)r->ranks, chunks = (size_t)r->chunks;
    r->slice = calloc(ranks, sizeof *r->slice);
    r->segments = calloc(ranks, sizeof *r->segments);
    r->source = calloc(ranks, sizeof *r->source);
    r->sizes = calloc(ranks, sizeof *r->sizes);
    r->chunk_sums = calloc(2 * chunks, sizeof *r->chunk_sums); /* own, then all */
    r->covered = calloc(chunks, 1);
    if (!r->slice || !r->segments || !r->source || !r->sizes || !r->chunk_sums || !r->covered)
        return ls_fail(LS_EMEM, "no memory for a reducer over %lld elements", (long long)r->elements);
    for (int rank = 0; rank < r->ranks; rank++) {
        ls_slice(r->elements, rank, r->ranks, &r->slice[rank].begin, &r->slice[rank].count);
        if (r->slice[rank].count > r->largest_slice)
            r->largest_slice = r->slice[rank].count;
    }
    return LS_OK;
}

static ls_status open_channel(ls_reducer *r)
{
    if (r->ranks == 1)
        return LS_OK;
    ls_channel_options options = {.slot_bytes =
                                      slot_bytes(r->options.schedule, r->options.max_grains, r->bucket, r->ranks),
                                  .slots = LS_REDUCE_SLOTS,
                                  .transport = r->options.transport,
                                  .name = "gradient exchange"};
    ls_status status = ls_barrier(r->world, "opening of the gradient exchange"); /* a window opens without a deadline */
    return status == LS_OK ? ls_channel_open(&r->channel, r->world, &options) : status;
}

static void describe(ls_reducer *r)
{
    snprintf(r->description, sizeof r->description, "%s schedule, %s, buckets of %.3g MiB",
             r->options.schedule == LS_SCHEDULE_ROUND ? "round" : "block",
             r->exchange ? r->exchange->name : r->shares_sums ? "shared sums" : r->channel ? ls_channel_describe(r->channel) : "no exchange", (double)r->bucket * sizeof(float) / 1048576);
}

ls_status ls_reducer_open(ls_reducer **out, ls_world *world, ls_device *device, const ls_reduce_options *options)
{
    *out = NULL;
    ls_status status = check_options(options, ls_world_ranks(world));
    if (status != LS_OK)
        return status;
    ls_reducer *r = calloc(1, sizeof *r);
    if (!r)
        return ls_fail(LS_EMEM, "no memory for a reducer");
    r->world = world;
    r->device = device;
    r->options = *options;
    if (r->options.schedule != LS_SCHEDULE_ROUND)
        r->options.schedule = LS_SCHEDULE_BLOCK;
    r->rank = ls_world_rank(world);
    r->ranks = ls_world_ranks(world);
    r->elements = options->elements;
    r->chunks = options->elements / LS_CHUNK;
    r->bucket = bucket_of(options);
    /* One rank keeps the same sums in both schedules. */
    r->schedule = r->options.schedule == LS_SCHEDULE_ROUND && r->ranks > 1 ? &ls_schedule_round : &ls_schedule_block;
    r->exchange = r->ranks > 1 ? options->exchange : NULL;
    if (r->exchange)
        r->schedule = r->options.schedule == LS_SCHEDULE_ROUND ? r->exchange->round : r->exchange->block;
    status = allocate(r);
    if (status == LS_OK)
        status = open_channel(r);
    if (status == LS_OK)
        status = r->schedule->open(r);
    if (status != LS_OK) {
        ls_reducer_close(r);
        return ls_fail_at(status, "opening the gradient reduction");
    }
    describe(r);
    *out = r;
    return LS_OK;
}

void ls_reducer_close(ls_reducer *r)
{
    if (!r)
        return;
    r->schedule->close(r);
    if (!r->abandoned)
        ls_channel_close(r->channel);
    free(r->slice);
    free(r->segments);
    free(r->source);
    free(r->sizes);
    free(r->chunk_sums);
    free(r->covered);
    free(r);
}

void ls_exchange_close(ls_exchange *exchange)
{
    if (exchange)
        exchange->close(exchange);
}

const char *ls_reducer_describe(const ls_reducer *r)
{
    return r->description;
}

int64_t ls_reducer_bucket(const ls_reducer *r)
{
    return r->bucket;
}

ls_status ls_reducer_begin(ls_reducer *r, int64_t grains)
{
    if (r->in_step)
        return ls_fail(LS_EARG, "reducer: a step begins before the last one was finished");
    if (grains < 1 || grains > r->options.max_grains)
        return ls_fail(LS_EARG, "reducer: a step of %lld grains; it was opened for 1 to %lld", (long long)grains,
                       (long long)r->options.max_grains);
    r->grains = grains;
    r->mine = ls_schedule_grains(r->options.schedule, grains, r->rank, r->ranks);
    r->ended = 0;
    memset(r->covered, 0, (size_t)r->chunks);
    ls_status status = r->schedule->begin(r);
    r->in_step = status == LS_OK;
    return status;
}

ls_status ls_reducer_add(ls_reducer *r, int64_t begin, int64_t count, float *gradient)
{
    if (!r->in_step || r->ended >= r->mine)
        return ls_fail(LS_EARG, "reducer: a gradient is added, but this rank has no grain left in this step");
    if (begin < 0 || count < 0 || begin % LS_CHUNK != 0 || count > r->elements - begin)
        return ls_fail(LS_EARG, "reducer: range %lld + %lld does not lie in 0..%lld, or begins inside a chunk of %d",
                       (long long)begin, (long long)count, (long long)r->elements, LS_CHUNK);
    int64_t first = begin / LS_CHUNK, past = (begin + count + LS_CHUNK - 1) / LS_CHUNK;
    for (int64_t chunk = first; chunk < past; chunk++) {
        if (r->covered[chunk])
            return ls_fail(LS_EARG, "reducer: elements from %lld on are added twice in one grain",
                           (long long)(chunk * LS_CHUNK));
        r->covered[chunk] = 1;
    }
    return count > 0 ? r->schedule->add(r, begin, count, gradient) : LS_OK;
}

float *ls_reducer_place(const ls_reducer *r, int64_t begin, int64_t count)
{
    const bool inside = begin >= 0 && begin % LS_CHUNK == 0 && count > 0 && count <= r->elements - begin;
    if (!r->in_step || r->ended >= r->mine || !inside || !r->schedule->place)
        return NULL;
    return r->schedule->place(r, begin);
}

ls_status ls_reducer_grain_end(ls_reducer *r)
{
    if (!r->in_step)
        return ls_fail(LS_EARG, "reducer: a grain ends outside a step");
    if (r->ended >= r->mine)
        return LS_OK; /* a round in which this rank has no grain */
    ls_status status = r->schedule->grain_end(r);
    r->ended++;
    memset(r->covered, 0, (size_t)r->chunks);
    return status;
}

ls_status ls_reducer_finish(ls_reducer *r, float **slice_sum)
{
    if (!r->in_step || r->ended != r->mine)
        return ls_fail(LS_EARG, "reducer: finish after %lld of this rank's %lld grains", (long long)r->ended,
                       (long long)r->mine);
    r->in_step = false;
    ls_status status = r->exchange ? LS_OK : ls_device_wait(r->device); /* an exchange orders itself behind the device */
    if (status == LS_OK)
        status = r->schedule->finish(r, slice_sum);
    return status == LS_OK && r->exchange ? ls_device_wait(r->device) : status;
}
