/* Shared sums: the exchange of `block` between ranks of one node whose partial sums lie in shared memory.
 *
 * Nothing is copied: the owner of a slice reads the others' partial sums where backward left them, and writes the sum
 * over its own. Bucket by bucket, as soon as every rank has finished it in its last grain, so most of it happens in the
 * communication thread while backward goes on:
 *
 *     rank 0   last grain:  b3 b2 b1 b0            partial sums |..own slice..|..........|
 *     rank 1   last grain:    b3 b2 b1 b0                       |.............|own slice.|
 *                             |  |  |  |                               ^ reads the other rank's
 *              owner adds     b3 b2 b1 b0
 *
 * The bytes a rank moves are the least there can be: each slice of each rank read once, the sum written once. */
#pragma once
#include "dist/reducer.h"

typedef struct ls_shared_sums ls_shared_sums;

/* Do all ranks share memory, and has nobody asked for another transport? The same on all ranks. */
bool ls_shared_sums_fit(const ls_reducer *r);
/* Collective. `places` whole gradients, one after the other, at *sums. LS_ESPACE, on all ranks alike: the node's shared
 * memory is too small. */
ls_status ls_shared_sums_open(ls_shared_sums **shared, ls_reducer *r, int places, float **sums);
/* Also inside a step, after a failure. */
void ls_shared_sums_close(ls_shared_sums *shared);

/* A step begins; the partial sums may be written. nodes: what each rank will end with; stays until finish. */
void ls_shared_sums_begin(ls_shared_sums *shared, const ls_block_nodes *nodes);
/* Elements [begin, begin + count), whole chunks, are final on this rank. */
void ls_shared_sums_complete(ls_shared_sums *shared, int64_t begin, int64_t count);
/* Waits until this rank's slice is summed, and until nobody reads this rank's partial sums any more. */
ls_status ls_shared_sums_finish(ls_shared_sums *shared);
