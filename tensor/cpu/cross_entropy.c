/* Softmax cross-entropy of logits = x w^T in blocks, so that the logits are never whole:
 *
 *     rows in blocks of ROWS, of those that count (label >= 0, weight not 0), gathered;
 *     vocabulary in blocks of WORDS:   z^T = w[block] x^T        [WORDS, rows], f32
 *         forward     running maximum and sum of each row (softmax_tile.h);  lse = m + log l,  loss = lse - z[label]
 *         backward    d = (e^(z - lse) - [label]) weight dloss;   dw[block] += d^T x;   dx += d w[block]
 *
 * Order of sums: as in matmul.c inside a block, then blocks ascending (vocabulary for dx, rows for dw). A row's loss,
 * lse and dx depend on the row alone; skipped rows cost nothing. z has the bits of ls_cpu_matmul's x w^T in f32. bf16
 * is widened block by block. f64 serves gradient checks: plain loops. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/product.h"
#include "tensor/cpu/softmax_tile.h"

#include "base/math.h"

#include <math.h>
#include <string.h>

enum {
    ROWS = 2048,
    WORDS = 2048,
    WORDS_AT_ONCE = 128, /* of one item's softmax */
    LANE_GROUP = 32,     /* rows of an item */
};

typedef struct {
    ls_device *device;
    const ls_cross_entropy_args *args;
    const ls_softmax_tile_kernels *softmax;
    ls_arena *scratch;
    int64_t block_rows;                     /* the most rows of a block, and its distance of words in z */
    int64_t rows, first_word, words;        /* this block */
    int32_t *index;                         /* [rows]: the row of args */
    float *x, *w, *z, *dx;                  /* f32: gathered rows, this block's words, logits, gradient of x */
    float *m, *l, *shrink, *picked, *scale; /* [block_rows] */
} blocks;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static const void *at(const void *base, ls_type type, int64_t element)
{
    return (const char *)base + element * (int64_t)ls_type_size(type);
}

static bool counts(const ls_cross_entropy_args *x, int64_t row)
{
    return x->labels[row] >= 0 && (!x->weights || x->weights[row] != 0.0f);
}

static ls_status take(blocks *b, bool backward)
{
    const ls_cross_entropy_args *x = b->args;
    int64_t active = 0;
    for (int64_t row = 0; row < x->rows; row++)
        active += counts(x, row);
    b->block_rows = (least(active, ROWS) + LANE_GROUP - 1) / LANE_GROUP * LANE_GROUP;
    b->index = ls_arena_array(b->scratch, int32_t, b->block_rows);
    b->x = ls_arena_array(b->scratch, float, b->block_rows * x->width);
    b->w = x->type == LS_F32 ? NULL : ls_arena_array(b->scratch, float, least(WORDS, x->vocabulary) * x->width);
    b->z = ls_arena_array(b->scratch, float, least(WORDS, x->vocabulary) * b->block_rows);
    b->dx = backward && x->dx ? ls_arena_array(b->scratch, float, b->block_rows * x->width) : NULL;
    float **vectors[] = {&b->m, &b->l, &b->shrink, &b->picked, &b->scale};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        *vectors[i] = ls_arena_array(b->scratch, float, b->block_rows);
    return ls_arena_status(b->scratch);
}

/* The next rows that count, from `row` on; returns where to go on. */
static int64_t gather(blocks *b, int64_t row)
{
    const ls_cross_entropy_args *x = b->args;
    for (b->rows = 0; row < x->rows && b->rows < ROWS; row++) {
        if (!counts(x, row))
            continue;
        b->device->cast(b->device, x->type, LS_F32, x->width, at(x->x, x->type, row * x->width),
                        b->x + b->rows * x->width);
        b->index[b->rows++] = (int32_t)row;
    }
    return row;
}

/* z^T of the block of words from `first` on; its words as f32 are left in *w. */
static ls_status logits(blocks *b, int64_t first, const float **w)
{
    const ls_cross_entropy_args *x = b->args;
    b->first_word = first;
    b->words = least(WORDS, x->vocabulary - first);
    *w = at(x->w, x->type, first * x->width);
    if (x->type != LS_F32) {
        b->device->cast(b->device, x->type, LS_F32, b->words * x->width, *w, b->w);
        *w = b->w;
    }
    return ls_cpu_matmul(b->device,
                         &(ls_matmul_args){.batch = 1,
                                           .m = b->words,
                                           .n = b->rows,
                                           .k = x->width,
                                           .trans_b = true,
                                           .a = *w,
                                           .b = b->x,
                                           .c = b->z,
                                           .lda = x->width,
                                           .ldb = x->width,
                                           .ldc = b->block_rows},
                         b->scratch);
}

/* Lanes past the last row compute on whatever is there; nobody reads them. */
static void clear_padding(blocks *b)
{
    for (int64_t word = 0; word < b->words; word++)
        for (int64_t lane = b->rows; lane < b->block_rows; lane++)
            b->z[word * b->block_rows + lane] = 0;
}

static void run_lanes(blocks *b, ls_team_item f)
{
    clear_padding(b);
    ls_team_run(b->device->team, (b->rows + LANE_GROUP - 1) / LANE_GROUP, f, b);
}

static void forward_lanes(void *context, int64_t item)
{
    const blocks *b = context;
    int64_t lane = item * LANE_GROUP;
    for (int64_t i = lane; i < least(lane + LANE_GROUP, b->rows); i++) {
        int64_t word = b->args->labels[b->index[i]] - b->first_word;
        if (word >= 0 && word < b->words)
            b->picked[i] = b->z[word * b->block_rows + i];
    }
    for (int64_t word = 0; word < b->words; word += WORDS_AT_ONCE) { /* ascending: the order of the sum */
        b->softmax->online(least(WORDS_AT_ONCE, b->words - word), LANE_GROUP, b->z + word * b->block_rows + lane,
                           b->block_rows, NULL, b->m + lane, b->l + lane, b->shrink + lane);
    }
}

static ls_status forward_block(blocks *b)
{
    const ls_cross_entropy_args *x = b->args;
    for (int64_t i = 0; i < b->block_rows; i++) {
        b->m[i] = -INFINITY;
        b->l[i] = 0;
    }
    for (int64_t word = 0; word < x->vocabulary; word += WORDS) {
        const float *w;
        ls_status status = logits(b, word, &w);
        if (status != LS_OK)
            return status;
        run_lanes(b, forward_lanes);
    }
    for (int64_t i = 0; i < b->rows; i++) {
        double lse = (double)b->m[i] + ls_math_log((double)b->l[i]);
        ((float *)x->lse)[b->index[i]] = (float)lse;
        ((float *)x->losses)[b->index[i]] = (float)(lse - (double)b->picked[i]);
    }
    return LS_OK;
}

static void backward_lanes(void *context, int64_t item)
{
    const blocks *b = context;
    int64_t lane = item * LANE_GROUP, ld = b->block_rows;
    for (int64_t first = 0; first < b->words; first += WORDS_AT_ONCE) { /* what stays in the first cache */
        float *z = b->z + first * ld + lane;
        int64_t words = least(WORDS_AT_ONCE, b->words - first);
        b->softmax->probability(words, LANE_GROUP, z, ld, NULL, b->m + lane);
        for (int64_t i = 0; i < least(LANE_GROUP, b->rows - lane); i++) {
            int64_t word = b->args->labels[b->index[lane + i]] - b->first_word - first;
            if (word >= 0 && word < words)
                z[word * ld + i] -= 1.0f;
        }
        for (int64_t word = 0; word < words; word++)
            for (int i = 0; i < LANE_GROUP; i++)
                z[word * ld + i] *= b->scale[lane + i];
    }
}

static ls_status backward_words(blocks *b, int64_t word)
{
    const ls_cross_entropy_args *x = b->args;
    const float *w;
    ls_status status = logits(b, word, &w);
    if (status != LS_OK)
        return status;
    run_lanes(b, backward_lanes);
    ls_matmul_args product = {.batch = 1,
                              .n = x->width,
                              .a = b->z,
                              .lda = b->block_rows,
                              .ldb = x->width,
                              .ldc = x->width,
                              .accumulate = true};
    if (x->dw) {
        product.m = b->words;
        product.k = b->rows;
        product.b = b->x;
        product.c = (float *)x->dw + word * x->width;
        status = ls_cpu_matmul(b->device, &product, b->scratch);
    }
    if (b->dx && status == LS_OK) {
        product.trans_a = true;
        product.m = b->rows;
        product.k = b->words;
        product.b = w;
        product.c = b->dx;
        status = ls_cpu_matmul(b->device, &product, b->scratch);
    }
    return status;
}

static void add_dx(const blocks *b)
{
    const ls_cross_entropy_args *x = b->args;
    float *spare = b->x; /* done with */
    for (int64_t i = 0; i < b->rows; i++) {
        void *to = (void *)at(x->dx, x->type, b->index[i] * x->width);
        b->device->cast(b->device, x->type, LS_F32, x->width, to, spare);
        for (int64_t d = 0; d < x->width; d++)
            spare[d] += b->dx[i * x->width + d];
        b->device->cast(b->device, LS_F32, x->type, x->width, spare, to);
    }
}

static ls_status backward_block(blocks *b)
{
    const ls_cross_entropy_args *x = b->args;
    for (int64_t i = 0; i < b->block_rows; i++) {
        bool real = i < b->rows;
        b->m[i] = real ? ((const float *)x->lse)[b->index[i]] : 0.0f;
        b->scale[i] = real ? (float)((x->weights ? (double)x->weights[b->index[i]] : 1.0) * x->dloss) : 0.0f;
    }
    if (b->dx)
        memset(b->dx, 0, (size_t)(b->rows * x->width) * sizeof *b->dx);
    for (int64_t word = 0; word < x->vocabulary; word += WORDS) {
        ls_status status = backward_words(b, word);
        if (status != LS_OK)
            return status;
    }
    if (b->dx)
        add_dx(b);
    return LS_OK;
}

static ls_status each_block(ls_device *device, const ls_cross_entropy_args *args, ls_arena *scratch, bool backward)
{
    blocks b = {.device = device,
                .args = args,
                .scratch = scratch,
                .softmax = ls_softmax_tile_kernels_of(((const ls_cpu *)device->self)->level)};
    ls_status status = take(&b, backward);
    for (int64_t row = 0; row < args->rows && status == LS_OK;) {
        row = gather(&b, row);
        if (b.rows)
            status = backward ? backward_block(&b) : forward_block(&b);
    }
    return status;
}

static double logit_f64(const ls_cross_entropy_args *x, int64_t row, int64_t word)
{
    const double *a = (const double *)x->x + row * x->width, *w = (const double *)x->w + word * x->width;
    double sum = 0;
    for (int64_t d = 0; d < x->width; d++)
        sum += a[d] * w[d];
    return sum;
}

static void forward_row_f64(const ls_cross_entropy_args *x, int64_t row)
{
    double m = -INFINITY, l = 0;
    for (int64_t word = 0; word < x->vocabulary; word++)
        m = fmax(m, logit_f64(x, row, word));
    for (int64_t word = 0; word < x->vocabulary; word++)
        l += ls_math_exp(logit_f64(x, row, word) - m);
    double lse = m + ls_math_log(l);
    ((double *)x->lse)[row] = lse;
    ((double *)x->losses)[row] = lse - logit_f64(x, row, x->labels[row]);
}

static void backward_row_f64(const ls_cross_entropy_args *x, int64_t row)
{
    double scale = (x->weights ? (double)x->weights[row] : 1.0) * x->dloss, lse = ((const double *)x->lse)[row];
    const double *a = (const double *)x->x + row * x->width;
    double *dx = x->dx, *dw = x->dw;
    for (int64_t word = 0; word < x->vocabulary; word++) {
        const double *w = (const double *)x->w + word * x->width;
        double d = (ls_math_exp(logit_f64(x, row, word) - lse) - (word == x->labels[row])) * scale;
        for (int64_t i = 0; i < x->width; i++) {
            if (dx)
                dx[row * x->width + i] += d * w[i];
            if (dw)
                dw[word * x->width + i] += d * a[i];
        }
    }
}

static void each_row_f64(const ls_cross_entropy_args *x, void (*f)(const ls_cross_entropy_args *, int64_t))
{
    for (int64_t row = 0; row < x->rows; row++)
        if (counts(x, row))
            f(x, row);
}

ls_status ls_cpu_cross_entropy(ls_device *device, const ls_cross_entropy_args *args, ls_arena *scratch)
{
    memset(args->losses, 0, (size_t)args->rows * ls_type_size(args->type == LS_F64 ? LS_F64 : LS_F32));
    memset(args->lse, 0, (size_t)args->rows * ls_type_size(args->type == LS_F64 ? LS_F64 : LS_F32));
    if (args->type == LS_F64) {
        each_row_f64(args, forward_row_f64);
        return LS_OK;
    }
    ls_mark mark = ls_arena_mark(scratch);
    ls_status status = each_block(device, args, scratch, false);
    ls_arena_release(scratch, mark);
    return status;
}

ls_status ls_cpu_cross_entropy_backward(ls_device *device, const ls_cross_entropy_args *args, ls_arena *scratch)
{
    if (args->type == LS_F64) {
        each_row_f64(args, backward_row_f64);
        return LS_OK;
    }
    ls_mark mark = ls_arena_mark(scratch);
    ls_status status = each_block(device, args, scratch, true);
    ls_arena_release(scratch, mark);
    return status;
}
