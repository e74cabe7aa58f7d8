/* RUN/checkpoints/best: the best checkpoint so far, a symbolic link to its folder ("step-00000100", so the run folder
 * may be moved). How it changes, and what is seen if power fails in between: line 12 of format.h. It never chooses
 * where a run goes on: that is the newest checkpoint. */
#pragma once
#include "checkpoint/disk.h"

/* Points `best` at a committed checkpoint of this run. Nothing is to be done: it points there already, or step is 0
 * (none yet), or that checkpoint was never saved. */
ls_status ls_best_point(const char *run, int64_t step);
/* The step it names; 0: there is no link, or it is not one of ours. */
int64_t ls_best_step(const char *run);
