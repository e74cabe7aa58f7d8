/* Broadcasting arithmetic. The loop is collapsed to as few dimensions as its strides allow; its last one is a run in
 * which each operand steps by 1 or stays. Gradients of a repeated operand are summed in a fixed order:
 *   - elements of one run: 16 lanes over pieces of RUN, pieces in ascending order;
 *   - runs: in ascending order of the result's index, by whoever owns that part of the operand;
 *   - an operand of one element: pieces of LS_CPU_PIECE results, in f64, added in ascending order. */
#include "tensor/cpu/counts.h"
#include "tensor/cpu/cpu.h"

#include <string.h>

enum { RUN = 512 }; /* gradients computed before they are added up */

typedef struct {
    const ls_kernels *kernels, *reals; /* of the type, and of what it is computed in */
    size_t size, real_size;
    ls_binary op;
    ls_strides strides;
    const char *a, *b, *dy;
    char *y;
    int operand;        /* backward: 0 for a, 1 for b */
    const int64_t *own; /* that operand's strides */
    char *sums;         /* that operand's gradient in reals */
    int axis;           /* dimension that the work is cut along */
    double *partial;
} job;

static job job_of(ls_device *device, ls_binary op, ls_type type, const ls_strides *strides, const void *a, const void *b)
{
    return (job){.kernels = ls_cpu_kernels_of(device, type),
                 .reals = ls_cpu_kernels_of(device, type == LS_F64 ? LS_F64 : LS_F32), .size = ls_type_size(type),
                 .real_size = type == LS_F64 ? sizeof(double) : sizeof(float), .op = op,
                 .strides = ls_strides_collapse(strides), .a = a, .b = b};
}

static int64_t run_length(const ls_strides *s)
{
    return s->shape[s->ndim - 1];
}

/* Results [begin, end), run by run. */
static void binary_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    const ls_strides *s = &j->strides;
    const int64_t length = run_length(s), step_a = s->stride_a[s->ndim - 1], step_b = s->stride_b[s->ndim - 1];
    int64_t skip = begin % length;
    ls_cpu_cursor cursor = ls_cpu_cursor_at(s, begin / length);
    for (int64_t at = begin; at < end; skip = 0) {
        int64_t n = least(length - skip, end - at);
        j->kernels->binary(j->op, n, j->a + (size_t)(cursor.a + skip * step_a) * j->size, step_a,
                           j->b + (size_t)(cursor.b + skip * step_b) * j->size, step_b, j->y + (size_t)at * j->size);
        at += n;
        ls_cpu_cursor_next(&cursor);
    }
}

void ls_cpu_binary(ls_device *device, ls_binary op, ls_type type, const ls_strides *shape, const void *a, const void *b,
                   void *y)
{
    job j = job_of(device, op, type, shape, a, b);
    j.y = y;
    ls_cpu_ranges(device, ls_strides_elements(&j.strides), LS_CPU_PIECE, 1, binary_range, &j);
}

/* Gradients of n <= RUN results of one run, the first of them result `at`, as reals. */
static void gradients(const job *j, const ls_cpu_cursor *cursor, int64_t skip, int64_t at, int64_t n, double *g)
{
    const ls_strides *s = &j->strides;
    const int64_t step_a = s->stride_a[s->ndim - 1], step_b = s->stride_b[s->ndim - 1];
    j->kernels->binary_gradient(j->op, j->operand, n, j->a + (size_t)(cursor->a + skip * step_a) * j->size, step_a,
                                j->b + (size_t)(cursor->b + skip * step_b) * j->size, step_b,
                                j->dy + (size_t)at * j->size, g);
}

/* The operand has the result's shape: its gradient is elementwise. */
static void backward_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    const int64_t length = run_length(&j->strides);
    double g[RUN];
    int64_t skip = begin % length;
    ls_cpu_cursor cursor = ls_cpu_cursor_at(&j->strides, begin / length);
    for (int64_t at = begin; at < end;) {
        int64_t n = least(least(length - skip, end - at), RUN);
        gradients(j, &cursor, skip, at, n, g);
        j->kernels->add_real(n, g, j->y + (size_t)at * j->size);
        at += n;
        skip += n;
        if (skip == length) {
            skip = 0;
            ls_cpu_cursor_next(&cursor);
        }
    }
}

/* The operand is one element: partial sums of whole pieces. */
static void backward_total_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    const int64_t length = run_length(&j->strides);
    double g[RUN];
    for (int64_t piece = begin; piece < end; piece++) {
        int64_t at = piece * LS_CPU_PIECE, stop = least(at + LS_CPU_PIECE, ls_strides_elements(&j->strides));
        int64_t skip = at % length;
        ls_cpu_cursor cursor = ls_cpu_cursor_at(&j->strides, at / length);
        double total = 0;
        while (at < stop) {
            int64_t n = least(least(length - skip, stop - at), RUN);
            gradients(j, &cursor, skip, at, n, g);
            total += j->kernels->reduce_real(n, g);
            at += n;
            skip += n;
            if (skip == length) {
                skip = 0;
                ls_cpu_cursor_next(&cursor);
            }
        }
        j->partial[piece] = total;
    }
}

static void add_to_real(const job *j, int64_t target, double value)
{
    char *sum = j->sums + (size_t)target * j->real_size;
    float f32;
    double f64;
    if (j->real_size == sizeof f32) {
        memcpy(&f32, sum, sizeof f32);
        f32 += (float)value;
        memcpy(sum, &f32, sizeof f32);
    } else {
        memcpy(&f64, sum, sizeof f64);
        f64 += value;
        memcpy(sum, &f64, sizeof f64);
    }
}

/* One run's part [from, to): into the sums of the operand's elements, or all into one of them. */
static void backward_run(const job *j, const ls_cpu_cursor *cursor, int64_t row, int64_t from, int64_t to)
{
    const int64_t length = run_length(&j->strides), own_step = j->own[j->strides.ndim - 1];
    const int64_t target = j->operand ? cursor->b : cursor->a;
    double g[RUN], total = 0;
    for (int64_t at = from; at < to; at += RUN) {
        int64_t n = least(to - at, RUN);
        gradients(j, cursor, at, row * length + at, n, g);
        if (own_step)
            j->reals->add_to(n, g, j->sums + (size_t)(target + at) * j->real_size);
        else
            total += j->kernels->reduce_real(n, g);
    }
    if (!own_step)
        add_to_real(j, target, total);
}

/* The part of the operand with coordinate [begin, end) along `axis`, from all results that read it, in ascending order. */
static void backward_part_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    const ls_strides *s = &j->strides;
    const int64_t length = run_length(s);
    const bool along_run = j->axis == s->ndim - 1;
    const int64_t from = along_run ? begin : 0, to = along_run ? end : length;
    int64_t outer = 1, inner = 1; /* rows = outer x shape[axis] x inner */
    for (int d = 0; d < s->ndim - 1; d++) {
        if (d < j->axis)
            outer *= s->shape[d];
        if (d > j->axis)
            inner *= s->shape[d];
    }
    const int64_t axis_length = along_run ? 1 : s->shape[j->axis];
    const int64_t first = along_run ? 0 : begin, last = along_run ? 1 : end;
    for (int64_t o = 0; o < outer; o++) {
        int64_t row = (o * axis_length + first) * inner, stop = (o * axis_length + last) * inner;
        for (ls_cpu_cursor cursor = ls_cpu_cursor_at(s, row); row < stop; row++, ls_cpu_cursor_next(&cursor))
            backward_run(j, &cursor, row, from, to);
    }
}

/* Cuts the work along the operand's outermost own dimension, in parts of about LS_CPU_PIECE results. */
static void backward_parts(ls_device *device, job *j, ls_arena *scratch)
{
    const ls_strides *s = &j->strides;
    int64_t count = 1;
    j->axis = -1;
    for (int d = 0; d < s->ndim; d++)
        if (j->own[d]) {
            count *= s->shape[d];
            if (j->axis < 0)
                j->axis = d;
        }
    j->sums = ls_arena_take(scratch, (size_t)count * j->real_size);
    if (!j->sums)
        return; /* sticky in the arena */
    memset(j->sums, 0, (size_t)count * j->real_size);
    const int64_t length = s->shape[j->axis], cost = ls_strides_elements(s) / length;
    int64_t piece = LS_CPU_PIECE / (cost > 0 ? cost : 1);
    if (j->axis == s->ndim - 1 && piece < 64)
        piece = 64; /* not below a few cache lines of a run */
    ls_cpu_ranges(device, length, piece, cost, backward_part_range, j);
    j->kernels->add_real(count, j->sums, j->y);
}

static void backward_total(ls_device *device, job *j, ls_arena *scratch)
{
    const int64_t n = ls_strides_elements(&j->strides), pieces = (n + LS_CPU_PIECE - 1) / LS_CPU_PIECE;
    j->partial = ls_arena_array(scratch, double, pieces);
    if (!j->partial)
        return; /* sticky in the arena */
    ls_cpu_ranges(device, pieces, 1, LS_CPU_PIECE, backward_total_range, j);
    double total = 0;
    for (int64_t i = 0; i < pieces; i++)
        total += j->partial[i];
    const float f32 = (float)total;
    j->kernels->add_real(1, j->real_size == sizeof f32 ? (const void *)&f32 : &total, j->y);
}

static void operand_backward(ls_device *device, job *j, ls_arena *scratch)
{
    const ls_strides *s = &j->strides;
    bool own = false, repeated = false;
    for (int d = 0; d < s->ndim; d++) {
        own |= j->own[d] != 0;
        repeated |= j->own[d] == 0 && s->shape[d] != 1;
    }
    ls_mark mark = ls_arena_mark(scratch);
    if (!repeated)
        ls_cpu_ranges(device, ls_strides_elements(s), LS_CPU_PIECE, 1, backward_range, j);
    else if (own)
        backward_parts(device, j, scratch);
    else
        backward_total(device, j, scratch);
    ls_arena_release(scratch, mark);
}

void ls_cpu_binary_backward(ls_device *device, ls_binary op, ls_type type, const ls_strides *shape, const void *a,
                            const void *b, const void *dy, void *da, void *db, ls_arena *scratch)
{
    if (ls_strides_elements(shape) == 0)
        return;
    job j = job_of(device, op, type, shape, a, b);
    j.dy = dy;
    if (da) {
        j.operand = 0;
        j.own = j.strides.stride_a;
        j.y = da;
        operand_backward(device, &j, scratch);
    }
    if (db) {
        j.operand = 1;
        j.own = j.strides.stride_b;
        j.y = db;
        operand_backward(device, &j, scratch);
    }
}
