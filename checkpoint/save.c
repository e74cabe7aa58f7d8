/* Saving, all ranks: take, draw, write in rounds, report, commit, keep. The protocol's lines are in format.h.
 *
 * What must hold whatever fails: the training state is only read; older checkpoints are not touched before the new one
 * is committed; every rank leaves by the same door with the same sentence. */
#include "checkpoint/checkpoint.h"

#include "base/log.h"
#include "checkpoint/commit.h"
#include "checkpoint/rank_file.h"
#include "checkpoint/rounds.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char phase[] = "checkpoint save";

typedef struct {
    ls_world *world;
    const ls_checkpoint_options *options;
    int rank, ranks;
    uint64_t save; /* id */
    ls_commit commit;
    ls_share share;
    ls_rank_file *file;
    ls_manifest *manifest;
    bool whole;   /* this step is saved already */
    bool started; /* rank 0: .partial is ours */
} saver;

static ls_status draw_save_id(saver *s)
{
    ls_status status = LS_OK;
    if (s->rank == 0 && getrandom(&s->save, sizeof s->save, 0) != (ssize_t)sizeof s->save)
        status = ls_fail(LS_EIO, "no random number for the save: %s", strerror(errno));
    status = ls_agree(s->world, status, phase);
    return status == LS_OK ? ls_broadcast(s->world, &s->save, sizeof s->save, 0, phase) : status;
}

/* What all ranks bring, as a manifest that lacks only the files' sums. */
static ls_status take(saver *s, ls_state_tree *tree, const char *run, int64_t step)
{
    ls_status mine = ls_commit_plan(&s->commit, run, step);
    if (mine == LS_OK && s->options->keep < 1)
        mine = ls_fail(LS_EARG, "checkpoint.keep is %d, at least 1 is kept", s->options->keep);
    if (mine == LS_OK)
        mine = ls_share_take(&s->share, tree, s->rank, -1);
    if (mine == LS_OK)
        mine = ls_rank_file_draw(&s->file, &s->share, step, s->save, s->rank, s->ranks);
    return ls_share_gather(s->world, mine, &s->share, &s->manifest);
}

/* Lines 1 and 2: rank 0 makes the folder when there is room for everybody. */
static ls_status begin(saver *s)
{
    int64_t mine = ls_rank_file_bytes(s->file), sum = 0, largest = 0;
    int64_t *all = calloc((size_t)s->ranks, sizeof *all);
    ls_status status = ls_agree(s->world, all ? LS_OK : ls_fail(LS_EMEM, "no memory"), phase);
    if (status == LS_OK)
        status = ls_all_gather_bytes(s->world, &mine, sizeof mine, all, phase);
    for (int r = 0; status == LS_OK && r < s->ranks; r++) {
        sum += all[r];
        largest = all[r] > largest ? all[r] : largest;
    }
    free(all);
    if (status != LS_OK)
        return status;
    /* the joining file: tables, and about 200 bytes for each slice's piece of a virtual dataset */
    sum += (int64_t)1 << 16;
    sum += 8 * s->manifest->chunks + 1024 * (s->manifest->tensors + s->manifest->slices);
    if (s->rank == 0) {
        status = ls_commit_begin(&s->commit, sum, largest, ls_manifest_hash(s->manifest, -1), &s->whole);
        s->started = status == LS_OK;
    }
    status = ls_agree(s->world, status, phase);
    return status == LS_OK ? ls_broadcast(s->world, &s->whole, sizeof s->whole, 0, phase) : status;
}

/* Lines 3 and 4. */
static ls_status write_round(void *context, bool *done)
{
    const saver *s = context;
    return ls_rank_file_write(s->file, LS_ROUND_BYTES, done);
}

static ls_status write_files(saver *s)
{
    return ls_rounds(s->world, ls_rank_file_create(s->file, s->commit.partial), write_round, s, phase);
}

typedef struct {
    ls_file_row file;
    uint64_t save;
} report;

/* Line 5: the list is exactly these reports. */
static ls_status collect(saver *s)
{
    report mine = {.file = ls_rank_file_row(s->file), .save = s->save};
    report *all = calloc((size_t)s->ranks, sizeof *all);
    ls_status status = ls_agree(s->world, all ? LS_OK : ls_fail(LS_EMEM, "no memory"), phase);
    if (status == LS_OK)
        status = ls_all_gather_bytes(s->world, &mine, sizeof mine, all, phase);
    ls_manifest *m = s->manifest;
    free(m->file);
    m->files = s->ranks;
    m->file = calloc((size_t)s->ranks, sizeof *m->file);
    if (status == LS_OK && !m->file)
        status = ls_fail(LS_EMEM, "no memory");
    for (int r = 0; status == LS_OK && r < s->ranks; r++) {
        m->file[r] = all[r].file;
        if (all[r].save != s->save)
            status = ls_fail(LS_ESTATE, "rank %d reports save %016llx, this is %016llx", r,
                             (unsigned long long)all[r].save, (unsigned long long)s->save);
    }
    free(all);
    return status == LS_OK ? ls_manifest_index(m, LS_ESTATE) : status;
}

static ls_status commit(saver *s)
{
    ls_manifest *m = s->manifest;
    m->step = s->commit.step;
    m->save = s->save;
    snprintf(m->numerics, sizeof m->numerics, "%s", s->options->numerics ? s->options->numerics : "");
    m->recipe = strdup(s->options->recipe ? s->options->recipe : "");
    return m->recipe ? ls_commit_finish(&s->commit, m) : ls_fail(LS_EMEM, "no memory for the recipe's text");
}

ls_status ls_checkpoint_save(ls_world *world, ls_state_tree *tree, const char *run, int64_t step,
                             const ls_checkpoint_options *options)
{
    saver s = {.world = world, .options = options, .rank = ls_world_rank(world), .ranks = ls_world_ranks(world)};
    ls_status status = draw_save_id(&s);
    if (status == LS_OK)
        status = take(&s, tree, run, step);
    if (status == LS_OK)
        status = begin(&s);
    if (status == LS_OK && !s.whole) {
        status = write_files(&s);
        if (status == LS_OK)
            status = ls_agree(world, collect(&s), phase);
        if (status == LS_OK)
            status = ls_agree(world, s.rank == 0 ? commit(&s) : LS_OK, phase); /* 11 */
    }
    if (status != LS_OK && s.started)
        ls_commit_abandon(&s.commit);
    if (status == LS_OK && s.rank == 0 && ls_commit_keep(&s.commit, options->keep, options->best) != LS_OK) /* 12, 13 */
        ls_log_write(LS_LOG_WARN, "checkpoint", "%s; the new checkpoint is good, an old one is still there or still called the best",
                     ls_fail_sentence());
    ls_rank_file_free(s.file);
    ls_share_free(&s.share);
    ls_manifest_free(s.manifest);
    return status;
}
