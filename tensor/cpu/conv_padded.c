/* Convolutions that need no gathering: of stride 1, with a result as large as the source. A band of the source is copied
 * into a grid with zeros between its rows (one margin serves the end of a row and the begin of the next, likewise rows
 * and images), small enough for a thread's own cache:
 *
 *     x x x x 0 x x x x 0 .. 0 0 0 0 0 x x x x 0      all positions of an image are equally far apart, and a tap is one
 *                                                     distance for all of them, so the register kernel reads in place
 *
 *     forward, gradient in x:   y[p] = sum over runs of taps, each a chain over run * depth (chunks of it), of
 *                               x[p + offset] panel, for each stretch of positions that are no margin
 *     gradient in w:            dw = sum over positions of dy[p]^T x[p + offset], dy = 0 in the margin; positions in
 *                               SEGMENTS by shape alone, in each chunks ascending, then segments ascending
 *
 * Positions are counted with their margins, over the whole batch. How a band is cut changes no bit; chunks and segments do.
 *
 * Where bf16 is multiplied in pairs (product.h), they are two channels of a position in the first, so that the copy is of bf16, and
 * the same channel of two positions in the second: the copy then holds with each number the one a position behind, rows are two
 * positions apart, and a tap is the same distance. There a margin's zeros meet real numbers of x in dw: an infinite x makes NaNs,
 * as it does in y. */
#include "tensor/cpu/conv_gather.h"
#include "tensor/cpu/counts.h"

#include <string.h>

enum {
    SEGMENTS = 8,
    STRIP = 6, /* rows that the kernel takes at once */
    LEAST_RUN = 16,
    BAND_BYTES = 256 << 10, /* a quarter of a second cache */
    FEWEST_BANDS = 16,      /* of a batch: work for a team */
    FEWEST_FRONTS = 4,      /* a band is so many times what must be copied around it */
};

typedef struct {
    const ls_conv_gather *g;
    int64_t margin[3], pitch[3]; /* positions: zeros behind an axis; the axis with them */
    int64_t image, used;         /* positions of an image; up to its last one that is no margin */
    int64_t front, band;         /* positions before a band that its taps see, and as many behind it; of a band */
    int64_t room;                /* floats of a thread's copy: [front + band + front, channels] numbers, and a panel to read past it */
    float *x;                    /* one for each thread */
    /* forward */
    int64_t bands; /* of an image */
    bool in_place; /* the kernel writes y: nothing is to be done with sums, and a position's channels are whole panels */
    /* gradient in w */
    const void *dy;
    float *strips, *wide, *sum, *dw; /* strips [256, width], wide [width] of each thread; sum of each segment */
    uint16_t *narrow;                /* of each thread: the copy that pairs are made of */
    int64_t panels, sum_row, chunk /* positions */, chunks, segments;
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

/* A stretch of positions that ends with a row, real or margin. */
typedef struct {
    int64_t position, count;
    int64_t number; /* of the first, in an array [batch, grid]; -1: margin */
} stretch;

/* The stretch that begins at `position`, which may lie outside the batch, up to `end`. */
static stretch stretch_at(const padded *w, int64_t position, int64_t end)
{
    const int64_t *grid = w->g->source, *pitch = w->pitch;
    stretch s = {.position = position, .count = end - position, .number = -1};
    if (position < 0)
        s.count = least(s.count, -position);
    if (position < 0 || position >= w->g->batch * w->image)
        return s;
    const int64_t row = position / pitch[2], q2 = position - row * pitch[2];
    const int64_t plane = row / pitch[1], q1 = row - plane * pitch[1], image = plane / pitch[0], q0 = plane - image * pitch[0];
    const bool real = q0 < grid[0] && q1 < grid[1] && q2 < grid[2];
    s.count = least(s.count, (real ? grid[2] : pitch[2]) - q2);
    if (real)
        s.number = ((image * grid[0] + q0) * grid[1] + q1) * grid[2] + q2;
    return s;
}

/* Positions [begin, end) with their margins. */
static void copy_band(const padded *w, int64_t begin, int64_t end, void *copy)
{
    const ls_conv_gather *g = w->g;
    char *to = copy;
    for (int64_t position = begin; position < end;) {
        const stretch s = stretch_at(w, position, end);
        ls_conv_take(g, g->x, s.number < 0 ? -1 : s.number * g->depth, s.count * g->depth, to);
        to += s.count * g->depth * ls_conv_size(g);
        position += s.count;
    }
}

static void measure(padded *w, const ls_conv_gather *g)
{
    *w = (padded){.g = g};
    for (int axis = 0; axis < 3; axis++) {
        w->margin[axis] = margin_of(&g->pass, axis);
        w->pitch[axis] = g->source[axis] + w->margin[axis];
    }
    w->image = w->pitch[0] * w->pitch[1] * w->pitch[2];
    w->used = ((g->source[0] - 1) * w->pitch[1] + g->source[1] - 1) * w->pitch[2] + g->source[2];
    w->front = (w->margin[0] * w->pitch[1] + w->margin[1]) * w->pitch[2] + w->margin[2];
}

/* Room for the copy of a band in each thread, `size` bytes a number. */
static ls_status take_band(padded *w, int64_t band, int64_t size, ls_arena *scratch)
{
    w->band = band;
    w->room = ceil_div(((2 * w->front + band + 1) * w->g->depth + LS_PRODUCT_MAX_WIDTH) * size, (int64_t)sizeof *w->x);
    w->x = ls_arena_array(scratch, float, ls_team_threads(w->g->device->team) * w->room);
    return ls_arena_status(scratch);
}

/* ---- forward, gradient in x ---- */

/* Positions of a tile: whole rows, or a part of one, with about as many real positions as the kernels' operands leave room for. */
static int64_t tile_positions(const padded *w)
{
    const int64_t rows = LS_CONV_TILE_ROWS / w->g->source[2];
    return rows ? rows * w->pitch[2] : LS_CONV_TILE_ROWS;
}

static void multiply_stretch(const padded *w, const stretch *s, const ls_conv_tap *run, int64_t tap, const float *x, int64_t first, int64_t width, float *sum,
                             int64_t sum_row)
{
    const ls_conv_gather *g = w->g;
    const int64_t panel = g->kernels->width, depth = g->depth / g->kernels->unit, deep = run->run * depth;
    for (int64_t begin = 0; begin < deep; begin += LS_PRODUCT_CHUNK)
        for (int64_t j = 0; j < width; j += panel)
            (width - j > panel / 2 ? g->kernels->multiply : g->kernels->multiply_half)(
                s->count, least(LS_PRODUCT_CHUNK, deep - begin), x + begin, depth, 1,
                g->panels + (first + j) * g->units + (tap * depth + begin) * panel, panel, sum + j, sum_row, tap + begin > 0);
}

/* Columns [first, first + width) of the real positions of a tile. x: what its first position lies at in the band's copy. */
static void multiply_tile(const padded *w, const float *x, int64_t begin, int64_t end, int64_t first, int64_t width)
{
    const ls_conv_gather *g = w->g;
    const int64_t thread = ls_team_thread_number(), depth = g->depth / g->kernels->unit;
    float *sum = g->sum + thread * LS_CONV_TILE_ROWS * LS_CONV_TILE_COLUMNS;
    int count = 0;
    stretch real[LS_CONV_TILE_ROWS];
    for (int64_t position = begin; position < end;) {
        const stretch s = stretch_at(w, position, end);
        position += s.count;
        if (s.number >= 0)
            real[count++] = s;
    }
    for (int64_t t = 0; t < g->pass.taps; t += g->pass.tap[t].run) { /* ascending: the order of the sums */
        const ls_conv_tap *run = &g->pass.tap[t];
        int64_t row = 0;
        for (int i = 0; i < count; row += real[i++].count) {
            const stretch *s = &real[i];
            float *to = w->in_place ? (float *)g->y + s->number * g->result_channels + first : sum + row * g->sum_row;
            multiply_stretch(w, s, run, t, x + (s->position - begin + distance(w, run)) * depth, first, width, to, w->in_place ? g->result_channels : g->sum_row);
        }
    }
    if (w->in_place)
        return;
    const bool dense = !g->bias && width == g->sum_row && width == g->result_channels;
    int64_t row = 0;
    for (int i = 0; i < count; row += real[i++].count)
        for (int64_t r = 0; r < (dense ? 1 : real[i].count); r++)
            ls_conv_finish(g, (real[i].number + r) * g->result_channels + first, first, dense ? real[i].count * width : width, sum + (row + r) * g->sum_row);
}

static void band_item(void *context, int64_t item)
{
    const padded *w = context;
    const ls_conv_gather *g = w->g;
    const int64_t image = item / w->bands, begin = image * w->image + item % w->bands * w->band,
                  end = least(begin + w->band, image * w->image + w->used), tile = tile_positions(w);
    float *x = w->x + ls_team_thread_number() * w->room;
    copy_band(w, begin - w->front, end + w->front, x);
    for (int64_t position = begin; position < end;) {
        const int64_t next = least(position + tile, end);
        for (int64_t first = 0; first < g->width; first += LS_CONV_TILE_COLUMNS)
            multiply_tile(w, x + (w->front + position - begin) * (g->depth / g->kernels->unit), position, next, first,
                          least(LS_CONV_TILE_COLUMNS, g->width - first));
        position = next;
    }
}

/* Positions of a band: whole tiles, few enough for a cache and for a team's share. */
static int64_t band_of(const padded *w)
{
    const ls_conv_gather *g = w->g;
    const int64_t tile = tile_positions(w), least_band = FEWEST_FRONTS * w->front, fits = BAND_BYTES / (g->depth * ls_conv_size(g));
    int64_t band = least(w->used, fits > least_band ? fits : least_band);
    const int64_t share = ceil_div(g->batch * w->used, FEWEST_BANDS);
    band = least(band, share > w->front ? share : w->front);
    return ceil_div(band, tile) * tile;
}

ls_status ls_conv_padded(const ls_conv_gather *g, ls_arena *scratch)
{
    padded w;
    ls_mark mark = ls_arena_mark(scratch);
    measure(&w, g);
    const ls_status status = take_band(&w, band_of(&w), ls_conv_size(g), scratch);
    w.bands = ceil_div(w.used, w.band);
    w.in_place = ls_conv_writes_sums(g);
    if (status == LS_OK)
        ls_team_run(g->device->team, g->batch * w.bands, band_item, &w);
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

/* Positions [begin, end) as the kernels read them: each number of bf16 pairs with the one a position behind. */
static void copy_for_weight(const padded *w, int64_t begin, int64_t end)
{
    const ls_conv_gather *g = w->g;
    const int64_t thread = ls_team_thread_number(), count = (end - begin) * g->depth;
    float *x = w->x + thread * w->room;
    if (g->kernels->unit == 1) {
        copy_band(w, begin, end, x);
    } else {
        uint16_t *narrow = w->narrow + thread * (2 * w->front + w->band + 1) * g->depth;
        copy_band(w, begin, end + 1, narrow);
        pair_rows(narrow, narrow + g->depth, count, (uint32_t *)(void *)x);
    }
    memset(x + count, 0, LS_PRODUCT_MAX_WIDTH * sizeof *x);
}

/* dy of positions from `first` on, in pairs of them: [width / STRIP][units][STRIP], zeros in the margin. */
static void stage_dy_pairs(const padded *w, int64_t first, int64_t units, float *strips)
{
    const ls_conv_gather *g = w->g;
    float *zeros = w->wide + ls_team_thread_number() * g->width;
    memset(zeros, 0, (size_t)g->width * sizeof *zeros);
    for (int64_t unit = 0; unit < units; unit++) {
        const uint16_t *from[2];
        for (int i = 0; i < 2; i++) {
            const int64_t position = first + 2 * unit + i, number = stretch_at(w, position, position + 1).number;
            from[i] = number < 0 ? (const uint16_t *)(const void *)zeros : (const uint16_t *)w->dy + number * g->width;
        }
        for (int64_t o = 0; o < g->width; o += STRIP)
            pair_rows(from[0] + o, from[1] + o, least(STRIP, g->width - o), (uint32_t *)(void *)(strips + o * units + unit * STRIP));
    }
}

/* dy of one real stretch, rows [row, row + count) of [width / STRIP][rows][STRIP]. */
static void stage_dy(const padded *w, const stretch *s, int64_t row, int64_t rows, float *strips)
{
    const ls_conv_gather *g = w->g;
    const int64_t whole = g->width / STRIP * STRIP;
    float *wide = w->wide + ls_team_thread_number() * g->width;
    for (int64_t i = 0; i < s->count; i++) {
        const float *from = (const float *)w->dy + (s->number + i) * g->width;
        if (g->type != LS_F32) {
            ls_conv_take(g, w->dy, (s->number + i) * g->width, g->width, wide);
            from = wide;
        }
        float *to = strips + (row + i) * STRIP;
        for (int64_t o = 0; o < whole; o += STRIP)
            memcpy(to + o * rows, from + o, STRIP * sizeof *to);
        for (int64_t o = whole; o < g->width; o++)
            to[whole * rows + o - whole] = from[o];
    }
}

/* The stretches of a chunk that are not margin, and its dy. Returns their number; *units: all their positions. Of pairs one, with
 * all of the chunk: two positions may lie on both sides of a row's end. */
static int stage_chunk(const padded *w, int64_t first, int64_t rows, float *strips, ls_product_run *run, int64_t *units)
{
    const int64_t depth = w->g->depth;
    int count = 0;
    if (w->g->kernels->unit == 2) {
        *units = ceil_div(rows, 2);
        stage_dy_pairs(w, first, *units, strips);
        run[count++] = (ls_product_run){.k = *units};
        return count;
    }
    stretch real[LS_PRODUCT_CHUNK];
    *units = 0;
    for (int64_t position = first; position < first + rows;) {
        const stretch s = stretch_at(w, position, first + rows);
        position += s.count;
        if (s.number < 0)
            continue;
        real[count] = s;
        run[count++] = (ls_product_run){.b = (s.position - first) * depth, .k = s.count};
        *units += s.count;
    }
    int64_t row = 0;
    for (int i = 0; i < count; row += real[i++].count)
        stage_dy(w, &real[i], row, *units, strips);
    return count;
}

/* One chunk of positions times all panels of columns. x: what its first position lies at in the copy. */
static void add_chunk(const padded *w, const float *x, int64_t first, int64_t rows, bool add, float *sum)
{
    const ls_conv_gather *g = w->g;
    const int64_t panel = g->kernels->width;
    float *strips = w->strips + ls_team_thread_number() * LS_PRODUCT_CHUNK * ceil_div(g->width, STRIP) * STRIP;
    ls_product_run run[LS_PRODUCT_CHUNK];
    int64_t units, number = 0;
    const int runs = stage_chunk(w, first, rows, strips, run, &units);
    for (int64_t t = 0; t < g->pass.taps; t += g->pass.tap[t].run) {
        const int64_t deep = g->pass.tap[t].run * g->depth;
        for (int64_t c = 0; c < deep; c += panel, number++) /* a run's last panel reads past it */
            for (int64_t o = 0; o < g->width; o += STRIP)
                g->kernels->multiply_runs(least(STRIP, g->width - o), deep - c, runs, run, strips + o * units, 1, STRIP,
                                          x + distance(w, &g->pass.tap[t]) * g->depth + c, g->kernels->unit * g->depth,
                                          sum + o * w->sum_row + number * panel, w->sum_row, add);
    }
}

static void segment_item(void *context, int64_t segment)
{
    const padded *w = context;
    const ls_conv_gather *g = w->g;
    const int64_t positions = g->batch * w->image, first_chunk = w->chunks * segment / w->segments,
                  last = least(w->chunks * (segment + 1) / w->segments * w->chunk, positions);
    const float *x = w->x + ls_team_thread_number() * w->room;
    float *sum = w->sum + segment * g->width * w->sum_row;
    int64_t begin = 0, end = 0; /* of the band whose copy is there */
    for (int64_t first = first_chunk * w->chunk; first < last; first += w->chunk) { /* ascending: the order of the sums */
        if (first >= end) {
            begin = first, end = least(first + w->band, last);
            copy_for_weight(w, begin - w->front, end + w->front);
        }
        add_chunk(w, x + (w->front + first - begin) * g->depth, first, least(w->chunk, last - first), first > first_chunk * w->chunk, sum);
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
    const int64_t fits = BAND_BYTES / (g->depth * (int64_t)sizeof(float)), least_band = FEWEST_FRONTS * w->front,
                  chunks = ceil_div(fits > least_band ? fits : least_band, w->chunk), share = ceil_div(w->chunks, w->segments);
    if (g->kernels->unit == 2)
        w->narrow = ls_arena_array(scratch, uint16_t, threads * (2 * w->front + least(chunks, share) * w->chunk + 1) * g->depth);
    return take_band(w, least(chunks, share) * w->chunk, (int64_t)sizeof *w->x, scratch);
}

ls_status ls_conv_padded_weight(const ls_conv_gather *g, const void *dy, float *dw, ls_arena *scratch)
{
    padded w;
    ls_mark mark = ls_arena_mark(scratch);
    measure(&w, g);
    w.dy = dy;
    w.dw = dw;
    const ls_status status = take_weight_memory(&w, scratch);
    if (status == LS_OK) {
        ls_team_run(g->device->team, w.segments, segment_item, &w);
        ls_team_run(g->device->team, g->width, add_segments, &w);
    }
    ls_arena_release(scratch, mark);
    return status;
}
