/* What ranks do with slices besides summing them: gather them all, and their norm. */
#include "dist/reducer.h"

#include <math.h>
#include <string.h>

/* Exchange e carries piece e of every slice to everyone. */
typedef struct {
    ls_job job;
    ls_reducer *reducer;
    char *data;
    size_t size; /* of an element */
    int64_t width, first, exchanges, posted, taken;
    int looking;
} gather;

static char *piece_of(const gather *g, int rank, int64_t exchange)
{
    return g->data + (size_t)(g->reducer->slice[rank].begin + exchange * g->width) * g->size;
}

static ls_status post_piece(gather *g)
{
    ls_reducer *r = g->reducer;
    int64_t s = g->first + g->posted;
    size_t bytes = (size_t)ls_piece(r, r->rank, g->posted, g->width) * g->size;
    if (bytes)
        memcpy(ls_channel_slot(r->channel, s), piece_of(g, r->rank, g->posted), bytes);
    for (int rank = 0; rank < r->ranks; rank++)
        r->segments[rank] = (ls_segment){0, bytes};
    g->posted++;
    return ls_channel_post(r->channel, s, r->segments);
}

static ls_status take_piece(gather *g, bool *moved, bool *whole)
{
    ls_reducer *r = g->reducer;
    *whole = false;
    for (; g->looking < r->ranks; g->looking++) {
        if (g->looking == r->rank || ls_piece(r, g->looking, g->taken, g->width) == 0)
            continue;
        size_t bytes;
        const void *data;
        ls_status status = ls_channel_take(r->channel, g->first + g->taken, g->looking, &data, &bytes);
        if (status != LS_OK || !data)
            return status;
        memcpy(piece_of(g, g->looking, g->taken), data, bytes);
        *moved = true;
    }
    ls_channel_release(r->channel, g->first + g->taken);
    g->looking = 0;
    g->taken++;
    *whole = *moved = true;
    return LS_OK;
}

static ls_step step(ls_job *job, ls_world *world)
{
    gather *g = (gather *)job;
    bool moved = false, whole = true;
    (void)world;
    job->bucket = g->taken + 1;
    while (job->status == LS_OK && g->posted < g->exchanges &&
           ls_channel_writable(g->reducer->channel, g->first + g->posted)) {
        job->status = post_piece(g);
        moved = true;
    }
    while (job->status == LS_OK && whole && g->taken < g->posted)
        job->status = take_piece(g, &moved, &whole);
    if (job->status != LS_OK)
        return LS_STEP_FAILED;
    return g->taken == g->exchanges ? LS_STEP_DONE : moved ? LS_STEP_MOVED : LS_STEP_IDLE;
}

static int awaits(const ls_job *job, const ls_world *world)
{
    const gather *g = (const gather *)job;
    (void)world;
    return g->taken < g->posted ? g->looking : ls_channel_reader(g->reducer->channel, g->first + g->posted);
}

ls_status ls_all_gather_slices(ls_reducer *r, ls_type type, void *data)
{
    if (r->ranks == 1)
        return LS_OK;
    if (r->exchange && r->exchange->reaches(r->exchange, data))
        return r->exchange->gather(r, type, data);
    gather g = {.job = {.phase = "gathering the parameters", .step = step, .awaits = awaits},
                .reducer = r,
                .data = data,
                .size = ls_type_size(type)};
    g.width = ls_piece_room(r, g.size);
    g.first = ls_channel_next(r->channel);
    g.exchanges = (r->largest_slice + g.width - 1) / g.width;
    return ls_comm_do(r->world, &g.job);
}

ls_status ls_slices_squares(ls_reducer *r, const float *slice, double *squares)
{
    double *mine = r->chunk_sums, *all = r->chunk_sums + r->chunks;
    r->device->chunk_squares(r->device, r->slice[r->rank].count, slice, mine);
    for (int rank = 0; rank < r->ranks; rank++)
        r->sizes[rank] = (size_t)(r->slice[rank].count / LS_CHUNK) * sizeof(double);
    ls_status status = ls_all_gather_varying(r->world, mine, all, r->sizes, "gradient norm");
    if (status == LS_OK)
        *squares = ls_tree_sum_f64(all, r->chunks);
    return status;
}

ls_status ls_slices_norm(ls_reducer *r, const float *slice, double *norm)
{
    double squares = 0;
    ls_status status = ls_slices_squares(r, slice, &squares);
    if (status == LS_OK)
        *norm = sqrt(squares);
    return status;
}
