/* Saving, all ranks: take, draw, write in the background, report, commit in the background, keep. The protocol's lines
 * are in format.h.
 *
 *     IDLE --begin--> WRITING --every rank's file is written--> COMMITTING --rank 0 has committed--> IDLE
 *
 * Begin and the two changes after it are collective, made by the thread that owns the world, when the ranks' votes say
 * so: votes are gathered, so all ranks see the same ones and change together. What lies between is disk work, each rank
 * alone on its writer's thread: no save sits inside a collective, and none can come between those of a step.
 *
 * What must hold whatever fails: the training state is only read, and only until it is taken; older checkpoints are not
 * touched before the new one is committed; every rank leaves by the same door with the same sentence. */
#include "checkpoint/checkpoint.h"

#include "base/log.h"
#include "checkpoint/commit.h"
#include "checkpoint/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static const char phase[] = "checkpoint save";
static const double ROUND_SECONDS = 0.5; /* ls_saver_finish: no rank is silent for longer */
enum { VOTE_BUSY = 1, VOTE_READY = 2, VOTE_FAILED = 3, VOTE_MASK = 3 };

/* Rank 0's work after the reports; the thread's own. */
typedef struct {
    ls_commit commit;
    ls_manifest *manifest;
    ls_commit_kept kept;
    bool read_back;
} commit_work;

struct ls_saver {
    ls_world *world;
    int rank, ranks;
    ls_writer *writer;
    bool read_back;
    ls_state_reader reader;
    uint8_t *votes; /* [ranks] of ls_saver_finish */
    enum { IDLE, WRITING, COMMITTING } now;
    double began;
    ls_saver_report last;

    /* the save in flight */
    uint64_t save; /* id */
    ls_commit commit;
    ls_commit_kept kept;
    char numerics[LS_CHECKPOINT_NUMERICS], *recipe;
    ls_share share;
    ls_rank_file *file;
    ls_manifest *manifest;
    commit_work *work;
    bool started; /* rank 0: .partial is ours */
};

static double clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

ls_status ls_saver_open(ls_saver **out, ls_world *world, const ls_saver_options *options)
{
    *out = NULL;
    ls_saver *s = calloc(1, sizeof *s);
    if (!s)
        return ls_fail(LS_EMEM, "no memory for a saver");
    s->world = world;
    s->rank = ls_world_rank(world);
    s->ranks = ls_world_ranks(world);
    s->read_back = options->read_back;
    s->reader = options->reader;
    s->votes = calloc((size_t)s->ranks, sizeof *s->votes);
    ls_status status = s->votes ? LS_OK : ls_fail(LS_EMEM, "no memory to ask %d ranks", s->ranks);
    if (status == LS_OK)
        status = ls_writer_open(&s->writer, options->buffer ? options->buffer : INT64_C(64) << 20,
                                options->patience > 0 ? options->patience : 120, options->read_back);
    if (status == LS_OK)
        *out = s;
    else
        ls_saver_close(s);
    return status;
}

static void free_work(void *context)
{
    commit_work *work = context;
    if (work)
        ls_manifest_free(work->manifest);
    free(work);
}

/* Nothing is in flight any more. */
static void clear(ls_saver *s)
{
    ls_rank_file_free(s->file);
    ls_share_free(&s->share);
    ls_manifest_free(s->manifest);
    free(s->recipe);
    free_work(s->work);
    s->file = NULL;
    s->manifest = NULL;
    s->recipe = NULL;
    s->work = NULL;
    s->started = false;
    s->now = IDLE;
    s->last.seconds = clock_now() - s->began;
}

void ls_saver_close(ls_saver *s)
{
    if (!s)
        return;
    if (s->now == WRITING)
        s->file = NULL; /* the writer's */
    if (s->now == COMMITTING)
        s->work = NULL;
    ls_writer_close(s->writer);
    clear(s);
    free(s->votes);
    free(s);
}

int64_t ls_saver_in_flight(const ls_saver *s)
{
    return s->now == IDLE ? -1 : s->commit.step;
}

ls_saver_report ls_saver_last(const ls_saver *s)
{
    return s->last;
}

/* ---- begin ---- */

static ls_status draw_save_id(ls_saver *s)
{
    ls_status status = LS_OK;
    if (s->rank == 0 && getrandom(&s->save, sizeof s->save, 0) != (ssize_t)sizeof s->save)
        status = ls_fail(LS_EIO, "no random number for the save: %s", strerror(errno));
    status = ls_agree(s->world, status, phase);
    return status == LS_OK ? ls_broadcast(s->world, &s->save, sizeof s->save, 0, phase) : status;
}

static ls_status note_options(ls_saver *s, const ls_checkpoint_options *options)
{
    if (options->keep < 1)
        return ls_fail(LS_EARG, "checkpoint.keep is %d, at least 1 is kept", options->keep);
    s->kept = (ls_commit_kept){.newest = options->keep, .every = options->keep_every, .base = options->base, .best = options->best};
    snprintf(s->numerics, sizeof s->numerics, "%s", options->numerics ? options->numerics : "");
    s->recipe = strdup(options->recipe ? options->recipe : "");
    s->work = calloc(1, sizeof *s->work);
    return s->recipe && s->work ? LS_OK : ls_fail(LS_EMEM, "no memory for the recipe's text");
}

/* What all ranks bring, as a manifest that lacks hashes and the files' sums. */
static ls_status take(ls_saver *s, ls_state_tree *tree, const char *run, int64_t step,
                      const ls_checkpoint_options *options)
{
    ls_status mine = ls_commit_plan(&s->commit, run, step);
    if (mine == LS_OK)
        mine = note_options(s, options);
    if (mine == LS_OK)
        mine = ls_share_take(&s->share, tree, s->rank, -1);
    if (mine == LS_OK) /* a task may change what is its own at any moment */
        mine = ls_share_copy(&s->share, LS_STATE_TASK);
    if (mine == LS_OK)
        mine = ls_rank_file_draw(&s->file, &s->share, step, s->save, s->rank, s->ranks);
    if (mine == LS_OK)
        mine = ls_rank_file_read_by(s->file, &s->reader);
    if (mine == LS_OK)
        mine = ls_rank_file_place(s->file, s->commit.partial);
    if (mine == LS_OK)
        mine = ls_writer_prepare(s->writer, ls_rank_file_bytes(s->file));
    return ls_share_join(s->world, mine, &s->share, &s->manifest);
}

/* A whole checkpoint of this step is there: LS_OK if it is this very state. */
static ls_status compare_with_old(ls_saver *s, uint64_t old)
{
    ls_status status = ls_agree(s->world, s->reader.wait ? s->reader.wait(s->reader.context) : LS_OK, phase);
    if (status != LS_OK)
        return status;
    ls_share_hash(&s->share);
    status = ls_share_gather_hashes(s->world, &s->share, s->manifest);
    if (status != LS_OK)
        return status;
    const uint64_t hash = ls_manifest_hash(s->manifest, -1);
    return hash == old ? LS_OK
                       : ls_fail(LS_EEXIST,
                                 "%s: there is a whole checkpoint of this step with another state (hash %016llx, here "
                                 "%016llx); move it away, or use another run folder",
                                 s->commit.final, (unsigned long long)old, (unsigned long long)hash);
}

/* Line 1. */
static ls_status meet_old(ls_saver *s, bool *whole)
{
    struct {
        uint64_t hash;
        bool whole;
    } old = {0};
    ls_status status = s->rank == 0 ? ls_commit_meet(&s->commit, &old.whole, &old.hash) : LS_OK;
    status = ls_agree(s->world, status, phase);
    if (status == LS_OK)
        status = ls_broadcast(s->world, &old, sizeof old, 0, phase);
    *whole = old.whole;
    return status == LS_OK && old.whole ? compare_with_old(s, old.hash) : status;
}

/* Line 2: rank 0 makes the folder when there is room for everybody. */
static ls_status make_folder(ls_saver *s)
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
    s->last.bytes = mine;
    if (s->rank == 0) {
        status = ls_commit_begin(&s->commit, sum, largest);
        s->started = status == LS_OK;
    }
    return ls_agree(s->world, status, phase);
}

/* Lines 12 and 13, after which nothing can fail that is worth a checkpoint. */
static void keep(const ls_commit *commit, const ls_commit_kept *kept)
{
    if (ls_commit_keep(commit, kept) != LS_OK)
        ls_log_write(LS_LOG_WARN, "checkpoint",
                     "%s; the new checkpoint is good, an old one is still there or still called the best",
                     ls_fail_sentence());
}

ls_status ls_saver_begin(ls_saver *s, ls_state_tree *tree, const char *run, int64_t step,
                         const ls_checkpoint_options *options)
{
    if (s->now != IDLE)
        return ls_fail(LS_EARG, "the save of step %lld is not over", (long long)s->commit.step);
    bool whole = false;
    s->began = clock_now();
    s->last = (ls_saver_report){.step = step};
    ls_status status = draw_save_id(s);
    if (status == LS_OK)
        status = take(s, tree, run, step, options);
    if (status == LS_OK)
        status = meet_old(s, &whole);
    if (status == LS_OK && !whole)
        status = make_folder(s);
    if (status == LS_OK && !whole) {
        ls_writer_start(s->writer, s->file);
        s->now = WRITING;
    } else {
        if (s->started)
            ls_commit_abandon(&s->commit);
        else if (whole && status == LS_OK && s->rank == 0) /* a crash may have come before these lines */
            keep(&s->commit, &s->kept);
        clear(s);
    }
    s->last.waited = clock_now() - s->began;
    return status;
}

/* ---- report and commit ---- */

typedef struct {
    ls_file_row file;
    uint64_t save;
} report;

/* Line 5: the list is exactly these reports. */
static ls_status collect(ls_saver *s)
{
    report mine = {.file = ls_rank_file_row(s->file), .save = s->save};
    report *all = calloc((size_t)s->ranks, sizeof *all);
    ls_manifest *m = s->manifest;
    free(m->file);
    m->files = s->ranks;
    m->file = calloc((size_t)s->ranks, sizeof *m->file);
    ls_status status = ls_agree(s->world, all && m->file ? LS_OK : ls_fail(LS_EMEM, "no memory"), phase);
    if (status == LS_OK)
        status = ls_all_gather_bytes(s->world, &mine, sizeof mine, all, phase);
    if (status == LS_OK)
        status = ls_share_gather_hashes(s->world, &s->share, m);
    ls_status sound = LS_OK;
    for (int r = 0; status == LS_OK && r < s->ranks; r++) {
        m->file[r] = all[r].file;
        if (all[r].save != s->save)
            sound = ls_fail(LS_ESTATE, "rank %d reports save %016llx, this is %016llx", r,
                            (unsigned long long)all[r].save, (unsigned long long)s->save);
    }
    free(all);
    if (status != LS_OK)
        return status;
    return ls_agree(s->world, sound == LS_OK ? ls_manifest_index(m, LS_ESTATE) : sound, phase);
}

/* On rank 0's writer: lines 6 to 10, 12 and 13. */
static ls_status commit(void *context)
{
    commit_work *work = context;
    const ls_status status = ls_commit_finish(&work->commit, work->manifest, work->read_back);
    if (status == LS_OK)
        keep(&work->commit, &work->kept);
    else
        ls_commit_abandon(&work->commit);
    return status;
}

static void start_commit(ls_saver *s)
{
    ls_manifest *m = s->manifest;
    s->now = COMMITTING;
    if (s->rank != 0)
        return;
    m->step = s->commit.step;
    m->save = s->save;
    memcpy(m->numerics, s->numerics, sizeof m->numerics);
    m->recipe = s->recipe;
    *s->work = (commit_work){.commit = s->commit, .manifest = m, .kept = s->kept, .read_back = s->read_back};
    s->recipe = NULL;
    s->manifest = NULL;
    ls_writer_call(s->writer, commit, free_work, s->work);
}

/* Every rank stops, then rank 0 takes the folder away; but not if its disk hangs, as that would hang too. */
static ls_status abandon(ls_saver *s)
{
    bool kept = false;
    ls_status mine = LS_OK;
    if (s->now == WRITING) {
        const bool failed = ls_writer_look(s->writer) == LS_WRITER_FAILED;
        if (!failed)
            ls_writer_cancel(s->writer);
        mine = ls_writer_end(s->writer, &kept);
        mine = failed || kept ? mine : LS_OK;
    }
    if (kept)
        s->file = NULL;
    const ls_status status = ls_agree(s->world, mine, phase);
    if (s->started && !kept)
        ls_commit_abandon(&s->commit);
    clear(s);
    return status;
}

/* All files are written. */
static ls_status report_and_commit(ls_saver *s, bool *over)
{
    bool kept;
    s->last.written = ls_writer_progress(s->writer) - s->began;
    ls_writer_end(s->writer, &kept);
    ls_status status = collect(s);
    if (status == LS_OK) {
        start_commit(s);
        return LS_OK;
    }
    *over = true;
    if (s->started)
        ls_commit_abandon(&s->commit);
    clear(s);
    return status;
}

static ls_status end_commit(ls_saver *s)
{
    bool kept = false;
    ls_status status = s->rank == 0 ? ls_writer_end(s->writer, &kept) : LS_OK;
    if (kept)
        s->work = NULL;
    status = ls_agree(s->world, status, phase); /* 11 */
    clear(s);
    return status;
}

/* ---- votes ---- */

void ls_saver_wait_taken(ls_saver *s)
{
    if (s->now != WRITING)
        return;
    const double begin = clock_now();
    ls_writer_wait_taken(s->writer);
    s->last.waited += clock_now() - begin;
}

uint8_t ls_saver_vote(ls_saver *s)
{
    if (s->now == IDLE || (s->now == COMMITTING && s->rank != 0))
        return 0;
    switch (ls_writer_look(s->writer)) {
    case LS_WRITER_IDLE: return 0;
    case LS_WRITER_BUSY: return VOTE_BUSY;
    case LS_WRITER_DONE: return VOTE_READY;
    case LS_WRITER_FAILED: return VOTE_FAILED;
    }
    return 0;
}

ls_status ls_saver_poll(ls_saver *s, const uint8_t *votes, int shift, bool *over)
{
    int ready = 0, failed = 0;
    *over = false;
    if (s->now == IDLE)
        return LS_OK;
    for (int r = 0; r < (s->now == WRITING ? s->ranks : 1); r++) {
        ready += (votes[r] >> shift & VOTE_MASK) == VOTE_READY;
        failed += (votes[r] >> shift & VOTE_MASK) == VOTE_FAILED;
    }
    const double begin = clock_now();
    ls_status status = LS_OK;
    if (s->now == COMMITTING && ready + failed) {
        *over = true;
        status = end_commit(s);
    } else if (s->now == WRITING && failed) {
        *over = true;
        status = abandon(s);
    } else if (s->now == WRITING && ready == s->ranks)
        status = report_and_commit(s, over);
    s->last.waited += clock_now() - begin;
    return status;
}

ls_status ls_saver_finish(ls_saver *s)
{
    const double begin = clock_now(), before = s->last.waited;
    ls_status status = LS_OK;
    for (bool over = false; s->now != IDLE && status == LS_OK && !over;) {
        ls_writer_wait(s->writer, ROUND_SECONDS);
        const uint8_t mine = ls_saver_vote(s);
        status = ls_all_gather_bytes(s->world, &mine, sizeof mine, s->votes, phase);
        if (status == LS_OK)
            status = ls_saver_poll(s, s->votes, 0, &over);
    }
    s->last.waited = before + clock_now() - begin;
    return status;
}
