/* `lockstep train --dry-run`: what a run will need, before it runs. Buffers are counted from the recipe; activations
 * and time come from one real grain (forward and backward, twice), so they are this machine's, and the line says so. */
#include "train/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void drop_gradient(void *context, const ls_parameter *parameter, void *gradient)
{
    (void)context;
    (void)parameter;
    (void)gradient;
}

static ls_status time_grain(ls_run *run, const ls_grain *grain, double *seconds)
{
    const double begin = seconds_now();
    ls_tape_reset(run->tape, 0, 0, 0);
    ls_tensor *sum = run->config->task->grain_loss(run->task, run->tape, grain);
    ls_backward(run->tape, sum, 1, drop_gradient, NULL);
    *seconds = seconds_now() - begin;
    return ls_tape_wait(run->tape);
}

/* Of a task that makes its own rows: the first rows, and a grain of them. */
static ls_status measure_drawing(ls_run *run, double *drawing, double *seconds)
{
    const ls_task *task = run->config->task;
    const double begin = seconds_now();
    ls_status status = task->prepare(run->task);
    *drawing = seconds_now() - begin;
    for (int attempt = 0; attempt < 2 && status == LS_OK; attempt++)
        status = time_grain(run, task->grain(run->task, 0), seconds);
    return status;
}

/* The second of two runs: the first one touches the arena's pages. */
static ls_status measure_grain(ls_run *run, double *seconds)
{
    const ls_grain *grain;
    const int64_t rows = run->config->batch.grain, all = ls_data_rows(run->train_data);
    const ls_grain_request request = {.rows = rows < all ? rows : all};
    ls_status status = ls_loader_open(&run->loader, run->train_data, 1);
    if (status != LS_OK)
        return status;
    ls_loader_ask(run->loader, &request);
    status = ls_loader_next(run->loader, &grain);
    for (int attempt = 0; attempt < 2 && status == LS_OK; attempt++)
        status = time_grain(run, grain, seconds);
    if (status == LS_OK)
        ls_loader_done(run->loader, grain);
    return status;
}

static double mib(size_t bytes)
{
    return (double)bytes / (1024.0 * 1024);
}

/* Of a checkpoint, without headers and what a task remembers. */
static size_t saved_bytes(const ls_run *run)
{
    const ls_train_config *config = run->config;
    const int64_t copies = (config->optimizer.name == LS_OPTIMIZER_ADAMW ? 3 : 2) + (config->ema.decay > 0);
    return (size_t)((run->flat.trainable + ls_tables_trainable(run)) * copies + run->flat.still) * sizeof(float);
}

/* What a rank holds. */
typedef struct {
    size_t flat, average, activations, reduce, copies, packed;
} memory_parts;

static memory_parts memory_of(const ls_run *run, ls_schedule schedule)
{
    const ls_train_config *config = run->config;
    const bool adam = config->optimizer.name == LS_OPTIMIZER_ADAMW;
    const size_t share = saved_bytes(run) / (size_t)run->ranks, buffer = (size_t)config->checkpoint.buffer;
    const ls_reduce_options options = {.elements = run->flat.learning, .max_grains = config->batch.grains, .schedule = schedule,
                                       .bucket = config->batch.bucket, .exchange = run->exchange};
    const size_t packed = config->batch.grains > run->ranks ? ls_hold_weights(run->device, run->flat.compute, run->flat.elements) : 0;
    ls_let_weights_go(run->device);
    return (memory_parts){.packed = packed, .flat = ls_flat_bytes(&run->flat, run->ranks, adam) + ls_tables_bytes(run, adam),
                          .average = ls_ema_bytes(&config->ema, run->flat.learning + ls_tables_elements(run), run->ranks),
                          .activations = ls_tape_memory(run->tape),
                          .reduce = ls_reduce_memory(&options, run->ranks),
                          .copies = share < buffer ? share : buffer};
}

static size_t sum_of(memory_parts m)
{
    return m.flat + m.average + m.activations + m.reduce + m.copies + m.packed;
}

static void print_memory(const ls_run *run)
{
    static const char *const names[] = {"auto", "block", "round"};
    for (ls_schedule schedule = LS_SCHEDULE_BLOCK; schedule <= LS_SCHEDULE_ROUND; schedule++) {
        const memory_parts m = memory_of(run, schedule);
        char averaged[64] = "", packed[64] = "";
        if (m.average)
            snprintf(averaged, sizeof averaged, " + averaged weights %.0f", mib(m.average));
        if (m.packed)
            snprintf(packed, sizeof packed, " + packed weights %.0f at most", mib(m.packed));
        printf("memory a rank   %s %s: %.0f MiB = weights and optimiser %.0f%s + gradient sums %.0f + activations of a grain %.0f (measured)%s + copies for checkpoints %.0f\n",
               names[schedule], schedule == run->schedule ? "(chosen)" : "        ", mib(sum_of(m)), mib(m.flat), averaged,
               mib(m.reduce), mib(m.activations), packed, mib(m.copies));
    }
}

static void print_estimate(const ls_run *run, double drawing, double grain_seconds)
{
    const ls_train_config *config = run->config;
    const int64_t grains = config->batch.grains, rounds = (grains + run->ranks - 1) / run->ranks;
    const double tokens = (double)(run->steps * ls_run_rows_per_step(run) * ls_data_tokens(run->train_data));
    char rows[160], size[64];
    ls_run_describe_rows(run, rows, sizeof rows);
    const double seconds = grain_seconds * (double)rounds * (double)run->steps;
    printf("task            %s, %s (%s weights), %d rank(s) x %d thread(s)\n", config->task->name, ls_run_size(run, size),
           ls_type_name(run->flat.compute), run->ranks, ls_team_threads(run->team));
    printf("numerics        %s\n", run->device->numerics);
    printf("data            %s an epoch\n", rows);
    printf("steps           %lld of %lld rows (%lld grains x %lld): %.3g %s\n", (long long)run->steps,
           (long long)ls_run_rows_per_step(run), (long long)grains, (long long)config->batch.grain, tokens, ls_run_unit(run));
    ls_groups_print(&run->groups, &config->optimizer, run->flat.parameters - run->table_count, run->table_count + run->flat.count, stdout);
    print_memory(run);
    printf("disk            %.0f MiB a checkpoint, %lld kept%s%s\n", mib(saved_bytes(run)), (long long)config->checkpoint.keep,
           config->checkpoint.best ? " and the best by " : "", config->checkpoint.best ? run->best.metric : "");
    printf("time            about %.1f minutes: %.3f s a grain (measured), %lld grain(s) a rank and step\n", seconds / 60,
           grain_seconds, (long long)rounds);
    if (config->task->prepare)
        printf("rollouts        and %.2f s each time rows are drawn (measured with untrained weights, whose answers rarely end: at most)\n", drawing);
    fflush(stdout);
}

ls_status ls_train_estimate(ls_world *world, const ls_train_config *config)
{
    ls_run run;
    double seconds = 0, drawing = 0;
    ls_status status = ls_run_open(&run, world, config, false);
    if (status == LS_OK)
        status = config->task->prepare ? measure_drawing(&run, &drawing, &seconds) : measure_grain(&run, &seconds);
    if (status == LS_OK && run.rank == 0)
        print_estimate(&run, drawing, seconds);
    ls_run_close(&run);
    return status;
}

ls_status ls_train_measure_needs(ls_world *world, const ls_train_config *config, ls_train_needs *needs)
{
    ls_run run;
    double seconds = 0, drawing = 0;
    ls_status status = ls_run_open(&run, world, config, false);
    if (status == LS_OK)
        status = config->task->prepare ? measure_drawing(&run, &drawing, &seconds) : measure_grain(&run, &seconds);
    if (status == LS_OK)
        *needs = (ls_train_needs){.memory = sum_of(memory_of(&run, run.schedule)), .checkpoint = saved_bytes(&run),
                                  .kept = config->checkpoint.keep + 1 + (config->checkpoint.best != NULL)};
    ls_run_close(&run);
    return status;
}
