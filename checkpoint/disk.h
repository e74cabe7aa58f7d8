/* The few things checkpoints do to a disk, each with a sentence that names the path and the reason.
 * Whole writes, whole reads, whole syncs: a short count is finished or reported, never returned. */
#pragma once
#include "base/error.h"
#include "base/type.h"

enum { LS_PATH = 4096 };

/* errno as status and sentence "path: cannot verb: reason; what to do". ENOSPC, EDQUOT, EFBIG: LS_ESPACE. */
ls_status ls_disk_fail(const char *path, const char *verb);

ls_status ls_disk_make_folder(const char *path);                   /* parents too; there already: LS_OK */
ls_status ls_disk_create(const char *path, int *fd);               /* new file, refused if there */
ls_status ls_disk_open(const char *path, int *fd, int64_t *bytes); /* a regular file, for reading */
/* On a failure errno is the call's. */
ls_status ls_disk_write(int fd, const char *path, const void *bytes, size_t size, int64_t offset);
/* LS_ECORRUPT: the file ends before. */
ls_status ls_disk_read(int fd, const char *path, void *bytes, size_t size, int64_t offset);
/* Writes past the page cache, from memory, to offsets and in sizes that are multiples of LS_DISK_PAGE; off again.
 * false: this file system cannot, or does not say so before a write fails with EINVAL. */
enum { LS_DISK_PAGE = 4096 };
bool ls_disk_direct(int fd, bool on);
ls_status ls_disk_sync(int fd, const char *path);
ls_status ls_disk_sync_folder(const char *path);
ls_status ls_disk_rename(const char *from, const char *to);
ls_status ls_disk_link(const char *target, const char *path); /* symbolic */
ls_status ls_disk_remove(const char *path);                   /* a file or a link */
/* A folder and the files in it. There are no folders in ours: one is left, and reported. */
ls_status ls_disk_remove_folder(const char *path);
bool ls_disk_exists(const char *path);
/* LS_ESPACE unless `bytes` more, `largest` of them in one file, fit into the file system and the file size limit. */
ls_status ls_disk_room(const char *path, int64_t bytes, int64_t largest);
