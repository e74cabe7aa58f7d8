/* What can be asked of a checkpoint without a run and without MPI: what is in it, and whole tensors by name. */
#include "checkpoint/checkpoint.h"

#include "checkpoint/folder.h"
#include "checkpoint/joining.h"
#include "checkpoint/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ls_status open_newest(const char *path, char folder[LS_PATH], ls_manifest **manifest)
{
    *manifest = NULL;
    ls_status status = ls_folder_resolve(path, folder);
    return status == LS_OK ? ls_joining_read(folder, manifest) : status;
}

ls_status ls_checkpoint_about(const char *path, ls_checkpoint_info *info)
{
    ls_manifest *m;
    *info = (ls_checkpoint_info){.schema = LS_CHECKPOINT_SCHEMA};
    ls_status status = open_newest(path, info->path, &m);
    if (status == LS_OK) {
        info->step = m->step;
        info->save = m->save;
        info->ranks = (int)m->files;
        info->tensors = m->tensors;
        info->state_bytes = ls_manifest_bytes(m);
        for (int64_t f = 0; f < m->files; f++)
            info->file_bytes += m->file[f].bytes;
        memcpy(info->numerics, m->numerics, sizeof info->numerics);
    }
    ls_manifest_free(m);
    return status;
}

ls_status ls_checkpoint_numerics(const char *path, char id[128])
{
    ls_checkpoint_info info;
    ls_status status = ls_checkpoint_about(path, &info);
    if (status == LS_OK)
        memcpy(id, info.numerics, sizeof info.numerics);
    return status;
}

ls_status ls_checkpoint_recipe_text(const char *path, char **text)
{
    char folder[LS_PATH];
    ls_manifest *m;
    ls_status status = open_newest(path, folder, &m);
    *text = NULL;
    if (status == LS_OK) {
        *text = m->recipe;
        m->recipe = NULL;
    }
    ls_manifest_free(m);
    return status;
}

ls_status ls_checkpoint_list(const char *path, ls_checkpoint_row row, void *context)
{
    char folder[LS_PATH];
    ls_manifest *m;
    ls_status status = open_newest(path, folder, &m);
    for (int64_t t = 0; status == LS_OK && t < m->tensors; t++) {
        ls_state_entry entry = ls_tensor_row_entry(&m->tensor[t]);
        if (!row(context, &entry, ls_manifest_tensor_hash(m, t)))
            break;
    }
    ls_manifest_free(m);
    return status;
}

ls_status ls_checkpoint_read(const char *path, const char *name, ls_state_entry *entry, void **data)
{
    char folder[LS_PATH];
    ls_manifest *m;
    ls_reader reader = {.fd = -1};
    *data = NULL;
    ls_status status = open_newest(path, folder, &m);
    if (status != LS_OK)
        return status;
    int64_t t = ls_manifest_find(m, name);
    if (t < 0) {
        status = ls_fail(LS_ENOTFOUND, "%s: no tensor \"%s\"; `lockstep ckpt info` lists them", folder, name);
        goto done;
    }
    *entry = ls_tensor_row_entry(&m->tensor[t]);
    entry->name = name;
    entry->held = ls_state_elements(entry);
    entry->data = *data = malloc((size_t)entry->held * ls_type_size(entry->type) + 1);
    if (!*data) {
        status = ls_fail(LS_EMEM, "%s: no memory for \"%s\" of %lld elements", folder, name, (long long)entry->held);
        goto done;
    }
    status = ls_reader_open(&reader, folder, m);
    if (status == LS_OK)
        status = ls_reader_read(&reader, t, 0, entry->held, *data);
    if (status != LS_OK) {
        free(*data);
        entry->data = *data = NULL;
    }
done:
    ls_reader_close(&reader);
    ls_manifest_free(m);
    return status;
}
