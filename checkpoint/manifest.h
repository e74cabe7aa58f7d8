/* Manifest: the joining file's tables in memory. A live tree (gather.h) and a checkpoint (joining.h) give the same
 * manifest, so their hashes are equal because one function computes both. */
#pragma once
#include "checkpoint/format.h"

typedef struct {
    int64_t step;
    uint64_t save;
    char numerics[LS_CHECKPOINT_NUMERICS];
    char *recipe; /* '\0'-terminated */
    int64_t files, tensors, slices, chunks;
    ls_file_row *file;
    ls_tensor_row *tensor;
    ls_slice_row *slice;
    uint64_t *chunk;      /* hash of each chunk, tensor after tensor */
    int64_t *first_slice; /* [tensors + 1]; made by ls_manifest_index */
    int64_t *first_chunk; /* [tensors + 1] */
    uint64_t xxh3;        /* of the joining file it was read from, 0 for a live tree */
} ls_manifest;

/* Empty tables of these sizes; recipe is NULL. NULL: no memory. */
ls_manifest *ls_manifest_create(int64_t files, int64_t tensors, int64_t slices, int64_t chunks);
void ls_manifest_free(ls_manifest *manifest);
/* Trusts nothing: checks every number, that names ascend, and that the slices cover every tensor exactly once; fills
 * first_slice and first_chunk. Returns `code` (LS_ECORRUPT for a file, LS_ESTATE for a tree) naming the tensor. */
ls_status ls_manifest_index(ls_manifest *manifest, ls_status code);

int64_t ls_manifest_find(const ls_manifest *manifest, const char *name); /* -1: not there */
int64_t ls_tensor_row_elements(const ls_tensor_row *row);                /* -1: negative or beyond 2^56 */
/* As an entry that holds nothing; the name belongs to the row. */
ls_state_entry ls_tensor_row_entry(const ls_tensor_row *row);
uint64_t ls_manifest_tensor_hash(const ls_manifest *manifest, int64_t tensor);
/* Over the tensors of one kind (< 0: all) that are not LS_STATE_UNHASHED. */
uint64_t ls_manifest_hash(const ls_manifest *manifest, int kind);
/* Bytes of the state itself, without headers. */
int64_t ls_manifest_bytes(const ls_manifest *manifest);

static inline int64_t ls_chunks_of(int64_t elements)
{
    return (elements + LS_CHUNK - 1) / LS_CHUNK;
}
