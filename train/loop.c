/* The training loop. One step is train_step(), and it fits a screen:
 *
 *     for each of this rank's grains:  forward, backward; finished gradients go into the fixed tree at once
 *     add the tree over the ranks      each rank gets the sum of its slice
 *     norm, losses: is it a step?      one that is not finite is skipped (train/guard.h, train/loss_scale.h)
 *     clip, update the slice           fp32 masters and moments
 *     gather the new weights           in the working precision
 *
 * What must never happen here: a heap allocation, a result that depends on rank, rank count or time. */
#include "train/audit.h"
#include "train/best.h"
#include "train/choices.h"
#include "train/ema.h"
#include "train/guard.h"
#include "train/loss_scale.h"
#include "train/metrics.h"
#include "train/optimizer.h"
#include "train/profile.h"
#include "train/saving.h"
#include "train/table.h"

#include "base/log.h"
#include "dist/tree.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static volatile sig_atomic_t told_to_stop;

static void on_signal(int number)
{
    if (told_to_stop)
        _Exit(ls_status_exit_code(LS_ESTOPPED)); /* the second signal: at once; the last checkpoint stands */
    told_to_stop = number;
}

static void watch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
}

int64_t ls_run_rows_per_step(const ls_run *run)
{
    return run->config->batch.grain * run->config->batch.grains;
}

int64_t ls_run_grains(const ls_run *run, int64_t position)
{
    const int64_t rows = ls_data_step_rows(run->train_data, ls_run_rows_per_step(run), position);
    return (rows + run->config->batch.grain - 1) / run->config->batch.grain;
}

/* Keeps the loader `data.ahead` grains in front of this rank's work, over step borders. */
static void ask_ahead(ls_run *run)
{
    const int64_t grain_rows = run->config->batch.grain;
    while (run->outstanding < run->config->data.ahead && run->asked_step < run->steps) {
        const int64_t rows = ls_data_step_rows(run->train_data, ls_run_rows_per_step(run), run->asked_position);
        const int64_t grains = (rows + grain_rows - 1) / grain_rows;
        if (run->asked_grain >= ls_schedule_grains(run->schedule, grains, run->rank, run->ranks)) {
            run->asked_step++;
            run->asked_position += rows;
            run->asked_grain = 0;
            continue;
        }
        const int64_t g = ls_schedule_grain(run->schedule, grains, run->rank, run->ranks, run->asked_grain++);
        const int64_t first = g * grain_rows, left = rows - first;
        const ls_grain_request request = {.step = run->asked_step, .number = g, .position = run->asked_position + first,
                                          .rows = left < grain_rows ? left : grain_rows, .slot = (uint32_t)first};
        ls_loader_ask(run->loader, &request);
        run->outstanding++;
    }
}

ls_status ls_run_ask_anew(ls_run *run)
{
    const ls_grain *grain;
    for (; run->outstanding > 0; run->outstanding--) {
        ls_status status = ls_loader_next(run->loader, &grain);
        if (status == LS_OK)
            status = ls_device_use_prefetched(run->device, grain->block);
        if (status == LS_OK)
            status = ls_device_wait(run->device); /* it may be on its way */
        if (status != LS_OK)
            return status;
        ls_loader_done(run->loader, grain);
    }
    run->asked_step = run->step;
    run->asked_position = run->position;
    run->asked_grain = 0;
    return LS_OK;
}

/* A part of the step for the profile. */
static void note(const ls_run *run, const char *phase, int64_t begin)
{
    ls_trace_end(run->trace, LS_TRACE_MAIN, LS_TRACE_PHASE, phase, begin, 0, 0);
}

int64_t ls_run_phase(const ls_run *run, const char *phase)
{
    ls_flight_phase(run->flight, LS_FLIGHT_MAIN, phase);
    return ls_trace_begin(run->trace);
}

typedef struct {
    ls_run *run;
    ls_status status;
} gradient_sink;

/* Where the tree takes a gradient as it is. */
static float *gradient_place(void *context, const ls_parameter *parameter)
{
    const ls_run *run = context;
    return ls_reducer_place(run->reducer, parameter->offset, parameter->count);
}

/* Called by backward for each finished parameter: its gradient goes into the tree while it is in cache. */
static void take_gradient(void *context, const ls_parameter *parameter, void *gradient)
{
    gradient_sink *sink = context;
    const int64_t begin = ls_trace_begin(sink->run->trace);
    ls_flight_bucket(sink->run->flight, LS_FLIGHT_MAIN, 1 + parameter->offset / ls_reducer_bucket(sink->run->reducer));
    ls_audit_hash(sink->run, parameter, gradient);
    if (sink->status == LS_OK)
        sink->status = parameter->sparse_rows ? ls_tables_add(sink->run, parameter, gradient)
                                              : ls_reducer_add(sink->run->reducer, parameter->offset, parameter->count, gradient);
    note(sink->run, "add gradient to tree", begin);
}

static ls_status end_grain(ls_run *run)
{
    const ls_status status = ls_reducer_grain_end(run->reducer);
    return status == LS_OK ? ls_tables_grain_end(run) : status;
}

/* Forward and backward of one grain. *loss is its sum over counted tokens, before division; the task's sums follow. */
static ls_status run_grain(ls_run *run, const ls_grain *grain, int64_t grains, double denominator, double *loss)
{
    gradient_sink sink = {.run = run};
    int64_t begin = ls_run_phase(run, "forward");
    ls_tape_reset(run->tape, (uint64_t)run->config->run.seed, (uint32_t)run->step, grain->slot);
    ls_tape_fold(run->tape, grain->number, grains);
    ls_tape_places(run->tape, gradient_place, run);
    ls_audit_grain(run, grain->number, grains);
    ls_tensor *sum = run->config->task->grain_loss(run->task, run->tape, grain);
    note(run, "forward", begin);
    begin = ls_run_phase(run, "backward");
    ls_backward(run->tape, sum, ls_loss_scale_seed(run, denominator), take_gradient, &sink);
    note(run, "backward", begin);
    *loss = ls_tape_number(run->tape, sum); /* the grain's one wait for the device */
    const ls_status status = ls_tape_status(run->tape);
    if (status != LS_OK)
        return ls_fail_at(status, "step %lld, grain %lld", (long long)run->step + 1, (long long)grain->number);
    if (run->step_width > 1)
        memcpy(loss + 1, run->config->task->grain_sums(run->task), (size_t)(run->step_width - 1) * sizeof *loss);
    ls_audit_loss(run, *loss);
    return sink.status == LS_OK ? end_grain(run) : sink.status;
}

static ls_status run_my_grains(ls_run *run, int64_t grains, int64_t mine, double denominator)
{
    const ls_task *task = run->config->task;
    for (int64_t k = 0; k < mine && task->grain; k++) {
        const ls_grain *grain = task->grain(run->task, ls_schedule_grain(run->schedule, grains, run->rank, run->ranks, k));
        ls_guard_note(run, k, grain);
        const ls_status status = run_grain(run, grain, grains, denominator, &run->my_loss[k * run->step_width]);
        if (status != LS_OK)
            return status;
    }
    for (int64_t k = 0; k < mine && !task->grain; k++) {
        const ls_grain *grain;
        ask_ahead(run);
        const int64_t begin = ls_run_phase(run, "wait for the loader");
        ls_status status = ls_loader_next(run->loader, &grain);
        note(run, "wait for the loader", begin);
        if (status == LS_OK)
            ls_guard_note(run, k, grain);
        if (status == LS_OK)
            status = ls_device_use_prefetched(run->device, grain->block);
        if (status == LS_OK)
            status = run_grain(run, grain, grains, denominator, &run->my_loss[k * run->step_width]);
        if (status != LS_OK)
            return status;
        ls_loader_done(run->loader, grain);
        run->outstanding--;
    }
    const int64_t rounds = run->schedule == LS_SCHEDULE_ROUND ? (grains + run->ranks - 1) / run->ranks : mine;
    return mine < rounds ? end_grain(run) : LS_OK; /* no grain in the last round: still take part */
}

/* Weights stay as they are from the first grain to the last, so what a device makes of them serves all. */
static ls_status run_grains(ls_run *run, int64_t grains, double denominator)
{
    const int64_t mine = ls_schedule_grains(run->schedule, grains, run->rank, run->ranks);
    if (mine > 1)
        ls_hold_weights(run->device, run->flat.compute, run->flat.elements);
    const ls_status status = run_my_grains(run, grains, mine, denominator);
    ls_let_weights_go(run->device);
    return status;
}

static ls_status gradient_norm(ls_run *run, double *norm)
{
    double squares = 0;
    ls_status status = ls_slices_squares(run->reducer, run->slice_sum, &squares);
    if (status == LS_OK)
        status = ls_tables_squares(run, &squares);
    *norm = sqrt(squares) / run->loss_scale.scale;
    return status;
}

/* Clips by the global norm and updates this rank's slice in one pass over memory; of tables, the rows with a gradient. */
static void update_slice(ls_run *run, double norm, double lr)
{
    const ls_optimizer_options *options = &run->config->optimizer;
    ls_flat *flat = &run->flat;
    ls_optimizer_args args = {
        .kind = (ls_optimizer_kind)options->name, .step = run->step + 1 - run->loss_scale.skipped, .lr = lr,
        .beta1 = options->betas.value[0], .beta2 = options->betas.value[1], .eps = options->eps,
        .momentum = options->momentum, .nesterov = options->nesterov, .scale = ls_clip_scale(norm, options->clip_norm) / run->loss_scale.scale,
    };
    int64_t begin = ls_run_phase(run, "optimiser");
    for (int i = 0; i < flat->count; i++)
        ls_flat_update(flat, &flat->parameters[i], run->groups.weight_decay[run->table_count + i], run->slice_sum, &args);
    ls_tables_update(run, &args);
    note(run, "optimiser", begin);
    begin = ls_run_phase(run, "average");
    ls_tables_average(run);
    if (ls_ema_update(&run->ema, run->step + 1))
        note(run, "average", begin);
}

static ls_status begin_sums(ls_run *run, int64_t grains)
{
    const ls_status status = ls_reducer_begin(run->reducer, grains);
    return status == LS_OK ? ls_tables_begin(run, grains) : status;
}

static ls_status finish_sums(ls_run *run)
{
    const ls_status status = ls_reducer_finish(run->reducer, &run->slice_sum);
    return status == LS_OK ? ls_tables_finish(run) : status;
}

static ls_status publish_weights(ls_run *run)
{
    const ls_status status = ls_flat_publish(&run->flat, run->reducer, run->world);
    return status == LS_OK ? ls_tables_publish(run) : status;
}

/* The tree sum over the step's grains of their number `which`. */
static double step_sum(const ls_run *run, int64_t grains, int64_t which)
{
    for (int64_t g = 0; g < grains; g++)
        run->column[g] = run->grain_loss[g * run->step_width + which];
    return ls_tree_sum_f64(run->column, grains);
}

/* Rows and grains of the step, and its count: one denominator for the whole step, never a mean of means. */
static ls_status size_step(ls_run *run, int64_t *rows, int64_t *grains, int64_t *counted)
{
    const ls_task *task = run->config->task;
    if (!task->prepare) {
        *rows = ls_data_step_rows(run->train_data, ls_run_rows_per_step(run), run->position);
        *grains = ls_run_grains(run, run->position);
        return ls_data_counted(run->train_data, run->position, *rows, counted);
    }
    const int64_t begin = ls_run_phase(run, "rollout");
    const ls_status status = task->prepare(run->task);
    note(run, "rollout", begin);
    *rows = ls_run_rows_per_step(run);
    *grains = run->config->batch.grains;
    *counted = status == LS_OK ? task->count(run->task) : 0;
    return status;
}

/* The sum of the step's gradients, each rank its slice; once more where an audit found a rank that computes wrongly. */
static ls_status sum_gradients(ls_run *run, int64_t rows, int64_t grains, double denominator)
{
    bool again = true;
    ls_status status = LS_OK;
    while (status == LS_OK && again) {
        ls_audit_begin(run, grains);
        status = begin_sums(run, grains);
        if (status == LS_OK)
            status = run_grains(run, grains, denominator);
        const int64_t begin = ls_run_phase(run, "reduce");
        if (status == LS_OK)
            status = finish_sums(run);
        note(run, "reduce", begin);
        if (status == LS_OK)
            status = ls_audit_end(run, rows, grains, denominator, &again);
    }
    return status;
}

/* Norm and losses of the step, from which every rank decides alike what is to be done with it (train/guard.h). */
static ls_status judge_step(ls_run *run, int64_t grains, double denominator, ls_step_metrics *metrics, ls_guard_verdict *verdict)
{
    const int64_t begin = ls_run_phase(run, "gradient norm");
    ls_flat_take_statistics(&run->flat, run->slice_sum);
    ls_status status = gradient_norm(run, &metrics->grad_norm);
    if (status == LS_OK)
        status = ls_grain_values(run->world, run->schedule, grains, run->my_loss, (size_t)run->step_width * sizeof *run->my_loss, run->grain_loss);
    note(run, "gradient norm", begin);
    if (status != LS_OK)
        return status;
    metrics->lr = ls_learning_rate(&run->config->optimizer, run->step, run->steps);
    metrics->loss = step_sum(run, grains, 0) / denominator;
    for (int64_t i = 1; i < run->step_width; i++)
        run->step_sums[i - 1] = step_sum(run, grains, i);
    metrics->loss_scale = run->loss_scale.scale;
    if (ls_loss_scale_overflows(run, metrics->loss, metrics->grad_norm)) {
        *verdict = LS_GUARD_SKIP;
        return LS_OK;
    }
    return ls_guard_judge(run, grains, metrics->loss, metrics->grad_norm, verdict);
}

static ls_status update(ls_run *run, int64_t grains, const ls_step_metrics *metrics)
{
    ls_flat_fold(&run->flat, grains);
    update_slice(run, metrics->grad_norm, metrics->lr);
    const int64_t begin = ls_run_phase(run, "gather");
    const ls_status status = publish_weights(run);
    ls_loss_scale_advance(run);
    note(run, "gather", begin);
    return status;
}

/* One optimiser step: the whole of training. *done: it was one, and not a return to the last checkpoint. */
static ls_status train_step(ls_run *run, ls_step_metrics *metrics, bool *done)
{
    int64_t rows, grains, counted;
    ls_guard_verdict verdict = LS_GUARD_GO_ON;
    ls_status status = size_step(run, &rows, &grains, &counted);
    double denominator = (double)(status == LS_OK && counted > 0 ? counted : 1);
    if (status == LS_OK && run->config->task->denominator)
        status = run->config->task->denominator(run->task, run->step, run->position, rows, &denominator);
    if (status == LS_OK)
        status = sum_gradients(run, rows, grains, denominator);
    const int64_t begin = ls_run_phase(run, "wait for the checkpoint");
    ls_saving_wait_taken(run); /* from here on the state changes */
    note(run, "wait for the checkpoint", begin);
    if (status == LS_OK)
        status = judge_step(run, grains, denominator, metrics, &verdict);
    if (status == LS_OK && verdict == LS_GUARD_GO_ON)
        status = update(run, grains, metrics);
    *done = verdict != LS_GUARD_GO_BACK;
    if (status != LS_OK)
        return status;
    if (!*done)
        return ls_guard_go_back(run, run->position + rows);
    metrics->skipped = verdict == LS_GUARD_SKIP;
    metrics->counted = counted;
    metrics->tokens = rows * ls_data_tokens(run->train_data);
    run->position += run->config->task->prepare ? 0 : rows; /* its rows are its own */
    run->step++;
    return LS_OK;
}

/* Whether any rank was told to stop: every rank must leave at the same step. And how the save in flight does. */
static ls_status agree_to_stop(ls_run *run)
{
    const uint8_t mine = (uint8_t)((told_to_stop != 0) | ls_saving_vote(run));
    ls_status status = ls_all_gather_bytes(run->world, &mine, 1, run->stop_votes, "stop votes");
    for (int rank = 0; rank < run->ranks; rank++)
        run->stop = run->stop || (run->stop_votes[rank] & 1);
    return status == LS_OK ? ls_saving_hear(run, run->stop_votes) : status;
}

static bool due(int64_t step, int64_t every)
{
    return every > 0 && step % every == 0;
}

static ls_status exchange_average(ls_run *run)
{
    ls_saving_wait_taken(run);
    const ls_status status = ls_ema_exchange(&run->ema, run->reducer, run->world);
    return status == LS_OK ? ls_tables_exchange(run) : status;
}

/* The averaged weights take the others' place for as long as it lasts. */
static ls_status evaluate_average(ls_run *run)
{
    ls_status status = exchange_average(run);
    if (status == LS_OK)
        status = ls_evaluate(run, &run->averaged);
    return status == LS_OK ? exchange_average(run) : ls_fail_at(status, "averaged weights");
}

static ls_status evaluate_and_report(ls_run *run)
{
    const ls_task *task = run->config->task;
    ls_run_phase(run, "evaluation");
    ls_status status = ls_evaluate(run, &run->evaluation);
    if (status == LS_OK && task->evaluated && run->evaluation.counted > 0)
        task->evaluated(run->task, run->evaluation.sums, run->evaluation.counted);
    if (status == LS_OK && ls_ema_is_evaluated(&run->ema))
        status = evaluate_average(run);
    if (status != LS_OK)
        return status;
    run->improved = ls_best_update(&run->best, run);
    ls_best_update(&run->patience, run);
    if (run->rank == 0)
        ls_metrics_eval(run->metrics, run);
    if (run->rank == 0 && task->report && (run->step == run->steps || ls_patience_has_ended(run)))
        status = task->report(run->task, run->config->run.run, run->evaluation.sums, run->evaluation.counted);
    return status;
}

static ls_status save(ls_run *run, bool last)
{
    ls_run_phase(run, "checkpoint");
    const ls_status status = ls_saving_save(run, last);
    ls_flight_saved(run->flight, run->saved_step);
    return status;
}

/* What follows a step: logs, evaluation, checkpoint. */
static ls_status after_step(ls_run *run, const ls_step_metrics *metrics)
{
    const ls_best best_before = run->best;
    ls_status status = agree_to_stop(run);
    run->improved = false;
    if (status == LS_OK)
        status = ls_metrics_step(run->metrics, run, metrics);
    if (status == LS_OK && run->config->run.hash_log)
        status = ls_hash_log(run, run->step, metrics->loss);
    if (status == LS_OK && run->eval_data && (due(run->step, run->config->run.eval_every) || run->step == run->steps))
        status = evaluate_and_report(run);
    const bool last = run->step == run->steps || run->stop || ls_patience_has_ended(run);
    const bool saves = last || run->improved || ls_saving_is_due(run);
    if (status == LS_OK && (saves || !run->compared)) /* after the first step of a process it has met its shapes */
        status = ls_run_compare_choices(run);
    run->compared = true;
    const int64_t compare = run->config->guard.replicas_every;
    if (status == LS_OK && compare && (saves || due(run->step, compare)))
        status = ls_guard_replicas(run);
    if (status == LS_OK && saves)
        status = save(run, last);
    if (run->improved && run->saved_step != run->step)
        run->best = best_before; /* it is not on the disk: later ones are compared with the best that is */
    return status;
}

/* Also of a run that had ended so before, and has nothing to do. */
static void tell_early_end(const ls_run *run)
{
    const ls_best *best = &run->patience;
    if (run->rank == 0)
        ls_log_write(LS_LOG_INFO, "train", "stopped early after step %lld of %lld: %s was best after step %lld (%.6g), and not better in %lld evaluations since; raise early_stop.patience (now %lld) to go on",
                     (long long)run->step, (long long)run->steps, best->metric, (long long)best->step, best->value, (long long)best->since,
                     (long long)run->config->early_stop.patience);
}

ls_status ls_run_step(ls_run *run)
{
    ls_step_metrics metrics = {0};
    ls_log_step(run->step + 1);
    ls_flight_step(run->flight, run->step + 1);
    ls_metrics_begin(run->metrics, run);
    ls_profile_step_begin(run->profile, run);
    bool done = false;
    ls_status status = train_step(run, &metrics, &done);
    const int64_t begin = ls_run_phase(run, "log");
    if (status == LS_OK && done)
        status = after_step(run, &metrics);
    note(run, "log, evaluate, save", begin);
    return status == LS_OK ? ls_profile_step_end(run->profile, run) : status;
}

static ls_status loop(ls_run *run)
{
    ls_status status = LS_OK;
    if (run->step == 0 && run->eval_data)
        status = evaluate_and_report(run);
    while (status == LS_OK && run->step < run->steps && !run->stop && !ls_patience_has_ended(run))
        status = ls_run_step(run);
    ls_log_progress(NULL);
    if (status == LS_OK && ls_patience_has_ended(run) && run->step < run->steps)
        tell_early_end(run);
    else if (status == LS_OK && run->stop && run->step < run->steps)
        return ls_fail(LS_ESTOPPED, "stopped by a signal at step %lld of %lld, checkpoint written; run the same command again to go on",
                       (long long)run->step, (long long)run->steps);
    return status;
}

ls_status ls_train(ls_world *world, const ls_train_config *config)
{
    ls_run run;
    watch_signals();
    ls_status status = ls_run_open(&run, world, config, true);
    if (status == LS_OK && run.step >= run.steps && run.rank == 0)
        ls_log_write(LS_LOG_INFO, "train", "already at step %lld of %lld: nothing to do; raise max_steps or data.epochs to go on",
               (long long)run.step, (long long)run.steps);
    if (status == LS_OK)
        status = loop(&run);
    ls_folder_end(&run, status);
    ls_run_close(&run);
    return status;
}
