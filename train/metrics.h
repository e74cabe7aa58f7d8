/* Metrics: what a run says of itself. Rank 0 writes RUN/metrics.jsonl (one object a line), TensorBoard events, the
 * progress line and plain log lines. Nothing here is part of the result. */
#pragma once
#include "train/internal.h"

typedef struct {
    double loss, grad_norm, lr;
    double loss_scale;       /* with which the step was computed; 1: nothing is scaled */
    int64_t counted, tokens; /* labels that count, positions (images) computed; of the whole step */
    bool skipped;            /* the weights stayed as they were (train/guard.h) */
} ls_step_metrics;

/* Rank 0 opens the files (appending); other ranks get a silent one. */
ls_status ls_metrics_open(ls_metrics **metrics, ls_run *run);
void ls_metrics_close(ls_metrics *metrics);
/* Marks the start of a step. */
void ls_metrics_begin(ls_metrics *metrics, const ls_run *run);
/* Collective: gathers times and memory of all ranks, then rank 0 writes. */
ls_status ls_metrics_step(ls_metrics *metrics, ls_run *run, const ls_step_metrics *step);
void ls_metrics_eval(ls_metrics *metrics, const ls_run *run); /* of run->evaluation */
