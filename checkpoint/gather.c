/* See gather.h. Every step that may fail on one rank ends in ls_agree, so all ranks leave by the same door. */
#include "checkpoint/gather.h"

#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char phase[] = "checkpoint state";

static bool is_asked_for(const ls_state_entry *entry, int kind)
{
    return kind < 0 ? entry->kind != LS_STATE_GRADIENT : (int)entry->kind == kind;
}

static bool is_replicated(const ls_state_entry *entry)
{
    return (entry->flags & LS_STATE_REPLICATED) != 0;
}

static ls_status check_entry(const ls_state_entry *entry)
{
    if (strlen(entry->name) >= LS_CHECKPOINT_NAME)
        return ls_fail(LS_EARG, "state \"%s\": a name of more than %d bytes", entry->name, LS_CHECKPOINT_NAME - 1);
    if (strncmp(entry->name, "lockstep/", 9) == 0 || strcmp(entry->name, "lockstep") == 0 || strchr(entry->name, '%'))
        return ls_fail(LS_EARG, "state \"%s\": no name may begin with \"lockstep/\" or hold a '%%'", entry->name);
    int64_t elements = ls_state_elements(entry), end = entry->begin + entry->held;
    if (entry->held == 0 && !is_replicated(entry))
        return LS_OK;
    if (entry->begin < 0 || entry->held < 0 || end > elements || entry->begin % LS_CHUNK != 0 ||
        (end % LS_CHUNK != 0 && end != elements) || (!entry->data && entry->held > 0))
        return ls_fail(LS_ESTATE, "state \"%s\": elements [%lld, %lld) of %lld are not whole chunks of %d", entry->name,
                       (long long)entry->begin, (long long)end, (long long)elements, LS_CHUNK);
    if (is_replicated(entry) && entry->held != elements)
        return ls_fail(LS_ESTATE, "state \"%s\": replicated, but %lld of %lld elements are here", entry->name,
                       (long long)entry->held, (long long)elements);
    return LS_OK;
}

static void take_slice(ls_share *share, const ls_state_entry *entry, int64_t tensor, int rank)
{
    share->slice[share->slices++] =
        (ls_slice_row){.tensor = tensor, .file = rank, .begin = entry->begin, .held = entry->held};
    share->chunks += ls_chunks_of(entry->held);
    share->first_chunk[share->slices] = share->chunks;
}

static bool brings(const ls_state_entry *entry, int rank)
{
    return entry->held > 0 && (rank == 0 || !is_replicated(entry));
}

ls_status ls_share_take(ls_share *share, ls_state_tree *tree, int rank, int kind)
{
    *share = (ls_share){0};
    size_t count = (size_t)ls_state_count(tree);
    int64_t chunks = 0;
    share->entry = calloc(count + 1, sizeof *share->entry);
    share->data = calloc(count + 1, sizeof *share->data);
    share->slice = calloc(count + 1, sizeof *share->slice);
    share->first_chunk = calloc(count + 1, sizeof *share->first_chunk);
    for (int i = 0; share->entry && share->data && i < (int)count; i++) {
        const ls_state_entry *entry = ls_state_at(tree, i);
        if (!is_asked_for(entry, kind))
            continue;
        ls_status status = check_entry(entry);
        if (status != LS_OK)
            return status;
        share->data[share->tensors] = entry->data;
        share->entry[share->tensors++] = entry;
        chunks += brings(entry, rank) ? ls_chunks_of(entry->held) : 0;
    }
    share->chunk = calloc((size_t)chunks + 1, sizeof *share->chunk);
    if (!share->entry || !share->data || !share->slice || !share->first_chunk || !share->chunk)
        return ls_fail(LS_EMEM, "no memory to list %zu tensors", count);
    for (int64_t t = 0; t < share->tensors; t++) {
        if (brings(share->entry[t], rank))
            take_slice(share, share->entry[t], t, rank);
    }
    return LS_OK;
}

ls_status ls_share_copy(ls_share *share, ls_state_kind kind)
{
    size_t bytes = 0;
    for (int64_t s = 0; s < share->slices; s++) {
        const ls_state_entry *entry = share->entry[share->slice[s].tensor];
        bytes += entry->kind == kind ? (size_t)entry->held * ls_type_size(entry->type) : 0;
    }
    char *to = share->copies = malloc(bytes + 1);
    if (!to)
        return ls_fail(LS_EMEM, "no memory for a copy of %zu bytes of the task's state", bytes);
    for (int64_t s = 0; s < share->slices; s++) {
        const ls_state_entry *entry = share->entry[share->slice[s].tensor];
        const size_t size = entry->kind == kind ? (size_t)entry->held * ls_type_size(entry->type) : 0;
        if (!size)
            continue;
        memcpy(to, entry->data, size);
        share->data[share->slice[s].tensor] = to;
        to += size;
    }
    return LS_OK;
}

void ls_share_hash(ls_share *share)
{
    for (int64_t s = 0; s < share->slices; s++) {
        const ls_slice_row *slice = &share->slice[s];
        ls_hash_chunks(share->entry[slice->tensor]->type, share->data[slice->tensor], slice->held,
                       slice->begin / LS_CHUNK, share->chunk + share->first_chunk[s]);
    }
}

void ls_share_free(ls_share *share)
{
    free(share->entry);
    free(share->data);
    free(share->slice);
    free(share->first_chunk);
    free(share->chunk);
    free(share->copies);
    *share = (ls_share){0};
}

static void fill_row(ls_tensor_row *row, const ls_state_entry *entry)
{
    *row = (ls_tensor_row){.kind = (int32_t)entry->kind,
                           .type = (int32_t)entry->type,
                           .flags = (int32_t)entry->flags,
                           .ndim = entry->ndim};
    snprintf(row->name, sizeof row->name, "%s", entry->name);
    for (int d = 0; d < entry->ndim; d++)
        row->shape[d] = entry->shape[d];
}

/* Names, kinds, types and shapes in one number. */
static uint64_t outline(const ls_share *share)
{
    uint64_t hash = LS_HASH_SEED;
    for (int64_t t = 0; t < share->tensors; t++) {
        ls_tensor_row row;
        fill_row(&row, share->entry[t]);
        hash = ls_hash_bytes(&row, sizeof row, hash);
    }
    return hash;
}

static uint64_t replica_hash(const ls_state_entry *entry)
{
    if (!is_replicated(entry) || (entry->flags & LS_STATE_UNHASHED))
        return 0;
    uint64_t hash = LS_HASH_SEED;
    for (int64_t begin = 0; begin < entry->held; begin += LS_CHUNK) {
        int64_t left = entry->held - begin;
        hash = ls_hash_numbers(entry->type, (const char *)entry->data + (size_t)begin * ls_type_size(entry->type),
                               left < LS_CHUNK ? left : LS_CHUNK, hash);
    }
    return hash;
}

/* Only rank 0's copy of what is replicated is written: if another rank's has drifted, now is the time to say so.
 * all[ranks][tensors]. */
static ls_status compare_replicas(const ls_share *share, const uint64_t *all, int ranks)
{
    for (int64_t t = 0; t < share->tensors; t++) {
        for (int rank = 1; rank < ranks; rank++) {
            if (all[rank * share->tensors + t] != all[t])
                return ls_fail(
                    LS_ESTATE,
                    "state \"%s\" is the same on all ranks by contract, but rank %d's differs from rank 0's: a "
                    "bug in what computes it; nothing was saved",
                    share->entry[t]->name, rank);
        }
    }
    return LS_OK;
}

static ls_status check_replicas(ls_world *world, const ls_share *share)
{
    int ranks = ls_world_ranks(world);
    size_t tensors = (size_t)share->tensors;
    uint64_t *mine = calloc(tensors + 1, sizeof *mine), *all = calloc((size_t)ranks * tensors + 1, sizeof *all);
    ls_status status = mine && all ? LS_OK : ls_fail(LS_EMEM, "no memory to compare %zu tensors", tensors);
    status = ls_agree(world, status, phase);
    if (status == LS_OK && ranks > 1 && tensors > 0) {
        for (size_t t = 0; t < tensors; t++)
            mine[t] = replica_hash(share->entry[t]);
        status = ls_all_gather_bytes(world, mine, tensors * sizeof *mine, all, phase);
        if (status == LS_OK)
            status = compare_replicas(share, all, ranks);
    }
    free(mine);
    free(all);
    return status;
}

/* The slices that all ranks bring, rank after rank; malloc'ed. */
static ls_status gather_slices(ls_world *world, const ls_share *share, ls_slice_row **all, int64_t *slices)
{
    const size_t ranks = (size_t)ls_world_ranks(world);
    int64_t *counts = calloc(ranks, sizeof *counts);
    size_t *bytes = calloc(ranks, sizeof *bytes);
    *all = NULL;
    *slices = 0;
    ls_status status = ls_agree(world, counts && bytes ? LS_OK : ls_fail(LS_EMEM, "no memory"), phase);
    if (status == LS_OK)
        status = ls_all_gather_bytes(world, &share->slices, sizeof share->slices, counts, phase);
    for (size_t rank = 0; status == LS_OK && rank < ranks; rank++) {
        *slices += counts[rank];
        bytes[rank] = (size_t)counts[rank] * sizeof **all;
    }
    if (status == LS_OK) {
        *all = calloc((size_t)*slices + 1, sizeof **all);
        status = ls_agree(world, *all ? LS_OK : ls_fail(LS_EMEM, "no memory for all slices"), phase);
    }
    if (status == LS_OK)
        status = ls_all_gather_varying(world, share->slice, *all, bytes, phase);
    free(counts);
    free(bytes);
    return status;
}

static int by_tensor_and_begin(const void *a, const void *b)
{
    const ls_slice_row *x = a, *y = b;
    if (x->tensor != y->tensor)
        return x->tensor < y->tensor ? -1 : 1;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->file > y->file) - (x->file < y->file);
}

static ls_status join(const ls_share *share, const ls_slice_row *all, int64_t slices, ls_manifest **out)
{
    int64_t chunks = 0;
    for (int64_t t = 0; t < share->tensors; t++)
        chunks += ls_chunks_of(ls_state_elements(share->entry[t]));
    ls_manifest *m = ls_manifest_create(0, share->tensors, slices, chunks);
    if (!m)
        return ls_fail(LS_EMEM, "no memory for the list of %lld tensors", (long long)share->tensors);
    for (int64_t t = 0; t < share->tensors; t++)
        fill_row(&m->tensor[t], share->entry[t]);
    memcpy(m->slice, all, (size_t)slices * sizeof *m->slice);
    qsort(m->slice, (size_t)slices, sizeof *m->slice, by_tensor_and_begin);
    ls_status status = ls_manifest_index(m, LS_ESTATE); /* no slice leaves its tensor from here on */
    if (status == LS_OK)
        *out = m;
    else
        ls_manifest_free(m);
    return status;
}

ls_status ls_share_join(ls_world *world, ls_status mine, const ls_share *share, ls_manifest **manifest)
{
    *manifest = NULL;
    ls_status status = ls_agree(world, mine, phase);
    if (status != LS_OK)
        return status;
    uint64_t hash = outline(share);
    status = ls_same_everywhere(world, &hash, sizeof hash, "the state's names, types and shapes");
    if (status == LS_OK)
        status = check_replicas(world, share);
    ls_slice_row *all = NULL;
    int64_t slices;
    if (status == LS_OK)
        status = gather_slices(world, share, &all, &slices);
    if (status == LS_OK)
        status = ls_agree(world, join(share, all, slices, manifest), phase);
    if (status != LS_OK) {
        ls_manifest_free(*manifest);
        *manifest = NULL;
    }
    free(all);
    return status;
}

/* Rank after rank, each one's in order of its tensors, as ls_share_take went: to their place in the manifest. */
static void place_hashes(ls_manifest *m, const uint64_t *all, int ranks)
{
    for (int rank = 0; rank < ranks; rank++) {
        for (int64_t s = 0; s < m->slices; s++) {
            const ls_slice_row *slice = &m->slice[s];
            if (slice->file != rank)
                continue;
            const int64_t count = ls_chunks_of(slice->held);
            memcpy(m->chunk + m->first_chunk[slice->tensor] + slice->begin / LS_CHUNK, all,
                   (size_t)count * sizeof *all);
            all += count;
        }
    }
}

ls_status ls_share_gather_hashes(ls_world *world, const ls_share *share, ls_manifest *m)
{
    const int ranks = ls_world_ranks(world);
    size_t *bytes = calloc((size_t)ranks, sizeof *bytes);
    uint64_t *all = calloc((size_t)m->chunks + 1, sizeof *all);
    ls_status status = ls_agree(world, bytes && all ? LS_OK : ls_fail(LS_EMEM, "no memory for all hashes"), phase);
    for (int64_t s = 0; status == LS_OK && s < m->slices; s++)
        bytes[m->slice[s].file] += (size_t)ls_chunks_of(m->slice[s].held) * sizeof *all;
    if (status == LS_OK)
        status = ls_all_gather_varying(world, share->chunk, all, bytes, phase);
    if (status == LS_OK)
        place_hashes(m, all, ranks);
    free(bytes);
    free(all);
    return status;
}
