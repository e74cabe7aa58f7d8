/* The background of a save on one rank: two threads, and a pool of copies that wait for the disk.
 *
 *     memory that training will change  --take-->  pool, at most `buffer` bytes  --put-->  disk
 *
 * One thread takes, copying and hashing chunks, as far as the pool has room; the other hashes the file and puts.
 * Training waits for the first alone, and not at all when the pool holds what the disk has not swallowed by the time
 * the optimiser comes. Neither calls a collective.
 *
 * A disk may hang (a file server that is away) in a call that nobody can end. Then the work is given up: its owner goes
 * on, the thread keeps what it works on, frees it if the call ever comes back, and takes no new work before. */
#pragma once
#include "checkpoint/rank_file.h"

typedef struct ls_writer ls_writer;
typedef enum { LS_WRITER_IDLE, LS_WRITER_BUSY, LS_WRITER_DONE, LS_WRITER_FAILED } ls_writer_state;

/* buffer: bytes of the pool at most; patience: seconds without progress after which work is given up; read_back: a file
 * is read again and compared before it counts as written. */
ls_status ls_writer_open(ls_writer **writer, int64_t buffer, double patience, bool read_back);
/* Work under way is asked to stop; a thread that hangs is left behind with its memory. */
void ls_writer_close(ls_writer *writer);

/* Makes the pool ready for a file of `bytes`. LS_EMEM. LS_EIO: the thread still hangs in work that was given up. */
ls_status ls_writer_prepare(ls_writer *writer, int64_t bytes);
/* Begins to write `file`, which is the writer's until ls_writer_end. */
void ls_writer_start(ls_writer *writer, ls_rank_file *file);
/* Begins any other work; `forget` frees its context if it was given up. */
void ls_writer_call(ls_writer *writer, ls_status (*work)(void *context), void (*forget)(void *context), void *context);

/* IDLE: nothing was begun since the last end. Gives up when patience is at its end: then FAILED. */
ls_writer_state ls_writer_look(ls_writer *writer);
/* Until all is taken, or the work is over or given up. */
void ls_writer_wait_taken(ls_writer *writer);
/* Until the work is over or given up, or `seconds` have passed. */
void ls_writer_wait(ls_writer *writer, double seconds);
/* Asks the writing of a file to stop, and waits until it does or is given up. */
void ls_writer_cancel(ls_writer *writer);
/* When its last piece was done, or the work; seconds of the monotonic clock. */
double ls_writer_progress(ls_writer *writer);
/* How the work went, with its sentence, once it is not BUSY. *kept: it was given up, file or context belong to the
 * thread. */
ls_status ls_writer_end(ls_writer *writer, bool *kept);
