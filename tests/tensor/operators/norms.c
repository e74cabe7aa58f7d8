/* Along the last axis: softmax, log-softmax, layer norm, RMS norm. */
#include "tests/tensor/operators/family.h"

static void value_softmax(const operator_case *c, const double *const *in, double *out)
{
    int64_t length = size(c, 0, c->in[0].ndim - 1);
    for (int64_t i = 0; i < operator_input_count(c, 0); i++) {
        double sum = 0;
        for (int64_t j = i / length * length; j < (i / length + 1) * length; j++)
            sum += exp(in[0][j]);
        out[i] = exp(in[0][i]) / sum;
    }
}

static void value_log_softmax(const operator_case *c, const double *const *in, double *out)
{
    value_softmax(c, in, out);
    for (int64_t i = 0; i < operator_input_count(c, 0); i++)
        out[i] = log(out[i]);
}

static ls_tensor *build_layer_norm(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_layer_norm(tape, in[0], in[1], c->argument[0] ? NULL : in[2], 1e-5);
}

static ls_tensor *build_rms_norm(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    (void)c;
    return ls_rms_norm(tape, in[0], in[1], 1e-5);
}

static void norm_rows(const operator_case *c, const double *const *in, bool centred, const double *bias, double *out)
{
    int64_t width = size(c, 1, 0);
    for (int64_t i = 0; i < operator_input_count(c, 0); i++) {
        const double *row = in[0] + i / width * width;
        double mean = 0, squares = 0;
        for (int64_t j = 0; j < width && centred; j++)
            mean += row[j] / (double)width;
        for (int64_t j = 0; j < width; j++)
            squares += (row[j] - mean) * (row[j] - mean) / (double)width;
        out[i] = (in[0][i] - mean) / sqrt(squares + 1e-5) * in[1][i % width] + (bias ? bias[i % width] : 0);
    }
}

static void value_layer_norm(const operator_case *c, const double *const *in, double *out)
{
    norm_rows(c, in, true, c->argument[0] ? NULL : in[2], out);
}

static void value_rms_norm(const operator_case *c, const double *const *in, double *out)
{
    norm_rows(c, in, false, NULL, out);
}

static void draw_norm(fuzz *f, operator_case *c)
{
    draw_rows(f, c);
    fuzz_append(c, 1, size(c, 0, c->in[0].ndim - 1));
    fuzz_append(c, 2, size(c, 1, 0));
    c->argument[0] = fuzz_below(f, 2);
}

/* clang-format off */
static const operator_case rows[] = {
    {"odd", {{2, {3, 7}}}, {0}},
    {"past one vector", {{3, {2, 2, 19}}}, {0}},
    {"size 1", {{2, {3, 1}}}, {0}},
    {0},
};
static const operator_case layer_norms[] = {
    {"odd", {{2, {3, 7}}, {1, {7}}, {1, {7}}}, {0}},
    {"no bias", {{3, {2, 2, 19}}, {1, {19}}, {1, {19}}}, {1}},
    {"more rows than a chunk", {{2, {67, 3}}, {1, {3}}, {1, {3}}}, {0}},
    {0},
};
static const operator_case rms_norms[] = {
    {"odd", {{2, {3, 7}}, {1, {7}}}, {0}},
    {"past one vector", {{3, {2, 2, 19}}, {1, {19}}}, {0}},
    {"more rows than a chunk", {{2, {67, 3}}, {1, {3}}}, {0}},
    {0},
};

const operator_description operators_norms[] = {
    {.name = "softmax", .inputs = 1, .one = ls_softmax, .value = value_softmax, .cases = rows, .draw = draw_rows, .bench = BIG_ONE, .low = -3, .high = 3},
    {.name = "log_softmax", .inputs = 1, .one = ls_log_softmax, .value = value_log_softmax, .cases = rows, .draw = draw_rows, .bench = BIG_ONE, .low = -3, .high = 3},
    {.name = "layer_norm", .inputs = 3, .gains = 1u << 1 | 1u << 2, .build = build_layer_norm, .value = value_layer_norm,
     .cases = layer_norms, .draw = draw_norm, .bench = {"bench", {{2, {2048, 768}}, {1, {768}}, {1, {768}}}, {0}}},
    {.name = "rms_norm", .inputs = 2, .gains = 1u << 1, .build = build_rms_norm, .value = value_rms_norm,
     .cases = rms_norms, .draw = draw_norm, .bench = {"bench", {{2, {2048, 768}}, {1, {768}}}, {0}}},
    {0},
};
/* clang-format on */
