/* Counting failures between checkpoints. See progress.h. */
#include "launch/supervise/progress.h"
#include "checkpoint/checkpoint.h"

ls_status ls_progress_step(const char *run, int64_t *step)
{
    ls_checkpoint_info info;
    *step = -1;
    const ls_status status = ls_checkpoint_about(run, &info);
    if (status == LS_OK)
        *step = info.step;
    return status == LS_ENOTFOUND ? LS_OK : status;
}

ls_status ls_progress_failed(ls_progress *progress, const char *run)
{
    int64_t step;
    const ls_status status = ls_progress_step(run, &step);
    if (status != LS_OK)
        return status;
    progress->failures = step > progress->step ? 0 : progress->failures + 1;
    progress->step = step;
    return LS_OK;
}
