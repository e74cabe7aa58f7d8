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

static void value_attention(const operator_case *c, const double *const *in, double *out)
{
    int64_t Tq = size(c, 0, 1), H = size(c, 0, 2), D = size(c, 0, 3), Tk = size(c, 1, 1), Hkv = size(c, 1, 2);
    for (int64_t row = 0; row < size(c, 0, 0) * Tq * H; row++) { /* one query of one head */
        int64_t b = row / (Tq * H), i = row / H % Tq + Tk - Tq, h = row % H * Hkv / H;
        double total = 0;
        memset(out + row * D, 0, (size_t)D * sizeof *out);
        for (int64_t j = 0; j < Tk; j++) {
            if ((c->argument[0] && j > i) ||
                (c->argument[1] && segment_at(b * Tk + j, c->argument[1]) != segment_at(b * Tk + i, c->argument[1])))
                continue;
            int64_t key = ((b * Tk + j) * Hkv + h) * D;
            double score = 0, weight;
            for (int64_t d = 0; d < D; d++)
                score += in[0][row * D + d] * in[1][key + d];
            total += weight = exp(score / sqrt((double)D));
            for (int64_t d = 0; d < D; d++)
                out[row * D + d] += weight * in[2][key + d];
        }
        for (int64_t d = 0; d < D; d++)
            out[row * D + d] /= total;
    }
}

static double flops_attention(const operator_case *c)
{
    return 4.0 * (double)operator_input_count(c, 0) * (double)size(c, 1, 1) * (c->argument[0] ? 0.5 : 1);
}

/* clang-format off */
static const operator_case rotaries[] = {
    {"halves", {{4, {2, 3, 2, 6}}}, {0}},
    {"pairs", {{4, {2, 3, 2, 6}}}, {1}},
    {"one pair", {{4, {1, 5, 1, 2}}}, {0}},
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
    {.name = "rotary", .inputs = 1, .build = build_rotary, .value = value_rotary, .cases = rotaries,
     .bench = {"bench", {{4, {8, 256, 12, 64}}}, {0}}},
    {.name = "attention", .inputs = 3, .build = build_attention, .value = value_attention, .cases = attentions,
     .flops = flops_attention, .bench = {"bench", {{4, {2, 256, 6, 64}}, {4, {2, 256, 6, 64}}, {4, {2, 256, 6, 64}}}, {1, 0}}},
    {0},
};
/* clang-format on */
