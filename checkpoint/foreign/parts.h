/* What the readers of checkpoint/foreign/ share. */
#pragma once
#include "checkpoint/disk.h"
#include "checkpoint/foreign/foreign.h"
#include "checkpoint/foreign/zip.h"

typedef struct {
    char *path;
    const void *bytes;
    size_t size;
    bool mapped; /* false: the caller's memory */
} ls_foreign_file;

struct ls_foreign {
    ls_foreign_file *file;
    int files, files_room;
    ls_foreign_tensor *tensor; /* names are malloc'ed, .file is the file's own path */
    int count, room;
};

/* Maps a regular file, the newest of the set. LS_ENOTFOUND, LS_EIO, LS_EMEM. */
ls_status ls_foreign_map(ls_foreign *set, const char *path);
/* A file in the caller's memory. */
ls_status ls_foreign_lend(ls_foreign *set, const char *name, const void *bytes, size_t size);
/* Copies *tensor and its name, as one of the newest file. */
ls_status ls_foreign_add(ls_foreign *set, const ls_foreign_tensor *tensor);
/* Sorts by name; ls_foreign_find needs it. LS_EFORMAT: one name in two files. */
ls_status ls_foreign_settle(ls_foreign *set);

/* count and bytes of a tensor of that type and shape. false: a size below 0, or more than 2^62 bytes. */
bool ls_foreign_measure(ls_foreign_tensor *tensor, int64_t *bytes);

/* Adds the tensors of the newest file, which is safetensors. */
ls_status ls_safetensors_parse(ls_foreign *set);
/* The same for a ZIP archive, of torch.save or numpy.savez; and for one array of the latter. */
ls_status ls_zip_parse(ls_foreign *set);
ls_status ls_numpy_add(ls_foreign *set, const ls_zip_member *member);
/* By its first bytes. */
ls_status ls_foreign_parse(ls_foreign *set);
/* Opens FOLDER/model.safetensors or the files of FOLDER/model.safetensors.index.json. */
ls_status ls_safetensors_open_folder(ls_foreign *set, const char *folder);
