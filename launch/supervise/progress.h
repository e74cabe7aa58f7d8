/* Whether starting a failed run again is worth it: what counts is a newer checkpoint. A run that fails every few hours but saves in
 * between goes on for ever; one that fails again and again before its next checkpoint has a fault that another start will
 * not mend. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct {
    int64_t step; /* of the newest whole checkpoint when it was last looked at; -1: none */
    int failures; /* in a row, without a newer one */
} ls_progress;

/* Step of the newest whole checkpoint of a run folder, by a quick look (sizes, not sums); -1: none, or no folder. LS_ECORRUPT:
 * there are some and none is whole. */
ls_status ls_progress_step(const char *run, int64_t *step);
/* Counts a failure: one more of the row, or none when there is a newer checkpoint since the last look. */
ls_status ls_progress_failed(ls_progress *progress, const char *run);
