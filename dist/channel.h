/* Channel: numbered exchanges between all ranks, the one way in which bytes travel between them.
 *
 * In exchange s each rank fills one slot of its memory and offers each peer a segment of it (any two may overlap, or be
 * empty); each rank looks at the segments it was offered and releases the exchange. The number of slots is how far the
 * fastest rank may run ahead. Reductions, gathers and barriers are state machines over exchanges, and none of them
 * knows which transport carries a segment:
 *
 *     rank 0   slot s % slots |--for 1--|--for 2--|--for 3--|        near ranks read the slot itself (shared window),
 *                                                                   far ranks receive a copy (MPI)
 *
 * All functions but ls_channel_slot belong to the communication thread. Exchanges are posted and released in order, by
 * every rank. Both sides know who offers what to whom: a rank must take exactly the segments that are not empty. */
#pragma once
#include "base/error.h"
#include "base/type.h"
#include "dist/world.h"

typedef struct ls_channel ls_channel;

typedef struct {
    size_t offset, bytes;
} ls_segment;

typedef struct {
    size_t slot_bytes;     /* at most 1 GiB */
    int slots;             /* at least 2 */
    const char *transport; /* NULL: the best for each pair; "window" (refused where pairs have none), "mpi" */
    const char *name;      /* for the log */
} ls_channel_options;

/* Collective. */
ls_status ls_channel_open(ls_channel **channel, ls_world *world, const ls_channel_options *options);
void ls_channel_close(ls_channel *channel);
/* "window transport", "mpi transport" or "window + mpi transport" */
const char *ls_channel_describe(const ls_channel *channel);
/* The most memory a rank's channel may use: slots, and what is received from far ranks. */
size_t ls_channel_memory(size_t slot_bytes, int slots, int far_ranks);

/* The number of the next exchange to be posted. */
int64_t ls_channel_next(const ls_channel *channel);
size_t ls_channel_slot_bytes(const ls_channel *channel);
/* This rank's memory for exchange s; may be written once ls_channel_writable(s), until the post. */
void *ls_channel_slot(const ls_channel *channel, int64_t s);
/* Has everybody done with what lay in the slot before? */
bool ls_channel_writable(const ls_channel *channel, int64_t s);
/* If not: a rank that has not. */
int ls_channel_reader(const ls_channel *channel, int64_t s);
/* The slot is filled: to[ranks], to[this rank] is ignored. */
ls_status ls_channel_post(ls_channel *channel, int64_t s, const ls_segment *to);
/* What `from` offered this rank, which must not be empty; *data NULL: not there yet. Stays until the release. */
ls_status ls_channel_take(ls_channel *channel, int64_t s, int from, const void **data, size_t *bytes);
void ls_channel_release(ls_channel *channel, int64_t s);
