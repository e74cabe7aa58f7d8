/* Will the checkpoints of this run fit? Asked at step 0, because a full disk at the last checkpoint is too late. */
#include "checkpoint/checkpoint.h"

#include "checkpoint/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t state_bytes(ls_state_tree *tree)
{
    int64_t bytes = 0;
    for (int i = 0; i < ls_state_count(tree); i++) {
        const ls_state_entry *entry = ls_state_at(tree, i);
        if (entry->kind != LS_STATE_GRADIENT)
            bytes += ls_state_elements(entry) * (int64_t)ls_type_size(entry->type);
    }
    return bytes;
}

/* Committed checkpoints of the run; they make room as new ones come. */
static ls_status count_committed(const char *run, int *committed)
{
    ls_folder_row *rows;
    int count;
    ls_status status = ls_folder_list(run, &rows, &count);
    *committed = 0;
    for (int i = 0; status == LS_OK && i < count; i++)
        *committed += rows[i].suffix[0] == '\0';
    free(rows);
    return status;
}

/* The run folder may not be there yet: the disk is that of the nearest folder above it that is. */
static void nearest_folder(const char *run, char path[LS_PATH])
{
    snprintf(path, LS_PATH, "%s", run);
    while (!ls_disk_exists(path)) {
        char *slash = strrchr(path, '/');
        if (!slash) {
            strcpy(path, ".");
            return;
        }
        slash[slash == path] = '\0'; /* "/x" is in "/" */
    }
}

static ls_status check(ls_state_tree *tree, const char *run, int keep)
{
    int committed;
    ls_status status = count_committed(run, &committed);
    if (status != LS_OK)
        return status;
    char path[LS_PATH];
    nearest_folder(run, path);
    int64_t each = state_bytes(tree), more = keep + 1 - (committed < keep ? committed : keep);
    status = ls_disk_room(path, more * each, each);
    if (status != LS_ESPACE)
        return status;
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", ls_fail_sentence());
    return ls_fail(status,
                   "%s: %lld more checkpoints of %.3g GiB will be written, checkpoint.keep (now %d) and one on its way",
                   sentence, (long long)more, (double)each / (1 << 30), keep);
}

ls_status ls_checkpoint_room(ls_world *world, ls_state_tree *tree, const char *run, int keep)
{
    return ls_agree(world, ls_world_rank(world) == 0 ? check(tree, run, keep) : LS_OK, "checkpoint room");
}
