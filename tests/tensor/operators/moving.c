/* Reshape, permute, narrow, concat, split. */
#include "tests/tensor/operators/family.h"

static double kept(double x)
{
    return x;
}

static ls_tensor *build_reshape(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    (void)c;
    return ls_reshape(tape, in[0], LS_SHAPE(in[0]->count / 2, 1, 2));
}

static ls_tensor *build_permute(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    (void)c;
    return ls_permute(tape, in[0], (const int[]){2, 0, 3, 1});
}

static void value_permute(const operator_case *c, const double *const *in, double *out)
{
    int64_t a = size(c, 0, 0), b = size(c, 0, 1), d = size(c, 0, 2), e = size(c, 0, 3);
    for (int64_t i = 0; i < a * b * d * e; i++) {
        int64_t ia = i / (b * d * e), ib = i / (d * e) % b, id = i / e % d, ie = i % e;
        out[((id * a + ia) * e + ie) * b + ib] = in[0][i];
    }
}

/* Arguments: axis, begin, length. */
static ls_tensor *build_narrow(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_narrow(tape, in[0], (int)c->argument[0], c->argument[1], c->argument[2]);
}

static int64_t outer_size(const operator_case *c, int64_t axis)
{
    int64_t outer = 1;
    for (int i = 0; i < axis; i++)
        outer *= size(c, 0, i);
    return outer;
}

static int64_t inner_size(const operator_case *c, int input, int64_t axis)
{
    int64_t inner = 1;
    for (int i = (int)axis + 1; i < c->in[input].ndim; i++)
        inner *= size(c, input, i);
    return inner;
}

static void value_narrow(const operator_case *c, const double *const *in, double *out)
{
    int64_t inner = inner_size(c, 0, c->argument[0]), axis_size = size(c, 0, (int)c->argument[0]);
    for (int64_t i = 0; i < operator_input_count(c, 0); i++) {
        int64_t at = i / inner % axis_size;
        if (at >= c->argument[1] && at < c->argument[1] + c->argument[2])
            *out++ = in[0][i];
    }
}

/* Argument: axis. */
static ls_tensor *build_concat(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_concat(tape, 3, (ls_tensor *[]){in[0], in[1], in[0]}, (int)c->argument[0]);
}

static void value_concat(const operator_case *c, const double *const *in, double *out)
{
    static const int order[] = {0, 1, 0};
    int64_t outer = outer_size(c, c->argument[0]);
    for (int64_t o = 0; o < outer; o++)
        for (int part = 0; part < 3; part++) {
            int64_t length = inner_size(c, order[part], c->argument[0] - 1);
            memcpy(out, in[order[part]] + o * length, (size_t)length * sizeof *out);
            out += length;
        }
}

/* Splits the axis (argument 0) in 1, 2, rest, leaves out the first part, and multiplies what is left so that parts get
 * gradients of their own. Argument 1: use all parts. */
static ls_tensor *build_split(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    ls_tensor *part[3];
    int axis = (int)c->argument[0];
    ls_split(tape, in[0], axis, 3, (const int64_t[]){1, 2, size(c, 0, axis) - 3}, part);
    ls_tensor *rest = ls_concat(tape, 2, (ls_tensor *[]){ls_scale(tape, part[2], 2, 0), part[1]}, axis);
    return c->argument[1] ? ls_concat(tape, 2, (ls_tensor *[]){part[0], rest}, axis) : rest;
}

static void value_split(const operator_case *c, const double *const *in, double *out)
{
    int64_t axis = c->argument[0], inner = inner_size(c, 0, axis), length = size(c, 0, (int)axis);
    for (int64_t o = 0; o < outer_size(c, axis); o++) {
        const double *row = in[0] + o * length * inner;
        for (int64_t i = 0; i < inner && c->argument[1]; i++)
            *out++ = row[i];
        for (int64_t i = 3 * inner; i < length * inner; i++)
            *out++ = 2 * row[i];
        for (int64_t i = inner; i < 3 * inner; i++)
            *out++ = row[i];
    }
}

static void draw_reshape(fuzz *f, operator_case *c)
{
    draw_rows(f, c);
    fuzz_append(c, 0, 2);
}

static void draw_permute(fuzz *f, operator_case *c)
{
    for (int i = 0; i < 4; i++)
        fuzz_append(c, 0, fuzz_size(f));
}

static void draw_axis_from_the_front(fuzz *f, operator_case *c)
{
    draw_axis(f, c);
    if (c->argument[0] < 0)
        c->argument[0] += c->in[0].ndim;
}

static void draw_narrow(fuzz *f, operator_case *c)
{
    draw_axis_from_the_front(f, c);
    int64_t length = size(c, 0, (int)c->argument[0]);
    c->argument[1] = fuzz_below(f, length + 1);
    c->argument[2] = fuzz_below(f, length - c->argument[1] + 1);
}

static void draw_concat(fuzz *f, operator_case *c)
{
    draw_axis_from_the_front(f, c);
    c->in[1] = c->in[0];
    c->in[1].shape[c->argument[0]] = fuzz_size(f);
}

static void draw_split(fuzz *f, operator_case *c)
{
    draw_axis_from_the_front(f, c);
    int64_t *length = &c->in[0].shape[c->argument[0]];
    *length = *length < 3 ? 3 : *length;
    fuzz_append(c, 0, fuzz_size(f));
    c->argument[1] = fuzz_below(f, 2);
}

/* clang-format off */
static const operator_case reshapes[] = {
    {"even", {{2, {3, 4}}}, {0}},
    {0},
};
static const operator_case permutes[] = {
    {"four axes", {{4, {2, 3, 4, 5}}}, {0}},
    {"size 1", {{4, {1, 3, 1, 5}}}, {0}},
    {0},
};
static const operator_case narrows[] = {
    {"middle axis", {{3, {2, 7, 3}}}, {1, 2, 4}},
    {"last axis", {{2, {5, 9}}}, {1, 8, 1}},
    {"all", {{1, {4}}}, {0, 0, 4}},
    {0},
};
static const operator_case concats[] = {
    {"first axis", {{2, {2, 3}}, {2, {4, 3}}}, {0}},
    {"last axis", {{3, {2, 3, 5}}, {3, {2, 3, 1}}}, {2}},
    {"middle axis", {{3, {2, 3, 5}}, {3, {2, 1, 5}}}, {1}},
    {0},
};
static const operator_case splits[] = {
    {"first part unused", {{2, {3, 8}}}, {1, 0}},
    {"all used", {{2, {3, 8}}}, {1, 1}},
    {"first axis", {{2, {5, 3}}}, {0, 1}},
    {0},
};

const operator_description operators_moving[] = {
    {.name = "reshape", .inputs = 1, .build = build_reshape, .value_one = kept, .cases = reshapes, .draw = draw_reshape, .bench = BIG_ONE},
    {.name = "permute", .inputs = 1, .build = build_permute, .value = value_permute, .cases = permutes, .draw = draw_permute,
     .bench = {"bench", {{4, {8, 256, 12, 64}}}, {0}}},
    {.name = "narrow", .inputs = 1, .build = build_narrow, .value = value_narrow, .cases = narrows, .draw = draw_narrow,
     .bench = {"bench", {{2, {1024, 2304}}}, {1, 768, 768}}},
    {.name = "concat", .inputs = 2, .build = build_concat, .value = value_concat, .cases = concats, .draw = draw_concat,
     .bench = {"bench", {{2, {1024, 768}}, {2, {1024, 768}}}, {1}}},
    {.name = "split", .inputs = 1, .build = build_split, .value = value_split, .cases = splits, .draw = draw_split,
     .bench = {"bench", {{2, {1024, 2304}}}, {1, 1}}},
    {0},
};
/* clang-format on */
