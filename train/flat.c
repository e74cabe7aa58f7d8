/* The run's flat buffers. See train/internal.h for the picture.
 * Every loop here is over memory; nothing knows a layer. */
#include "train/internal.h"

#include "base/log.h"
#include "base/math.h"
#include "dist/rows.h"
#include "models/parameters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t whole_chunks(int64_t count)
{
    return (count + LS_CHUNK - 1) / LS_CHUNK * LS_CHUNK;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

size_t ls_flat_bytes(const ls_flat *flat, int ranks, bool second_moment)
{
    const size_t all = (size_t)flat->elements, slice = (size_t)flat->learning / (size_t)ranks;
    const size_t moments = (second_moment ? 2 : 1) * slice * sizeof(float);
    return all * ls_type_size(flat->compute) + moments + (flat->compute == LS_F32 ? 0 : all / (size_t)ranks * sizeof(float));
}

/* With bf16 weights, parameters of one dimension get a place in `vectors`, in whole chunks, in order of their offset (frozen
 * ones last), so that each rank's part of them is one piece. */
static void place_vectors(ls_flat *flat)
{
    flat->vector_count = 0;
    for (int frozen = 0; frozen <= 1; frozen++)
        for (int i = 0; i < flat->count; i++) {
            const ls_parameter *p = &flat->parameters[i];
            const bool own = flat->compute != LS_F32 && p->ndim <= 1;
            if (p->frozen != frozen)
                continue;
            flat->vector_at[i] = own ? flat->vector_count : -1;
            if (own)
                flat->vector_count += whole_chunks(p->count);
        }
}

static void bind(ls_flat *flat)
{
    for (int i = 0; i < flat->count; i++) {
        ls_parameter *p = &flat->parameters[i];
        const bool vector = flat->vector_at[i] >= 0;
        p->type = vector ? LS_F32 : flat->compute;
        p->data = vector ? (void *)(flat->vectors + flat->vector_at[i])
                         : (void *)((char *)flat->working + (size_t)p->offset * ls_type_size(flat->compute));
    }
}

static ls_status allocate(ls_flat *flat, bool second_moment)
{
    ls_device *device = flat->device;
    const size_t slice = (size_t)flat->slice_count * sizeof(float);
    const size_t working = (size_t)flat->elements * ls_type_size(flat->compute);
    ls_status status = device->allocate(device, working, &flat->working);
    if (status == LS_OK && flat->compute == LS_F32) {
        flat->master = (float *)flat->working + flat->slice_begin;
        flat->frozen = (float *)flat->working + flat->frozen_begin;
    } else if (status == LS_OK) {
        status = device->allocate(device, slice, (void **)&flat->master);
        if (status == LS_OK && flat->frozen_count)
            status = device->allocate(device, (size_t)flat->frozen_count * sizeof(float), (void **)&flat->frozen);
    }
    if (status == LS_OK)
        status = device->allocate(device, slice, (void **)&flat->first_moment);
    if (status == LS_OK && second_moment)
        status = device->allocate(device, slice, (void **)&flat->second_moment);
    if (status == LS_OK && flat->vector_count)
        status = device->allocate(device, (size_t)flat->vector_count * sizeof(float), (void **)&flat->vectors);
    if (status == LS_OK && flat->vector_count)
        status = device->allocate(device, (size_t)flat->vector_count * sizeof(float), (void **)&flat->vector_slice);
    if (status != LS_OK)
        return ls_fail_at(status, "weights and optimiser state of %lld elements", (long long)flat->elements);
    device->fill(device, LS_F32, flat->slice_count, 0, flat->first_moment);
    if (second_moment)
        device->fill(device, LS_F32, flat->slice_count, 0, flat->second_moment);
    return ls_device_wait(device);
}

ls_status ls_flat_open(ls_flat *flat, ls_world *world, ls_device *device, ls_parameter *parameters, int count, int first,
                       ls_type compute, bool second_moment, uint64_t seed)
{
    const int ranks = ls_world_ranks(world);
    *flat = (ls_flat){.device = device, .parameters = parameters, .count = count, .compute = compute};
    flat->elements = ls_parameters_layout(parameters, count);
    for (int i = 0; i < count; i++)
        flat->learning += parameters[i].frozen ? 0 : whole_chunks(parameters[i].count);
    flat->unit = count == 1 && parameters->sparse_rows ? ls_row_unit(parameters->shape[1]) : LS_CHUNK;
    ls_slice_units(flat->learning, flat->unit, ls_world_rank(world), ranks, &flat->slice_begin, &flat->slice_count);
    ls_slice(flat->elements - flat->learning, ls_world_rank(world), ranks, &flat->frozen_begin, &flat->frozen_count);
    flat->frozen_begin += flat->learning;
    flat->vector_at = calloc((size_t)count + 1, sizeof *flat->vector_at);
    flat->vector_bytes = calloc((size_t)ranks, sizeof *flat->vector_bytes);
    if (!flat->vector_at || !flat->vector_bytes)
        return ls_fail(LS_EMEM, "no memory for the list of %d parameters", count);
    for (int i = 0; i < count; i++)
        parameters[i].number += first;
    for (int i = 0; i < count; i++)
        if (!parameters[i].statistic)
            *(parameters[i].frozen ? &flat->still : &flat->trainable) += parameters[i].count;
    place_vectors(flat);
    ls_status status = allocate(flat, second_moment);
    if (status != LS_OK)
        return status;
    bind(flat);
    ls_parameters_init(parameters, count, seed, flat->slice_begin, flat->slice_count, flat->master);
    ls_parameters_init(parameters, count, seed, flat->frozen_begin, flat->frozen_count, flat->frozen);
    return LS_OK;
}

void ls_flat_close(ls_flat *flat)
{
    ls_device *device = flat->device;
    if (!device)
        return;
    const size_t slice = (size_t)flat->slice_count * sizeof(float);
    if (flat->compute != LS_F32 && flat->master)
        device->release(device, flat->master, slice);
    if (flat->compute != LS_F32 && flat->frozen)
        device->release(device, flat->frozen, (size_t)flat->frozen_count * sizeof(float));
    if (flat->working)
        device->release(device, flat->working, (size_t)flat->elements * ls_type_size(flat->compute));
    if (flat->first_moment)
        device->release(device, flat->first_moment, slice);
    if (flat->second_moment)
        device->release(device, flat->second_moment, slice);
    if (flat->vectors)
        device->release(device, flat->vectors, (size_t)flat->vector_count * sizeof(float));
    if (flat->vector_slice)
        device->release(device, flat->vector_slice, (size_t)flat->vector_count * sizeof(float));
    free(flat->vector_at);
    free(flat->vector_bytes);
    *flat = (ls_flat){0};
}

/* Elements of parameter `p`'s chunks that lie in the slice [begin, begin + count) of the flat buffer. */
static int64_t overlap(const ls_parameter *p, int64_t begin, int64_t count, int64_t *from)
{
    *from = larger(p->offset, begin);
    const int64_t to = smaller(p->offset + whole_chunks(p->count), begin + count);
    return to > *from ? to - *from : 0;
}

/* Rank `rank`'s slice, or its share of the frozen parameters. */
static void share_of(const ls_flat *flat, bool frozen, int rank, int ranks, int64_t *begin, int64_t *count)
{
    ls_slice(frozen ? flat->elements - flat->learning : flat->learning, rank, ranks, begin, count);
    *begin += frozen ? flat->learning : 0;
}

/* Each rank brings the f32 values of the one-dimensional parameters in its slice (or share of the frozen ones); the
 * pieces, in rank order, are that part of `vectors`, because slices ascend and vectors were placed in order of their offsets. */
static ls_status publish_vectors(ls_flat *flat, ls_world *world, bool frozen)
{
    const int ranks = ls_world_ranks(world);
    int64_t mine = 0, first = -1;
    memset(flat->vector_bytes, 0, (size_t)ranks * sizeof *flat->vector_bytes);
    for (int i = 0; i < flat->count; i++) {
        const ls_parameter *p = &flat->parameters[i];
        if (flat->vector_at[i] < 0 || p->frozen != frozen)
            continue;
        first = first < 0 ? flat->vector_at[i] : first;
        for (int rank = 0; rank < ranks; rank++) {
            int64_t begin, count, from;
            share_of(flat, frozen, rank, ranks, &begin, &count);
            const int64_t held = overlap(p, begin, count, &from);
            flat->vector_bytes[rank] += (size_t)held * sizeof(float);
            if (rank == ls_world_rank(world) && held) {
                memcpy(flat->vector_slice + mine, (frozen ? flat->frozen : flat->master) + (from - begin), (size_t)held * sizeof(float));
                mine += held;
            }
        }
    }
    if (first < 0)
        return LS_OK;
    return ls_all_gather_varying(world, flat->vector_slice, flat->vectors + first, flat->vector_bytes, "gathering vectors");
}

void ls_flat_round(ls_flat *flat)
{
    ls_device *device = flat->device;
    if (flat->compute != LS_F32)
        device->cast(device, LS_F32, flat->compute, flat->slice_count, flat->master,
                     (char *)flat->working + (size_t)flat->slice_begin * ls_type_size(flat->compute));
}

/* Slices ascend with the ranks, so the gathered whole is the working copy, where this rank's slice is already. */
static ls_status gather_plainly(ls_flat *flat, ls_world *world)
{
    const size_t size = ls_type_size(flat->compute);
    const int ranks = ls_world_ranks(world);
    for (int rank = 0; rank < ranks; rank++) {
        int64_t begin, count;
        ls_slice_units(flat->elements, flat->unit, rank, ranks, &begin, &count);
        flat->vector_bytes[rank] = (size_t)count * size;
    }
    const char *mine = (const char *)flat->working + (size_t)flat->slice_begin * size;
    return ls_all_gather_varying(world, mine, flat->working, flat->vector_bytes, "gathering a table");
}

ls_status ls_flat_publish(ls_flat *flat, ls_reducer *reducer, ls_world *world)
{
    ls_status status = ls_device_wait(flat->device); /* the host exchanges what the device has updated */
    if (status == LS_OK)
        status = reducer ? ls_all_gather_slices(reducer, flat->compute, flat->working) : gather_plainly(flat, world);
    return status == LS_OK ? publish_vectors(flat, world, false) : status;
}

ls_status ls_flat_publish_frozen(ls_flat *flat, ls_world *world)
{
    const int ranks = ls_world_ranks(world);
    const size_t size = ls_type_size(flat->compute);
    ls_device *device = flat->device;
    if (flat->learning == flat->elements)
        return LS_OK;
    char *mine = (char *)flat->working + (size_t)flat->frozen_begin * size, *all = (char *)flat->working + (size_t)flat->learning * size;
    if (flat->compute != LS_F32)
        device->cast(device, LS_F32, flat->compute, flat->frozen_count, flat->frozen, mine);
    for (int rank = 0; rank < ranks; rank++) {
        int64_t begin, count;
        share_of(flat, true, rank, ranks, &begin, &count);
        flat->vector_bytes[rank] = (size_t)count * size;
    }
    ls_status status = ls_device_wait(device);
    if (status == LS_OK)
        status = ls_all_gather_varying(world, mine, all, flat->vector_bytes, "gathering frozen weights");
    return status == LS_OK ? publish_vectors(flat, world, true) : status;
}

float *ls_flat_master(const ls_flat *flat, const ls_parameter *p, int64_t *from, int64_t *count)
{
    const int64_t begin = p->frozen ? flat->frozen_begin : flat->slice_begin, held = p->frozen ? flat->frozen_count : flat->slice_count;
    const int64_t first = larger(p->offset, begin), past = smaller(p->offset + p->count, begin + held);
    *from = first - p->offset;
    *count = past > first ? past - first : 0;
    return *count ? (p->frozen ? flat->frozen : flat->master) + (first - begin) : NULL;
}

void ls_flat_take_statistics(ls_flat *flat, float *slice_sum)
{
    for (int i = 0; i < flat->count; i++) {
        const ls_parameter *p = &flat->parameters[i];
        int64_t from;
        const int64_t held = overlap(p, flat->slice_begin, flat->slice_count, &from), at = from - flat->slice_begin;
        for (int64_t k = at; k < at + held && p->statistic && !p->frozen; k++) {
            flat->first_moment[k] = slice_sum[k];
            slice_sum[k] = isfinite(slice_sum[k]) ? 0 : slice_sum[k];
        }
    }
}

void ls_flat_fold(ls_flat *flat, int64_t grains)
{
    for (int i = 0; i < flat->count; i++) {
        const ls_parameter *p = &flat->parameters[i];
        int64_t from;
        const int64_t held = overlap(p, flat->slice_begin, flat->slice_count, &from), at = from - flat->slice_begin;
        if (!p->statistic || p->frozen)
            continue;
        const double kept = ls_math_power(1 - p->momentum, grains);
        for (int64_t k = at; k < at + held; k++)
            flat->master[k] = (float)(kept * (double)flat->master[k] + (double)flat->first_moment[k]);
    }
}

void ls_flat_update(ls_flat *flat, const ls_parameter *p, double weight_decay, const float *slice_sum, ls_optimizer_args *args)
{
    int64_t from;
    args->count = overlap(p, flat->slice_begin, flat->slice_count, &from);
    if (!args->count || p->frozen || p->statistic)
        return;
    const int64_t at = from - flat->slice_begin;
    const double lr = args->lr;
    args->weight_decay = weight_decay;
    args->lr = lr * p->lr_scale;
    args->gradient = slice_sum + at;
    args->master = flat->master + at;
    args->first_moment = flat->first_moment + at;
    args->second_moment = flat->second_moment ? flat->second_moment + at : NULL;
    /* With f32 weights the master is the working copy. */
    args->working_type = flat->compute;
    args->working = flat->compute == LS_F32 ? NULL : (char *)flat->working + (size_t)from * ls_type_size(flat->compute);
    flat->device->optimizer_step(flat->device, args);
    args->lr = lr;
}

/* "PREFIX/NAME", of which this rank has `count` elements from `from` on. */
static ls_status add_entry(ls_state_tree *tree, const char *prefix, ls_state_kind kind, const ls_parameter *p, int64_t from, int64_t count,
                           float *data)
{
    char name[512];
    snprintf(name, sizeof name, "%s/%s", prefix, p->name);
    ls_state_entry entry = {.name = name, .kind = kind, .type = LS_F32, .ndim = p->ndim};
    memcpy(entry.shape, p->shape, sizeof entry.shape);
    if (count) {
        entry.begin = from;
        entry.held = count;
        entry.data = data;
    }
    return ls_state_add(tree, &entry);
}

ls_status ls_flat_entries(ls_flat *flat, ls_state_tree *tree, const char *prefix, ls_state_kind kind, bool statistics, float *slice)
{
    ls_status status = LS_OK;
    for (int i = 0; i < flat->count && status == LS_OK; i++) {
        const ls_parameter *p = &flat->parameters[i];
        int64_t from, count;
        const float *master = ls_flat_master(flat, p, &from, &count);
        if (!p->frozen && (statistics || !p->statistic))
            status = add_entry(tree, prefix, kind, p, from, count, count ? slice + (master - flat->master) : NULL);
    }
    return status;
}

ls_status ls_flat_state(ls_flat *flat, ls_state_tree *tree)
{
    ls_status status = LS_OK;
    for (int i = 0; i < flat->count && status == LS_OK; i++) {
        int64_t from, count;
        float *master = ls_flat_master(flat, &flat->parameters[i], &from, &count);
        status = add_entry(tree, "model", LS_STATE_PARAMETER, &flat->parameters[i], from, count, master);
    }
    if (status == LS_OK)
        status = ls_flat_entries(flat, tree, "optimizer/first_moment", LS_STATE_MOMENT, false, flat->first_moment);
    if (status == LS_OK && flat->second_moment)
        status = ls_flat_entries(flat, tree, "optimizer/second_moment", LS_STATE_MOMENT, false, flat->second_moment);
    return status;
}

ls_status ls_flat_gradients(ls_flat *flat, float *slice_sum, ls_state_tree *tree)
{
    return ls_flat_entries(flat, tree, "gradient", LS_STATE_GRADIENT, false, slice_sum);
}
