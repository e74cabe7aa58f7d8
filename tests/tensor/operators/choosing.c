/* Rows and elements by index: embedding, gather, scatter-add, top-k. */
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

static ls_tensor *build_gather(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_gather(tape, in[0], c->argument[0], numbers(tape, c->argument[0], index_or_none_at, size(c, 0, 0)));
}

static void value_gather(const operator_case *c, const double *const *in, double *out)
{
    int64_t width = operator_input_count(c, 0) / size(c, 0, 0);
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
    int64_t rows = c->argument[0], width = operator_input_count(c, 0) / size(c, 0, 0);
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

const operator_description operators_choosing[] = {
    {.name = "embedding", .inputs = 1, .build = build_embedding, .value = value_embedding, .cases = embeddings,
     .bench = {"bench", {{2, {4096, 384}}}, {8, 256}}},
    {.name = "gather", .inputs = 1, .build = build_gather, .value = value_gather, .cases = gathers,
     .bench = {"bench", {{2, {4096, 384}}}, {2048}}},
    {.name = "scatter_add", .inputs = 1, .build = build_scatter_add, .value = value_scatter_add, .cases = scatters,
     .bench = {"bench", {{2, {2048, 384}}}, {4096}}},
    {.name = "top_k", .inputs = 1, .build = build_top_k, .value = value_top_k, .cases = top_ks,
     .bench = {"bench", {{2, {256, 4096}}}, {8}}},
    {0},
};
/* clang-format on */
