/* See guard.h. */
#include "train/guard.h"

#include "base/hash.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "train/saving.h"
#include "train/table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_LOSSES = 16,  /* a median of fewer says nothing */
    MOST_RETURNS = 3,   /* to the same checkpoint */
    NAMED_SAMPLES = 32, /* in a line of the log */
};

ls_status ls_guard_open(ls_run *run)
{
    const ls_batch_options *batch = &run->config->batch;
    ls_guard *guard = &run->guard;
    if (run->config->guard.spike > 0 && run->config->task->prepare)
        return ls_fail(LS_ERECIPE, "guard.spike is set, but task %s makes its own rows: there is no data to leave out", run->config->task->name);
    guard->sample = calloc((size_t)(batch->grains * batch->grain), sizeof *guard->sample);
    guard->rows = calloc((size_t)batch->grains, sizeof *guard->rows);
    guard->rank_hash = calloc((size_t)run->ranks, sizeof *guard->rank_hash);
    return guard->sample && guard->rows && guard->rank_hash ? LS_OK : ls_fail(LS_EMEM, "no memory for the numbers of %lld samples", (long long)ls_run_rows_per_step(run));
}

void ls_guard_close(ls_run *run)
{
    free(run->guard.sample);
    free(run->guard.rows);
    free(run->guard.rank_hash);
}

ls_status ls_guard_state(ls_run *run, ls_state_tree *tree)
{
    ls_guard *guard = &run->guard;
    if (run->config->guard.spike <= 0)
        return LS_OK;
    const ls_state_entry losses = {.name = "guard/losses", .kind = LS_STATE_TASK, .type = LS_F64, .flags = LS_STATE_REPLICATED, .ndim = 1,
                                   .shape = {LS_GUARD_WINDOW}, .held = LS_GUARD_WINDOW, .data = guard->loss};
    const ls_status status = ls_state_add(tree, &losses);
    return status == LS_OK ? ls_state_add_i64(tree, "guard/losses_seen", 0, &guard->losses) : status;
}

void ls_guard_note(ls_run *run, int64_t k, const ls_grain *grain)
{
    const int64_t room = run->config->batch.grain;
    run->guard.rows[k] = grain->rows < room ? grain->rows : room;
    memcpy(run->guard.sample + k * room, grain->samples, (size_t)run->guard.rows[k] * sizeof *grain->samples);
}

/* ---- what is not finite ---- */

static void name_samples(const ls_run *run, int64_t k, char *text, size_t room)
{
    const ls_guard *guard = &run->guard;
    const int64_t *sample = guard->sample + k * run->config->batch.grain;
    size_t used = 0;
    text[0] = '\0';
    for (int64_t i = 0; i < guard->rows[k] && used < room; i++)
        if (i < NAMED_SAMPLES)
            used += (size_t)snprintf(text + used, room - used, "%s%lld", i ? ", " : "", (long long)sample[i]);
        else if (i == NAMED_SAMPLES)
            used += (size_t)snprintf(text + used, room - used, " and %lld more", (long long)(guard->rows[k] - i));
}

/* The first grain of the step whose loss is not finite; -1: none. */
static int64_t first_bad(const ls_run *run, int64_t grains)
{
    for (int64_t g = 0; g < grains; g++)
        if (!isfinite(run->grain_loss[g * run->step_width]))
            return g;
    return -1;
}

/* Each rank names the samples of its own grains; of all of them where no loss says which it was. */
static void tell_samples(const ls_run *run, int64_t grains, double grad_norm)
{
    char text[1024];
    const int64_t mine = ls_schedule_grains(run->schedule, grains, run->rank, run->ranks);
    const bool by_loss = first_bad(run, grains) >= 0;
    if (!by_loss && run->rank == 0)
        ls_log_write(LS_LOG_WARN, "guard", "the gradient norm is %g though the loss of each grain is finite; the samples are in the ranks' logs", grad_norm);
    for (int64_t k = 0; k < mine; k++) {
        const int64_t g = ls_schedule_grain(run->schedule, grains, run->rank, run->ranks, k);
        const double loss = run->grain_loss[g * run->step_width];
        name_samples(run, k, text, sizeof text);
        if (by_loss && !isfinite(loss))
            ls_log_write(LS_LOG_WARN, "guard", "grain %lld has loss %g; its samples: %s", (long long)g, loss, text);
        else if (!by_loss)
            ls_log_keep(LS_LOG_WARN, "guard", "grain %lld has loss %g; its samples: %s", (long long)g, loss, text);
    }
}

static ls_status skip(ls_run *run, int64_t grains, double loss, double grad_norm)
{
    const int64_t most = run->config->guard.max_skips, bad = first_bad(run, grains);
    char what[160];
    run->guard.in_a_row++;
    run->guard.skipped++;
    tell_samples(run, grains, grad_norm);
    if (bad >= 0)
        snprintf(what, sizeof what, "the loss is %g (in grain %lld first)", loss, (long long)bad);
    else if (run->flat.compute == LS_F16)
        snprintf(what, sizeof what, "the gradient norm is %g, though the loss scale is %.0f, the least that loss_scale.min allows", grad_norm, run->loss_scale.scale);
    else
        snprintf(what, sizeof what, "the gradient norm is %g", grad_norm);
    if (run->guard.in_a_row > most)
        return ls_fail(LS_ENUMERIC, "step %lld: %s, in %lld steps in a row (guard.max_skips is %lld); lower optimizer.lr, look at the samples named in the log with `lockstep data show`, or go on from an older checkpoint",
                       (long long)run->step + 1, what, (long long)run->guard.in_a_row, (long long)most);
    if (run->rank == 0)
        ls_log_write(LS_LOG_WARN, "guard", "step %lld is skipped: %s; the weights stay as they were (%lld in a row, guard.max_skips is %lld)",
                     (long long)run->step + 1, what, (long long)run->guard.in_a_row, (long long)most);
    return LS_OK;
}

/* ---- what is far too much ---- */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double running_median(const ls_guard *guard)
{
    double sorted[LS_GUARD_WINDOW];
    const int64_t count = guard->losses < LS_GUARD_WINDOW ? guard->losses : LS_GUARD_WINDOW;
    memcpy(sorted, guard->loss, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    return sorted[count / 2];
}

/* The checkpoint to go back to, -1: none. Of those that the recipe orders by steps, where it does: others are there because a
 * signal, an end or a best metric came, which another run of the same recipe need not have met. */
static ls_status find_base(ls_run *run, int64_t *step)
{
    char path[4096];
    const ls_status status = ls_saving_settle(run); /* how far a writer got must not decide where the run goes back to */
    return status == LS_OK ? ls_checkpoint_latest(run->world, run->config->run.run, run->config->checkpoint.every.steps, step, path) : status;
}

static ls_status spike(ls_run *run, double loss, double median, ls_guard_verdict *verdict)
{
    ls_guard *guard = &run->guard;
    int64_t base;
    const ls_status status = find_base(run, &base);
    if (status != LS_OK)
        return status;
    if (base < 0) {
        if (run->rank == 0)
            ls_log_write(LS_LOG_WARN, "guard", "step %lld: loss %g is %.1f times its running median %g, and there is no checkpoint yet to go back to: going on",
                         (long long)run->step + 1, loss, loss / median, median);
        return LS_OK;
    }
    guard->returns = guard->returned_to == base ? guard->returns + 1 : 1;
    guard->returned_to = base;
    if (guard->returns > MOST_RETURNS)
        return ls_fail(LS_ENUMERIC, "step %lld: loss %g is %.1f times its running median %g again, after %d returns to the checkpoint of step %lld; lower optimizer.lr, or raise guard.spike (now %g)",
                       (long long)run->step + 1, loss, loss / median, median, MOST_RETURNS, (long long)base, run->config->guard.spike);
    if (run->rank == 0)
        ls_log_write(LS_LOG_WARN, "guard", "step %lld: loss %g is %.1f times its running median %g (guard.spike is %g): back to the checkpoint of step %lld, without the data drawn since",
                     (long long)run->step + 1, loss, loss / median, median, run->config->guard.spike, (long long)base);
    *verdict = LS_GUARD_GO_BACK;
    return LS_OK;
}

ls_status ls_guard_judge(ls_run *run, int64_t grains, double loss, double grad_norm, ls_guard_verdict *verdict)
{
    ls_guard *guard = &run->guard;
    const double limit = run->config->guard.spike;
    *verdict = LS_GUARD_GO_ON;
    if (!isfinite(loss) || !isfinite(grad_norm)) {
        *verdict = LS_GUARD_SKIP;
        return skip(run, grains, loss, grad_norm);
    }
    guard->in_a_row = 0;
    if (limit <= 0)
        return LS_OK;
    const double median = guard->losses >= LEAST_LOSSES ? running_median(guard) : 0;
    if (median > 0 && loss > limit * median) {
        const ls_status status = spike(run, loss, median, verdict);
        if (status != LS_OK || *verdict != LS_GUARD_GO_ON)
            return status;
    }
    guard->loss[guard->losses++ % LS_GUARD_WINDOW] = loss;
    return LS_OK;
}

ls_status ls_guard_go_back(ls_run *run, int64_t position)
{
    ls_status status = ls_run_resume(run, run->config->checkpoint.every.steps);
    run->position = position;
    if (status == LS_OK)
        status = ls_agree(run->world, run->rank == 0 ? ls_checkpoint_remove_after(run->config->run.run, run->step) : LS_OK, "going back");
    if (status == LS_OK)
        status = ls_run_ask_anew(run);
    if (status == LS_OK)
        status = ls_flat_publish(&run->flat, run->reducer, run->world);
    return status == LS_OK ? ls_tables_publish_all(run) : status;
}

/* ---- replicas ---- */

static int64_t parameters_of(const ls_run *run)
{
    return run->flat.count + run->table_count;
}

static const ls_parameter *parameter_at(const ls_run *run, int64_t i)
{
    return i < run->flat.count ? &run->flat.parameters[i] : &run->tables[i - run->flat.count].flat.parameters[0];
}

static uint64_t hash_of(const ls_parameter *p)
{
    return ls_hash_bytes(p->data, (size_t)p->count * ls_type_size(p->type), LS_HASH_SEED + (uint64_t)p->number);
}

/* Which ranks are in the minority over this tensor: " rank 2 (node07)"; where there is no majority all groups are. */
static void name_odd_ranks(const ls_run *run, const uint64_t *hash, char *text, size_t room)
{
    int best = 0, most = 0;
    size_t used = 0;
    for (int rank = 0; rank < run->ranks; rank++) {
        int alike = 0;
        for (int other = 0; other < run->ranks; other++)
            alike += hash[other] == hash[rank];
        if (alike > most) {
            most = alike;
            best = rank;
        }
    }
    if (2 * most <= run->ranks) {
        int other = 1;
        while (other < run->ranks - 1 && hash[other] == hash[0])
            other++;
        snprintf(text, room, "%s and %s have other ones, and which is right is not known", ls_world_rank_name(run->world, 0),
                 ls_world_rank_name(run->world, other));
        return;
    }
    for (int rank = 0; rank < run->ranks && used < room; rank++)
        if (hash[rank] != hash[best])
            used += (size_t)snprintf(text + used, room - used, "%s%s", used ? ", " : "", ls_world_rank_name(run->world, rank));
    if (used < room)
        snprintf(text + used, room - used, " has other ones than the other %d", most);
}

static ls_status name_difference(ls_run *run)
{
    const size_t count = (size_t)parameters_of(run), ranks = (size_t)run->ranks;
    uint64_t *mine = calloc(count, sizeof *mine), *all = calloc(count * ranks, sizeof *all), *one = calloc(ranks, sizeof *one);
    char text[512];
    ls_status status = mine && all && one ? LS_OK : ls_fail(LS_EMEM, "no memory for the hashes of %zu tensors", count);
    for (size_t i = 0; i < count && status == LS_OK; i++)
        mine[i] = hash_of(parameter_at(run, (int64_t)i));
    if (status == LS_OK)
        status = ls_all_gather_bytes(run->world, mine, count * sizeof *mine, all, "hashes of the replicas");
    for (size_t i = 0; i < count && status == LS_OK; i++) {
        bool same = true;
        for (size_t rank = 0; rank < ranks; rank++) {
            one[rank] = all[rank * count + i];
            same = same && one[rank] == one[0];
        }
        if (same)
            continue;
        name_odd_ranks(run, one, text, sizeof text);
        status = ls_fail(LS_ECORRUPT, "step %lld: the ranks' working weights differ in %s: %s. No checkpoint is written; start again from the last one, without that machine if it happens twice",
                         (long long)run->step, parameter_at(run, (int64_t)i)->name, text);
    }
    free(mine);
    free(all);
    free(one);
    return status;
}

ls_status ls_guard_replicas(ls_run *run)
{
    uint64_t mine = 0, *all = run->guard.rank_hash;
    if (run->ranks == 1)
        return LS_OK;
    const ls_status computed = ls_device_wait(run->device);
    if (computed != LS_OK)
        return computed;
    for (int64_t i = 0; i < parameters_of(run); i++)
        mine = ls_hash_bytes((uint64_t[2]){mine, hash_of(parameter_at(run, i))}, 2 * sizeof mine, LS_HASH_SEED);
    const ls_status status = ls_all_gather_bytes(run->world, &mine, sizeof mine, all, "hash of the replicas");
    for (int rank = 1; rank < run->ranks && status == LS_OK; rank++)
        if (all[rank] != all[0])
            return name_difference(run);
    return status;
}
