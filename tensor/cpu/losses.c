/* Losses over elements and rows, and cosine similarity: work cut by shape, weights spread over elements, sums in order.
 */
#include "tensor/cpu/counts.h"
#include "tensor/cpu/cpu.h"

enum { BLOCK = 512, PARTIALS = 1024 }; /* elements of one kernel call; partial sums on the stack */

static double number(ls_type type, const void *x, int64_t i)
{
    return type == LS_F64 ? ((const double *)x)[i] : (double)((const float *)x)[i];
}

void ls_cpu_sum_losses(ls_device *device, ls_type type, int64_t rows, const int32_t *labels, const float *weights, const void *losses, ls_type sum_type, void *sum)
{
    double all = 0;
    for (int64_t r = 0; r < rows; r++) {
        const double weight = weights ? (double)weights[r] : 1;
        if ((!labels || labels[r] >= 0) && weight != 0)
            all += weight * number(type, losses, r);
    }
    device->fill(device, sum_type, 1, all, sum);
}

/* ---- elements ---- */

static ls_type real_of(ls_type type)
{
    return type == LS_F64 ? LS_F64 : LS_F32;
}

typedef struct {
    const ls_element_loss_args *args;
    double dloss;
    const ls_kernels *kernels;
    size_t size;
    double *partial; /* by piece, from `first` on */
    int64_t first;
} elements;

/* The numbers that belong to elements [begin, begin + n): numbers[i / run], or numbers[i % period] where run is 0. */
static const float *spread(const float *numbers, int64_t run, int64_t period, int64_t begin, int64_t n, float to[BLOCK])
{
    if (!numbers || run == 1)
        return numbers ? numbers + begin : NULL;
    int64_t at = run ? begin / run : begin % period, left = run ? run - begin % run : 1;
    for (int64_t i = 0; i < n; i++) {
        to[i] = numbers[at];
        if (--left)
            continue;
        at++;
        left = run ? run : 1;
        if (!run && at == period)
            at = 0;
    }
    return to;
}

static const void *at(const void *x, size_t size, int64_t element)
{
    return (const char *)x + (size_t)element * size;
}

static void *into(void *x, size_t size, int64_t element)
{
    return x ? (char *)x + (size_t)element * size : NULL;
}

static void element_range(void *context, int64_t begin, int64_t end)
{
    const elements *e = context;
    const ls_element_loss_args *args = e->args;
    float weights[BLOCK], pos_weights[BLOCK];
    for (int64_t piece = begin; piece < end; piece++) {
        const int64_t from = (e->first + piece) * LS_CPU_PIECE, to = least(from + LS_CPU_PIECE, args->count);
        double sum = 0;
        for (int64_t i = from; i < to; i += BLOCK) {
            const int64_t n = least(BLOCK, to - i);
            const float *w = spread(args->weights, args->run, 0, i, n, weights);
            const float *p = spread(args->pos_weights, 0, args->classes, i, n, pos_weights);
            const void *x = at(args->x, e->size, i), *target = at(args->target, e->size, i);
            if (e->partial)
                sum += e->kernels->element_loss(args->kind, n, x, target, w, p);
            else
                e->kernels->element_loss_backward(args->kind, n, e->dloss, x, target, w, p,
                                                  into(args->dx, e->size, i), into(args->dtarget, e->size, i));
        }
        if (e->partial)
            e->partial[piece] = sum;
    }
}

static elements elements_of(ls_device *device, const ls_element_loss_args *args)
{
    return (elements){.args = args, .kernels = ls_cpu_kernels_of(device, args->type), .size = ls_type_size(args->type)};
}

static int64_t pieces_of(const ls_element_loss_args *args)
{
    return (args->count + LS_CPU_PIECE - 1) / LS_CPU_PIECE;
}

void ls_cpu_element_loss(ls_device *device, const ls_element_loss_args *args)
{
    elements e = elements_of(device, args);
    double partial[PARTIALS], sum = 0;
    e.partial = partial;
    for (; e.first < pieces_of(args); e.first += PARTIALS) {
        const int64_t count = least(PARTIALS, pieces_of(args) - e.first);
        ls_cpu_ranges(device, count, 1, LS_CPU_PIECE, element_range, &e);
        for (int64_t i = 0; i < count; i++)
            sum += partial[i];
    }
    device->fill(device, real_of(args->type), 1, sum, args->sum);
}

void ls_cpu_element_loss_backward(ls_device *device, const ls_element_loss_args *args)
{
    elements e = elements_of(device, args);
    e.dloss = number(real_of(args->type), args->dloss, 0);
    ls_cpu_ranges(device, pieces_of(args), 1, LS_CPU_PIECE, element_range, &e);
}

/* ---- rows ---- */

typedef struct {
    const ls_row_loss_args *args;
    const ls_kernels *kernels;
    bool backward;
} rows;

static void row_range(void *context, int64_t begin, int64_t end)
{
    const rows *r = context;
    for (int64_t row = begin; row < end; row++)
        (r->backward ? r->kernels->row_loss_backward : r->kernels->row_loss)(r->args, row);
}

/* As many rows as make up one piece. */
static void run_rows(ls_device *device, int64_t count, int64_t width, ls_cpu_range f, void *context)
{
    ls_cpu_ranges(device, count, LS_CPU_PIECE / (width > 0 ? width : 1), width, f, context);
}

void ls_cpu_row_loss(ls_device *device, const ls_row_loss_args *args)
{
    rows r = {args, ls_cpu_kernels_of(device, args->type), false};
    run_rows(device, args->rows, args->classes, row_range, &r);
}

void ls_cpu_row_loss_backward(ls_device *device, const ls_row_loss_args *args)
{
    rows r = {args, ls_cpu_kernels_of(device, args->type), true};
    run_rows(device, args->rows, args->classes, row_range, &r);
}

/* ---- cosine similarity ---- */

typedef struct {
    const ls_kernels *kernels;
    size_t size;
    int64_t width;
    double eps;
    const void *a, *b, *dy;
    void *y, *da, *db;
    double *stats;
    const double *kept;
} pairs;

static void cosine_range(void *context, int64_t begin, int64_t end)
{
    const pairs *p = context;
    for (int64_t row = begin; row < end; row++)
        p->kernels->cosine(p->width, p->eps, at(p->a, p->size, row * p->width), at(p->b, p->size, row * p->width),
                           into(p->y, p->size, row), p->stats + 3 * row);
}

static void cosine_backward_range(void *context, int64_t begin, int64_t end)
{
    const pairs *p = context;
    for (int64_t row = begin; row < end; row++)
        p->kernels->cosine_backward(p->width, p->eps, at(p->a, p->size, row * p->width),
                                    at(p->b, p->size, row * p->width), p->kept + 3 * row, at(p->dy, p->size, row),
                                    into(p->da, p->size, row * p->width), into(p->db, p->size, row * p->width));
}

void ls_cpu_cosine(ls_device *device, ls_type type, int64_t count, int64_t width, double eps, const void *a,
                   const void *b, void *y, double *stats)
{
    pairs p = {.kernels = ls_cpu_kernels_of(device, type),
               .size = ls_type_size(type),
               .width = width,
               .eps = eps,
               .a = a,
               .b = b,
               .y = y,
               .stats = stats};
    run_rows(device, count, width, cosine_range, &p);
}

void ls_cpu_cosine_backward(ls_device *device, ls_type type, int64_t count, int64_t width, double eps, const void *a,
                            const void *b, const double *stats, const void *dy, void *da, void *db)
{
    pairs p = {.kernels = ls_cpu_kernels_of(device, type),
               .size = ls_type_size(type),
               .width = width,
               .eps = eps,
               .a = a,
               .b = b,
               .dy = dy,
               .da = da,
               .db = db,
               .kept = stats};
    run_rows(device, count, width, cosine_backward_range, &p);
}
