/* See best.h. */
#include "checkpoint/best.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint/folder.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static ls_status best_path(char path[LS_PATH], const char *run, const char *suffix)
{
    return ls_folder_fits(snprintf(path, LS_PATH, "%s/checkpoints/best%s", run, suffix));
}

int64_t ls_best_step(const char *run)
{
    char path[LS_PATH], target[64];
    ls_folder_row row;
    if (best_path(path, run, "") != LS_OK)
        return 0;
    const ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0)
        return 0;
    target[length] = '\0';
    return ls_folder_parse(target, &row) && !row.suffix[0] ? row.step : 0;
}

ls_status ls_best_point(const char *run, int64_t step)
{
    char folder[LS_PATH], committed[LS_PATH], partial[LS_PATH], best[LS_PATH];
    ls_status status = ls_folder_path(folder, run);
    if (status == LS_OK)
        status = ls_folder_step_path(committed, run, step, "");
    if (status == LS_OK)
        status = best_path(partial, run, ".partial");
    if (status == LS_OK)
        status = best_path(best, run, "");
    if (status != LS_OK || step <= 0 || ls_best_step(run) == step || !ls_disk_exists(committed))
        return status;
    if (ls_disk_exists(partial))
        status = ls_disk_remove(partial); /* 12 */
    if (status == LS_OK)
        status = ls_disk_link(strrchr(committed, '/') + 1, partial); /* 12 */
    if (status == LS_OK)
        status = ls_disk_rename(partial, best);                    /* 12 */
    return status == LS_OK ? ls_disk_sync_folder(folder) : status; /* 12 */
}

int64_t ls_checkpoint_best(const char *run)
{
    return ls_best_step(run);
}

ls_status ls_checkpoint_point_best(const char *run, int64_t step)
{
    return ls_best_point(run, step);
}
