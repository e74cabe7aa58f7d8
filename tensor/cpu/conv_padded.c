/* Convolutions that need no gathering: of stride 1, with a result as large as the source. The source is copied once
 * into a grid with zeros between its rows (one margin serves the end of a row and the begin of the next, likewise rows
 * and images):
 *
 *     x x x x 0 x x x x 0 .. 0 0 0 0 0 x x x x 0      all positions of an image are equally far apart, and a tap is one
 *                                                     distance for all of them, so the register kernel reads in place
 *
 *     forward, gradient in x:   y[p] = sum over runs of taps, each a chain over run * depth (chunks of it), of
 *                               x[p + offset] panel; positions of the margin are computed and thrown away
 *     gradient in w:            dw = sum over positions of dy[p]^T x[p + offset], dy = 0 in the margin; positions in
 *                               SEGMENTS by shape alone, in each chunks ascending, then segments ascending
 *
 * Where bf16 is multiplied in pairs (product.h), they are two channels of a position in the first, so that the copy is of bf16, and
 * the same channel of two positions in the second: the copy then holds with each number the one a position behind, rows are two
 * positions apart, and a tap is the same distance.
 *
 * A margin's zeros meet real numbers of x in dw: an infinite x makes NaNs there, as it does in y. */
#include "tensor/cpu/conv_gather.h"

#include <string.h>

enum {
    SEGMENTS = 8,
    PAIR_PARTS = 16,
    STRIP = 6, /* rows that the kernel takes at once */
    LEAST_RUN = 16,
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

typedef struct {
    const ls_conv_gather *g;
    int64_t margin[3], pitch[3]; /* positions: zeros behind an axis; the axis with them */
    int64_t image, used;         /* positions of an image; up to its last one that is no margin */
    int64_t front, whole;        /* zeros before the first; all */
    float *x;                    /* [front + batch * image + front, channels] numbers, and a panel to read past it */
    /* forward */
    int64_t tiles; /* of an image */
    /* gradient in w */
    const void *dy;
    float *strips, *wide, *sum, *dw; /* strips [256, width], wide [width] of each thread; sum of each segment */
    int64_t panels, sum_row, chunk /* positions */, chunks, segments;
    const uint16_t *narrow; /* the copy that pairs are made of */
} padded;

static int64_t margin_of(const ls_conv_pass *p, int axis)
{
    int64_t most = 0;
    for (int64_t t = 0; t < p->taps; t++) {
        const int64_t o = p->tap[t].offset[axis], far = o < 0 ? -o : o;
        most = far > most ? far : most;
    }
    return most;
}

bool ls_conv_padded_fits(const ls_conv_gather *g)
{
    const ls_conv_pass *p = &g->pass;
    if (p->taps < 2 || g->depth != g->source_channels || p->tap[0].run * g->depth < LEAST_RUN)
        return false;
    for (int axis = 0; axis < 3; axis++)
        if (p->step[axis] != 1 || p->out_step[axis] != 1 || p->q[axis] != g->source[axis] ||
            g->result[axis] != g->source[axis] || margin_of(p, axis) > g->source[axis])
            return false;
    return margin_of(p, 2) * g->width < 16 * g->source[2]; /* what the margin costs, what staging would */
}

static int64_t distance(const padded *w, const ls_conv_tap *t)
{
    return (t->offset[0] * w->pitch[1] + t->offset[1]) * w->pitch[2] + t->offset[2];
}

/* Number in an array [batch, grid] of a position of an image; -1: margin. */
static int64_t number_of(const padded *w, int64_t image, int64_t position)
{
    const int64_t *grid = w->g->source;
    const int64_t q2 = position % w->pitch[2], q1 = position / w->pitch[2] % w->pitch[1],
                  q0 = position / w->pitch[2] / w->pitch[1];
    if (q2 >= grid[2] || q1 >= grid[1] || q0 >= grid[0])
        return -1;
    return ((image * grid[0] + q0) * grid[1] + q1) * grid[2] + q2;
}

/* One row of the last axis, margin and all. */
static void pad_row(void *context, int64_t row)
{
    const padded *w = context;
    const ls_conv_gather *g = w->g;
    const int64_t position = row * w->pitch[2], number = number_of(w, position / w->image, position % w->image);
    const int64_t real = number < 0 ? 0 : g->source[2] * g->depth;
    const int64_t size = ls_conv_size(g);
    char *to = (char *)w->x + (w->front + position) * g->depth * size;
    ls_conv_take(g, g->x, number < 0 ? -1 : number * g->depth, real, to);
    memset(to + real * size, 0, (size_t)((w->pitch[2] * g->depth - real) * size));
}

static ls_status pad(padded *w, const ls_conv_gather *g, ls_arena *scratch)
{
    *w = (padded){.g = g};
    for (int axis = 0; axis < 3; axis++) {
        w->margin[axis] = margin_of(&g->pass, axis);
        w->pitch[axis] = g->source[axis] + w->margin[axis];
    }
    w->image = w->pitch[0] * w->pitch[1] * w->pitch[2];
    w->used = ((g->source[0] - 1) * w->pitch[1] + g->source[1] - 1) * w->pitch[2] + g->source[2];
    w->front = (w->margin[0] * w->pitch[1] + w->margin[1]) * w->pitch[2] + w->margin[2];
    w->whole = 2 * w->front + g->batch * w->image;
    const int64_t front = w->front * g->depth, end = w->whole * g->depth - front, past = g->depth + LS_PRODUCT_MAX_WIDTH, size = ls_conv_size(g);
    w->x = ls_arena_array(scratch, float, ceil_div((w->whole * g->depth + past) * size, sizeof *w->x));
    if (!w->x)
        return ls_arena_status(scratch);
    memset(w->x, 0, (size_t)(front * size));
    memset((char *)w->x + end * size, 0, (size_t)((front + past) * size));
    ls_team_run(g->device->team, g->batch * w->pitch[0] * w->pitch[1], pad_row, w);
    return LS_OK;
}

/* ---- forward, gradient in x ---- */

static void multiply_tile(const padded *w, int64_t position, int64_t rows, int64_t first, int64_t width, float *sum)
{
    const ls_conv_gather *g = w->g;
    const int64_t panel = g->kernels->width;
    for (int64_t t = 0; t < g->pass.taps; t += g->pass.tap[t].run) { /* ascending: the order of the sums */
        const int64_t depth = g->depth / g->kernels->unit, deep = g->pass.tap[t].run * depth;
        const float *x = w->x + (w->front + position + distance(w, &g->pass.tap[t])) * depth;
        for (int64_t begin = 0; begin < deep; begin += LS_PRODUCT_CHUNK)
            for (int64_t j = 0; j < width; j += panel)
                g->kernels->multiply(rows, least(LS_PRODUCT_CHUNK, deep - begin), x + begin, depth, 1,
                                     g->panels + (first + j) * g->units + (t * depth + begin) * panel, panel, sum + j,
                                     g->sum_row, t + begin > 0);
    }
}

static void tile_item(void *context, int64_t item)
{
    const padded *w = context;
    const ls_conv_gather *g = w->g;
    const int64_t image = item / w->tiles, begin = item % w->tiles * LS_CONV_TILE_ROWS,
                  rows = least(LS_CONV_TILE_ROWS, w->used - begin);
    const int64_t thread = ls_team_thread_number();
    float *sum = g->sum + thread * LS_CONV_TILE_ROWS * LS_CONV_TILE_COLUMNS,
          *row = g->row + thread * LS_CONV_TILE_COLUMNS;
    for (int64_t first = 0; first < g->width; first += LS_CONV_TILE_COLUMNS) {
        const int64_t width = least(LS_CONV_TILE_COLUMNS, g->width - first);
        multiply_tile(w, image * w->image + begin, rows, first, width, sum);
        for (int64_t r = 0; r < rows; r++) {
            const int64_t number = number_of(w, image, begin + r);
            if (number >= 0)
                ls_conv_finish(g, number * g->result_channels + first, first, width, sum + r * g->sum_row, row);
        }
    }
}

ls_status ls_conv_padded(const ls_conv_gather *g, ls_arena *scratch)
{
    padded w;
    ls_mark mark = ls_arena_mark(scratch);
    const ls_status status = pad(&w, g, scratch);
    if (status == LS_OK) {
        w.tiles = ceil_div(w.used, LS_CONV_TILE_ROWS);
        ls_team_run(g->device->team, g->batch * w.tiles, tile_item, &w);
    }
    ls_arena_release(scratch, mark);
    return status;
}

/* ---- gradient in w ---- */

/* Numbers of `first` in the low halves, of `second` in the high ones. */
static void pair_rows(const uint16_t *first, const uint16_t *second, int64_t count, uint32_t *pairs)
{
    for (int64_t i = 0; i < count; i++)
        pairs[i] = (uint32_t)first[i] | (uint32_t)second[i] << 16;
}

static void pair_image(void *context, int64_t part)
{
    const padded *w = context;
    const int64_t all = w->whole * w->g->depth, begin = all * part / PAIR_PARTS, end = all * (part + 1) / PAIR_PARTS;
    pair_rows(w->narrow + begin, w->narrow + begin + w->g->depth, end - begin, (uint32_t *)(void *)w->x + begin);
}

/* Each number of the copy with the one a position behind. */
static ls_status pair_positions(padded *w, ls_arena *scratch)
{
    const int64_t all = w->whole * w->g->depth;
    w->narrow = (const uint16_t *)(const void *)w->x;
    w->x = ls_arena_array(scratch, float, all + LS_PRODUCT_MAX_WIDTH);
    if (!w->x)
        return ls_arena_status(scratch);
    ls_team_run(w->g->device->team, PAIR_PARTS, pair_image, w);
    memset(w->x + all, 0, LS_PRODUCT_MAX_WIDTH * sizeof *w->x);
    return LS_OK;
}

/* The same of pairs of positions. */
static void stage_dy_pairs(const padded *w, int64_t first, int64_t rows, float *strips, float *wide)
{
    const ls_conv_gather *g = w->g;
    const int64_t units = ceil_div(rows, 2), end = g->batch * w->image;
    memset(wide, 0, (size_t)g->width * sizeof *wide);
    for (int64_t unit = 0; unit < units; unit++) {
        const uint16_t *from[2];
        for (int i = 0; i < 2; i++) {
            const int64_t position = first + 2 * unit + i, number = position < end ? number_of(w, position / w->image, position % w->image) : -1;
            from[i] = number < 0 ? (const uint16_t *)(const void *)wide : (const uint16_t *)w->dy + number * g->width;
        }
        for (int64_t o = 0; o < g->width; o += STRIP)
            pair_rows(from[0] + o, from[1] + o, least(STRIP, g->width - o), (uint32_t *)(void *)(strips + o * units + unit * STRIP));
    }
}

/* dy of `rows` positions from `first` on, as [width / STRIP][rows][STRIP], zeros in the margin. */
static void stage_dy(const padded *w, int64_t first, int64_t rows, float *strips, float *wide)
{
    const ls_conv_gather *g = w->g;
    for (int64_t row = 0; row < rows; row++) {
        const int64_t number = number_of(w, (first + row) / w->image, (first + row) % w->image),
                      whole = g->width / STRIP * STRIP;
        const float *from = wide;
        if (number >= 0 && g->type == LS_F32)
            from = (const float *)w->dy + number * g->width;
        else
            ls_conv_take(g, w->dy, number < 0 ? -1 : number * g->width, g->width, wide);
        float *to = strips + row * STRIP;
        for (int64_t o = 0; o < whole; o += STRIP)
            memcpy(to + o * rows, from + o, STRIP * sizeof *to);
        for (int64_t o = whole; o < g->width; o++)
            to[whole * rows + o - whole] = from[o];
    }
}

/* One chunk of positions times all panels of columns. */
static void add_chunk(const padded *w, int64_t first, int64_t rows, const float *strips, bool add, float *sum)
{
    const ls_conv_gather *g = w->g;
    const int64_t panel = g->kernels->width, unit = g->kernels->unit, units = ceil_div(rows, unit);
    int64_t number = 0;
    for (int64_t t = 0; t < g->pass.taps; t += g->pass.tap[t].run)
        for (int64_t c = 0; c < g->pass.tap[t].run * g->depth;
             c += panel, number++) { /* a run's last panel reads past it */
            const float *x = w->x + (w->front + first + distance(w, &g->pass.tap[t])) * g->depth + c;
            for (int64_t o = 0; o < g->width; o += STRIP)
                g->kernels->multiply(least(STRIP, g->width - o), units, strips + o * units, 1, STRIP, x, unit * g->depth,
                                     sum + o * w->sum_row + number * panel, w->sum_row, add);
        }
}

static void segment_item(void *context, int64_t segment)
{
    const padded *w = context;
    const ls_conv_gather *g = w->g;
    const int64_t thread = ls_team_thread_number(), positions = g->batch * w->image,
                  begin = w->chunks * segment / w->segments;
    float *strips = w->strips + thread * LS_PRODUCT_CHUNK * ceil_div(g->width, STRIP) * STRIP,
          *sum = w->sum + segment * g->width * w->sum_row;
    for (int64_t chunk = begin; chunk < w->chunks * (segment + 1) / w->segments;
         chunk++) { /* ascending: the order of the sums */
        const int64_t first = chunk * w->chunk, rows = least(w->chunk, positions - first);
        (g->kernels->unit == 2 ? stage_dy_pairs : stage_dy)(w, first, rows, strips, w->wide + thread * g->width);
        add_chunk(w, first, rows, strips, chunk > begin, sum);
    }
}

static void add_segments(void *context, int64_t output)
{
    const padded *w = context;
    const ls_conv_gather *g = w->g;
    const int64_t panel = g->kernels->width;
    float *dw = w->dw + output * g->k;
    for (int64_t segment = 0; segment < w->segments; segment++) { /* ascending: the order of the sums */
        const float *sum = w->sum + (segment * g->width + output) * w->sum_row;
        for (int64_t t = 0; t < g->pass.taps; t += g->pass.tap[t].run) {
            const int64_t deep = g->pass.tap[t].run * g->depth;
            for (int64_t c = 0; c < deep; c++)
                dw[t * g->depth + c] += sum[c];
            sum += ceil_div(deep, panel) * panel;
        }
    }
}

static ls_status take_weight_memory(padded *w, ls_arena *scratch)
{
    const ls_conv_gather *g = w->g;
    const int64_t threads = ls_team_threads(g->device->team), panel = g->kernels->width;
    for (int64_t t = 0; t < g->pass.taps; t += g->pass.tap[t].run)
        w->panels += ceil_div(g->pass.tap[t].run * g->depth, panel);
    w->sum_row = w->panels * panel;
    w->chunk = LS_PRODUCT_CHUNK * g->kernels->unit;
    w->chunks = ceil_div(g->batch * w->image, w->chunk);
    w->segments = least(SEGMENTS, w->chunks);
    w->strips = ls_arena_array(scratch, float, threads *LS_PRODUCT_CHUNK *ceil_div(g->width, STRIP) * STRIP);
    w->wide = ls_arena_array(scratch, float, threads * g->width);
    w->sum = ls_arena_array(scratch, float, w->segments * g->width * w->sum_row);
    return ls_arena_status(scratch);
}

ls_status ls_conv_padded_weight(const ls_conv_gather *g, const void *dy, float *dw, ls_arena *scratch)
{
    padded w;
    ls_mark mark = ls_arena_mark(scratch);
    ls_status status = pad(&w, g, scratch);
    w.dy = dy;
    w.dw = dw;
    if (status == LS_OK && g->kernels->unit == 2)
        status = pair_positions(&w, scratch);
    if (status == LS_OK)
        status = take_weight_memory(&w, scratch);
    if (status == LS_OK) {
        ls_team_run(g->device->team, w.segments, segment_item, &w);
        ls_team_run(g->device->team, g->width, add_segments, &w);
    }
    ls_arena_release(scratch, mark);
    return status;
}
