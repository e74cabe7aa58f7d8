/* One trial of `prove`: the recipe's first steps on so many ranks and threads in one schedule, in a folder of its own.
 * With resume_ranks: one rank gets SIGKILL at a step, and the run is started again on that many ranks, to resume. */
#pragma once
#include "base/error.h"
#include "base/type.h"

#include <limits.h>

typedef struct {
    const char *executable, *recipe; /* this lockstep; the recipe as the user named it */
    int overrides;
    char *const *override;
    const char *folder;              /* temporary */
    int64_t steps;
    bool evaluates;                  /* what evaluations find is state (checkpoint.best, early_stop): they are proved as well */
} ls_trial_setting;

typedef struct {
    int number;
    int ranks, threads;
    const char *schedule; /* "block", "round" */
    int resume_ranks;     /* 0: no rank is killed */
} ls_trial;

typedef struct {
    char run[PATH_MAX], output[PATH_MAX]; /* run folder; what train printed */
    double seconds;
    uint64_t hash;                        /* as `lockstep ckpt hash RUN` prints it */
    int killed_rank;
    int64_t killed_step, resumed_step;    /* steps that were logged when the signal was sent; where it went on */
} ls_trial_result;

/* LS_ESTATE: train failed, with its own sentence. LS_ESTOPPED: Ctrl-C. */
ls_status ls_trial_run(const ls_trial_setting *setting, const ls_trial *trial, ls_trial_result *result);
