#include "tensor/cpu/cpu.h"
#include "tests/tensor/numbers.h"
#include "tests/tensor/paged_case.h"

typedef struct {
    int64_t batch, queries, keys, heads, kv_heads, width;
    bool causal, packed, cross;
    int64_t mask; /* size of a mask's blocks; 0: none */
    int64_t window;
} shape;

/* One key, odd widths, borders of tiles, grouped queries, queries at the end of the keys, no mask, packed cross
 * attention, masks of small and large blocks, windows that end inside a tile, at its border, and beyond the row. */
static const shape shapes[] = {
    {1, 1, 1, 1, 1, 1, .causal = true},
    {2, 7, 7, 3, 3, 5, .causal = true},
    {1, 65, 65, 2, 2, 64, .causal = true},
    {2, 64, 64, 4, 2, 16, .causal = false},
    {1, 130, 130, 6, 2, 24, .causal = true},
    {2, 3, 70, 4, 1, 8, .causal = true},
    {1, 1, 200, 4, 4, 33, .causal = true},
    {2, 90, 90, 4, 2, 16, .causal = true, .packed = true},
    {1, 200, 200, 2, 1, 48, .causal = false, .packed = true},
    {1, 20, 20, 80, 1, 8, .causal = true},
    {1, 40, 40, 1, 1, 300, .causal = true},
    {2, 150, 70, 4, 2, 24, .cross = true},
    {2, 70, 150, 2, 2, 16, .cross = true, .packed = true},
    {2, 100, 150, 2, 1, 20, .mask = 16},
    {1, 150, 170, 12, 4, 16, .mask = 32},
    {2, 140, 140, 2, 2, 64, .mask = 64},
    {1, 200, 290, 2, 2, 24, .mask = 128},
    {2, 150, 150, 4, 2, 16, .causal = true, .window = 20},
    {1, 200, 200, 6, 2, 24, .causal = true, .window = 64},
    {1, 3, 200, 2, 2, 8, .causal = true, .window = 70},
    {1, 1, 130, 2, 1, 8, .causal = true, .window = 1},
    {1, 70, 70, 2, 2, 8, .causal = true, .window = 1000},
    {2, 150, 150, 2, 1, 16, .causal = true, .packed = true, .window = 9},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Segments of 1, 2, 3, ... keys and a long rest; different in each row. Cross attention's begin with padding, and odd
 * segments of the queries and even ones of the keys are longer, so some are cut off or have no partner. */
static int32_t *segments_of(const shape *s, int64_t count, int64_t extra)
{
    int32_t *segment = calloc((size_t)(s->batch * count), sizeof *segment);
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t j = 0, id = s->cross ? -1 : 0, left = 1 + b; j < count; j++) {
            segment[b * count + j] = (int32_t)id;
            if (--left == 0) {
                id++;
                left = id < 6 ? 5 * id + b + (id % 2 == extra ? 3 : 0) + s->cross : count;
            }
        }
    return segment;
}

/* Squares of 16 that are hidden, whole or scattered, and queries that see nothing. */
static bool in_mask(const void *context, int64_t row, int64_t query, int64_t key)
{
    (void)context;
    int64_t kind = (query / 16 * 5 + key / 16 * 3 + row) % 4;
    return query % 23 != 5 && kind != 1 && (kind == 2 || (query * 7 + key * 13 + row * 5) % 11 < 4);
}

static bool sees(const ls_attention_args *x, int64_t b, int64_t i, int64_t j)
{
    if (x->mask)
        return in_mask(NULL, b, i, j);
    if (x->query_segments)
        return x->query_segments[b * x->queries + i] >= 0 &&
               x->query_segments[b * x->queries + i] == x->segments[b * x->keys + j];
    int64_t position = i + x->keys - x->queries;
    return (!x->causal || j <= position) && (!x->window || j > position - x->window) &&
           (!x->segments || x->segments[b * x->keys + j] == x->segments[b * x->keys + position]);
}

static const ls_block_mask *mask_of(const shape *s, ls_mask_sees f)
{
    static ls_arena *masks;
    if (!masks)
        masks = scratch_arena();
    ls_block_mask *mask;
    cr_assert_eq(ls_block_mask_build(&mask, masks, s->batch, s->queries, s->keys, s->mask, f, s), LS_OK, "%s",
                 ls_fail_sentence());
    return mask;
}

static int64_t q_count(const shape *s)
{
    return s->batch * s->queries * s->heads * s->width;
}
static int64_t k_count(const shape *s)
{
    return s->batch * s->keys * s->kv_heads * s->width;
}
static ls_type sums(ls_type type)
{
    return type == LS_F64 ? LS_F64 : LS_F32;
}

/* dq, dk, dv start from numbers, for backward adds to what is there. */
static ls_attention_args arguments(const shape *s, ls_type type)
{
    return (ls_attention_args){.type = type,
                               .batch = s->batch,
                               .queries = s->queries,
                               .keys = s->keys,
                               .heads = s->heads,
                               .kv_heads = s->kv_heads,
                               .width = s->width,
                               .causal = s->causal,
                               .window = s->window,
                               .scale = 1 / sqrt((double)s->width),
                               .segments = s->packed ? segments_of(s, s->keys, 0) : NULL,
                               .query_segments = s->packed && s->cross ? segments_of(s, s->queries, 1) : NULL,
                               .mask = s->mask ? mask_of(s, in_mask) : NULL,
                               .q = numbers(type, q_count(s), 1, 1),
                               .k = numbers(type, k_count(s), 2, 1),
                               .v = numbers(type, k_count(s), 3, 1),
                               .out = array_of(type, q_count(s)),
                               .lse = array_of(sums(type), s->batch * s->heads * s->queries),
                               .dout = numbers(type, q_count(s), 4, 1),
                               .dq = numbers(type, q_count(s), 5, 0.1),
                               .dk = numbers(type, k_count(s), 6, 0.1),
                               .dv = numbers(type, k_count(s), 7, 0.1)};
}

static void release(ls_attention_args *x)
{
    void *all[] = {(void *)x->segments,
                   (void *)x->query_segments,
                   (void *)x->q,
                   (void *)x->k,
                   (void *)x->v,
                   x->out,
                   x->lse,
                   (void *)x->dout,
                   x->dq,
                   x->dk,
                   x->dv};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

typedef struct {
    double *out, *lse, *dq, *dk, *dv;
} wanted;

/* One query's probabilities and its part of every gradient, by the textbook's softmax Jacobian. */
static void reference_query(const ls_attention_args *x, const wanted *w, int64_t b, int64_t i, int64_t h, double *p,
                            double *dp)
{
    int64_t D = x->width, kv = h / (x->heads / x->kv_heads);
    int64_t at = ((b * x->queries + i) * x->heads + h) * D;
    double top = -INFINITY, sum = 0, mean = 0;
    for (int64_t j = 0; j < x->keys; j++) {
        double s = 0;
        for (int64_t d = 0; d < D; d++)
            s += get(x->type, x->q, at + d) * get(x->type, x->k, ((b * x->keys + j) * x->kv_heads + kv) * D + d);
        p[j] = sees(x, b, i, j) ? s * x->scale : -INFINITY;
        top = fmax(top, p[j]);
    }
    for (int64_t j = 0; j < x->keys; j++)
        sum += p[j] = top > -INFINITY ? exp(p[j] - top) : 0;
    w->lse[(b * x->heads + h) * x->queries + i] = top + log(sum);
    if (top == -INFINITY)
        return; /* sees nothing: out and all its gradients are 0 */
    for (int64_t j = 0; j < x->keys; j++) {
        p[j] /= sum;
        dp[j] = 0;
        for (int64_t d = 0; d < D; d++) {
            int64_t key = ((b * x->keys + j) * x->kv_heads + kv) * D + d;
            w->out[at + d] += p[j] * get(x->type, x->v, key);
            dp[j] += get(x->type, x->dout, at + d) * get(x->type, x->v, key);
            w->dv[key] += p[j] * get(x->type, x->dout, at + d);
        }
        mean += p[j] * dp[j];
    }
    for (int64_t j = 0; j < x->keys; j++)
        for (int64_t d = 0; d < D; d++) {
            int64_t key = ((b * x->keys + j) * x->kv_heads + kv) * D + d;
            w->dq[at + d] += p[j] * (dp[j] - mean) * x->scale * get(x->type, x->k, key);
            w->dk[key] += p[j] * (dp[j] - mean) * x->scale * get(x->type, x->q, at + d);
        }
}

static double *doubles_of(ls_type type, const void *x, int64_t count)
{
    double *y = calloc((size_t)count, sizeof *y);
    for (int64_t i = 0; x && i < count; i++)
        y[i] = get(type, x, i);
    return y;
}

/* Where the reference is -infinity, so must x be; then both become 0, to be comparable. */
static void same_infinities(ls_type type, void *x, double *want, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (want[i] == -INFINITY) {
            cr_expect_eq(get(type, x, i), -INFINITY);
            put(type, x, i, want[i] = 0);
        }
}

/* Scratch is not zeros: what nobody sees may be left unwritten, and must stay without effect even where it is no number. */
static void fill_with_nan(ls_arena *scratch)
{
    enum { BYTES = 4 << 20 };
    ls_mark mark = ls_arena_mark(scratch);
    memset(ls_arena_take(scratch, BYTES), 0xff, BYTES);
    ls_arena_release(scratch, mark);
}

static void agrees_with_f64(ls_type type)
{
    ls_device *device = device_of(2);
    ls_arena *scratch = scratch_arena();
    for (int n = 0; n < SHAPES; n++) {
        const shape *s = &shapes[n];
        ls_attention_args x = arguments(s, type);
        wanted w = {doubles_of(type, NULL, q_count(s)), doubles_of(type, NULL, s->batch * s->heads * s->queries),
                    doubles_of(type, x.dq, q_count(s)), doubles_of(type, x.dk, k_count(s)),
                    doubles_of(type, x.dv, k_count(s))};
        double *room = calloc((size_t)s->keys * 2, sizeof *room);
        for (int64_t b = 0; b < s->batch; b++)
            for (int64_t i = 0; i < s->queries; i++)
                for (int64_t h = 0; h < s->heads; h++)
                    reference_query(&x, &w, b, i, h, room, room + s->keys);
        fill_with_nan(scratch);
        cr_assert_eq(device->attention(device, &x, scratch), LS_OK, "%s", ls_fail_sentence());
        fill_with_nan(scratch);
        cr_assert_eq(device->attention_backward(device, &x, scratch), LS_OK, "%s", ls_fail_sentence());
        double limit = tolerance(type) * (ls_type_is_narrow(type) ? 2 : 1); /* out is rounded before backward reads it */
        cr_expect_leq(relative_error(type, x.out, w.out, q_count(s)), limit, "shape %d: out", n);
        same_infinities(sums(type), x.lse, w.lse, s->batch * s->heads * s->queries);
        cr_expect_leq(relative_error(sums(type), x.lse, w.lse, s->batch * s->heads * s->queries), 1e-6, "shape %d: lse",
                      n);
        cr_expect_leq(relative_error(type, x.dq, w.dq, q_count(s)), limit, "shape %d: dq %g", n,
                      relative_error(type, x.dq, w.dq, q_count(s)));
        cr_expect_leq(relative_error(type, x.dk, w.dk, k_count(s)), limit, "shape %d: dk %g", n,
                      relative_error(type, x.dk, w.dk, k_count(s)));
        cr_expect_leq(relative_error(type, x.dv, w.dv, k_count(s)), limit, "shape %d: dv", n);
        cr_assert_eq(ls_arena_used(scratch), 0, "scratch was not given back");
        free(w.out), free(w.lse), free(w.dq), free(w.dk), free(w.dv), free(room);
        release(&x);
    }
    ls_arena_free(scratch);
    device_done(device);
}

Test(attention, agrees_with_f64_in_f32)
{
    agrees_with_f64(LS_F32);
}
Test(attention, agrees_with_f64_in_bf16)
{
    agrees_with_f64(LS_BF16);
}
Test(attention, agrees_with_f64_in_f16)
{
    agrees_with_f64(LS_F16);
}
Test(attention, agrees_with_f64_in_f64)
{
    agrees_with_f64(LS_F64);
}

static bool same(const ls_attention_args *a, const ls_attention_args *b, const shape *s)
{
    size_t size = ls_type_size(a->type), q = (size_t)q_count(s) * size, k = (size_t)k_count(s) * size;
    return !memcmp(a->out, b->out, q) && !memcmp(a->dq, b->dq, q) && !memcmp(a->dk, b->dk, k) &&
           !memcmp(a->dv, b->dv, k);
}

/* f16, and below avx512_bf16 bf16, is f32 that is rounded when out is stored. */
static void is_widened(ls_type type)
{
    ls_arena *scratch = scratch_arena();
    ls_device *device = device_of(2);
    ls_cpu *cpu = device->self;
    cpu->level = cpu->level > LS_NUMERICS_AVX512 ? LS_NUMERICS_AVX512 : cpu->level;
    for (int n = 0; n < SHAPES; n++) {
        const shape *s = &shapes[n];
        ls_attention_args narrow = arguments(s, type), f32 = arguments(s, LS_F32);
        uint16_t *rounded = array_of(type, q_count(s));
        device->cast(device, type, LS_F32, q_count(s), narrow.q, (void *)f32.q);
        device->cast(device, type, LS_F32, k_count(s), narrow.k, (void *)f32.k);
        device->cast(device, type, LS_F32, k_count(s), narrow.v, (void *)f32.v);
        cr_assert_eq(device->attention(device, &narrow, scratch), LS_OK);
        cr_assert_eq(device->attention(device, &f32, scratch), LS_OK);
        device->cast(device, LS_F32, type, q_count(s), f32.out, rounded);
        cr_expect_eq(memcmp(narrow.out, rounded, (size_t)q_count(s) * sizeof *rounded), 0, "shape %d", n);
        free(rounded);
        release(&narrow);
        release(&f32);
    }
    ls_arena_free(scratch);
    device_done(device);
}

Test(attention, what_is_not_multiplied_in_pairs_is_widened)
{
    is_widened(LS_BF16);
    is_widened(LS_F16);
}

Test(attention, any_team_gives_the_same_bits)
{
    ls_arena *scratch = scratch_arena();
    ls_device *device[] = {device_of(1), device_of(2), device_of(3)};
    for (int n = 0; n < SHAPES; n++)
        for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type)) {
            ls_attention_args x[3];
            for (int t = 0; t < 3; t++) {
                x[t] = arguments(&shapes[n], type);
                cr_assert_eq(device[t]->attention(device[t], &x[t], scratch), LS_OK);
                cr_assert_eq(device[t]->attention_backward(device[t], &x[t], scratch), LS_OK);
                cr_expect(same(&x[0], &x[t], &shapes[n]), "shape %d, %d threads", n, t + 1);
            }
            for (int t = 0; t < 3; t++)
                release(&x[t]);
        }
    for (int t = 0; t < 3; t++)
        device_done(device[t]);
    ls_arena_free(scratch);
}

/* The segment [begin, end) of row 0 as a call of its own; what the packed call gave it must be there again. */
static void segment_alone(ls_device *device, ls_arena *scratch, const ls_attention_args *packed, int64_t begin,
                          int64_t end)
{
    const size_t size = ls_type_size(packed->type);
    const size_t q_row = (size_t)(packed->heads * packed->width) * size,
                 k_row = (size_t)(packed->kv_heads * packed->width) * size;
    ls_attention_args x = *packed;
    int64_t length = end - begin;
    x.batch = 1;
    x.queries = x.keys = length;
    x.segments = NULL;
    x.q = (const char *)packed->q + (size_t)begin * q_row;
    x.k = (const char *)packed->k + (size_t)begin * k_row;
    x.v = (const char *)packed->v + (size_t)begin * k_row;
    x.dout = (const char *)packed->dout + (size_t)begin * q_row;
    x.out = array_of(x.type, length * x.heads * x.width);
    x.lse = array_of(LS_F32, length * x.heads);
    x.dq = array_of(x.type, length * x.heads * x.width);
    x.dk = array_of(x.type, length * x.kv_heads * x.width);
    x.dv = array_of(x.type, length * x.kv_heads * x.width);
    cr_assert_eq(device->attention(device, &x, scratch), LS_OK);
    cr_assert_eq(device->attention_backward(device, &x, scratch), LS_OK);
    const struct {
        const char *name;
        const void *alone, *among;
        size_t row;
    } all[] = {{"out", x.out, packed->out, q_row},
               {"dq", x.dq, packed->dq, q_row},
               {"dk", x.dk, packed->dk, k_row},
               {"dv", x.dv, packed->dv, k_row}};
    for (int i = 0; i < 4; i++)
        cr_expect_eq(
            memcmp(all[i].alone, (const char *)all[i].among + (size_t)begin * all[i].row, (size_t)length * all[i].row),
            0, "%s: %s of segment [%d, %d)", ls_type_name(x.type), all[i].name, (int)begin, (int)end);
    free(x.out), free(x.lse), free(x.dq), free(x.dk), free(x.dv);
}

static void packed_as_its_parts(const shape s)
{
    ls_device *device = device_of(2);
    ls_arena *scratch = scratch_arena();
    for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type)) {
        ls_attention_args x = arguments(&s, type);
        memset(x.dq, 0, (size_t)q_count(&s) * ls_type_size(type));
        memset(x.dk, 0, (size_t)k_count(&s) * ls_type_size(type));
        memset(x.dv, 0, (size_t)k_count(&s) * ls_type_size(type));
        cr_assert_eq(device->attention(device, &x, scratch), LS_OK);
        cr_assert_eq(device->attention_backward(device, &x, scratch), LS_OK);
        for (int64_t begin = 0, end; begin < s.keys; begin = end) {
            for (end = begin + 1; end < s.keys && x.segments[end] == x.segments[begin];)
                end++;
            segment_alone(device, scratch, &x, begin, end);
        }
        release(&x);
    }
    ls_arena_free(scratch);
    device_done(device);
}

Test(attention, a_packed_row_gives_the_bits_of_its_parts_alone)
{
    packed_as_its_parts((shape){1, 180, 180, 4, 2, 16, .causal = true, .packed = true});
    packed_as_its_parts((shape){1, 280, 280, 4, 2, 16, .causal = true, .packed = true, .window = 66});
}

/* Decoding: the last n queries alone, and earlier ones against the keys they could see, give what the whole call gave.
 */
static void alone_as_in_the_whole_call(const shape s)
{
    ls_device *device = device_of(2);
    ls_arena *scratch = scratch_arena();
    for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type)) {
        ls_attention_args whole = arguments(&s, type);
        cr_assert_eq(device->attention(device, &whole, scratch), LS_OK);
        const size_t row = (size_t)(s.heads * s.width) * ls_type_size(type);
        char *out = array_of(type, q_count(&s));
        for (int64_t last = 1; last <= s.keys; last += last < 130 ? 7 : 1)
            for (int64_t queries = 1; queries <= last && queries <= 11; queries += 5) {
                ls_attention_args x = whole;
                x.queries = queries;
                x.keys = last;
                x.q = (const char *)whole.q + (size_t)(last - queries) * row;
                x.out = out;
                x.lse = NULL;
                cr_assert_eq(device->attention(device, &x, scratch), LS_OK);
                cr_expect_eq(
                    memcmp(out, (const char *)whole.out + (size_t)(last - queries) * row, (size_t)queries * row), 0,
                    "%d queries of %d keys", (int)queries, (int)last);
            }
        free(out);
        release(&whole);
    }
    ls_arena_free(scratch);
    device_done(device);
}

Test(attention, a_query_alone_gives_the_bits_of_the_whole_call)
{
    alone_as_in_the_whole_call((shape){1, 150, 150, 6, 2, 20, .causal = true});
    alone_as_in_the_whole_call((shape){1, 150, 150, 6, 2, 20, .causal = true, .window = 50});
}

/* On every level: read in place, in pairs, and widened. */
Test(attention, pages_give_the_bits_of_rows)
{
    ls_arena *scratch = scratch_arena();
    ls_device *device = device_of(2);
    ls_cpu *cpu = device->self;
    const ls_numerics best = cpu->level;
    for (cpu->level = LS_NUMERICS_GENERIC; cpu->level <= best; cpu->level++)
        for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type))
            for (int s = 0; s < PAGED_SHAPES; s++)
                paged_equals_whole(device, &paged_shapes[s], type, scratch);
    cpu->level = best;
    ls_arena_free(scratch);
    device_done(device);
}

Test(attention, a_window_beyond_the_row_is_none)
{
    const shape with = {1, 140, 140, 4, 2, 16, .causal = true, .window = 140};
    ls_device *device = device_of(2);
    ls_arena *scratch = scratch_arena();
    ls_attention_args a = arguments(&with, LS_F32), b = arguments(&with, LS_F32), c = arguments(&with, LS_F32);
    b.window = 0, c.window = 139;
    ls_attention_args *all[] = {&a, &b, &c};
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(device->attention(device, all[i], scratch), LS_OK);
        cr_assert_eq(device->attention_backward(device, all[i], scratch), LS_OK);
    }
    cr_expect(same(&a, &b, &with));
    cr_expect_not(same(&a, &c, &with), "one key less is another result");
    release(&a), release(&b), release(&c);
    ls_arena_free(scratch);
    device_done(device);
}

Test(attention, its_memory_grows_linearly)
{
    size_t high[2];
    ls_device *device = device_of(1);
    for (int i = 0; i < 2; i++) {
        shape s = {1, 512 << i, 512 << i, 2, 2, 20, .causal = true};
        ls_arena *scratch = scratch_arena();
        ls_attention_args x = arguments(&s, LS_F32);
        cr_assert_eq(device->attention(device, &x, scratch), LS_OK);
        cr_assert_eq(device->attention_backward(device, &x, scratch), LS_OK);
        high[i] = ls_arena_high(scratch);
        release(&x);
        ls_arena_free(scratch);
    }
    cr_assert_leq(high[1], 2 * high[0]);
    device_done(device);
}

Test(attention, an_empty_batch_is_no_error)
{
    ls_device *device = device_of(1);
    ls_attention_args x = {.batch = 0, .queries = 3, .keys = 3, .heads = 1, .kv_heads = 1, .width = 4};
    cr_assert_eq(device->attention(device, &x, NULL), LS_OK);
    cr_assert_eq(device->attention_backward(device, &x, NULL), LS_OK);
    device_done(device);
}
