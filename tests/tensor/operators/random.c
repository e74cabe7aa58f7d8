/* Operators that draw from the counter RNG: dropout, Gumbel-softmax. The tests reset the tape with one seed, step and
 * slot, so the numbers are the same in each forward pass, and difference quotients see them fixed. */
#include "tests/tensor/operators/family.h"

static ls_tensor *build_dropout(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    (void)c;
    return ls_dropout(tape, in[0], 0.3);
}

static ls_random stream_of(ls_random_purpose purpose)
{
    return (ls_random){.seed = 5, .slot = 3, .step = 2, .purpose = purpose, .op = 0}; /* as the tests reset */
}

static void value_dropout(const operator_case *c, const double *const *in, double *out)
{
    const ls_random stream = stream_of(LS_RANDOM_DROPOUT);
    for (int64_t i = 0; i < operator_input_count(c, 0); i++)
        out[i] = (double)ls_random_uniform(&stream, (uint64_t)i) < 0.3 ? 0 : in[0][i] / 0.7;
}

/* argument = temperature in eighths */
static ls_tensor *build_gumbel(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_gumbel_softmax(tape, in[0], (double)c->argument[0] / 8, false);
}

static ls_tensor *build_hard_gumbel(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_gumbel_softmax(tape, in[0], (double)c->argument[0] / 8, true);
}

/* Soft probabilities from the noise's definition, u being the middle of one of 2^23 equal parts of [0, 1]. */
static void value_gumbel(const operator_case *c, const double *const *in, double *out)
{
    const ls_random stream = stream_of(LS_RANDOM_GUMBEL);
    int64_t length = size(c, 0, c->in[0].ndim - 1);
    for (int64_t i = 0; i < operator_input_count(c, 0); i++) {
        double u = ((double)(ls_random_bits(&stream, (uint64_t)i) >> 9) + 0.5) / (1 << 23);
        out[i] = exp((in[0][i] - log(-log(u))) / ((double)c->argument[0] / 8));
    }
    for (int64_t row = 0; row < operator_input_count(c, 0); row += length) {
        double sum = 0;
        for (int64_t i = row; i < row + length; i++)
            sum += out[i];
        for (int64_t i = row; i < row + length; i++)
            out[i] /= sum;
    }
}

static void value_hard_gumbel(const operator_case *c, const double *const *in, double *out)
{
    int64_t length = size(c, 0, c->in[0].ndim - 1);
    value_gumbel(c, in, out);
    for (int64_t row = 0; row < operator_input_count(c, 0); row += length) {
        int64_t winner = row;
        for (int64_t i = row; i < row + length; i++)
            winner = out[i] > out[winner] ? i : winner;
        for (int64_t i = row; i < row + length; i++)
            out[i] = i == winner;
    }
}

static void draw_gumbel(fuzz *f, operator_case *c)
{
    draw_rows(f, c);
    c->argument[0] = 4 + fuzz_below(f, 12);
}

/* clang-format off */
static const operator_case any[] = {
    {"scalar", {{0, {0}}}, {0}},
    {"odd", {{2, {3, 7}}}, {0}},
    {"past one vector", {{1, {67}}}, {0}},
    {"size 1", {{3, {1, 1, 1}}}, {0}},
    {0},
};
static const operator_case gumbels[] = {
    {"temperature 1", {{2, {5, 7}}}, {8}},
    {"cold", {{3, {2, 2, 19}}}, {4}},
    {"hot", {{1, {67}}}, {20}},
    {"size 1", {{2, {3, 1}}}, {8}},
    {0},
};

const operator_description operators_random[] = {
    {.name = "dropout", .inputs = 1, .build = build_dropout, .value = value_dropout, .cases = any, .draw = draw_any, .bench = BIG_ONE},
    {.name = "gumbel_softmax", .inputs = 1, .build = build_gumbel, .value = value_gumbel, .cases = gumbels, .draw = draw_gumbel,
     .bench = {"bench", {{2, {512, 4096}}}, {8}}},
    {.name = "gumbel_softmax, hard", .inputs = 1, .build = build_hard_gumbel, .value = value_hard_gumbel, .gradient_of = value_gumbel, .cases = gumbels,
     .draw = draw_gumbel, .bench = {"bench", {{2, {512, 4096}}}, {8}}},
    {0},
};
/* clang-format on */
