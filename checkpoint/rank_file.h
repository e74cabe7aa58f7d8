/* A rank's file: drawn in memory by HDF5 (headers and the place of each slice), then taken from memory and put on the
 * disk front to back in pieces.
 *
 * Draw and write are apart so that the places are known, and may be listed, before a byte of data is on the disk. Take
 * and put are apart so that the state may change as soon as its last byte is taken, however slow the disk is. Both run
 * in the background (checkpoint/writer.h); neither allocates. */
#pragma once
#include "checkpoint/checkpoint.h"
#include "checkpoint/gather.h"

typedef struct ls_rank_file ls_rank_file;

/* Fills in share->slice[].offset. The share, and the memory that its data point to, must stay until all is taken. */
ls_status ls_rank_file_draw(ls_rank_file **file, ls_share *share, int64_t step, uint64_t save, int rank, int ranks);
int64_t ls_rank_file_bytes(const ls_rank_file *file);
/* The folder it will be in. */
ls_status ls_rank_file_place(ls_rank_file *file, const char *folder);
ls_status ls_rank_file_create(ls_rank_file *file);
/* Before the first take: how the tensors' bytes are read. LS_EMEM. */
ls_status ls_rank_file_read_by(ls_rank_file *file, const ls_state_reader *reader);
/* Copies the file's next bytes, at most `room`, into `piece`, and hashes the chunks that end there into the share.
 * *taken: how many; fewer than `room`: those were the last. The reader's failure. */
ls_status ls_rank_file_take(ls_rank_file *file, char *piece, int64_t room, int64_t *taken);
/* Writes the next piece, in the order in which they were taken. Pieces begin at a page, and all but the last are whole
 * pages. */
ls_status ls_rank_file_put(ls_rank_file *file, const char *piece, int64_t size);
/* After the last piece: syncs and closes. */
ls_status ls_rank_file_end(ls_rank_file *file);
/* After the end, for a look at what the disk has: opens the file again, behind the page cache where the system allows
 * it; then reads on, at most `room` bytes into `piece`. *done: all of it, and it is what was written. LS_ECORRUPT: it
 * is not. */
ls_status ls_rank_file_reopen(ls_rank_file *file);
ls_status ls_rank_file_check(ls_rank_file *file, char *piece, int64_t room, bool *done);
/* The row of the list; after the end. */
ls_file_row ls_rank_file_row(const ls_rank_file *file);
void ls_rank_file_free(ls_rank_file *file);
