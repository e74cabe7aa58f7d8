/* Moving without arithmetic (copies by strides, rows by index), and its gradients. */
#include "tensor/cpu/counts.h"
#include "tensor/cpu/cpu.h"

#include <string.h>

enum { COLUMNS = 128, BUFFER = 512 };

typedef struct {
    const ls_kernels *kernels;
    ls_strides strides; /* a: x, b: y */
    size_t size;
    const char *from;
    char *to;
    int64_t n, width;
    const int32_t *index;
    bool widen; /* scatter: bf16 or f16 rows into f32 rows */
    const ls_kernels *reals;
    size_t to_size;
} job;

static void copy_run(size_t size, int64_t n, const char *x, int64_t step_x, char *y, int64_t step_y)
{
    const size_t from = (size_t)step_x * size, to = (size_t)step_y * size;
    if (step_x == 1 && step_y == 1) {
        memcpy(y, x, (size_t)n * size);
        return;
    }
    switch (size) { /* a constant size makes memcpy one move */
    case 2:
        for (int64_t i = 0; i < n; i++, x += from, y += to)
            memcpy(y, x, 2);
        break;
    case 4:
        for (int64_t i = 0; i < n; i++, x += from, y += to)
            memcpy(y, x, 4);
        break;
    default:
        for (int64_t i = 0; i < n; i++, x += from, y += to)
            memcpy(y, x, size);
        break;
    }
}

/* Elements [begin, end) of the loop; f is called with each run's part. */
static void copy_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    const ls_strides *s = &j->strides;
    const int64_t length = s->shape[s->ndim - 1], step_x = s->stride_a[s->ndim - 1], step_y = s->stride_b[s->ndim - 1];
    int64_t skip = begin % length;
    ls_cpu_cursor cursor = ls_cpu_cursor_at(s, begin / length);
    for (int64_t at = begin; at < end; skip = 0) {
        int64_t n = least(length - skip, end - at);
        copy_run(j->size, n, j->from + (cursor.a + skip * step_x) * (int64_t)j->size, step_x,
                 j->to + (cursor.b + skip * step_y) * (int64_t)j->size, step_y);
        at += n;
        ls_cpu_cursor_next(&cursor);
    }
}

void ls_cpu_copy_strided(ls_device *device, ls_type type, const ls_strides *shape, const void *x, void *y)
{
    job j = {.strides = ls_strides_collapse(shape), .size = ls_type_size(type), .from = x, .to = y};
    ls_cpu_ranges(device, ls_strides_elements(&j.strides), LS_CPU_PIECE, 1, copy_range, &j);
}

/* x[by stride_a] += y[by stride_b]. Where a run is not dense, its elements are gathered, added and scattered. */
static void add_run(const job *j, int64_t n, char *x, int64_t step_x, const char *y, int64_t step_y)
{
    double more[BUFFER], sum[BUFFER];
    if (step_x == 1 && step_y == 1) {
        j->kernels->add_to(n, y, x);
        return;
    }
    for (int64_t at = 0; at < n; at += BUFFER) {
        int64_t count = least(n - at, BUFFER);
        char *part = x + at * step_x * (int64_t)j->size;
        copy_run(j->size, count, y + at * step_y * (int64_t)j->size, step_y, (char *)more, 1);
        copy_run(j->size, count, part, step_x, (char *)sum, 1);
        j->kernels->add_to(count, more, sum);
        copy_run(j->size, count, (const char *)sum, 1, part, step_x);
    }
}

static void add_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    const ls_strides *s = &j->strides;
    const int64_t length = s->shape[s->ndim - 1], step_x = s->stride_a[s->ndim - 1], step_y = s->stride_b[s->ndim - 1];
    int64_t skip = begin % length;
    ls_cpu_cursor cursor = ls_cpu_cursor_at(s, begin / length);
    for (int64_t at = begin; at < end; skip = 0) {
        int64_t n = least(length - skip, end - at);
        add_run(j, n, j->to + (cursor.a + skip * step_x) * (int64_t)j->size, step_x,
                j->from + (cursor.b + skip * step_y) * (int64_t)j->size, step_y);
        at += n;
        ls_cpu_cursor_next(&cursor);
    }
}

void ls_cpu_add_strided(ls_device *device, ls_type type, const ls_strides *shape, const void *y, void *x)
{
    job j = {.kernels = ls_cpu_kernels_of(device, type), .strides = ls_strides_collapse(shape), .size = ls_type_size(type),
             .from = y, .to = x};
    ls_cpu_ranges(device, ls_strides_elements(&j.strides), LS_CPU_PIECE, 1, add_range, &j);
}

static void gather_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    const size_t bytes = (size_t)j->width * j->size;
    for (int64_t i = begin; i < end; i++)
        if (j->index[i] >= 0)
            memcpy(j->to + (size_t)i * bytes, j->from + (size_t)j->index[i] * bytes, bytes);
        else
            memset(j->to + (size_t)i * bytes, 0, bytes);
}

void ls_cpu_gather_rows(ls_device *device, ls_type type, int64_t n, int64_t width, const int32_t *index, const void *x,
                        void *y)
{
    job j = {.size = ls_type_size(type), .from = x, .to = y, .width = width, .index = index};
    ls_cpu_ranges(device, n, LS_CPU_PIECE / (width > 0 ? width : 1), width, gather_range, &j);
}

/* Columns [begin, end) of all rows in ascending order: two rows with one target never meet on two threads. */
static void scatter_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    float wide[COLUMNS];
    for (int64_t column = begin; column < end; column += COLUMNS) {
        int64_t n = least(end - column, COLUMNS);
        for (int64_t i = 0; i < j->n; i++) {
            if (j->index[i] < 0)
                continue;
            const char *y = j->from + (size_t)(i * j->width + column) * j->size;
            char *x = j->to + (size_t)((int64_t)j->index[i] * j->width + column) * j->to_size;
            if (j->widen) {
                j->kernels->widen(n, y, wide);
                j->reals->add_to(n, wide, x);
            } else {
                j->kernels->add_to(n, y, x);
            }
        }
    }
}

void ls_cpu_scatter_add_rows(ls_device *device, ls_type type, ls_type x_type, int64_t n, int64_t width, int64_t x_rows,
                             const int32_t *index, const void *y, void *x, ls_arena *scratch)
{
    (void)x_rows, (void)scratch;
    job j = {.kernels = ls_cpu_kernels_of(device, type), .reals = ls_cpu_kernels_of(device, x_type),
             .size = ls_type_size(type), .to_size = ls_type_size(x_type), .from = y, .to = x, .n = n, .width = width,
             .index = index, .widen = type != x_type};
    ls_cpu_ranges(device, width, COLUMNS, n, scatter_range, &j);
}
