/* The step's gradient: from grains on many ranks to one sum per slice, always added in the same tree.
 *
 *   elements of the flat buffer     |c0|c1|c2|c3|c4|c5|...        chunks of LS_CHUNK
 *   slices (ZeRO-1)                 |-- rank 0 --|-- rank 1 --|   whole chunks, as even as can be
 *   buckets                         |--b0--|--b1--|--b2--|...     whole chunks, sized for the cache
 *
 * Schedules (who computes which grain; never part of the result):
 *   block  rank r computes a contiguous block of grains; partial sums stay local, one exchange at the end of the step
 *   round  grain = round * P + rank; after each bucket of each grain its slices go to their owners
 * Transports (how bytes travel; never part of the result): shared windows inside a node, MPI between nodes. */
#pragma once
#include "dist/world.h"
#include "tensor/device.h"

typedef enum { LS_SCHEDULE_AUTO, LS_SCHEDULE_BLOCK, LS_SCHEDULE_ROUND } ls_schedule;

/* Another way for sums to travel than this library's own, made by whoever opens the reducer: dist/nccl/nccl.h. */
typedef struct ls_exchange ls_exchange;
void ls_exchange_close(ls_exchange *exchange); /* after the reducers that use it; NULL: nothing */

typedef struct {
    int64_t elements;      /* of the flat buffer, a multiple of LS_CHUNK */
    int64_t max_grains;    /* of a step */
    ls_schedule schedule;  /* AUTO is resolved by the caller */
    int64_t bucket;        /* elements, a multiple of LS_CHUNK; 0: 256 Ki (1 MiB) */
    const char *transport; /* NULL: the best; "window", "mpi" */
    const ls_exchange *exchange; /* NULL: none; must outlive the reducer. One rank has no use for it. */
} ls_reduce_options;

typedef struct ls_reducer ls_reducer;

/* The slice of `elements` that `rank` of `ranks` owns, in whole chunks. */
void ls_slice(int64_t elements, int rank, int ranks, int64_t *begin, int64_t *count);
/* The same in whole units of `unit` elements; the last unit may be short. */
void ls_slice_units(int64_t elements, int64_t unit, int rank, int ranks, int64_t *begin, int64_t *count);
/* Grains of rank `rank`: how many, and the k-th one's number, for a step of G grains. */
int64_t ls_schedule_grains(ls_schedule schedule, int64_t grains, int rank, int ranks);
int64_t ls_schedule_grain(ls_schedule schedule, int64_t grains, int rank, int ranks, int64_t k);
/* Bytes a rank will need, for the estimate. */
size_t ls_reduce_memory(const ls_reduce_options *options, int ranks);

ls_status ls_reducer_open(ls_reducer **reducer, ls_world *world, ls_device *device, const ls_reduce_options *options);
void ls_reducer_close(ls_reducer *reducer);
int64_t ls_reducer_bucket(const ls_reducer *reducer);       /* elements of a bucket */
const char *ls_reducer_describe(const ls_reducer *reducer); /* "block schedule, window transport, buckets of 1.0 MiB" */

/* A step: begin(G); for each of this rank's grains in order: add... for ranges that together cover the flat buffer
 * once (ls_gradient_ready order), then grain_end; then finish. In `round` a rank without a grain in the last
 * round may call grain_end alone; its part in the others' exchanges goes on by itself. */
ls_status ls_reducer_begin(ls_reducer *reducer, int64_t grains);
/* The gradient of elements [begin, begin + count) of the current grain; begin is a multiple of LS_CHUNK, the range is
 * carried through the counter now, while it is in cache. `gradient` may be overwritten. */
ls_status ls_reducer_add(ls_reducer *reducer, int64_t begin, int64_t count, float *gradient);
/* Where the gradient of that range may be made, so that ls_reducer_add has nothing to copy; NULL: nowhere, because the
 * grain is added to others. Until it is added, the memory is the caller's. */
float *ls_reducer_place(const ls_reducer *reducer, int64_t begin, int64_t count);
/* Ranges of this grain that nobody added count as zeros. */
ls_status ls_reducer_grain_end(ls_reducer *reducer);
/* Sum over all grains of this rank's slice; [slice count], valid until the next begin; the host may read it. Collective. */
ls_status ls_reducer_finish(ls_reducer *reducer, float **slice_sum);

/* Every rank gets the whole of `data` [elements of `type`], of which it has its slice already, and the device is done with
 * it. Collective. */
ls_status ls_all_gather_slices(ls_reducer *reducer, ls_type type, void *data);
/* Sum of squares of a vector spread over the slices: chunk sums in f64, all-gathered, added in tree order; and its root,
 * the Euclidean norm. Collective. */
ls_status ls_slices_squares(ls_reducer *reducer, const float *slice, double *squares);
ls_status ls_slices_norm(ls_reducer *reducer, const float *slice, double *norm);
/* One value a grain, computed by its rank, to all ranks in grain order: mine[k] for this rank's k-th grain,
 * all[G]. For losses and counts. Collective. `bytes` each. */
ls_status ls_grain_values(ls_world *world, ls_schedule schedule, int64_t grains, const void *mine, size_t bytes,
                          void *all);
