/* Reductions; argument 0 is the axis. */
#include "tests/tensor/operators/family.h"

static double sum_of(double a, double b)
{
    return a + b;
}

static ls_tensor *build_sum(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_sum(tape, in[0], (int)c->argument[0]);
}

static ls_tensor *build_mean(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_mean(tape, in[0], (int)c->argument[0]);
}

static ls_tensor *build_reduce_max(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_reduce_max(tape, in[0], (int)c->argument[0]);
}

static ls_tensor *build_reduce_min(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_reduce_min(tape, in[0], (int)c->argument[0]);
}

static ls_tensor *build_norm(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_norm(tape, in[0], (int)c->argument[0]);
}

/* Calls fold over each reduced line, in order: out = fold(out, x), from `start`. */
static void fold_lines(const operator_case *c, const double *x, double start, double (*fold)(double, double),
                       double *out)
{
    int64_t outer = 1, inner = 1, length = 1, axis = c->argument[0];
    int ndim = c->in[0].ndim;
    axis = axis < 0 ? axis + ndim : axis;
    for (int i = 0; i < ndim; i++)
        *(axis == LS_ALL || i == axis ? &length : i < axis ? &outer : &inner) *= size(c, 0, i);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            double folded = start;
            for (int64_t k = 0; k < length; k++)
                folded = fold(folded, x[(o * length + k) * inner + i]);
            out[o * inner + i] = folded;
        }
}

static void value_sum(const operator_case *c, const double *const *in, double *out)
{
    fold_lines(c, in[0], 0, sum_of, out);
}

static int64_t line_length(const operator_case *c)
{
    int64_t axis = c->argument[0];
    return axis == LS_ALL ? operator_input_count(c, 0) : size(c, 0, (int)(axis < 0 ? axis + c->in[0].ndim : axis));
}

static int64_t lines(const operator_case *c)
{
    int64_t lines = 1, axis = c->argument[0];
    for (int i = 0; i < c->in[0].ndim && axis != LS_ALL; i++)
        lines *= i == (axis < 0 ? axis + c->in[0].ndim : axis) ? 1 : size(c, 0, i);
    return lines;
}

static void value_mean(const operator_case *c, const double *const *in, double *out)
{
    fold_lines(c, in[0], 0, sum_of, out);
    for (int64_t i = 0; i < lines(c); i++)
        out[i] /= (double)line_length(c);
}

static void value_reduce_max(const operator_case *c, const double *const *in, double *out)
{
    fold_lines(c, in[0], -INFINITY, fmax, out);
}

static void value_reduce_min(const operator_case *c, const double *const *in, double *out)
{
    fold_lines(c, in[0], INFINITY, fmin, out);
}

static double add_square(double sum, double x)
{
    return sum + x * x;
}

static void value_norm(const operator_case *c, const double *const *in, double *out)
{
    fold_lines(c, in[0], 0, add_square, out);
    for (int64_t i = 0; i < lines(c); i++)
        out[i] = sqrt(out[i]);
}

static void draw_reduced(fuzz *f, operator_case *c)
{
    draw_axis(f, c);
    if (fuzz_below(f, 4) == 0)
        c->argument[0] = LS_ALL;
}

/* There is no greatest of nothing: lines have an element, though there may be no line. */
static void draw_extreme(fuzz *f, operator_case *c)
{
    draw_axis(f, c);
    fuzz_append(c, 0, fuzz_size_from(f, 1));
    c->argument[0] = fuzz_below(f, 2) ? -1 : c->in[0].ndim - 1;
}

static ls_tensor *build_cumulative_sum(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_cumulative_sum(tape, in[0], (int)c->argument[0]);
}

/* An element's line, cut after it, is summed. */
static void value_cumulative_sum(const operator_case *c, const double *const *in, double *out)
{
    int64_t inner = 1, length = line_length(c), axis = c->argument[0];
    for (int64_t i = (axis < 0 ? axis + c->in[0].ndim : axis) + 1; i < c->in[0].ndim; i++)
        inner *= size(c, 0, (int)i);
    for (int64_t i = 0; i < operator_input_count(c, 0); i++) {
        out[i] = 0;
        for (int64_t k = i / inner % length; k >= 0; k--)
            out[i] += in[0][i - k * inner];
    }
}

/* clang-format off */
static const operator_case running[] = {
    {"last axis", {{2, {3, 37}}}, {-1}},
    {"first axis", {{2, {5, 19}}}, {0}},
    {"middle axis", {{3, {2, 5, 3}}}, {1}},
    {"more columns than a block", {{2, {3, 600}}}, {0}},
    {"size 1", {{2, {4, 1}}}, {1}},
    {0},
};
static const operator_case reductions[] = {
    {"last axis", {{2, {3, 37}}}, {-1}},
    {"first axis", {{2, {5, 19}}}, {0}},
    {"middle axis", {{3, {2, 5, 3}}}, {1}},
    {"all", {{2, {5, 19}}}, {LS_ALL}},
    {"size 1", {{2, {4, 1}}}, {1}},
    {0},
};

const operator_description operators_reductions[] = {
    {.name = "sum", .inputs = 1, .build = build_sum, .value = value_sum, .cases = reductions, .draw = draw_reduced, .bench = BIG_ROWS},
    {.name = "mean", .inputs = 1, .build = build_mean, .value = value_mean, .cases = reductions, .draw = draw_reduced, .bench = BIG_ROWS},
    {.name = "reduce_max", .inputs = 1, .build = build_reduce_max, .value = value_reduce_max, .cases = reductions, .draw = draw_extreme, .bench = BIG_ROWS},
    {.name = "reduce_min", .inputs = 1, .build = build_reduce_min, .value = value_reduce_min, .cases = reductions, .draw = draw_extreme, .bench = BIG_ROWS},
    {.name = "norm", .inputs = 1, .build = build_norm, .value = value_norm, .cases = reductions, .draw = draw_reduced, .bench = BIG_ROWS},
    {.name = "cumulative_sum", .inputs = 1, .build = build_cumulative_sum, .value = value_cumulative_sum, .cases = running, .draw = draw_axis, .bench = BIG_ROWS},
    {0},
};
/* clang-format on */
