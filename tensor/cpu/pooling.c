/* Pooling over grids (ls_grid in tensor/device.h): each position of the result looks at the taps of its window in
 * ascending order; a position's channels are one run of memory. Positions are independent forwards; backwards, samples
 * are, and a sample's positions go in ascending order. */
#include "tensor/cpu/counts.h"
#include "tensor/cpu/cpu.h"

#include <string.h>

enum { COLUMNS = 512 }; /* channels at a time: their sums are on the stack */

typedef struct {
    const ls_grid *grid;
    const ls_kernels *kernels;
    ls_pooling_kind kind;
    size_t size;
    int64_t positions, first, count; /* of the result in a sample; channels [first, first + count) */
    const char *x, *dy;
    char *y, *dx;
    int32_t *which;
    const int32_t *won;
} pool;

/* The number in the sample of what tap `t` of position `o` sees; -1: outside. */
static int64_t seen(const ls_grid *g, int64_t o, int64_t t)
{
    int64_t number = 0, scale = 1;
    for (int axis = 2; axis >= 0; axis--) {
        const int64_t i = o % g->out[axis] * g->stride[axis] + t % g->window[axis] * g->dilation[axis] - g->padding[axis];
        if (i < 0 || i >= g->in[axis])
            return -1;
        number += i * scale;
        scale *= g->in[axis];
        o /= g->out[axis];
        t /= g->window[axis];
    }
    return number;
}

static double share(const pool *p, int64_t o)
{
    const int64_t taps = product3(p->grid->window);
    if (p->kind == LS_POOL_AVERAGE_PADDED)
        return 1 / (double)taps;
    int64_t inside = 0;
    for (int64_t t = 0; t < taps; t++)
        inside += seen(p->grid, o, t) >= 0;
    return inside ? 1 / (double)inside : 0;
}

/* Positions [begin, end) of the whole batch. */
static void pool_range(void *context, int64_t begin, int64_t end)
{
    const pool *p = context;
    const ls_grid *g = p->grid;
    const int64_t taps = product3(g->window), inside = product3(g->in);
    double sum[COLUMNS];
    int32_t which[COLUMNS];
    for (int64_t position = begin; position < end; position++) {
        const int64_t o = position % p->positions, sample = position / p->positions, at = position * g->channels + p->first;
        bool first = true;
        memset(sum, 0, sizeof sum);
        for (int64_t t = 0; t < taps; t++) {
            const int64_t number = seen(g, o, t);
            if (number < 0)
                continue;
            const char *x = p->x + (size_t)((sample * inside + number) * g->channels + p->first) * p->size;
            if (p->kind == LS_POOL_MAX)
                p->kernels->pool_greatest(first, (int32_t)t, p->count, x, sum, which);
            else
                p->kernels->pool_add(p->count, x, sum);
            first = false;
        }
        p->kernels->pool_finish(p->count, p->kind == LS_POOL_MAX ? 1 : share(p, o), sum, p->y + (size_t)at * p->size);
        if (p->which)
            memcpy(p->which + at, which, (size_t)p->count * sizeof *which);
    }
}

static void backward_range(void *context, int64_t begin, int64_t end)
{
    const pool *p = context;
    const ls_grid *g = p->grid;
    const int64_t taps = product3(g->window), inside = product3(g->in);
    for (int64_t position = begin * p->positions; position < end * p->positions; position++) {
        const int64_t o = position % p->positions, sample = position / p->positions, at = position * g->channels + p->first;
        const double scale = p->kind == LS_POOL_MAX ? 1 : share(p, o);
        for (int64_t t = 0; t < taps; t++) {
            const int64_t number = seen(g, o, t);
            if (number < 0)
                continue;
            char *dx = p->dx + (size_t)((sample * inside + number) * g->channels + p->first) * p->size;
            if (p->kind == LS_POOL_MAX)
                p->kernels->pool_greatest_backward((int32_t)t, p->count, p->won + at, p->dy + (size_t)at * p->size, dx);
            else
                p->kernels->pool_add_backward(p->count, scale, p->dy + (size_t)at * p->size, dx);
        }
    }
}

static void each_column_block(ls_device *device, pool *p, int64_t count, int64_t piece, int64_t cost, ls_cpu_range f)
{
    p->positions = product3(p->grid->out);
    for (p->first = 0; p->first < p->grid->channels; p->first += COLUMNS) {
        const int64_t left = p->grid->channels - p->first;
        p->count = left < COLUMNS ? left : COLUMNS;
        ls_cpu_ranges(device, count, piece, cost, f, p);
    }
}

void ls_cpu_pool(ls_device *device, const ls_grid *grid, ls_pooling_kind kind, const void *x, void *y, int32_t *which)
{
    pool p = {.grid = grid, .kernels = ls_cpu_kernels_of(device, grid->type), .kind = kind, .size = ls_type_size(grid->type), .x = x, .y = y, .which = which};
    const int64_t cost = product3(grid->window) * grid->channels;
    each_column_block(device, &p, grid->batch * product3(grid->out), LS_CPU_PIECE / cost, cost, pool_range);
}

void ls_cpu_pool_backward(ls_device *device, const ls_grid *grid, ls_pooling_kind kind, const void *dy, const int32_t *which, void *dx)
{
    pool p = {.grid = grid, .kernels = ls_cpu_kernels_of(device, grid->type), .kind = kind, .size = ls_type_size(grid->type), .dy = dy, .won = which, .dx = dx};
    each_column_block(device, &p, grid->batch, 1, product3(grid->out) * product3(grid->window) * grid->channels, backward_range);
}
