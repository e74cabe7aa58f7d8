/* Recursive halving (Rabenseifner 2004; Thakur, Rabenseifner & Gropp 2005): the exchange of `block` when every rank
 * ends with one node of the tree, all of one level, and the ranks are a power of two, spread over several nodes.
 *
 *     phase k: rank r and its partner r ^ 2^k hold sums over neighbouring groups of 2^k ranks, which are neighbours
 *     in the tree too. Each sends the half of the slices that the other keeps, and adds what it receives to its own.
 *
 *         P = 4     slices held     after phase 0     after phase 1
 *         rank 0    0 1 2 3         0   2             0
 *         rank 1    0 1 2 3           1   3             1
 *         rank 2    0 1 2 3         0   2                 2
 *         rank 3    0 1 2 3           1   3                 3
 *
 * A rank sends as many bytes as it would send straight to the owners, but the first phases, with most of them, stay
 * inside the node (ranks of a node are neighbours), and there are log2 P messages instead of P - 1. Inside one node the
 * owner may as well read all partial sums at once, so this is not used there. */
#include "dist/reducer.h"

#include <string.h>

typedef struct {
    ls_job job;
    ls_reducer *reducer;
    float *partial;
    int phase;
    int64_t width, first, exchanges, posted, taken; /* of the phase */
} halving;

bool ls_halving_fits(const ls_reducer *r)
{
    int64_t each = r->grains / r->ranks;
    return ls_world_nodes(r->world) > 1 && r->grains % r->ranks == 0 && (each & (each - 1)) == 0 &&
           (r->ranks & (r->ranks - 1)) == 0;
}

/* After a phase a rank keeps the slices whose number ends in the same phase + 1 bits as its own. They form a stream;
 * where does `position` of it lie in the gradient, and how many elements follow there? 0: past the end. */
static int64_t run_at(const ls_reducer *r, int rank, int phase, int64_t position, int64_t *at)
{
    int step = 2 << phase;
    for (int slice = rank % step; slice < r->ranks; slice += step) {
        if (position < r->slice[slice].count) {
            *at = r->slice[slice].begin + position;
            return r->slice[slice].count - position;
        }
        position -= r->slice[slice].count;
    }
    return 0;
}

static int partner_of(const halving *h)
{
    return h->reducer->rank ^ (1 << h->phase);
}

static ls_status post_piece(halving *h)
{
    ls_reducer *r = h->reducer;
    int64_t s = h->first + h->posted, filled = 0, at, run;
    float *slot = ls_channel_slot(r->channel, s);
    while (filled < h->width && (run = run_at(r, partner_of(h), h->phase, h->posted * h->width + filled, &at)) > 0) {
        int64_t n = run < h->width - filled ? run : h->width - filled;
        memcpy(slot + filled, h->partial + at, (size_t)n * sizeof(float));
        filled += n;
    }
    memset(r->segments, 0, (size_t)r->ranks * sizeof *r->segments);
    r->segments[partner_of(h)].bytes = (size_t)filled * sizeof(float);
    h->posted++;
    return ls_channel_post(r->channel, s, r->segments);
}

static ls_status take_piece(halving *h, bool *whole)
{
    ls_reducer *r = h->reducer;
    int64_t s = h->first + h->taken, at, run;
    *whole = false;
    if (run_at(r, r->rank, h->phase, h->taken * h->width, &at) > 0) {
        size_t bytes;
        const void *data;
        ls_status status = ls_channel_take(r->channel, s, partner_of(h), &data, &bytes);
        if (status != LS_OK || !data)
            return status;
        const float *theirs = data;
        int64_t count = (int64_t)(bytes / sizeof(float));
        for (int64_t done = 0; done < count; done += run) {
            run = run_at(r, r->rank, h->phase, h->taken * h->width + done, &at);
            run = run < count - done ? run : count - done;
            for (int64_t i = 0; i < run; i++)
                h->partial[at + i] += theirs[done + i]; /* left + right or right + left: one addition commutes */
        }
    }
    ls_channel_release(r->channel, s);
    h->taken++;
    *whole = true;
    return LS_OK;
}

/* All ranks count as many exchanges for a phase as the longest stream needs. */
static void begin_phase(halving *h, int phase)
{
    ls_reducer *r = h->reducer;
    h->first += h->exchanges;
    h->phase = phase;
    h->exchanges = ((r->ranks >> (phase + 1)) * r->largest_slice + h->width - 1) / h->width;
    h->posted = h->taken = 0;
}

static ls_step step(ls_job *job, ls_world *world)
{
    halving *h = (halving *)job;
    bool moved = false, whole = true;
    (void)world;
    while (job->status == LS_OK && h->posted < h->exchanges &&
           ls_channel_writable(h->reducer->channel, h->first + h->posted)) {
        job->status = post_piece(h);
        moved = true;
    }
    while (job->status == LS_OK && whole && h->taken < h->posted) {
        job->status = take_piece(h, &whole);
        moved = moved || whole;
    }
    if (job->status != LS_OK)
        return LS_STEP_FAILED;
    if (h->taken < h->exchanges)
        return moved ? LS_STEP_MOVED : LS_STEP_IDLE;
    if (2 << h->phase == h->reducer->ranks)
        return LS_STEP_DONE;
    begin_phase(h, h->phase + 1);
    return LS_STEP_MOVED;
}

static int awaits(const ls_job *job, const ls_world *world)
{
    const halving *h = (const halving *)job;
    (void)world;
    return h->taken < h->posted ? partner_of(h) : ls_channel_reader(h->reducer->channel, h->first + h->posted);
}

ls_status ls_halving_run(ls_reducer *r, float *partial)
{
    halving h = {.job = {.phase = "gradient exchange", .step = step, .awaits = awaits},
                 .reducer = r,
                 .partial = partial,
                 .width = ls_piece_room(r, sizeof(float)),
                 .first = ls_channel_next(r->channel)};
    begin_phase(&h, 0);
    return ls_comm_do(r->world, &h.job);
}
