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
/* Lines 1 and 2. `bytes` in all, `largest` of them in one file. *whole: a whole checkpoint of this step is there
 * already with the state hash `hash`, nothing is to be done. LS_EEXIST: there is one, of another state. LS_ESPACE. */
ls_status ls_commit_begin(const ls_commit *commit, int64_t bytes, int64_t largest, uint64_t hash, bool *whole);
/* Lines 6 to 10. */
ls_status ls_commit_finish(const ls_commit *commit, ls_manifest *manifest);
/* Takes .partial away; what cannot be removed is left under that name, which no reader takes. */
void ls_commit_abandon(const ls_commit *commit);
/* Lines 12 and 13: `best` names the checkpoint of step `best` (0: leave it); then everything of ours older than the `keep`
 * newest whole checkpoints goes, damaged and half-written ones too, but never the one that `best` names. */
ls_status ls_commit_keep(const ls_commit *commit, int keep, int64_t best);
