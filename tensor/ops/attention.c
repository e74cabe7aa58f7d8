/* Rotary positions (Su et al. 2021) and attention with memory linear in T (Dao et al. 2022); the kernels are the
 * device's. Here: shapes, what is kept for backward, and how many query-key pairs are really visible. */
#include "tensor/ops/shapes.h"

/* ---- rotary ---- */

typedef struct {
    const int32_t *positions; /* [B * T], on the arena */
    double base;
    bool interleaved;
} rotary_attributes;

static ls_status rotary_shape(ls_node *node)
{
    const rotary_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    if (x->ndim != 4 || x->shape[3] % 2)
        return ls_fail(LS_ESHAPE, "%s: it must be [B, T, heads, width] with an even width", ls_describe(x).text);
    if (!(at->base > 0))
        return ls_fail(LS_EARG, "base is %g, it must be above 0", at->base);
    return ls_shape_like_input(node);
}

static void rotate(const ls_node *node, ls_device *device, bool inverse, const void *from, void *to, bool accumulate)
{
    const rotary_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    device->rotary(device, x->type, x->shape[0] * x->shape[1], x->shape[2], x->shape[3], at->base, at->interleaved,
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

ls_tensor *ls_rotary(ls_tape *tape, ls_tensor *x, const int32_t *positions, double base, bool interleaved)
{
    int64_t rows = x->shape[0] * x->shape[1];
    const rotary_attributes at = {.base = base,
                                  .interleaved = interleaved,
                                  .positions =
                                      x->ndim == 4 ? ls_copy_array(tape, positions, rows, sizeof *positions) : NULL};
    return ls_apply(tape, &rotary_op, 1, &x, &at, sizeof at, 1, NULL);
}

/* ---- attention ---- */

typedef struct {
    bool causal;
    const int32_t *segments; /* [B, Tk], on the arena; NULL: one a row */
    double pairs;            /* visible query-key pairs of all rows, a head: for the count of flops */
} attention_attributes;

enum { SAVED_LSE };

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
    if (q->shape[2] % k->shape[2])
        return ls_fail(LS_ESHAPE, "%lld query heads are not a multiple of %lld key/value heads", (long long)q->shape[2],
                       (long long)k->shape[2]);
    if ((at->causal || at->segments) && q->shape[1] > k->shape[1])
        return ls_fail(LS_ESHAPE, "%lld queries but %lld keys: with a mask the queries stand at the last keys",
                       (long long)q->shape[1], (long long)k->shape[1]);
    ls_set_shape(node->out[0], q->type, q->ndim, q->shape);
    return LS_OK;
}

/* Query i of Tq stands at key position i + Tk - Tq, sees its own segment, and if causal nothing after itself. */
static double visible_pairs(const ls_tensor *q, const ls_tensor *k, const attention_attributes *at)
{
    int64_t batch = q->shape[0], queries = q->shape[1], keys = k->shape[1];
    if (!at->causal && !at->segments)
        return (double)batch * (double)queries * (double)keys;
    double pairs = 0;
    for (int64_t b = 0; b < batch; b++) {
        const int32_t *segment = at->segments ? at->segments + b * keys : NULL;
        for (int64_t begin = 0, end; begin < keys; begin = end) {
            for (end = begin + 1; end < keys && (!segment || segment[end] == segment[begin]); end++)
                ;
            int64_t first = begin > keys - queries ? begin : keys - queries; /* first query of this segment */
            if (first >= end)
                continue;
            double seen_first = (double)(first - begin + 1), seen_last = (double)(end - begin);
            pairs += (double)(end - first) * (at->causal ? (seen_first + seen_last) / 2 : seen_last);
        }
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
        .segments = at->segments,
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
    const ls_tensor *q = node->in[0];
    size_t lse_count = (size_t)(q->shape[0] * q->shape[1] * q->shape[2]);
    at->pairs = visible_pairs(q, node->in[1], at);
    node->saved[SAVED_LSE] = ls_node_take(node, lse_count * ls_type_size(ls_wide_type(q->type)));
    if (!node->saved[SAVED_LSE])
        return LS_EMEM;
    ls_attention_args args = attention_args(node);
    ls_arena *arena = ls_tape_arena(node->tape);
    ls_mark mark = ls_arena_mark(arena);
    ls_status status = device->attention(device, &args, arena);
    ls_arena_release(arena, mark);
    count_flops(node, 2);
    return status;
}

static ls_status attention_backward(ls_node *node, ls_device *device)
{
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

ls_tensor *ls_attention(ls_tape *tape, ls_tensor *q, ls_tensor *k, ls_tensor *v, bool causal, const int32_t *segments)
{
    attention_attributes at = {.causal = causal};
    if (segments && k->ndim == 4) /* NULL: the error is raised, ls_apply does nothing */
        at.segments = ls_copy_array(tape, segments, k->shape[0] * k->shape[1], sizeof *segments);
    return ls_apply(tape, &attention_op, 3, (ls_tensor *[]){q, k, v}, &at, sizeof at, 1, NULL);
}
