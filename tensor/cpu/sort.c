/* Orders along an axis: sorting rows, adding into the places that an order chose, running sums. Rows are independent.
 */
#include "tensor/cpu/cpu.h"

enum { COLUMNS = 256, AT_ONCE = 1 << 20 }; /* columns of a running sum's item; elements with scratch at a time */

typedef struct {
    const ls_kernels *kernels;
    size_t size;
    int64_t first, length, inner, k;
    bool flag, accumulate; /* descending; reverse */
    const char *x;
    char *y;
    int32_t *index;
    const int32_t *chosen;
    char *scratch;
    size_t scratch_row;
} job;

static job job_of(ls_device *device, ls_type type, int64_t length)
{
    return (job){.kernels = ls_cpu_kernels_of(device, type), .size = ls_type_size(type), .length = length};
}

static void sort_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    for (int64_t i = begin; i < end; i++) {
        const int64_t at = (j->first + i) * j->length;
        j->kernels->sort(j->length, j->flag, j->x + (size_t)at * j->size, j->y + (size_t)at * j->size, j->index + at,
                         j->scratch + (size_t)i * j->scratch_row);
    }
}

ls_status ls_cpu_sort(ls_device *device, ls_type type, int64_t rows, int64_t length, bool descending, const void *x,
                      void *values, int32_t *index, ls_arena *scratch)
{
    job j = job_of(device, type, length);
    j.flag = descending, j.x = x, j.y = values, j.index = index;
    j.scratch_row = ((size_t)length * (2 * j.size + sizeof *index) + 63) / 64 * 64;
    int64_t at_once = AT_ONCE / (length > 0 ? length : 1);
    at_once = at_once < 1 ? 1 : at_once < rows ? at_once : rows;
    ls_mark mark = ls_arena_mark(scratch);
    j.scratch = ls_arena_take(scratch, (size_t)at_once * j.scratch_row);
    for (; j.scratch && j.first < rows; j.first += at_once) {
        const int64_t count = rows - j.first < at_once ? rows - j.first : at_once;
        ls_cpu_ranges(device, count, LS_CPU_PIECE / (length > 0 ? length : 1), length, sort_range, &j);
    }
    ls_status status = j.scratch ? LS_OK : ls_arena_status(scratch);
    ls_arena_release(scratch, mark);
    return status;
}

static void scatter_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    for (int64_t row = begin; row < end; row++)
        j->kernels->scatter_add_elements(j->k, j->chosen + row * j->k, j->x + (size_t)(row * j->k) * j->size,
                                         j->y + (size_t)(row * j->length) * j->size);
}

void ls_cpu_scatter_add_elements(ls_device *device, ls_type type, int64_t rows, int64_t length, int64_t k,
                                 const int32_t *index, const void *y, void *x)
{
    job j = job_of(device, type, length);
    j.k = k, j.chosen = index, j.x = y, j.y = x;
    ls_cpu_ranges(device, rows, LS_CPU_PIECE / (k > 0 ? k : 1), k, scatter_range, &j);
}

/* Items: blocks of COLUMNS columns of one of the outer matrices [length, inner]. */
static void cumulate_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    const int64_t blocks = (j->inner + COLUMNS - 1) / COLUMNS;
    for (int64_t item = begin; item < end; item++) {
        const int64_t from = item % blocks * COLUMNS, to = from + COLUMNS;
        const size_t matrix = (size_t)(item / blocks * j->length * j->inner) * j->size;
        j->kernels->cumulate(j->length, j->inner, from, to < j->inner ? to : j->inner, j->flag, j->accumulate,
                             j->x + matrix, j->y + matrix);
    }
}

void ls_cpu_cumulative_sum(ls_device *device, ls_type type, int64_t outer, int64_t length, int64_t inner, bool reverse,
                           bool accumulate, const void *x, void *y)
{
    job j = job_of(device, type, length);
    j.inner = inner, j.flag = reverse, j.accumulate = accumulate, j.x = x, j.y = y;
    const int64_t blocks = (inner + COLUMNS - 1) / COLUMNS, cost = length * (inner < COLUMNS ? inner : COLUMNS);
    ls_cpu_ranges(device, outer * blocks, LS_CPU_PIECE / (cost > 0 ? cost : 1), cost, cumulate_range, &j);
}
