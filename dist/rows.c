/* See rows.h. */
#include "dist/rows.h"

#include "dist/row_exchange.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS = 4 };

struct ls_row_reducer {
    ls_world *world;
    ls_row_options options;
    int rank, ranks;
    bool rounds;             /* schedule `round` among several ranks */
    ls_row_range *owner;     /* [ranks] */
    ls_row_counter own, sum; /* `block`: of this rank's grains; of the rows that this rank owns */
    ls_channel *channel;     /* NULL: one rank */
    ls_row_exchange exchange;
    ls_arena *leaving[2]; /* `round`: of the grain being computed, and of the one before, which may still be read */
    ls_row_gradient leaving_rows;
    ls_arena *scratch;
    size_t *sizes;   /* [ranks] */
    int64_t *counts; /* [ranks], rows of each owner's sum */
    bool in_step, added, abandoned;
    int64_t grains, mine, ended, started; /* started: rounds whose exchange has begun */
    ls_row_gradient result;
};

/* ---- who owns what ---- */

int64_t ls_row_unit(int64_t width)
{
    int64_t a = width, b = LS_CHUNK;
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return width / a * LS_CHUNK;
}

void ls_row_slice(int64_t rows, int64_t width, int rank, int ranks, int64_t *begin, int64_t *end)
{
    int64_t first, count;
    ls_slice_units(rows * width, ls_row_unit(width), rank, ranks, &first, &count);
    *begin = first / width;
    *end = (first + count) / width;
}

/* ---- opening ---- */

static ls_status check_options(const ls_row_options *o, int ranks)
{
    if (o->rows < 1 || o->width < 1 || o->rows > INT32_MAX)
        return ls_fail(LS_EARG, "a table of %lld rows of %lld; there must be at least 1 of each, and below 2^31 rows",
                       (long long)o->rows, (long long)o->width);
    if (o->max_grains < ranks)
        return ls_fail(LS_ERECIPE, "%d ranks for %lld grains a step; start at most %lld ranks", ranks,
                       (long long)o->max_grains, (long long)o->max_grains);
    return LS_OK;
}

static ls_status allocate(ls_row_reducer *r)
{
    r->owner = calloc((size_t)r->ranks, sizeof *r->owner);
    r->sizes = calloc((size_t)r->ranks, sizeof *r->sizes);
    r->counts = calloc((size_t)r->ranks, sizeof *r->counts);
    if (!r->owner || !r->sizes || !r->counts)
        return ls_fail(LS_EMEM, "no memory for a list of %d ranks", r->ranks);
    const ls_row_options *o = &r->options;
    for (int rank = 0; rank < r->ranks; rank++)
        ls_row_slice(o->rows, o->width, rank, r->ranks, &r->owner[rank].begin, &r->owner[rank].end);
    const size_t list = ls_row_list_bytes(o->rows, o->width);
    ls_status status = ls_arena_create(&r->scratch, "norms and new rows", 3 * list + 4096);
    for (int k = 0; k < 2 && status == LS_OK && r->rounds; k++)
        status = ls_arena_create(&r->leaving[k], "row gradients of a grain", list + 4096);
    return status;
}

static int own_places(const ls_row_reducer *r)
{
    return ls_counter_places((r->options.max_grains + r->ranks - 1) / r->ranks, r->ranks == 1);
}

static ls_status open_sums(ls_row_reducer *r)
{
    const ls_row_options *o = &r->options;
    ls_status status = LS_OK;
    if (!r->rounds)
        status = ls_row_counter_open(&r->own, o->rows, o->width, own_places(r));
    if (status == LS_OK && r->ranks > 1)
        status = ls_row_counter_open(&r->sum, r->owner[r->rank].end - r->owner[r->rank].begin, o->width,
                                     ls_counter_places(o->max_grains, true));
    return status;
}

static ls_status open_exchange(ls_row_reducer *r)
{
    if (r->ranks == 1)
        return LS_OK;
    const int most = r->rounds ? 1 : own_places(r);
    ls_channel_options options = {.slot_bytes = ls_row_slot_bytes(r->options.width, most, r->ranks),
                                  .slots = SLOTS,
                                  .transport = r->options.transport,
                                  .name = "exchange of row gradients"};
    ls_status status = ls_barrier(r->world, "opening of the row exchange"); /* a window opens without a deadline */
    if (status == LS_OK)
        status = ls_channel_open(&r->channel, r->world, &options);
    if (status != LS_OK)
        return status;
    r->exchange = (ls_row_exchange){.channel = r->channel,
                                    .rank = r->rank,
                                    .ranks = r->ranks,
                                    .most = most,
                                    .width = r->options.width,
                                    .owner = r->owner,
                                    .sum = &r->sum};
    return ls_row_exchange_open(&r->exchange);
}

ls_status ls_row_reducer_open(ls_row_reducer **out, ls_world *world, const ls_row_options *options)
{
    *out = NULL;
    ls_status status = check_options(options, ls_world_ranks(world));
    if (status != LS_OK)
        return status;
    ls_row_reducer *r = calloc(1, sizeof *r);
    if (!r)
        return ls_fail(LS_EMEM, "no memory for a reducer of rows");
    r->world = world;
    r->options = *options;
    r->rank = ls_world_rank(world);
    r->ranks = ls_world_ranks(world);
    r->rounds = options->schedule == LS_SCHEDULE_ROUND && r->ranks > 1;
    status = allocate(r);
    if (status == LS_OK)
        status = open_sums(r);
    if (status == LS_OK)
        status = open_exchange(r);
    if (status == LS_OK)
        *out = r;
    else
        ls_row_reducer_close(r);
    return status;
}

void ls_row_reducer_close(ls_row_reducer *r)
{
    if (!r)
        return;
    if (atomic_load(&r->exchange.job.running)) { /* an error elsewhere ended the step */
        ls_comm_cancel(r->world, &r->exchange.job);
        r->abandoned = true;
    }
    if (r->channel && !r->abandoned)
        ls_channel_close(r->channel);
    ls_row_exchange_close(&r->exchange);
    ls_row_counter_close(&r->own);
    ls_row_counter_close(&r->sum);
    ls_arena_free(r->leaving[0]);
    ls_arena_free(r->leaving[1]);
    ls_arena_free(r->scratch);
    free(r->owner);
    free(r->sizes);
    free(r->counts);
    free(r);
}

/* ---- exchanges ---- */

/* `block`: every rank's maximal nodes; the tree alone says which. */
static ls_status exchange_nodes(ls_row_reducer *r)
{
    ls_row_exchange *x = &r->exchange;
    for (int rank = 0; rank < r->ranks; rank++) {
        ls_tree_node node[128];
        const int64_t begin = ls_schedule_grain(LS_SCHEDULE_BLOCK, r->grains, rank, r->ranks, 0);
        const int64_t end = begin + ls_schedule_grains(LS_SCHEDULE_BLOCK, r->grains, rank, r->ranks);
        x->lists[rank] = ls_tree_cover(begin, end, r->grains, node);
        memcpy(x->node + rank * x->most, node, (size_t)x->lists[rank] * sizeof *node);
    }
    memcpy(x->mine, r->own.list, (size_t)x->lists[r->rank] * sizeof *x->mine);
    ls_row_exchange_start(x, r->world);
    return ls_comm_wait(r->world, &x->job);
}

static ls_status wait_for_round(ls_row_reducer *r)
{
    return r->started ? ls_comm_wait(r->world, &r->exchange.job) : LS_OK;
}

static int64_t rounds_of(const ls_row_reducer *r)
{
    return (r->grains + r->ranks - 1) / r->ranks;
}

/* `round`: one list of each rank that has a grain in it. */
static ls_status start_round(ls_row_reducer *r, const ls_row_gradient *list)
{
    ls_row_exchange *x = &r->exchange;
    ls_status status = wait_for_round(r);
    if (status != LS_OK)
        return status;
    for (int rank = 0; rank < r->ranks; rank++) {
        const int64_t grain = r->started * r->ranks + rank;
        x->lists[rank] = grain < r->grains;
        x->node[rank] = (ls_tree_node){0, grain};
    }
    if (x->lists[r->rank])
        x->mine[0] = *list;
    r->started++;
    ls_row_exchange_start(x, r->world);
    return LS_OK;
}

/* ---- the step ---- */

ls_status ls_row_reducer_begin(ls_row_reducer *r, int64_t grains)
{
    if (r->in_step)
        return ls_fail(LS_EARG, "row reducer: a step begins before the last one was finished");
    if (grains < 1 || grains > r->options.max_grains)
        return ls_fail(LS_EARG, "row reducer: a step of %lld grains; it was opened for 1 to %lld", (long long)grains,
                       (long long)r->options.max_grains);
    r->grains = grains;
    r->mine = ls_schedule_grains(r->options.schedule, grains, r->rank, r->ranks);
    r->ended = r->started = 0;
    r->added = false;
    r->in_step = true;
    if (!r->rounds)
        ls_row_counter_reset(&r->own, grains);
    if (r->ranks > 1)
        ls_row_counter_reset(&r->sum, grains);
    return LS_OK;
}

static ls_status check_rows(const ls_row_reducer *r, const ls_row_gradient *rows)
{
    if (!r->in_step || r->ended >= r->mine || r->added)
        return ls_fail(LS_EARG, "row reducer: rows are added, but %s",
                       r->added ? "this grain has some already" : "this rank has no grain left in this step");
    if (rows->width != r->options.width)
        return ls_fail(LS_EARG, "row reducer: vectors of %lld, the table's rows have %lld", (long long)rows->width,
                       (long long)r->options.width);
    for (int64_t i = 0; i < rows->count; i++)
        if (rows->row[i] <= (i ? rows->row[i - 1] : -1) || rows->row[i] >= r->options.rows)
            return ls_fail(LS_EARG, "row reducer: row %d at place %lld; rows must ascend, from 0 to %lld", rows->row[i],
                           (long long)i, (long long)r->options.rows - 1);
    return LS_OK;
}

static int64_t grain_of(const ls_row_reducer *r)
{
    return ls_schedule_grain(r->options.schedule, r->grains, r->rank, r->ranks, r->ended);
}

ls_status ls_row_reducer_add(ls_row_reducer *r, const ls_row_gradient *rows)
{
    ls_status status = check_rows(r, rows);
    if (status != LS_OK)
        return status;
    r->added = true;
    if (!r->rounds)
        return ls_row_counter_push(&r->own, (ls_tree_node){0, grain_of(r)}, rows);
    ls_arena *arena = r->leaving[r->started % 2]; /* the other one may still be on its way */
    ls_arena_release(arena, 0);
    status = ls_row_list_take(arena, rows->count, rows->width, &r->leaving_rows);
    if (status == LS_OK)
        ls_row_list_copy(&r->leaving_rows, rows);
    return status;
}

ls_status ls_row_reducer_grain_end(ls_row_reducer *r)
{
    const ls_row_gradient none = {.width = r->options.width};
    if (!r->in_step)
        return ls_fail(LS_EARG, "row reducer: a grain ends outside a step");
    ls_status status = LS_OK;
    if (r->rounds && r->started < rounds_of(r))
        status = start_round(r, r->added ? &r->leaving_rows : &none);
    else if (!r->rounds && !r->added && r->ended < r->mine)
        status = ls_row_counter_push(&r->own, (ls_tree_node){0, grain_of(r)}, &none);
    r->ended += r->ended < r->mine;
    r->added = false;
    return status;
}

ls_status ls_row_reducer_finish(ls_row_reducer *r, ls_row_gradient *sum)
{
    if (!r->in_step || r->ended != r->mine)
        return ls_fail(LS_EARG, "row reducer: finish after %lld of this rank's %lld grains", (long long)r->ended,
                       (long long)r->mine);
    r->in_step = false;
    ls_status status = LS_OK;
    while (r->rounds && status == LS_OK && r->started < rounds_of(r)) /* a last round without a grain here */
        status = start_round(r, NULL);
    if (r->rounds && status == LS_OK)
        status = wait_for_round(r);
    else if (r->ranks > 1 && status == LS_OK)
        status = exchange_nodes(r);
    if (status != LS_OK)
        return status;
    *sum = r->result = r->ranks > 1 ? r->sum.list[0] : r->own.list[0];
    return ls_all_gather_bytes(r->world, &r->result.count, sizeof r->result.count, r->counts, "rows of the step");
}

/* ---- after the step ---- */

static int64_t all_rows(const ls_row_reducer *r)
{
    int64_t rows = 0;
    for (int rank = 0; rank < r->ranks; rank++)
        rows += r->counts[rank];
    return rows;
}

ls_status ls_row_squares(ls_row_reducer *r, ls_device *device, double *squares)
{
    const int64_t width = r->options.width, pieces = (width + LS_CHUNK - 1) / LS_CHUNK, rows = all_rows(r);
    ls_arena_release(r->scratch, 0);
    double *mine = ls_arena_array(r->scratch, double, r->result.count), *all = ls_arena_array(r->scratch, double, rows),
           *piece = ls_arena_array(r->scratch, double, pieces);
    ls_status status = ls_arena_status(r->scratch);
    if (status != LS_OK)
        return status;
    for (int64_t i = 0; i < r->result.count; i++) {
        device->chunk_squares(device, width, (const float *)r->result.vector + i * width, piece);
        mine[i] = 0;
        for (int64_t k = 0; k < pieces; k++)
            mine[i] += piece[k];
    }
    for (int rank = 0; rank < r->ranks; rank++)
        r->sizes[rank] = (size_t)r->counts[rank] * sizeof *mine;
    status = ls_all_gather_varying(r->world, mine, all, r->sizes, "norm of row gradients");
    *squares = ls_tree_sum_f64(all, rows);
    return status;
}

/* A rank's part of the gathering: | rows [n] | values [n, width] |. */
static size_t part_bytes(const ls_row_reducer *r, int rank, ls_type type)
{
    return (size_t)r->counts[rank] * (sizeof(int32_t) + (size_t)r->options.width * ls_type_size(type));
}

static void copy_values(const ls_row_reducer *r, int rank, ls_type type, char *part, char *table, bool out)
{
    const size_t bytes = (size_t)r->options.width * ls_type_size(type);
    const int32_t *row = (const int32_t *)(const void *)part;
    char *values = part + (size_t)r->counts[rank] * sizeof *row;
    for (int64_t i = 0; i < r->counts[rank]; i++) {
        int32_t number;
        memcpy(&number, &row[i], sizeof number); /* parts stand at borders of 2 bytes */
        char *here = values + (size_t)i * bytes, *there = table + (size_t)number * bytes;
        memcpy(out ? here : there, out ? there : here, bytes);
    }
}

ls_status ls_row_gather(ls_row_reducer *r, ls_type type, void *table)
{
    if (r->ranks == 1)
        return LS_OK;
    size_t total = 0;
    for (int rank = 0; rank < r->ranks; rank++)
        total += r->sizes[rank] = part_bytes(r, rank, type);
    ls_arena_release(r->scratch, 0);
    char *mine = ls_arena_take(r->scratch, r->sizes[r->rank]), *part = ls_arena_take(r->scratch, total);
    ls_status status = ls_arena_status(r->scratch);
    if (status != LS_OK)
        return status;
    memcpy(mine, r->result.row, (size_t)r->result.count * sizeof *r->result.row);
    copy_values(r, r->rank, type, mine, table, true);
    status = ls_all_gather_varying(r->world, mine, part, r->sizes, "gathering of new rows");
    for (int rank = 0; rank < r->ranks && status == LS_OK; part += r->sizes[rank++])
        if (rank != r->rank)
            copy_values(r, rank, type, part, table, false);
    return status;
}
