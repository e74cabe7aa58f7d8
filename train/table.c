/* See table.h. */
#include "train/table.h"

#include "tensor/ops.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS_AT_ONCE = 64 }; /* of the update, for one thread */

/* ---- life ---- */

static bool is_table(const ls_parameter *p)
{
    return p->sparse_rows && !p->frozen;
}

ls_status ls_tables_count(const ls_parameter *parameters, int count, int *tables)
{
    for (*tables = 0; *tables < count && is_table(&parameters[*tables]);)
        ++*tables;
    for (int i = *tables; i < count; i++)
        if (is_table(&parameters[i]))
            return ls_fail(LS_EARG, "parameter %s has sparse rows but stands behind %s; a task lists its tables first",
                           parameters[i].name, parameters[*tables].name);
    return LS_OK;
}

static ls_status open_table(ls_run *run, ls_table *table, ls_parameter *p, int number, ls_type compute,
                            bool second_moment)
{
    const ls_row_options options = {
        .rows = p->shape[0], .width = p->shape[1], .max_grains = run->config->batch.grains, .schedule = run->schedule};
    ls_status status = ls_flat_open(&table->flat, run->world, run->device, p, 1, number, compute, second_moment,
                                    (uint64_t)run->config->run.seed);
    if (status == LS_OK)
        status = ls_ema_open(&table->ema, &run->config->ema, &table->flat);
    if (status == LS_OK)
        status = ls_row_reducer_open(&table->reducer, run->world, &options);
    return ls_fail_at(status, "table %s", p->name);
}

ls_status ls_tables_open(ls_run *run, ls_parameter *parameters, int count, ls_type compute, bool second_moment)
{
    if (count == 0)
        return LS_OK;
    run->tables = calloc((size_t)count, sizeof *run->tables);
    if (!run->tables)
        return ls_fail(LS_EMEM, "no memory for %d tables", count);
    ls_status status = LS_OK;
    for (; run->table_count < count && status == LS_OK; run->table_count++)
        status = open_table(run, &run->tables[run->table_count], &parameters[run->table_count], run->table_count,
                            compute, second_moment);
    return status;
}

void ls_tables_close(ls_run *run)
{
    for (int i = 0; i < run->table_count; i++) {
        ls_row_reducer_close(run->tables[i].reducer);
        ls_ema_close(&run->tables[i].ema);
        ls_flat_close(&run->tables[i].flat);
        free(run->tables[i].dense);
    }
    free(run->tables);
    run->tables = NULL;
    run->table_count = 0;
}

ls_status ls_tables_state(ls_run *run, ls_state_tree *tree)
{
    ls_status status = LS_OK;
    for (int i = 0; i < run->table_count && status == LS_OK; i++)
        status = ls_flat_state(&run->tables[i].flat, tree);
    for (int i = 0; i < run->table_count && status == LS_OK; i++)
        status = ls_ema_state(&run->tables[i].ema, tree);
    return status;
}

ls_status ls_tables_begin_from(ls_run *run, const char *folder, bool averaged)
{
    ls_status status = LS_OK;
    for (int i = 0; i < run->table_count && status == LS_OK; i++)
        status = ls_flat_begin_from(&run->tables[i].flat, folder, averaged);
    return status;
}

void ls_tables_round(ls_run *run)
{
    for (int i = 0; i < run->table_count; i++)
        ls_flat_round(&run->tables[i].flat);
}

void ls_tables_begin_averages(ls_run *run)
{
    for (int i = 0; i < run->table_count; i++)
        ls_ema_begin(&run->tables[i].ema);
}

ls_status ls_tables_publish_all(ls_run *run)
{
    ls_status status = LS_OK;
    for (int i = 0; i < run->table_count && status == LS_OK; i++)
        status = ls_flat_publish(&run->tables[i].flat, NULL, run->world);
    return status;
}

int64_t ls_tables_elements(const ls_run *run)
{
    int64_t elements = 0;
    for (int i = 0; i < run->table_count; i++)
        elements += run->tables[i].flat.elements;
    return elements;
}

int64_t ls_tables_trainable(const ls_run *run)
{
    int64_t trainable = 0;
    for (int i = 0; i < run->table_count; i++)
        trainable += run->tables[i].flat.trainable;
    return trainable;
}

size_t ls_tables_bytes(const ls_run *run, bool second_moment)
{
    size_t bytes = 0;
    for (int i = 0; i < run->table_count; i++)
        bytes += ls_flat_bytes(&run->tables[i].flat, run->ranks, second_moment);
    return bytes;
}

/* ---- a step ---- */

ls_status ls_tables_begin(ls_run *run, int64_t grains)
{
    ls_status status = LS_OK;
    for (int i = 0; i < run->table_count && status == LS_OK; i++)
        status = ls_row_reducer_begin(run->tables[i].reducer, grains);
    return status;
}

ls_status ls_tables_add(ls_run *run, const ls_parameter *parameter, const ls_row_gradient *gradient)
{
    ls_row_reducer *reducer = run->tables[parameter - run->tables[0].flat.parameters].reducer;
    if (!run->device->synchronize)
        return ls_row_reducer_add(reducer, gradient);
    const ls_tape_mark mark = ls_tape_marked(run->tape);
    ls_row_gradient here = *gradient; /* the sums of rows are the host's */
    here.vector = (void *)(uintptr_t)ls_tape_read_bytes(run->tape, gradient->vector, (size_t)(here.count * here.width) * sizeof(float));
    const ls_status status = here.vector ? ls_row_reducer_add(reducer, &here) : ls_tape_status(run->tape);
    ls_tape_release(run->tape, mark);
    return status;
}

ls_status ls_tables_grain_end(ls_run *run)
{
    ls_status status = LS_OK;
    for (int i = 0; i < run->table_count && status == LS_OK; i++)
        status = ls_row_reducer_grain_end(run->tables[i].reducer);
    return status;
}

ls_status ls_tables_finish(ls_run *run)
{
    ls_status status = LS_OK;
    for (int i = 0; i < run->table_count && status == LS_OK; i++)
        status = ls_row_reducer_finish(run->tables[i].reducer, &run->tables[i].sum);
    return status;
}

ls_status ls_tables_squares(ls_run *run, double *squares)
{
    ls_status status = LS_OK;
    for (int i = 0; i < run->table_count && status == LS_OK; i++) {
        double own = 0;
        status = ls_row_squares(run->tables[i].reducer, run->device, &own);
        *squares += own;
    }
    return status;
}

typedef struct {
    const ls_table *table;
    ls_optimizer_args args;
} update;

static void update_rows(void *context, int64_t item)
{
    const update *u = context;
    const ls_flat *flat = &u->table->flat;
    const ls_row_gradient *sum = &u->table->sum;
    const int64_t past = (item + 1) * ROWS_AT_ONCE;
    ls_optimizer_args args = u->args;
    for (int64_t i = item * ROWS_AT_ONCE; i < past && i < sum->count; i++) {
        const int64_t element = sum->row[i] * sum->width, at = element - flat->slice_begin;
        args.gradient = (const float *)sum->vector + i * sum->width;
        args.master = flat->master + at;
        args.first_moment = flat->first_moment + at;
        args.second_moment = flat->second_moment ? flat->second_moment + at : NULL;
        args.working =
            flat->compute == LS_F32 ? NULL : (char *)flat->working + (size_t)element * ls_type_size(flat->compute);
        flat->device->optimizer_step(flat->device, &args); /* on this thread alone */
    }
}

void ls_tables_update(ls_run *run, const ls_optimizer_args *args)
{
    for (int i = 0; i < run->table_count; i++) {
        update u = {.table = &run->tables[i], .args = *args};
        u.args.count = u.table->sum.width;
        u.args.lr *= u.table->flat.parameters->lr_scale;
        u.args.weight_decay = run->groups.weight_decay[i];
        u.args.working_type = u.table->flat.compute;
        const int64_t items = (u.table->sum.count + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
        if (!run->device->synchronize)
            ls_team_run(run->team, items, update_rows, &u);
        for (int64_t item = 0; item < items && run->device->synchronize; item++) /* its queue is one thread's */
            update_rows(&u, item);
    }
}

void ls_tables_average(ls_run *run)
{
    for (int i = 0; i < run->table_count; i++)
        ls_ema_update(&run->tables[i].ema, run->step + 1);
}

ls_status ls_tables_exchange(ls_run *run)
{
    ls_status status = LS_OK;
    for (int i = 0; i < run->table_count && status == LS_OK; i++)
        status = ls_ema_exchange(&run->tables[i].ema, NULL, run->world);
    return status;
}

ls_status ls_tables_publish(ls_run *run)
{
    ls_status status = run->table_count ? ls_device_wait(run->device) : LS_OK;
    for (int i = 0; i < run->table_count && status == LS_OK; i++)
        status = ls_row_gather(run->tables[i].reducer, run->tables[i].flat.compute, run->tables[i].flat.working);
    return status;
}

/* ---- for the hash log ---- */

static ls_status spread_gradient(ls_table *table)
{
    const ls_flat *flat = &table->flat;
    const ls_row_gradient *sum = &table->sum;
    if (!table->dense)
        table->dense = malloc(((size_t)flat->slice_count + 1) * sizeof *table->dense);
    if (!table->dense)
        return ls_fail(LS_EMEM, "hash log: no memory for the gradient of %s", flat->parameters->name);
    memset(table->dense, 0, (size_t)flat->slice_count * sizeof *table->dense);
    for (int64_t i = 0; i < sum->count; i++)
        memcpy(table->dense + (sum->row[i] * sum->width - flat->slice_begin),
               (const float *)sum->vector + i * sum->width, (size_t)sum->width * sizeof *table->dense);
    return LS_OK;
}

ls_status ls_tables_gradients(ls_run *run, ls_state_tree *tree)
{
    ls_status status = LS_OK;
    for (int i = 0; i < run->table_count && status == LS_OK; i++) {
        status = spread_gradient(&run->tables[i]);
        if (status == LS_OK)
            status = ls_flat_gradients(&run->tables[i].flat, run->tables[i].dense, tree);
    }
    return status;
}
