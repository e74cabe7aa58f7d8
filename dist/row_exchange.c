/* See row_exchange.h. */
#include "dist/row_exchange.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_SLOT = 256 * 1024 };

static size_t at_border(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t row_bytes(int64_t width)
{
    return (size_t)width * sizeof(float) + sizeof(int32_t);
}

static size_t table_bytes(int lists, int ranks)
{
    return sizeof(int64_t) * (size_t)(lists ? lists * ranks : 1); /* an empty segment would not travel */
}

size_t ls_row_slot_bytes(int64_t width, int most, int ranks)
{
    size_t slot = LEAST_SLOT, rows = at_border(row_bytes(width)) * (size_t)(ranks - 1),
           table = table_bytes(most, ranks);
    slot = rows > slot ? rows : slot;
    return table > slot ? table : slot;
}

ls_status ls_row_exchange_open(ls_row_exchange *x)
{
    const size_t ranks = (size_t)x->ranks, lists = ranks * (size_t)x->most;
    x->lists = calloc(ranks, sizeof *x->lists);
    x->node = calloc(lists, sizeof *x->node);
    x->mine = calloc((size_t)x->most, sizeof *x->mine);
    x->part = calloc(lists, sizeof *x->part);
    x->taken = calloc(lists, sizeof *x->taken);
    x->counts = calloc(lists * ranks, sizeof *x->counts);
    x->segments = calloc(ranks, sizeof *x->segments);
    if (!x->lists || !x->node || !x->mine || !x->part || !x->taken || !x->counts || !x->segments)
        return ls_fail(LS_EMEM, "no memory to exchange rows among %d ranks", x->ranks);
    x->room = (int64_t)(ls_channel_slot_bytes(x->channel) / (ranks - 1) / 64 * 64 / row_bytes(x->width));
    const int64_t own = x->owner[x->rank].end - x->owner[x->rank].begin;
    return ls_arena_create(&x->received, "row gradients of others", lists * ls_row_list_bytes(own, x->width) + 4096);
}

void ls_row_exchange_close(ls_row_exchange *x)
{
    ls_arena_free(x->received);
    free(x->lists);
    free(x->node);
    free(x->mine);
    free(x->part);
    free(x->taken);
    free(x->counts);
    free(x->segments);
}

static int64_t *count_of(const ls_row_exchange *x, int from, int list, int to)
{
    return &x->counts[((int64_t)from * x->most + list) * x->ranks + to];
}

static int64_t total_of(const ls_row_exchange *x, int from, int to)
{
    int64_t total = 0;
    for (int k = 0; k < x->lists[from]; k++)
        total += *count_of(x, from, k, to);
    return total;
}

/* Rows of piece `piece` from one rank to another. */
static int64_t piece_of(const ls_row_exchange *x, int from, int to, int64_t piece)
{
    const int64_t left = total_of(x, from, to) - piece * x->room;
    return from == to || left < 0 ? 0 : left < x->room ? left : x->room;
}

/* Copies `count` rows between a piece's place and the lists, read one after the other, from row `at` on. */
static void copy_rows(const ls_row_exchange *x, const ls_row_gradient *list, int64_t stride, int64_t at, int64_t count,
                      char *piece, bool out)
{
    float *vectors = (float *)(void *)piece;
    int32_t *rows = (int32_t *)(void *)(piece + (size_t)(count * x->width) * sizeof *vectors);
    for (int64_t done = 0; done < count; list += stride) {
        if (at >= list->count) {
            at -= list->count;
            continue;
        }
        const int64_t n = list->count - at < count - done ? list->count - at : count - done;
        float *vector = (float *)list->vector + at * x->width, *other = vectors + done * x->width;
        const size_t bytes = (size_t)(n * x->width) * sizeof *vector;
        memcpy(out ? other : vector, out ? vector : other, bytes);
        memcpy(out ? rows + done : list->row + at, out ? list->row + at : rows + done, (size_t)n * sizeof *rows);
        done += n;
        at = 0;
    }
}

/* ---- exchange 0 ---- */

static void post_counts(ls_row_exchange *x, char *slot)
{
    for (int k = 0; k < x->lists[x->rank]; k++)
        for (int to = 0; to < x->ranks; to++) {
            ls_row_gradient *part = &x->part[k * x->ranks + to];
            *part = ls_row_list_part(&x->mine[k], x->owner[to].begin, x->owner[to].end);
            *count_of(x, x->rank, k, to) = part->count;
        }
    const size_t bytes = table_bytes(x->lists[x->rank], x->ranks);
    memset(slot, 0, sizeof(int64_t));
    if (x->lists[x->rank])
        memcpy(slot, count_of(x, x->rank, 0, 0), bytes);
    for (int to = 0; to < x->ranks; to++)
        x->segments[to] = (ls_segment){0, bytes};
}

/* All counts are there: how many exchanges, and room for what comes. */
static ls_status plan(ls_row_exchange *x)
{
    int64_t most = 0;
    for (int from = 0; from < x->ranks; from++)
        for (int to = 0; to < x->ranks; to++) {
            const int64_t pieces = from == to ? 0 : (total_of(x, from, to) + x->room - 1) / x->room;
            most = pieces > most ? pieces : most;
        }
    x->exchanges = 1 + most;
    ls_arena_release(x->received, 0);
    for (int from = 0; from < x->ranks; from++)
        for (int k = 0; k < x->lists[from]; k++) {
            ls_row_gradient *list = &x->taken[from * x->most + k];
            ls_status status = LS_OK;
            if (from == x->rank)
                *list = x->part[k * x->ranks + x->rank];
            else
                status = ls_row_list_take(x->received, *count_of(x, from, k, x->rank), x->width, list);
            if (status != LS_OK)
                return status;
        }
    return LS_OK;
}

/* ---- the job ---- */

static void post_rows(ls_row_exchange *x, char *slot)
{
    size_t used = 0;
    for (int to = 0; to < x->ranks; to++) {
        const int64_t n = piece_of(x, x->rank, to, x->posted - 1);
        x->segments[to] = (ls_segment){used, (size_t)n * row_bytes(x->width)};
        if (n)
            copy_rows(x, &x->part[to], x->ranks, (x->posted - 1) * x->room, n, slot + used, true);
        used += at_border((size_t)n * row_bytes(x->width));
    }
}

static ls_status post(ls_row_exchange *x)
{
    char *slot = ls_channel_slot(x->channel, x->first + x->posted);
    if (x->posted == 0)
        post_counts(x, slot);
    else
        post_rows(x, slot);
    x->posted++;
    return ls_channel_post(x->channel, x->first + x->posted - 1, x->segments);
}

static bool comes_from(const ls_row_exchange *x, int from)
{
    return from != x->rank && (x->got == 0 || piece_of(x, from, x->rank, x->got - 1) > 0);
}

static ls_status take(ls_row_exchange *x, bool *moved, bool *whole)
{
    *whole = false;
    for (; x->looking < x->ranks; x->looking++) {
        const int from = x->looking;
        size_t bytes;
        const void *data;
        if (!comes_from(x, from))
            continue;
        ls_status status = ls_channel_take(x->channel, x->first + x->got, from, &data, &bytes);
        if (status != LS_OK || !data)
            return status;
        if (x->got == 0 && x->lists[from])
            memcpy(count_of(x, from, 0, 0), data, table_bytes(x->lists[from], x->ranks));
        if (x->got > 0)
            copy_rows(x, &x->taken[from * x->most], 1, (x->got - 1) * x->room, piece_of(x, from, x->rank, x->got - 1),
                      (char *)(uintptr_t)data, false);
        *moved = true;
    }
    ls_channel_release(x->channel, x->first + x->got);
    x->looking = 0;
    x->got++;
    *whole = *moved = true;
    return x->got == 1 ? plan(x) : LS_OK;
}

static ls_status add_all(ls_row_exchange *x)
{
    ls_status status = LS_OK;
    for (int from = 0; from < x->ranks; from++)
        for (int k = 0; k < x->lists[from] && status == LS_OK; k++)
            status = ls_row_counter_push(x->sum, x->node[from * x->most + k], &x->taken[from * x->most + k]);
    return status;
}

static ls_step step(ls_job *job, ls_world *world)
{
    ls_row_exchange *x = (ls_row_exchange *)job;
    bool moved = false, whole = true;
    (void)world;
    while (job->status == LS_OK && x->posted < x->exchanges && ls_channel_writable(x->channel, x->first + x->posted)) {
        job->status = post(x);
        moved = true;
    }
    while (job->status == LS_OK && whole && x->got < x->posted)
        job->status = take(x, &moved, &whole);
    const bool done = job->status == LS_OK && x->got == x->exchanges;
    if (done)
        job->status = add_all(x);
    if (job->status != LS_OK)
        return LS_STEP_FAILED;
    return done ? LS_STEP_DONE : moved ? LS_STEP_MOVED : LS_STEP_IDLE;
}

static int awaits(const ls_job *job, const ls_world *world)
{
    const ls_row_exchange *x = (const ls_row_exchange *)job;
    (void)world;
    return x->got < x->posted ? x->looking : ls_channel_reader(x->channel, x->first + x->posted);
}

void ls_row_exchange_start(ls_row_exchange *x, ls_world *world)
{
    x->job = (ls_job){.phase = "exchange of row gradients", .step = step, .awaits = awaits};
    x->first = ls_channel_next(x->channel);
    x->exchanges = 1;
    x->posted = x->got = 0;
    x->looking = 0;
    ls_comm_start(world, &x->job);
}
