/* Rotary positions (Su et al. 2021) and attention with memory linear in T (Dao et al. 2022); the kernels are the
 * device's. Here: shapes, what is kept for backward, and how many query-key pairs are really visible. */
#include "tensor/ops/shapes.h"

#include "base/math.h"

#include <math.h>
#include <string.h>

/* ---- rotary ---- */

typedef struct {
    const int32_t *positions; /* [B * T], on the arena */
    const double *frequency;  /* [width / 2], on the arena */
    bool interleaved;
} rotary_attributes;

static ls_status rotary_shape(ls_node *node)
{
    const rotary_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    if (x->ndim != 4 || x->shape[3] % 2)
        return ls_fail(LS_ESHAPE, "%s: it must be [B, T, heads, width] with an even width", ls_describe(x).text);
    for (int64_t j = 0; at->frequency && j < x->shape[3] / 2; j++)
        if (!isfinite(at->frequency[j]))
            return ls_fail(LS_EARG, "frequency %lld is %g; a base must be above 0", (long long)j, at->frequency[j]);
    return ls_shape_like_input(node);
}

static void rotate(const ls_node *node, ls_device *device, bool inverse, const void *from, void *to, bool accumulate)
{
    const rotary_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    device->rotary(device, x->type, x->shape[0] * x->shape[1], x->shape[2], x->shape[3], at->frequency, at->interleaved,
                   inverse, at->positions, from, to, accumulate);
}

static ls_status rotary_forward(ls_node *node, ls_device *device)
{
    rotate(node, device, false, node->in[0]->data, node->out[0]->data, false);
    return LS_OK;
}

static ls_status rotary_backward(ls_node *node, ls_device *device)
{
    bool accumulate;
    void *dx = ls_gradient_open(node, 0, node->in[0]->type, &accumulate);
    if (dx)
        rotate(node, device, true, node->out[0]->grad, dx, accumulate);
    return LS_OK;
}

static const ls_op rotary_op = {"rotary", rotary_shape, rotary_forward, rotary_backward};

ls_tensor *ls_rotary_by(ls_tape *tape, ls_tensor *x, const int32_t *positions, const double *frequency,
                        bool interleaved)
{
    rotary_attributes at = {.interleaved = interleaved};
    if (x->ndim == 4) { /* else the shape rule refuses it */
        at.positions = ls_keep_array(tape, positions, x->shape[0] * x->shape[1], sizeof *positions);
        at.frequency = ls_copy_array(tape, frequency, x->shape[3] / 2, sizeof *frequency);
    }
    return ls_apply(tape, &rotary_op, 1, &x, &at, sizeof at, 1, NULL);
}

ls_tensor *ls_rotary(ls_tape *tape, ls_tensor *x, const int32_t *positions, double base, bool interleaved)
{
    const int64_t pairs = x->ndim == 4 ? x->shape[3] / 2 : 0;
    double *frequency = ls_arena_array(ls_tape_arena(tape), double, pairs);
    for (int64_t j = 0; frequency && j < pairs; j++)
        frequency[j] = ls_math_pow(base, (double)(-2 * j) / (double)x->shape[3]);
    if (!frequency)
        ls_tape_raise(tape, LS_EMEM, "the arena has no room for %lld frequencies", (long long)pairs);
    return ls_rotary_by(tape, x, positions, frequency, interleaved);
}

/* ---- attention ---- */

typedef struct {
    bool causal;
    int64_t window;                           /* 0: none */
    const int32_t *segments, *query_segments; /* [B, Tk], [B, Tq] on the arena, or NULL */
    const ls_block_mask *mask;                /* the caller's, or NULL */
    double pairs;                             /* visible query-key pairs of all rows, a head: for the count of flops */
} attention_attributes;

enum { SAVED_LSE };

/* Ids from 0 on must come in ascending runs: the device finds a query's keys in one pass. */
static ls_status check_ascending(const char *what, const int32_t *id, int64_t rows, int64_t count)
{
    for (int64_t row = 0; row < rows; row++, id += count) {
        int32_t highest = -1;
        for (int64_t i = 0; i < count; i++) {
            bool begins = id[i] >= 0 && (i == 0 || id[i] != id[i - 1]);
            if (begins && id[i] <= highest)
                return ls_fail(LS_EARG,
                               "row %lld: %s %lld is of segment %d after one of %d; each segment is one run, and "
                               "their ids ascend",
                               (long long)row, what, (long long)i, id[i], highest);
            highest = begins ? id[i] : highest;
        }
    }
    return LS_OK;
}

static ls_status check_cross_segments(const attention_attributes *at, const ls_tensor *q, const ls_tensor *k)
{
    ls_status status = check_ascending("query", at->query_segments, q->shape[0], q->shape[1]);
    return status == LS_OK ? check_ascending("key", at->segments, k->shape[0], k->shape[1]) : status;
}

static ls_status attention_shape(ls_node *node)
{
    const attention_attributes *at = node->attributes;
    const ls_tensor *q = node->in[0], *k = node->in[1], *v = node->in[2];
    ls_status status = ls_check_types(node);
    if (status != LS_OK)
        return status;
    bool same =
        q->ndim == 4 && k->ndim == 4 && v->ndim == 4 && q->shape[0] == k->shape[0] && q->shape[3] == k->shape[3];
    for (int i = 0; same && i < 4; i++)
        same = k->shape[i] == v->shape[i];
    if (!same)
        return ls_fail(LS_ESHAPE, "q %s, k %s, v %s: they must be [B, Tq, H, D], [B, Tk, Hkv, D] twice",
                       ls_describe(q).text, ls_describe(k).text, ls_describe(v).text);
    if (k->shape[2] ? q->shape[2] % k->shape[2] : q->shape[2])
        return ls_fail(LS_ESHAPE, "%lld query heads are not a multiple of %lld key/value heads", (long long)q->shape[2],
                       (long long)k->shape[2]);
    if (at->window < 0)
        return ls_fail(LS_EARG, "window is %lld, it must be at least 0 (all)", (long long)at->window);
    if (at->mask)
        status = ls_block_mask_check(at->mask, q->shape[0], q->shape[1], k->shape[1]);
    else if (at->query_segments)
        status = check_cross_segments(at, q, k);
    else if ((at->causal || at->segments) && q->shape[1] > k->shape[1])
        return ls_fail(LS_ESHAPE, "%lld queries but %lld keys: with a mask the queries stand at the last keys",
                       (long long)q->shape[1], (long long)k->shape[1]);
    ls_set_shape(node->out[0], q->type, q->ndim, q->shape);
    return status;
}

/* Query i of Tq stands at key position i + Tk - Tq, sees its own segment, and if causal nothing after itself. */
static double self_pairs(const attention_attributes *at, const int32_t *segment, int64_t queries, int64_t keys)
{
    double pairs = 0;
    for (int64_t begin = 0, end; begin < keys; begin = end) {
        for (end = begin + 1; end < keys && (!segment || segment[end] == segment[begin]); end++)
            ;
        int64_t first = begin > keys - queries ? begin : keys - queries; /* first query of this segment */
        if (first >= end)
            continue;
        double seen_first = (double)(first - begin + 1), seen_last = (double)(end - begin);
        pairs += (double)(end - first) * (at->causal ? (seen_first + seen_last) / 2 : seen_last);
        for (int64_t query = first; at->window && query < end; query++) /* what the window hides again */
            pairs -= query - begin >= at->window ? (double)(query - begin + 1 - at->window) : 0;
    }
    return pairs;
}

static double cross_pairs(const int32_t *query_id, int64_t queries, const int32_t *key_id, int64_t keys)
{
    double pairs = 0;
    for (int64_t begin = 0, end, key = 0; begin < queries; begin = end) {
        int64_t seen = 0;
        for (end = begin + 1; end < queries && query_id[end] == query_id[begin]; end++)
            ;
        for (; query_id[begin] >= 0 && key < keys && key_id[key] <= query_id[begin]; key++)
            seen += key_id[key] == query_id[begin];
        pairs += (double)(end - begin) * (double)seen;
    }
    return pairs;
}

static double visible_pairs(const ls_tensor *q, const ls_tensor *k, const attention_attributes *at)
{
    int64_t batch = q->shape[0], queries = q->shape[1], keys = k->shape[1];
    if (at->mask)
        return (double)ls_block_mask_pairs(at->mask, batch);
    if (!at->causal && !at->segments)
        return (double)batch * (double)queries * (double)keys;
    double pairs = 0;
    for (int64_t b = 0; b < batch; b++) {
        const int32_t *segment = at->segments ? at->segments + b * keys : NULL;
        pairs += at->query_segments ? cross_pairs(at->query_segments + b * queries, queries, segment, keys)
                                    : self_pairs(at, segment, queries, keys);
    }
    return pairs;
}

static ls_attention_args attention_args(const ls_node *node)
{
    const attention_attributes *at = node->attributes;
    const ls_tensor *q = node->in[0], *k = node->in[1];
    return (ls_attention_args){
        .type = q->type,
        .batch = q->shape[0],
        .queries = q->shape[1],
        .keys = k->shape[1],
        .heads = q->shape[2],
        .kv_heads = k->shape[2],
        .width = q->shape[3],
        .causal = at->causal,
        .window = at->window,
        .segments = at->segments,
        .query_segments = at->query_segments,
        .mask = at->mask,
        .scale = 1 / __builtin_sqrt((double)q->shape[3]),
        .q = q->data,
        .k = k->data,
        .v = node->in[2]->data,
        .out = node->out[0]->data,
        .lse = node->saved[SAVED_LSE],
    };
}

/* `products`: matrix products over the visible pairs, two in forward, five in backward. */
static void count_flops(const ls_node *node, int products)
{
    const attention_attributes *at = node->attributes;
    const ls_tensor *q = node->in[0];
    ls_tape_count_flops(node->tape, 2.0 * products * at->pairs * (double)q->shape[2] * (double)q->shape[3]);
}

static ls_status attention_forward(ls_node *node, ls_device *device)
{
    attention_attributes *at = node->attributes;
    const ls_tensor *q = node->in[0], *out = node->out[0];
    if (node->in[1]->count == 0) { /* queries, but no key: they see nothing */
        device->fill(device, out->type, out->count, 0, out->data);
        return LS_OK;
    }
    size_t lse_count = (size_t)(q->shape[0] * q->shape[1] * q->shape[2]);
    at->pairs = visible_pairs(q, node->in[1], at);
    node->saved[SAVED_LSE] = ls_node_take(node, lse_count * ls_type_size(ls_wide_type(q->type)));
    if (!node->saved[SAVED_LSE])
        return LS_EMEM;
    ls_attention_args args = attention_args(node);
    ls_arena *arena = ls_tape_arena(node->tape);
    const ls_tape_mark mark = ls_tape_marked(node->tape);
    ls_status status = device->attention(device, &args, arena);
    ls_tape_release(node->tape, mark);
    count_flops(node, 2);
    return status;
}

static ls_status attention_backward(ls_node *node, ls_device *device)
{
    if (node->in[1]->count == 0) {
        ls_gradient(node, 0);
        return LS_OK;
    }
    ls_attention_args args = attention_args(node);
    void *gradient[3];
    for (int i = 0; i < 3; i++) {
        ls_tensor *x = node->in[i];
        gradient[i] = ls_gradient(node, i);
        if (gradient[i])
            continue;
        gradient[i] = ls_node_take(node, (size_t)x->count * ls_type_size(x->type)); /* the device makes all three */
        if (!gradient[i])
            return LS_EMEM;
        device->fill(device, x->type, x->count, 0, gradient[i]);
    }
    args.dout = node->out[0]->grad;
    args.dq = gradient[0], args.dk = gradient[1], args.dv = gradient[2];
    count_flops(node, 5);
    return device->attention_backward(device, &args, ls_tape_arena(node->tape));
}

static const ls_op attention_op = {"attention", attention_shape, attention_forward, attention_backward};
static const ls_op cross_op = {"cross_attention", attention_shape, attention_forward, attention_backward};
static const ls_op masked_op = {"masked_attention", attention_shape, attention_forward, attention_backward};

static ls_tensor *apply(ls_tape *tape, const ls_op *op, ls_tensor *q, ls_tensor *k, ls_tensor *v,
                        const attention_attributes *at)
{
    return ls_apply(tape, op, 3, (ls_tensor *[]){q, k, v}, at, sizeof *at, 1, NULL);
}

/* [B, T] ids of x [B, T, H, D]; given NULL: all 0. NULL where it cannot be: the error is raised, ls_apply does nothing.
 */
static const int32_t *segment_ids(ls_tape *tape, const ls_tensor *x, const int32_t *given)
{
    if (x->ndim != 4)
        return NULL; /* the shape rule refuses it */
    int64_t count = x->shape[0] * x->shape[1];
    if (given)
        return ls_keep_array(tape, given, count, sizeof *given);
    int32_t *zeros = ls_arena_array(ls_tape_arena(tape), int32_t, count);
    if (!zeros)
        ls_tape_raise(tape, LS_EMEM, "the arena has no room for %lld segment ids", (long long)count);
    else
        memset(zeros, 0, (size_t)count * sizeof *zeros);
    return zeros;
}

ls_tensor *ls_attention(ls_tape *tape, ls_tensor *q, ls_tensor *k, ls_tensor *v, bool causal, const int32_t *segments)
{
    return apply(
        tape, &attention_op, q, k, v,
        &(attention_attributes){.causal = causal, .segments = segments ? segment_ids(tape, k, segments) : NULL});
}

ls_tensor *ls_window_attention(ls_tape *tape, ls_tensor *q, ls_tensor *k, ls_tensor *v, int64_t window,
                               const int32_t *segments)
{
    return apply(tape, &attention_op, q, k, v,
                 &(attention_attributes){.causal = true,
                                         .window = window,
                                         .segments = segments ? segment_ids(tape, k, segments) : NULL});
}

ls_tensor *ls_cross_attention(ls_tape *tape, ls_tensor *q, ls_tensor *k, ls_tensor *v, const int32_t *query_segments,
                              const int32_t *key_segments)
{
    attention_attributes at = {0};
    if (query_segments || key_segments) {
        at.query_segments = segment_ids(tape, q, query_segments);
        at.segments = segment_ids(tape, k, key_segments);
    }
    return apply(tape, &cross_op, q, k, v, &at);
}

ls_tensor *ls_masked_attention(ls_tape *tape, ls_tensor *q, ls_tensor *k, ls_tensor *v, const ls_block_mask *mask)
{
    if (!mask)
        ls_tape_raise(tape, LS_EARG, "operator masked_attention: there is no mask; ls_block_mask_build failed");
    return apply(tape, &masked_op, q, k, v, &(attention_attributes){.mask = mask});
}
