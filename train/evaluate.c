/* Held-out loss and measures over data.eval (its first data.eval_rows rows): sums of grains in grain order over a count of
 * labels, so they are the same numbers on any rank count. Grains are dealt round-robin; each sees the rows in their stored
 * order, once. */
#include "train/internal.h"

#include "dist/tree.h"

#include <stdlib.h>
#include <string.h>

enum { LOSS, COUNTED, SUMS }; /* what stands where in a grain's numbers; the task's sums come behind */

static int64_t rows_evaluated(const ls_run *run)
{
    const int64_t all = ls_data_rows(run->eval_data), asked = run->config->data.eval_rows;
    return asked && asked < all ? asked : all;
}

int64_t ls_evaluation_sums(const ls_run *run)
{
    const ls_task *task = run->config->task;
    if (task->sums)
        return task->sums(run->task);
    int64_t sums = 0;
    while (task->measures && task->measures[sums].name)
        sums++;
    return sums;
}

static ls_status evaluate_grain(ls_run *run, ls_grain_memory *memory, int64_t number, double *numbers)
{
    const ls_task *task = run->config->task;
    const int64_t rows_all = rows_evaluated(run), first = number * run->config->batch.grain;
    const int64_t left = rows_all - first, rows = left < run->config->batch.grain ? left : run->config->batch.grain;
    const ls_grain_request request = {.step = run->step, .number = number, .position = first, .rows = rows, .slot = (uint32_t)first};
    ls_grain grain;
    ls_status status = ls_data_fill_grain(run->eval_data, &request, memory, &grain);
    if (status != LS_OK)
        return status;
    ls_tape_reset(run->tape, (uint64_t)run->config->run.seed, (uint32_t)run->step, grain.slot);
    ls_no_grad_begin(run->tape);
    const ls_tensor *sum = task->evaluate ? task->evaluate(run->task, run->tape, &grain, numbers + SUMS)
                                          : task->grain_loss(run->task, run->tape, &grain);
    ls_no_grad_end(run->tape);
    status = ls_tape_wait(run->tape);
    numbers[LOSS] = ls_tape_number(run->tape, sum);
    numbers[COUNTED] = (double)grain.counted;
    return status;
}

/* The tree sum over grains of number `which`. */
static double add_up(const double *all, int64_t grains, int64_t width, int64_t which, double *column)
{
    for (int64_t g = 0; g < grains; g++)
        column[g] = all[g * width + which];
    return ls_tree_sum_f64(column, grains);
}

/* mine, all: [grains, width]; column: [grains]. */
static ls_status evaluate_all(ls_run *run, ls_grain_memory *memory, int64_t grains, int64_t width, double *mine, double *all, double *column,
                              ls_evaluation *result)
{
    const int64_t count = ls_schedule_grains(LS_SCHEDULE_ROUND, grains, run->rank, run->ranks);
    for (int64_t k = 0; k < count; k++) {
        const int64_t g = ls_schedule_grain(LS_SCHEDULE_ROUND, grains, run->rank, run->ranks, k);
        const ls_status status = evaluate_grain(run, memory, g, mine + k * width);
        if (status != LS_OK)
            return ls_fail_at(status, "evaluation, grain %lld", (long long)g);
    }
    const ls_status status = ls_grain_values(run->world, LS_SCHEDULE_ROUND, grains, mine, (size_t)width * sizeof *mine, all);
    if (status != LS_OK)
        return status;
    result->counted = (int64_t)add_up(all, grains, width, COUNTED, column);
    result->loss = result->counted ? add_up(all, grains, width, LOSS, column) / (double)result->counted : 0;
    for (int64_t i = 0; i < width - SUMS; i++)
        result->sums[i] = add_up(all, grains, width, SUMS + i, column);
    return LS_OK;
}

ls_status ls_evaluate(ls_run *run, ls_evaluation *result)
{
    const int64_t grains = (rows_evaluated(run) + run->config->batch.grain - 1) / run->config->batch.grain;
    const int64_t width = SUMS + ls_evaluation_sums(run);
    double *mine = calloc((size_t)(grains * width), sizeof *mine), *all = calloc((size_t)(grains * width), sizeof *all);
    double *column = calloc((size_t)grains, sizeof *column);
    ls_grain_memory memory;
    ls_status status = ls_grain_memory_make(&memory, run->eval_data);
    if (status == LS_OK && mine && all && column)
        status = evaluate_all(run, &memory, grains, width, mine, all, column, result);
    else if (status == LS_OK)
        status = ls_fail(LS_EMEM, "evaluation: no memory for the results of %lld grains", (long long)grains);
    ls_grain_memory_free(&memory);
    free(mine);
    free(all);
    free(column);
    return status;
}
