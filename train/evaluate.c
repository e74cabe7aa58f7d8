/* Held-out loss over data.eval (its first data.eval_rows rows): a sum of grain losses in grain order over a count of tokens, so it is the
 * same number on any rank count. Grains are dealt round-robin; each sees the rows in their stored order, once. */
#include "train/internal.h"

#include "dist/tree.h"

#include <stdlib.h>

typedef struct {
    double loss;
    int64_t counted;
} grain_result;

static int64_t rows_evaluated(const ls_run *run)
{
    const int64_t all = ls_data_rows(run->eval_data), asked = run->config->data.eval_rows;
    return asked && asked < all ? asked : all;
}

static ls_status evaluate_grain(ls_run *run, ls_grain_memory *memory, int64_t number, grain_result *result)
{
    const ls_task *task = run->config->task;
    const int64_t rows_all = rows_evaluated(run), first = number * run->config->batch.grain;
    const int64_t left = rows_all - first, rows = left < run->config->batch.grain ? left : run->config->batch.grain;
    const ls_grain_request request = {.step = run->step, .number = number, .position = first, .rows = rows, .slot = (uint32_t)first};
    ls_grain grain;
    ls_status status = ls_data_fill_grain(run->eval_data, &request, memory, &grain);
    if (status != LS_OK)
        return status;
    result->counted = grain.counted;
    ls_tape_reset(run->tape, (uint64_t)run->config->run.seed, (uint32_t)run->step, grain.slot);
    ls_no_grad_begin(run->tape);
    const ls_tensor *sum = (task->evaluate ? task->evaluate : task->grain_loss)(run->task, run->tape, &grain);
    ls_no_grad_end(run->tape);
    status = ls_tape_status(run->tape);
    result->loss = status == LS_OK ? (double)*(const float *)sum->data : 0;
    return status;
}

static ls_status evaluate_all(ls_run *run, ls_grain_memory *memory, int64_t grains, grain_result *mine, grain_result *all, double *losses,
                              double *loss, int64_t *tokens)
{
    const int64_t count = ls_schedule_grains(LS_SCHEDULE_ROUND, grains, run->rank, run->ranks);
    for (int64_t k = 0; k < count; k++) {
        const int64_t g = ls_schedule_grain(LS_SCHEDULE_ROUND, grains, run->rank, run->ranks, k);
        const ls_status status = evaluate_grain(run, memory, g, &mine[k]);
        if (status != LS_OK)
            return ls_fail_at(status, "evaluation, grain %lld", (long long)g);
    }
    const ls_status status = ls_grain_values(run->world, LS_SCHEDULE_ROUND, grains, mine, sizeof *mine, all);
    *tokens = 0;
    for (int64_t g = 0; g < grains && status == LS_OK; g++) {
        losses[g] = all[g].loss;
        *tokens += all[g].counted;
    }
    *loss = status == LS_OK && *tokens ? ls_tree_sum_f64(losses, grains) / (double)*tokens : 0;
    return status;
}

ls_status ls_evaluate(ls_run *run, double *loss, int64_t *tokens)
{
    const ls_batch_options *batch = &run->config->batch;
    const int64_t grains = (rows_evaluated(run) + batch->grain - 1) / batch->grain;
    ls_grain_memory memory;
    grain_result *mine = calloc((size_t)grains, sizeof *mine), *all = calloc((size_t)grains, sizeof *all);
    double *losses = calloc((size_t)grains, sizeof *losses);
    ls_status status = ls_grain_memory_make(&memory, run->eval_data);
    if (status == LS_OK && mine && all && losses)
        status = evaluate_all(run, &memory, grains, mine, all, losses, loss, tokens);
    else if (status == LS_OK)
        status = ls_fail(LS_EMEM, "evaluation: no memory for the results of %lld grains", (long long)grains);
    ls_grain_memory_free(&memory);
    free(mine);
    free(all);
    free(losses);
    return status;
}
