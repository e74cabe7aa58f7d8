/* From live trees to one manifest: each rank says what it holds, all learn what all hold. */
#pragma once
#include "checkpoint/manifest.h"
#include "dist/world.h"

/* What this rank brings: its slices (rank 0: also everything replicated) and the hashes of their chunks. */
typedef struct {
    int64_t slices, chunks, tensors; /* tensors: of the kinds asked for, on all ranks the same */
    ls_slice_row *slice;             /* offset 0 until the rank file is drawn */
    const ls_state_entry **entry;    /* [tensors], in order of name */
    uint64_t *chunk;
} ls_share;

/* kind < 0: what a checkpoint saves, all but gradients. LS_ESTATE, LS_EARG: an entry that can not be saved. Local. */
ls_status ls_share_take(ls_share *share, ls_state_tree *tree, int rank, int kind);
void ls_share_free(ls_share *share);

/* Collective, `mine` being how ls_share_take (and what followed) went here. The manifest has no files, step or save
 * id yet. LS_ESTATE: the trees differ in names, types or shapes; replicas differ in bits, naming tensor and rank;
 * slices leave a gap or overlap. */
ls_status ls_share_gather(ls_world *world, ls_status mine, const ls_share *share, ls_manifest **manifest);
