/* See ranks.h. */
#include "launch/status/ranks.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A step that waits for so long for one rank is worth a word. A deadline (guard.deadline) is much longer. */
#define HANG_SECONDS 10.0

enum { MOST_RANKS = 1 << 20 };

const char *ls_rank_state_word(ls_rank_state state)
{
    static const char *const words[] = {"unknown", "working", "waiting", "STOPPED", "SILENT", "DEAD", "finished", "stopped early", "failed"};
    return words[state];
}

/* ---- reading ---- */

/* The number in "rank-0003"; -1: another file. */
static int rank_of(const char *name)
{
    char *end;
    if (strncmp(name, "rank-", 5) != 0 || name[5] < '0' || name[5] > '9')
        return -1;
    const long rank = strtol(name + 5, &end, 10);
    return *end || rank < 0 || rank >= MOST_RANKS ? -1 : (int)rank;
}

static ls_status grow(ls_run_view *view, int ranks)
{
    if (ranks > MOST_RANKS)
        ranks = MOST_RANKS;
    if (ranks <= view->ranks)
        return LS_OK;
    ls_rank_view *more = realloc(view->rank, (size_t)ranks * sizeof *more);
    if (!more)
        return ls_fail(LS_EMEM, "no memory for %d ranks", ranks);
    view->rank = more;
    for (int rank = view->ranks; rank < ranks; rank++) {
        more[rank] = (ls_rank_view){.waits_for = -1};
        snprintf(more[rank].why, sizeof more[rank].why, "no flight record");
    }
    view->ranks = ranks;
    return LS_OK;
}

static ls_status read_rank(ls_run_view *view, const char *folder, const char *name, int rank)
{
    char path[4096];
    snprintf(path, sizeof path, "%.3800s/%.255s", folder, name);
    ls_status status = grow(view, rank + 1);
    ls_flight_record *record = status == LS_OK ? malloc(sizeof *record) : NULL;
    if (!record)
        return status != LS_OK ? status : ls_fail(LS_EMEM, "no memory for %d ranks", rank + 1);
    ls_status read = ls_flight_read(path, record);
    if (read == LS_OK && record->rank != rank)
        read = ls_fail(LS_ECORRUPT, "%s: it is of rank %d", path, record->rank);
    if (read == LS_OK) {
        view->rank[rank].record = record;
        return grow(view, record->ranks);
    }
    snprintf(view->rank[rank].why, sizeof view->rank[rank].why, "%s", ls_fail_sentence());
    free(record);
    return LS_OK;
}

static ls_status read_all(ls_run_view *view, const char *run)
{
    char path[4096];
    snprintf(path, sizeof path, "%.4000s/flight", run);
    DIR *folder = opendir(path);
    if (!folder && access(run, F_OK) != 0)
        return ls_fail(LS_ENOTFOUND, "%s: no such run folder; name the one that `run:` names in the recipe", run);
    if (!folder)
        return ls_fail(LS_ENOTFOUND, "%s: %s; no rank has begun there, or an older lockstep ran", path, strerror(errno));
    ls_status status = LS_OK;
    for (const struct dirent *entry; status == LS_OK && (entry = readdir(folder));) {
        const int rank = rank_of(entry->d_name);
        if (rank >= 0)
            status = read_rank(view, path, entry->d_name, rank);
    }
    closedir(folder);
    if (status == LS_OK && !view->ranks)
        status = ls_fail(LS_ENOTFOUND, "%s: no flight records in it", path);
    return status;
}

/* ---- judging ---- */

static ls_rank_state state_of(const ls_flight_record *record)
{
    static const ls_rank_state ended[] = {LS_RANK_WORKS, LS_RANK_FINISHED, LS_RANK_STOPPED, LS_RANK_FAILED};
    static const ls_rank_state alive[] = {LS_RANK_WORKS, LS_RANK_HELD, LS_RANK_SILENT, LS_RANK_DEAD};
    if (record->state != LS_FLIGHT_RUNNING)
        return ended[record->state];
    const ls_rank_state state = alive[ls_flight_alive(record)];
    return state == LS_RANK_WORKS && record->waits_since > 0 && record->awaits >= 0 ? LS_RANK_WAITS : state;
}

static void judge_rank(ls_rank_view *rank)
{
    const ls_flight_record *record = rank->record;
    rank->state = record ? state_of(record) : LS_RANK_UNKNOWN;
    if (!record)
        return;
    const bool waits = rank->state == LS_RANK_WAITS;
    rank->waits_for = waits ? record->awaits : -1;
    rank->since = ls_flight_age(record, waits ? record->waits_since : record->place[LS_FLIGHT_MAIN].since);
}

static int count_of(const ls_run_view *view, ls_rank_state state, int *first)
{
    int count = 0;
    for (int rank = view->ranks - 1; rank >= 0; rank--)
        if (view->rank[rank].state == state) {
            count++;
            *first = rank;
        }
    return count;
}

/* Whoever all wait for in the end: from a rank that waits on and on to one that does not. -1: they wait in a ring, or
 * the one waited for does not wait long enough to be told from work. */
static int root_of(const ls_run_view *view, int rank)
{
    for (int turn = 0; turn < view->ranks && rank >= 0 && view->rank[rank].state == LS_RANK_WAITS; turn++)
        rank = view->rank[rank].waits_for;
    return rank >= 0 && rank < view->ranks && view->rank[rank].state != LS_RANK_WAITS ? rank : -1;
}

static void judge_living(ls_run_view *view)
{
    int longest = -1, held = -1;
    for (int rank = 0; rank < view->ranks; rank++)
        if (view->rank[rank].state == LS_RANK_WAITS && (longest < 0 || view->rank[rank].since > view->rank[longest].since))
            longest = rank;
    view->state = LS_RUN_WORKS;
    if (count_of(view, LS_RANK_HELD, &held) || count_of(view, LS_RANK_SILENT, &held)) {
        view->state = LS_RUN_HANGS;
        view->culprit = held;
        view->hangs_for = ls_flight_age(view->rank[held].record, view->rank[held].record->beat);
    } else if (longest >= 0 && view->rank[longest].since > HANG_SECONDS) {
        view->state = LS_RUN_HANGS;
        view->culprit = root_of(view, longest);
        view->hangs_for = view->rank[longest].since;
    }
}

static void judge(ls_run_view *view)
{
    int first = -1, dead = -1, unused;
    view->culprit = -1;
    for (int rank = 0; rank < view->ranks; rank++) {
        ls_rank_view *one = &view->rank[rank];
        judge_rank(one);
        if (one->record && one->record->step >= view->step) {
            view->step = one->record->step;
            view->steps = one->record->steps;
        }
    }
    const int known = view->ranks - count_of(view, LS_RANK_UNKNOWN, &unused), gone = count_of(view, LS_RANK_DEAD, &dead);
    if (count_of(view, LS_RANK_FAILED, &first)) {
        view->state = LS_RUN_HAS_FAILED;
        view->culprit = first;
    } else if (known && gone == known) {
        view->state = LS_RUN_IS_DEAD;
    } else if (gone) {
        view->state = LS_RUN_IS_DYING;
        view->culprit = dead;
    } else if (count_of(view, LS_RANK_FINISHED, &first)) {
        view->state = LS_RUN_HAS_FINISHED;
    } else if (count_of(view, LS_RANK_STOPPED, &first)) {
        view->state = LS_RUN_HAS_STOPPED;
    } else if (known) {
        judge_living(view);
    }
}

ls_status ls_run_view_read(ls_run_view *view, const char *run)
{
    *view = (ls_run_view){0};
    const ls_status status = read_all(view, run);
    if (status == LS_OK)
        judge(view);
    else
        ls_run_view_free(view);
    return status;
}

void ls_run_view_free(ls_run_view *view)
{
    for (int rank = 0; rank < view->ranks; rank++)
        free(view->rank[rank].record);
    free(view->rank);
    *view = (ls_run_view){0};
}
