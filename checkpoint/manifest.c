/* The tables in memory, and the checks that make them safe to use: a manifest may come from a file that somebody else
 * wrote, so no number is used before it is checked here. */
#include "checkpoint/manifest.h"

#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t most_elements = INT64_C(1) << 56; /* no product below can overflow */

ls_manifest *ls_manifest_create(int64_t files, int64_t tensors, int64_t slices, int64_t chunks)
{
    ls_manifest *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->files = files;
    m->tensors = tensors;
    m->slices = slices;
    m->chunks = chunks;
    m->file = calloc((size_t)files + 1, sizeof *m->file); /* + 1: a table may be empty */
    m->tensor = calloc((size_t)tensors + 1, sizeof *m->tensor);
    m->slice = calloc((size_t)slices + 1, sizeof *m->slice);
    m->chunk = calloc((size_t)chunks + 1, sizeof *m->chunk);
    m->first_slice = calloc((size_t)tensors + 1, sizeof *m->first_slice);
    m->first_chunk = calloc((size_t)tensors + 1, sizeof *m->first_chunk);
    if (m->file && m->tensor && m->slice && m->chunk && m->first_slice && m->first_chunk)
        return m;
    ls_manifest_free(m);
    return NULL;
}

void ls_manifest_free(ls_manifest *m)
{
    if (!m)
        return;
    free(m->recipe);
    free(m->file);
    free(m->tensor);
    free(m->slice);
    free(m->chunk);
    free(m->first_slice);
    free(m->first_chunk);
    free(m);
}

int64_t ls_tensor_row_elements(const ls_tensor_row *row)
{
    int64_t elements = 1;
    for (int d = 0; d < row->ndim; d++) {
        if (row->shape[d] < 0 || __builtin_mul_overflow(elements, row->shape[d], &elements) || elements > most_elements)
            return -1;
    }
    return elements;
}

ls_state_entry ls_tensor_row_entry(const ls_tensor_row *row)
{
    ls_state_entry entry = {.name = row->name,
                            .kind = (ls_state_kind)row->kind,
                            .type = (ls_type)row->type,
                            .flags = (unsigned)row->flags,
                            .ndim = row->ndim};
    memcpy(entry.shape, row->shape, sizeof entry.shape);
    return entry;
}

static ls_status check_tensor(const ls_manifest *m, int64_t t, ls_status code)
{
    const ls_tensor_row *row = &m->tensor[t];
    if (!row->name[0] || !memchr(row->name, '\0', sizeof row->name))
        return ls_fail(code, "tensor %lld has no proper name", (long long)t);
    if (t > 0 && strcmp(m->tensor[t - 1].name, row->name) >= 0)
        return ls_fail(code, "tensor \"%s\" does not stand in order of name", row->name);
    if (row->kind < 0 || row->kind >= LS_STATE_KINDS || row->type < 0 || ls_type_size((ls_type)row->type) == 0)
        return ls_fail(code, "tensor \"%s\" is of kind %d and type %d, which this lockstep does not know", row->name,
                       row->kind, row->type);
    if (row->ndim < 0 || row->ndim > LS_MAX_DIMS || ls_tensor_row_elements(row) < 0)
        return ls_fail(code, "tensor \"%s\" has an impossible shape", row->name);
    return LS_OK;
}

/* The file of a slice is one of the list, and holds it. A live tree has no files yet. */
static ls_status check_place(const ls_manifest *m, const ls_slice_row *slice, ls_status code)
{
    const ls_tensor_row *row = &m->tensor[slice->tensor];
    if (m->files == 0)
        return LS_OK;
    if (slice->file < 0 || slice->file >= m->files)
        return ls_fail(code, "tensor \"%s\": a slice lies in file %lld of %lld", row->name, (long long)slice->file,
                       (long long)m->files);
    int64_t bytes = slice->held * (int64_t)ls_type_size((ls_type)row->type), in_file = m->file[slice->file].bytes;
    if (slice->offset < 0 || slice->offset > in_file || bytes > in_file - slice->offset)
        return ls_fail(code, "tensor \"%s\": a slice of %lld bytes at byte %lld lies outside %s, which has %lld",
                       row->name, (long long)bytes, (long long)slice->offset, m->file[slice->file].name,
                       (long long)in_file);
    return LS_OK;
}

/* The slices from *next on cover tensor t once, in order, in whole chunks. */
static ls_status check_cover(const ls_manifest *m, int64_t t, int64_t *next, ls_status code)
{
    const ls_tensor_row *row = &m->tensor[t];
    int64_t elements = ls_tensor_row_elements(row), covered = 0;
    for (; *next < m->slices && m->slice[*next].tensor == t; ++*next) {
        const ls_slice_row *slice = &m->slice[*next];
        if (slice->begin > covered)
            break;
        if (slice->begin < covered)
            return ls_fail(code, "tensor \"%s\": element %lld is held twice", row->name, (long long)slice->begin);
        if (slice->held <= 0 || slice->held > elements - covered)
            return ls_fail(code, "tensor \"%s\": a slice at %lld of %lld elements, where there are %lld", row->name,
                           (long long)slice->begin, (long long)slice->held, (long long)elements);
        covered += slice->held;
        if (covered % LS_CHUNK != 0 && covered != elements)
            return ls_fail(code, "tensor \"%s\": a slice ends at element %lld, inside a chunk of %d", row->name,
                           (long long)covered, LS_CHUNK);
        ls_status status = check_place(m, slice, code);
        if (status != LS_OK)
            return status;
    }
    if (covered != elements)
        return ls_fail(code, "tensor \"%s\": nobody holds element %lld of %lld", row->name, (long long)covered,
                       (long long)elements);
    return LS_OK;
}

ls_status ls_manifest_index(ls_manifest *m, ls_status code)
{
    for (int64_t f = 0; f < m->files; f++) {
        char name[sizeof m->file[f].name];
        snprintf(name, sizeof name, LS_CHECKPOINT_RANK_FILE, (int)f);
        if (memcmp(name, m->file[f].name, strlen(name) + 1) != 0 || m->file[f].bytes < 0)
            return ls_fail(code, "file %lld of the list is not %s", (long long)f, name);
    }
    int64_t slice = 0, chunk = 0;
    for (int64_t t = 0; t < m->tensors; t++) {
        m->first_slice[t] = slice;
        m->first_chunk[t] = chunk;
        ls_status status = check_tensor(m, t, code);
        if (status == LS_OK)
            status = check_cover(m, t, &slice, code);
        if (status != LS_OK)
            return status;
        chunk += ls_chunks_of(ls_tensor_row_elements(&m->tensor[t]));
        if (chunk > m->chunks)
            return ls_fail(code, "%lld hashes are too few for its tensors", (long long)m->chunks);
    }
    m->first_slice[m->tensors] = slice;
    m->first_chunk[m->tensors] = chunk;
    if (slice != m->slices || chunk != m->chunks)
        return ls_fail(code, "%lld slices and %lld hashes do not belong to its %lld tensors", (long long)m->slices,
                       (long long)m->chunks, (long long)m->tensors);
    return LS_OK;
}

int64_t ls_manifest_find(const ls_manifest *m, const char *name)
{
    int64_t low = 0, high = m->tensors;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(m->tensor[middle].name, name);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

uint64_t ls_manifest_tensor_hash(const ls_manifest *m, int64_t t)
{
    const ls_tensor_row *row = &m->tensor[t];
    return ls_hash_tensor(row->name, (ls_type)row->type, row->ndim, row->shape, m->chunk + m->first_chunk[t],
                          m->first_chunk[t + 1] - m->first_chunk[t]);
}

uint64_t ls_manifest_hash(const ls_manifest *m, int kind)
{
    uint64_t all = LS_HASH_SEED;
    for (int64_t t = 0; t < m->tensors; t++) {
        if ((m->tensor[t].flags & (int32_t)LS_STATE_UNHASHED) || (kind >= 0 && m->tensor[t].kind != kind))
            continue;
        /* chained, so order counts and nothing has to be stored */
        uint64_t pair[2] = {all, ls_manifest_tensor_hash(m, t)};
        all = ls_hash_bytes(pair, sizeof pair, LS_HASH_SEED);
    }
    return all;
}

int64_t ls_manifest_bytes(const ls_manifest *m)
{
    int64_t bytes = 0;
    for (int64_t t = 0; t < m->tensors; t++)
        bytes += ls_tensor_row_elements(&m->tensor[t]) * (int64_t)ls_type_size((ls_type)m->tensor[t].type);
    return bytes;
}
