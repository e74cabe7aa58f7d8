/* A rank's file: drawn in memory by HDF5 (headers and the place of each slice), then written front to back in pieces.
 *
 * Draw and write are apart so that the places are known, and may be listed, before a byte of data is on the disk; and
 * writing is in rounds of bounded work so that no rank is silent for long: between rounds all ranks say that they are
 * alive, and one that failed stops the others. A background writer would call the same rounds from its own thread. */
#pragma once
#include "checkpoint/gather.h"

typedef struct ls_rank_file ls_rank_file;

/* Fills in share->slice[].offset. The entries' memory must stay until the last round. */
ls_status ls_rank_file_draw(ls_rank_file **file, ls_share *share, int64_t step, uint64_t save, int rank, int ranks);
int64_t ls_rank_file_bytes(const ls_rank_file *file);
ls_status ls_rank_file_create(ls_rank_file *file, const char *folder);
/* Writes up to `budget` bytes. *done: all is written and synced. */
ls_status ls_rank_file_write(ls_rank_file *file, int64_t budget, bool *done);
/* The row of the list; when done. */
ls_file_row ls_rank_file_row(const ls_rank_file *file);
void ls_rank_file_free(ls_rank_file *file);
