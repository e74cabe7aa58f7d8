/* Entries that work row by row: reductions, top-k, softmax, norms, rotary positions. Rows never depend on one another;
 * sums over rows go over chunks of CHUNK_ROWS rows, each in ascending order, and then over the chunks in ascending order. */
#include "tensor/cpu/cpu.h"

#include <math.h>
#include <string.h>

enum { CHUNK_ROWS = 64, COLUMNS = 256, PARTIALS = 1024 };

typedef struct {
    const ls_kernels *kernels;
    size_t size, real_size;
    int op;
    bool flag, flag2, accumulate; /* log or rms or interleaved; gain_real or inverse */
    int64_t rows, length, inner, heads, k;
    double number; /* eps */
    const double *frequency;
    const char *x, *y, *dy, *gain, *bias, *stats;
    char *to, *to_stats, *dgain, *dbias; /* dgain, dbias: [chunks, length] reals */
    int32_t *index;
    const int32_t *position;
    double *partial;
} job;

static job job_of(ls_device *device, ls_type type, int64_t rows, int64_t length)
{
    return (job){.kernels = ls_cpu_kernels_of(device, type), .size = ls_type_size(type),
                 .real_size = type == LS_F64 ? sizeof(double) : sizeof(float), .rows = rows, .length = length, .inner = 1};
}

/* As many rows as make up one piece. */
static void run_rows(ls_device *device, int64_t rows, int64_t length, ls_cpu_range f, job *j)
{
    ls_cpu_ranges(device, rows, LS_CPU_PIECE / (length > 0 ? length : 1), length, f, j);
}

/* ---- reductions ---- */

static double nothing_yet(ls_reduce op)
{
    return op == LS_REDUCE_MAX ? -INFINITY : op == LS_REDUCE_MIN ? INFINITY : 0;
}

/* The next piece's partial result joins those before it; a NaN wins over every extreme. */
static double join(ls_reduce op, double total, double partial)
{
    if (op == LS_REDUCE_MAX)
        return partial > total || partial != partial ? partial : total;
    if (op == LS_REDUCE_MIN)
        return partial < total || partial != partial ? partial : total;
    return total + partial;
}

static double row_piece(const job *j, int64_t row, int64_t piece)
{
    int64_t begin = piece * LS_CHUNK, n = j->length - begin;
    return j->kernels->reduce_partial((ls_reduce)j->op, n < LS_CHUNK ? n : LS_CHUNK,
                                      j->x + (size_t)(row * j->length + begin) * j->size);
}

static void reduce_rows_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    for (int64_t row = begin; row < end; row++) {
        double total = nothing_yet((ls_reduce)j->op);
        for (int64_t piece = 0; piece * LS_CHUNK < j->length; piece++)
            total = join((ls_reduce)j->op, total, row_piece(j, row, piece));
        j->kernels->reduce_store((ls_reduce)j->op, j->length, total, j->to + (size_t)row * j->size);
    }
}

static void reduce_pieces_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    for (int64_t piece = begin; piece < end; piece++)
        j->partial[piece] = row_piece(j, 0, piece);
}

/* One long row on the whole team: the same pieces, joined in the same order. */
static void reduce_long_row(ls_device *device, job *j, int64_t row)
{
    double partial[PARTIALS], total = nothing_yet((ls_reduce)j->op);
    const int64_t pieces = (j->length + LS_CHUNK - 1) / LS_CHUNK;
    for (int64_t first = 0; first < pieces; first += PARTIALS) {
        int64_t count = pieces - first < PARTIALS ? pieces - first : PARTIALS;
        job part = *j;
        part.x += (size_t)(row * j->length + first * LS_CHUNK) * j->size;
        part.length = j->length - first * LS_CHUNK;
        part.partial = partial;
        ls_cpu_ranges(device, count, 4, LS_CHUNK, reduce_pieces_range, &part);
        for (int64_t i = 0; i < count; i++)
            total = join((ls_reduce)j->op, total, partial[i]);
    }
    j->kernels->reduce_store((ls_reduce)j->op, j->length, total, j->to + (size_t)row * j->size);
}

/* Items: blocks of COLUMNS columns of one of the outer matrices [length, inner]. */
static void reduce_columns_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    const int64_t blocks = (j->inner + COLUMNS - 1) / COLUMNS;
    for (int64_t item = begin; item < end; item++) {
        int64_t outer = item / blocks, from = item % blocks * COLUMNS, to = from + COLUMNS;
        j->kernels->reduce_columns((ls_reduce)j->op, j->length, j->inner, from, to < j->inner ? to : j->inner,
                                   j->x + (size_t)(outer * j->length * j->inner) * j->size,
                                   j->to + (size_t)(outer * j->inner) * j->size);
    }
}

/* How many blocks of columns make up a piece, and the cost of one. */
static void run_columns(ls_device *device, int64_t outer, ls_cpu_range f, job *j)
{
    const int64_t blocks = (j->inner + COLUMNS - 1) / COLUMNS;
    const int64_t cost = j->length * (j->inner < COLUMNS ? j->inner : COLUMNS);
    ls_cpu_ranges(device, outer * blocks, LS_CPU_PIECE / (cost > 0 ? cost : 1), cost, f, j);
}

void ls_cpu_reduce(ls_device *device, ls_reduce op, ls_type type, int64_t outer, int64_t length, int64_t inner,
                   const void *x, void *y)
{
    job j = job_of(device, type, outer, length);
    j.op = (int)op, j.inner = inner, j.x = x, j.to = y;
    if (inner != 1 && length > 0)
        run_columns(device, outer, reduce_columns_range, &j);
    else if (inner != 1)
        for (int64_t i = 0; i < outer * inner; i++)
            j.kernels->reduce_store(op, 0, nothing_yet(op), j.to + (size_t)i * j.size);
    else if (length <= LS_CPU_PIECE)
        run_rows(device, outer, length, reduce_rows_range, &j);
    else
        for (int64_t row = 0; row < outer; row++)
            reduce_long_row(device, &j, row);
}

static void reduce_backward_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    const int64_t blocks = (j->inner + COLUMNS - 1) / COLUMNS;
    for (int64_t item = begin; item < end; item++) {
        int64_t outer = item / blocks, from = item % blocks * COLUMNS, to = from + COLUMNS;
        const size_t whole = (size_t)(outer * j->length * j->inner) * j->size, part = (size_t)(outer * j->inner) * j->size;
        j->kernels->reduce_columns_backward((ls_reduce)j->op, j->length, j->inner, from, to < j->inner ? to : j->inner,
                                            j->x + whole, j->y + part, j->dy + part, j->to + whole);
    }
}

void ls_cpu_reduce_backward(ls_device *device, ls_reduce op, ls_type type, int64_t outer, int64_t length, int64_t inner,
                            const void *x, const void *y, const void *dy, void *dx)
{
    job j = job_of(device, type, outer, length);
    j.op = (int)op, j.inner = inner, j.x = x, j.y = y, j.dy = dy, j.to = dx;
    run_columns(device, outer, reduce_backward_range, &j);
}

static void top_k_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    for (int64_t row = begin; row < end; row++)
        j->kernels->top_k(j->length, j->k, j->x + (size_t)(row * j->length) * j->size,
                          j->to ? j->to + (size_t)(row * j->k) * j->size : NULL, j->index + row * j->k);
}

void ls_cpu_top_k(ls_device *device, ls_type type, int64_t rows, int64_t length, int64_t k, const void *x, void *values,
                  int32_t *index)
{
    job j = job_of(device, type, rows, length);
    j.k = k, j.x = x, j.to = values, j.index = index;
    run_rows(device, rows, length, top_k_range, &j);
}

/* ---- softmax ---- */

static void softmax_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    const size_t at = (size_t)(begin * j->length) * j->size;
    j->kernels->softmax(j->flag, end - begin, j->length, j->x + at, j->to + at);
}

void ls_cpu_softmax(ls_device *device, ls_type type, bool log, int64_t rows, int64_t length, const void *x, void *y)
{
    job j = job_of(device, type, rows, length);
    j.flag = log, j.x = x, j.to = y;
    run_rows(device, rows, length, softmax_range, &j);
}

static void softmax_backward_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    const size_t at = (size_t)(begin * j->length) * j->size;
    j->kernels->softmax_backward(j->flag, end - begin, j->length, j->y + at, j->dy + at, j->to + at);
}

void ls_cpu_softmax_backward(ls_device *device, ls_type type, bool log, int64_t rows, int64_t length, const void *y,
                             const void *dy, void *dx)
{
    job j = job_of(device, type, rows, length);
    j.flag = log, j.y = y, j.dy = dy, j.to = dx;
    run_rows(device, rows, length, softmax_backward_range, &j);
}

/* ---- norms ---- */

static void norm_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    const size_t at = (size_t)(begin * j->length) * j->size;
    j->kernels->norm(j->flag, j->flag2, end - begin, j->length, j->number, j->x + at, j->gain, j->bias, j->to + at,
                     j->to_stats + (size_t)(2 * begin) * j->real_size);
}

void ls_cpu_norm(ls_device *device, ls_type type, ls_type gain_type, bool rms, int64_t rows, int64_t width, double eps,
                 const void *x, const void *gain, const void *bias, void *y, void *stats)
{
    job j = job_of(device, type, rows, width);
    j.flag = rms, j.flag2 = !ls_type_is_narrow(gain_type), j.number = eps;
    j.x = x, j.gain = gain, j.bias = bias, j.to = y, j.to_stats = stats;
    run_rows(device, rows, width, norm_range, &j);
}

/* Items are chunks of rows: dx of them, and their part of dgain and dbias. */
static void norm_backward_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    for (int64_t chunk = begin; chunk < end; chunk++) {
        int64_t row = chunk * CHUNK_ROWS, rows = j->rows - row < CHUNK_ROWS ? j->rows - row : CHUNK_ROWS;
        const size_t at = (size_t)(row * j->length) * j->size, part = (size_t)(chunk * j->length) * j->real_size;
        j->kernels->norm_backward(j->flag, j->flag2, rows, j->length, j->x + at, j->gain,
                                  j->stats + (size_t)(2 * row) * j->real_size, j->dy + at, j->to + at,
                                  j->dgain ? j->dgain + part : NULL, j->dbias ? j->dbias + part : NULL);
    }
}

static void sum_rows_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    for (int64_t chunk = begin; chunk < end; chunk++) {
        int64_t row = chunk * CHUNK_ROWS, rows = j->rows - row < CHUNK_ROWS ? j->rows - row : CHUNK_ROWS;
        j->kernels->sum_rows(rows, j->length, 0, j->length, j->x + (size_t)(row * j->length) * j->size,
                             j->dgain + (size_t)(chunk * j->length) * j->real_size);
    }
}

typedef struct {
    const ls_kernels *reals;
    int64_t chunks, width;
    size_t size;
    char *partial, *y;
} chunk_sum;

/* Columns [begin, end): y += ((chunk 0 + chunk 1) + chunk 2) + ... */
static void chunk_sum_range(void *context, int64_t begin, int64_t end)
{
    const chunk_sum *c = context;
    char *sum = c->partial + (size_t)begin * c->size;
    for (int64_t chunk = 1; chunk < c->chunks; chunk++)
        c->reals->add_to(end - begin, c->partial + (size_t)(chunk * c->width + begin) * c->size, sum);
    c->reals->add_to(end - begin, sum, c->y + (size_t)begin * c->size);
}

static void add_chunks(ls_device *device, const job *j, int64_t chunks, char *partial, void *y)
{
    chunk_sum c = {ls_cpu_kernels_of(device, j->real_size == sizeof(double) ? LS_F64 : LS_F32), chunks, j->length,
                   j->real_size, partial, y};
    ls_cpu_ranges(device, j->length, COLUMNS, chunks, chunk_sum_range, &c);
}

void ls_cpu_norm_backward(ls_device *device, ls_type type, ls_type gain_type, bool rms, int64_t rows, int64_t width,
                          const void *x, const void *gain, const void *stats, const void *dy, void *dx, void *dgain,
                          void *dbias, ls_arena *scratch)
{
    const int64_t chunks = (rows + CHUNK_ROWS - 1) / CHUNK_ROWS;
    job j = job_of(device, type, rows, width);
    j.flag = rms, j.flag2 = !ls_type_is_narrow(gain_type);
    j.x = x, j.gain = gain, j.stats = stats, j.dy = dy, j.to = dx;
    if (chunks == 0)
        return;
    ls_mark mark = ls_arena_mark(scratch);
    const size_t bytes = (size_t)(chunks * width) * j.real_size;
    j.dgain = dgain ? ls_arena_take(scratch, bytes) : NULL;
    j.dbias = dbias ? ls_arena_take(scratch, bytes) : NULL;
    if ((!dgain || j.dgain) && (!dbias || j.dbias)) { /* else sticky in the arena */
        ls_cpu_ranges(device, chunks, 1, CHUNK_ROWS * width, norm_backward_range, &j);
        if (dgain)
            add_chunks(device, &j, chunks, j.dgain, dgain);
        if (dbias)
            add_chunks(device, &j, chunks, j.dbias, dbias);
    }
    ls_arena_release(scratch, mark);
}

void ls_cpu_sum_rows(ls_device *device, ls_type type, int64_t rows, int64_t width, const void *x, void *y, ls_arena *scratch)
{
    const int64_t chunks = (rows + CHUNK_ROWS - 1) / CHUNK_ROWS;
    job j = job_of(device, type, rows, width);
    j.x = x;
    if (chunks == 0)
        return;
    ls_mark mark = ls_arena_mark(scratch);
    j.dgain = ls_arena_take(scratch, (size_t)(chunks * width) * j.real_size);
    if (j.dgain) { /* else sticky in the arena */
        ls_cpu_ranges(device, chunks, 1, CHUNK_ROWS * width, sum_rows_range, &j);
        add_chunks(device, &j, chunks, j.dgain, y);
    }
    ls_arena_release(scratch, mark);
}

/* ---- rotary positions ---- */

static void rotary_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    const size_t at = (size_t)(begin * j->heads * j->length) * j->size;
    j->kernels->rotary(end - begin, j->heads, j->length, j->frequency, j->flag, j->flag2, j->position + begin, j->x + at,
                       j->to + at, j->accumulate);
}

void ls_cpu_rotary(ls_device *device, ls_type type, int64_t rows, int64_t heads, int64_t width, const double *frequency,
                   bool interleaved, bool inverse, const int32_t *position, const void *x, void *y, bool accumulate)
{
    job j = job_of(device, type, rows, width);
    j.heads = heads, j.frequency = frequency, j.flag = interleaved, j.flag2 = inverse;
    j.position = position, j.x = x, j.to = y, j.accumulate = accumulate;
    run_rows(device, rows, heads * width, rotary_range, &j);
}
