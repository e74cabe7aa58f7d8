/* What a run folder tells of its run, read for the report. A folder may be of a run that goes on, that died in the
 * middle of a line, or that came from elsewhere: whatever cannot be read is counted and said, never trusted, and
 * nothing in the folder is changed. All of it is owned by the ls_report_run and freed with it. */
#pragma once
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* One key of metrics.jsonl. Steps ascend: when a run went back to a checkpoint, what it did again takes the place of
 * what it had done. A value that is not finite stays in its place as NaN. */
typedef struct {
    char *name;
    int64_t *step;
    double *value;
    int64_t count, room;
    int64_t not_finite, first_not_finite; /* how many, and the step of the first */
} ls_report_series;

typedef enum { LS_EVENT_INFO, LS_EVENT_WARN, LS_EVENT_ERROR } ls_event_level;

/* One line of a log worth telling. `day` counts from 1970 where `dated`, else from the log's first day. */
typedef struct {
    int64_t day, second, order;
    bool dated;
    int start; /* how often this rank had been started by then, from 1 */
    int rank, ranks;
    int64_t step; /* -1: before the first */
    ls_event_level level;
    bool is_start, is_resume;
    char host[64], part[32];
    char *text;
    int alike; /* ranks that said the same in the same start */
} ls_report_event;

typedef struct {
    char *key, *value;
} ls_report_setting; /* "optimizer.lr", "0.0003" */

typedef enum {
    LS_RUN_EMPTY,
    LS_RUN_FINISHED,
    LS_RUN_EARLY_END,
    LS_RUN_RUNNING,
    LS_RUN_FAILED,
    LS_RUN_STOPPED,
    LS_RUN_CUT
} ls_run_state;

typedef struct {
    char *path, *name; /* as given; its last part (ls_report_names) */
    bool name_is_path;
    /* metrics.jsonl */
    ls_report_series *series;
    int series_count;
    int64_t lines, bad_lines, first_bad_line;
    bool cut_line;             /* the last line has no end: it is being written, or the run died in it */
    int64_t rewinds;           /* how often a step came after a later one */
    int64_t redone, parted;    /* steps done twice; of them with another loss or norm than the first time */
    int64_t first_parted_step; /* the first of these */
    /* log/rank-*.log */
    ls_report_event *event;
    int64_t events, events_left_out;
    int64_t starts, warnings, errors;
    int64_t goal;                /* steps in all; 0: not said */
    char *task_line, *data_line; /* what the last start said of model, ranks, numerics; of the data */
    char host[64];               /* of rank 0 at the last start */
    bool ended_early;
    char *machines; /* a line a host: "node07: AMD EPYC 7763, 8 processors, 31.3 GiB" */
    /* recipe.yaml */
    char *recipe;
    ls_report_setting *setting;
    int settings;
    /* the rest */
    json_t *samples; /* array of the objects of samples.jsonl; NULL: none kept */
    int64_t samples_left_out;
    json_t *sweep;   /* array of the objects of lud.jsonl; NULL: none */
    char *confusion, *profile; /* tables a task or the profiler left, as text; NULL: none */
    char last_checkpoint[64], best_checkpoint[64];
    int checkpoints;
    int64_t checkpoint_step; /* -1: none */
    ls_run_state state;
} ls_report_run;

/* LS_ENOTFOUND: there is no such folder, or it is not a run's (no recipe.yaml, metrics.jsonl or log/). */
ls_status ls_report_read(ls_report_run *run, const char *path);
/* Runs of one page get different names: where last parts are equal, the paths as they were given. LS_EMEM. */
ls_status ls_report_names(ls_report_run *runs, int count);
void ls_report_free(ls_report_run *run);
/* The parts of ls_report_read; a missing file is no error, only LS_EMEM and LS_EIO are. */
ls_status ls_report_read_metrics(ls_report_run *run);
ls_status ls_report_read_logs(ls_report_run *run);

const ls_report_series *ls_report_find(const ls_report_run *run, const char *name); /* NULL: none */
int64_t ls_report_last_step(const ls_report_run *run);                              /* of training; 0: none yet */
/* Of the finite values; NaN where there is none. `at`: the step of the first one, or NULL. */
double ls_report_least(const ls_report_series *series, int64_t *at);
double ls_report_greatest(const ls_report_series *series, int64_t *at);
double ls_report_last(const ls_report_series *series);
double ls_report_median(const ls_report_series *series);
double ls_report_sum(const ls_report_series *series);
