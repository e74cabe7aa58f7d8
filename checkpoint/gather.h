/* From live trees to one manifest: each rank says what it holds, all learn what all hold. */
#pragma once
#include "checkpoint/manifest.h"
#include "dist/world.h"

/* What this rank brings: its slices (rank 0: also everything replicated) and the hashes of their chunks. */
typedef struct {
    int64_t slices, chunks, tensors; /* tensors: of the kinds asked for, on all ranks the same */
    ls_slice_row *slice;             /* offset 0 until the rank file is drawn */
    int64_t *first_chunk;            /* [slices + 1] into `chunk` */
    const ls_state_entry **entry;    /* [tensors], in order of name */
    const void **data;               /* [tensors]: where its elements are, entry->data or a copy */
    uint64_t *chunk;                 /* filled by ls_share_hash, or while the rank file is written */
    char *copies;
} ls_share;

/* kind < 0: what a checkpoint saves, all but gradients. LS_ESTATE, LS_EARG: an entry that can not be saved. Local. */
ls_status ls_share_take(ls_share *share, ls_state_tree *tree, int rank, int kind);
/* What this rank brings of entries of this kind is copied: from here on they may change. */
ls_status ls_share_copy(ls_share *share, ls_state_kind kind);
void ls_share_hash(ls_share *share);
void ls_share_free(ls_share *share);

/* Collective, `mine` being how ls_share_take (and what followed) went here. The manifest has no hashes, files, step or
 * save id yet. LS_ESTATE: the trees differ in names, types or shapes; replicas differ in bits, naming tensor and rank;
 * slices leave a gap or overlap. */
ls_status ls_share_join(ls_world *world, ls_status mine, const ls_share *share, ls_manifest **manifest);
/* Collective. All ranks' chunk hashes into the manifest that ls_share_join made. */
ls_status ls_share_gather_hashes(ls_world *world, const ls_share *share, ls_manifest *manifest);
