/* Rows and elements by index: embedding, gather, scatter-add, segments, top-k, sort. */
#include "tests/tensor/operators/family.h"

static ls_tensor *build_embedding(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    int64_t n = c->argument[0] * c->argument[1];
    return ls_embedding(tape, in[0], numbers(tape, n, index_at, size(c, 0, 0)),
                        LS_SHAPE(c->argument[0], c->argument[1]));
}

static void value_embedding(const operator_case *c, const double *const *in, double *out)
{
    int64_t width = size(c, 0, 1);
    for (int64_t i = 0; i < c->argument[0] * c->argument[1] * width; i++)
        out[i] = in[0][index_at(i / width, size(c, 0, 0)) * width + i % width];
}

static int64_t row_width(const operator_case *c)
{
    int64_t width = 1;
    for (int i = 1; i < c->in[0].ndim; i++)
        width *= size(c, 0, i);
    return width;
}

static ls_tensor *build_gather(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_gather(tape, in[0], c->argument[0], numbers(tape, c->argument[0], index_or_none_at, size(c, 0, 0)));
}

static void value_gather(const operator_case *c, const double *const *in, double *out)
{
    int64_t width = row_width(c);
    for (int64_t i = 0; i < c->argument[0] * width; i++) {
        int64_t row = index_or_none_at(i / width, size(c, 0, 0));
        out[i] = row < 0 ? 0 : in[0][row * width + i % width];
    }
}

static ls_tensor *build_scatter_add(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    int64_t n = size(c, 0, 0), rows = c->argument[0];
    return ls_scatter_add(tape, in[0], n, numbers(tape, n, index_or_none_at, rows), rows);
}

static void value_scatter_add(const operator_case *c, const double *const *in, double *out)
{
    int64_t rows = c->argument[0], width = row_width(c);
    memset(out, 0, (size_t)(rows * width) * sizeof *out);
    for (int64_t i = 0; i < operator_input_count(c, 0); i++) {
        int64_t row = index_or_none_at(i / width, rows);
        if (row >= 0)
            out[row * width + i % width] += in[0][i];
    }
}

static ls_tensor *build_top_k(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    int32_t *index;
    return ls_top_k(tape, in[0], c->argument[0], &index);
}

/* The j-th greatest is the one that j others are before; equal ones stand in order of place. */
static void value_top_k(const operator_case *c, const double *const *in, double *out)
{
    int64_t length = size(c, 0, c->in[0].ndim - 1), k = c->argument[0];
    for (int64_t i = 0; i < operator_input_count(c, 0); i++) {
        int64_t row = i / length, before = 0;
        for (int64_t j = row * length; j < (row + 1) * length; j++)
            before += in[0][j] > in[0][i] || (in[0][j] == in[0][i] && j < i);
        if (before < k)
            out[row * k + before] = in[0][i];
    }
}

/* argument 0: descending */
static ls_tensor *build_sort(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    int32_t *index;
    return ls_sort(tape, in[0], c->argument[0] != 0, &index);
}

/* An element's place is the number of those before it. */
static void value_sort(const operator_case *c, const double *const *in, double *out)
{
    int64_t length = size(c, 0, c->in[0].ndim - 1);
    for (int64_t i = 0; i < operator_input_count(c, 0); i++) {
        int64_t first = i / length * length, before = 0;
        for (int64_t j = first; j < first + length; j++)
            before += (c->argument[0] ? in[0][j] > in[0][i] : in[0][j] < in[0][i]) || (in[0][j] == in[0][i] && j < i);
        out[first + before] = in[0][i];
    }
}

/* Segment of each row: not in order, the last one empty, some rows dropped. argument 0: segments */
static int32_t segment_at(int64_t i, int64_t segments)
{
    return segments > 1 ? index_or_none_at(i, segments - 1) : index_or_none_at(i, segments);
}

static ls_tensor *build_segment_sum(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    int64_t n = size(c, 0, 0), segments = c->argument[0];
    return ls_segment_sum(tape, in[0], n, numbers(tape, n, segment_at, segments), segments);
}

static ls_tensor *build_segment_mean(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    int64_t n = size(c, 0, 0), segments = c->argument[0];
    return ls_segment_mean(tape, in[0], n, numbers(tape, n, segment_at, segments), segments);
}

static void value_segments(const operator_case *c, const double *x, bool mean, double *out)
{
    int64_t width = row_width(c);
    for (int64_t i = 0; i < c->argument[0] * width; i++) {
        double sum = 0, rows = 0;
        for (int64_t row = 0; row < size(c, 0, 0); row++)
            if (segment_at(row, c->argument[0]) == i / width) {
                sum += x[row * width + i % width];
                rows++;
            }
        out[i] = mean && rows > 0 ? sum / rows : sum;
    }
}

static void value_segment_sum(const operator_case *c, const double *const *in, double *out)
{
    value_segments(c, in[0], false, out);
}

static void value_segment_mean(const operator_case *c, const double *const *in, double *out)
{
    value_segments(c, in[0], true, out);
}

/* Indices are places in the table, so that has a row. */
static void draw_embedding(fuzz *f, operator_case *c)
{
    c->argument[0] = fuzz_size(f), c->argument[1] = fuzz_size(f);
    fuzz_append(c, 0, fuzz_size_from(f, 1)), fuzz_append(c, 0, fuzz_size(f));
}

static void draw_gather(fuzz *f, operator_case *c)
{
    fuzz_append(c, 0, fuzz_size_from(f, 1)), fuzz_append(c, 0, fuzz_size(f));
    c->argument[0] = fuzz_below(f, 9);
}

static void draw_segments(fuzz *f, operator_case *c)
{
    draw_rows(f, c);
    c->argument[0] = 1 + fuzz_below(f, 6);
}

static void draw_top_k(fuzz *f, operator_case *c)
{
    draw_rows(f, c);
    int64_t length = size(c, 0, c->in[0].ndim - 1);
    c->argument[0] = length ? 1 + fuzz_below(f, length) : 0;
}

static void draw_sort(fuzz *f, operator_case *c)
{
    draw_rows(f, c);
    c->argument[0] = fuzz_below(f, 2);
}

/* clang-format off */
static const operator_case embeddings[] = {
    {"repeats", {{2, {5, 3}}}, {2, 7}},
    {"one row", {{2, {1, 4}}}, {1, 3}},
    {0},
};
static const operator_case gathers[] = {
    {"repeats and none", {{2, {5, 3}}}, {12}},
    {"three axes", {{3, {4, 2, 3}}}, {6}},
    {0},
};
static const operator_case scatters[] = {
    {"repeats and none", {{2, {12, 3}}}, {5}},
    {"three axes", {{3, {4, 2, 3}}}, {6}},
    {0},
};
static const operator_case top_ks[] = {
    {"three of eleven", {{2, {4, 11}}}, {3}},
    {"one", {{2, {3, 7}}}, {1}},
    {"all", {{1, {5}}}, {5}},
    {0},
};
static const operator_case sorts[] = {
    {"ascending", {{2, {4, 11}}}, {0}},
    {"descending", {{3, {2, 3, 7}}}, {1}},
    {"size 1", {{2, {3, 1}}}, {0}},
    {0}, /* long rows, by radix, are drawn ones: numbers that are exact in bf16 would tie */
};
static const operator_case segments[] = {
    {"not in order", {{2, {12, 3}}}, {5}},
    {"three axes", {{3, {7, 2, 3}}}, {3}},
    {"numbers", {{1, {9}}}, {4}},
    {"one segment", {{2, {6, 2}}}, {1}},
    {0},
};

const operator_description operators_choosing[] = {
    {.name = "embedding", .inputs = 1, .build = build_embedding, .value = value_embedding, .cases = embeddings, .draw = draw_embedding,
     .bench = {"bench", {{2, {4096, 384}}}, {8, 256}}},
    {.name = "gather", .inputs = 1, .build = build_gather, .value = value_gather, .cases = gathers, .draw = draw_gather,
     .bench = {"bench", {{2, {4096, 384}}}, {2048}}},
    {.name = "scatter_add", .inputs = 1, .build = build_scatter_add, .value = value_scatter_add, .cases = scatters, .draw = draw_segments,
     .bench = {"bench", {{2, {2048, 384}}}, {4096}}},
    {.name = "top_k", .inputs = 1, .build = build_top_k, .value = value_top_k, .cases = top_ks, .draw = draw_top_k,
     .bench = {"bench", {{2, {256, 4096}}}, {8}}},
    {.name = "sort", .inputs = 1, .build = build_sort, .value = value_sort, .cases = sorts, .draw = draw_sort,
     .bench = {"bench", {{2, {256, 4096}}}, {0}}},
    {.name = "segment_sum", .inputs = 1, .build = build_segment_sum, .value = value_segment_sum, .cases = segments, .draw = draw_segments,
     .bench = {"bench", {{2, {4096, 384}}}, {512}}},
    {.name = "segment_mean", .inputs = 1, .build = build_segment_mean, .value = value_segment_mean, .cases = segments, .draw = draw_segments,
     .bench = {"bench", {{2, {4096, 384}}}, {512}}},
    {0},
};
/* clang-format on */
