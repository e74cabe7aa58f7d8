/* Elementwise entries of the device: pieces of a flat range, each computed by a vector kernel. */
#include "tensor/cpu/cpu.h"

#include <string.h>

/* One struct serves all entries of this file: each uses the fields it needs. */
typedef struct {
    const ls_kernels *kernels;
    size_t size; /* of an element */
    int op;
    double a, b; /* also dropout's p, fill's value, the scale of Gumbel noise */
    const uint8_t *condition;
    const ls_random *stream;
    uint64_t first;
    bool accumulate, accumulate2;
    const void *x, *x2, *x3;
    void *y, *y2;
} job;

static const void *from(const void *x, int64_t at, size_t size)
{
    return x ? (const char *)x + (size_t)at * size : NULL;
}

static void *into(void *y, int64_t at, size_t size)
{
    return y ? (char *)y + (size_t)at * size : NULL;
}

static job job_of(ls_device *device, ls_type type)
{
    return (job){.kernels = ls_cpu_kernels_of(device, type), .size = ls_type_size(type)};
}

static void run(ls_device *device, int64_t n, ls_cpu_range f, job *j)
{
    ls_cpu_ranges(device, n, LS_CPU_PIECE, 1, f, j);
}

static void unary_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    j->kernels->unary((ls_unary)j->op, end - begin, j->a, j->b, from(j->x, begin, j->size), into(j->y, begin, j->size));
}

void ls_cpu_unary(ls_device *device, ls_unary op, ls_type type, int64_t n, double a, double b, const void *x, void *y)
{
    job j = job_of(device, type);
    j.op = (int)op, j.a = a, j.b = b, j.x = x, j.y = y;
    run(device, n, unary_range, &j);
}

void ls_cpu_scale_by(ls_device *device, ls_type type, int64_t n, const void *factor, const void *x, void *y)
{
    const double by = type == LS_F64 ? *(const double *)factor : (double)*(const float *)factor;
    if (by != 1 || x != y) /* a gradient of the vocabulary, 154 MB of GPT-2, times a loss's own slope */
        ls_cpu_unary(device, LS_UNARY_SCALE, type, n, by, 0, x, y);
}

static void unary_backward_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    j->kernels->unary_backward((ls_unary)j->op, end - begin, j->a, j->b, from(j->x, begin, j->size),
                               from(j->x2, begin, j->size), from(j->x3, begin, j->size), into(j->y, begin, j->size));
}

void ls_cpu_unary_backward(ls_device *device, ls_unary op, ls_type type, int64_t n, double a, double b, const void *x,
                           const void *y, const void *dy, void *dx)
{
    job j = job_of(device, type);
    j.op = (int)op, j.a = a, j.b = b, j.x = x, j.x2 = y, j.x3 = dy, j.y = dx;
    run(device, n, unary_backward_range, &j);
}

static void gated_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    j->kernels->gated((ls_unary)j->op, end - begin, from(j->x, begin, j->size), from(j->x2, begin, j->size),
                      into(j->y, begin, j->size));
}

void ls_cpu_gated(ls_device *device, ls_unary f, ls_type type, int64_t n, const void *gate, const void *x, void *y)
{
    job j = job_of(device, type);
    j.op = (int)f, j.x = gate, j.x2 = x, j.y = y;
    run(device, n, gated_range, &j);
}

static void gated_backward_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    j->kernels->gated_backward((ls_unary)j->op, end - begin, from(j->x, begin, j->size), from(j->x2, begin, j->size),
                               from(j->x3, begin, j->size), into(j->y, begin, j->size), j->accumulate,
                               into(j->y2, begin, j->size), j->accumulate2);
}

void ls_cpu_gated_backward(ls_device *device, ls_unary f, ls_type type, int64_t n, const void *gate, const void *x,
                           const void *dy, void *dgate, bool add_gate, void *dx, bool add_x)
{
    job j = job_of(device, type);
    j.op = (int)f, j.x = gate, j.x2 = x, j.x3 = dy;
    j.y = dgate, j.accumulate = add_gate, j.y2 = dx, j.accumulate2 = add_x;
    run(device, n, gated_backward_range, &j);
}

static void where_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    j->kernels->where(end - begin, j->condition + begin, from(j->x, begin, j->size), from(j->x2, begin, j->size),
                      into(j->y, begin, j->size));
}

void ls_cpu_where(ls_device *device, ls_type type, int64_t n, const uint8_t *condition, const void *a, const void *b,
                  void *y)
{
    job j = job_of(device, type);
    j.condition = condition, j.x = a, j.x2 = b, j.y = y;
    run(device, n, where_range, &j);
}

static void where_backward_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    j->kernels->where_backward(end - begin, j->condition + begin, from(j->x, begin, j->size),
                               into(j->y, begin, j->size), into(j->y2, begin, j->size));
}

void ls_cpu_where_backward(ls_device *device, ls_type type, int64_t n, const uint8_t *condition, const void *dy,
                           void *da, void *db)
{
    job j = job_of(device, type);
    j.condition = condition, j.x = dy, j.y = da, j.y2 = db;
    run(device, n, where_backward_range, &j);
}

static void add_to_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    j->kernels->add_to(end - begin, from(j->x, begin, j->size), into(j->y, begin, j->size));
}

void ls_cpu_add_to(ls_device *device, ls_type type, int64_t n, const void *x, void *y)
{
    job j = job_of(device, type);
    j.x = x, j.y = y;
    run(device, n, add_to_range, &j);
}

static void fill_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    j->kernels->fill(end - begin, j->a, into(j->y, begin, j->size));
}

void ls_cpu_fill(ls_device *device, ls_type type, int64_t n, double value, void *y)
{
    job j = job_of(device, type);
    j.a = value, j.y = y;
    run(device, n, fill_range, &j);
}

static void gumbel_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    j->kernels->gumbel(end - begin, j->a, j->stream, j->first + (uint64_t)begin, from(j->x, begin, j->size),
                       into(j->y, begin, j->size));
}

void ls_cpu_gumbel(ls_device *device, ls_type type, int64_t n, double scale, const ls_random *stream, uint64_t first,
                   const void *x, void *y)
{
    job j = job_of(device, type);
    j.a = scale, j.stream = stream, j.first = first, j.x = x, j.y = y;
    run(device, n, gumbel_range, &j);
}

static void dropout_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    j->kernels->dropout(end - begin, j->a, j->stream, j->first + (uint64_t)begin, from(j->x, begin, j->size),
                        into(j->y, begin, j->size), j->accumulate);
}

void ls_cpu_dropout(ls_device *device, ls_type type, int64_t n, double p, const ls_random *stream, uint64_t first,
                    const void *x, void *y, bool accumulate)
{
    job j = job_of(device, type);
    j.a = p, j.stream = stream, j.first = first, j.x = x, j.y = y, j.accumulate = accumulate;
    run(device, n, dropout_range, &j);
}
