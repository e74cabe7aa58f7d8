/* See kernel_cases.h. Rows, columns and strides are odd on purpose: every tail of every loop is run. */
#include "tests/tensor/kernel_cases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Numbers of `type` between -range and range, the same ones for the same seed. */
static void *draw(ls_device *device, ls_type type, int64_t n, double range, uint32_t seed)
{
    float *x = malloc((size_t)(n + 1) * sizeof *x);
    const ls_random stream = {.seed = seed, .purpose = LS_RANDOM_TASK};
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(range * (2 * (double)ls_random_uniform(&stream, (uint64_t)i) - 1));
    void *typed = malloc((size_t)(n + 1) * ls_type_size(type));
    ls_cpu_cast(device, LS_F32, type, n, x, typed);
    free(x);
    return typed;
}

static ls_arena *scratch(void)
{
    ls_arena *arena;
    return ls_arena_create(&arena, "scratch", (size_t)1 << 28) == LS_OK ? arena : NULL;
}

static ls_type real_type(ls_type type)
{
    return type == LS_F64 ? LS_F64 : LS_F32;
}

/* The outputs one behind the other. */
typedef struct {
    char *at, *begin;
} output;

static void *take(output *out, ls_device *device, ls_type type, int64_t n, uint32_t seed)
{
    char *begin = out->at;
    void *old = draw(device, type, n, 1, seed); /* accumulated into, or overwritten */
    memcpy(begin, old, (size_t)n * ls_type_size(type));
    free(old);
    out->at += (size_t)n * ls_type_size(type);
    out->at += (64 - (size_t)(out->at - out->begin) % 64) % 64;
    return begin;
}

static size_t run_unary(ls_device *device, ls_type type, int64_t n, void *out_)
{
    output out = {out_, out_};
    void *x = draw(device, type, n, 8, 1), *dy = draw(device, type, n, 1, 2);
    for (int op = 0; op < LS_UNARY_COUNT; op++) {
        void *y = take(&out, device, type, n, 3), *dx = take(&out, device, type, n, 4);
        void *positive = take(&out, device, type, n, 5);
        ls_cpu_unary(device, LS_UNARY_ABS, type, n, 0, 0, x, positive);
        const void *from = op == LS_UNARY_LOG || op == LS_UNARY_SQRT ? positive : x;
        ls_cpu_unary(device, (ls_unary)op, type, n, -1.25, 2.5, from, y);
        ls_cpu_unary_backward(device, (ls_unary)op, type, n, -1.25, 2.5, from, y, dy, dx);
    }
    free(x), free(dy);
    return (size_t)(out.at - out.begin);
}

static void run_pair(ls_device *device, ls_type type, const ls_strides *s, int64_t na, int64_t nb, output *out)
{
    const int64_t n = ls_cpu_elements(s);
    void *a = draw(device, type, na, 4, 11), *b = draw(device, type, nb, 4, 12), *dy = draw(device, type, n, 1, 13);
    ls_arena *arena = scratch();
    for (int op = 0; op < LS_BINARY_COUNT; op++) {
        ls_cpu_binary(device, (ls_binary)op, type, s, a, b, take(out, device, type, n, 14));
        ls_cpu_binary_backward(device, (ls_binary)op, type, s, a, b, dy, take(out, device, type, na, 15),
                               take(out, device, type, nb, 16), arena);
    }
    ls_arena_free(arena);
    free(a), free(b), free(dy);
}

static size_t run_binary(ls_device *device, ls_type type, int64_t n, void *out_)
{
    output out = {out_, out_};
    const int64_t rows = n / 7;
    run_pair(device, type, &(ls_strides){1, {n}, {1}, {1}}, n, n, &out);
    run_pair(device, type, &(ls_strides){1, {n}, {1}, {0}}, n, 1, &out);
    run_pair(device, type, &(ls_strides){2, {rows, 7}, {7, 1}, {0, 1}}, rows * 7, 7, &out);
    run_pair(device, type, &(ls_strides){2, {7, rows}, {rows, 1}, {0, 1}}, rows * 7, rows, &out);
    run_pair(device, type, &(ls_strides){2, {rows, 7}, {1, 0}, {0, 1}}, rows, 7, &out);
    run_pair(device, type, &(ls_strides){3, {3, rows, 5}, {5 * rows, 5, 1}, {5, 0, 1}}, rows * 15, 15, &out);
    return (size_t)(out.at - out.begin);
}

static size_t run_flat_entries(ls_device *device, ls_type type, int64_t n, void *out_)
{
    output out = {out_, out_};
    void *x = draw(device, type, n, 4, 21), *x2 = draw(device, type, n, 4, 22);
    uint8_t *condition = malloc((size_t)n + 1);
    for (int64_t i = 0; i < n; i++)
        condition[i] = (uint8_t)(i * i % 3 == 1);
    ls_cpu_where(device, type, n, condition, x, x2, take(&out, device, type, n, 23));
    void *da = take(&out, device, type, n, 24), *db = take(&out, device, type, n, 25);
    ls_cpu_where_backward(device, type, n, condition, x, da, db);
    ls_cpu_add_to(device, type, n, x, take(&out, device, type, n, 26));
    ls_cpu_fill(device, type, n, 0.3, take(&out, device, type, n, 27));
    ls_cpu_cast(device, type, LS_BF16, n, x, take(&out, device, LS_BF16, n, 28));
    ls_cpu_cast(device, type, LS_F32, n, x, take(&out, device, LS_F32, n, 29));
    const ls_random stream = {.seed = 77, .slot = 3, .step = 9, .purpose = LS_RANDOM_DROPOUT, .op = 5};
    ls_cpu_dropout(device, type, n, 0.1, &stream, 3, x, take(&out, device, type, n, 30), false);
    ls_cpu_dropout(device, type, n, 0.1, &stream, 3, x, take(&out, device, type, n, 31), true);
    free(x), free(x2), free(condition);
    return (size_t)(out.at - out.begin);
}

static void run_reductions(ls_device *device, ls_type type, int64_t outer, int64_t length, int64_t inner, output *out)
{
    const int64_t n = outer * length * inner, results = outer * inner;
    void *x = draw(device, type, n, 4, 41), *dy = draw(device, type, results, 1, 42);
    for (int op = 0; op < LS_REDUCE_COUNT; op++) {
        void *y = take(out, device, type, results, 43);
        ls_cpu_reduce(device, (ls_reduce)op, type, outer, length, inner, x, y);
        ls_cpu_reduce_backward(device, (ls_reduce)op, type, outer, length, inner, x, y, dy, take(out, device, type, n, 44));
    }
    free(x), free(dy);
}

static size_t run_reduce(ls_device *device, ls_type type, int64_t n, void *out_)
{
    output out = {out_, out_};
    run_reductions(device, type, 1, n, 1, &out);
    run_reductions(device, type, n / 33, 33, 1, &out);
    run_reductions(device, type, 3, 5, n / 15, &out);
    run_reductions(device, type, n / 15, 5, 3, &out);
    return (size_t)(out.at - out.begin);
}

static size_t run_top_k(ls_device *device, ls_type type, int64_t n, void *out_)
{
    output out = {out_, out_};
    const int64_t rows = n / 50;
    void *x = draw(device, type, n, 4, 51);
    for (int64_t k = 1; k <= 50; k += 7)
        ls_cpu_top_k(device, type, rows, 50, k, x, take(&out, device, type, rows * k, 52),
                     take(&out, device, LS_I32, rows * k, 53));
    free(x);
    return (size_t)(out.at - out.begin);
}

static size_t run_softmax(ls_device *device, ls_type type, int64_t n, void *out_)
{
    output out = {out_, out_};
    const int64_t lengths[] = {1, 37, n};
    void *x = draw(device, type, n, 20, 61), *dy = draw(device, type, n, 1, 62);
    for (int i = 0; i < 6; i++) {
        const bool log = i % 2;
        const int64_t length = lengths[i / 2], rows = length ? n / length : 0;
        void *y = take(&out, device, type, n, 63);
        ls_cpu_softmax(device, type, log, rows, length, x, y);
        ls_cpu_softmax_backward(device, type, log, rows, length, y, dy, take(&out, device, type, n, 64));
    }
    free(x), free(dy);
    return (size_t)(out.at - out.begin);
}

static void run_norm_of(ls_device *device, ls_type type, ls_type gain_type, bool rms, int64_t rows, int64_t width, output *out)
{
    const int64_t n = rows * width;
    ls_arena *arena = scratch();
    void *x = draw(device, type, n, 4, 71), *dy = draw(device, type, n, 1, 72);
    void *gain = draw(device, gain_type, width, 1, 73), *bias = draw(device, gain_type, width, 1, 74);
    void *y = take(out, device, type, n, 75), *stats = take(out, device, real_type(type), 2 * rows, 76);
    ls_cpu_norm(device, type, gain_type, rms, rows, width, 1e-5, x, gain, rms ? NULL : bias, y, stats);
    void *dx = take(out, device, type, n, 77), *dgain = take(out, device, real_type(type), width, 78);
    void *dbias = take(out, device, real_type(type), width, 79);
    ls_cpu_norm_backward(device, type, gain_type, rms, rows, width, x, gain, stats, dy, dx, dgain, rms ? NULL : dbias, arena);
    ls_cpu_sum_rows(device, type, rows, width, x, take(out, device, real_type(type), width, 80), arena);
    free(x), free(dy), free(gain), free(bias);
    ls_arena_free(arena);
}

static size_t run_norm(ls_device *device, ls_type type, int64_t n, void *out_)
{
    output out = {out_, out_};
    for (int rms = 0; rms < 2; rms++) {
        run_norm_of(device, type, type, rms, n / 19, 19, &out);
        run_norm_of(device, type, real_type(type), rms, n / 600, 600, &out);
        run_norm_of(device, type, real_type(type), rms, n ? 1 : 0, n ? n : 1, &out);
    }
    return (size_t)(out.at - out.begin);
}

static size_t run_rotary(ls_device *device, ls_type type, int64_t n, void *out_)
{
    output out = {out_, out_};
    const int64_t widths[] = {2, 20, 150}; /* pairs below and above what is handled at once */
    void *x = draw(device, type, n, 4, 91);
    for (int i = 0; i < 12; i++) {
        const int64_t width = widths[i / 4], heads = 3, rows = n / (heads * width);
        int32_t *position = malloc(sizeof *position * (size_t)(rows + 1));
        for (int64_t row = 0; row < rows; row++)
            position[row] = (int32_t)(row * 977 % 100003);
        void *y = take(&out, device, type, rows * heads * width, 92);
        ls_cpu_rotary(device, type, rows, heads, width, 10000, i & 1, i & 2, position, x, y, i % 3 == 0);
        free(position);
    }
    free(x);
    return (size_t)(out.at - out.begin);
}

static size_t run_move(ls_device *device, ls_type type, int64_t n, void *out_)
{
    output out = {out_, out_};
    const int64_t rows = n / 35;
    void *x = draw(device, type, n, 4, 101);
    /* [rows, 7, 5] to [7, rows, 5], to [rows, 5, 7], and back by adding */
    const ls_strides heads = {3, {7, rows, 5}, {5, 35, 1}, {5 * rows, 5, 1}};
    const ls_strides turned = {3, {rows, 5, 7}, {35, 1, 5}, {35, 7, 1}};
    void *y = take(&out, device, type, rows * 35, 102);
    ls_cpu_copy_strided(device, type, &heads, x, y);
    ls_cpu_copy_strided(device, type, &turned, x, take(&out, device, type, rows * 35, 103));
    ls_cpu_add_strided(device, type, &heads, y, take(&out, device, type, rows * 35, 104));
    ls_cpu_add_strided(device, type, &turned, y, take(&out, device, type, rows * 35, 105));

    int32_t *index = malloc(sizeof *index * (size_t)(rows + 1));
    for (int64_t i = 0; i < rows; i++)
        index[i] = i % 11 == 5 ? -1 : (int32_t)(i * i % 13);
    void *table = draw(device, type, 13 * 35, 4, 106);
    ls_cpu_gather_rows(device, type, rows, 35, index, table, take(&out, device, type, rows * 35, 107));
    ls_cpu_scatter_add_rows(device, type, type, rows, 35, 13, index, x, take(&out, device, type, 13 * 35, 108), NULL);
    if (rows)
        ls_cpu_scatter_add_rows(device, type, real_type(type), 13, rows, 13, index, x,
                                take(&out, device, real_type(type), 13 * rows, 109), NULL);
    free(x), free(index), free(table);
    return (size_t)(out.at - out.begin);
}

static size_t run_flat(ls_device *device, ls_type type, int64_t n, void *out_)
{
    output out = {out_, out_};
    if (type == LS_F64)
        return 0; /* flat buffers are f32; the type is that of the working copy */
    float *x = draw(device, LS_F32, n, 4, 111), *level[5];
    for (int l = 0; l < 5; l++)
        level[l] = draw(device, LS_F32, n, 4, 112 + (uint32_t)l);
    for (int levels = 0; levels <= 5; levels += levels < 2 ? 1 : 3)
        ls_cpu_carry(device, n, x, levels, (const float *const *)level, take(&out, device, LS_F32, n, 120));
    ls_cpu_chunk_squares(device, n, x, take(&out, device, LS_F64, (n + LS_CHUNK - 1) / LS_CHUNK, 121));
    for (int kind = 0; kind < 6; kind++) {
        ls_optimizer_args args = {.kind = (ls_optimizer_kind)(kind / 2), .count = n, .step = 3, .lr = 0.01, .beta1 = 0.9,
                                  .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .momentum = kind == 2 ? 0 : 0.9,
                                  .scale = 0.25, .nesterov = kind == 3, .gradient = x, .working_type = type};
        args.master = take(&out, device, LS_F32, n, 122);
        args.first_moment = take(&out, device, LS_F32, n, 123);
        args.second_moment = take(&out, device, LS_F32, n, 124);
        ls_cpu_unary(device, LS_UNARY_ABS, LS_F32, n, 0, 0, args.second_moment, args.second_moment);
        args.working = kind % 2 ? take(&out, device, type, n, 125) : NULL;
        ls_cpu_optimizer_step(device, &args);
    }
    for (int l = 0; l < 5; l++)
        free(level[l]);
    free(x);
    return (size_t)(out.at - out.begin);
}

const kernel_case kernel_cases[] = {
    {"unary", run_unary}, {"binary", run_binary}, {"where, add, fill, cast, dropout", run_flat_entries},
    {"reduce", run_reduce}, {"top-k", run_top_k}, {"softmax", run_softmax}, {"norm, sum of rows", run_norm},
    {"rotary", run_rotary}, {"move", run_move}, {"flat buffers", run_flat},
};
const int kernel_case_count = sizeof kernel_cases / sizeof *kernel_cases;
