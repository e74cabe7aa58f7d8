/* Rotary positions and attention. */
#include "tests/tensor/operators/family.h"

static int32_t position_at(int64_t i, int64_t length)
{
    return (int32_t)((i * 5 + 2) % (2 * length));
}

static ls_tensor *build_rotary(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    int64_t rows = size(c, 0, 0) * size(c, 0, 1);
    return ls_rotary(tape, in[0], numbers(tape, rows, position_at, size(c, 0, 1)), 10000, c->argument[0] != 0);
}

/* A pair (a, b) is the complex number a + ib, turned by position * base^(-2j/width). */
static void value_rotary(const operator_case *c, const double *const *in, double *out)
{
    int64_t heads = size(c, 0, 2), width = size(c, 0, 3);
    for (int64_t i = 0; i < operator_input_count(c, 0); i++) {
        int64_t at = i % width, row = i / width, half = width / 2, j = c->argument[0] ? at / 2 : at % half;
        bool second = c->argument[0] ? at % 2 : at >= half;
        int64_t partner = i + (second ? -1 : 1) * (c->argument[0] ? 1 : half);
        double angle = position_at(row / heads, size(c, 0, 1)) * pow(10000, -2.0 * (double)j / (double)width);
        out[i] = in[0][i] * cos(angle) + (second ? 1 : -1) * in[0][partner] * sin(angle);
    }
}

/* Arguments: causal; segments of about this many keys, 0: none. */
static int32_t segment_at(int64_t i, int64_t length)
{
    return (int32_t)(i / length);
}

static ls_tensor *build_attention(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    int64_t keys = size(c, 1, 0) * size(c, 1, 1);
    const int32_t *segments = c->argument[1] ? numbers(tape, keys, segment_at, c->argument[1]) : NULL;
    return ls_attention(tape, in[0], in[1], in[2], c->argument[0] != 0, segments);
}

static ls_tensor *build_rotary_by(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    int64_t rows = size(c, 0, 0) * size(c, 0, 1), pairs = size(c, 0, 3) / 2;
    double *frequency = ls_arena_array(ls_tape_arena(tape), double, pairs);
    for (int64_t j = 0; j < pairs; j++)
        frequency[j] = 1.5 - 0.4 * (double)j;
    return ls_rotary_by(tape, in[0], numbers(tape, rows, position_at, size(c, 0, 1)), frequency, false);
}

static void value_rotary_by(const operator_case *c, const double *const *in, double *out)
{
    int64_t heads = size(c, 0, 2), width = size(c, 0, 3), half = width / 2;
    for (int64_t i = 0; i < operator_input_count(c, 0); i++) {
        int64_t at = i % width;
        double angle = position_at(i / width / heads, size(c, 0, 1)) * (1.5 - 0.4 * (double)(at % half));
        out[i] = in[0][i] * cos(angle) + (at < half ? -in[0][i + half] : in[0][i - half]) * sin(angle);
    }
}

static ls_tensor *build_window(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    int64_t keys = size(c, 1, 0) * size(c, 1, 1);
    const int32_t *segments = c->argument[1] ? numbers(tape, keys, segment_at, c->argument[1]) : NULL;
    return ls_window_attention(tape, in[0], in[1], in[2], c->argument[2], segments);
}

/* softmax over the keys that `sees` names, times v; 0 where it names none. */
typedef bool (*sees_key)(const operator_case *c, int64_t batch, int64_t query, int64_t key);

static void value_seeing(const operator_case *c, const double *const *in, double *out, sees_key sees)
{
    int64_t Tq = size(c, 0, 1), H = size(c, 0, 2), D = size(c, 0, 3), Tk = size(c, 1, 1), Hkv = size(c, 1, 2);
    for (int64_t row = 0; row < size(c, 0, 0) * Tq * H; row++) { /* one query of one head */
        int64_t b = row / (Tq * H), h = row % H * Hkv / H;
        double total = 0;
        memset(out + row * D, 0, (size_t)D * sizeof *out);
        for (int64_t j = 0; j < Tk; j++) {
            if (!sees(c, b, row / H % Tq, j))
                continue;
            int64_t key = ((b * Tk + j) * Hkv + h) * D;
            double score = 0, weight;
            for (int64_t d = 0; d < D; d++)
                score += in[0][row * D + d] * in[1][key + d];
            total += weight = exp(score / sqrt((double)D));
            for (int64_t d = 0; d < D; d++)
                out[row * D + d] += weight * in[2][key + d];
        }
        for (int64_t d = 0; d < D && total > 0; d++)
            out[row * D + d] /= total;
    }
}

static bool sees_self(const operator_case *c, int64_t batch, int64_t query, int64_t key)
{
    int64_t keys = size(c, 1, 1), at = query + keys - size(c, 0, 1), length = c->argument[1];
    return !(c->argument[0] && key > at) && !(c->argument[2] && key <= at - c->argument[2]) &&
           !(length && segment_at(batch * keys + key, length) != segment_at(batch * keys + at, length));
}

static void value_attention(const operator_case *c, const double *const *in, double *out)
{
    value_seeing(c, in, out, sees_self);
}

/* Cross attention. Arguments: segments of about this many queries, and of this many keys, 0: none given. The first key
 * of each row is padding, and so is a query before each segment. Segments run out on one side before the other. */
static int32_t query_id_at(int64_t i, int64_t length)
{
    return length > 1 && i % length == 0 ? -1 : (int32_t)(i / length);
}

static int32_t key_id_at(int64_t i, int64_t length)
{
    return i == 0 ? -1 : (int32_t)(i / length);
}

static const int32_t *ids(ls_tape *tape, int64_t rows, int64_t count, int32_t (*id)(int64_t i, int64_t length),
                          int64_t length)
{
    int32_t *out = length ? ls_arena_array(ls_tape_arena(tape), int32_t, rows * count) : NULL;
    for (int64_t i = 0; out && i < rows * count; i++)
        out[i] = id(i % count, length);
    return out;
}

static ls_tensor *build_cross(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_cross_attention(tape, in[0], in[1], in[2],
                              ids(tape, size(c, 0, 0), size(c, 0, 1), query_id_at, c->argument[0]),
                              ids(tape, size(c, 1, 0), size(c, 1, 1), key_id_at, c->argument[1]));
}

static bool sees_cross(const operator_case *c, int64_t batch, int64_t query, int64_t key)
{
    (void)batch;
    int32_t query_id = c->argument[0] ? query_id_at(query, c->argument[0]) : 0,
            key_id = c->argument[1] ? key_id_at(key, c->argument[1]) : 0;
    return query_id >= 0 && query_id == key_id;
}

static void value_cross(const operator_case *c, const double *const *in, double *out)
{
    value_seeing(c, in, out, sees_cross);
}

/* Block masks. Arguments: which mask, the block size, one mask for all rows. */
enum { CAUSAL, SCATTERED, WINDOW, NOTHING_FOR_SOME, LUD };

/* The mask of lexical unit decoding (Sun et al. 2024), packed: a row of real tokens, then blocks of 3 slots that stand
 * for the tokens from `start` on. A slot sees the real tokens before start, and its own block up to itself. */
static bool sees_lud(int64_t tokens, int64_t query, int64_t key)
{
    int64_t real = tokens / 2, own = (query - real) / 3, start = (own * 5 + 3) % real;
    if (query < real)
        return key <= query;
    return key < real ? key < start : (key - real) / 3 == own && key <= query;
}

static bool sees_masked(const operator_case *c, int64_t batch, int64_t query, int64_t key)
{
    int64_t row = c->argument[2] ? 0 : batch;
    switch (c->argument[0]) {
    case CAUSAL: return key <= query + size(c, 1, 1) - size(c, 0, 1);
    case SCATTERED: return (query * 7 + key * 13 + row * 5) % 11 < 3;
    case WINDOW: return key / 4 >= query / 4 - 1 - row && key <= query + 1;
    case NOTHING_FOR_SOME: return query % 3 != 1 && query / 16 != 1 && key / 16 != 0;
    default: return sees_lud(size(c, 0, 1), query, key);
    }
}

static bool sees_in_case(const void *context, int64_t row, int64_t query, int64_t key)
{
    return sees_masked(context, row, query, key);
}

static ls_tensor *build_masked(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    ls_block_mask *mask;
    ls_status status = ls_block_mask_build(&mask, ls_tape_arena(tape), c->argument[2] ? 1 : size(c, 0, 0),
                                           size(c, 0, 1), size(c, 1, 1), c->argument[1], sees_in_case, c);
    if (status != LS_OK)
        ls_tape_raise(tape, status, "%s", ls_fail_sentence());
    return ls_masked_attention(tape, in[0], in[1], in[2], mask);
}

static void value_masked(const operator_case *c, const double *const *in, double *out)
{
    value_seeing(c, in, out, sees_masked);
}

static double flops_attention(const operator_case *c)
{
    return 4.0 * (double)operator_input_count(c, 0) * (double)size(c, 1, 1) * (c->argument[0] ? 0.5 : 1);
}

static double flops_cross(const operator_case *c)
{
    return 4.0 * (double)operator_input_count(c, 0) * (double)size(c, 1, 1);
}

static void draw_rotary(fuzz *f, operator_case *c)
{
    for (int i = 0; i < 4; i++)
        fuzz_append(c, 0, fuzz_size(f) * (i == 3 ? 2 : 1));
    c->argument[0] = fuzz_below(f, 2);
}

static void draw_heads(fuzz *f, operator_case *c)
{
    int64_t batch = fuzz_size(f), queries = fuzz_size(f), keys = fuzz_size(f), heads = fuzz_size(f), width = fuzz_size(f);
    int64_t shared = 1 + fuzz_below(f, 2);
    for (int i = 0; i < 3; i++) {
        fuzz_append(c, i, batch), fuzz_append(c, i, i ? keys : queries);
        fuzz_append(c, i, i ? heads : heads * shared), fuzz_append(c, i, width);
    }
}

/* With a mask the queries stand at the last keys, so there are no fewer keys. */
static void draw_attention(fuzz *f, operator_case *c)
{
    draw_heads(f, c);
    bool masked = size(c, 0, 1) <= size(c, 1, 1);
    c->argument[0] = masked && fuzz_below(f, 2);
    c->argument[1] = masked && fuzz_below(f, 2) ? 1 + fuzz_below(f, 4) : 0;
}

/* Any frequencies: they are the pairs', so any even width. */
static void draw_rotary_by(fuzz *f, operator_case *c)
{
    draw_rotary(f, c);
    c->argument[0] = 0;
}

/* Causal, so there are at least as many keys as queries. */
static void draw_window(fuzz *f, operator_case *c)
{
    draw_heads(f, c);
    for (int i = 1; i < 3; i++)
        c->in[i].shape[1] += c->in[0].shape[1];
    c->argument[0] = 1, c->argument[2] = 1 + fuzz_below(f, 6);
    c->argument[1] = fuzz_below(f, 2) ? 1 + fuzz_below(f, 4) : 0;
}

static void draw_cross(fuzz *f, operator_case *c)
{
    draw_heads(f, c);
    c->argument[0] = fuzz_below(f, 4), c->argument[1] = fuzz_below(f, 5);
}

/* Not lexical units, which are of a layout of their own. */
static void draw_masked(fuzz *f, operator_case *c)
{
    draw_heads(f, c);
    c->argument[0] = fuzz_below(f, LUD), c->argument[1] = 16 << fuzz_below(f, 3), c->argument[2] = fuzz_below(f, 2);
}

/* clang-format off */
/* causal, segments, window */
static const operator_case windows[] = {
    {"short", {{4, {2, 7, 4, 3}}, {4, {2, 7, 2, 3}}, {4, {2, 7, 2, 3}}}, {1, 0, 3}},
    {"only itself", {{4, {1, 5, 1, 2}}, {4, {1, 5, 1, 2}}, {4, {1, 5, 1, 2}}}, {1, 0, 1}},
    {"segments", {{4, {2, 9, 2, 3}}, {4, {2, 9, 1, 3}}, {4, {2, 9, 1, 3}}}, {1, 4, 2}},
    {"later queries", {{4, {1, 2, 2, 3}}, {4, {1, 8, 2, 3}}, {4, {1, 8, 2, 3}}}, {1, 0, 4}},
    {"beyond a tile", {{4, {1, 70, 1, 2}}, {4, {1, 70, 1, 2}}, {4, {1, 70, 1, 2}}}, {1, 0, 5}},
    {0},
};
static const operator_case rotaries_by[] = {{"any frequencies", {{4, {2, 3, 2, 6}}}, {0}}, {0}};
static const operator_case rotaries[] = {
    {"halves", {{4, {2, 3, 2, 6}}}, {0}},
    {"pairs", {{4, {2, 3, 2, 6}}}, {1}},
    {"one pair", {{4, {1, 5, 1, 2}}}, {0}},
    {0},
};
static const operator_case crosses[] = {
    {"fewer keys", {{4, {2, 7, 2, 3}}, {4, {2, 4, 2, 3}}, {4, {2, 4, 2, 3}}}, {0, 0}},
    {"more keys, grouped queries", {{4, {1, 3, 4, 4}}, {4, {1, 9, 2, 4}}, {4, {1, 9, 2, 4}}}, {0, 0}},
    {"padded keys", {{4, {2, 3, 1, 3}}, {4, {2, 6, 1, 3}}, {4, {2, 6, 1, 3}}}, {0, 7}},
    {"padded queries", {{4, {1, 6, 2, 3}}, {4, {1, 4, 2, 3}}, {4, {1, 4, 2, 3}}}, {7, 0}},
    {"packed pairs, some alone", {{4, {2, 9, 2, 3}}, {4, {2, 7, 1, 3}}, {4, {2, 7, 1, 3}}}, {2, 3}},
    {"no pair at all", {{4, {1, 4, 1, 2}}, {4, {1, 1, 1, 2}}, {4, {1, 1, 1, 2}}}, {1, 1}},
    {0},
};
static const operator_case maskeds[] = {
    {"causal", {{4, {1, 19, 2, 3}}, {4, {1, 19, 2, 3}}, {4, {1, 19, 2, 3}}}, {CAUSAL, 16, 1}},
    {"causal, later queries", {{4, {1, 5, 4, 2}}, {4, {1, 21, 2, 2}}, {4, {1, 21, 2, 2}}}, {CAUSAL, 16, 1}},
    {"scattered, a mask for each row", {{4, {2, 18, 1, 2}}, {4, {2, 35, 1, 2}}, {4, {2, 35, 1, 2}}}, {SCATTERED, 16, 0}},
    {"window in blocks of 32", {{4, {2, 34, 1, 2}}, {4, {2, 34, 1, 2}}, {4, {2, 34, 1, 2}}}, {WINDOW, 32, 0}},
    {"queries without keys", {{4, {1, 35, 1, 2}}, {4, {1, 33, 1, 2}}, {4, {1, 33, 1, 2}}}, {NOTHING_FOR_SOME, 16, 1}},
    {"lexical units", {{4, {1, 36, 1, 2}}, {4, {1, 36, 1, 2}}, {4, {1, 36, 1, 2}}}, {LUD, 64, 1}},
    {0},
};
static const operator_case attentions[] = {
    {"causal", {{4, {2, 5, 2, 3}}, {4, {2, 5, 2, 3}}, {4, {2, 5, 2, 3}}}, {1, 0}},
    {"full", {{4, {1, 5, 2, 4}}, {4, {1, 5, 2, 4}}, {4, {1, 5, 2, 4}}}, {0, 0}},
    {"grouped queries", {{4, {1, 6, 4, 3}}, {4, {1, 6, 2, 3}}, {4, {1, 6, 2, 3}}}, {1, 0}},
    {"segments", {{4, {2, 8, 2, 3}}, {4, {2, 8, 1, 3}}, {4, {2, 8, 1, 3}}}, {1, 3}},
    {"segments, full", {{4, {1, 7, 1, 4}}, {4, {1, 7, 1, 4}}, {4, {1, 7, 1, 4}}}, {0, 3}},
    {"later queries", {{4, {1, 2, 2, 3}}, {4, {1, 6, 2, 3}}, {4, {1, 6, 2, 3}}}, {1, 0}},
    {"other keys", {{4, {1, 5, 1, 3}}, {4, {1, 3, 1, 3}}, {4, {1, 3, 1, 3}}}, {0, 0}},
    {"one query", {{4, {1, 1, 1, 2}}, {4, {1, 1, 1, 2}}, {4, {1, 1, 1, 2}}}, {1, 0}},
    {0},
};

const operator_description operators_attention[] = {
    {.name = "rotary", .inputs = 1, .build = build_rotary, .value = value_rotary, .cases = rotaries, .draw = draw_rotary,
     .bench = {"bench", {{4, {8, 256, 12, 64}}}, {0}}},
    {.name = "attention", .inputs = 3, .build = build_attention, .value = value_attention, .cases = attentions, .draw = draw_attention,
     .flops = flops_attention, .bench = {"bench", {{4, {2, 256, 6, 64}}, {4, {2, 256, 6, 64}}, {4, {2, 256, 6, 64}}}, {1, 0}}},
    {.name = "rotary_by", .inputs = 1, .build = build_rotary_by, .value = value_rotary_by, .cases = rotaries_by, .draw = draw_rotary_by,
     .bench = {"bench", {{4, {8, 256, 12, 64}}}, {0}}},
    {.name = "window_attention", .inputs = 3, .build = build_window, .value = value_attention, .cases = windows, .draw = draw_window,
     .flops = flops_attention, .bench = {"bench", {{4, {2, 256, 6, 64}}, {4, {2, 256, 6, 64}}, {4, {2, 256, 6, 64}}}, {1, 0, 64}}},
    {.name = "cross_attention", .inputs = 3, .build = build_cross, .value = value_cross, .cases = crosses, .draw = draw_cross,
     .flops = flops_cross, .bench = {"bench", {{4, {2, 256, 6, 64}}, {4, {2, 384, 6, 64}}, {4, {2, 384, 6, 64}}}, {0, 0}}},
    {.name = "masked_attention", .inputs = 3, .build = build_masked, .value = value_masked, .cases = maskeds, .draw = draw_masked,
     .flops = flops_cross, .bench = {"bench", {{4, {2, 256, 6, 64}}, {4, {2, 256, 6, 64}}, {4, {2, 256, 6, 64}}}, {SCATTERED, 64, 1}}},
    {0},
};
/* clang-format on */
