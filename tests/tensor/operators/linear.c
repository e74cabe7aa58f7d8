/* Matrix products: matmul, and linear with its fused bias and activation. */
#include "tests/tensor/operators/family.h"

static double kept(double x)
{
    return x;
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
    return x / (1 + exp(-x));
}

/* ---- matmul: arguments trans_a, trans_b ---- */

static ls_tensor *build_matmul(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_matmul(tape, in[0], in[1], c->argument[0] != 0, c->argument[1] != 0);
}

typedef struct {
    int64_t batch, m, n, k;
} product_sizes;

static product_sizes matmul_sizes(const operator_case *c)
{
    int last_a = c->in[0].ndim - 1, last_b = c->in[1].ndim - 1;
    product_sizes s = {1, size(c, 0, last_a - 1), size(c, 1, last_b), size(c, 0, last_a)};
    for (int i = 0; i < last_a - 1; i++)
        s.batch *= size(c, 0, i);
    if (c->argument[0])
        s.m = size(c, 0, last_a), s.k = size(c, 0, last_a - 1);
    if (c->argument[1])
        s.n = size(c, 1, last_b - 1);
    return s;
}

static void value_matmul(const operator_case *c, const double *const *in, double *out)
{
    product_sizes s = matmul_sizes(c);
    for (int64_t i = 0; i < s.batch * s.m * s.n; i++) {
        int64_t batch = i / (s.m * s.n), row = i / s.n % s.m, column = i % s.n;
        const double *a = in[0] + batch * s.m * s.k, *b = in[1] + (c->in[1].ndim > 2 ? batch * s.k * s.n : 0);
        out[i] = 0;
        for (int64_t k = 0; k < s.k; k++)
            out[i] += a[c->argument[0] ? k * s.m + row : row * s.k + k] *
                      b[c->argument[1] ? column * s.k + k : k * s.n + column];
    }
}

static double flops_matmul(const operator_case *c)
{
    product_sizes s = matmul_sizes(c);
    return 2.0 * (double)s.batch * (double)s.m * (double)s.n * (double)s.k;
}

/* ---- linear: argument 0 is the activation, 1 is 1 where there is no bias ---- */

static ls_tensor *build_linear(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_linear(tape, in[0], in[1], c->argument[1] ? NULL : in[2], (ls_activation)c->argument[0]);
}

static void value_linear(const operator_case *c, const double *const *in, double *out)
{
    static double (*const activation[])(double) = {kept, relu, gelu, gelu_tanh, silu};
    int64_t width = size(c, 1, 1), n = size(c, 1, 0), rows = 1;
    for (int i = 0; i < c->in[0].ndim - 1; i++)
        rows *= size(c, 0, i);
    for (int64_t i = 0; i < rows * n; i++) {
        double sum = c->argument[1] ? 0 : in[2][i % n];
        for (int64_t k = 0; k < width; k++)
            sum += in[0][i / n * width + k] * in[1][i % n * width + k];
        out[i] = activation[c->argument[0]](sum);
    }
}

static double flops_linear(const operator_case *c)
{
    return 2.0 * (double)operator_input_count(c, 0) * (double)size(c, 1, 0);
}

static void draw_matmul(fuzz *f, operator_case *c)
{
    int64_t m = fuzz_size(f), k = fuzz_size(f), n = fuzz_size(f), lead = fuzz_below(f, 3);
    bool shared = fuzz_below(f, 2);
    for (int64_t i = 0; i < lead; i++) {
        fuzz_append(c, 0, fuzz_size(f));
        if (!shared)
            fuzz_append(c, 1, size(c, 0, (int)i));
    }
    c->argument[0] = fuzz_below(f, 2), c->argument[1] = fuzz_below(f, 2);
    fuzz_append(c, 0, c->argument[0] ? k : m), fuzz_append(c, 0, c->argument[0] ? m : k);
    fuzz_append(c, 1, c->argument[1] ? n : k), fuzz_append(c, 1, c->argument[1] ? k : n);
}

static void draw_linear(fuzz *f, operator_case *c)
{
    int64_t in = fuzz_size(f), out = fuzz_size(f);
    for (int64_t lead = fuzz_below(f, 3); lead > 0; lead--)
        fuzz_append(c, 0, fuzz_size(f));
    fuzz_append(c, 0, in), fuzz_append(c, 1, out), fuzz_append(c, 1, in), fuzz_append(c, 2, out);
    c->argument[0] = fuzz_below(f, LS_ACT_SILU + 1), c->argument[1] = fuzz_below(f, 2);
}

/* clang-format off */
static const operator_case matmuls[] = {
    {"plain", {{2, {3, 5}}, {2, {5, 7}}}, {0, 0}},
    {"b transposed", {{2, {3, 5}}, {2, {7, 5}}}, {0, 1}},
    {"a transposed", {{2, {5, 3}}, {2, {5, 7}}}, {1, 0}},
    {"both transposed", {{2, {5, 3}}, {2, {7, 5}}}, {1, 1}},
    {"batch", {{3, {2, 3, 5}}, {3, {2, 5, 4}}}, {0, 0}},
    {"batch, both transposed", {{3, {2, 5, 3}}, {3, {2, 4, 5}}}, {1, 1}},
    {"shared b", {{4, {2, 2, 3, 5}}, {2, {5, 4}}}, {0, 0}},
    {"shared b transposed", {{3, {2, 3, 5}}, {2, {4, 5}}}, {0, 1}},
    {"shared b, a transposed", {{3, {3, 5, 2}}, {2, {5, 4}}}, {1, 0}},
    {"size 1", {{2, {1, 1}}, {2, {1, 1}}}, {0, 0}},
    {"row by column", {{2, {1, 33}}, {2, {33, 1}}}, {0, 0}},
    {0},
};
static const operator_case linears[] = {
    {"bias", {{3, {2, 3, 5}}, {2, {7, 5}}, {1, {7}}}, {LS_ACT_NONE, 0}},
    {"no bias", {{2, {3, 5}}, {2, {7, 5}}, {1, {7}}}, {LS_ACT_NONE, 1}},
    {"relu", {{2, {6, 5}}, {2, {7, 5}}, {1, {7}}}, {LS_ACT_RELU, 0}},
    {"gelu", {{2, {6, 5}}, {2, {7, 5}}, {1, {7}}}, {LS_ACT_GELU, 0}},
    {"gelu, tanh form", {{2, {6, 5}}, {2, {7, 5}}, {1, {7}}}, {LS_ACT_GELU_TANH, 0}},
    {"silu, no bias", {{2, {6, 5}}, {2, {7, 5}}, {1, {7}}}, {LS_ACT_SILU, 1}},
    {"one row", {{1, {9}}, {2, {1, 9}}, {1, {1}}}, {LS_ACT_NONE, 0}},
    {0},
};

const operator_description operators_linear[] = {
    {.name = "matmul", .inputs = 2, .build = build_matmul, .value = value_matmul, .cases = matmuls, .draw = draw_matmul, .flops = flops_matmul,
     .bench = {"bench", {{2, {512, 384}}, {2, {384, 384}}}, {0, 0}}},
    {.name = "linear", .inputs = 3, .gains = 1u << 2, .build = build_linear, .value = value_linear, .cases = linears, .draw = draw_linear,
     .flops = flops_linear, .bench = {"bench", {{2, {512, 384}}, {2, {1024, 384}}, {1, {1024}}}, {LS_ACT_GELU_TANH, 0}}},
    {0},
};
/* clang-format on */
