/* See audit.h. */
#include "train/audit.h"

#include "base/hash.h"
#include "base/log.h"
#include "tensor/ops.h"
#include "train/loss_scale.h"

#include <stdio.h>
#include <stdlib.h>

enum { STOP, REPEAT }; /* guard.on_fault */

ls_status ls_audit_open(ls_run *run)
{
    ls_audit *audit = &run->audit;
    audit->owner = audit->suspect = -1;
    if (!run->config->guard.audit_every)
        return LS_OK;
    audit->all = calloc((size_t)run->ranks, sizeof *audit->all);
    audit->hash = calloc((size_t)run->config->batch.grains, sizeof *audit->hash);
    if (!audit->all || !audit->hash)
        return ls_fail(LS_EMEM, "no memory for an audit by %d ranks", run->ranks);
    if (run->config->task->grain)
        return LS_OK; /* it makes its own rows, and any of them on any rank */
    audit->memory_made = true;
    return ls_grain_memory_make(&audit->memory, run->train_data);
}

void ls_audit_close(ls_run *run)
{
    if (run->audit.memory_made)
        ls_grain_memory_free(&run->audit.memory);
    free(run->audit.all);
    free(run->audit.hash);
}

/* The n-th of the ranks other than a and b, counted from behind a; -1: there is none. */
static int other_rank(int ranks, int a, int b, int64_t n)
{
    const int others = ranks - (b < 0 ? 1 : 2);
    if (others < 1)
        return -1;
    for (int rank = (a + 1) % ranks, left = (int)(n % others);; rank = (rank + 1) % ranks)
        if (rank != a && rank != b && left-- == 0)
            return rank;
}

void ls_audit_begin(ls_run *run, int64_t grains)
{
    ls_audit *audit = &run->audit;
    const int64_t every = run->config->guard.audit_every;
    audit->owner = -1;
    audit->into = NULL;
    if (!every || (run->step + 1) % every != 0)
        return;
    const int64_t n = (run->step + 1) / every - 1;
    const int owner = audit->suspect >= 0 ? audit->suspect : (int)(n % run->ranks);
    const int64_t held = ls_schedule_grains(run->schedule, grains, owner, run->ranks);
    if (held == 0)
        return; /* a short step */
    audit->owner = owner;
    audit->first = audit->suspect >= 0 ? 0 : n / run->ranks % held;
    audit->count = audit->suspect >= 0 ? held : 1;
    const int auditor = other_rank(run->ranks, owner, -1, n / run->ranks);
    audit->auditor = auditor < 0 ? owner : auditor;
    audit->voter = auditor < 0 ? -1 : other_rank(run->ranks, owner, auditor, 0);
}

static int64_t audited_grain(const ls_run *run, int64_t grains, int64_t i)
{
    return ls_schedule_grain(run->schedule, grains, run->audit.owner, run->ranks, run->audit.first + i);
}

void ls_audit_grain(ls_run *run, int64_t number, int64_t grains)
{
    ls_audit *audit = &run->audit;
    audit->into = NULL;
    for (int64_t i = 0; audit->owner == run->rank && i < audit->count; i++)
        if (audited_grain(run, grains, i) == number)
            audit->into = &audit->hash[i];
    audit->mine = 0;
}

/* A sum, so that the order in which backward is done with the parameters is no part of it. */
void ls_audit_hash(ls_run *run, const ls_parameter *parameter, const void *gradient)
{
    const uint64_t seed = LS_HASH_SEED + 2 * (uint64_t)parameter->number;
    if (!run->audit.into)
        return;
    const ls_tape_mark mark = ls_tape_marked(run->tape);
    const ls_row_gradient *rows = parameter->sparse_rows ? gradient : NULL;
    const int64_t count = rows ? rows->count * rows->width : parameter->count;
    const float *numbers = ls_tape_read_bytes(run->tape, rows ? rows->vector : gradient, (size_t)count * sizeof *numbers);
    if (numbers && rows)
        run->audit.mine += ls_hash_bytes(rows->row, (size_t)rows->count * sizeof *rows->row, seed);
    if (numbers) /* else the tape keeps the error */
        run->audit.mine += ls_hash_numbers(LS_F32, numbers, count, rows ? seed + 1 : seed);
    ls_tape_release(run->tape, mark);
}

void ls_audit_loss(ls_run *run, double loss)
{
    ls_audit *audit = &run->audit;
    if (audit->into)
        *audit->into = audit->mine + ls_hash_numbers(LS_F64, &loss, 1, LS_HASH_SEED - 1);
    audit->into = NULL;
}

/* ---- computing it again ---- */

static void hash_gradient(void *context, const ls_parameter *parameter, void *gradient)
{
    ls_audit_hash(context, parameter, gradient);
}

static ls_status grain_again(ls_run *run, int64_t rows, ls_grain *made, const ls_grain **grain)
{
    const ls_task *task = run->config->task;
    const int64_t number = run->audit.grain, grain_rows = run->config->batch.grain, first = number * grain_rows, left = rows - first;
    if (task->grain) {
        *grain = task->grain(run->task, number);
        return LS_OK;
    }
    const ls_grain_request request = {.step = run->step, .number = number, .position = run->position + first,
                                      .rows = left < grain_rows ? left : grain_rows, .slot = (uint32_t)first};
    *grain = made;
    return ls_data_fill_grain(run->train_data, &request, &run->audit.memory, made);
}

/* This rank's hash of the grain that is looked at. */
static ls_status compute(ls_run *run, int64_t rows, int64_t grains, double denominator, uint64_t *hash)
{
    ls_audit *audit = &run->audit;
    ls_grain made;
    const ls_grain *grain;
    ls_run_phase(run, "audit");
    ls_status status = grain_again(run, rows, &made, &grain);
    if (status != LS_OK)
        return ls_fail_at(status, "audit of grain %lld", (long long)audit->grain);
    audit->into = hash;
    audit->mine = 0;
    ls_tape_reset(run->tape, (uint64_t)run->config->run.seed, (uint32_t)run->step, grain->slot);
    ls_tape_fold(run->tape, grain->number, grains);
    ls_tensor *sum = run->config->task->grain_loss(run->task, run->tape, grain);
    ls_backward(run->tape, sum, ls_loss_scale_seed(run, denominator), hash_gradient, run);
    status = ls_tape_wait(run->tape);
    if (status == LS_OK)
        ls_audit_loss(run, ls_tape_number(run->tape, sum));
    audit->into = NULL;
    return status;
}

static ls_status gather(ls_run *run, uint64_t mine)
{
    return ls_all_gather_bytes(run->world, &mine, sizeof mine, run->audit.all, "audit");
}

/* ---- who is wrong ---- */

/* Two ranks compute once more, and who does not agree with itself is wrong. -1: both do. */
static ls_status second_opinion(ls_run *run, int64_t rows, int64_t grains, double denominator, int *culprit)
{
    const uint64_t *all = run->audit.all, first = all[run->rank];
    uint64_t again = 0;
    *culprit = run->audit.owner;
    if (run->ranks == 1)
        return LS_OK;
    ls_status status = compute(run, rows, grains, denominator, &again);
    if (status == LS_OK)
        status = gather(run, again != first);
    *culprit = status != LS_OK || all[0] == all[1] ? -1 : all[0] ? 0 : 1;
    return status;
}

static ls_status vote(ls_run *run, int64_t rows, int64_t grains, double denominator, int *culprit)
{
    ls_audit *audit = &run->audit;
    const uint64_t owners = audit->all[audit->owner], auditors = audit->all[audit->auditor];
    uint64_t mine = 0;
    ls_status status = LS_OK;
    if (run->rank == audit->voter)
        status = compute(run, rows, grains, denominator, &mine);
    if (status == LS_OK)
        status = gather(run, mine);
    if (status != LS_OK)
        return status;
    const uint64_t voters = audit->all[audit->voter];
    *culprit = voters == auditors ? audit->owner : voters == owners ? audit->auditor : -1;
    return LS_OK;
}

static ls_status settle(ls_run *run, int culprit, bool *again)
{
    ls_audit *audit = &run->audit;
    char who[256];
    if (culprit >= 0)
        snprintf(who, sizeof who, "%s", ls_world_rank_name(run->world, culprit));
    else
        snprintf(who, sizeof who, "%s or %s", ls_world_rank_name(run->world, audit->owner), ls_world_rank_name(run->world, audit->auditor));
    if (run->config->guard.on_fault != REPEAT || audit->suspect >= 0)
        return ls_fail(LS_ESTOPPED, "step %lld: %s computes wrongly: the gradient of grain %lld has other bits there than where it was computed again. "
                       "No checkpoint is written, for weights since step %lld may be wrong; run the same command again without that machine",
                       (long long)run->step + 1, who, (long long)audit->grain, (long long)(run->saved_step > 0 ? run->saved_step : 0));
    audit->suspect = culprit >= 0 ? culprit : audit->owner;
    *again = true;
    if (run->rank == 0)
        ls_log_write(LS_LOG_WARN, "audit", "step %lld: %s computed grain %lld wrongly; the step is computed again (guard.on_fault: repeat)",
                     (long long)run->step + 1, who, (long long)audit->grain);
    return ls_run_ask_anew(run);
}

/* The grain that is looked at; `mine`: the owner's hash of it on the owner. *same: there is nothing wrong with it. */
static ls_status compare(ls_run *run, int64_t rows, int64_t grains, double denominator, uint64_t mine, bool *same)
{
    const ls_audit *audit = &run->audit;
    const uint64_t owners = mine;
    ls_status status = LS_OK;
    if (run->rank == audit->auditor)
        status = compute(run, rows, grains, denominator, &mine);
    if (status == LS_OK)
        status = gather(run, mine);
    *same = status == LS_OK && (audit->owner == audit->auditor ? mine == owners : audit->all[audit->owner] == audit->all[audit->auditor]);
    return status;
}

ls_status ls_audit_end(ls_run *run, int64_t rows, int64_t grains, double denominator, bool *again)
{
    ls_audit *audit = &run->audit;
    *again = false;
    for (int64_t i = 0; audit->owner >= 0 && i < audit->count; i++) {
        int culprit = -1;
        bool same;
        audit->grain = audited_grain(run, grains, i);
        ls_status status = compare(run, rows, grains, denominator, audit->hash[i], &same);
        if (status == LS_OK && same)
            continue;
        if (status == LS_OK)
            status = audit->voter >= 0 ? vote(run, rows, grains, denominator, &culprit) : second_opinion(run, rows, grains, denominator, &culprit);
        return status == LS_OK ? settle(run, culprit, again) : status;
    }
    audit->suspect = -1;
    return LS_OK;
}
