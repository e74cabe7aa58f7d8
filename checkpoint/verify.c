/* See verify.h. */
#include "checkpoint/verify.h"

#include "base/hash.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/folder.h"
#include "checkpoint/joining.h"
#include "checkpoint/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

bool ls_verify_is_damage(ls_status status)
{
    return status == LS_ECORRUPT || status == LS_EFORMAT || status == LS_ENOTFOUND || status == LS_EIO;
}

static ls_status open_listed(const char *folder, const ls_file_row *row, char path[LS_PATH], int *fd)
{
    if (snprintf(path, LS_PATH, "%s/%s", folder, row->name) >= LS_PATH)
        return ls_fail(LS_EARG, "a path of more than %d bytes", LS_PATH - 1);
    int64_t bytes;
    ls_status status = ls_disk_open(path, fd, &bytes);
    if (status != LS_OK || bytes == row->bytes)
        return status;
    close(*fd);
    return ls_fail(LS_ECORRUPT, "%s: %lld bytes, %lld were written", path, (long long)bytes, (long long)row->bytes);
}

ls_status ls_verify_quickly(const char *folder)
{
    ls_manifest *manifest;
    ls_status status = ls_joining_read(folder, &manifest);
    for (int64_t f = 0; status == LS_OK && f < manifest->files; f++) {
        char path[LS_PATH];
        int fd;
        status = open_listed(folder, &manifest->file[f], path, &fd);
        if (status == LS_OK)
            close(fd);
    }
    ls_manifest_free(manifest);
    return status;
}

/* The slices of one file, chunk by chunk: the first that is not as written is named. LS_OK: the damage is in a header.
 */
static ls_status name_damage(const char *folder, const ls_manifest *m, int64_t file, char *piece)
{
    ls_reader reader;
    ls_status status = ls_reader_open(&reader, folder, m);
    for (int64_t s = 0; status == LS_OK && s < m->slices; s++) {
        const ls_slice_row *slice = &m->slice[s];
        int64_t end = slice->begin + slice->held, step = PIECE / 8 / LS_CHUNK * LS_CHUNK;
        for (int64_t at = slice->begin; slice->file == file && status == LS_OK && at < end; at += step)
            status = ls_reader_read(&reader, slice->tensor, at, end - at < step ? end - at : step, piece);
    }
    ls_reader_close(&reader);
    return status;
}

ls_status ls_verifier_open(ls_verifier *v, const char *folder, const ls_manifest *m, int64_t first, int64_t stride)
{
    *v = (ls_verifier){.folder = folder, .manifest = m, .file = first, .stride = stride, .fd = -1};
    v->piece = malloc(PIECE);
    return v->piece ? LS_OK : ls_fail(LS_EMEM, "%s: no memory to check it", folder);
}

static void close_file(ls_verifier *v)
{
    if (v->fd >= 0)
        close(v->fd);
    ls_hasher_free(v->hasher);
    v->fd = -1;
    v->hasher = NULL;
}

void ls_verifier_close(ls_verifier *v)
{
    close_file(v);
    free(v->piece);
}

static ls_status begin_file(ls_verifier *v)
{
    ls_status status = open_listed(v->folder, &v->manifest->file[v->file], v->path, &v->fd);
    if (status != LS_OK)
        return status;
    v->at = 0;
    v->hasher = ls_hasher_create(LS_HASH_SEED);
    return v->hasher ? LS_OK : ls_fail(LS_EMEM, "%s: no memory to check it", v->path);
}

static ls_status end_file(ls_verifier *v)
{
    const ls_file_row *row = &v->manifest->file[v->file];
    uint64_t hash = ls_hasher_digest(v->hasher);
    close_file(v);
    ls_status status = hash == row->xxh3 ? LS_OK : name_damage(v->folder, v->manifest, v->file, v->piece);
    if (status == LS_OK && hash != row->xxh3)
        status = ls_fail(
            LS_ECORRUPT,
            "%s: a header, or the space between tensors, is not as it was written (XXH3 is %016llx, was %016llx)",
            v->path, (unsigned long long)hash, (unsigned long long)row->xxh3);
    v->file += status == LS_OK ? v->stride : 0;
    return status;
}

ls_status ls_verifier_read(ls_verifier *v, int64_t budget, bool *done)
{
    ls_status status = LS_OK;
    while (status == LS_OK && v->file < v->manifest->files && budget > 0) {
        int64_t bytes = v->manifest->file[v->file].bytes;
        if (v->fd < 0)
            status = begin_file(v);
        int64_t size = bytes - v->at < PIECE ? bytes - v->at : PIECE;
        if (status == LS_OK)
            status = ls_disk_read(v->fd, v->path, v->piece, (size_t)size, v->at);
        if (status != LS_OK)
            break;
        ls_hasher_add(v->hasher, v->piece, (size_t)size);
        v->at += size;
        budget -= size > 0 ? size : 1;
        if (v->at == bytes)
            status = end_file(v);
    }
    *done = v->file >= v->manifest->files;
    return status;
}

ls_status ls_verify_files(const char *folder, const ls_manifest *m, int64_t first, int64_t stride)
{
    ls_verifier v;
    bool done;
    ls_status status = ls_verifier_open(&v, folder, m, first, stride);
    if (status == LS_OK)
        status = ls_verifier_read(&v, INT64_MAX, &done);
    ls_verifier_close(&v);
    return status;
}

ls_status ls_checkpoint_verify(const char *path)
{
    char folder[LS_PATH];
    ls_status status = ls_folder_newest(path, folder);
    ls_manifest *manifest = NULL;
    if (status == LS_OK)
        status = ls_joining_read(folder, &manifest);
    if (status == LS_OK)
        status = ls_verify_files(folder, manifest, 0, 1);
    ls_manifest_free(manifest);
    return status;
}
