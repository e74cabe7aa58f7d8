/* The commit protocol of format.h, rank 0's part: lines 1, 2, 6 to 10, 12 and 13. Nothing here communicates. */
#pragma once
#include "checkpoint/disk.h"
#include "checkpoint/manifest.h"

typedef struct {
    char run[LS_PATH], parent[LS_PATH]; /* RUN and RUN/checkpoints */
    char partial[LS_PATH], final[LS_PATH];
    int64_t step;
} ls_commit;

/* Names only. */
ls_status ls_commit_plan(ls_commit *commit, const char *run, int64_t step);
/* Line 1. *whole: a whole checkpoint of this step is there already, of the state with the hash *hash. */
ls_status ls_commit_meet(const ls_commit *commit, bool *whole, uint64_t *hash);
/* Line 2. `bytes` in all, `largest` of them in one file. LS_ESPACE. */
ls_status ls_commit_begin(const ls_commit *commit, int64_t bytes, int64_t largest);
/* Lines 6 to 10. read_back: the joining file is read again before 8. */
ls_status ls_commit_finish(const ls_commit *commit, ls_manifest *manifest, bool read_back);
/* Takes .partial away; what cannot be removed is left under that name, which no reader takes. */
void ls_commit_abandon(const ls_commit *commit);

/* What stays. */
typedef struct {
    int newest;    /* so many whole ones */
    int64_t every; /* and those whose step this divides; 0: none */
    int64_t base;  /* and the newest whole one whose step this divides; 0: none */
    int64_t best;  /* that of this step, which `best` shall name; 0: what it names already */
} ls_commit_kept;
/* Lines 12 and 13: `best` is set; then everything of ours older than the newest whole checkpoints that stay goes,
 * damaged and half-written ones too, but never one that `kept` names otherwise, nor what `best` names. */
ls_status ls_commit_keep(const ls_commit *commit, const ls_commit_kept *kept);
