/* Matrix products: C[b] (+)= op(A[b]) op(B[b]), + bias, activation (ls_matmul_args in tensor/device.h).
 *
 *     pack      op(B), f32, in panels of a few columns that the inner kernel streams   (parallel over panels)
 *     multiply  each tile of C over all k, chunk by chunk, then bias and activation    (parallel over tiles)
 *
 *              n ->  |panel|panel|...                 c = (s_0 + s_1) + s_2 ...,  s_i over LS_PRODUCT_CHUNK of k,
 *          k  +------------------+                    one chain each (product.h)
 *             |      op(B)       | chunk 0
 *             |                  | chunk 1            Tiles are cut by shape alone, but could be cut anyhow: no bit of
 *      m +--+ +==================+                    an element depends on its tile. So a row gives the same bits
 *        |A | | tile | tile | .. |                    whatever other rows are in the call (packed rows, decoding).
 *
 * bf16 is widened when packed and rounded once, at the end. B is packed at most BLOCK bytes at a time, so that a large
 * vocabulary needs no copy of its matrix. f64 serves gradient checks: plain loops. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/product.h"

#include <string.h>

enum {
    TILE_ROWS = 96,
    TILE_COLUMNS = 256,    /* of C: its A chunk (96 KiB) and sums (96 KiB) stay in the second cache */
    ENOUGH_TILES = 16,     /* below this tiles are made smaller, to feed a team */
    ENOUGH_WORK = 1 << 18, /* multiply-adds worth waking a team: some 5 us of one core */
    BLOCK = 8 << 20,       /* bytes of packed B at once */
};

typedef struct {
    ls_device *device;
    const ls_matmul_args *args;
    const ls_product_kernels *kernels;
    const float *bias; /* f32, NULL: none */
    float *panels;
    int64_t first_batch, batches; /* in this block */
    int64_t first_column, columns;
    int64_t packed_batches; /* 1 where all batches share B */
    int64_t tile_rows, tile_columns, row_tiles, column_tiles;
    float *tile, *row, *staged; /* one for each thread */
} product;

static const ls_unary activations[] = {
    [LS_ACT_RELU] = LS_UNARY_RELU,
    [LS_ACT_GELU] = LS_UNARY_GELU,
    [LS_ACT_GELU_TANH] = LS_UNARY_GELU_TANH,
    [LS_ACT_SILU] = LS_UNARY_SILU,
};

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static const char *at(const void *base, ls_type type, int64_t element)
{
    return (const char *)base + element * (int64_t)ls_type_size(type);
}

static int64_t panels_of(const product *p)
{
    return ceil_div(p->columns, p->kernels->width);
}

static void pack_panel(void *context, int64_t item)
{
    const product *p = context;
    const ls_matmul_args *x = p->args;
    int64_t width = p->kernels->width, batch = item / panels_of(p), column = item % panels_of(p) * width;
    int64_t from = p->first_column + column;
    const void *b = at(x->b, x->type_ab, (p->first_batch + batch) * x->stride_b + (x->trans_b ? from * x->ldb : from));
    p->kernels->pack(x->type_ab, x->trans_b, x->k, least(width, p->columns - column), b, x->ldb,
                     p->panels + item * width * x->k);
}

/* The finished sums of one row of a tile go to C: add what is there, bias, round, activation. */
static void finish_row(const product *p, int64_t batch, int64_t i, int64_t j, int64_t n, float *sum, float *row)
{
    const ls_matmul_args *x = p->args;
    int64_t element = batch * x->stride_c + i * x->ldc + j;
    void *c = (void *)at(x->c, x->type_c, element), *pre = x->pre ? (void *)at(x->pre, x->type_c, element) : NULL;
    if (x->accumulate) {
        const float *old = c;
        if (x->type_c != LS_F32) {
            p->device->cast(p->device, x->type_c, LS_F32, n, c, row);
            old = row;
        }
        for (int64_t q = 0; q < n; q++)
            sum[q] = old[q] + sum[q];
    }
    if (p->bias)
        for (int64_t q = 0; q < n; q++)
            sum[q] += p->bias[j + q];
    void *rounded = pre ? pre : c; /* the activation reads the rounded number, so fusing it changes no bit */
    if (x->type_c == LS_F32)
        memcpy(rounded, sum, (size_t)n * sizeof *sum);
    else
        p->device->cast(p->device, LS_F32, x->type_c, n, sum, rounded);
    if (x->activation != LS_ACT_NONE)
        p->device->unary(p->device, activations[x->activation], x->type_c, n, 0, 0, rounded, c);
    else if (pre)
        memcpy(c, pre, (size_t)n * ls_type_size(x->type_c));
}

/* What the kernel reads as A: rows [i, i + m) of op(A), k in [first, first + count), as f32. */
typedef struct {
    const float *at;
    int64_t row, k; /* distances */
} operand;

/* In place where A is f32 with its rows along k, or narrow; else a dense copy, which widens bf16 and brings the far
 * lines of a transposed A together (in place they fall into the same few sets of the first cache). */
static operand stage_a(const product *p, int64_t batch, int64_t i, int64_t m, int64_t first, int64_t count)
{
    const ls_matmul_args *x = p->args;
    int64_t origin = batch * x->stride_a + (x->trans_a ? first * x->lda + i : i * x->lda + first);
    if (x->type_ab == LS_F32 && !x->trans_a)
        return (operand){(const float *)x->a + origin, x->lda, 1};
    if (x->type_ab == LS_F32 && x->lda < LS_PRODUCT_CHUNK)
        return (operand){(const float *)x->a + origin, 1, x->lda};
    float *copy = p->staged + (int64_t)ls_team_thread_number() * TILE_ROWS * LS_PRODUCT_CHUNK;
    int64_t lines = x->trans_a ? count : m, length = x->trans_a ? m : count;
    for (int64_t q = 0; q < lines; q++) {
        const void *line = at(x->a, x->type_ab, origin + q * x->lda);
        if (x->type_ab == LS_F32)
            memcpy(copy + q * length, line, (size_t)length * sizeof *copy);
        else
            p->device->cast(p->device, x->type_ab, LS_F32, length, line, copy + q * length);
    }
    return x->trans_a ? (operand){copy, 1, m} : (operand){copy, count, 1};
}

static void multiply_tile(void *context, int64_t item)
{
    const product *p = context;
    const ls_matmul_args *x = p->args;
    int64_t width = p->kernels->width;
    int64_t tile_column = item % p->column_tiles, tile_row = item / p->column_tiles % p->row_tiles;
    int64_t batch = item / (p->column_tiles * p->row_tiles);
    int64_t i = tile_row * p->tile_rows, m = least(p->tile_rows, x->m - i);
    int64_t j = tile_column * p->tile_columns, n = least(p->tile_columns, p->columns - j);
    float *sum = p->tile + (int64_t)ls_team_thread_number() * TILE_ROWS * TILE_COLUMNS;
    const float *panels = p->panels + ((p->packed_batches > 1 ? batch * panels_of(p) : 0) * width + j) * x->k;
    if (!x->k)
        memset(sum, 0, TILE_ROWS * TILE_COLUMNS * sizeof *sum);
    for (int64_t first = 0; first < x->k; first += LS_PRODUCT_CHUNK) { /* ascending: the order of the chunks' sums */
        int64_t count = least(LS_PRODUCT_CHUNK, x->k - first);
        operand a = stage_a(p, p->first_batch + batch, i, m, first, count);
        for (int64_t q = 0; q < n; q += width)
            p->kernels->multiply(m, count, a.at, a.row, a.k, panels + q * x->k + first * width, width, sum + q,
                                 TILE_COLUMNS, first > 0);
    }
    for (int64_t q = 0; q < m; q++)
        finish_row(p, p->first_batch + batch, i + q, p->first_column + j, n, sum + q * TILE_COLUMNS,
                   p->row + (int64_t)ls_team_thread_number() * TILE_COLUMNS);
}

static void choose_tile(product *p)
{
    p->tile_rows = TILE_ROWS;
    p->tile_columns = TILE_COLUMNS;
    for (;;) {
        p->row_tiles = ceil_div(p->args->m, p->tile_rows);
        p->column_tiles = ceil_div(p->columns, p->tile_columns);
        if (p->batches * p->row_tiles * p->column_tiles >= ENOUGH_TILES)
            return;
        if (p->tile_columns > LS_PRODUCT_MAX_WIDTH && p->columns > LS_PRODUCT_MAX_WIDTH)
            p->tile_columns /= 2;
        else if (p->tile_rows > 6 && p->args->m > 6)
            p->tile_rows /= 2;
        else
            return;
    }
}

/* On the team where there is enough to do (by shape alone; the bits are the same either way). */
static void run_items(product *p, bool large, int64_t items, ls_team_item f)
{
    if (large)
        ls_team_run(p->device->team, items, f, p);
    else
        for (int64_t item = 0; item < items; item++)
            f(p, item);
}

static void multiply_block(product *p)
{
    const ls_matmul_args *x = p->args;
    double work = (double)x->k * (double)p->columns * (double)p->batches;
    p->packed_batches = x->stride_b ? p->batches : 1;
    /* Packing an element costs about 8 multiply-adds. */
    run_items(p, work >= ENOUGH_WORK / 8, p->packed_batches * panels_of(p), pack_panel);
    choose_tile(p);
    run_items(p, work * (double)x->m >= ENOUGH_WORK, p->batches * p->row_tiles * p->column_tiles, multiply_tile);
}

static ls_status multiply_f32(ls_device *device, const ls_matmul_args *x, ls_arena *scratch)
{
    product p = {.device = device, .args = x, .kernels = ls_product_kernels_of(((ls_cpu *)device->self)->level)};
    if (x->bias && x->type_bias != LS_F32) {
        float *bias = ls_arena_array(scratch, float, x->n);
        if (bias)
            device->cast(device, x->type_bias, LS_F32, x->n, x->bias, bias);
        p.bias = bias;
    } else {
        p.bias = x->bias;
    }
    /* Blocks of B: whole batches while they fit, else columns of one (all batches where they share B). */
    int64_t matrix =
        (x->k ? x->k : 1) * ceil_div(x->n, LS_PRODUCT_MAX_WIDTH) * LS_PRODUCT_MAX_WIDTH * (int64_t)sizeof(float);
    int64_t batches = x->stride_b ? least(x->batch, BLOCK / matrix ? BLOCK / matrix : 1) : x->batch, columns = x->n;
    if (matrix > BLOCK) {
        columns = BLOCK / (int64_t)sizeof(float) / x->k / TILE_COLUMNS * TILE_COLUMNS;
        columns = columns ? least(columns, x->n) : TILE_COLUMNS;
    }
    const int64_t threads = ls_team_threads(device->team);
    p.tile = ls_arena_array(scratch, float, TILE_ROWS *TILE_COLUMNS *threads);
    p.row = ls_arena_array(scratch, float, TILE_COLUMNS *threads);
    p.staged = ls_arena_array(scratch, float, TILE_ROWS *LS_PRODUCT_CHUNK *threads);
    p.panels = ls_arena_array(scratch, float,
                              (x->stride_b ? batches : 1) * x->k * (least(columns, x->n) + LS_PRODUCT_MAX_WIDTH));
    ls_status status = ls_arena_status(scratch);
    if (status != LS_OK)
        return status;
    for (p.first_batch = 0; p.first_batch < x->batch; p.first_batch += batches)
        for (p.first_column = 0; p.first_column < x->n; p.first_column += columns) {
            p.batches = least(batches, x->batch - p.first_batch);
            p.columns = least(columns, x->n - p.first_column);
            multiply_block(&p);
        }
    return LS_OK;
}

typedef struct {
    ls_device *device;
    const ls_matmul_args *args;
} rows_f64;

/* One row of C, every sum in ascending k. */
static void multiply_row_f64(void *context, int64_t item)
{
    const rows_f64 *p = context;
    const ls_matmul_args *x = p->args;
    int64_t batch = item / x->m, i = item % x->m;
    const double *a = (const double *)x->a + batch * x->stride_a + (x->trans_a ? i : i * x->lda), *bias = x->bias;
    const double *b = (const double *)x->b + batch * x->stride_b;
    double *c = (double *)x->c + batch * x->stride_c + i * x->ldc;
    double *pre = x->pre ? (double *)x->pre + batch * x->stride_c + i * x->ldc : c;
    for (int64_t j = 0; j < x->n; j++) {
        double sum = 0;
        for (int64_t q = 0; q < x->k; q++)
            sum += a[x->trans_a ? q * x->lda : q] * b[x->trans_b ? j * x->ldb + q : q * x->ldb + j];
        if (x->accumulate)
            sum = c[j] + sum;
        pre[j] = bias ? sum + bias[j] : sum;
    }
    if (x->activation != LS_ACT_NONE)
        p->device->unary(p->device, activations[x->activation], LS_F64, x->n, 0, 0, pre, c);
    else if (pre != c)
        memcpy(c, pre, (size_t)x->n * sizeof *c);
}

static ls_status multiply(ls_device *device, const ls_matmul_args *args, ls_arena *scratch)
{
    if (args->type_ab == LS_F64) {
        rows_f64 rows = {device, args};
        ls_team_run(device->team, args->batch * args->m, multiply_row_f64, &rows);
        return LS_OK;
    }
    ls_mark mark = ls_arena_mark(scratch);
    ls_status status = multiply_f32(device, args, scratch);
    ls_arena_release(scratch, mark);
    return status;
}

ls_status ls_cpu_matmul(ls_device *device, const ls_matmul_args *args, ls_arena *scratch)
{
    if (!args->batch || !args->m || !args->n)
        return LS_OK;
    if (args->batch == 1 || args->stride_c)
        return multiply(device, args, scratch);
    ls_matmul_args one = *args; /* all batches add into one C: in ascending order */
    one.batch = 1;
    for (int64_t b = 0; b < args->batch; b++) {
        one.a = at(args->a, args->type_ab, b * args->stride_a);
        one.b = at(args->b, args->type_ab, b * args->stride_b);
        ls_status status = multiply(device, &one, scratch);
        if (status != LS_OK)
            return status;
        one.accumulate = true;
    }
    return LS_OK;
}
