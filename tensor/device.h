/* Device: one table of functions. The tape and everything above call arithmetic only through it, so a CUDA device is
 * another table and no other change. The CPU's is made by tensor/cpu/cpu.c.
 *
 * Rules for every function:
 *   - arrays are dense and row-major; types are LS_F32, LS_BF16, LS_F16 or (gradient checks) LS_F64; bf16 and f16 are computed in f32;
 *   - the bits of a result depend on shapes and values only, never on threads, alignment or what ran before;
 *   - "+=" marks outputs that are accumulated into, all others are overwritten; outputs marked [may be NULL] are
 *     skipped when NULL; nothing is allocated but from `scratch`, which the caller releases;
 *   - sizes were checked by the operator's shape rule; a function fails only for memory or the vendor library. */
#pragma once
#include "base/arena.h"
#include "base/error.h"
#include "base/random.h"
#include "base/team.h"
#include "base/type.h"
#include "tensor/block_mask.h"

typedef struct ls_device ls_device;

typedef enum {
    LS_UNARY_EXP, LS_UNARY_LOG, LS_UNARY_SQRT, LS_UNARY_TANH, LS_UNARY_SIGMOID, LS_UNARY_SOFTPLUS, LS_UNARY_RELU,
    LS_UNARY_GELU /* erf form */, LS_UNARY_GELU_TANH, LS_UNARY_SILU, LS_UNARY_ABS, LS_UNARY_NEG, LS_UNARY_SQUARE,
    LS_UNARY_SCALE /* a*x + b */, LS_UNARY_CLAMP /* min(max(x, a), b) */,
    /* 1 where x >= b, else 0; the derivative is a stand-in of u = x - b with slope a (tensor/ops/spiking.c) */
    LS_UNARY_SPIKE_STRAIGHT, LS_UNARY_SPIKE_RECTANGLE, LS_UNARY_SPIKE_TRIANGLE, LS_UNARY_SPIKE_FAST_SIGMOID,
    LS_UNARY_SPIKE_ARCTAN, LS_UNARY_SPIKE_SIGMOID,
    LS_UNARY_COUNT
} ls_unary;

typedef enum { LS_BINARY_ADD, LS_BINARY_SUB, LS_BINARY_MUL, LS_BINARY_DIV, LS_BINARY_MIN, LS_BINARY_MAX, LS_BINARY_COUNT } ls_binary;
typedef enum { LS_REDUCE_SUM, LS_REDUCE_MEAN, LS_REDUCE_MAX, LS_REDUCE_MIN, LS_REDUCE_NORM, LS_REDUCE_COUNT } ls_reduce;
typedef enum { LS_ACT_NONE, LS_ACT_RELU, LS_ACT_GELU, LS_ACT_GELU_TANH, LS_ACT_SILU } ls_activation;

/* The function of an activation other than none. */
static inline ls_unary ls_activation_function(ls_activation activation)
{
    return activation == LS_ACT_RELU ? LS_UNARY_RELU : activation == LS_ACT_GELU ? LS_UNARY_GELU : activation == LS_ACT_SILU ? LS_UNARY_SILU : LS_UNARY_GELU_TANH;
}

/* C[b] (+)= op(A[b]) op(B[b]), then + bias[n], then the activation. op is the transpose where the flag is set.
 * A is [m, k] (or [k, m] transposed), B [k, n] (or [n, k]), C [m, n]; `ld` is the distance of two rows of the stored
 * matrix, `stride` that of two matrices of the batch (0: one matrix for all), in elements. A and B have one type; C
 * may be wider. `pre` [may be NULL] keeps what went into the activation, for backward: the sum as
 * rounded to C's type, so that the activation of `pre` alone has C's bits. `weights_b`: B is weights, as ls_hold_weights has it. */
typedef struct {
    int64_t batch, m, n, k;
    bool trans_a, trans_b, accumulate, weights_b;
    ls_type type_ab, type_c, type_bias;
    const void *a, *b, *bias;
    void *c, *pre;
    int64_t lda, ldb, ldc, stride_a, stride_b, stride_c;
    ls_activation activation;
} ls_matmul_args;

/* Broadcasting by strides: element (i0, .., i5) of the result reads a at sum(i*stride_a) and b at sum(i*stride_b);
 * stride 0 repeats. */
typedef struct {
    int ndim;
    int64_t shape[LS_MAX_DIMS], stride_a[LS_MAX_DIMS], stride_b[LS_MAX_DIMS];
} ls_strides;

/* Keys and values of sequences that grow, in pages of LS_PAGE positions, so that neither a sequence's length nor its place
 * need be known beforehand:
 *
 *     key t of head h  =  keys + ((pages[t / LS_PAGE] * kv_heads + h) * LS_PAGE + t % LS_PAGE) * row       [width]
 *
 * One head's part of a page is dense and starts at a cache line. Numbers are of the type that attention computes in, and the row
 * is filled up with zeros to whole vectors, so they are read in place. A page is a tile of
 * keys: the order of sums is that of attention over rows, and so are the bits. */
enum { LS_PAGE = 64, LS_PAGE_ROW = 32 /* rows are multiples of it */ };
typedef struct {
    int64_t row, queries;  /* the sequence's new positions are rows [row, row + queries) of q */
    int64_t position;      /* of the first; it sees the keys before it and itself */
    const int32_t *pages;
} ls_page_span;

/* Attention over rows that hold one or several segments. q [B, Tq, H, D], k and v [B, Tk, Hkv, D], out as q.
 * Query head h reads key/value head h / (H / Hkv). Query i stands at key position i + Tk - Tq.
 * Who sees whom is one of three things; a query that sees no key gets 0, and lse -infinity:
 *   self    `segments` [B, Tk] (NULL: one): a query sees only keys of the segment it stands in; segments are contiguous,
 *           and tiles start at a segment's first key, so a packed row gives the bits of its parts alone. `causal`: no
 *           key after the query; `window`: and only the nearest ones.
 *   cross   with `query_segments` [B, Tq] a query's segment is given instead of taken from its place. Ids are contiguous
 *           and ascend in both; below 0 is padding, which sees nothing and is seen by nobody. Never causal.
 *   mask    a block mask, alone. Tiles start at the row's first key.
 *   pages   batch is 1 and q [1, Tq, H, D] holds the new positions of `spans` sequences, whose keys and values, their own
 *           included, stand in pages; k and v are the pages. Causal, forward only; f32, bf16 or f16. */
typedef struct {
    ls_type type;
    int64_t batch, queries, keys, heads, kv_heads, width;
    bool causal;
    int64_t window;        /* causal self: a query sees itself and the window - 1 keys before it; 0: all before it */
    double scale;
    const int32_t *segments, *query_segments;
    const ls_block_mask *mask;
    int64_t spans, page_row; /* spans 0: no pages; page_row: numbers of a key's row in a page */
    const ls_page_span *span;
    const void *q, *k, *v;
    void *out, *lse;       /* lse [B, H, Tq] f32 (f64 for f64) */
    const void *dout;      /* backward */
    void *dq, *dk, *dv;    /* backward, += */
} ls_attention_args;

/* Softmax cross-entropy of logits = x w^T (+ 0), x [rows, d], w [vocabulary, d], in tiles over the vocabulary: the
 * logits are never whole. weight[r] scales row r's loss; label < 0 or weight 0: the row is skipped. Gradients are made
 * with the losses, so that logits are computed once; whoever goes back scales them. */
typedef struct {
    ls_type type;
    int64_t rows, width, vocabulary;
    const void *x, *w;
    bool weights_w;             /* as ls_hold_weights has it */
    const int32_t *labels;
    const float *weights;       /* [rows], NULL: all 1 */
    void *losses;               /* [rows] f32 (f64): unweighted negative log-likelihood, 0 where skipped */
    void *dx;                   /* [rows, d] f32 (f64): gradient of the weighted sum of losses [may be NULL] */
    void *dw;                   /* [vocabulary, d] f32 (f64): the same [may be NULL] */
} ls_cross_entropy_args;

/* Losses that are sums over elements, or over rows of classes; formulas in tensor/ops/element_losses.c, row_losses.c. */
typedef enum { LS_LOSS_SQUARE, LS_LOSS_BINARY_CROSS_ENTROPY, LS_LOSS_KL, LS_LOSS_COUNT } ls_element_loss;
typedef enum { LS_LOSS_SOFT_CROSS_ENTROPY, LS_LOSS_KL_OF_LOGITS, LS_ROW_LOSS_COUNT } ls_row_loss;

/* Sum over i of weights[i / run] loss(x[i], target[i]), pos_weights[i % classes] being the loss's own parameter: blocks of
 * 512 elements, each summed in f64 over 16 lanes, then lanes in order; blocks in order within pieces of 16384, then pieces
 * in order. */
typedef struct {
    ls_element_loss kind;
    ls_type type;
    int64_t count, run, classes;
    const void *x, *target;
    const float *weights, *pos_weights; /* NULL: all 1 */
    void *sum;                          /* forward: one f32 (f64) */
    const void *dloss;                  /* backward: gradient of the sum, one f32 (f64) */
    void *dx, *dtarget;                 /* backward, += [may be NULL] */
} ls_element_loss_args;

/* Each row's own loss; x and target [rows, classes]. */
typedef struct {
    ls_row_loss kind;
    ls_type type;
    int64_t rows, classes;
    double smoothing;
    const void *x, *target;
    const float *weights; /* [rows], backward; NULL: all 1 */
    double *losses;       /* [rows], unweighted */
    double *stats;        /* [rows, 4], as losses kept for backward: greatest x and log-sum-exp beyond it, the same of target (or its sum) */
    const void *dloss;    /* backward: gradient of the sum, one f32 (f64) */
    void *dx, *dtarget;   /* backward, += [may be NULL] */
} ls_row_loss_args;

/* The geometry of convolutions and pooling, channels last; grids of fewer than three axes have axes of size 1 in front.
 * Position o of the result sees x at o * stride + k * dilation - padding for k < window, zeros outside. */
typedef struct {
    ls_type type;
    int64_t batch, in[3], out[3], window[3], stride[3], padding[3], dilation[3];
    int64_t channels, outputs, groups; /* C of x, O of the result (pooling: C) */
} ls_grid;

typedef enum { LS_POOL_MAX, LS_POOL_AVERAGE, LS_POOL_AVERAGE_PADDED } ls_pooling_kind; /* tensor/ops_image.h */

typedef enum { LS_UPSAMPLE_NEAREST, LS_UPSAMPLE_BILINEAR, LS_UPSAMPLE_BILINEAR_CORNERS } ls_upsampling_kind; /* tensor/ops_image.h */

typedef enum { LS_OPTIMIZER_ADAMW, LS_OPTIMIZER_SGD, LS_OPTIMIZER_LION } ls_optimizer_kind;

/* One optimiser step over `count` elements of the flat buffers, in one pass over memory. All arrays f32.
 * gradient is scaled by `scale` (1 / count and clipping) first; `step` counts from 1. `working` [may be NULL] gets the
 * new weights in `working_type`. Formulas: train/optimizer.c. */
typedef struct {
    ls_optimizer_kind kind;
    int64_t count, step;
    double lr, beta1, beta2, eps, weight_decay, momentum, scale;
    bool nesterov;
    const float *gradient;
    float *master, *first_moment, *second_moment;
    ls_type working_type;
    void *working;
} ls_optimizer_args;

/* An algorithm that was chosen at run time for a shape, both as hashes. */
typedef struct {
    uint64_t shape, algorithm;
} ls_device_choice;

struct ls_device {
    const char *name;     /* "cpu" */
    const char *numerics; /* on what equal bits are promised (tensor/numerics.h), of this device */
    void *self;           /* the device's own */
    ls_team *team;        /* host threads; owned by whoever made the device */
    int number;           /* of a CUDA device on this machine; else 0 */
    void *stream;         /* of a CUDA device, a cudaStream_t: for those who order work of their own against its (dist/nccl/) */
    void (*free)(ls_device *device);
    /* Another table over the same CUDA device and memory, whose work goes on a stream of its own, with priority; it is freed
     * first. NULL: none. */
    ls_status (*create_beside)(ls_device *device, ls_device **beside);

    /* memory of the device, for flat buffers and arenas */
    ls_status (*allocate)(ls_device *device, size_t bytes, void **block);
    void (*release)(ls_device *device, void *block, size_t bytes);
    /* The same, but rubbish at first and for the device alone: the host may not touch it, `move` brings it there. For
     * what lives on a tape. Given back by `release`. */
    ls_status (*reserve)(ls_device *device, size_t bytes, void **block);
    /* Waits until all that was called has been done, and tells the first error of it; the host may then read results. NULL:
     * every call is done when it returns. */
    ls_status (*synchronize)(ls_device *device);
    /* y = x, `bytes` of them; they may overlap. Where y is the host's it is there when this returns. */
    void (*move)(ls_device *device, size_t bytes, const void *x, void *y);
    /* What read_beside reads from here on is what the calls so far leave, and nothing that is called later may change it before it is
     * read. Waits for nothing; tells the first error that is known so far. */
    ls_status (*begin_reading)(ls_device *device);
    /* The same as move to the host's `y`, from any one thread at a time, beside what is queued after begin_reading. NULL, both: every
     * call is done when it returns, and memcpy will do. */
    ls_status (*read_beside)(ls_device *device, size_t bytes, const void *x, void *y);
    /* Staging memory, all four or none (NULL: calls read the host's memory where it is): zeros of the host's that have a copy on
     * the device, for what one thread makes ahead of the calls that read it. Given back by `release`, as it is taken while no
     * thread is in `prefetch`. */
    ls_status (*allocate_staging)(ls_device *device, size_t bytes, void **block);
    /* Begins to bring the whole block to its copy, beside what is queued; from any one thread at a time. The host leaves the
     * block alone until the device was waited for after the next use_prefetched, and calls that read it before are done. */
    ls_status (*prefetch)(ls_device *device, const void *block);
    /* Calls from here on find the copy there, and read it instead of arrays in the block; until the first one they read the block. */
    ls_status (*use_prefetched)(ls_device *device, const void *block);
    /* Whether `array` lies in a block that use_prefetched was called for: then it stays as it is while calls may read it. */
    bool (*is_prefetched)(const ls_device *device, const void *array);
    /* Calls from here on may be gathered and handed to the device together, as graphs of its work (cudaGraph), or no longer. No bit
     * changes. NULL: the device knows no such thing. */
    ls_status (*use_graphs)(ls_device *device, bool graphs);
    /* Hands over what is gathered: for whoever orders another stream behind `stream`, or `stream` behind another, by events. Waits for
     * nothing; tells the first error that is known so far. NULL: nothing is ever gathered. */
    ls_status (*submit)(ls_device *device);
    /* f32 products by way of tf32 (10 bits of fraction) from now on, or in full again: before the first product, for it is part of
     * `numerics`. NULL: the device has no tf32. LS_ENOTFOUND: this build has none. */
    ls_status (*use_tf32)(ls_device *device, bool tf32);
    /* The algorithms that were chosen so far, `most` of them at most; their number. Equal bits are promised where equal shapes
     * have equal algorithms. NULL: nothing is chosen. */
    int64_t (*choices)(const ls_device *device, ls_device_choice *choice, int64_t most);

    /* See ls_hold_weights and ls_hold_for_decoding; count 0: no longer. NULL: nothing is gained by it. */
    size_t (*hold_weights)(ls_device *device, ls_type type, int64_t count);
    size_t (*hold_for_decoding)(ls_device *device, ls_type type, int64_t count);

    /* matrix products */
    ls_status (*matmul)(ls_device *device, const ls_matmul_args *args, ls_arena *scratch);

    /* elementwise; a and b are the parameters of SCALE and CLAMP */
    void (*unary)(ls_device *device, ls_unary op, ls_type type, int64_t n, double a, double b, const void *x, void *y);
    /* y = x times the one f32 (f64) at `factor`, as SCALE; y may be x */
    void (*scale_by)(ls_device *device, ls_type type, int64_t n, const void *factor, const void *x, void *y);
    /* dx += dy * f'(x); y is f(x) */
    void (*unary_backward)(ls_device *device, ls_unary op, ls_type type, int64_t n, double a, double b, const void *x, const void *y, const void *dy, void *dx);
    /* y = f(gate) x, f(gate) rounded to the type */
    void (*gated)(ls_device *device, ls_unary f, ls_type type, int64_t n, const void *gate, const void *x, void *y);
    /* dgate (+)= dy x f'(gate), dx (+)= dy f(gate) [each may be NULL]; dy x is rounded to the type */
    void (*gated_backward)(ls_device *device, ls_unary f, ls_type type, int64_t n, const void *gate, const void *x, const void *dy, void *dgate, bool add_gate, void *dx, bool add_x);
    void (*binary)(ls_device *device, ls_binary op, ls_type type, const ls_strides *shape, const void *a, const void *b, void *y);
    /* da +=, db += [each may be NULL]; a repeated element's gradient is summed in a fixed order (tensor/cpu/binary.c).
     * min/max: where a and b are equal the gradient goes half to each (as PyTorch). */
    void (*binary_backward)(ls_device *device, ls_binary op, ls_type type, const ls_strides *shape, const void *a, const void *b, const void *dy, void *da, void *db, ls_arena *scratch);
    /* y = condition ? a : b, all [n]; backward adds dy to da or db */
    void (*where)(ls_device *device, ls_type type, int64_t n, const uint8_t *condition, const void *a, const void *b, void *y);
    void (*where_backward)(ls_device *device, ls_type type, int64_t n, const uint8_t *condition, const void *dy, void *da, void *db);
    /* rounds to nearest even; from == to copies */
    void (*cast)(ls_device *device, ls_type from, ls_type to, int64_t n, const void *x, void *y);
    void (*add_to)(ls_device *device, ls_type type, int64_t n, const void *x, void *y); /* y += x */
    void (*fill)(ls_device *device, ls_type type, int64_t n, double value, void *y);
    /* y[i] = x[i] / (1 - p) where uniform(stream, first + i) >= p, else 0. Its own backward with dy as x, dx += . */
    void (*dropout)(ls_device *device, ls_type type, int64_t n, double p, const ls_random *stream, uint64_t first, const void *x, void *y, bool accumulate);

    /* y[i] = (x[i] + g) scale, g = -log(-log u), u = (2 (bits(stream, first + i) >> 9) + 1) / 2^24 (Gumbel noise); y may be x */
    void (*gumbel)(ls_device *device, ls_type type, int64_t n, double scale, const ls_random *stream, uint64_t first, const void *x, void *y);

    /* over the middle of [outer, length, inner]; a row (inner = 1) in pieces of LS_CHUNK: each over 16 virtual lanes,
     * then lanes in order, then pieces in order in f64; columns in ascending order. max and min: a NaN wins. */
    void (*reduce)(ls_device *device, ls_reduce op, ls_type type, int64_t outer, int64_t length, int64_t inner, const void *x, void *y);
    /* dx += ; max/min: to the first extreme element */
    void (*reduce_backward)(ls_device *device, ls_reduce op, ls_type type, int64_t outer, int64_t length, int64_t inner, const void *x, const void *y, const void *dy, void *dx);
    /* the k greatest (ties: lower index first), descending; index i32. k = 1 is arg-max. values [may be NULL] */
    void (*top_k)(ls_device *device, ls_type type, int64_t rows, int64_t length, int64_t k, const void *x, void *values, int32_t *index);

    /* Each row by size, equal ones in order of place; a NaN is greater than every number. */
    ls_status (*sort)(ls_device *device, ls_type type, int64_t rows, int64_t length, bool descending, const void *x, void *values, int32_t *index, ls_arena *scratch);
    /* x[r, index[r, j]] += y[r, j] for j of [0, k) in ascending order; x [rows, length] */
    void (*scatter_add_elements)(ls_device *device, ls_type type, int64_t rows, int64_t length, int64_t k, const int32_t *index, const void *y, void *x);
    /* Running sums along the middle of [outer, length, inner], each one chain in f64 from the first element, or from the
     * last (reverse); y = or += */
    void (*cumulative_sum)(ls_device *device, ls_type type, int64_t outer, int64_t length, int64_t inner, bool reverse, bool accumulate, const void *x, void *y);

    /* over the last axis; `log`: log-softmax; y may be x */
    void (*softmax)(ls_device *device, ls_type type, bool log, int64_t rows, int64_t length, const void *x, void *y);
    void (*softmax_backward)(ls_device *device, ls_type type, bool log, int64_t rows, int64_t length, const void *y, const void *dy, void *dx);
    /* gain and bias in gain_type (f32 with bf16 or f16 x), bias NULL: none. stats [rows, 2]: mean and 1/std, f32 (f64). `rms`: no mean, RMS norm. */
    void (*norm)(ls_device *device, ls_type type, ls_type gain_type, bool rms, int64_t rows, int64_t width, double eps, const void *x, const void *gain, const void *bias, void *y, void *stats);
    /* dx +=; dgain +=, dbias += [each may be NULL] in f32 (f64): sums over fixed chunks of 64 rows, then chunks in order */
    void (*norm_backward)(ls_device *device, ls_type type, ls_type gain_type, bool rms, int64_t rows, int64_t width, const void *x, const void *gain, const void *stats, const void *dy, void *dx, void *dgain, void *dbias, ls_arena *scratch);
    /* sum of rows: y [width] f32 (f64) += sum over rows of x [rows, width]; chunks of 64 rows as above (bias gradients) */
    void (*sum_rows)(ls_device *device, ls_type type, int64_t rows, int64_t width, const void *x, void *y, ls_arena *scratch);

    /* rotary positions (Su et al. 2021): x [rows, heads, width], position[rows]; pair j turns by position * frequency[j],
     * frequency [width/2]. interleaved: pairs (2j, 2j+1), else (j, j + width/2). inverse: rotates back (the gradient). y may
     * be x. */
    void (*rotary)(ls_device *device, ls_type type, int64_t rows, int64_t heads, int64_t width, const double *frequency, bool interleaved, bool inverse, const int32_t *position, const void *x, void *y, bool accumulate);
    ls_status (*attention)(ls_device *device, const ls_attention_args *args, ls_arena *scratch);
    ls_status (*attention_backward)(ls_device *device, const ls_attention_args *args, ls_arena *scratch);
    ls_status (*cross_entropy)(ls_device *device, const ls_cross_entropy_args *args, ls_arena *scratch);

    /* *sum = the sum over rows of weights[r] losses[r] in f64, on a CPU in ascending order; rows with label < 0 or weight 0 are left
     * out. labels, weights NULL: all rows count, with 1. Types f32 or f64. */
    void (*sum_losses)(ls_device *device, ls_type type, int64_t rows, const int32_t *labels, const float *weights, const void *losses, ls_type sum_type, void *sum);
    void (*element_loss)(ls_device *device, const ls_element_loss_args *args);
    void (*element_loss_backward)(ls_device *device, const ls_element_loss_args *args);
    void (*row_loss)(ls_device *device, const ls_row_loss_args *args);
    void (*row_loss_backward)(ls_device *device, const ls_row_loss_args *args);
    /* y[r] = a . b / (max(|a|, eps) max(|b|, eps)), stats [rows, 3] f64: a . b, |a|, |b|. da +=, db += [may be NULL] */
    void (*cosine)(ls_device *device, ls_type type, int64_t rows, int64_t width, double eps, const void *a, const void *b, void *y, double *stats);
    void (*cosine_backward)(ls_device *device, ls_type type, int64_t rows, int64_t width, double eps, const void *a, const void *b, const double *stats, const void *dy, void *da, void *db);

    /* convolution: x [batch, in, C], w [O, window, C / groups], y [batch, out, O]. Each sum goes over taps and channels in
     * ascending order in chains of LS_PRODUCT_CHUNK (tensor/cpu/product.h). bias [O] in type_bias, pre: may be NULL. */
    ls_status (*conv)(ls_device *device, const ls_grid *grid, const void *x, const void *w, const void *bias, ls_type type_bias, ls_activation activation, void *y, void *pre, ls_arena *scratch);
    /* dx (+)= the gradient in x: each of its positions gathers from dy */
    ls_status (*conv_input)(ls_device *device, const ls_grid *grid, const void *dy, const void *w, bool accumulate, void *dx, ls_arena *scratch);
    /* dw += , f32 (f64): positions in ascending order in chains of LS_PRODUCT_CHUNK */
    ls_status (*conv_weight)(ls_device *device, const ls_grid *grid, const void *x, const void *dy, void *dw, ls_arena *scratch);
    /* which [batch, out, C] i32: the tap that won (LS_POOL_MAX), for backward; NULL otherwise. dx += */
    void (*pool)(ls_device *device, const ls_grid *grid, ls_pooling_kind kind, const void *x, void *y, int32_t *which);
    void (*pool_backward)(ls_device *device, const ls_grid *grid, ls_pooling_kind kind, const void *dy, const int32_t *which, void *dx);
    /* grid: in and out alone count. Each position of the result (of dx) is summed over the positions it sees (that see it)
     * in ascending order; dx += */
    ls_status (*upsample)(ls_device *device, const ls_grid *grid, ls_upsampling_kind kind, const void *x, void *y, ls_arena *scratch);
    ls_status (*upsample_backward)(ls_device *device, const ls_grid *grid, ls_upsampling_kind kind, const void *dy, void *dx, ls_arena *scratch);
    /* Normalises x [outer, rows, C] over its rows and the C / groups channels of a group: batch norm is outer = 1,
     * groups = C. Statistics: chunks of 256 rows, two passes in cache, merged in ascending order in f64 (Chan et al. 1983).
     * stats [outer, groups, 2] f64: mean and biased variance; with `given` they are read, not computed. */
    ls_status (*group_norm)(ls_device *device, ls_type type, ls_type gain_type, int64_t outer, int64_t rows, int64_t channels, int64_t groups, double eps, bool given, const void *x, const void *gain, const void *bias, void *y, double *stats, ls_arena *scratch);
    /* dx += ; dgain +=, dbias += in f32 (f64) [each may be NULL] */
    ls_status (*group_norm_backward)(ls_device *device, ls_type type, ls_type gain_type, int64_t outer, int64_t rows, int64_t channels, int64_t groups, double eps, const void *x, const void *gain, const double *stats, const void *dy, void *dx, void *dgain, void *dbias, ls_arena *scratch);

    /* moving */
    /* Every element of `shape`: y[by stride_b] = x[by stride_a]. Permute, narrow, concat and split are this one loop. */
    void (*copy_strided)(ls_device *device, ls_type type, const ls_strides *shape, const void *x, void *y);
    /* Its backward: x[by stride_a] += y[by stride_b]; no two elements of `shape` meet in one of x. */
    void (*add_strided)(ls_device *device, ls_type type, const ls_strides *shape, const void *y, void *x);
    /* y[i] = x[index[i]] for rows of `width`; index < 0 gives zeros */
    void (*gather_rows)(ls_device *device, ls_type type, int64_t n, int64_t width, const int32_t *index, const void *x, void *y);
    /* x[index[i]] += y[i] in ascending i for each target row (no atomics); x_type may be wider than y's.
     * `x_rows` rows; index < 0 is skipped. */
    void (*scatter_add_rows)(ls_device *device, ls_type type, ls_type x_type, int64_t n, int64_t width, int64_t x_rows, const int32_t *index, const void *y, void *x, ls_arena *scratch);

    /* flat buffers: loops over memory, not over layers */
    /* dst = ((x + levels[0]) + levels[1]) + ...: the binary counter's carry, one pass. dst may be x or any level. */
    void (*carry)(ls_device *device, int64_t n, const float *x, int levels, const float *const *level, float *dst);
    /* sums[i] = sum of squares of chunk i in f64 (16 lanes, lanes in order); the last chunk may be short */
    void (*chunk_squares)(ls_device *device, int64_t n, const float *x, double *sums);
    void (*optimizer_step)(ls_device *device, const ls_optimizer_args *args);
    /* average += weight * (x - average): an exponential moving average with decay 1 - weight; the weight is rounded to f32 */
    void (*average)(ls_device *device, int64_t n, double weight, const float *x, float *average);
};

/* Before the host reads what a device wrote, or writes where it may still read. The first error of the calls so far. */
static inline ls_status ls_device_wait(ls_device *device)
{
    return device->synchronize ? device->synchronize(device) : LS_OK;
}

/* A block that was prefetched is wanted by the calls from here on; NULL, or a device without staging memory: nothing to do. */
static inline ls_status ls_device_use_prefetched(ls_device *device, const void *block)
{
    return block && device->use_prefetched ? device->use_prefetched(device, block) : LS_OK;
}

/* From here on weights stay as they are, until ls_let_weights_go: a device may keep what it makes of those that calls name as weights,
 * as packed copies. `count` numbers of `type` are all of them, by which a device judges what it has room for. Worth it where weights are used more
 * than once, as by several grains. Changes no bit; weights that change meanwhile would give wrong ones. Returns the bytes of
 * memory that this may take, 0 where nothing is kept. */
static inline size_t ls_hold_weights(ls_device *device, ls_type type, int64_t count)
{
    return device->hold_weights ? device->hold_weights(device, type, count) : 0;
}

static inline void ls_let_weights_go(ls_device *device)
{
    ls_hold_weights(device, LS_F32, 0);
}

/* The same for products of a few rows, which wait for the memory that weights lie in: a device may keep them in less of it. Worth it for some
 * hundred tokens. Ended by a call with count 0. */
static inline size_t ls_hold_for_decoding(ls_device *device, ls_type type, int64_t count)
{
    return device->hold_for_decoding ? device->hold_for_decoding(device, type, count) : 0;
}

/* The CPU device at the pinned (or native) numerics level. The team must outlive it. */
ls_status ls_device_create_cpu(ls_device **device, ls_team *team);

/* CUDA device `number` of this machine, counted around where there are fewer (tensor/cuda/). Its functions only queue
 * work: see `synchronize`. Any array may be the host's or from `allocate`; the host's are copied for each call.
 * LS_ENOTFOUND: no device here, or none in this build. */
ls_status ls_device_create_cuda(ls_device **device, ls_team *team, int number);

/* Of the CUDA device. LIBRARY: cuBLASLt and cuDNN where they have a kernel for the shape, own kernels elsewhere; OWN: own
 * kernels only, for tests. Before the first product. */
typedef enum { LS_CUDA_PRODUCTS_LIBRARY, LS_CUDA_PRODUCTS_OWN } ls_cuda_products;
void ls_device_cuda_products(ls_device *device, ls_cuda_products how);
