/* Spikes: the value is a step; the gradient is that of the surrogate, whose primitive stands here and is what the
 * difference quotients are taken of. */
#include "tests/tensor/operators/family.h"

/* argument = {surrogate, slope in quarters}; the threshold lies on a number that is drawn, where the step is 1. */
static const double threshold = 0.25;

static double slope_of(const operator_case *c)
{
    return (double)c->argument[1] / 4;
}

static ls_tensor *build_spike(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_spike(tape, in[0], threshold, (ls_surrogate)c->argument[0], slope_of(c));
}

static double step(double x)
{
    return x >= threshold;
}

/* The smooth steps that the surrogates are the derivatives of, by the distance from the threshold. */
static double primitive(ls_surrogate surrogate, double a, double u)
{
    const double pi = acos(-1), side = u < 0 ? -1 : 1, v = fmin(fabs(a * u), 1);
    switch (surrogate) {
    case LS_SURROGATE_STRAIGHT: return u;
    case LS_SURROGATE_RECTANGLE: return fmin(fmax(a * u + 0.5, 0), 1);
    case LS_SURROGATE_TRIANGLE: return 0.5 + side * (v - v * v / 2);
    case LS_SURROGATE_FAST_SIGMOID: return u / (1 + a * fabs(u));
    case LS_SURROGATE_ARCTAN: return atan(pi / 2 * a * u) / pi + 0.5;
    case LS_SURROGATE_SIGMOID: return 1 / (1 + exp(-a * u));
    }
    return NAN;
}

static void smooth_step(const operator_case *c, const double *const *in, double *out)
{
    for (int64_t i = 0; i < operator_input_count(c, 0); i++)
        out[i] = primitive((ls_surrogate)c->argument[0], slope_of(c), in[0][i] - threshold);
}

static void draw_spike(fuzz *f, operator_case *c)
{
    draw_any(f, c);
    c->argument[0] = fuzz_below(f, LS_SURROGATE_SIGMOID + 1);
    c->argument[1] = 1 + fuzz_below(f, 16);
}

/* clang-format off */
static const operator_case spikes[] = {
    {"straight", {{2, {3, 7}}}, {LS_SURROGATE_STRAIGHT, 4}},
    {"rectangle", {{2, {3, 17}}}, {LS_SURROGATE_RECTANGLE, 5}},
    {"triangle", {{2, {3, 17}}}, {LS_SURROGATE_TRIANGLE, 5}},
    {"fast sigmoid", {{2, {3, 17}}}, {LS_SURROGATE_FAST_SIGMOID, 100}},
    {"arctan", {{2, {3, 17}}}, {LS_SURROGATE_ARCTAN, 8}},
    {"sigmoid", {{2, {3, 17}}}, {LS_SURROGATE_SIGMOID, 16}},
    {"past one vector", {{1, {67}}}, {LS_SURROGATE_ARCTAN, 8}},
    {"size 1", {{3, {1, 1, 1}}}, {LS_SURROGATE_TRIANGLE, 4}},
    {0},
};

const operator_description operators_spiking[] = {
    {.name = "spike", .inputs = 1, .build = build_spike, .value_one = step, .gradient_of = smooth_step, .cases = spikes, .draw = draw_spike,
     .bench = {"bench", {{2, {512, 4096}}}, {LS_SURROGATE_ARCTAN, 8}}},
    {0},
};
/* clang-format on */
