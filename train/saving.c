/* See saving.h. */
#include "train/saving.h"

#include "base/log.h"

#include <stdlib.h>
#include <time.h>

enum { SAVER_SHIFT = 1, CLOCK_BIT = 1 << 3 };

struct ls_saving {
    ls_saver *saver;
    double began; /* rank 0: when the newest save, or the run, began; seconds */
    bool clock;   /* rank 0's clock says that it is time */
};

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static ls_status read_device(void *context, void *to, const void *from, size_t bytes)
{
    ls_device *device = context;
    return device->read_beside(device, bytes, from, to);
}

static ls_status wait_for_device(void *device)
{
    return ls_device_wait(device);
}

ls_status ls_saving_open(ls_run *run)
{
    const ls_saver_options options = {.buffer = run->config->checkpoint.buffer,
                                      .read_back = run->config->checkpoint.verify,
                                      .reader = {run->device->read_beside ? read_device : NULL, run->device, wait_for_device}};
    ls_saving *saving = run->saving = calloc(1, sizeof *saving);
    ls_status status = saving ? ls_saver_open(&saving->saver, run->world, &options)
                              : ls_fail(LS_EMEM, "no memory to save checkpoints");
    if (saving)
        saving->began = seconds_now();
    return ls_agree(run->world, status, "checkpoint writer");
}

void ls_saving_close(ls_run *run)
{
    if (run->saving)
        ls_saver_close(run->saving->saver);
    free(run->saving);
    run->saving = NULL;
}

void ls_saving_wait_taken(ls_run *run)
{
    if (run->saving)
        ls_saver_wait_taken(run->saving->saver);
}

uint8_t ls_saving_vote(ls_run *run)
{
    const double every = run->config->checkpoint.every.seconds;
    const bool time = run->rank == 0 && every > 0 && seconds_now() >= run->saving->began + every;
    return (uint8_t)(ls_saver_vote(run->saving->saver) << SAVER_SHIFT | (time ? CLOCK_BIT : 0));
}

/* A save is over. One that failed costs that checkpoint only: training is worth more, goes on, and says so. */
static ls_status ended(ls_run *run, ls_status status, bool last)
{
    const ls_saver_report report = ls_saver_last(run->saving->saver);
    if (status == LS_OK) {
        run->saved_step = report.step;
        if (run->rank == 0)
            ls_log_keep(LS_LOG_INFO, "checkpoint",
                        "step %lld is saved: %.1f MiB of this rank in %.2f s, for which training waited %.2f s",
                        (long long)report.step, (double)report.bytes / (1 << 20), report.seconds, report.waited);
        return LS_OK;
    }
    if (status == LS_ECOMM || status == LS_ETIMEOUT)
        return status;
    if (run->rank == 0)
        ls_log_write(LS_LOG_ERROR, "checkpoint", "%s. Training goes on; last good: step %lld", ls_fail_sentence(),
                     (long long)run->saved_step);
    return last ? status : LS_OK;
}

ls_status ls_saving_hear(ls_run *run, const uint8_t *votes)
{
    bool over;
    run->saving->clock = votes[0] & CLOCK_BIT;
    const ls_status status = ls_saver_poll(run->saving->saver, votes, SAVER_SHIFT, &over);
    return over ? ended(run, status, false) : status;
}

bool ls_saving_is_due(const ls_run *run)
{
    const int64_t every = run->config->checkpoint.every.steps;
    return run->saving->clock || (every > 0 && run->step % every == 0);
}

const ls_saver *ls_saving_saver(const ls_run *run)
{
    return run->saving->saver;
}

static ls_status finish_older(ls_run *run, bool last)
{
    ls_saver *saver = run->saving->saver;
    const int64_t older = ls_saver_in_flight(saver);
    if (older < 0)
        return LS_OK;
    if (run->rank == 0)
        ls_log_write(LS_LOG_INFO, "checkpoint", "step %lld waits: the checkpoint of step %lld is still being written%s",
                     (long long)run->step, (long long)older,
                     last || run->improved ? "" : "; raise checkpoint.every, or write to a faster disk");
    return ended(run, ls_saver_finish(saver), false);
}

ls_status ls_saving_settle(ls_run *run)
{
    return ls_saver_in_flight(run->saving->saver) >= 0 ? ended(run, ls_saver_finish(run->saving->saver), false) : LS_OK;
}

ls_status ls_saving_save(ls_run *run, bool last)
{
    const ls_checkpoint_recipe *recipe = &run->config->checkpoint;
    const ls_checkpoint_options options = {.keep = (int)recipe->keep,
                                           .keep_every = recipe->keep_every,
                                           .base = run->config->guard.spike > 0 ? recipe->every.steps : 0,
                                           .best = run->best.number >= 0 ? run->best.step : 0,
                                           .numerics = run->device->numerics,
                                           .recipe = run->config->recipe_text};
    ls_saver *saver = run->saving->saver;
    ls_status status = finish_older(run, last);
    if (status != LS_OK)
        return status;
    run->saving->began = seconds_now();
    ls_device *device = run->device;
    status = ls_agree(run->world, device->begin_reading ? device->begin_reading(device) : LS_OK, "state of the device");
    if (status != LS_OK)
        return status;
    status = ls_saver_begin(saver, run->state, run->config->run.run, run->step, &options);
    if (status == LS_OK && (last || run->improved || !recipe->async))
        status = ls_saver_finish(saver);
    return status == LS_OK && ls_saver_in_flight(saver) >= 0 ? LS_OK : ended(run, status, last);
}
