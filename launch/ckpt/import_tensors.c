/* Tensors of which no config says what network they are: a checkpoint that holds them under their names, for `ckpt
 * info`, `hash`, h5dump and h5py. F16 becomes f32, BOOL u8; what has no such type here is refused by name. */
#include "checkpoint/disk.h"
#include "checkpoint/foreign/foreign.h"
#include "launch/ckpt/import.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool ls_ckpt_is_tensors(const char *path)
{
    static const char *const ends[] = {".safetensors", ".pt", ".pth", ".npz"};
    const char *dot = strrchr(path, '.');
    struct stat about;
    for (size_t i = 0; dot && i < sizeof ends / sizeof *ends; i++)
        if (!strcmp(dot, ends[i]))
            return true;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

static ls_status type_of(const ls_foreign_tensor *tensor, ls_type *type)
{
    switch (tensor->type) {
    case LS_FOREIGN_F32:
    case LS_FOREIGN_F16: *type = LS_F32; return LS_OK;
    case LS_FOREIGN_BF16: *type = LS_BF16; return LS_OK;
    case LS_FOREIGN_F64: *type = LS_F64; return LS_OK;
    case LS_FOREIGN_I64: *type = LS_I64; return LS_OK;
    case LS_FOREIGN_I32: *type = LS_I32; return LS_OK;
    case LS_FOREIGN_U8:
    case LS_FOREIGN_BOOL: *type = LS_U8; return LS_OK;
    default:
        return ls_fail(LS_EFORMAT, "%s: tensor \"%.200s\" is %s, a type that checkpoints here have not; convert it",
                       tensor->file, tensor->name, ls_foreign_type_name(tensor->type));
    }
}

/* The tensor with a copy of its numbers, which is the caller's to free (entry.data). */
static ls_status add_tensor(ls_state_tree *tree, const ls_foreign_tensor *tensor, void **copy)
{
    ls_state_entry entry = {
        .name = tensor->name, .kind = LS_STATE_PARAMETER, .ndim = tensor->ndim, .held = tensor->count};
    ls_status status = type_of(tensor, &entry.type);
    if (status != LS_OK)
        return status;
    memcpy(entry.shape, tensor->shape, (size_t)tensor->ndim * sizeof *entry.shape);
    const size_t bytes = (size_t)tensor->count * ls_type_size(entry.type);
    entry.data = *copy = malloc(bytes + 1);
    if (!*copy)
        return ls_fail(LS_EMEM, "%s: no memory for tensor \"%.200s\"", tensor->file, tensor->name);
    if (entry.type == LS_F32)
        status = ls_foreign_floats(tensor, 0, tensor->count, *copy);
    else
        memcpy(*copy, tensor->data, bytes);
    return status == LS_OK ? ls_fail_at(ls_state_add(tree, &entry), "%s", tensor->file) : status;
}

ls_status ls_ckpt_import_tensors(const char *path, const char *out)
{
    char partial[LS_PATH];
    ls_foreign *set = NULL;
    ls_state_tree *tree = NULL;
    void **copies = NULL;
    ls_status status = ls_ckpt_plan(partial, out);
    if (status == LS_OK)
        status = ls_foreign_open(&set, path);
    const int count = set ? ls_foreign_count(set) : 0;
    if (status == LS_OK && !count)
        status = ls_fail(LS_EFORMAT, "%s: no tensors in it", path);
    if (status == LS_OK && (!(tree = ls_state_create()) || !(copies = calloc((size_t)count, sizeof *copies))))
        status = ls_fail(LS_EMEM, "%s: no memory for the list of its %d tensors", path, count);
    for (int i = 0; i < count && status == LS_OK; i++)
        status = add_tensor(tree, ls_foreign_at(set, i), &copies[i]);
    if (status == LS_OK)
        status = ls_disk_make_folder(partial);
    if (status == LS_OK)
        status = ls_ckpt_save(tree, partial, "");
    if (status == LS_OK)
        status = ls_disk_rename(partial, out);
    if (status == LS_OK)
        printf("%s: %d tensors as they are; `lockstep ckpt info %s` lists them\n", out, count, out);
    for (int i = 0; i < count && copies; i++)
        free(copies[i]);
    free(copies);
    if (tree)
        ls_state_free(tree);
    ls_foreign_close(set);
    return status;
}
