/* The gradient in w of convolutions whose patches are gathered: see conv.c. */
#include "tensor/cpu/conv_gather.h"
#include "tensor/cpu/counts.h"

#include <string.h>

enum {
    WEIGHT_PANELS = 9,  /* of dw in one item, at most */
    DY_BYTES = 4 << 20, /* of dy that is staged at a time */
    ENOUGH_ITEMS = 6,
    STRIP = 6, /* rows that the kernel takes at once */
};

typedef struct {
    ls_conv_gather patches;         /* of x: only its geometry is used */
    const void *dy;
    float *dw;
    int64_t outputs, width; /* all; of one group */
    int64_t groups, items_a_group;
    int64_t block, columns_row, dy_row; /* columns of an item; distances */
    int64_t first, end;                 /* positions whose dy is staged: as many chunks as DY_BYTES hold */
    float *columns, *panels;            /* one for each thread; panels: of pairs alone */
    float *dy_staged, *sum;             /* [units of the chunk, dy_row] for each chunk and group; one for each item */
} weights;

/* Columns [column, column + n) of the patches of `rows` positions, zeros up to whole panels: [rows, columns_row], or of pairs of
 * positions panels. */
static void stage_columns(const weights *w, ls_conv_place from, int64_t rows, int64_t group, int64_t column, int64_t n, float *columns, float *panels)
{
    ls_conv_gather of_group = w->patches;
    of_group.group = group;
    const int64_t width = of_group.kernels->width, whole = ceil_div(n, width) * width;
    ls_conv_stage(&of_group, from, rows, column, n, w->columns_row, columns);
    if (of_group.kernels->unit == 2)
        for (int64_t j = 0; j < n; j += width)
            of_group.kernels->pack(LS_BF16, false, rows, least(width, n - j), (uint16_t *)(void *)columns + j, w->columns_row,
                                   panels + j * ceil_div(rows, 2));
    else
        for (int64_t row = 0; row < rows; row++)
            memset(columns + row * w->columns_row + n, 0, (size_t)(whole - n) * sizeof *columns);
}

static float *staged_dy(const weights *w, int64_t chunk, int64_t group)
{
    return w->dy_staged + (chunk * w->groups + group) * LS_PRODUCT_CHUNK * w->dy_row;
}

static void stage_dy_item(void *context, int64_t item)
{
    const weights *w = context;
    const int64_t group = item % w->groups, chunk = item / w->groups, rows = LS_PRODUCT_CHUNK * w->patches.kernels->unit, first = w->first + chunk * rows;
    w->patches.kernels->pack_lines(w->patches.type, w->width, least(rows, w->end - first),
                                   ls_conv_at(w->dy, w->patches.type, first * w->outputs + group * w->width), w->outputs, staged_dy(w, chunk, group), w->dy_row);
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
        stage_columns(w, ls_conv_place_of(&g->pass, first), rows, group, column, n, columns, panels);
        for (int64_t j = 0; j < n; j += width) {
            const float *b = unit == 2 ? panels + j * units : columns + j;
            for (int64_t o = 0; o < w->width; o += STRIP)
                g->kernels->multiply_runs(least(STRIP, w->width - o), n - j, 1, &(ls_product_run){.k = units}, dy + o, 1, w->dy_row, b,
                                          unit == 2 ? width : w->columns_row, sum + o * block + j, block, first > 0);
        }
    }
    for (int64_t o = 0; o < w->width && w->end == g->positions; o++)
        for (int64_t j = 0; j < n; j++)
            w->dw[(group * w->width + o) * g->k + column + j] += sum[o * block + j];
}

ls_status ls_conv_direct_weight(ls_device *device, const ls_grid *grid, const void *x, const void *dy, float *dw, ls_arena *scratch)
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
    ls_conv_all_taps(grid, &g->pass);
    memcpy(g->result, grid->out, sizeof g->result);
    g->result_channels = grid->outputs;
    if (ls_conv_padded_fits(g))
        return ls_conv_padded_weight(g, dy, dw, scratch);
    const int64_t share = ceil_div(g->k, g->kernels->width) * grid->groups / ENOUGH_ITEMS;
    const int64_t block = least(share > 1 ? share : 1, WEIGHT_PANELS) * g->kernels->width;
    w.block = block;
    w.items_a_group = ceil_div(g->k, block);
    w.columns_row = block + 16; /* an odd number of cache lines: rows fall into different sets */
    w.dy_row = ceil_div(w.width, STRIP) * STRIP; /* seldom a power of two, at which lines would share few places of a cache */
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
