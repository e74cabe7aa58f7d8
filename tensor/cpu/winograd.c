/* The products of tensor/cpu/winograd.h. Forward and the gradient in x, a block of patches at a time in a thread's own cache:
 *
 *     u [16][channels, outputs]   of all weights, in panels, once a call
 *     v [16][patches, channels]   of the block
 *     m [16][patches, outputs]    = v u, then the result's transform into y
 *
 * The gradient in w, with patches along the sum: groups of chunks of patches are transformed by the team, then each of the 16 sums goes
 * on over the group's chunks in ascending order. Chunks are cut by shape alone, blocks and groups as suits caches and team. */
#include "tensor/cpu/counts.h"
#include "tensor/cpu/winograd.h"

#include <string.h>

enum {
    PLACES = LS_WINOGRAD_PLACES,
    SIDE = 4,   /* of a patch */
    BLOCK = 96, /* patches, at most */
    STRIP = 6,  /* rows that the kernel takes at once */
    LINE = 16,  /* floats: rows and places a power of two apart would meet in few sets of a cache */
    FEWEST_PATCHES = 64,
    PACKED_ROWS = 64, /* channels whose transformed weights are packed at a time */
    CHUNK = 256,      /* patches of a chain in dw: their gradients, a few floats of a line each, stay in the first cache */
    GROUP_BYTES = 4 << 20,
    ITEM_COLUMNS = 256, /* of a sum, in dw */
};

/* Where the patches of a grid lie: their results two apart on both axes, an image's row by row. */
typedef struct {
    int64_t rows, columns;     /* of an image */
    int64_t high, wide, count; /* patches on each axis; in all */
} patches;

static patches patches_of(const ls_grid *grid)
{
    patches p = {.rows = grid->in[1], .columns = grid->in[2], .high = ceil_div(grid->in[1], 2), .wide = ceil_div(grid->in[2], 2)};
    p.count = grid->batch * grid->in[0] * p.high * p.wide;
    return p;
}

/* The positions of a square of patch `number` that begins at (row, column) from its results' first; outside the image `outside`. */
static void positions_of(const patches *p, int64_t number, int side, int from, const float *x, int64_t channels, const float *outside, const float **position)
{
    const int64_t across = number % p->wide, down = number / p->wide % p->high, image = number / p->wide / p->high;
    for (int i = 0; i < side * side; i++) {
        const int64_t row = 2 * down + from + i / side, column = 2 * across + from + i % side;
        const bool inside = row >= 0 && row < p->rows && column >= 0 && column < p->columns;
        position[i] = inside ? x + ((image * p->rows + row) * p->columns + column) * channels : outside;
    }
}

bool ls_winograd_fits(const ls_grid *grid)
{
    const patches p = patches_of(grid);
    if (grid->type != LS_F32 || grid->groups != 1 || grid->channels % LS_WINOGRAD_CHANNELS || grid->outputs % LS_WINOGRAD_CHANNELS ||
        grid->channels < 2 * LS_WINOGRAD_CHANNELS || grid->outputs < 2 * LS_WINOGRAD_CHANNELS)
        return false;
    for (int axis = 0; axis < 3; axis++)
        if (grid->window[axis] != (axis ? 3 : 1) || grid->padding[axis] != (axis ? 1 : 0) || grid->stride[axis] != 1 || grid->dilation[axis] != 1)
            return false;
    /* patches that lie half outside must not eat what is saved */
    return p.count >= FEWEST_PATCHES && 3 * PLACES * p.high * p.wide <= 2 * 9 * p.rows * p.columns;
}

/* ---- forward and gradient in x ---- */

typedef struct {
    const ls_conv_gather *g;
    const ls_winograd_kernels *transform;
    patches p;
    const float *w;
    const float *zeros; /* a position outside */
    bool backward;
    int64_t block, blocks, row, sum_row, distance, sum_distance; /* patches; floats from row to row and place to place of v and m */
    int64_t panels, place;                                       /* of u; floats of a place of it */
    float *u, *v, *m, *turned;                                   /* turned, v and m: one for each thread */
} products;

static int64_t turned_row(void)
{
    return PACKED_ROWS + LINE;
}

/* Forward: w is [outputs, 9, channels], so that what is transformed has outputs as rows and must be turned. */
static void pack_turned(const products *w, int64_t panel)
{
    const ls_conv_gather *g = w->g;
    const int64_t width = g->kernels->width, first = panel * width, count = least(width, g->width - first), distance = width * turned_row();
    float *turned = w->turned + ls_team_thread_number() * PLACES * distance;
    for (int64_t channel = 0; channel < g->depth; channel += PACKED_ROWS) {
        const int64_t rows = least(PACKED_ROWS, g->depth - channel);
        for (int64_t output = 0; output < count; output++) {
            const float *tap[9];
            for (int t = 0; t < 9; t++)
                tap[t] = w->w + ((first + output) * 9 + t) * g->depth + channel;
            w->transform->weight(rows, tap, turned + output * turned_row(), distance);
        }
        for (int e = 0; e < PLACES; e++)
            g->kernels->pack(LS_F32, true, rows, count, turned + e * distance, turned_row(), w->u + e * w->place + first * g->depth + channel * width);
    }
}

/* Backward: w is [channels of dy, 9, channels of dx], its taps the other way round. */
static void pack_straight(const products *w, int64_t panel)
{
    const ls_conv_gather *g = w->g;
    const int64_t width = g->kernels->width, first = panel * width, count = least(width, g->width - first);
    for (int64_t row = 0; row < g->depth; row++) {
        const float *tap[9];
        for (int t = 0; t < 9; t++)
            tap[t] = w->w + (row * 9 + 8 - t) * g->width + first;
        w->transform->weight(count, tap, w->u + first * g->depth + row * width, w->place);
    }
}

static void pack_panel(void *context, int64_t panel)
{
    const products *w = context;
    (w->backward ? pack_straight : pack_turned)(w, panel);
}

/* m = v u of one place, chunks of channels in ascending order. */
static void multiply_place(const products *w, int64_t rows, const float *v, const float *u, float *m)
{
    const ls_conv_gather *g = w->g;
    const int64_t width = g->kernels->width;
    for (int64_t begin = 0; begin < g->depth; begin += LS_PRODUCT_CHUNK) {
        const int64_t count = least(LS_PRODUCT_CHUNK, g->depth - begin);
        for (int64_t j = 0; j < g->width; j += width) {
            const float *panel = u + j * g->depth + begin * width;
            if (g->width - j <= width / 2) {
                g->kernels->multiply_half(rows, count, v + begin, w->row, 1, panel, width, m + j, w->sum_row, begin > 0);
                continue;
            }
            const int64_t bytes = count * width * (int64_t)sizeof *panel / ceil_div(rows, STRIP); /* a strip's part of the panel behind this one */
            ls_product_ahead ahead = {.at = (const char *)(panel + g->depth * width), .rows = 1, .lines = ceil_div(bytes, 64), .next = bytes};
            g->kernels->multiply_strips(rows, count, v + begin, w->row, 1, STRIP * w->row, panel, m + j, w->sum_row, begin > 0, &ahead);
        }
    }
}

/* The results of one patch, by way of `sums` where something is still to be done with them or they lie outside. */
static void finish_patch(const products *w, int64_t number, const float *m, bool in_place, float *sums)
{
    const ls_conv_gather *g = w->g;
    const float *position[4];
    float *to[4];
    positions_of(&w->p, number, 2, 0, g->y, g->width, NULL, position);
    for (int i = 0; i < 4; i++)
        to[i] = in_place && position[i] ? (float *)g->y + (position[i] - (const float *)g->y) : sums + i * g->width;
    w->transform->result(g->width, m, w->sum_distance, to);
    for (int i = 0; i < 4 && !in_place; i++)
        if (position[i])
            ls_conv_finish(g, position[i] - (const float *)g->y, 0, g->width, to[i]);
}

static void block_item(void *context, int64_t item)
{
    const products *w = context;
    const ls_conv_gather *g = w->g;
    const int64_t thread = ls_team_thread_number(), first = item * w->block, rows = least(w->block, w->p.count - first);
    const bool in_place = ls_conv_writes_sums(g);
    float *v = w->v + thread * PLACES * w->distance, *m = w->m + thread * (PLACES * w->sum_distance + 4 * g->width), *sums = m + PLACES * w->sum_distance;
    for (int64_t row = 0; row < rows; row++) {
        const float *position[SIDE * SIDE];
        positions_of(&w->p, first + row, SIDE, -1, g->x, g->depth, w->zeros, position);
        w->transform->patch(g->depth, position, v + row * w->row, w->distance);
    }
    for (int e = 0; e < PLACES; e++)
        multiply_place(w, rows, v + e * w->distance, w->u + e * w->place, m + e * w->sum_distance);
    for (int64_t row = 0; row < rows; row++)
        finish_patch(w, first + row, m + row * w->sum_row, in_place, sums);
}

/* Blocks of about the same size, as many for each thread. */
static void cut_blocks(products *w, int64_t threads)
{
    const int64_t blocks = ceil_div(ceil_div(w->p.count, BLOCK), threads) * threads;
    w->block = ceil_div(ceil_div(w->p.count, blocks), STRIP) * STRIP;
    w->blocks = ceil_div(w->p.count, w->block);
    w->distance = w->block * w->row + LINE;
    w->sum_distance = w->block * w->sum_row + LINE;
}

ls_status ls_winograd(const ls_conv_gather *g, const ls_grid *grid, const float *w, bool backward, ls_arena *scratch)
{
    const int64_t threads = ls_team_threads(g->device->team), width = g->kernels->width;
    products p = {.g = g, .transform = ls_winograd_kernels_of(((ls_cpu *)g->device->self)->level), .p = patches_of(grid), .w = w, .backward = backward,
                  .row = g->depth + LINE, .sum_row = g->width + LINE, .panels = ceil_div(g->width, width)};
    cut_blocks(&p, threads);
    p.place = p.panels * width * g->depth + LINE;
    float *zeros = ls_arena_array(scratch, float, g->depth);
    p.u = ls_arena_array(scratch, float, PLACES * p.place);
    p.v = ls_arena_array(scratch, float, threads * PLACES * p.distance);
    p.m = ls_arena_array(scratch, float, threads * (PLACES * p.sum_distance + 4 * g->width));
    p.turned = backward ? NULL : ls_arena_array(scratch, float, threads * PLACES * width * turned_row());
    const ls_status status = ls_arena_status(scratch);
    if (status != LS_OK)
        return status;
    memset(zeros, 0, (size_t)g->depth * sizeof *zeros);
    p.zeros = zeros;
    ls_team_run(g->device->team, p.panels, pack_panel, &p);
    ls_team_run(g->device->team, p.blocks, block_item, &p);
    return LS_OK;
}

/* ---- gradient in w ---- */

typedef struct {
    const ls_product_kernels *kernels;
    const ls_winograd_kernels *transform;
    patches p;
    int64_t channels, outputs;
    const float *x, *dy, *zeros;
    float *dw;
    int64_t first, end, group;                    /* patches that are transformed; the most of them */
    int64_t row, dy_row, distance, dy_distance;   /* floats from patch to patch and place to place of v and z */
    int64_t sum_row, sum_distance, parts;         /* of the sums; pieces of their columns */
    float *v, *z, *sum;
} weight_products;

static void transform_item(void *context, int64_t item)
{
    const weight_products *w = context;
    const int64_t begin = w->first + item * STRIP, end = least(begin + STRIP, w->end);
    for (int64_t number = begin; number < end; number++) {
        const float *position[SIDE * SIDE], *of_dy[4];
        positions_of(&w->p, number, SIDE, -1, w->x, w->channels, w->zeros, position);
        w->transform->patch(w->channels, position, w->v + (number - w->first) * w->row, w->distance);
        positions_of(&w->p, number, 2, 0, w->dy, w->outputs, w->zeros, of_dy);
        w->transform->gradient(w->outputs, of_dy, w->z + (number - w->first) * w->dy_row, w->dy_distance);
    }
}

/* Some columns of one place's sum go on over the group. */
static void sum_item(void *context, int64_t item)
{
    const weight_products *w = context;
    const int64_t e = item / w->parts, width = w->kernels->width, begin = item % w->parts * ITEM_COLUMNS, end = least(begin + ITEM_COLUMNS, w->channels);
    const float *v = w->v + e * w->distance, *z = w->z + e * w->dy_distance;
    float *sum = w->sum + e * w->sum_distance;
    for (int64_t first = w->first; first < w->end; first += CHUNK, v += CHUNK * w->row, z += CHUNK * w->dy_row) { /* ascending: the order of the sums */
        const ls_product_run run = {.k = least(CHUNK, w->end - first)};
        for (int64_t j = begin; j < end; j += width)
            for (int64_t output = 0; output < w->outputs; output += STRIP)
                w->kernels->multiply_runs(least(STRIP, w->outputs - output), end - j, 1, &run, z + output, 1, w->dy_row, v + j, w->row,
                                          sum + output * w->sum_row + j, w->sum_row, first > 0);
    }
}

static void weight_item(void *context, int64_t output)
{
    const weight_products *w = context;
    float *dw[9];
    for (int t = 0; t < 9; t++)
        dw[t] = w->dw + (output * 9 + t) * w->channels;
    w->transform->weight_gradient(w->channels, w->sum + output * w->sum_row, w->sum_distance, dw);
}

ls_status ls_winograd_weight(ls_device *device, const ls_grid *grid, const float *x, const float *dy, float *dw, ls_arena *scratch)
{
    const ls_numerics level = ((ls_cpu *)device->self)->level;
    weight_products w = {.kernels = ls_product_kernels_of(level), .transform = ls_winograd_kernels_of(level), .p = patches_of(grid), .channels = grid->channels,
                         .outputs = grid->outputs, .x = x, .dy = dy, .dw = dw, .row = grid->channels + LINE, .dy_row = grid->outputs + LINE,
                         .sum_row = grid->channels + LINE, .parts = ceil_div(grid->channels, ITEM_COLUMNS)};
    const int64_t chunk_bytes = CHUNK * PLACES * (w.row + w.dy_row) * (int64_t)sizeof(float), most = w.channels > w.outputs ? w.channels : w.outputs;
    w.group = least(GROUP_BYTES / chunk_bytes > 1 ? GROUP_BYTES / chunk_bytes : 1, ceil_div(w.p.count, CHUNK)) * CHUNK;
    w.distance = w.group * w.row + LINE;
    w.dy_distance = w.group * w.dy_row + LINE;
    w.sum_distance = w.outputs * w.sum_row + LINE;
    float *zeros = ls_arena_array(scratch, float, most);
    w.v = ls_arena_array(scratch, float, PLACES * w.distance);
    w.z = ls_arena_array(scratch, float, PLACES * w.dy_distance);
    w.sum = ls_arena_array(scratch, float, PLACES * w.sum_distance);
    const ls_status status = ls_arena_status(scratch);
    if (status != LS_OK)
        return status;
    memset(zeros, 0, (size_t)most * sizeof *zeros);
    w.zeros = zeros;
    for (w.first = 0; w.first < w.p.count; w.first = w.end) {
        w.end = least(w.first + w.group, w.p.count);
        ls_team_run(device->team, ceil_div(w.end - w.first, STRIP), transform_item, &w);
        ls_team_run(device->team, PLACES * w.parts, sum_item, &w);
    }
    ls_team_run(device->team, w.outputs, weight_item, &w);
    return LS_OK;
}
