/* Whole files: written to the disk itself, copied, summed. */
#pragma once
#include "base/error.h"
#include "base/type.h"

/* Writes and fsyncs: after LS_OK the bytes are on the disk. LS_ESPACE, LS_EIO; then what is there is not to be used. */
ls_status ls_data_file_write(const char *path, const void *bytes, size_t count);
/* XXH3 of all bytes, seed LS_HASH_SEED. LS_ENOTFOUND, LS_EIO, LS_EFORMAT: not a regular file. */
ls_status ls_data_file_sum(const char *path, uint64_t *sum);
/* Copies a file, fsyncs the copy, and gives the sum of its bytes. */
ls_status ls_data_file_copy(const char *from, const char *to, uint64_t *sum);
