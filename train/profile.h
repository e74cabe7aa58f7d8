/* profile: {steps: 10..20}: where the time of some steps went, for the user (docs/profiling.md).
 *
 *     RUN/profile/table.txt        operators and phases of all ranks, with rates and the share of the roofline
 *     RUN/profile/trace.json       Chrome trace: a process a rank, threads main, communication, loader
 *     RUN/profile/rank-0000.json   the same of one rank
 *
 * Nothing here can change a result, and a profile that cannot be written is told and does not stop training. */
#pragma once
#include "base/trace.h"
#include "train/run.h"

#include <stdio.h>

typedef struct ls_profile ls_profile;

/* *profile stays NULL when profile.steps is unset. LS_ERECIPE: it is no window of steps. */
ls_status ls_profile_open(ls_profile **profile, const ls_profile_options *options);
/* Hands the trace to the tape, the communication thread and the loader. */
void ls_profile_attach(ls_profile *profile, ls_run *run);
/* After the run's loader: its thread writes to the trace. */
void ls_profile_close(ls_profile *profile, ls_world *world);
/* NULL when there is no profile. */
ls_trace *ls_profile_trace(const ls_profile *profile);
/* Before and after each step (with the step's logs and saves). After the window's last step, or the run's, the files
 * are written: collective, as all ranks have the same recipe. */
void ls_profile_step_begin(ls_profile *profile, const ls_run *run);
ls_status ls_profile_step_end(ls_profile *profile, ls_run *run);

/* ---- what its files share ---- */

enum { LS_PROFILE_ROWS = 256 };

/* One operator in one direction, one phase, one kind of exchange: sums over calls. */
typedef struct {
    char name[LS_TRACE_NAME_SIZE];
    int32_t kind; /* ls_trace_kind */
    int64_t calls;
    double seconds, flops, bytes; /* of itself: without the events inside it, but for phases */
    double least;                 /* seconds that the roofline allows */
} ls_profile_row;

/* What one rank brings to the table; the table is their sum. */
typedef struct {
    int64_t steps, events, dropped;
    int rows;                 /* in the order of first appearance */
    double matmul, memory;    /* GFLOP/s and GB/s of this rank while all ranks measure */
    ls_profile_row row[LS_PROFILE_ROWS];
} ls_profile_table;

/* Adds up the events of a trace that nobody writes to any more. Sorts its lanes. `matmul` and `memory` of the table
 * must be set. Rows beyond LS_PROFILE_ROWS count as dropped events. */
void ls_profile_add_up(ls_profile_table *table, ls_trace *trace);
/* Adds another rank's. */
void ls_profile_merge(ls_profile_table *table, const ls_profile_table *other);
/* The table of `ranks` ranks as text. */
void ls_profile_print(const ls_profile_table *table, int ranks, const char *precision, FILE *out);
/* One rank's events as a Chrome trace; times are counted from `zero`. */
void ls_profile_write_events(const ls_trace *trace, int rank, const char *host, int64_t zero, FILE *out);
/* Joins files that ls_profile_write_events made. LS_EIO. */
ls_status ls_profile_join(const char *const *paths, int count, FILE *out);
