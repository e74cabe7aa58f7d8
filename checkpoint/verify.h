/* Is a checkpoint what was written? Quickly (joining file and sizes), a share of it (for a start on many ranks), or
 * all. */
#pragma once
#include "base/hash.h"
#include "checkpoint/disk.h"
#include "checkpoint/manifest.h"

/* The joining file's sum and tables, and that each listed file is there with its size. */
ls_status ls_verify_quickly(const char *folder);
/* Reads files first, first + stride, ... whole and compares their sums. A difference is named by tensor and elements
 * when it lies in one. */
ls_status ls_verify_files(const char *folder, const ls_manifest *manifest, int64_t first, int64_t stride);

/* The same in pieces. */
typedef struct {
    const char *folder;
    const ls_manifest *manifest;
    int64_t file, stride, at; /* the next file, and the byte of it */
    int fd;                   /* of that file, -1: not open */
    ls_hasher *hasher;
    char *piece;
    char path[LS_PATH];
} ls_verifier;
ls_status ls_verifier_open(ls_verifier *v, const char *folder, const ls_manifest *manifest, int64_t first,
                           int64_t stride);
/* Reads about `budget` bytes more. On a failure v->file is the file it was found in. */
ls_status ls_verifier_read(ls_verifier *v, int64_t budget, bool *done);
void ls_verifier_close(ls_verifier *v);

/* Statuses that say "this one is not whole, try another", unlike no memory or a newer schema. */
bool ls_verify_is_damage(ls_status status);
