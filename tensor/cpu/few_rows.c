/* See few_rows.h. */
#include "tensor/cpu/few_rows.h"

#include "tensor/cpu/product.h"
#include "tensor/cpu/tight.h"

#include <string.h>

enum {
    LEAST_COLUMNS = 64, /* of one item */
    MOST_COLUMNS = 256,
    PARTS = 8, /* of a product: a thread waits for memory when it begins one, so not many */
    ENOUGH_WORK = 1 << 16, /* elements of w worth waking a team */
    LANES = 16, /* rows that are turned together */
    TURN = 11,  /* rows of x from which turning it is faster */
};

extern const ls_few_rows_kernels ls_few_rows_kernels_generic;
#if defined(__x86_64__)
extern const ls_few_rows_kernels ls_few_rows_kernels_avx2, ls_few_rows_kernels_avx512, ls_few_rows_kernels_bf16;
#endif

/* As matmul.c's kernels have it: rows must not part from those of larger products. */
static bool pairs(ls_numerics level, ls_type type)
{
    return ls_product_kernels_for(level, type)->unit == 2;
}

const ls_few_rows_kernels *ls_few_rows_kernels_for(ls_numerics level, ls_type type)
{
#if defined(__x86_64__)
    if (pairs(level, type))
        return &ls_few_rows_kernels_bf16;
    if (level >= LS_NUMERICS_AVX512)
        return &ls_few_rows_kernels_avx512;
    if (level == LS_NUMERICS_AVX2)
        return &ls_few_rows_kernels_avx2;
#endif
    (void)level, (void)type;
    return &ls_few_rows_kernels_generic;
}

bool ls_few_rows_fit(ls_numerics level, const ls_matmul_args *x)
{
    const bool whole_pairs = !(x->k % 2 || x->lda % 2 || x->ldb % 2 || ((uintptr_t)x->a | (uintptr_t)x->b) % sizeof(float));
    if (pairs(level, x->type_ab) && !whole_pairs)
        return false;
    const ls_few_rows_kernels *kernels = ls_few_rows_kernels_for(level, x->type_ab);
    const bool units = x->type_ab == LS_F32 || pairs(level, x->type_ab);
    const int64_t rows = units && kernels->turned_rows ? kernels->turned_rows : kernels->rows;
    return x->batch == 1 && x->m <= rows && x->k > 0 && x->n >= LEAST_COLUMNS && !x->trans_a && x->trans_b &&
           !x->accumulate && x->type_ab != LS_F64 && x->type_c != LS_F64;
}

typedef struct {
    ls_device *device;
    const ls_matmul_args *args;
    const ls_few_rows_kernels *kernels;
    const float *x, *bias; /* [m, k], [n] or NULL: f32 */
    int64_t width;         /* rows of x that were turned: x is [k, width]; 0: none */
    ls_type type;          /* of w, and k and distances in the kernels' numbers */
    int64_t k, ldx, ldw, columns; /* of an item */
    const ls_tight_kernels *tight; /* NULL: w is multiplied where it lies */
    uint8_t *panels;               /* of whole sixteens of columns */
} few_rows;

/* Bias, rounding and activation of one row's columns, in this order, as every product (matmul.c). */
static void finish(const few_rows *f, int64_t row, int64_t j, int64_t n, float *sum)
{
    const ls_matmul_args *x = f->args;
    const int64_t element = row * x->ldc + j;
    if (f->bias)
        for (int64_t i = 0; i < n; i++)
            sum[i] += f->bias[j + i];
    f->device->cast(f->device, LS_F32, x->type_c, n, sum, (char *)(x->pre ? x->pre : x->c) + element * (int64_t)ls_type_size(x->type_c));
    ls_cpu_activate(f->device, x, element, n);
}

static const ls_product_kernels *product_kernels(const few_rows *f)
{
    return ls_product_kernels_for(((const ls_cpu *)f->device->self)->level, f->args->type_ab);
}

/* x [m, k] to [k, width]; lanes past the last row are 0. */
static void turn_rows(few_rows *f, int64_t m, ls_arena *scratch)
{
    f->width = m > LANES ? 2 * LANES : LANES;
    float *to = ls_arena_array(scratch, float, f->k * f->width);
    if (!to)
        return;
    memset(to, 0, (size_t)(f->k * f->width) * sizeof *to);
    int64_t p = 0;
    for (; p + LS_PRODUCT_TURN <= f->k; p += LS_PRODUCT_TURN)
        product_kernels(f)->turn(m, f->x + p, f->ldx, to + p * f->width, f->width);
    for (; p < f->k; p++)
        for (int64_t r = 0; r < m; r++)
            to[p * f->width + r] = f->x[r * f->ldx + p];
    f->x = to;
}

/* sum[row * MOST_COLUMNS + j] of n columns. */
static void multiply_turned(const few_rows *f, int64_t n, const float *w, float *sum)
{
    float columns[MOST_COLUMNS * LS_FEW_ROWS];
    f->kernels->multiply_turned(f->width, n, f->k, f->x, w, f->ldw, columns);
    for (int64_t row = 0; row < f->args->m; row += LS_PRODUCT_TURN)
        product_kernels(f)->turn(n, columns + row, f->width, sum + row * MOST_COLUMNS, MOST_COLUMNS);
}

/* ---- weights in twelve bits ---- */

static uint8_t *panel(const few_rows *f, int64_t j)
{
    return f->panels + j / LS_TIGHT_COLUMNS * ls_tight_panel_bytes(f->k);
}

static void pack_columns(void *context, int64_t item)
{
    const few_rows *f = context;
    for (int64_t j = item * f->columns; j < (item + 1) * f->columns && j + LS_TIGHT_COLUMNS <= f->args->n; j += LS_TIGHT_COLUMNS)
        f->tight->pack(f->k, (const float *)f->args->b + j * f->ldw, f->ldw, panel(f, j));
}

/* Finds or makes the panels, where weights are held for it; else leaves f as it is. */
static void take_tight(few_rows *f)
{
    const ls_matmul_args *x = f->args;
    const ls_cpu *cpu = f->device->self;
    f->tight = x->weights_b && x->m <= LS_TIGHT_ROWS && f->k % LS_TIGHT_UNITS == 0 ? ls_tight_kernels_for(cpu->level) : NULL;
    if (!f->tight)
        return;
    const ls_held_side side = {x->b, x->n, x->k, x->ldb, x->type_ab, true};
    bool filled;
    f->panels = ls_held_panels(cpu->tight, &side, (size_t)(x->n / LS_TIGHT_COLUMNS * ls_tight_panel_bytes(f->k)), &filled);
    if (!f->panels)
        f->tight = NULL;
    else if (!filled)
        ls_team_run(f->device->team, (x->n + f->columns - 1) / f->columns, pack_columns, f);
}

/* Of n columns from j on, whole panels; returns how many. */
static int64_t multiply_tight(const few_rows *f, int64_t j, int64_t n, float *sum)
{
    int64_t done = 0;
    for (; done + LS_TIGHT_COLUMNS <= n; done += LS_TIGHT_COLUMNS) {
        const uint8_t *this = panel(f, j + done), *next = done + 2 * LS_TIGHT_COLUMNS <= n ? panel(f, j + done + LS_TIGHT_COLUMNS) : NULL;
        f->tight->multiply(f->args->m, f->k, f->x, f->ldx, this, next, sum + done, MOST_COLUMNS);
    }
    return done;
}

/* ---- items ---- */

static void multiply_columns(void *context, int64_t item)
{
    const few_rows *f = context;
    const ls_matmul_args *x = f->args;
    const int64_t j = item * f->columns, n = x->n - j < f->columns ? x->n - j : f->columns;
    float sum[LS_FEW_ROWS * MOST_COLUMNS];
    const int64_t done = f->tight ? multiply_tight(f, j, n, sum) : 0;
    const char *w = (const char *)x->b + (j + done) * x->ldb * (int64_t)ls_type_size(x->type_ab);
    if (f->width)
        multiply_turned(f, n, (const float *)(const void *)w, sum);
    else
        f->kernels->multiply(f->type, x->m, n - done, f->k, f->x, f->ldx, w, f->ldw, sum + done, MOST_COLUMNS);
    for (int64_t row = 0; row < x->m; row++)
        finish(f, row, j, n, sum + row * MOST_COLUMNS);
}

/* Whole groups of the kernels' columns, by shape alone. */
static int64_t columns_of_item(int64_t n)
{
    const int64_t columns = (n / PARTS + LS_FEW_COLUMNS - 1) / LS_FEW_COLUMNS * LS_FEW_COLUMNS;
    return columns < LEAST_COLUMNS ? LEAST_COLUMNS : columns > MOST_COLUMNS ? MOST_COLUMNS : columns;
}

/* `count` numbers as f32: in place, or a copy. NULL: no memory. */
static const float *as_f32(ls_device *device, ls_type type, const void *from, int64_t rows, int64_t columns, int64_t ld,
                           ls_arena *scratch)
{
    if (type == LS_F32)
        return from;
    float *to = ls_arena_array(scratch, float, rows *columns);
    for (int64_t r = 0; to && r < rows; r++)
        device->cast(device, type, LS_F32, columns, (const char *)from + r * ld * (int64_t)ls_type_size(type),
                     to + r * columns);
    return to;
}

ls_status ls_few_rows_multiply(ls_device *device, const ls_matmul_args *x, ls_arena *scratch)
{
    const ls_numerics level = ((ls_cpu *)device->self)->level;
    few_rows f = {.device = device, .args = x, .kernels = ls_few_rows_kernels_for(level, x->type_ab)};
    if (pairs(level, x->type_ab)) {
        f.type = LS_F32;
        f.x = x->a;
        f.k = x->k / 2, f.ldx = x->lda / 2, f.ldw = x->ldb / 2;
    } else {
        f.type = x->type_ab;
        f.x = as_f32(device, x->type_ab, x->a, x->m, x->k, x->lda, scratch);
        f.k = x->k, f.ldx = x->type_ab == LS_F32 ? x->lda : x->k, f.ldw = x->ldb;
    }
    if (f.type == LS_F32 && f.kernels->turned_rows && x->m >= TURN && f.x)
        turn_rows(&f, x->m, scratch);
    f.bias = x->bias ? as_f32(device, x->type_bias, x->bias, 1, x->n, x->n, scratch) : NULL;
    const ls_status status = ls_arena_status(scratch);
    if (status != LS_OK)
        return status;
    f.columns = columns_of_item(x->n);
    if (pairs(level, x->type_ab))
        take_tight(&f);
    const int64_t items = (x->n + f.columns - 1) / f.columns;
    if (x->n * x->k >= ENOUGH_WORK)
        ls_team_run(device->team, items, multiply_columns, &f);
    else
        for (int64_t item = 0; item < items; item++)
            multiply_columns(&f, item);
    return LS_OK;
}
