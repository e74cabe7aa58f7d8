/* See folder.h. */
#include "checkpoint/folder.h"

#include "base/log.h"
#include "checkpoint/verify.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

ls_status ls_folder_fits(int length)
{
    return length < LS_PATH ? LS_OK : ls_fail(LS_EARG, "a path of %d bytes, the limit is %d", length, LS_PATH - 1);
}

ls_status ls_folder_path(char path[LS_PATH], const char *run)
{
    return ls_folder_fits(snprintf(path, LS_PATH, "%s/checkpoints", run));
}

ls_status ls_folder_step_path(char path[LS_PATH], const char *run, int64_t step, const char *suffix)
{
    return ls_folder_fits(snprintf(path, LS_PATH, "%s/checkpoints/step-%08lld%s", run, (long long)step, suffix));
}

bool ls_folder_parse(const char *name, ls_folder_row *row)
{
    char again[64];
    int end = 0;
    long long step;
    if (sscanf(name, "step-%18lld%n", &step, &end) != 1 || step < 0 || strlen(name + end) >= sizeof row->suffix)
        return false;
    row->step = step;
    strcpy(row->suffix, name + end);
    snprintf(again, sizeof again, "step-%08lld%s", step, row->suffix);
    return strcmp(again, name) == 0 &&
           (!row->suffix[0] || strcmp(row->suffix, ".partial") == 0 || strcmp(row->suffix, ".removed") == 0 ||
            strncmp(row->suffix, ".damaged-", 9) == 0);
}

static int newest_first(const void *a, const void *b)
{
    const ls_folder_row *x = a, *y = b;
    if (x->step != y->step)
        return x->step > y->step ? -1 : 1;
    return strcmp(x->suffix, y->suffix);
}

ls_status ls_folder_list(const char *run, ls_folder_row **rows, int *count)
{
    char path[LS_PATH];
    *rows = NULL;
    *count = 0;
    ls_status status = ls_folder_path(path, run);
    if (status != LS_OK)
        return status;
    DIR *folder = opendir(path);
    if (!folder)
        return errno == ENOENT ? LS_OK : ls_disk_fail(path, "open");
    int room = 0;
    errno = 0;
    for (struct dirent *entry; status == LS_OK && (entry = readdir(folder)); errno = 0) {
        ls_folder_row row;
        if (!ls_folder_parse(entry->d_name, &row))
            continue;
        if (*count == room) {
            room = room ? 2 * room : 16;
            ls_folder_row *more = realloc(*rows, (size_t)room * sizeof *more);
            if (!more) {
                status = ls_fail(LS_EMEM, "%s: no memory to list it", path);
                break;
            }
            *rows = more;
        }
        (*rows)[(*count)++] = row;
    }
    if (status == LS_OK && errno != 0)
        status = ls_disk_fail(path, "list");
    closedir(folder);
    if (status == LS_OK && *count > 0)
        qsort(*rows, (size_t)*count, sizeof **rows, newest_first);
    if (status != LS_OK) {
        free(*rows);
        *rows = NULL;
        *count = 0;
    }
    return status;
}

ls_status ls_folder_newest(const char *path, char found[LS_PATH])
{
    ls_folder_row *rows;
    int count;
    ls_status status = ls_folder_list(path, &rows, &count);
    if (status == LS_OK)
        status = ls_folder_fits(snprintf(found, LS_PATH, "%s", path));
    for (int i = 0; status == LS_OK && i < count; i++) {
        if (!rows[i].suffix[0]) {
            status = ls_folder_step_path(found, path, rows[i].step, "");
            break;
        }
    }
    free(rows);
    return status;
}

ls_status ls_folder_resolve(const char *path, char found[LS_PATH])
{
    char joining[LS_PATH];
    ls_status status = ls_folder_fits(snprintf(joining, sizeof joining, "%s/" LS_CHECKPOINT_JOINING, path));
    if (status != LS_OK)
        return status;
    if (ls_disk_exists(joining)) {
        snprintf(found, LS_PATH, "%s", path);
        return LS_OK;
    }
    ls_folder_row *rows;
    int count, damaged = 0;
    status = ls_folder_list(path, &rows, &count);
    for (int i = 0; status == LS_OK && i < count; i++) {
        if (rows[i].suffix[0])
            continue;
        status = ls_folder_step_path(found, path, rows[i].step, "");
        if (status == LS_OK && (status = ls_verify_quickly(found)) == LS_OK)
            goto done;
        if (ls_verify_is_damage(status)) {
            ls_log_write(LS_LOG_WARN, "checkpoint", "%s; trying the one before", ls_fail_sentence());
            damaged++;
            status = LS_OK;
        }
    }
    if (status == LS_OK)
        status = damaged
                     ? ls_fail(LS_ECORRUPT, "%s: %d checkpoints, none of them whole", path, damaged)
                     : ls_fail(LS_ENOTFOUND, "%s: no checkpoint here; give a run folder or a checkpoint folder", path);
done:
    free(rows);
    return status;
}
