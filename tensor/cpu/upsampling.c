/* Upsampling over grids: along each axis a position of the result sees one or two positions of x, the formulas of
 * PyTorch's interpolate (aten/src/ATen/native/UpSample.h):
 *     nearest            i = floor(o s), s = in / out, both in f32: PyTorch rounds so, and files made with it want the
 * same bilinear           p = max((o + 1/2) in / out - 1/2, 0)          i = floor(p) with 1 - (p - i), i + 1 with p - i
 *     bilinear, corners  p = o (in - 1) / (out - 1), 0 where out is 1
 * What is seen depends on the axis alone, so each axis has one table. A position with weight 0 is not looked at.
 * Backward each position of dx gathers from those that see it, which along an axis are neighbours: no two write to one
 * place. */
#include "tensor/cpu/counts.h"
#include "tensor/cpu/cpu.h"

#include <math.h>
#include <string.h>

enum { COLUMNS = 512 };

typedef struct {
    int64_t *near;        /* [out]: the first position seen */
    double *beyond;       /* [out]: the weight of the next one */
    int64_t *first, *end; /* [in]: the positions of the result that see this one */
} axis;

typedef struct {
    const ls_grid *grid;
    const ls_kernels *kernels;
    size_t size;
    axis axes[3];
    const char *from;
    char *to;
} upsampling;

static void see(ls_upsampling_kind kind, int64_t in, int64_t out, int64_t o, int64_t *near, double *beyond)
{
    *beyond = 0;
    if (kind == LS_UPSAMPLE_NEAREST) {
        const float scale = (float)in / (float)out;
        const int64_t i = out == in ? o : out == 2 * in ? o / 2 : (int64_t)floorf((float)o * scale);
        *near = i < in ? i : in - 1;
        return;
    }
    double place = ((double)o + 0.5) * (double)in / (double)out - 0.5;
    if (kind == LS_UPSAMPLE_BILINEAR_CORNERS)
        place = out > 1 ? (double)o * (double)(in - 1) / (double)(out - 1) : 0;
    place = place > 0 ? place : 0;
    *near = (int64_t)place < in ? (int64_t)place : in - 1;
    if (*near + 1 < in)
        *beyond = place - (double)*near;
}

static bool fill_axis(axis *a, ls_upsampling_kind kind, int64_t in, int64_t out, ls_arena *scratch)
{
    a->near = ls_arena_array(scratch, int64_t, out);
    a->beyond = ls_arena_array(scratch, double, out);
    a->first = ls_arena_array(scratch, int64_t, in);
    a->end = ls_arena_array(scratch, int64_t, in);
    if (!a->near || !a->beyond || !a->first || !a->end)
        return false;
    for (int64_t i = 0; i < in; i++)
        a->first[i] = out, a->end[i] = 0;
    for (int64_t o = 0; o < out; o++) {
        see(kind, in, out, o, &a->near[o], &a->beyond[o]);
        for (int64_t i = a->near[o]; i <= a->near[o] + (a->beyond[o] > 0); i++) {
            a->first[i] = a->first[i] < o ? a->first[i] : o;
            a->end[i] = o + 1;
        }
    }
    return true;
}

static void coordinates(const int64_t shape[3], int64_t number, int64_t at[3])
{
    for (int d = 2; d >= 0; d--) {
        at[d] = number % shape[d];
        number /= shape[d];
    }
}

/* One axis more: each tap so far becomes one or two, by what position `o` sees along it. Ascending stays ascending. */
static int extend_taps(const axis *a, int64_t in, int64_t o, int taps, int64_t number[8], double weight[8])
{
    const int each = a->beyond[o] > 0 ? 2 : 1;
    for (int k = taps - 1; k >= 0; k--) /* backwards: in place */
        for (int next = each - 1; next >= 0; next--) {
            number[each * k + next] = number[k] * in + a->near[o] + next;
            weight[each * k + next] = weight[k] * (next ? a->beyond[o] : 1 - a->beyond[o]);
        }
    return taps * each;
}

/* Positions [begin, end) of the result, all samples being counted; what lies on one line of the last axis shares the
 * taps of the other two. */
static void forward_range(void *context, int64_t begin, int64_t end)
{
    const upsampling *u = context;
    const ls_grid *g = u->grid;
    const int64_t positions = product3(g->out), sample_bytes = product3(g->in) * g->channels * (int64_t)u->size;
    const size_t run = (size_t)g->channels * u->size;
    for (int64_t position = begin; position < end;) {
        int64_t o[3], line[8] = {0}, number[8];
        double line_weight[8] = {1}, weight[8];
        const void *x[8];
        coordinates(g->out, position % positions, o);
        int line_taps = extend_taps(&u->axes[0], g->in[0], o[0], 1, line, line_weight);
        line_taps = extend_taps(&u->axes[1], g->in[1], o[1], line_taps, line, line_weight);
        const char *sample = u->from + position / positions * sample_bytes;
        for (; o[2] < g->out[2] && position < end; o[2]++, position++) {
            memcpy(number, line, sizeof number);
            memcpy(weight, line_weight, sizeof weight);
            const int taps = extend_taps(&u->axes[2], g->in[2], o[2], line_taps, number, weight);
            for (int k = 0; k < taps; k++)
                x[k] = sample + (size_t)number[k] * run;
            u->kernels->blend(taps, g->channels, weight, x, u->to + (size_t)position * run);
        }
    }
}

static double weight_along(const axis *a, int64_t o, int64_t i)
{
    return a->near[o] == i ? 1 - a->beyond[o] : a->near[o] + 1 == i ? a->beyond[o] : 0;
}

/* Channels [first, first + count) of position i of dx, which lies at `to`; dy is the sample's. */
static void gather(const upsampling *u, const int64_t i[3], const char *dy, int64_t count, char *to)
{
    const ls_grid *g = u->grid;
    const axis *a = u->axes;
    double sum[COLUMNS], weight[8]; /* sum: reals */
    const void *x[8];
    int taps = 0;
    memset(sum, 0, sizeof sum);
    for (int64_t o0 = a[0].first[i[0]]; o0 < a[0].end[i[0]]; o0++)
        for (int64_t o1 = a[1].first[i[1]]; o1 < a[1].end[i[1]]; o1++) {
            const double line = weight_along(&a[0], o0, i[0]) * weight_along(&a[1], o1, i[1]);
            for (int64_t o2 = a[2].first[i[2]]; o2 < a[2].end[i[2]]; o2++) {
                weight[taps] = line * weight_along(&a[2], o2, i[2]);
                x[taps++] = dy + (size_t)(((o0 * g->out[1] + o1) * g->out[2] + o2) * g->channels) * u->size;
                if (taps == 8) {
                    u->kernels->add_blend(taps, count, weight, x, sum);
                    taps = 0;
                }
            }
        }
    u->kernels->add_blend(taps, count, weight, x, sum);
    u->kernels->add_real(count, sum, to);
}

static void backward_range(void *context, int64_t begin, int64_t end)
{
    const upsampling *u = context;
    const ls_grid *g = u->grid;
    const int64_t positions = product3(g->out), inside = product3(g->in);
    for (int64_t position = begin; position < end; position++) {
        int64_t i[3];
        coordinates(g->in, position % inside, i);
        const char *dy = u->from + (size_t)(position / inside * positions * g->channels) * u->size;
        char *dx = u->to + (size_t)(position * g->channels) * u->size;
        for (int64_t c = 0; c < g->channels; c += COLUMNS) {
            const int64_t left = g->channels - c;
            gather(u, i, dy + (size_t)c * u->size, left < COLUMNS ? left : COLUMNS, dx + (size_t)c * u->size);
        }
    }
}

static ls_status run(ls_device *device, const ls_grid *grid, ls_upsampling_kind kind, int64_t count, int64_t cost,
                     ls_cpu_range f, const void *from, void *to, ls_arena *scratch)
{
    upsampling u = {.grid = grid,
                    .kernels = ls_cpu_kernels_of(device, grid->type),
                    .size = ls_type_size(grid->type),
                    .from = from,
                    .to = to};
    ls_mark mark = ls_arena_mark(scratch);
    bool filled = true;
    for (int d = 0; d < 3; d++)
        filled = filled && fill_axis(&u.axes[d], kind, grid->in[d], grid->out[d], scratch);
    if (filled)
        ls_cpu_ranges(device, count, LS_CPU_PIECE / cost, cost, f, &u);
    ls_status status = filled ? LS_OK : ls_arena_status(scratch);
    ls_arena_release(scratch, mark);
    return status;
}

ls_status ls_cpu_upsample(ls_device *device, const ls_grid *grid, ls_upsampling_kind kind, const void *x, void *y,
                          ls_arena *scratch)
{
    return run(device, grid, kind, grid->batch * product3(grid->out), 4 * grid->channels, forward_range, x, y, scratch);
}

ls_status ls_cpu_upsample_backward(ls_device *device, const ls_grid *grid, ls_upsampling_kind kind, const void *dy,
                                   void *dx, ls_arena *scratch)
{
    const int64_t inside = product3(grid->in), each = product3(grid->out) / inside + 1;
    return run(device, grid, kind, grid->batch * inside, each * grid->channels, backward_range, dy, dx, scratch);
}
