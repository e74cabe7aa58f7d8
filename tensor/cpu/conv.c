/* Convolutions as matrix products whose left operand is never whole in memory (implicit GEMM, Chetlur et al. 2014):
 *
 *     rows of A   positions of the result, a tile at a time          B   the weights, packed in panels once a call
 *     columns     for each tap the channels of the position it sees, zeros outside the grid
 *
 * The gradient in x is the same loop the other way round: a position of x gathers from the positions of dy that saw it,
 * so nothing is scattered. With strides, positions of x fall into classes (their place modulo the stride), each with
 * taps of its own: one pass a class. The gradient in w is A = dy transposed, B = the patches, chunks of positions added in
 * ascending order. Where nothing has to be gathered, conv_padded.c does the same without staging; winograd.c does what 3 x 3 it can with
 * fewer products. Bits depend on shapes alone, as tensor/cpu/product.h says.
 *
 * Where bf16 is multiplied in pairs (product.h), a pair is two channels of a tap in the first two products, two positions in the
 * gradient in w; elsewhere bf16 is widened, as f16 always is. f64 serves gradient checks: plain loops. */
#include "tensor/cpu/conv_gather.h"
#include "tensor/cpu/counts.h"
#include "tensor/cpu/winograd.h"

#include <string.h>

enum {
    TILE_ROWS = LS_CONV_TILE_ROWS,
    TILE_COLUMNS = LS_CONV_TILE_COLUMNS,
    STRIP = 6,                /* rows that the kernel takes at once */
    ENOUGH_WEIGHTS = 1 << 15, /* to pack, worth waking a team */
};

static void gather_tile(void *context, int64_t item)
{
    const ls_conv_gather *g = context;
    const int64_t thread = ls_team_thread_number(), panel = g->kernels->width, columns = ceil_div(g->width, TILE_COLUMNS);
    const int64_t first_position = item / columns * TILE_ROWS, rows = least(TILE_ROWS, g->positions - first_position);
    const int64_t first = item % columns * TILE_COLUMNS, width = least(TILE_COLUMNS, g->width - first);
    float *a = g->staged + thread * TILE_ROWS * LS_PRODUCT_CHUNK, *sum = g->sum + thread * TILE_ROWS * TILE_COLUMNS;
    int64_t sum_row = g->sum_row;
    if (g->in_place) {
        sum = (float *)g->y + first_position * g->result_channels + g->group * g->width + first;
        sum_row = g->result_channels;
    }
    ls_conv_place from = ls_conv_place_of(&g->pass, first_position);
    if (!g->k)
        memset(sum, 0, (size_t)(rows * sum_row) * sizeof *sum);
    for (int64_t begin = 0; begin < g->units; begin += LS_PRODUCT_CHUNK) { /* ascending: the order of the chunks' sums */
        const int64_t count = least(LS_PRODUCT_CHUNK, g->units - begin), unit = g->kernels->unit;
        ls_conv_stage(g, from, rows, begin * unit, count * unit, count * unit, a);
        for (int64_t j = 0; j < width; j += panel) {
            const float *b = g->panels + (first + j) * g->units + begin * panel;
            if (width - j <= panel / 2) {
                g->kernels->multiply_half(rows, count, a, count, 1, b, panel, sum + j, sum_row, begin > 0);
                continue;
            }
            const int64_t bytes = count * panel * (int64_t)sizeof *b / (TILE_ROWS / STRIP); /* a strip's part of the panel behind this one */
            ls_product_ahead ahead = {.at = (const char *)(b + g->units * panel), .rows = 1, .lines = ceil_div(bytes, 64), .next = bytes};
            g->kernels->multiply_strips(rows, count, a, count, 1, STRIP * count, b, sum + j, sum_row, begin > 0, &ahead);
        }
    }
    for (int64_t row = 0; row < rows && !g->in_place; row++, ls_conv_next_place(&g->pass, &from)) {
        int64_t number = from.n;
        for (int axis = 0; axis < 3; axis++)
            number = number * g->result[axis] + from.q[axis] * g->pass.out_step[axis] + g->pass.out_offset[axis];
        const int64_t channel = g->group * g->width + first;
        ls_conv_finish(g, number * g->result_channels + channel, channel, width, sum + row * g->sum_row);
    }
}

/* Pairs run along the channels of a tap, so that they can be even: an odd number of bf16 channels is widened. */
static const ls_product_kernels *kernels_along(ls_device *device, ls_type type, int64_t depth)
{
    const ls_numerics level = ((ls_cpu *)device->self)->level;
    return depth % 2 ? ls_product_kernels_of(level) : ls_product_kernels_for(level, type);
}

static ls_status take_memory(ls_conv_gather *g, int64_t most_taps, ls_arena *scratch)
{
    const int64_t threads = ls_team_threads(g->device->team);
    g->staged = ls_arena_array(scratch, float, TILE_ROWS * LS_PRODUCT_CHUNK * threads);
    g->sum = ls_arena_array(scratch, float, TILE_ROWS * TILE_COLUMNS * threads);
    g->sum_row = least(TILE_COLUMNS, ceil_div(g->width, g->kernels->width) * g->kernels->width);
    g->panels = ls_arena_array(scratch, float, most_taps * g->depth * (g->width + LS_PRODUCT_MAX_WIDTH));
    g->pass.tap = ls_arena_array(scratch, ls_conv_tap, most_taps);
    return ls_arena_status(scratch);
}

static ls_status run_pass(ls_conv_gather *g, ls_arena *scratch)
{
    if (ls_conv_padded_fits(g))
        return ls_conv_padded(g, scratch);
    g->in_place = ls_conv_writes_sums(g) && g->k;
    for (int axis = 0; axis < 3; axis++)
        g->in_place = g->in_place && g->pass.out_step[axis] == 1 && g->pass.q[axis] == g->result[axis];
    g->positions = g->batch * product3(g->pass.q);
    const int64_t items = ceil_div(g->positions, TILE_ROWS) * ceil_div(g->width, TILE_COLUMNS);
    if (g->positions)
        ls_team_run(g->device->team, items, gather_tile, g);
    return LS_OK;
}

/* ---- forward ---- */

/* Which weights are packed. */
typedef struct {
    ls_conv_gather *g;
    const ls_grid *grid;
    const void *w;
} packing;

/* A team for many weights only: each item is a panel. */
static void pack_panels(packing *p, ls_team_item pack)
{
    const int64_t panels = ceil_div(p->g->width, p->g->kernels->width);
    if (p->g->k * p->g->width >= ENOUGH_WEIGHTS)
        ls_team_run(p->g->device->team, panels, pack, p);
    else
        for (int64_t item = 0; item < panels; item++)
            pack(p, item);
}

/* B of a group in forward: rows (tap, channel), columns outputs. */
static void pack_panel(void *context, int64_t item)
{
    const packing *p = context;
    const ls_conv_gather *g = p->g;
    const int64_t panel = g->kernels->width, j = item * panel;
    g->kernels->pack(p->grid->type, true, g->k, least(panel, g->width - j), ls_conv_at(p->w, p->grid->type, (g->group * g->width + j) * g->k), g->k, g->panels + j * g->units);
}

static ls_status conv_f32(ls_device *device, const ls_grid *grid, const void *x, const void *w, const float *bias, ls_activation activation,
                          void *y, void *pre, ls_arena *scratch)
{
    const int64_t taps = product3(grid->window);
    ls_conv_gather g = {.device = device, .kernels = kernels_along(device, grid->type, grid->channels / grid->groups), .type = grid->type, .batch = grid->batch,
                .source_channels = grid->channels, .result_channels = grid->outputs, .depth = grid->channels / grid->groups,
                .width = grid->outputs / grid->groups, .x = x, .y = y, .pre = pre, .bias = bias, .activation = activation};
    memcpy(g.source, grid->in, sizeof g.source);
    memcpy(g.result, grid->out, sizeof g.result);
    if (ls_winograd_fits(grid))
        return ls_winograd(&g, grid, w, false, scratch);
    g.k = taps * g.depth;
    g.units = g.k / g.kernels->unit;
    ls_status status = take_memory(&g, taps, scratch);
    if (status != LS_OK)
        return status;
    ls_conv_all_taps(grid, &g.pass);
    packing p = {&g, grid, w};
    for (g.group = 0; g.group < grid->groups && status == LS_OK; g.group++) {
        pack_panels(&p, pack_panel);
        status = run_pass(&g, scratch);
    }
    return status;
}

/* ---- gradient in x ---- */

/* The taps that positions of class `rest` (their place modulo the stride) are seen by. */
static void taps_of_class(const ls_grid *grid, const int64_t rest[3], ls_conv_pass *p)
{
    p->taps = 0;
    for (int64_t number = product3(grid->window) - 1; number >= 0; number--) { /* so that what they see ascends */
        ls_conv_tap t = ls_conv_tap_of(grid, number);
        bool whole = true;
        for (int axis = 0; axis < 3; axis++) {
            const int64_t shift = rest[axis] - t.offset[axis];
            whole = whole && shift % grid->stride[axis] == 0;
            t.offset[axis] = shift / grid->stride[axis];
        }
        if (whole)
            p->tap[p->taps++] = t;
    }
    ls_conv_find_runs(p);
    for (int axis = 0; axis < 3; axis++) {
        p->q[axis] = rest[axis] < grid->in[axis] ? ceil_div(grid->in[axis] - rest[axis], grid->stride[axis]) : 0;
        p->step[axis] = 1;
        p->out_step[axis] = grid->stride[axis];
        p->out_offset[axis] = rest[axis];
    }
}

/* Of a class: rows (tap, output), columns channels. */
static void pack_panel_of_class(void *context, int64_t item)
{
    const packing *p = context;
    const ls_conv_gather *g = p->g;
    const int64_t panel = g->kernels->width, all = product3(p->grid->window) * g->width, j = item * panel;
    for (int64_t t = 0; t < g->pass.taps; t++)
        g->kernels->pack(p->grid->type, false, g->depth, least(panel, g->width - j),
                         ls_conv_at(p->w, p->grid->type, g->group * g->depth * all + g->pass.tap[t].number * g->width + j), all,
                         g->panels + j * g->units + t * (g->depth / g->kernels->unit) * panel);
}

static ls_status conv_input_f32(ls_device *device, const ls_grid *grid, const void *dy, const void *w, bool accumulate, void *dx, ls_arena *scratch)
{
    ls_conv_gather g = {.device = device, .kernels = kernels_along(device, grid->type, grid->outputs / grid->groups), .type = grid->type, .batch = grid->batch,
                .source_channels = grid->outputs, .result_channels = grid->channels, .depth = grid->outputs / grid->groups,
                .width = grid->channels / grid->groups, .x = dy, .y = dx, .accumulate = accumulate};
    memcpy(g.source, grid->out, sizeof g.source);
    memcpy(g.result, grid->in, sizeof g.result);
    if (ls_winograd_fits(grid))
        return ls_winograd(&g, grid, w, true, scratch);
    ls_status status = take_memory(&g, product3(grid->window), scratch);
    packing p = {&g, grid, w};
    int64_t rest[3];
    for (g.group = 0; g.group < grid->groups; g.group++)
        for (rest[0] = 0; rest[0] < grid->stride[0]; rest[0]++)
            for (rest[1] = 0; rest[1] < grid->stride[1]; rest[1]++)
                for (rest[2] = 0; rest[2] < grid->stride[2] && status == LS_OK; rest[2]++) {
                    taps_of_class(grid, rest, &g.pass);
                    g.k = g.pass.taps * g.depth;
                    g.units = g.k / g.kernels->unit;
                    pack_panels(&p, pack_panel_of_class);
                    status = run_pass(&g, scratch);
                }
    return status;
}

/* ---- f64 ---- */

typedef struct {
    const ls_grid *grid;
    const double *x, *w, *dy;
    double *y, *dx, *dw; /* the one that is wanted */
} plain;

/* Every product x w of the convolution, in ascending order of everything. */
static void walk(const plain *p)
{
    const ls_grid *g = p->grid;
    const int64_t taps = product3(g->window), depth = g->channels / g->groups, width = g->outputs / g->groups;
    ls_conv_pass all;
    ls_conv_forward_pass(g, &all);
    ls_conv_place from = {0};
    for (int64_t o = 0; o < g->batch * product3(g->out); o++, ls_conv_next_place(&all, &from))
        for (int64_t t = 0; t < taps; t++) {
            const ls_conv_tap one = ls_conv_tap_of(g, t);
            const int64_t number = ls_conv_seen(g->in, &all, &from, &one);
            for (int64_t output = 0; output < g->outputs && number >= 0; output++)
                for (int64_t c = 0; c < depth; c++) {
                    const int64_t ix = number * g->channels + output / width * depth + c, iw = (output * taps + t) * depth + c, iy = o * g->outputs + output;
                    if (p->y)
                        p->y[iy] += p->x[ix] * p->w[iw];
                    else if (p->dx)
                        p->dx[ix] += p->dy[iy] * p->w[iw];
                    else
                        p->dw[iw] += p->dy[iy] * p->x[ix];
                }
        }
}

static void conv_f64(ls_device *device, const ls_grid *grid, const double *x, const double *w, const double *bias, ls_activation activation, double *y, double *pre)
{
    const int64_t count = grid->batch * product3(grid->out) * grid->outputs;
    double *sums = pre ? pre : y;
    for (int64_t i = 0; i < count; i++)
        sums[i] = bias ? bias[i % grid->outputs] : 0;
    walk(&(plain){.grid = grid, .x = x, .w = w, .y = sums});
    if (activation != LS_ACT_NONE)
        device->unary(device, ls_activation_function(activation), LS_F64, count, 0, 0, sums, y);
}

/* ---- the device's functions ---- */

ls_status ls_cpu_conv(ls_device *device, const ls_grid *grid, const void *x, const void *w, const void *bias, ls_type type_bias, ls_activation activation,
                      void *y, void *pre, ls_arena *scratch)
{
    if (grid->type == LS_F64) {
        conv_f64(device, grid, x, w, bias, activation, y, pre);
        return LS_OK;
    }
    ls_mark mark = ls_arena_mark(scratch);
    const float *floats = bias;
    if (bias && type_bias != LS_F32) {
        float *wide = ls_arena_array(scratch, float, grid->outputs);
        if (wide)
            device->cast(device, type_bias, LS_F32, grid->outputs, bias, wide);
        floats = wide;
    }
    const ls_status status = conv_f32(device, grid, x, w, floats, activation, y, pre, scratch);
    ls_arena_release(scratch, mark);
    return status;
}

ls_status ls_cpu_conv_input(ls_device *device, const ls_grid *grid, const void *dy, const void *w, bool accumulate, void *dx, ls_arena *scratch)
{
    if (grid->type == LS_F64) {
        if (!accumulate)
            device->fill(device, LS_F64, grid->batch * product3(grid->in) * grid->channels, 0, dx);
        walk(&(plain){.grid = grid, .dy = dy, .w = w, .dx = dx});
        return LS_OK;
    }
    ls_mark mark = ls_arena_mark(scratch);
    const ls_status status = conv_input_f32(device, grid, dy, w, accumulate, dx, scratch);
    ls_arena_release(scratch, mark);
    return status;
}

ls_status ls_cpu_conv_weight(ls_device *device, const ls_grid *grid, const void *x, const void *dy, void *dw, ls_arena *scratch)
{
    if (grid->type == LS_F64) {
        walk(&(plain){.grid = grid, .x = x, .dy = dy, .dw = dw});
        return LS_OK;
    }
    ls_mark mark = ls_arena_mark(scratch);
    const ls_status status = ls_winograd_fits(grid) ? ls_winograd_weight(device, grid, x, dy, dw, scratch) : ls_conv_direct_weight(device, grid, x, dy, dw, scratch);
    ls_arena_release(scratch, mark);
    return status;
}
