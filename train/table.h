/* Tables: parameters with sparse rows, such as a token embedding whose head is its own. A step costs what its rows
 * cost:
 *
 *     gradient   lists of rows, added in the fixed tree over the grains that looked a row up (dist/rows.h)
 *     norm       the rows' squares join those of the other parameters, before clipping
 *     update     lazy: rows without a gradient keep weight and moments, bit for bit (docs/sparse-rows.md)
 *     gather     the new rows go to every rank
 *
 * Weights and moments are dense and lie in flat buffers of their own, dealt to ranks in whole rows, so checkpoints,
 * hashes and resumes are those of any parameter. All functions below do nothing in a run without tables. */
#pragma once
#include "dist/rows.h"
#include "train/ema.h"

typedef struct ls_table {
    ls_flat flat; /* of this one parameter */
    ls_ema ema;   /* its average moves for all rows: a row that stays is still behind its average, or ahead */
    ls_row_reducer *reducer;
    ls_row_gradient sum; /* of the last step: the rows that this rank owns */
    float *dense;        /* [slice], the same for the hash log; NULL until it asks */
} ls_table;

/* How many of the parameters are tables: they come first. LS_EARG: one stands behind others. */
ls_status ls_tables_count(const ls_parameter *parameters, int count, int *tables);
/* The first `count` parameters become run->tables. Collective. */
ls_status ls_tables_open(ls_run *run, ls_parameter *parameters, int count, ls_type compute, bool second_moment);
void ls_tables_close(ls_run *run);
ls_status ls_tables_state(ls_run *run, ls_state_tree *tree);
ls_status ls_tables_begin_from(ls_run *run, const char *folder, bool averaged);
/* Weights have been set: fills this rank's rows of the working copies. */
void ls_tables_round(ls_run *run);
/* A fresh run: ls_ema_begin of each. */
void ls_tables_begin_averages(ls_run *run);
/* Every row to every rank: before the first step. Collective. */
ls_status ls_tables_publish_all(ls_run *run);

/* A step, in this order; each beside the reducer's own. */
ls_status ls_tables_begin(ls_run *run, int64_t grains);
ls_status ls_tables_add(ls_run *run, const ls_parameter *parameter, const ls_row_gradient *gradient);
ls_status ls_tables_grain_end(ls_run *run);
ls_status ls_tables_finish(ls_run *run);
/* Adds each table's sum of squares, in their order. Collective. */
ls_status ls_tables_squares(ls_run *run, double *squares);
void ls_tables_update(ls_run *run, const ls_optimizer_args *args);
void ls_tables_average(ls_run *run);
ls_status ls_tables_publish(ls_run *run);
/* ls_ema_exchange of each. Collective. */
ls_status ls_tables_exchange(ls_run *run);

/* Registers "gradient/NAME": zeros where there is none. For the hash log; takes from the heap once. */
ls_status ls_tables_gradients(ls_run *run, ls_state_tree *tree);
/* For the estimate: elements of the flat buffers, parameters, and bytes a rank needs for weights and moments. */
int64_t ls_tables_elements(const ls_run *run);
int64_t ls_tables_trainable(const ls_run *run);
size_t ls_tables_bytes(const ls_run *run, bool second_moment);
