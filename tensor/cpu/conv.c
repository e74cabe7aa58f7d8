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
 * gradient in w; elsewhere bf16 is widened. f64 serves gradient checks: plain loops. */
#include "tensor/cpu/conv_gather.h"
#include "tensor/cpu/winograd.h"

#include <string.h>

enum {
    TILE_ROWS = LS_CONV_TILE_ROWS,
    TILE_COLUMNS = LS_CONV_TILE_COLUMNS,
    WEIGHT_PANELS = 9,   /* of dw in one item, at most */
    DY_BYTES = 4 << 20,  /* of dy that is staged at a time */
    ENOUGH_ITEMS = 6,
    ENOUGH_WEIGHTS = 1 << 15, /* to pack, worth waking a team */
    A_ROWS = 6,        /* that the kernel takes at once */
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t product3(const int64_t a[3])
{
    return a[0] * a[1] * a[2];
}

static const char *at(const void *base, ls_type type, int64_t element)
{
    return (const char *)base + element * (int64_t)ls_type_size(type);
}

/* ---- gathering: what a position sees ---- */

typedef struct {
    int64_t n, q[3];
} place;

static place place_of(const ls_conv_pass *p, int64_t position)
{
    place at_ = {.q = {0, 0, position % p->q[2]}};
    position /= p->q[2];
    at_.q[1] = position % p->q[1];
    position /= p->q[1];
    at_.q[0] = position % p->q[0];
    at_.n = position / p->q[0];
    return at_;
}

static void next_place(const ls_conv_pass *p, place *at_)
{
    if (++at_->q[2] < p->q[2])
        return;
    at_->q[2] = 0;
    if (++at_->q[1] < p->q[1])
        return;
    at_->q[1] = 0;
    if (++at_->q[0] < p->q[0])
        return;
    at_->q[0] = 0;
    at_->n++;
}

/* Number of the source position that `t` sees from `from`; -1: outside. */
static int64_t seen(const int64_t source[3], const ls_conv_pass *p, const place *from, const ls_conv_tap *t)
{
    int64_t number = from->n;
    for (int axis = 0; axis < 3; axis++) {
        const int64_t i = from->q[axis] * p->step[axis] + t->offset[axis];
        if (i < 0 || i >= source[axis])
            return -1;
        number = number * source[axis] + i;
    }
    return number;
}

void ls_conv_take(const ls_conv_gather *g, const void *x, int64_t element, int64_t count, void *to)
{
    const int64_t size = ls_conv_size(g);
    if (element < 0)
        memset(to, 0, (size_t)(count * size));
    else if (size == (int64_t)ls_type_size(g->type))
        memcpy(to, at(x, g->type, element), (size_t)(count * size));
    else
        ls_cpu_kernels_of(g->device, g->type)->widen(count, at(x, g->type, element), to);
}

/* Columns [column, column + count) of the patch of one position. Where the taps of a run are all inside, and no group's
 * channels stand between them, they are one run of memory. */
static void stage_patch(const ls_conv_gather *g, const place *from, int64_t column, int64_t count, void *a)
{
    for (int64_t end = column + count; column < end;) {
        const ls_conv_tap *t = &g->pass.tap[column / g->depth];
        const int64_t channel = column % g->depth, number = seen(g->source, &g->pass, from, t);
        const int64_t last = from->q[2] * g->pass.step[2] + t->offset[2] + t->run - 1;
        const bool whole = number >= 0 && g->depth == g->source_channels && last < g->source[2];
        const int64_t length = least((whole ? t->run : 1) * g->depth - channel, end - column);
        ls_conv_take(g, g->x, number < 0 ? -1 : number * g->source_channels + g->group * g->depth + channel, length, a);
        a = (char *)a + length * ls_conv_size(g);
        column += length;
    }
}

/* Columns that lie side by side in the source, where it is seen: of one tap, or of several of a run. */
typedef struct {
    const ls_conv_tap *tap;
    int64_t column, count, taps;
    int64_t from; /* where they begin, from a position's origin in the source: numbers */
} piece;

enum { MOST_PIECES = 64 };

/* Pieces of columns [column, column + count) in order; 0: there are more than MOST_PIECES. */
static int pieces_of(const ls_conv_gather *g, int64_t column, int64_t count, piece *p)
{
    int pieces = 0;
    for (int64_t end = column + count; column < end; pieces++) {
        if (pieces == MOST_PIECES)
            return 0;
        const ls_conv_tap *t = &g->pass.tap[column / g->depth];
        const int64_t channel = column % g->depth, run = g->depth == g->source_channels ? t->run : 1, length = least(run * g->depth - channel, end - column);
        const int64_t distance = (t->offset[0] * g->source[1] + t->offset[1]) * g->source[2] + t->offset[2];
        p[pieces] = (piece){.tap = t, .column = column, .count = length, .taps = ceil_div(channel + length, g->depth),
                            .from = distance * g->source_channels + g->group * g->depth + channel};
        column += length;
    }
    return pieces;
}

/* As ls_conv_take: few numbers without a call. */
static inline void take_few(const ls_conv_gather *g, int64_t element, int64_t count, void *to)
{
    if (g->type != LS_F32 || count > 32) {
        ls_conv_take(g, g->x, element, count, to);
        return;
    }
    const float *from = (const float *)g->x + element;
    float *floats = to;
    int64_t i = 0;
    for (; i + 4 <= count; i += 4)
        memcpy(floats + i, from + i, 4 * sizeof *floats);
    for (; i < count; i++)
        floats[i] = from[i];
}

static inline bool within(int64_t i, int64_t end)
{
    return (uint64_t)i < (uint64_t)end;
}

/* Columns [first, first + count) of A for `rows` positions, `pitch` numbers apart. */
static void stage(const ls_conv_gather *g, place from, int64_t rows, int64_t first, int64_t count, int64_t pitch, void *a)
{
    const int64_t size = ls_conv_size(g), *source = g->source, *step = g->pass.step;
    piece p[MOST_PIECES];
    const int pieces = pieces_of(g, first, count, p);
    for (int64_t row = 0; row < rows; row++, next_place(&g->pass, &from)) {
        char *to = (char *)a + row * pitch * size;
        const int64_t i0 = from.q[0] * step[0], i1 = from.q[1] * step[1], i2 = from.q[2] * step[2];
        const int64_t origin = (((from.n * source[0] + i0) * source[1] + i1) * source[2] + i2) * g->source_channels;
        if (!pieces)
            stage_patch(g, &from, first, count, to);
        for (int i = 0; i < pieces; to += p[i++].count * size) {
            const int64_t *offset = p[i].tap->offset, near = i2 + offset[2], far = near + p[i].taps - 1;
            const bool sees = within(i0 + offset[0], source[0]) && within(i1 + offset[1], source[1]);
            if (sees && near >= 0 && far < source[2])
                take_few(g, origin + p[i].from, p[i].count, to);
            else if (sees && p[i].taps > 1)
                stage_patch(g, &from, p[i].column, p[i].count, to);
            else
                memset(to, 0, (size_t)(p[i].count * size));
        }
    }
}

static void find_runs(ls_conv_pass *p)
{
    for (int64_t t = p->taps - 1; t >= 0; t--) {
        const ls_conv_tap *next = &p->tap[t + 1];
        p->tap[t].run = 1;
        if (t + 1 < p->taps && next->offset[0] == p->tap[t].offset[0] && next->offset[1] == p->tap[t].offset[1] &&
            next->offset[2] == p->tap[t].offset[2] + 1)
            p->tap[t].run = next->run + 1;
    }
}

/* ---- finished sums ---- */

void ls_conv_finish(const ls_conv_gather *g, int64_t element, int64_t first, int64_t n, float *sum)
{
    void *y = (void *)at(g->y, g->type, element), *rounded = g->pre ? (void *)at(g->pre, g->type, element) : y;
    const ls_kernels *kernels = ls_cpu_kernels_of(g->device, g->type);
    if (g->accumulate) { /* only gradients do, which have neither bias nor activation */
        kernels->add_real(n, sum, y);
        return;
    }
    if (g->bias)
        for (int64_t i = 0; i < n; i++)
            sum[i] += g->bias[first + i];
    if (g->type == LS_F32)
        memcpy(rounded, sum, (size_t)n * sizeof *sum);
    else
        kernels->narrow(n, sum, rounded);
    if (g->activation != LS_ACT_NONE)
        kernels->unary(ls_activation_function(g->activation), n, 0, 0, rounded, y);
}

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
    place from = place_of(&g->pass, first_position);
    if (!g->k)
        memset(sum, 0, (size_t)(rows * sum_row) * sizeof *sum);
    for (int64_t begin = 0; begin < g->units; begin += LS_PRODUCT_CHUNK) { /* ascending: the order of the chunks' sums */
        const int64_t count = least(LS_PRODUCT_CHUNK, g->units - begin), unit = g->kernels->unit;
        stage(g, from, rows, begin * unit, count * unit, count * unit, a);
        for (int64_t j = 0; j < width; j += panel) {
            const float *b = g->panels + (first + j) * g->units + begin * panel;
            if (width - j <= panel / 2) {
                g->kernels->multiply_half(rows, count, a, count, 1, b, panel, sum + j, sum_row, begin > 0);
                continue;
            }
            const int64_t bytes = count * panel * (int64_t)sizeof *b / (TILE_ROWS / A_ROWS); /* a strip's part of the panel behind this one */
            ls_product_ahead ahead = {.at = (const char *)(b + g->units * panel), .rows = 1, .lines = ceil_div(bytes, 64), .next = bytes};
            g->kernels->multiply_strips(rows, count, a, count, 1, A_ROWS * count, b, sum + j, sum_row, begin > 0, &ahead);
        }
    }
    for (int64_t row = 0; row < rows && !g->in_place; row++, next_place(&g->pass, &from)) {
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

static ls_conv_tap tap_of(const ls_grid *grid, int64_t number)
{
    ls_conv_tap t = {.number = number};
    for (int axis = 2; axis >= 0; axis--) {
        t.offset[axis] = number % grid->window[axis] * grid->dilation[axis] - grid->padding[axis];
        number /= grid->window[axis];
    }
    return t;
}

static void forward_pass(const ls_grid *grid, ls_conv_pass *p)
{
    for (int axis = 0; axis < 3; axis++) {
        p->q[axis] = grid->out[axis];
        p->step[axis] = grid->stride[axis];
        p->out_step[axis] = 1;
        p->out_offset[axis] = 0;
    }
}

static void all_taps(const ls_grid *grid, ls_conv_pass *p)
{
    p->taps = product3(grid->window);
    for (int64_t t = 0; t < p->taps; t++)
        p->tap[t] = tap_of(grid, t);
    find_runs(p);
    forward_pass(grid, p);
}

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
    g->kernels->pack(p->grid->type, true, g->k, least(panel, g->width - j), at(p->w, p->grid->type, (g->group * g->width + j) * g->k), g->k, g->panels + j * g->units);
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
    all_taps(grid, &g.pass);
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
        ls_conv_tap t = tap_of(grid, number);
        bool whole = true;
        for (int axis = 0; axis < 3; axis++) {
            const int64_t shift = rest[axis] - t.offset[axis];
            whole = whole && shift % grid->stride[axis] == 0;
            t.offset[axis] = shift / grid->stride[axis];
        }
        if (whole)
            p->tap[p->taps++] = t;
    }
    find_runs(p);
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
                         at(p->w, p->grid->type, g->group * g->depth * all + g->pass.tap[t].number * g->width + j), all,
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

/* ---- gradient in w ---- */

typedef struct {
    ls_conv_gather patches;         /* of x: only its geometry is used */
    const void *dy;
    float *dw;
    int64_t outputs, width; /* all; of one group */
    int64_t groups, items_a_group;
    int64_t block, columns_row, dy_row; /* columns of an item; distances */
    int64_t first, end;                 /* positions whose dy is staged: as many chunks as DY_BYTES hold */
    float *columns, *panels;            /* one for each thread; panels: of pairs alone */
    float *dy_staged, *sum;             /* one for each chunk and group; one for each item */
} weights;

/* Columns [column, column + n) of the patches of `rows` positions, zeros up to whole panels: [rows, columns_row], or of pairs of
 * positions panels. */
static void stage_columns(const weights *w, place from, int64_t rows, int64_t group, int64_t column, int64_t n, float *columns, float *panels)
{
    ls_conv_gather of_group = w->patches;
    of_group.group = group;
    const int64_t width = of_group.kernels->width, whole = ceil_div(n, width) * width;
    stage(&of_group, from, rows, column, n, w->columns_row, columns);
    if (of_group.kernels->unit == 2)
        for (int64_t j = 0; j < n; j += width)
            of_group.kernels->pack(LS_BF16, false, rows, least(width, n - j), (uint16_t *)(void *)columns + j, w->columns_row,
                                   panels + j * ceil_div(rows, 2));
    else
        for (int64_t row = 0; row < rows; row++)
            memset(columns + row * w->columns_row + n, 0, (size_t)(whole - n) * sizeof *columns);
}

/* dy of `rows` positions, channels [channel, channel + m), as [m / A_ROWS][rows][A_ROWS], or half as many pairs of rows: what the kernel
 * reads in turn. */
static void stage_dy(const weights *w, int64_t first, int64_t rows, int64_t channel, int64_t m, float *dy)
{
    const ls_conv_gather *g = &w->patches;
    if (g->kernels->unit == 2) {
        g->kernels->pack_strips(LS_BF16, m, rows, at(w->dy, LS_BF16, first * w->outputs + channel), w->outputs, dy);
        return;
    }
    float wide[TILE_COLUMNS];
    for (int64_t begin = 0; begin < m; begin += TILE_COLUMNS / A_ROWS * A_ROWS) {
        const int64_t n = least(TILE_COLUMNS / A_ROWS * A_ROWS, m - begin), whole = n / A_ROWS * A_ROWS;
        for (int64_t row = 0; row < rows; row++) {
            const int64_t element = (first + row) * w->outputs + channel + begin;
            const float *from = (const float *)w->dy + element;
            float *to = dy + begin * rows + row * A_ROWS;
            if (g->type != LS_F32) {
                ls_conv_take(g, w->dy, element, n, wide);
                from = wide;
            }
            for (int64_t o = 0; o < whole; o += A_ROWS)
                memcpy(to + o * rows, from + o, A_ROWS * sizeof *to);
            if (whole < n)
                memcpy(to + whole * rows, from + whole, (size_t)(n - whole) * sizeof *to);
        }
    }
}

static float *staged_dy(const weights *w, int64_t chunk, int64_t group)
{
    return w->dy_staged + (chunk * w->groups + group) * LS_PRODUCT_CHUNK * w->dy_row;
}

static void stage_dy_item(void *context, int64_t item)
{
    const weights *w = context;
    const int64_t group = item % w->groups, chunk = item / w->groups, rows = LS_PRODUCT_CHUNK * w->patches.kernels->unit, first = w->first + chunk * rows;
    stage_dy(w, first, least(rows, w->end - first), group * w->width, w->width, staged_dy(w, chunk, group));
}

/* The sums of some panels of columns go on over the staged positions, for all outputs of a group; the last ones end in dw. */
static void weight_item(void *context, int64_t item)
{
    const weights *w = context;
    const ls_conv_gather *g = &w->patches;
    const int64_t thread = ls_team_thread_number(), width = g->kernels->width, group = item / w->items_a_group;
    const int64_t block = w->block, column = item % w->items_a_group * block, n = least(block, g->k - column);
    const int64_t unit = g->kernels->unit, chunk = LS_PRODUCT_CHUNK * unit;
    float *columns = w->columns + thread * LS_PRODUCT_CHUNK * w->columns_row, *panels = w->panels ? w->panels + thread * LS_PRODUCT_CHUNK * block : NULL;
    float *sum = w->sum + item * w->width * block;
    for (int64_t first = w->first; first < w->end; first += chunk) { /* ascending: the order of the chunks' sums */
        const int64_t rows = least(chunk, w->end - first), units = ceil_div(rows, unit);
        const float *dy = staged_dy(w, (first - w->first) / chunk, group);
        stage_columns(w, place_of(&g->pass, first), rows, group, column, n, columns, panels);
        for (int64_t j = 0; j < n; j += width) {
            const float *b = unit == 2 ? panels + j * units : columns + j;
            for (int64_t o = 0; o < w->width; o += A_ROWS)
                g->kernels->multiply_runs(least(A_ROWS, w->width - o), n - j, 1, &(ls_product_run){.k = units}, dy + o * units, 1, A_ROWS, b,
                                          unit == 2 ? width : w->columns_row, sum + o * block + j, block, first > 0);
        }
    }
    for (int64_t o = 0; o < w->width && w->end == g->positions; o++)
        for (int64_t j = 0; j < n; j++)
            w->dw[(group * w->width + o) * g->k + column + j] += sum[o * block + j];
}

static ls_status conv_weight_f32(ls_device *device, const ls_grid *grid, const void *x, const void *dy, float *dw, ls_arena *scratch)
{
    const int64_t taps = product3(grid->window), threads = ls_team_threads(device->team);
    weights w = {.dy = dy, .dw = dw, .outputs = grid->outputs, .width = grid->outputs / grid->groups, .groups = grid->groups};
    ls_conv_gather *g = &w.patches;
    *g = (ls_conv_gather){.device = device, .kernels = ls_product_kernels_for(((ls_cpu *)device->self)->level, grid->type), .type = grid->type, .batch = grid->batch,
                  .source_channels = grid->channels, .depth = grid->channels / grid->groups, .x = x};
    memcpy(g->source, grid->in, sizeof g->source);
    g->k = taps * g->depth;
    g->width = w.width;
    g->pass.tap = ls_arena_array(scratch, ls_conv_tap, taps);
    if (!g->pass.tap)
        return ls_arena_status(scratch);
    all_taps(grid, &g->pass);
    memcpy(g->result, grid->out, sizeof g->result);
    g->result_channels = grid->outputs;
    if (ls_conv_padded_fits(g))
        return ls_conv_padded_weight(g, dy, dw, scratch);
    const int64_t share = ceil_div(g->k, g->kernels->width) * grid->groups / ENOUGH_ITEMS;
    const int64_t block = least(share > 1 ? share : 1, WEIGHT_PANELS) * g->kernels->width;
    w.block = block;
    w.items_a_group = ceil_div(g->k, block);
    w.columns_row = block + 16; /* an odd number of cache lines: rows fall into different sets */
    w.dy_row = ceil_div(w.width, A_ROWS) * A_ROWS;
    w.columns = ls_arena_array(scratch, float, LS_PRODUCT_CHUNK * w.columns_row * threads);
    if (g->kernels->unit == 2)
        w.panels = ls_arena_array(scratch, float, LS_PRODUCT_CHUNK * block * threads);
    g->positions = g->batch * product3(g->pass.q);
    const int64_t chunk = LS_PRODUCT_CHUNK * g->kernels->unit, all = ceil_div(g->positions, chunk), chunk_bytes = w.groups * w.dy_row * LS_PRODUCT_CHUNK * (int64_t)sizeof(float);
    const int64_t chunks = least(all, DY_BYTES / chunk_bytes > 1 ? DY_BYTES / chunk_bytes : 1), items = w.groups * w.items_a_group;
    w.dy_staged = ls_arena_array(scratch, float, chunks * w.groups * LS_PRODUCT_CHUNK * w.dy_row);
    w.sum = ls_arena_array(scratch, float, items * w.width * block);
    const ls_status status = ls_arena_status(scratch);
    if (status != LS_OK)
        return status;
    for (w.first = 0; w.first < g->positions; w.first = w.end) {
        w.end = least(w.first + chunks * chunk, g->positions);
        ls_team_run(device->team, ceil_div(w.end - w.first, chunk) * w.groups, stage_dy_item, &w);
        ls_team_run(device->team, items, weight_item, &w);
    }
    return LS_OK;
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
    forward_pass(g, &all);
    place from = {0};
    for (int64_t o = 0; o < g->batch * product3(g->out); o++, next_place(&all, &from))
        for (int64_t t = 0; t < taps; t++) {
            const ls_conv_tap one = tap_of(g, t);
            const int64_t number = seen(g->in, &all, &from, &one);
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
    const ls_status status = ls_winograd_fits(grid) ? ls_winograd_weight(device, grid, x, dy, dw, scratch) : conv_weight_f32(device, grid, x, dy, dw, scratch);
    ls_arena_release(scratch, mark);
    return status;
}
