/* Cross-entropy; argument 0 is 1 with weights. */
#include "tests/tensor/operators/family.h"

static int32_t label_at(int64_t i, int64_t vocabulary)
{
    return i % 4 == 3 ? -100 : index_at(i, vocabulary);
}

static float loss_weight_at(int64_t i)
{
    return i % 5 == 0 ? 0 : 0.25f * (float)(i % 7);
}

static ls_tensor *build_cross_entropy(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    int64_t rows = size(c, 0, 0);
    float *weights = ls_arena_array(ls_tape_arena(tape), float, rows);
    for (int64_t i = 0; i < rows; i++)
        weights[i] = loss_weight_at(i);
    const int32_t *labels = numbers(tape, rows, label_at, size(c, 1, 0));
    return ls_cross_entropy_sum(tape, in[0], in[1], labels, c->argument[0] ? weights : NULL, NULL);
}

static void value_cross_entropy(const operator_case *c, const double *const *in, double *out)
{
    int64_t width = size(c, 0, 1), vocabulary = size(c, 1, 0);
    *out = 0;
    for (int64_t r = 0; r < size(c, 0, 0); r++) {
        double sum = 0, chosen = 0;
        for (int64_t v = 0; v < vocabulary; v++) {
            double logit = 0;
            for (int64_t d = 0; d < width; d++)
                logit += in[0][r * width + d] * in[1][v * width + d];
            sum += exp(logit);
            chosen = v == label_at(r, vocabulary) ? logit : chosen;
        }
        if (label_at(r, vocabulary) >= 0)
            *out += (c->argument[0] ? (double)loss_weight_at(r) : 1) * (log(sum) - chosen);
    }
}

/* argument 0: the number of groups; every sixth row has none, the last group no row. */
static int32_t group_at(int64_t i, int64_t groups)
{
    return i % 6 == 5 ? -1 : (int32_t)(i * 5 % (groups - 1));
}

static ls_tensor *build_groups(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    const int64_t rows = size(c, 0, 0);
    const int32_t *labels = numbers(tape, rows, label_at, size(c, 1, 0)), *group = numbers(tape, rows, group_at, c->argument[0]);
    return ls_cross_entropy_groups(tape, in[0], in[1], labels, c->argument[0], group);
}

static void value_groups(const operator_case *c, const double *const *in, double *out)
{
    const int64_t width = size(c, 0, 1), vocabulary = size(c, 1, 0), groups = c->argument[0];
    for (int64_t g = 0; g < groups; g++)
        out[g] = 0;
    for (int64_t r = 0; r < size(c, 0, 0); r++) {
        double sum = 0, chosen = 0;
        if (label_at(r, vocabulary) < 0 || group_at(r, groups) < 0)
            continue;
        for (int64_t v = 0; v < vocabulary; v++) {
            double logit = 0;
            for (int64_t d = 0; d < width; d++)
                logit += in[0][r * width + d] * in[1][v * width + d];
            sum += exp(logit);
            chosen = v == label_at(r, vocabulary) ? logit : chosen;
        }
        out[group_at(r, groups)] += log(sum) - chosen;
    }
}

static double flops_cross_entropy(const operator_case *c)
{
    return 2.0 * (double)operator_input_count(c, 0) * (double)size(c, 1, 0);
}

static void draw_cross_entropy(fuzz *f, operator_case *c)
{
    fuzz_append(c, 0, fuzz_size(f)), fuzz_append(c, 0, fuzz_size(f));
    fuzz_append(c, 1, fuzz_size_from(f, 1)), fuzz_append(c, 1, size(c, 0, 1)); /* labels name a word */
    c->argument[0] = fuzz_below(f, 2);
}

static void draw_groups(fuzz *f, operator_case *c)
{
    draw_cross_entropy(f, c);
    c->argument[0] = 2 + fuzz_below(f, 4);
}

/* clang-format off */
static const operator_case cross_entropies[] = {
    {"plain", {{2, {6, 4}}, {2, {9, 4}}}, {0}},
    {"weights", {{2, {13, 3}}, {2, {5, 3}}}, {1}},
    {"one word", {{2, {3, 2}}, {2, {1, 2}}}, {0}},
    {0},
};

static const operator_case grouped[] = {
    {"few", {{2, {13, 4}}, {2, {9, 4}}}, {3}},
    {"more groups than rows", {{2, {7, 3}}, {2, {5, 3}}}, {11}},
    {0},
};

const operator_description operators_loss[] = {
    {.name = "cross_entropy_sum", .inputs = 2, .build = build_cross_entropy, .value = value_cross_entropy,
     .cases = cross_entropies, .draw = draw_cross_entropy, .flops = flops_cross_entropy, .bench = {"bench", {{2, {256, 256}}, {2, {4096, 256}}}, {0}}},
    {.name = "cross_entropy_groups", .inputs = 2, .build = build_groups, .value = value_groups, .cases = grouped,
     .draw = draw_groups, .flops = flops_cross_entropy, .bench = {"bench", {{2, {256, 256}}, {2, {4096, 256}}}, {9}}},
    {0},
};
/* clang-format on */
