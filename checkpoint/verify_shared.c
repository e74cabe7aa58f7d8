/* Verification by all ranks: each reads its share of the files, and all say what one rank alone would have said. A rank
 * stops at the first damage it finds; of these, the one in the first file in order of the list is the verdict, whoever
 * found it. */
#include "checkpoint/checkpoint.h"

#include "base/error.h"
#include "checkpoint/folder.h"
#include "checkpoint/joining.h"
#include "checkpoint/rounds.h"
#include "checkpoint/verify.h"

#include <stdio.h>
#include <stdlib.h>

static const char phase[] = "checkpoint verify";

typedef struct {
    ls_verifier verifier;
    ls_status status; /* of the file that verifier.file names */
    char sentence[2048];
} share;

static ls_status read_round(void *context, bool *done)
{
    share *s = context;
    s->status = ls_verifier_read(&s->verifier, LS_ROUND_BYTES, done);
    if (s->status != LS_OK) {
        snprintf(s->sentence, sizeof s->sentence, "%s", ls_fail_sentence());
        *done = true;
    }
    return LS_OK;
}

/* The damage in the first file that has any, on every rank. */
static ls_status first_damage(ls_world *world, share *s)
{
    const int ranks = ls_world_ranks(world);
    struct finding {
        int64_t file; /* INT64_MAX: none */
        ls_status status;
    } mine = {s->status == LS_OK ? INT64_MAX : s->verifier.file, s->status}, *all = calloc((size_t)ranks, sizeof *all);
    ls_status status = ls_agree(world, all ? LS_OK : ls_fail(LS_EMEM, "no memory to ask %d ranks", ranks), phase);
    if (status == LS_OK)
        status = ls_all_gather_bytes(world, &mine, sizeof mine, all, phase);
    int first = 0;
    for (int rank = 1; status == LS_OK && rank < ranks; rank++)
        first = all[rank].file < all[first].file ? rank : first;
    if (status == LS_OK && all[first].status != LS_OK) {
        const ls_status found = all[first].status;
        status = ls_broadcast(world, s->sentence, sizeof s->sentence, first, phase);
        status = status == LS_OK ? ls_fail_copy(found, s->sentence) : status;
    }
    free(all);
    return status;
}

static ls_status verify(ls_world *world, const char *folder, const ls_manifest *manifest)
{
    share *s = calloc(1, sizeof *s);
    ls_status mine = s ? ls_verifier_open(&s->verifier, folder, manifest, ls_world_rank(world), ls_world_ranks(world))
                       : ls_fail(LS_EMEM, "%s: no memory to check it", folder);
    ls_status status = ls_rounds(world, mine, read_round, s, phase);
    if (status == LS_OK)
        status = first_damage(world, s);
    if (s)
        ls_verifier_close(&s->verifier);
    free(s);
    return status;
}

ls_status ls_checkpoint_verify_shared(ls_world *world, const char *path)
{
    char folder[LS_PATH] = "";
    ls_manifest *manifest = NULL;
    ls_status status = ls_world_rank(world) == 0 ? ls_folder_newest(path, folder) : LS_OK;
    status = ls_agree(world, status, phase);
    if (status == LS_OK)
        status = ls_broadcast(world, folder, sizeof folder, 0, phase);
    if (status == LS_OK)
        status = ls_agree(world, ls_joining_read(folder, &manifest), phase);
    if (status == LS_OK)
        status = ls_same_everywhere(world, &manifest->xxh3, sizeof manifest->xxh3, "the checkpoint to verify");
    if (status == LS_OK)
        status = verify(world, folder, manifest);
    ls_manifest_free(manifest);
    return status;
}
