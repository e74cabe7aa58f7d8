/* Where the ranks of a run are, from their flight records: read, and judged. A run may be alive, hang, be dead or over;
 * its records may be damaged or missing, which is then what is known of that rank. */
#pragma once
#include "base/flight.h"

typedef enum {
    LS_RANK_UNKNOWN, /* no record, or none that can be read */
    LS_RANK_WORKS,
    LS_RANK_WAITS,
    LS_RANK_HELD,   /* its process was stopped */
    LS_RANK_SILENT, /* its process does not run, or cannot be seen from here */
    LS_RANK_DEAD,   /* its process is gone, and it had not ended */
    LS_RANK_FINISHED,
    LS_RANK_STOPPED, /* early, with a checkpoint */
    LS_RANK_FAILED,
} ls_rank_state;

typedef struct {
    ls_rank_state state;
    ls_flight_record *record; /* NULL: unknown, and `why` says what of it */
    char why[256];
    int waits_for; /* -1: nobody */
    double since;  /* seconds that it has been there */
} ls_rank_view;

typedef enum {
    LS_RUN_IS_UNKNOWN,
    LS_RUN_WORKS,
    LS_RUN_HANGS, /* a rank is held up, and the others wait */
    LS_RUN_IS_DEAD,
    LS_RUN_IS_DYING, /* a rank is dead and others are not yet */
    LS_RUN_HAS_FINISHED,
    LS_RUN_HAS_STOPPED,
    LS_RUN_HAS_FAILED,
} ls_run_view_state;

typedef struct {
    int ranks;
    ls_rank_view *rank;
    ls_run_view_state state;
    int culprit;      /* the rank that the state is about, -1: none alone */
    double hangs_for; /* seconds */
    int64_t step, steps;
} ls_run_view;

/* LS_ENOTFOUND: no run folder, or a run without flight records. */
ls_status ls_run_view_read(ls_run_view *view, const char *run);
void ls_run_view_free(ls_run_view *view);
const char *ls_rank_state_word(ls_rank_state state); /* "waiting" */
