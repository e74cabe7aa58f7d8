/* Elements of a checkpoint's tensors, read from wherever they lie and checked as they come.
 * One file is open at a time; nothing is buffered beyond a chunk. */
#pragma once
#include "checkpoint/disk.h"
#include "checkpoint/manifest.h"

typedef struct {
    const ls_manifest *manifest;
    char folder[LS_PATH];
    int64_t open; /* number of the open file, -1: none */
    int fd;
    char path[LS_PATH + 64]; /* of the open file */
} ls_reader;

ls_status ls_reader_open(ls_reader *reader, const char *folder, const ls_manifest *manifest);
void ls_reader_close(ls_reader *reader);
/* Elements [begin, begin + count) of a tensor into `data`: whole chunks, but for the tensor's end. LS_ECORRUPT names
 * file, tensor and elements; `data` then holds rubbish. */
ls_status ls_reader_read(ls_reader *reader, int64_t tensor, int64_t begin, int64_t count, void *data);
