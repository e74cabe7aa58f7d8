/* Stragglers: a rank whose own work takes longer than the others', step after step, so that all wait for it. What a rank
 * does by itself is its time without that in which it waited for others; of ranks with more grains it is more, so that
 * time is taken per grain. Smoothed over some steps, because one step says nothing. Nothing here is part of a result. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct {
    int ranks;
    double *smooth, *sorted; /* [ranks] seconds a grain; scratch */
    int64_t steps, told_at;  /* taken in; when the last warning was */
} ls_straggler;

ls_status ls_straggler_open(ls_straggler *s, int ranks);
void ls_straggler_close(ls_straggler *s);
/* Takes in a step: own [ranks] seconds a grain. Returns the rank that is worth a warning now, -1: none; *ratio: its time as
 * a multiple of the median rank's (the faster one of two). Not before step 20, and then at most every 200 steps. */
int ls_straggler_step(ls_straggler *s, const double *own, double *ratio);
