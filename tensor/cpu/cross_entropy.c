/* Softmax cross-entropy of logits = x w^T, with its gradients, so that the logits are computed once and are never
 * whole:
 *
 *     rows in blocks, of those that count (label >= 0, weight not 0), gathered; for each
 *         vocabulary in blocks of WORDS:   z^T = w[block] x^T   [WORDS, rows], f32; running maximum m and sum of each
 * row (softmax_tile.h), which leaves p = e^(z - m_so_far);  lse = m + log l,  loss = lse - z[label] and where gradients
 * are asked for, p has been kept: vocabulary in blocks of WORDS:   d = (p e^(m_so_far - lse) - [label]) weight;
 * dw[block] (+)= d^T x; dx += d w[block]
 *
 * A block has as many rows as KEPT numbers allow, by the vocabulary alone. Order of sums: as in matmul.c inside a
 * block, then blocks ascending (vocabulary for dx, rows for dw). A row's loss and dx depend on the row alone; skipped
 * rows cost nothing. z has the bits of ls_cpu_matmul's x w^T with f32 results. bf16 and f16 are widened block by block, or bf16, where
 * the processor multiplies it in pairs (product.h), multiplied as it is: then d is rounded to bf16, as every gradient
 * that a product of bf16 numbers takes. f64 serves gradient checks: plain loops. */
#include "tensor/cpu/counts.h"
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/product.h"
#include "tensor/cpu/softmax_tile.h"

#include "base/math.h"

#include <math.h>
#include <string.h>

enum {
    ROWS = 512, /* logits of a block of words, 4 MiB, then stay in the caches between their product, their softmax and the next product */
    WORDS = 2048,
    WORDS_AT_ONCE = 128, /* of one item's softmax */
    LANE_GROUP = 32,     /* rows of an item */
    KEPT = 52 << 20,     /* bytes of p of a block of rows: 256 rows of GPT-2's vocabulary, in bf16 512 */
};

typedef struct {
    ls_device *device;
    const ls_cross_entropy_args *args;
    const ls_softmax_tile_kernels *softmax;
    ls_arena *scratch;
    bool keeps;                             /* p of all words, for the gradients */
    int64_t block_rows;                     /* the most rows of a block, and its distance of words in z */
    int64_t rows, first_word, words;        /* this block */
    int32_t *index;                         /* [rows]: the row of args */
    ls_type type;                           /* of the products' operands and of what is kept: f32, or bf16 in pairs */
    void *x, *w;                            /* gathered rows; this block's words, NULL: in place */
    float *dx;                              /* gradient of x */
    float *p;                               /* logits, then p, then d: of all words; in bf16, or where nothing is kept, logits of this block's */
    uint16_t *narrow;                       /* in bf16: p of all words, then d; NULL: not in bf16, or nothing is kept */
    float *tops;                            /* [vocabulary / WORDS_AT_ONCE][block_rows]: m_so_far */
    float *m, *l, *shrink, *picked, *scale; /* [block_rows]; picked: a label's logit, then its d */
} blocks;

static const void *at(const void *base, ls_type type, int64_t element)
{
    return (const char *)base + element * (int64_t)ls_type_size(type);
}

static bool counts(const ls_cross_entropy_args *x, int64_t row)
{
    return x->labels[row] >= 0 && (!x->weights || x->weights[row] != 0.0f);
}

/* Rows of a block, in whole groups of lanes and as even as can be. */
static int64_t rows_of_block(const blocks *b)
{
    int64_t active = 0;
    for (int64_t row = 0; row < b->args->rows; row++)
        active += counts(b->args, row);
    const int64_t row_bytes = (b->args->vocabulary + !b->args->vocabulary) * (int64_t)ls_type_size(b->type);
    int64_t most = b->keeps ? KEPT / row_bytes / LANE_GROUP * LANE_GROUP : ROWS;
    most = least(most < LANE_GROUP ? LANE_GROUP : most, ROWS);
    const int64_t even = active ? ceil_div(active, ceil_div(active, most)) : 1;
    return ceil_div(even, LANE_GROUP) * LANE_GROUP;
}

static ls_status take(blocks *b)
{
    const ls_cross_entropy_args *x = b->args;
    b->block_rows = rows_of_block(b);
    b->index = ls_arena_array(b->scratch, int32_t, b->block_rows);
    const int64_t words_at_once = least(WORDS, x->vocabulary);
    b->x = ls_arena_take(b->scratch, (size_t)(b->block_rows * x->width) * ls_type_size(b->type));
    b->w = x->type == b->type ? NULL : ls_arena_array(b->scratch, float, words_at_once * x->width);
    const bool narrow = b->keeps && b->type == LS_BF16;
    b->narrow = narrow ? ls_arena_array(b->scratch, uint16_t, x->vocabulary * b->block_rows) : NULL;
    b->p = ls_arena_array(b->scratch, float, (b->keeps && !narrow ? x->vocabulary : words_at_once) * b->block_rows);
    b->tops = ls_arena_array(b->scratch, float, ceil_div(x->vocabulary, WORDS_AT_ONCE) * b->block_rows);
    b->dx = x->dx ? ls_arena_array(b->scratch, float, b->block_rows * x->width) : NULL;
    float **vectors[] = {&b->m, &b->l, &b->shrink, &b->picked, &b->scale};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        *vectors[i] = ls_arena_array(b->scratch, float, b->block_rows);
    return ls_arena_status(b->scratch);
}

/* The next rows that count, from `row` on; returns where to go on. */
static int64_t gather(blocks *b, int64_t row)
{
    const ls_cross_entropy_args *x = b->args;
    for (b->rows = 0; row < x->rows && b->rows < b->block_rows; row++) {
        if (!counts(x, row))
            continue;
        b->device->cast(b->device, x->type, b->type, x->width, at(x->x, x->type, row * x->width),
                        (void *)at(b->x, b->type, b->rows * x->width));
        b->index[b->rows++] = (int32_t)row;
    }
    return row;
}

static float *words_of(const blocks *b, int64_t word)
{
    return b->p + (b->keeps && !b->narrow ? word * b->block_rows : 0);
}

/* Sets the block of words from `first` on, and returns it in the products' type. */
static const void *begin_words(blocks *b, int64_t first)
{
    const ls_cross_entropy_args *x = b->args;
    b->first_word = first;
    b->words = least(WORDS, x->vocabulary - first);
    const void *w = at(x->w, x->type, first * x->width);
    if (x->type == b->type)
        return w;
    b->device->cast(b->device, x->type, b->type, b->words * x->width, w, b->w);
    return b->w;
}

static void run_lanes(blocks *b, ls_team_item f)
{
    ls_team_run(b->device->team, ceil_div(b->rows, LANE_GROUP), f, b);
}

/* ---- losses ---- */

static ls_status logits(blocks *b, int64_t first)
{
    const int64_t width = b->args->width;
    const void *w = begin_words(b, first);
    float *z = words_of(b, first);
    for (int64_t word = 0; word < b->words; word++) /* lanes past the last row compute on zeros; nobody reads them */
        for (int64_t lane = b->rows; lane < b->block_rows; lane++)
            z[word * b->block_rows + lane] = 0;
    return ls_cpu_matmul(b->device,
                         &(ls_matmul_args){.type_ab = b->type,
                                           .batch = 1,
                                           .m = b->words,
                                           .n = b->rows,
                                           .k = width,
                                           .trans_b = true,
                                           .a = w,
                                           .b = b->x,
                                           .c = z,
                                           .lda = width,
                                           .ldb = width,
                                           .ldc = b->block_rows},
                         b->scratch);
}

static void loss_lanes(void *context, int64_t item)
{
    const blocks *b = context;
    const int64_t lane = item * LANE_GROUP, ld = b->block_rows;
    float *z = words_of(b, b->first_word) + lane;
    for (int64_t i = 0; i < least(LANE_GROUP, b->rows - lane); i++) {
        int64_t word = b->args->labels[b->index[lane + i]] - b->first_word;
        if (word >= 0 && word < b->words)
            b->picked[lane + i] = z[word * ld + i];
    }
    for (int64_t word = 0; word < b->words; word += WORDS_AT_ONCE) { /* ascending: the order of the sum */
        int64_t words = least(WORDS_AT_ONCE, b->words - word);
        if (b->narrow)
            b->softmax->online_rounded(words, LANE_GROUP, z + word * ld, ld, b->m + lane, b->l + lane, b->narrow + (b->first_word + word) * ld + lane);
        else
            b->softmax->online(words, LANE_GROUP, z + word * ld, ld, NULL, b->m + lane, b->l + lane, b->shrink + lane);
        memcpy(b->tops + (b->first_word + word) / WORDS_AT_ONCE * ld + lane, b->m + lane, LANE_GROUP * sizeof *b->m);
    }
}

/* Leaves lse in m. */
static ls_status losses(blocks *b)
{
    const ls_cross_entropy_args *x = b->args;
    for (int64_t i = 0; i < b->block_rows; i++) {
        b->m[i] = -INFINITY;
        b->l[i] = 0;
    }
    for (int64_t word = 0; word < x->vocabulary; word += WORDS) {
        ls_status status = logits(b, word);
        if (status != LS_OK)
            return status;
        run_lanes(b, loss_lanes);
    }
    for (int64_t i = 0; i < b->rows; i++) {
        double lse = (double)b->m[i] + ls_math_log((double)b->l[i]);
        ((float *)x->losses)[b->index[i]] = (float)(lse - (double)b->picked[i]);
        b->m[i] = (float)lse;
    }
    return LS_OK;
}

/* ---- gradients ---- */

/* What p of a lane's words is multiplied by: e^(m_so_far - lse) weight. */
static void factors_of(const blocks *b, int64_t word, int64_t lane, float factor[LANE_GROUP])
{
    memcpy(factor, b->tops + word / WORDS_AT_ONCE * b->block_rows + lane, LANE_GROUP * sizeof *factor);
    b->softmax->probability(1, LANE_GROUP, factor, LANE_GROUP, NULL, b->m + lane);
    for (int i = 0; i < LANE_GROUP; i++)
        factor[i] *= b->scale[lane + i];
}

/* d in place of p, of WORDS_AT_ONCE words from `first` of the block on, LANE_GROUP lanes. */
static void gradient_tile(const blocks *b, int64_t first, int64_t lane)
{
    const int64_t words = least(WORDS_AT_ONCE, b->words - first), ld = b->block_rows, at_word = b->first_word + first;
    float *p = b->narrow ? NULL : words_of(b, at_word) + lane, factor[LANE_GROUP];
    uint16_t *narrow = b->narrow ? b->narrow + at_word * ld + lane : NULL;
    factors_of(b, at_word, lane, factor);
    if (narrow)
        b->softmax->scale_bf16(words, LANE_GROUP, factor, narrow, ld);
    for (int64_t word = 0; p && word < words; word++)
        for (int i = 0; i < LANE_GROUP; i++)
            p[word * ld + i] *= factor[i];
    for (int64_t i = 0; i < least(LANE_GROUP, b->rows - lane); i++) {
        const int64_t word = b->args->labels[b->index[lane + i]] - at_word;
        if (word < 0 || word >= words)
            continue;
        if (narrow) /* not from p, whose rounding would stand beside a difference near 0 */
            ls_cpu_kernels_of(b->device, LS_BF16)->narrow(1, b->picked + lane + i, narrow + word * ld + i);
        else
            p[word * ld + i] -= b->scale[lane + i];
    }
}

static void gradient_lanes(void *context, int64_t item)
{
    const blocks *b = context;
    for (int64_t first = 0; first < b->words; first += WORDS_AT_ONCE)
        gradient_tile(b, first, item * LANE_GROUP);
}

static ls_status gradients_of_words(blocks *b, int64_t word, bool first_rows)
{
    const ls_cross_entropy_args *x = b->args;
    const void *w = begin_words(b, word);
    ls_status status = LS_OK;
    run_lanes(b, gradient_lanes);
    ls_matmul_args product = {.type_ab = b->type,
                              .batch = 1,
                              .n = x->width,
                              .a = b->narrow ? (const void *)(b->narrow + word * b->block_rows) : words_of(b, word),
                              .lda = b->block_rows,
                              .ldb = x->width,
                              .ldc = x->width};
    if (x->dw) {
        product.m = b->words;
        product.k = b->rows;
        product.b = b->x;
        product.c = (float *)x->dw + word * x->width;
        product.accumulate = !first_rows;
        status = ls_cpu_matmul(b->device, &product, b->scratch);
    }
    if (b->dx && status == LS_OK) {
        product.trans_a = true;
        product.m = b->rows;
        product.k = b->words;
        product.b = w;
        product.weights_b = x->weights_w && !b->w; /* where they lie */
        product.c = b->dx;
        product.accumulate = word > 0;
        status = ls_cpu_matmul(b->device, &product, b->scratch);
    }
    return status;
}

static ls_status gradients(blocks *b, bool first_rows)
{
    const ls_cross_entropy_args *x = b->args;
    for (int64_t i = 0; i < b->block_rows; i++) {
        const bool real = i < b->rows;
        b->m[i] = real ? b->m[i] : 0.0f;
        b->scale[i] = !real ? 0.0f : x->weights ? x->weights[b->index[i]] : 1.0f;
    }
    if (b->narrow) {
        b->softmax->probability(1, b->block_rows, b->picked, b->block_rows, NULL, b->m);
        for (int64_t i = 0; i < b->rows; i++)
            b->picked[i] = (b->picked[i] - 1) * b->scale[i];
    }
    for (int64_t word = 0; word < x->vocabulary; word += WORDS) {
        ls_status status = gradients_of_words(b, word, first_rows);
        if (status != LS_OK)
            return status;
    }
    for (int64_t i = 0; b->dx && i < b->rows; i++)
        memcpy((float *)x->dx + b->index[i] * x->width, b->dx + i * x->width, (size_t)x->width * sizeof(float));
    return LS_OK;
}

static ls_status each_block(ls_device *device, const ls_cross_entropy_args *args, ls_arena *scratch)
{
    const ls_numerics level = ((const ls_cpu *)device->self)->level;
    blocks b = {.device = device,
                .args = args,
                .scratch = scratch,
                .keeps = args->dx || args->dw,
                .type = ls_product_kernels_for(level, args->type)->unit == 2 ? LS_BF16 : LS_F32,
                .softmax = ls_softmax_tile_kernels_for(level, args->type)};
    ls_status status = take(&b);
    bool first_rows = true;
    for (int64_t row = 0; row < args->rows && status == LS_OK;) {
        row = gather(&b, row);
        if (!b.rows)
            continue;
        status = losses(&b);
        if (status == LS_OK && b.keeps)
            status = gradients(&b, first_rows);
        first_rows = false;
    }
    if (status == LS_OK && first_rows && args->dw) /* no row counts */
        device->fill(device, LS_F32, args->vocabulary * args->width, 0, args->dw);
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

static void row_f64(const ls_cross_entropy_args *x, int64_t row)
{
    const double *a = (const double *)x->x + row * x->width, scale = x->weights ? (double)x->weights[row] : 1.0;
    double m = -INFINITY, l = 0, *dx = x->dx, *dw = x->dw;
    for (int64_t word = 0; word < x->vocabulary; word++)
        m = fmax(m, logit_f64(x, row, word));
    for (int64_t word = 0; word < x->vocabulary; word++)
        l += ls_math_exp(logit_f64(x, row, word) - m);
    const double lse = m + ls_math_log(l);
    ((double *)x->losses)[row] = lse - logit_f64(x, row, x->labels[row]);
    for (int64_t word = 0; (dx || dw) && word < x->vocabulary; word++) {
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

ls_status ls_cpu_cross_entropy(ls_device *device, const ls_cross_entropy_args *args, ls_arena *scratch)
{
    const ls_type type = args->type == LS_F64 ? LS_F64 : LS_F32;
    memset(args->losses, 0, (size_t)args->rows * ls_type_size(type));
    if (args->dx)
        device->fill(device, type, args->rows * args->width, 0, args->dx);
    if (type == LS_F64) {
        if (args->dw)
            device->fill(device, type, args->vocabulary * args->width, 0, args->dw);
        for (int64_t row = 0; row < args->rows; row++)
            if (counts(args, row))
                row_f64(args, row);
        return LS_OK;
    }
    ls_mark mark = ls_arena_mark(scratch);
    ls_status status = each_block(device, args, scratch);
    ls_arena_release(scratch, mark);
    return status;
}
