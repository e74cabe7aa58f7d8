/* The step's gradient of a table with sparse rows: from lists of rows, one a grain, to one list for each owner, added
 * in the fixed tree (row_counter.h), whatever the rank count and the schedule.
 *
 *     rows of the table    |--- rank 0 ---|--- rank 1 ---|--- rank 2 ---|     whole chunks of LS_CHUNK and whole rows
 *
 *     block    a rank keeps the sums of its grains; at the end each list goes, in parts, to the owners of its rows, who
 *              add the ranks' nodes in grain order
 *     round    the same after every grain, beside the computation of the next one
 * What travels is rows that were looked up, and so are the norm and the gathering of new values: nothing here takes
 * time or memory for the others. */
#pragma once
#include "dist/reduce.h"
#include "tensor/tensor.h"

typedef struct {
    int64_t rows, width;   /* of the table */
    int64_t max_grains;    /* of a step */
    ls_schedule schedule;  /* as the dense reducer's */
    const char *transport; /* NULL: the best; "window", "mpi" */
} ls_row_options;

typedef struct ls_row_reducer ls_row_reducer;

/* Elements in which tables are dealt to owners: the least that is whole rows of `width` and whole chunks. */
int64_t ls_row_unit(int64_t width);
/* The rows [begin, end) that `rank` owns. */
void ls_row_slice(int64_t rows, int64_t width, int rank, int ranks, int64_t *begin, int64_t *end);

/* Collective. LS_EARG: a table without rows or columns; LS_ERECIPE as ls_reducer_open. */
ls_status ls_row_reducer_open(ls_row_reducer **reducer, ls_world *world, const ls_row_options *options);
void ls_row_reducer_close(ls_row_reducer *reducer);

/* A step as the dense reducer's: begin(G); for each of this rank's grains, in order, add at most once, then grain_end;
 * then finish. A grain without an add looked up nothing. In `round` grain_end may be called alone in a last round where
 * this rank has no grain. */
ls_status ls_row_reducer_begin(ls_row_reducer *reducer, int64_t grains);
/* f32 vectors, rows ascending; copied or added at once. LS_EARG: rows that do not ascend inside the table. */
ls_status ls_row_reducer_add(ls_row_reducer *reducer, const ls_row_gradient *rows);
ls_status ls_row_reducer_grain_end(ls_row_reducer *reducer);
/* The sum over all grains of the rows that this rank owns and any grain looked up; valid until the next begin.
 * Collective. */
ls_status ls_row_reducer_finish(ls_row_reducer *reducer, ls_row_gradient *sum);

/* After finish, until the next begin. Collective. */

/* Sum of the squares of the whole gradient, in f64: each row as ls_device.chunk_squares, then rows of all ranks in the
 * order of a tree over those that were looked up, ascending. */
ls_status ls_row_squares(ls_row_reducer *reducer, ls_device *device, double *squares);
/* table [rows, width] of `type`: every rank gets the rows that were looked up from their owners, who have them there.
 */
ls_status ls_row_gather(ls_row_reducer *reducer, ls_type type, void *table);
