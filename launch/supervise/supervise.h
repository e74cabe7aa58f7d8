/* `lockstep launch mpirun`: keeps a run going until it is done, told to stop, or failing without getting any further. */
#pragma once
#include "base/error.h"

typedef struct {
    const char *executable; /* this lockstep */
    const char *recipe;     /* as the user named it */
    int overrides;
    char *const *override;
    const char *run;        /* run folder */
    int ranks, retries;
    const char *hostfile;   /* NULL: this machine */
    double deadline;        /* guard.deadline */
} ls_supervise_options;

/* LS_OK: done. LS_ESTOPPED: told to stop, and a checkpoint was written. LS_ERECIPE: train itself refused (exit code 2), its
 * sentence is on stderr. LS_ESTATE: `retries` failures in a row without a newer checkpoint; the sentence has the one of the
 * rank that failed first. */
ls_status ls_supervise(const ls_supervise_options *options);
