/* See metrics.h. All buffers are made at the start: the step path allocates nothing. */
#include "train/metrics.h"

#include "base/log.h"
#include "tensor/rate.h"
#include "train/events.h"
#include "train/held_out.h"
#include "train/straggler.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* What one rank brings to each step's gathering. */
typedef struct {
    double seconds, stall, communication, flops, memory;
} rank_figures;

struct ls_metrics {
    int file; /* metrics.jsonl, -1 on other ranks */
    ls_events *events;
    double rate;        /* measured GFLOP/s of a matrix product on all ranks of this node together */
    bool measured;
    double began, run_began;
    int64_t run_began_step;
    rank_figures at_begin, *all;
    double *own; /* [ranks] seconds of the step in which a rank did not wait for others */
    ls_straggler straggler;
    double seconds_per_step; /* smoothed, for the time left */
    char line[4096];
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double resident_mib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024.0;
}

static rank_figures figures_now(const ls_run *run)
{
    return (rank_figures){.seconds = now(), .stall = ls_loader_stall(run->loader), .communication = ls_world_seconds_waited(run->world),
                          .flops = ls_tape_flops(run->tape), .memory = resident_mib()};
}

ls_status ls_metrics_open(ls_metrics **out, ls_run *run)
{
    *out = NULL;
    ls_metrics *metrics = calloc(1, sizeof *metrics);
    if (!metrics)
        return ls_fail(LS_EMEM, "no memory for metrics");
    metrics->file = -1;
    metrics->all = calloc((size_t)run->ranks, sizeof *metrics->all);
    metrics->own = calloc((size_t)run->ranks, sizeof *metrics->own);
    if (!metrics->all || !metrics->own || ls_straggler_open(&metrics->straggler, run->ranks) != LS_OK) {
        ls_metrics_close(metrics);
        return ls_fail(LS_EMEM, "no memory for metrics of %d ranks", run->ranks);
    }
    ls_status status = LS_OK;
    if (status == LS_OK && run->rank == 0) {
        char path[4096];
        snprintf(path, sizeof path, "%s/metrics.jsonl", run->config->run.run);
        metrics->file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        status = metrics->file < 0 ? ls_fail(LS_EIO, "%s: cannot open (%s)", path, strerror(errno))
                                   : ls_events_open(&metrics->events, run->config->run.run);
    }
    if (status != LS_OK) {
        ls_metrics_close(metrics);
        return status;
    }
    metrics->run_began = now();
    metrics->run_began_step = run->step;
    *out = metrics;
    return LS_OK;
}

void ls_metrics_close(ls_metrics *metrics)
{
    if (!metrics)
        return;
    if (metrics->file >= 0)
        close(metrics->file);
    ls_events_close(metrics->events);
    ls_straggler_close(&metrics->straggler);
    free(metrics->all);
    free(metrics->own);
    free(metrics);
}

void ls_metrics_begin(ls_metrics *metrics, const ls_run *run)
{
    metrics->at_begin = figures_now(run);
}

/* One line, one write; a full disk is told once and does not stop training. */
static void write_line(ls_metrics *metrics, int length)
{
    if (write(metrics->file, metrics->line, (size_t)length) != length) {
        ls_log_write(LS_LOG_WARN, "metrics", "metrics.jsonl: cannot write (%s); training goes on without metrics", strerror(errno));
        close(metrics->file);
        metrics->file = -1;
    }
}

/* JSON has no NaN. */
static const char *number(double value, char text[32])
{
    if (isfinite(value))
        snprintf(text, 32, "%.9g", value);
    else
        snprintf(text, 32, "null");
    return text;
}

static void time_left(double seconds, char text[32])
{
    const int64_t s = (int64_t)seconds;
    if (s >= 3600)
        snprintf(text, 32, "%lldh%02lldm", (long long)(s / 3600), (long long)(s / 60 % 60));
    else
        snprintf(text, 32, "%lldm%02llds", (long long)(s / 60), (long long)(s % 60));
}

static void tell(ls_metrics *metrics, const ls_run *run, const ls_step_metrics *step, double per_second, double mfu)
{
    char left[32], text[256];
    time_left(metrics->seconds_per_step * (double)(run->steps - run->step), left);
    snprintf(text, sizeof text, "step %lld/%lld  loss %.4f  lr %.2e  norm %.2f  %.0f %s/s  mfu %.0f%%  left %s",
             (long long)run->step, (long long)run->steps, step->loss, step->lr, step->grad_norm, per_second, ls_run_unit(run), 100 * mfu, left);
    if (isatty(STDERR_FILENO))
        ls_log_progress(text);
    if (run->step % run->config->run.log_every == 0 || run->step == run->steps || run->step == metrics->run_began_step + 1)
        ls_log_write(LS_LOG_INFO, "train", "%s", text);
}

/* One number of the line being made, and of the event; TensorBoard groups by what stands before a slash. */
typedef struct {
    ls_scalar scalar[LS_MAX_SCALARS];
    char tag[LS_MAX_SCALARS][LS_HELD_OUT_NAME + 8];
    int count;
    char *line;
    size_t used, room;
} eval_line;

static void add_number(eval_line *l, const char *before, const char *name, double value)
{
    if (l->count == LS_MAX_SCALARS || l->used >= l->room)
        return;
    char *tag = l->tag[l->count];
    snprintf(tag, sizeof l->tag[0], "%s%s", before, name);
    if (isfinite(value))
        l->used += (size_t)snprintf(l->line + l->used, l->room - l->used, ", \"%s\": %.9g", tag, value);
    else /* JSON has no NaN */
        l->used += (size_t)snprintf(l->line + l->used, l->room - l->used, ", \"%s\": null", tag);
    char *cut = strchr(tag, '_');
    if (cut)
        *cut = '/';
    l->scalar[l->count++] = (ls_scalar){tag, value};
}

enum { LISTED_RANKS = 64 }; /* more are summed up by the slowest and the median alone */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ", "rank_seconds": [...], "slowest_rank": 3, ...": how long each rank worked by itself, without waiting for others. The
 * share is that of the step's time: near 1 all others wait for it. */
static void add_ranks(eval_line *l, ls_metrics *metrics, const ls_run *run, double seconds)
{
    int slowest = 0;
    for (int rank = 0; rank < run->ranks; rank++) {
        metrics->own[rank] = fmax(metrics->all[rank].seconds - metrics->all[rank].communication, 0);
        slowest = metrics->own[rank] > metrics->own[slowest] ? rank : slowest;
    }
    if (run->ranks < 2)
        return;
    if (run->ranks <= LISTED_RANKS) {
        for (int rank = 0; rank < run->ranks; rank++)
            l->used += (size_t)snprintf(l->line + l->used, l->room - l->used, "%s%.4f", rank ? ", " : ", \"rank_seconds\": [", metrics->own[rank]);
        l->used += (size_t)snprintf(l->line + l->used, l->room - l->used, "]");
    }
    l->used += (size_t)snprintf(l->line + l->used, l->room - l->used, ", \"slowest_rank\": %d, \"slowest_rank_seconds\": %.6f, \"slowest_rank_share\": %.4f",
                                slowest, metrics->own[slowest], seconds > 0 ? metrics->own[slowest] / seconds : 0);
    memcpy(metrics->straggler.sorted, metrics->own, (size_t)run->ranks * sizeof(double));
    qsort(metrics->straggler.sorted, (size_t)run->ranks, sizeof(double), ascending);
    l->used += (size_t)snprintf(l->line + l->used, l->room - l->used, ", \"median_rank_seconds\": %.6f", metrics->straggler.sorted[(run->ranks - 1) / 2]);
}

/* A rank with more grains works longer, and is not to blame for it. */
static void watch_stragglers(ls_metrics *metrics, const ls_run *run)
{
    double ratio = 0;
    for (int rank = 0; rank < run->ranks; rank++) {
        const int64_t grains = ls_schedule_grains(run->schedule, run->config->batch.grains, rank, run->ranks);
        metrics->own[rank] /= (double)(grains > 1 ? grains : 1);
    }
    const int rank = ls_straggler_step(&metrics->straggler, metrics->own, &ratio);
    if (rank >= 0)
        ls_log_write(LS_LOG_WARN, "metrics", "%s is slow: its own work takes %.2f s a grain, %.1f times that of the median rank, and every step waits for it. Look for a throttled processor, a busy neighbour or too few cores there",
                     ls_world_rank_name(run->world, rank), metrics->straggler.smooth[rank], ratio);
}

/* What the task's measures say of the step's own data: "train_accuracy". A step line has room for all of them, or for none. */
static void add_step_measures(eval_line *l, const ls_run *run, int64_t counted)
{
    char name[LS_HELD_OUT_NAME];
    const ls_measure *measures = run->config->task->measures;
    for (int i = 0; run->step_width > 1 && counted > 0 && measures && measures[i].name && l->used + 128 < l->room; i++) {
        if (measures[i].only_held_out)
            continue;
        snprintf(name, sizeof name, "train_%.50s", measures[i].name);
        add_number(l, "", name, measures[i].value ? measures[i].value(run->step_sums, counted) : run->step_sums[i] / (double)counted);
    }
}

/* All ranks measure at the same time, so the sum is what the machine gives when all of it works. After the first step,
 * so that a run that fails in it, or that is tried and changed, does not wait for a figure it never prints. */
static ls_status measure_rate(ls_metrics *metrics, ls_run *run)
{
    const double mine = ls_device_matmul_rate(run->device, run->flat.compute);
    double all[1024] = {0};
    metrics->measured = true;
    if (run->ranks > 1024)
        return LS_OK;
    const ls_status status = ls_all_gather_bytes(run->world, &mine, sizeof mine, all, "matmul rate");
    for (int rank = 0; rank < run->ranks; rank++)
        metrics->rate += all[rank];
    return status;
}

ls_status ls_metrics_step(ls_metrics *metrics, ls_run *run, const ls_step_metrics *step)
{
    const rank_figures end = figures_now(run), *begin = &metrics->at_begin;
    const rank_figures mine = {.seconds = end.seconds - begin->seconds, .stall = end.stall - begin->stall,
                               .communication = end.communication - begin->communication,
                               .flops = end.flops - begin->flops, .memory = end.memory};
    ls_status status = metrics->measured ? LS_OK : measure_rate(metrics, run);
    if (status == LS_OK)
        status = ls_all_gather_bytes(run->world, &mine, sizeof mine, metrics->all, "metrics");
    if (status != LS_OK || metrics->file < 0)
        return status;
    rank_figures most = {0};
    double flops = 0;
    for (int rank = 0; rank < run->ranks; rank++) {
        const rank_figures *one = &metrics->all[rank];
        most.seconds = fmax(most.seconds, one->seconds);
        most.stall = fmax(most.stall, one->stall);
        most.communication = fmax(most.communication, one->communication);
        most.memory = fmax(most.memory, one->memory);
        flops += one->flops;
    }
    const double gflops = 1e-9 * flops / most.seconds, per_second = (double)step->tokens / most.seconds;
    const double mfu = metrics->rate > 0 ? gflops / metrics->rate : 0;
    metrics->seconds_per_step = metrics->seconds_per_step > 0 ? 0.9 * metrics->seconds_per_step + 0.1 * most.seconds : most.seconds;
    const char *unit = ls_run_unit(run);
    char loss[32], norm[32];
    const int length = snprintf(metrics->line, sizeof metrics->line,
        "{\"step\": %lld, \"loss\": %s, \"lr\": %.9g, \"grad_norm\": %s, \"counted_%s\": %lld, \"seconds\": %.6f, "
        "\"%s_per_second\": %.1f, \"gflops\": %.2f, \"mfu\": %.4f, \"data_stall_seconds\": %.6f, "
        "\"communication_seconds\": %.6f, \"memory_mib\": %.1f",
        (long long)run->step, number(step->loss, loss), step->lr, number(step->grad_norm, norm), ls_run_counted_unit(run), (long long)step->counted, most.seconds,
        unit, per_second, gflops, mfu, most.stall, most.communication, most.memory);
    eval_line l = {.line = metrics->line, .used = (size_t)length, .room = sizeof metrics->line - 2};
    add_ranks(&l, metrics, run, most.seconds);
    if (run->flat.compute == LS_F16)
        add_number(&l, "", "loss_scale", step->loss_scale);
    if (step->skipped)
        l.used += (size_t)snprintf(l.line + l.used, l.room - l.used, ", \"skipped\": 1");
    add_step_measures(&l, run, step->counted);
    watch_stragglers(metrics, run);
    memcpy(l.line + l.used, "}\n", 2);
    write_line(metrics, (int)l.used + 2);
    const ls_scalar scalars[] = {
        {"train/loss", step->loss}, {"train/lr", step->lr}, {"train/grad_norm", step->grad_norm},
        {*unit == 'i' ? "speed/images_per_second" : "speed/tokens_per_second", per_second}, {"speed/gflops", gflops}, {"speed/mfu", mfu},
        {"speed/data_stall_seconds", most.stall}, {"speed/communication_seconds", most.communication},
        {"memory/mib", most.memory},
    };
    if (metrics->events && (ls_events_add(metrics->events, run->step, scalars, (int)(sizeof scalars / sizeof *scalars)) != LS_OK ||
                            (l.count && ls_events_add(metrics->events, run->step, l.scalar, l.count) != LS_OK))) {
        ls_log_write(LS_LOG_WARN, "metrics", "%s; training goes on without TensorBoard events", ls_fail_sentence());
        ls_events_close(metrics->events);
        metrics->events = NULL;
    }
    tell(metrics, run, step, per_second, mfu);
    return LS_OK;
}

/* "held-out loss 2.3021 (perplexity 9.99); averaged weights loss 2.2903 (perplexity 9.88)" */
static void tell_eval(const ls_run *run)
{
    char text[512] = "";
    int used = 0;
    for (int i = 0; i < ls_held_out_count(run) && used < (int)sizeof text; i++) {
        const bool loss = i == 0 || ls_held_out_is_averaged(run, i) != ls_held_out_is_averaged(run, i - 1);
        const double value = ls_held_out_value(run, i);
        used += snprintf(text + used, sizeof text - (size_t)used, "%s %s %.4f", loss && i ? "; averaged weights" : loss ? "" : " ",
                         ls_held_out_label(run, i), value);
        if (loss && !run->config->task->measures && used < (int)sizeof text)
            used += snprintf(text + used, sizeof text - (size_t)used, " (perplexity %.2f)", exp(value));
    }
    ls_log_write(LS_LOG_INFO, "eval", "step %lld: held-out%s over %lld %s%s", (long long)run->step, text, (long long)run->evaluation.counted, ls_run_counted_unit(run),
                 run->improved ? ": the best so far, kept as checkpoints/best" : "");
}

void ls_metrics_eval(ls_metrics *metrics, const ls_run *run)
{
    eval_line l = {.line = metrics->line, .room = sizeof metrics->line - 2};
    char name[LS_HELD_OUT_NAME];
    l.used = (size_t)snprintf(l.line, l.room, "{\"step\": %lld", (long long)run->step);
    for (int i = 0; i < ls_held_out_count(run) && l.used < l.room; i++) {
        ls_held_out_name(run, i, name);
        add_number(&l, "", name, ls_held_out_value(run, i));
        if (!i)
            l.used += (size_t)snprintf(l.line + l.used, l.room - l.used, ", \"eval_%s\": %lld", ls_run_counted_unit(run), (long long)run->evaluation.counted);
    }
    if (run->best.number >= 0 && run->best.step) {
        add_number(&l, "best_", run->best.metric, run->best.value);
        add_number(&l, "best_", "step", (double)run->best.step);
    }
    if (run->patience.number >= 0)
        add_number(&l, "patience_", "used", (double)run->patience.since);
    tell_eval(run);
    if (l.used >= l.room)
        return; /* a task with more measures than a line holds: the log has them */
    memcpy(l.line + l.used, "}\n", 2);
    if (metrics->file >= 0)
        write_line(metrics, (int)l.used + 2);
    if (metrics->events)
        ls_events_add(metrics->events, run->step, l.scalar, l.count);
}
