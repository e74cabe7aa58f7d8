/* Which checkpoint a run starts from: rank 0 proposes, newest first, all ranks read a share of its files, and all
 * compare that they look at the same one. So one rank can not resume where another begins anew, and a damaged newest
 * one costs a warning, not the run. */
#include "checkpoint/checkpoint.h"

#include "base/log.h"
#include "checkpoint/folder.h"
#include "checkpoint/joining.h"
#include "checkpoint/rounds.h"
#include "checkpoint/verify.h"

#include <stdlib.h>
#include <string.h>

static const char phase[] = "checkpoint choice";

typedef struct {
    int64_t step; /* -1: no more */
    char path[LS_PATH];
} proposal;

/* The newest committed folder older than `before`, of those whose step `every` divides (0: all). */
static ls_status propose(const ls_folder_row *rows, int count, const char *run, int64_t before, int64_t every, proposal *p)
{
    *p = (proposal){.step = -1};
    for (int i = 0; i < count; i++) {
        if (!rows[i].suffix[0] && rows[i].step < before && (every == 0 || rows[i].step % every == 0)) {
            p->step = rows[i].step;
            return ls_folder_step_path(p->path, run, rows[i].step, "");
        }
    }
    return LS_OK;
}

static ls_status verify_round(void *verifier, bool *done)
{
    return ls_verifier_read(verifier, LS_ROUND_BYTES, done);
}

/* LS_OK on all ranks, or the same failure on all. */
static ls_status check(ls_world *world, const proposal *p)
{
    ls_manifest *manifest = NULL;
    ls_status status = ls_agree(world, ls_joining_read(p->path, &manifest), phase);
    if (status == LS_OK)
        status = ls_same_everywhere(world, &manifest->xxh3, sizeof manifest->xxh3, "the checkpoint to start from");
    if (status == LS_OK) {
        ls_verifier v;
        ls_status mine = ls_verifier_open(&v, p->path, manifest, ls_world_rank(world), ls_world_ranks(world));
        status = ls_rounds(world, mine, verify_round, &v, phase);
        ls_verifier_close(&v);
    }
    ls_manifest_free(manifest);
    return status;
}

ls_status ls_checkpoint_latest(ls_world *world, const char *run, int64_t every, int64_t *step, char path[4096])
{
    ls_folder_row *rows = NULL;
    int count = 0, damaged = 0;
    proposal p = {.step = INT64_MAX};
    *step = -1;
    path[0] = '\0';
    ls_status status = LS_OK;
    if (ls_world_rank(world) == 0)
        status = ls_folder_list(run, &rows, &count);
    while ((status = ls_agree(world, status, phase)) == LS_OK) {
        if (ls_world_rank(world) == 0)
            status = propose(rows, count, run, p.step, every, &p);
        status = ls_agree(world, status, phase);
        if (status == LS_OK)
            status = ls_broadcast(world, &p, sizeof p, 0, phase);
        if (status != LS_OK || p.step < 0)
            break;
        status = check(world, &p);
        if (status == LS_OK)
            break;
        if (!ls_verify_is_damage(status))
            break;
        damaged++;
        if (ls_world_rank(world) == 0)
            ls_log_write(LS_LOG_WARN, "checkpoint", "%s; left as it is, trying the one before", ls_fail_sentence());
        status = LS_OK;
    }
    free(rows);
    if (status != LS_OK)
        return status;
    if (p.step < 0 && damaged > 0)
        return ls_fail(
            LS_ECORRUPT,
            "%s/checkpoints: %d checkpoints, none of them whole; restore one, or move the folder away to begin "
            "anew",
            run, damaged);
    *step = p.step;
    memcpy(path, p.path, sizeof p.path);
    return LS_OK;
}
