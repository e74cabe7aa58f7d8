/* Matrix products: C[b] (+)= op(A[b]) op(B[b]), + bias, activation (ls_matmul_args in tensor/device.h).
 *
 *     pack      the right side, f32, in panels of a few columns that the inner kernel streams   (parallel over panels)
 *     multiply  each tile of C over all k, chunk by chunk, then bias and activation             (parallel over tiles)
 *
 *              n ->  |panel|panel|...                 c = (s_0 + s_1) + s_2 ...,  s_i over LS_PRODUCT_CHUNK of k,
 *          k  +------------------+                    one chain each (product.h); c f32 to be added to is s_(-1)
 *             |     right        | chunk 0
 *             |                  | chunk 1            Tiles are cut by shape alone, but could be cut anyhow: no bit of
 *      m +--+ +==================+                    an element depends on its tile. So a row gives the same bits
 *     left  | | tile | tile | .. |                    whatever other rows are in the call (packed rows, decoding).
 *
 * Packing costs as much as some ten multiply-adds an element, so the smaller operand goes to the right: where that is
 * A, C^T = op(B)^T op(A)^T is computed (a product commutes, so the bits are the same) and each tile turned on its way
 * to C. The left side is read where it lies, or its numbers are copied together or widened, tile by tile; while one
 * chunk is multiplied, the lines of the next are brought into the second cache. bf16 and f16 are widened when packed, bf16 multiplied in pairs
 * where the processor can (product.h), and rounded once, at the end. The right side is packed at most BLOCK bytes at a time, so that a large vocabulary needs no copy of
 * its matrix. f64 serves gradient checks: plain loops. */
#include "tensor/cpu/counts.h"
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/few_rows.h"
#include "tensor/cpu/product.h"

#include <string.h>

enum {
    TILE_ROWS = 48,        /* few enough that the threads of a team end together */
    TILE_COLUMNS = 512,    /* the left side's chunk (48 KiB) and the sums (96 KiB) stay in the second cache */
    PANELS = 8,            /* packed by one item */
    ENOUGH_TILES = 16,     /* below this tiles are made smaller, to feed a team */
    ENOUGH_WORK = 1 << 18, /* multiply-adds worth waking a team: some 5 us of one core */
    BLOCK = 8 << 20,       /* bytes of the packed side at once */
    PAGE = 4096,           /* lines that are multiples of it apart share few places of a cache */
};

/* An operand as [rows, k]. */
typedef struct {
    const void *data;
    int64_t ld, stride; /* elements to the next stored row, to the next matrix */
    bool along_k;       /* stored [rows, k], else [k, rows] */
} side;

typedef struct {
    ls_device *device;
    const ls_matmul_args *args;
    const ls_product_kernels *kernels;
    int64_t k; /* in the kernels' units, as all that is called first, count or chunk here */
    side left, right;
    int64_t rows, all_columns; /* of the product: m and n, or n and m */
    bool turned;               /* the product is C^T */
    const float *bias;         /* f32, NULL: none */
    float *panels;
    bool packed;    /* the panels are there already */
    int64_t chunks; /* of k */
    int64_t first_batch, batches; /* in this block */
    int64_t first_column, columns;
    int64_t packed_batches; /* 1 where all batches share the right side */
    int64_t tile_columns, row_tiles, column_tiles;
    float *tile, *row, *staged; /* one for each thread */
} product;

static const char *at(const void *base, ls_type type, int64_t element)
{
    return (const char *)base + element * (int64_t)ls_type_size(type);
}

/* Its row, from unit k on. */
static const char *matrix(const product *p, const side *x, int64_t batch, int64_t row, int64_t k)
{
    k *= p->kernels->unit;
    return at(x->data, p->args->type_ab, batch * x->stride + (x->along_k ? row * x->ld + k : k * x->ld + row));
}

/* Numbers along k in units [first, first + count): the last unit may not be full. */
static int64_t numbers(const product *p, int64_t first, int64_t count)
{
    return least(count * p->kernels->unit, p->args->k - first * p->kernels->unit);
}

/* ---- the right side ---- */

static int64_t panels_of(const product *p)
{
    return ceil_div(p->columns, p->kernels->width);
}

/* [batch][chunk][panel][k of the chunk][width]: the panels of a chunk follow each other, as they are read. */
static float *panel(const product *p, int64_t batch, int64_t number, int64_t first, int64_t count)
{
    const int64_t width = p->kernels->width, panels = panels_of(p);
    return p->panels + (batch * panels * p->k + panels * first + number * count) * width;
}

/* One chunk of PANELS panels. Stored rows of the right side that run over them are cut a few at a time, so that a line read
 * is a line used up. */
static void pack_panels(void *context, int64_t item)
{
    enum { AT_ONCE = 16 };
    const product *p = context;
    const ls_matmul_args *x = p->args;
    const int64_t width = p->kernels->width, panels = panels_of(p), groups = ceil_div(panels, PANELS);
    const int64_t batch = item / groups / p->chunks, begin = item % groups * PANELS, end = least(begin + PANELS, panels);
    const int64_t first = item / groups % p->chunks * LS_PRODUCT_CHUNK, count = least(LS_PRODUCT_CHUNK, p->k - first);
    const int64_t step = p->right.along_k ? count : AT_ONCE;
    for (int64_t k = 0; k < count; k += step)
        for (int64_t number = begin; number < end; number++)
            p->kernels->pack(x->type_ab, p->right.along_k, numbers(p, first + k, least(step, count - k)), least(width, p->columns - number * width),
                             matrix(p, &p->right, p->first_batch + batch, p->first_column + number * width, first + k),
                             p->right.ld, panel(p, batch, number, first, count) + k * width);
}

/* ---- the left side ---- */

/* What the kernel reads: rows [i, i + m) of the left side, units [first, first + count). */
typedef struct {
    const float *at;
    int64_t row, k, strip; /* distances in units */
} operand;

/* Its rows are whole units as they lie. */
static bool in_place(const product *p)
{
    const int64_t unit = p->kernels->unit;
    return p->left.along_k && (int64_t)ls_type_size(p->args->type_ab) * unit == (int64_t)sizeof(float) && p->args->k % unit == 0 &&
           p->left.ld % unit == 0 && p->left.stride % unit == 0 && (uintptr_t)p->left.data % sizeof(float) == 0;
}

/* Rows of the left side to units, one after the other. */
static void copy_rows(const product *p, int64_t m, int64_t count, int64_t first, const char *from, float *copy)
{
    const ls_type type = p->args->type_ab;
    const int64_t k = numbers(p, first, count), row = p->left.ld * (int64_t)ls_type_size(type);
    for (int64_t q = 0; q < m; q++, from += row, copy += count) {
        if (p->kernels->unit == 1) {
            p->device->cast(p->device, type, LS_F32, k, from, copy);
            continue;
        }
        copy[count - 1] = 0; /* of which the row may fill a half */
        memcpy(copy, from, (size_t)k * ls_type_size(type));
    }
}

static operand stage(const product *p, int64_t batch, int64_t i, int64_t m, int64_t first, int64_t count)
{
    const ls_type type = p->args->type_ab;
    const int64_t ld = p->left.ld, strip = p->kernels->rows;
    const char *from = matrix(p, &p->left, batch, i, first);
    if (in_place(p))
        return (operand){(const float *)from, ld / p->kernels->unit, 1, strip * ld / p->kernels->unit};
    float *copy = p->staged + (int64_t)ls_team_thread_number() * TILE_ROWS * LS_PRODUCT_CHUNK;
    if (p->left.along_k) {
        copy_rows(p, m, count, first, from, copy);
        return (operand){copy, count, 1, strip * count};
    }
    const bool crowded = ld * (int64_t)sizeof(float) % PAGE == 0;
    if (type == LS_F32 && !crowded)
        return (operand){(const float *)from, 1, ld, strip};
    p->kernels->pack_lines(type, m, numbers(p, first, count), from, ld, copy, TILE_ROWS);
    return (operand){copy, 1, TILE_ROWS, strip};
}

/* What panel `number` of a chunk brings nearer: of the first chunk's first pass, where the left side is read in place, its
 * own next strip; else its share of the next chunk. */
static ls_product_ahead look_ahead(const product *p, int64_t batch, int64_t i, int64_t m, int64_t first, int64_t number,
                                   int64_t panels)
{
    const ls_type type = p->args->type_ab;
    const int64_t row = p->left.ld * (int64_t)ls_type_size(type), strip = p->kernels->rows;
    const int64_t chunk_k = LS_PRODUCT_CHUNK * p->kernels->unit, chunk_lines = chunk_k * (int64_t)ls_type_size(type) / 64;
    if (first == 0 && number == 0 && in_place(p))
        return (ls_product_ahead){matrix(p, &p->left, batch, i + strip, 0), strip, row, chunk_lines, strip * row};
    const int64_t next = first + LS_PRODUCT_CHUNK;
    if (next >= p->k)
        return (ls_product_ahead){0};
    if (p->left.along_k) {
        const int64_t lines = ceil_div(chunk_lines, panels);
        if (number * lines >= chunk_lines)
            return (ls_product_ahead){0};
        return (ls_product_ahead){matrix(p, &p->left, batch, i, next) + number * lines * 64, strip, row, lines, strip * row};
    }
    const int64_t blocks = ceil_div(m, strip), rows = ceil_div(chunk_k, panels * blocks), from = number * blocks * rows;
    if (from >= chunk_k)
        return (ls_product_ahead){0};
    return (ls_product_ahead){matrix(p, &p->left, batch, i, next) + from * row, rows, row, m * (int64_t)ls_type_size(type) / 64 + 1,
                              rows * row};
}

/* ---- tiles ---- */

void ls_cpu_activate(ls_device *device, const ls_matmul_args *x, int64_t element, int64_t n)
{
    void *c = (void *)at(x->c, x->type_c, element);
    const void *pre = x->pre ? at(x->pre, x->type_c, element) : NULL;
    if (x->activation != LS_ACT_NONE)
        device->unary(device, ls_activation_function(x->activation), x->type_c, n, 0, 0, pre ? pre : c, c);
    else if (pre)
        memcpy(c, pre, (size_t)n * ls_type_size(x->type_c));
}

/* The finished sums of one row of a tile go to C: add what is there in bf16 or f16, bias, round, activation. */
static void finish_row(const product *p, int64_t batch, int64_t i, int64_t j, int64_t n, float *sum, float *row)
{
    const ls_matmul_args *x = p->args;
    int64_t element = batch * x->stride_c + i * x->ldc + j;
    void *c = (void *)at(x->c, x->type_c, element), *pre = x->pre ? (void *)at(x->pre, x->type_c, element) : NULL;
    if (x->accumulate && x->type_c != LS_F32) {
        p->device->cast(p->device, x->type_c, LS_F32, n, c, row);
        for (int64_t q = 0; q < n; q++)
            sum[q] = row[q] + sum[q];
    }
    if (p->bias)
        for (int64_t q = 0; q < n; q++)
            sum[q] += p->bias[j + q];
    void *rounded = pre ? pre : c;
    if (x->type_c == LS_F32)
        memcpy(rounded, sum, (size_t)n * sizeof *sum);
    else
        p->device->cast(p->device, LS_F32, x->type_c, n, sum, rounded);
    ls_cpu_activate(p->device, x, element, n);
}

/* A tile of C^T: its columns are rows of C, from `j` on, of which it holds m numbers from `i` on. */
static void finish_turned(const product *p, int64_t batch, int64_t i, int64_t m, int64_t j, int64_t n, const float *sum)
{
    const int64_t thread = ls_team_thread_number();
    float *lines = p->staged + thread * TILE_ROWS * LS_PRODUCT_CHUNK; /* the left side is done with */
    for (int64_t q = 0; q < n; q += LS_PRODUCT_TURN) {
        p->kernels->turn(m, sum + q, TILE_COLUMNS, lines, TILE_ROWS);
        for (int64_t r = 0; r < least(LS_PRODUCT_TURN, n - q); r++)
            finish_row(p, batch, j + q + r, i, m, lines + r * TILE_ROWS, p->row + thread * TILE_COLUMNS);
    }
}

/* C itself can take the sums of a tile's whole panels: nothing is left to do with them. */
static bool sums_in_place(const product *p)
{
    const ls_matmul_args *x = p->args;
    return !p->turned && x->type_c == LS_F32 && !p->bias && !x->pre && x->activation == LS_ACT_NONE && x->k > 0;
}

/* The kernel rounds the sums of whole panels itself, straight from its registers, to where it may have to add them. */
static bool rounded_in_place(const product *p)
{
    const ls_matmul_args *x = p->args;
    return !p->turned && x->type_c == LS_BF16 && p->kernels->multiply_strips_last && x->k > 0 && !(x->accumulate && x->pre);
}

/* Where C, f32, is added to, a tile's sums begin with what is there: C's numbers of the tile's columns from `from` on.
 */
static void begin_sums(const product *p, int64_t m, int64_t n, int64_t from, const float *c, float *sum)
{
    const int64_t ldc = p->args->ldc;
    if (!p->turned) {
        for (int64_t r = 0; r < m; r++)
            memcpy(sum + r * TILE_COLUMNS + from, c + r * ldc + from, (size_t)(n - from) * sizeof *sum);
        return;
    }
    int64_t r = 0;
    for (; r + LS_PRODUCT_TURN <= m; r += LS_PRODUCT_TURN)
        p->kernels->turn(n, c + r, ldc, sum + r * TILE_COLUMNS, TILE_COLUMNS);
    for (; r < m; r++)
        for (int64_t q = 0; q < n; q++)
            sum[r * TILE_COLUMNS + q] = c[q * ldc + r];
}

/* Whole strips, as even as may be. */
static int64_t first_row(const product *p, int64_t tile)
{
    const int64_t strip = p->kernels->rows;
    return least(ceil_div(p->rows, strip) * tile / p->row_tiles * strip, p->rows);
}

static void multiply_tile(void *context, int64_t item)
{
    const product *p = context;
    const ls_matmul_args *x = p->args;
    const int64_t width = p->kernels->width;
    const int64_t tile_column = item % p->column_tiles, tile_row = item / p->column_tiles % p->row_tiles;
    const int64_t in_block = item / (p->column_tiles * p->row_tiles), batch = p->first_batch + in_block;
    const int64_t i = first_row(p, tile_row), m = first_row(p, tile_row + 1) - i;
    const int64_t j = tile_column * p->tile_columns, n = least(p->tile_columns, p->columns - j);
    const int64_t column = p->first_column + j, thread = ls_team_thread_number(), panels = ceil_div(n, width);
    float *sum = p->tile + thread * TILE_ROWS * TILE_COLUMNS;
    float *c = (float *)x->c + batch * x->stride_c + (p->turned ? column * x->ldc + i : i * x->ldc + column);
    const int64_t whole = n / width * width, direct = sums_in_place(p) ? whole : 0; /* columns whose sums are kept in C */
    const int64_t rounded = rounded_in_place(p) ? whole : 0;
    uint16_t *narrow = (uint16_t *)(x->pre ? x->pre : x->c) + batch * x->stride_c + i * x->ldc + column;
    const bool begun = x->accumulate && x->type_c == LS_F32;
    if (begun)
        begin_sums(p, m, n, direct, c, sum);
    if (!x->k && !begun)
        memset(sum, 0, TILE_ROWS * TILE_COLUMNS * sizeof *sum);
    for (int64_t first = 0; first < p->k; first += LS_PRODUCT_CHUNK) { /* ascending: the order of the chunks' sums */
        const int64_t count = least(LS_PRODUCT_CHUNK, p->k - first);
        const operand a = stage(p, batch, i, m, first, count);
        const float *b = panel(p, p->packed_batches > 1 ? in_block : 0, j / width, first, count);
        for (int64_t q = 0; q < panels; q++) {
            ls_product_ahead ahead = look_ahead(p, batch, i, m, first, q, panels);
            const bool in_c = q * width < direct;
            if (first + count == p->k && q * width < rounded) {
                const ls_product_last last = {.sums = first > 0 ? sum + q * width : NULL, .sums_row = TILE_COLUMNS, .c = narrow + q * width,
                                              .bias = p->bias ? p->bias + column + q * width : NULL, .ldc = x->ldc, .add = x->accumulate};
                p->kernels->multiply_strips_last(m, count, a.at, a.row, a.k, a.strip, b + q * count * width, &last, &ahead);
                continue;
            }
            p->kernels->multiply_strips(m, count, a.at, a.row, a.k, a.strip, b + q * count * width,
                                        (in_c ? c : sum) + q * width, in_c ? x->ldc : TILE_COLUMNS, first > 0 || begun,
                                        &ahead);
        }
    }
    if (p->turned)
        finish_turned(p, batch, i, m, column, n, sum);
    for (int64_t q = 0; q < m && rounded; q++)
        ls_cpu_activate(p->device, x, batch * x->stride_c + (i + q) * x->ldc + column, rounded);
    const int64_t done = direct + rounded; /* one of them is 0 */
    for (int64_t q = 0; q < m && done < n && !p->turned; q++)
        finish_row(p, batch, i + q, column + done, n - done, sum + q * TILE_COLUMNS + done, p->row + thread * TILE_COLUMNS);
}

/* Of parts as even as may be, none above `most`: always whole units (a tile begins at a strip and a panel), so at least one. */
static int64_t even_part(int64_t all, int64_t most, int64_t unit)
{
    most = most < unit ? unit : most / unit * unit;
    return least(ceil_div(ceil_div(all, ceil_div(all, most)), unit) * unit, most);
}

/* A few row tiles more, where each thread then has as many tiles as the next: else one waits for the other's last. */
static int64_t shared_evenly(const product *p, int64_t row_tiles)
{
    const int64_t threads = ls_team_threads(p->device->team), strips = ceil_div(p->rows, p->kernels->rows);
    for (int64_t more = row_tiles; more < row_tiles + threads && more <= strips; more++)
        if (p->batches * more * p->column_tiles % threads == 0)
            return more;
    return row_tiles;
}

static void choose_tile(product *p)
{
    const int64_t strip = p->kernels->rows, width = LS_PRODUCT_MAX_WIDTH;
    int64_t rows = even_part(p->rows, TILE_ROWS, strip);
    p->tile_columns = even_part(p->columns, TILE_COLUMNS, width);
    for (;;) {
        p->row_tiles = ceil_div(p->rows, rows);
        p->column_tiles = ceil_div(p->columns, p->tile_columns);
        if (p->batches * p->row_tiles * p->column_tiles >= ENOUGH_TILES)
            break;
        if (rows > 4 * strip)
            rows = even_part(p->rows, rows / 2, strip);
        else if (p->tile_columns > 2 * width)
            p->tile_columns = even_part(p->columns, p->tile_columns / 2, width);
        else if (rows > strip)
            rows = even_part(p->rows, rows / 2, strip);
        else if (p->tile_columns > width)
            p->tile_columns = width;
        else
            break;
    }
    p->row_tiles = shared_evenly(p, p->row_tiles);
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
    const double work = (double)p->args->k * (double)p->columns * (double)p->batches;
    p->packed_batches = p->right.stride ? p->batches : 1;
    /* Packing an element costs about 8 multiply-adds. */
    if (!p->packed)
        run_items(p, work >= ENOUGH_WORK / 8, p->packed_batches * p->chunks * ceil_div(panels_of(p), PANELS), pack_panels);
    choose_tile(p);
    run_items(p, work * (double)p->rows >= ENOUGH_WORK, p->batches * p->row_tiles * p->column_tiles, multiply_tile);
}

/* Bytes of `columns` of a right side as panels, with k in units. */
static int64_t packed_bytes(const product *p, int64_t columns)
{
    return p->k * ceil_div(columns, LS_PRODUCT_MAX_WIDTH) * LS_PRODUCT_MAX_WIDTH * (int64_t)sizeof(float);
}

/* Weights on the right whose panels are kept (held.h) are packed once, whatever their size beside A's. */
static bool held_on_the_right(product *p)
{
    const ls_matmul_args *x = p->args;
    const int64_t bytes = packed_bytes(p, x->n);
    if (!x->weights_b || x->batch != 1 || bytes > BLOCK || bytes == 0)
        return false;
    const ls_held_side held = {x->b, x->n, x->k, x->ldb, x->type_ab, x->trans_b};
    p->panels = ls_held_panels(((const ls_cpu *)p->device->self)->held, &held, (size_t)bytes, &p->packed);
    return p->panels;
}

/* Which operand is packed: by what packing, copying of lines and turning cost. Changes no bit. */
static void choose_sides(product *p)
{
    const ls_matmul_args *x = p->args;
    const side a = {x->a, x->lda, x->stride_a, !x->trans_a}, b = {x->b, x->ldb, x->stride_b, x->trans_b};
    const double of_a = (double)x->m * (double)x->k, of_b = (double)x->n * (double)x->k;
    const double straight = of_b + (a.along_k ? 0 : 0.5 * of_a * (double)ceil_div(x->n, TILE_COLUMNS));
    const double turned = of_a + (b.along_k ? 0 : 0.5 * of_b * (double)ceil_div(x->m, TILE_COLUMNS)) +
                          0.5 * (double)x->m * (double)x->n;
    p->turned = !held_on_the_right(p) && x->batch == 1 && turned < straight;
    p->left = p->turned ? b : a;
    p->right = p->turned ? a : b;
    p->rows = p->turned ? x->n : x->m;
    p->all_columns = p->turned ? x->m : x->n;
}

static ls_status multiply_tiles(ls_device *device, const ls_matmul_args *x, ls_arena *scratch)
{
    product p = {.device = device, .args = x, .kernels = ls_product_kernels_for(((ls_cpu *)device->self)->level, x->type_ab)};
    if (x->bias && x->type_bias != LS_F32) {
        float *bias = ls_arena_array(scratch, float, x->n);
        if (bias)
            device->cast(device, x->type_bias, LS_F32, x->n, x->bias, bias);
        p.bias = bias;
    } else {
        p.bias = x->bias;
    }
    p.k = ceil_div(x->k, p.kernels->unit);
    p.chunks = ceil_div(p.k, LS_PRODUCT_CHUNK);
    choose_sides(&p);
    /* Blocks of the right side: whole batches while they fit, else columns of one (all batches where they share it). */
    const int64_t all = p.all_columns, k = p.k ? p.k : 1, bytes = p.k ? packed_bytes(&p, all) : 1;
    int64_t batches = p.right.stride ? least(x->batch, BLOCK / bytes ? BLOCK / bytes : 1) : x->batch, columns = all;
    if (bytes > BLOCK) {
        columns = BLOCK / (int64_t)sizeof(float) / k / TILE_COLUMNS * TILE_COLUMNS;
        columns = columns ? least(columns, all) : TILE_COLUMNS;
    }
    const int64_t threads = ls_team_threads(device->team);
    p.tile = ls_arena_array(scratch, float, TILE_ROWS *TILE_COLUMNS *threads);
    p.row = ls_arena_array(scratch, float, TILE_COLUMNS *threads);
    p.staged = ls_arena_array(scratch, float, TILE_ROWS *LS_PRODUCT_CHUNK *threads);
    if (!p.panels)
        p.panels = ls_arena_array(scratch, float,
                                  (p.right.stride ? batches : 1) * p.k * (least(columns, all) + LS_PRODUCT_MAX_WIDTH));
    ls_status status = ls_arena_status(scratch);
    if (status != LS_OK)
        return status;
    for (p.first_batch = 0; p.first_batch < x->batch; p.first_batch += batches)
        for (p.first_column = 0; p.first_column < all; p.first_column += columns) {
            p.batches = least(batches, x->batch - p.first_batch);
            p.columns = least(columns, all - p.first_column);
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
        p->device->unary(p->device, ls_activation_function(x->activation), LS_F64, x->n, 0, 0, pre, c);
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
    ls_status status = ls_few_rows_fit(((ls_cpu *)device->self)->level, args) ? ls_few_rows_multiply(device, args, scratch) : multiply_tiles(device, args, scratch);
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
