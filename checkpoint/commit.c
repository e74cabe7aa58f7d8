/* See commit.h; each line's number is that of format.h. */
#include "checkpoint/commit.h"

#include "base/log.h"
#include "checkpoint/best.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/folder.h"
#include "checkpoint/joining.h"
#include "checkpoint/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ls_status ls_commit_plan(ls_commit *commit, const char *run, int64_t step)
{
    if (step < 0 || snprintf(commit->run, sizeof commit->run, "%s", run) >= (int)sizeof commit->run)
        return ls_fail(LS_EARG, "step %lld, or a path too long, cannot be saved", (long long)step);
    commit->step = step;
    ls_status status = ls_folder_path(commit->parent, run);
    if (status == LS_OK)
        status = ls_folder_step_path(commit->partial, run, step, ".partial");
    if (status == LS_OK)
        status = ls_folder_step_path(commit->final, run, step, "");
    return status;
}

/* To the first .damaged-K that is free. */
static ls_status set_aside(const ls_commit *commit, const char *path)
{
    char aside[LS_PATH];
    for (int k = 1;; k++) {
        char suffix[24];
        snprintf(suffix, sizeof suffix, ".damaged-%d", k);
        ls_status status = ls_folder_step_path(aside, commit->run, commit->step, suffix);
        if (status != LS_OK)
            return status;
        if (!ls_disk_exists(aside))
            break;
    }
    ls_log_write(LS_LOG_WARN, "checkpoint", "%s is not whole; set aside as %s", path, aside);
    return ls_disk_rename(path, aside);
}

ls_status ls_commit_meet(const ls_commit *commit, bool *whole, uint64_t *hash)
{
    *whole = false;
    *hash = 0;
    ls_status status = ls_disk_make_folder(commit->parent);
    if (status == LS_OK && ls_disk_exists(commit->partial)) /* 1 */
        status = set_aside(commit, commit->partial);
    if (status != LS_OK || !ls_disk_exists(commit->final))
        return status;
    ls_manifest *old = NULL;
    status = ls_joining_read(commit->final, &old);
    if (status == LS_OK)
        status = ls_verify_files(commit->final, old, 0, 1);
    *whole = status == LS_OK;
    *hash = *whole ? ls_manifest_hash(old, -1) : 0;
    ls_manifest_free(old);
    return ls_verify_is_damage(status) ? set_aside(commit, commit->final) : status; /* 1 */
}

ls_status ls_commit_begin(const ls_commit *commit, int64_t bytes, int64_t largest)
{
    const ls_status status = ls_disk_room(commit->parent, bytes, largest);  /* 2 */
    return status == LS_OK ? ls_disk_make_folder(commit->partial) : status; /* 2 */
}

/* The joining file, of which the reader will believe every byte. */
static ls_status write_joining(const ls_commit *commit, ls_manifest *manifest)
{
    char path[LS_PATH + 32];
    snprintf(path, sizeof path, "%s/" LS_CHECKPOINT_JOINING, commit->partial);
    ls_memory_file file;
    int fd;
    ls_status status = ls_joining_draw(manifest, &file);
    if (status != LS_OK)
        return status;
    status = ls_disk_create(path, &fd); /* 6 */
    if (status == LS_OK) {
        status = ls_disk_write(fd, path, file.bytes, file.size, 0); /* 6 */
        if (status == LS_OK)
            status = ls_disk_sync(fd, path);          /* 7 */
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* who reads it next shall see the disk; a hint */
        if (close(fd) != 0 && status == LS_OK)
            status = ls_disk_fail(path, "close");
    }
    ls_memory_file_free(&file);
    return status;
}

static ls_status read_joining_back(const ls_commit *commit)
{
    ls_manifest *read;
    const ls_status status = ls_joining_read(commit->partial, &read);
    ls_manifest_free(read);
    return status;
}

ls_status ls_commit_finish(const ls_commit *commit, ls_manifest *manifest, bool read_back)
{
    ls_status status = write_joining(commit, manifest); /* 6, 7 */
    if (status == LS_OK && read_back)
        status = read_joining_back(commit);
    if (status == LS_OK)
        status = ls_disk_sync_folder(commit->partial); /* 8 */
    if (status == LS_OK)
        status = ls_disk_rename(commit->partial, commit->final); /* 9 */
    if (status == LS_OK)
        status = ls_disk_sync_folder(commit->parent); /* 10 */
    return status;
}

void ls_commit_abandon(const ls_commit *commit)
{
    char cause[2048]; /* why it is abandoned is what the user must hear, not how the clean-up went */
    snprintf(cause, sizeof cause, "%s", ls_fail_sentence());
    if (ls_disk_exists(commit->partial) && ls_disk_remove_folder(commit->partial) != LS_OK)
        ls_log_write(LS_LOG_WARN, "checkpoint", "%s; it is not a checkpoint and may be removed by hand",
                     ls_fail_sentence());
    ls_fail_copy(LS_EIO, cause);
}

/* In two steps, so that a folder under a checkpoint's name is never half empty. */
static ls_status discard(const char *run, const ls_folder_row *row)
{
    char path[LS_PATH], removed[LS_PATH];
    ls_status status = ls_folder_step_path(path, run, row->step, row->suffix);
    if (status == LS_OK)
        status = ls_folder_step_path(removed, run, row->step, ".removed");
    if (status == LS_OK && strcmp(row->suffix, ".removed") != 0) {
        if (ls_disk_exists(removed))
            status = ls_disk_remove_folder(removed);
        if (status == LS_OK)
            status = ls_disk_rename(path, removed);
    }
    return status == LS_OK ? ls_disk_remove_folder(removed) : status;
}

static bool is_whole(const char *run, const ls_folder_row *row)
{
    char path[LS_PATH];
    return !row->suffix[0] && ls_folder_step_path(path, run, row->step, "") == LS_OK && ls_verify_quickly(path) == LS_OK;
}

ls_status ls_commit_keep(const ls_commit *commit, const ls_commit_kept *kept)
{
    ls_folder_row *rows;
    int count, whole = 0;
    bool based = kept->base <= 0; /* the newest multiple of it is among those that stay */
    ls_status first_failure = ls_best_point(commit->run, kept->best),
              status = ls_folder_list(commit->run, &rows, &count);
    if (status != LS_OK)
        return status;
    /* `named`: another than `best` if that could not be written */
    int64_t oldest_kept = INT64_MAX, named = ls_best_step(commit->run);
    for (int i = 0; i < count; i++) { /* newest first */
        const int64_t step = rows[i].step;
        const bool is_committed = !rows[i].suffix[0], is_removed = strcmp(rows[i].suffix, ".removed") == 0;
        const bool is_best = step > 0 && (step == kept->best || step == named);
        const bool is_due = kept->every > 0 && step % kept->every == 0;
        const bool is_base = !based && step % kept->base == 0 && is_whole(commit->run, &rows[i]);
        based = based || is_base;
        if (is_committed && (is_best || is_due || is_base) && whole >= kept->newest)
            continue;
        if (whole >= kept->newest ? step < oldest_kept || is_removed : is_removed) {
            status = discard(commit->run, &rows[i]);
            if (status != LS_OK && status != LS_ENOTFOUND && first_failure == LS_OK)
                first_failure = status;
        } else if (whole < kept->newest && is_whole(commit->run, &rows[i])) {
            whole++;
            oldest_kept = step;
        }
    }
    free(rows);
    return first_failure;
}

ls_status ls_checkpoint_remove_after(const char *run, int64_t step)
{
    ls_folder_row *rows;
    int count;
    ls_status status = ls_folder_list(run, &rows, &count);
    if (status != LS_OK)
        return status;
    const int64_t best = ls_best_step(run);
    for (int i = 0; i < count && status == LS_OK; i++)
        if (rows[i].step > step && rows[i].step != best && !rows[i].suffix[0])
            status = discard(run, &rows[i]);
    free(rows);
    return status;
}
