/* Elementwise operators: one input, two with broadcasting, where, cast. */
#include "tests/tensor/operators/family.h"

static double kept(double x)
{
    return x;
}

/* ---- one input ---- */

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double softplus(double x)
{
    return log(1 + exp(x));
}

static double relu(double x)
{
    return x > 0 ? x : 0;
}

static double gelu(double x)
{
    return 0.5 * x * (1 + erf(x / sqrt(2)));
}

static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * pow(x, 3))));
}

static double silu(double x)
{
    return x * sigmoid(x);
}

static double negative(double x)
{
    return -x;
}

static double square(double x)
{
    return x * x;
}

static ls_tensor *build_scale(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    (void)c;
    return ls_scale(tape, in[0], -1.5, 0.25);
}

static double scaled(double x)
{
    return -1.5 * x + 0.25;
}

static ls_tensor *build_clamp(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    (void)c;
    return ls_clamp(tape, in[0], -0.3, 0.6);
}

static double clamped(double x)
{
    return x < -0.3 ? -0.3 : x > 0.6 ? 0.6 : x;
}

/* ---- two inputs ---- */

static double sum_of(double a, double b)
{
    return a + b;
}

static double difference_of(double a, double b)
{
    return a - b;
}

static double product_of(double a, double b)
{
    return a * b;
}

static double quotient_of(double a, double b)
{
    return a / b;
}

static ls_tensor *build_square_by_mul(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    (void)c;
    return ls_mul(tape, in[0], in[0]); /* one tensor as both inputs */
}

/* Argument 0 is the activation. */
static ls_tensor *build_gated(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_gated(tape, (ls_activation)c->argument[0], in[0], in[1]);
}

static void value_gated(const operator_case *c, const double *const *in, double *out)
{
    static double (*const f[])(double) = {[LS_ACT_RELU] = relu, [LS_ACT_GELU] = gelu, [LS_ACT_GELU_TANH] = gelu_tanh, [LS_ACT_SILU] = silu};
    for (int64_t i = 0; i < operator_input_count(c, 0); i++)
        out[i] = f[c->argument[0]](in[0][i]) * in[1][i];
}

static void draw_gated(fuzz *f, operator_case *c)
{
    draw_same(f, c);
    c->argument[0] = LS_ACT_RELU + fuzz_below(f, LS_ACT_SILU);
}

static uint8_t condition_at(int64_t i)
{
    return i % 3 == 1;
}

static ls_tensor *build_where(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    uint8_t *condition = ls_arena_take(ls_tape_arena(tape), (size_t)in[0]->count);
    for (int64_t i = 0; i < in[0]->count; i++)
        condition[i] = condition_at(i);
    (void)c;
    return ls_where(tape, condition, in[0], in[1]);
}

static void value_where(const operator_case *c, const double *const *in, double *out)
{
    for (int64_t i = 0; i < operator_input_count(c, 0); i++)
        out[i] = in[condition_at(i) ? 0 : 1][i];
}

static ls_tensor *build_cast(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    (void)c;
    return ls_cast(tape, in[0], in[0]->type == LS_BF16 ? LS_F32 : in[0]->type == LS_F32 ? LS_BF16 : LS_F64);
}

/* clang-format off */
static const operator_case one_input[] = {
    {"scalar", {{0, {0}}}, {0}},
    {"odd", {{2, {3, 7}}}, {0}},
    {"past one vector", {{1, {67}}}, {0}},
    {"size 1", {{3, {1, 1, 1}}}, {0}},
    {0},
};
static const operator_case two_inputs[] = {
    {"same shape", {{2, {3, 7}}, {2, {3, 7}}}, {0}},
    {"row", {{2, {3, 17}}, {1, {17}}}, {0}},
    {"column", {{2, {3, 17}}, {2, {3, 1}}}, {0}},
    {"both repeat", {{3, {4, 1, 5}}, {2, {3, 1}}}, {0}},
    {"scalar first", {{0, {0}}, {2, {2, 3}}}, {0}},
    {"middle", {{3, {2, 3, 5}}, {3, {2, 1, 5}}}, {0}},
    {0},
};
static const operator_case same_shapes[] = {
    {"odd", {{2, {3, 7}}, {2, {3, 7}}}, {0}},
    {"long", {{1, {67}}, {1, {67}}}, {0}},
    {"size 1", {{1, {1}}, {1, {1}}}, {0}},
    {0},
};

static const operator_case gates[] = {
    {"SwiGLU", {{2, {3, 7}}, {2, {3, 7}}}, {LS_ACT_SILU}},
    {"GEGLU", {{1, {67}}, {1, {67}}}, {LS_ACT_GELU}},
    {"GEGLU, tanh, past one block", {{2, {9, 67}}, {2, {9, 67}}}, {LS_ACT_GELU_TANH}},
    {"ReGLU", {{1, {1}}, {1, {1}}}, {LS_ACT_RELU}},
    {0},
};

const operator_description operators_elementwise[] = {
    {.name = "add", .inputs = 2, .two = ls_add, .value_two = sum_of, .cases = two_inputs, .draw = draw_broadcast, .bench = BIG_TWO},
    {.name = "sub", .inputs = 2, .two = ls_sub, .value_two = difference_of, .cases = two_inputs, .draw = draw_broadcast, .bench = BIG_TWO},
    {.name = "mul", .inputs = 2, .two = ls_mul, .value_two = product_of, .cases = two_inputs, .draw = draw_broadcast, .bench = BIG_TWO},
    {.name = "div", .inputs = 2, .two = ls_div, .value_two = quotient_of, .cases = two_inputs, .draw = draw_broadcast, .bench = BIG_TWO, .low = 0.5, .high = 2},
    {.name = "min", .inputs = 2, .two = ls_min, .value_two = fmin, .cases = two_inputs, .draw = draw_broadcast, .bench = BIG_TWO},
    {.name = "max", .inputs = 2, .two = ls_max, .value_two = fmax, .cases = two_inputs, .draw = draw_broadcast, .bench = BIG_TWO},
    {.name = "x times x", .inputs = 1, .build = build_square_by_mul, .value_one = square, .cases = one_input, .draw = draw_any, .bench = BIG_ONE},
    {.name = "gated", .inputs = 2, .build = build_gated, .value = value_gated, .cases = gates, .draw = draw_gated, .bench = BIG_TWO, .low = -3, .high = 3},
    {.name = "where", .inputs = 2, .build = build_where, .value = value_where, .cases = same_shapes, .draw = draw_same, .bench = BIG_TWO},
    {.name = "exp", .inputs = 1, .one = ls_exp, .value_one = exp, .cases = one_input, .draw = draw_any, .bench = BIG_ONE},
    {.name = "log", .inputs = 1, .one = ls_log, .value_one = log, .cases = one_input, .draw = draw_any, .bench = BIG_ONE, .low = 0.2, .high = 3},
    {.name = "sqrt", .inputs = 1, .one = ls_sqrt, .value_one = sqrt, .cases = one_input, .draw = draw_any, .bench = BIG_ONE, .low = 0.2, .high = 3},
    /* Not further out: 1 - y^2 from a y rounded to bf16 loses its digits in the tails, here as in PyTorch. */
    {.name = "tanh", .inputs = 1, .one = ls_tanh, .value_one = tanh, .cases = one_input, .draw = draw_any, .bench = BIG_ONE, .low = -1.4, .high = 1.4},
    {.name = "sigmoid", .inputs = 1, .one = ls_sigmoid, .value_one = sigmoid, .cases = one_input, .draw = draw_any, .bench = BIG_ONE, .low = -4, .high = 4},
    {.name = "softplus", .inputs = 1, .one = ls_softplus, .value_one = softplus, .cases = one_input, .draw = draw_any, .bench = BIG_ONE, .low = -4, .high = 4},
    {.name = "relu", .inputs = 1, .one = ls_relu, .value_one = relu, .cases = one_input, .draw = draw_any, .bench = BIG_ONE},
    {.name = "gelu", .inputs = 1, .one = ls_gelu, .value_one = gelu, .cases = one_input, .draw = draw_any, .bench = BIG_ONE, .low = -3, .high = 3},
    {.name = "gelu_tanh", .inputs = 1, .one = ls_gelu_tanh, .value_one = gelu_tanh, .cases = one_input, .draw = draw_any, .bench = BIG_ONE, .low = -3, .high = 3},
    {.name = "silu", .inputs = 1, .one = ls_silu, .value_one = silu, .cases = one_input, .draw = draw_any, .bench = BIG_ONE, .low = -4, .high = 4},
    {.name = "abs", .inputs = 1, .one = ls_abs, .value_one = fabs, .cases = one_input, .draw = draw_any, .bench = BIG_ONE},
    {.name = "neg", .inputs = 1, .one = ls_neg, .value_one = negative, .cases = one_input, .draw = draw_any, .bench = BIG_ONE},
    {.name = "square", .inputs = 1, .one = ls_square, .value_one = square, .cases = one_input, .draw = draw_any, .bench = BIG_ONE},
    {.name = "scale", .inputs = 1, .build = build_scale, .value_one = scaled, .cases = one_input, .draw = draw_any, .bench = BIG_ONE},
    {.name = "clamp", .inputs = 1, .build = build_clamp, .value_one = clamped, .cases = one_input, .draw = draw_any, .bench = BIG_ONE},
    {.name = "cast", .inputs = 1, .build = build_cast, .value_one = kept, .cases = one_input, .draw = draw_any, .bench = BIG_ONE, .rounds = true},
    {0},
};
/* clang-format on */
