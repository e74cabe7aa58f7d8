/* See conv_gather.h. */
#include "tensor/cpu/conv_gather.h"
#include "tensor/cpu/counts.h"

#include <string.h>

/* ---- what a position sees ---- */

int64_t ls_conv_seen(const int64_t source[3], const ls_conv_pass *p, const ls_conv_place *from, const ls_conv_tap *t)
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
        memcpy(to, ls_conv_at(x, g->type, element), (size_t)(count * size));
    else
        ls_cpu_kernels_of(g->device, g->type)->widen(count, ls_conv_at(x, g->type, element), to);
}

/* Columns [column, column + count) of the patch of one position. Where the taps of a run are all inside, and no group's
 * channels stand between them, they are one run of memory. */
static void stage_patch(const ls_conv_gather *g, const ls_conv_place *from, int64_t column, int64_t count, void *a)
{
    for (int64_t end = column + count; column < end;) {
        const ls_conv_tap *t = &g->pass.tap[column / g->depth];
        const int64_t channel = column % g->depth, number = ls_conv_seen(g->source, &g->pass, from, t);
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

void ls_conv_stage(const ls_conv_gather *g, ls_conv_place from, int64_t rows, int64_t first, int64_t count, int64_t pitch, void *a)
{
    const int64_t size = ls_conv_size(g), *source = g->source, *step = g->pass.step;
    piece p[MOST_PIECES];
    const int pieces = pieces_of(g, first, count, p);
    for (int64_t row = 0; row < rows; row++, ls_conv_next_place(&g->pass, &from)) {
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

void ls_conv_find_runs(ls_conv_pass *p)
{
    for (int64_t t = p->taps - 1; t >= 0; t--) {
        const ls_conv_tap *next = &p->tap[t + 1];
        p->tap[t].run = 1;
        if (t + 1 < p->taps && next->offset[0] == p->tap[t].offset[0] && next->offset[1] == p->tap[t].offset[1] &&
            next->offset[2] == p->tap[t].offset[2] + 1)
            p->tap[t].run = next->run + 1;
    }
}

/* ---- passes ---- */

ls_conv_tap ls_conv_tap_of(const ls_grid *grid, int64_t number)
{
    ls_conv_tap t = {.number = number};
    for (int axis = 2; axis >= 0; axis--) {
        t.offset[axis] = number % grid->window[axis] * grid->dilation[axis] - grid->padding[axis];
        number /= grid->window[axis];
    }
    return t;
}

void ls_conv_forward_pass(const ls_grid *grid, ls_conv_pass *p)
{
    for (int axis = 0; axis < 3; axis++) {
        p->q[axis] = grid->out[axis];
        p->step[axis] = grid->stride[axis];
        p->out_step[axis] = 1;
        p->out_offset[axis] = 0;
    }
}

void ls_conv_all_taps(const ls_grid *grid, ls_conv_pass *p)
{
    p->taps = product3(grid->window);
    for (int64_t t = 0; t < p->taps; t++)
        p->tap[t] = ls_conv_tap_of(grid, t);
    ls_conv_find_runs(p);
    ls_conv_forward_pass(grid, p);
}

/* ---- finished sums ---- */

void ls_conv_finish(const ls_conv_gather *g, int64_t element, int64_t first, int64_t n, float *sum)
{
    void *y = (void *)ls_conv_at(g->y, g->type, element), *rounded = g->pre ? (void *)ls_conv_at(g->pre, g->type, element) : y;
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
