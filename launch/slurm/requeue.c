/* Back into the queue, or not. See requeue.h. */
#include "launch/slurm/requeue.h"
#include "launch/process.h"
#include "launch/supervise/progress.h"
#include "train/run.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum { EXIT_USAGE = 2 };

static void read_progress(const char *path, ls_progress *progress)
{
    long long step;
    int failures;
    *progress = (ls_progress){.step = -1};
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "step %lld failures %d", &step, &failures) == 2)
        *progress = (ls_progress){step, failures};
    if (file)
        fclose(file);
}

/* Counted on the disk before the job goes back: a count that cannot be kept would let it go round for ever. */
static ls_status count(const char *run, ls_progress *progress)
{
    char path[PATH_MAX], text[64];
    if (snprintf(path, sizeof path, "%s/log/failures", run) >= PATH_MAX)
        return ls_fail(LS_EARG, "%s: too long a path", run);
    read_progress(path, progress);
    const ls_status status = ls_progress_failed(progress, run);
    if (status)
        return status;
    const int bytes = snprintf(text, sizeof text, "step %lld failures %d\n", (long long)progress->step, progress->failures);
    return ls_fail_at(ls_run_write_file(path, text, (size_t)bytes), "not started again, failures cannot be counted");
}

static ls_status requeue(const char *job)
{
    char *argv[] = {"scontrol", "requeue", (char *)job, NULL};
    pid_t process;
    bool done;
    int exit_code = 0;
    ls_status status = ls_process_start(&process, argv, NULL);
    if (!status)
        status = ls_process_wait(process, -1, &done, &exit_code);
    if (!status && exit_code)
        status = ls_fail(LS_EIO, "`scontrol requeue %s` ended with %d; submit the same script again to go on", job, exit_code);
    return status;
}

ls_status ls_slurm_requeue(const char *run, int exit_code, int retries, bool *requeued)
{
    ls_progress progress;
    const char *job = getenv("SLURM_JOB_ID");
    *requeued = false;
    if (exit_code == 0 || exit_code == EXIT_USAGE)
        return LS_OK;
    if (!job || !*job)
        return ls_fail(LS_EARG, "SLURM_JOB_ID is not set: this is for job scripts (`lockstep launch slurm` writes one)");
    ls_status status = count(run, &progress);
    if (status)
        return status;
    if (progress.failures >= retries)
        return ls_fail(LS_ESTATE, "%s: %d failures in a row without a newer checkpoint (newest: step %lld): another start will not mend it; see %s/log/rank-*.log",
                       run, progress.failures, (long long)progress.step, run);
    fprintf(stderr, "lockstep launch: srun ended with %d, newest checkpoint: step %lld; job %s goes back into the queue (failure %d of %d without a newer one)\n",
            exit_code, (long long)progress.step, job, progress.failures, retries);
    status = requeue(job);
    *requeued = status == LS_OK;
    return status;
}
