/* What a job script asks when srun has ended: is this the end, or does the job go back into the queue? */
#pragma once
#include "base/error.h"

#include <stdbool.h>

/* `exit_code` of srun, `run` the run folder. 0 and 2: the end. 75, or the death of a rank or node: `scontrol requeue` of the job
 * (SLURM_JOB_ID), unless `retries` failures in a row brought no newer checkpoint; they are counted in RUN/log/failures, since
 * nothing else outlives the job. *requeued: it is on its way. LS_ESTATE: it has failed too often. */
ls_status ls_slurm_requeue(const char *run, int exit_code, int retries, bool *requeued);
