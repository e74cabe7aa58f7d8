/* See kernel_cases.h. Rows, columns and strides are odd on purpose: every tail of every loop is run. */
#include "tests/tensor/kernel_cases.h"
#include "tests/tensor/reference_device.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Numbers of `type` between -range and range, the same ones for the same seed. */
static void *draw(ls_device *device, ls_type type, int64_t n, double range, uint32_t seed)
{
    float *x = malloc((size_t)(n + 1) * sizeof *x);
    const uint32_t key[2] = {seed, 0};
    uint32_t words[4] = {0};
    for (int64_t i = 0; i < n; i++) { /* ls_random_uniform's numbers, four to a block: drawing is most of these tests */
        if (i % 4 == 0)
            ls_philox4x32((uint32_t[]){(uint32_t)(i / 4), 0, 0, LS_RANDOM_TASK << 16}, key, words);
        x[i] = (float)(range * (2 * (double)(words[i % 4] >> 8) * 0x1p-24 - 1));
    }
    void *typed = malloc((size_t)(n + 1) * ls_type_size(type));
    device->cast(device, LS_F32, type, n, x, typed); /* exact, or tested on its own */
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

/* Rooms are used again: to fault in, fill (MALLOC_PERTURB_) and give back 64 MiB a case would take most of a test's time. */
static char *rested[4];
enum { RESTED = sizeof rested / sizeof *rested };

kernel_output kernel_output_create(void)
{
    kernel_output out = {.room = (size_t)64 << 20};
    for (int i = 0; i < RESTED && !out.bytes; i++) {
        out.bytes = rested[i];
        rested[i] = NULL;
    }
    if (!out.bytes)
        out.bytes = calloc(1, out.room);
    return out;
}

void kernel_output_free(kernel_output *out)
{
    memset(out->bytes, 0, out->used); /* as from calloc */
    for (int i = 0; i < RESTED && out->bytes; i++)
        if (!rested[i]) {
            rested[i] = out->bytes;
            out->bytes = NULL;
        }
    free(out->bytes);
}

/* Room for the next array, filled with drawn numbers: it will be added to, or overwritten. */
static void *take(kernel_output *out, ls_device *device, ls_type type, int64_t n, const char *entry, int variant)
{
    char *begin = out->bytes + out->used;
    const size_t bytes = (size_t)n * ls_type_size(type);
    if (out->arrays == KERNEL_ARRAYS || out->used + bytes > out->room)
        abort();
    if (type != LS_I32) {
        void *old = draw(device, type, n, 1, 1000 + (uint32_t)out->arrays);
        memcpy(begin, old, bytes);
        free(old);
    }
    out->array[out->arrays].entry = entry;
    out->array[out->arrays].variant = variant;
    out->array[out->arrays].type = type;
    out->array[out->arrays].count = n;
    out->array[out->arrays++].at = out->used;
    out->used += (bytes + 63) / 64 * 64;
    return begin;
}

static void run_unary(ls_device *device, ls_type type, int64_t n, kernel_output *out)
{
    void *x = draw(device, type, n, 8, 1), *dy = draw(device, type, n, 1, 2);
    for (int op = 0; op < LS_UNARY_COUNT; op++) {
        void *y = take(out, device, type, n, "unary", op), *dx = take(out, device, type, n, "unary_backward", op);
        void *positive = take(out, device, type, n, "unary: |x|", op);
        device->unary(device, LS_UNARY_ABS, type, n, 0, 0, x, positive);
        const void *from = op == LS_UNARY_LOG || op == LS_UNARY_SQRT ? positive : x;
        const double a = op >= LS_UNARY_SPIKE_STRAIGHT ? 1.25 : -1.25; /* a slope is positive */
        device->unary(device, (ls_unary)op, type, n, a, 2.5, from, y);
        device->unary_backward(device, (ls_unary)op, type, n, a, 2.5, from, y, dy, dx);
    }
    free(x), free(dy);
}

static void run_pair(ls_device *device, ls_type type, const ls_strides *s, int64_t na, int64_t nb, kernel_output *out)
{
    int64_t n = 1;
    for (int d = 0; d < s->ndim; d++)
        n *= s->shape[d];
    void *a = draw(device, type, na, 4, 11), *b = draw(device, type, nb, 4, 12), *dy = draw(device, type, n, 1, 13);
    ls_arena *arena = scratch();
    for (int op = 0; op < LS_BINARY_COUNT; op++) {
        device->binary(device, (ls_binary)op, type, s, a, b, take(out, device, type, n, "binary", op));
        void *da = take(out, device, type, na, "binary_backward: da", op);
        void *db = take(out, device, type, nb, "binary_backward: db", op);
        device->binary_backward(device, (ls_binary)op, type, s, a, b, dy, da, db, arena);
    }
    ls_arena_free(arena);
    free(a), free(b), free(dy);
}

static void run_binary(ls_device *device, ls_type type, int64_t n, kernel_output *out)
{
    const int64_t rows = n / 7;
    run_pair(device, type, &(ls_strides){1, {n}, {1}, {1}}, n, n, out);
    run_pair(device, type, &(ls_strides){1, {n}, {1}, {0}}, n, 1, out);
    run_pair(device, type, &(ls_strides){2, {rows, 7}, {7, 1}, {0, 1}}, rows * 7, 7, out);
    run_pair(device, type, &(ls_strides){2, {7, rows}, {rows, 1}, {0, 1}}, rows * 7, rows, out);
    run_pair(device, type, &(ls_strides){2, {rows, 7}, {1, 0}, {0, 1}}, rows, 7, out);
    run_pair(device, type, &(ls_strides){3, {3, rows, 5}, {5 * rows, 5, 1}, {5, 0, 1}}, rows * 15, 15, out);
}

/* A loss's gradient, as a device has it. */
static const void *quarter(ls_type type)
{
    static const float single = 0.25f;
    static const double twofold = 0.25;
    return type == LS_F64 ? (const void *)&twofold : &single;
}

static void run_flat_entries(ls_device *device, ls_type type, int64_t n, kernel_output *out)
{
    void *x = draw(device, type, n, 4, 21), *x2 = draw(device, type, n, 4, 22);
    uint8_t *condition = malloc((size_t)n + 1);
    for (int64_t i = 0; i < n; i++)
        condition[i] = (uint8_t)(i * i % 3 == 1);
    device->where(device, type, n, condition, x, x2, take(out, device, type, n, "where", 0));
    void *da = take(out, device, type, n, "where_backward: da", 0), *db = take(out, device, type, n, "where_backward: db", 0);
    device->where_backward(device, type, n, condition, x, da, db);
    static const struct {
        ls_unary f;
        bool add_gate, add_x;
    } gates[] = {{LS_UNARY_SILU, false, false}, {LS_UNARY_SILU, true, false}, {LS_UNARY_GELU, false, true},
                 {LS_UNARY_RELU, true, true},   {LS_UNARY_GELU_TANH, false, false}};
    for (int i = 0; i < 5; i++) {
        device->gated(device, gates[i].f, type, n, x, x2, take(out, device, type, n, "gated", 0));
        void *first = take(out, device, type, n, "gated_backward: dgate", 0), *second = take(out, device, type, n, "gated_backward: dx", 0);
        device->gated_backward(device, gates[i].f, type, n, x, x2, x2, first, gates[i].add_gate, second, gates[i].add_x);
        device->gated_backward(device, gates[i].f, type, n, x, x2, x2, NULL, false, take(out, device, type, n, "gated_backward: dx alone", 0), false);
    }
    device->add_to(device, type, n, x, take(out, device, type, n, "add_to", 0));
    device->scale_by(device, type, n, quarter(type), x, take(out, device, type, n, "scale_by", 0));
    device->fill(device, type, n, 0.3, take(out, device, type, n, "fill", 0));
    device->cast(device, type, LS_BF16, n, x, take(out, device, LS_BF16, n, "cast to bf16", 0));
    device->cast(device, type, LS_F16, n, x, take(out, device, LS_F16, n, "cast to f16", 0));
    device->cast(device, type, LS_F32, n, x, take(out, device, LS_F32, n, "cast to f32", 0));
    const ls_random stream = {.seed = 77, .slot = 3, .step = 9, .purpose = LS_RANDOM_DROPOUT, .op = 5};
    device->dropout(device, type, n, 0.1, &stream, 3, x, take(out, device, type, n, "dropout", 0), false);
    device->dropout(device, type, n, 0.1, &stream, 3, x, take(out, device, type, n, "dropout, added", 0), true);
    device->gumbel(device, type, n, 0.7, &stream, 3, x, take(out, device, type, n, "gumbel", 0));
    free(x), free(x2), free(condition);
}

static void run_reductions(ls_device *device, ls_type type, int64_t outer, int64_t length, int64_t inner, kernel_output *out)
{
    const int64_t n = outer * length * inner, results = outer * inner;
    void *x = draw(device, type, n, 4, 41), *dy = draw(device, type, results, 1, 42);
    for (int op = 0; op < LS_REDUCE_COUNT; op++) {
        void *y = take(out, device, type, results, "reduce", op);
        device->reduce(device, (ls_reduce)op, type, outer, length, inner, x, y);
        device->reduce_backward(device, (ls_reduce)op, type, outer, length, inner, x, y, dy, take(out, device, type, n, "reduce_backward", op));
    }
    free(x), free(dy);
}

static void run_reduce(ls_device *device, ls_type type, int64_t n, kernel_output *out)
{
    run_reductions(device, type, 1, n, 1, out);
    run_reductions(device, type, n / 33, 33, 1, out);
    run_reductions(device, type, 3, 5, n / 15, out);
    run_reductions(device, type, n / 15, 5, 3, out);
}

static void run_top_k(ls_device *device, ls_type type, int64_t n, kernel_output *out)
{
    const int64_t rows = n / 50;
    void *x = draw(device, type, n, 4, 51);
    for (int64_t k = 1; k <= 50; k += 7) {
        void *values = take(out, device, type, rows * k, "top_k: values", (int)k);
        device->top_k(device, type, rows, 50, k, x, values, take(out, device, LS_I32, rows * k, "top_k: index", (int)k));
    }
    free(x);
}

static void run_orders(ls_device *device, ls_type type, int64_t n, kernel_output *out)
{
    const int64_t lengths[] = {1, 40, 300}; /* by insertion and by radix */
    ls_arena *arena = scratch();
    void *x = draw(device, type, n, 4, 52);
    if (!ls_type_is_narrow(type))
        for (int64_t i = 3; i < n; i += 7) /* equal elements */
            memcpy((char *)x + (size_t)i * ls_type_size(type), (char *)x + (size_t)(i - 3) * ls_type_size(type), ls_type_size(type));
    for (int i = 0; i < 6; i++) {
        const int64_t length = lengths[i / 2], rows = n / length;
        void *values = take(out, device, type, rows * length, "sort: values", i);
        int32_t *index = take(out, device, LS_I32, rows * length, "sort: index", i);
        device->sort(device, type, rows, length, i % 2, x, values, index, arena);
        const int64_t k = (length + 2) / 3; /* a third of each row goes back to where it came from */
        int32_t *chosen = malloc(sizeof *chosen * (size_t)(rows * k + 1));
        for (int64_t r = 0; r < rows; r++)
            memcpy(chosen + r * k, index + r * length, sizeof *chosen * (size_t)k);
        device->scatter_add_elements(device, type, rows, length, k, chosen, x, take(out, device, type, rows * length, "scatter_add_elements", i));
        free(chosen);
    }
    for (int i = 0; i < 4; i++) { /* forwards, and backwards onto what is there */
        const int64_t inner = i < 2 ? 1 : 13, length = n / (3 * inner);
        void *y = take(out, device, type, 3 * length * inner, "cumulative_sum", i);
        device->cumulative_sum(device, type, 3, length, inner, i & 1, i & 1, x, y);
    }
    free(x);
    ls_arena_free(arena);
}

static void run_element_losses(ls_device *device, ls_type type, int64_t n, kernel_output *out)
{
    void *x = draw(device, type, n, 4, 53), *target = draw(device, type, n, 1, 54);
    device->unary(device, LS_UNARY_ABS, type, n, 0, 0, target, target);
    float *weights = draw(device, LS_F32, n, 1, 55), *pos_weights = draw(device, LS_F32, 13, 1, 56);
    for (int i = 0; i < 13; i++)
        pos_weights[i] = pos_weights[i] < 0 ? -pos_weights[i] : pos_weights[i];
    for (int i = 0; i < 3 * LS_LOSS_COUNT; i++) { /* no weights, one for each 5, all weights */
        ls_element_loss_args args = {.kind = (ls_element_loss)(i / 3), .type = type, .count = n, .run = i % 3 == 1 ? 5 : 1, .classes = 13, .x = x, .target = target,
                                     .weights = i % 3 ? weights : NULL, .pos_weights = i % 3 == 2 ? pos_weights : NULL, .dloss = quarter(type)};
        args.sum = take(out, device, real_type(type), 1, "element_loss", i);
        device->element_loss(device, &args);
        args.dx = i % 3 == 2 ? NULL : take(out, device, type, n, "element_loss_backward: dx", i);
        args.dtarget = i % 3 == 1 ? NULL : take(out, device, type, n, "element_loss_backward: dtarget", i);
        device->element_loss_backward(device, &args);
    }
    free(x), free(target), free(weights), free(pos_weights);
}

static void run_row_losses(ls_device *device, ls_type type, int64_t n, kernel_output *out)
{
    const int64_t widths[] = {3, 17, 600}; /* of one number a cosine is 1 or -1, its gradient what rounding leaves */
    void *x = draw(device, type, n, 6, 57), *target = draw(device, type, n, 2, 58), *dy = draw(device, type, n, 1, 59);
    float *weights = draw(device, LS_F32, n, 1, 60);
    int32_t *labels = malloc(sizeof *labels * (size_t)(n + 1));
    for (int64_t r = 0; r < n; r++)
        labels[r] = (int32_t)(r % 3) - 1;
    for (int i = 0; i < 3 * LS_ROW_LOSS_COUNT; i++) {
        const int64_t classes = widths[i / LS_ROW_LOSS_COUNT], rows = n / classes;
        double *stats = malloc(sizeof *stats * (size_t)(4 * rows + 1));
        ls_row_loss_args args = {.kind = (ls_row_loss)(i % LS_ROW_LOSS_COUNT), .type = type, .rows = rows, .classes = classes, .smoothing = 0.125, .x = x, .target = target,
                                 .weights = weights, .losses = take(out, device, LS_F64, rows, "row_loss", i), .stats = stats, .dloss = quarter(type)};
        device->row_loss(device, &args);
        device->sum_losses(device, LS_F64, rows, i % 2 ? labels : NULL, i % 3 ? weights : NULL, args.losses, real_type(type), take(out, device, real_type(type), 1, "sum_losses", i));
        args.dx = take(out, device, type, rows * classes, "row_loss_backward: dx", i);
        args.dtarget = take(out, device, type, rows * classes, "row_loss_backward: dtarget", i);
        device->row_loss_backward(device, &args);
        void *y = take(out, device, type, rows, "cosine", i);
        double *norms = take(out, device, LS_F64, 3 * rows, "cosine: stats", i);
        device->cosine(device, type, rows, classes, i % 2 ? 2 : 1e-8, x, target, y, norms);
        void *da = take(out, device, type, rows * classes, "cosine_backward: da", i);
        device->cosine_backward(device, type, rows, classes, i % 2 ? 2 : 1e-8, x, target, norms, dy, da, take(out, device, type, rows * classes, "cosine_backward: db", i));
        free(stats);
    }
    free(x), free(target), free(dy), free(weights), free(labels);
}

static void run_upsample(ls_device *device, ls_type type, int64_t n, kernel_output *out)
{
    ls_arena *arena = scratch();
    for (int i = 0; i < 6; i++) { /* more and fewer positions; 7 channels, or a batch of 7 */
        const ls_grid grid = {.type = type, .batch = i % 2 ? 7 : n / 35, .in = {1, 5, 3}, .out = {1, 4, 7}, .channels = i % 2 ? n / 35 + 1 : 7};
        const int64_t each = grid.batch * grid.channels;
        void *x = draw(device, type, 15 * each, 4, 63), *dy = draw(device, type, 28 * each, 4, 64);
        device->upsample(device, &grid, (ls_upsampling_kind)(i / 2), x, take(out, device, type, 28 * each, "upsample", i), arena);
        device->upsample_backward(device, &grid, (ls_upsampling_kind)(i / 2), dy, take(out, device, type, 15 * each, "upsample_backward", i), arena);
        free(x), free(dy);
    }
    ls_arena_free(arena);
}

static void run_softmax(ls_device *device, ls_type type, int64_t n, kernel_output *out)
{
    const int64_t lengths[] = {1, 37, n};
    void *x = draw(device, type, n, 20, 61), *dy = draw(device, type, n, 1, 62);
    for (int i = 0; i < 6; i++) {
        const bool log = i % 2;
        const int64_t length = lengths[i / 2], rows = length ? n / length : 0;
        void *y = take(out, device, type, n, "softmax", i);
        device->softmax(device, type, log, rows, length, x, y);
        device->softmax_backward(device, type, log, rows, length, y, dy, take(out, device, type, n, "softmax_backward", i));
    }
    free(x), free(dy);
}

static void run_norm_of(ls_device *device, ls_type type, ls_type gain_type, bool rms, int64_t rows, int64_t width, kernel_output *out)
{
    const int64_t n = rows * width;
    ls_arena *arena = scratch();
    void *x = draw(device, type, n, 4, 71), *dy = draw(device, type, n, 1, 72);
    void *gain = draw(device, gain_type, width, 1, 73), *bias = draw(device, gain_type, width, 1, 74);
    void *y = take(out, device, type, n, "norm", rms), *stats = take(out, device, real_type(type), 2 * rows, "norm: stats", rms);
    device->norm(device, type, gain_type, rms, rows, width, 1e-5, x, gain, rms ? NULL : bias, y, stats);
    void *dx = take(out, device, type, n, "norm_backward: dx", rms), *dgain = take(out, device, real_type(type), width, "norm_backward: dgain", rms);
    void *dbias = take(out, device, real_type(type), width, "norm_backward: dbias", rms);
    device->norm_backward(device, type, gain_type, rms, rows, width, x, gain, stats, dy, dx, dgain, rms ? NULL : dbias, arena);
    device->sum_rows(device, type, rows, width, x, take(out, device, real_type(type), width, "sum_rows", 0), arena);
    free(x), free(dy), free(gain), free(bias);
    ls_arena_free(arena);
}

static void run_norm(ls_device *device, ls_type type, int64_t n, kernel_output *out)
{
    for (int rms = 0; rms < 2; rms++) {
        run_norm_of(device, type, type, rms, n / 19, 19, out);
        run_norm_of(device, type, real_type(type), rms, n / 600, 600, out);
        run_norm_of(device, type, real_type(type), rms, n ? 1 : 0, n ? n : 1, out);
    }
}

/* By channel: rows of one to five vectors of some level, and of parts of one. */
static void run_channels(ls_device *device, ls_type type, int64_t n, kernel_output *out)
{
    static const int64_t widths[] = {4, 16, 32, 48, 64, 80, 37};
    const ls_type gains = real_type(type);
    ls_arena *arena = scratch();
    void *x = draw(device, type, n, 4, 141), *dy = draw(device, type, n, 1, 142), *gain = draw(device, gains, 80, 1, 143), *bias = draw(device, gains, 80, 1, 144);
    for (int i = 0; i < 7; i++) {
        const int64_t width = widths[i], rows = n / width < 40 ? n / width : 40;
        if (!rows)
            continue;
        double *stats = take(out, device, LS_F64, 2 * width, "group_norm: statistics", i);
        void *y = take(out, device, type, rows * width, "group_norm", i), *dx = take(out, device, type, rows * width, "group_norm_backward: dx", i);
        void *dgain = take(out, device, gains, width, "group_norm_backward: dgain", i),
             *dbias = take(out, device, gains, width, "group_norm_backward: dbias", i);
        device->group_norm(device, type, gains, 1, rows, width, width, 1e-2, false, x, gain, bias, y, stats, arena);
        device->group_norm_backward(device, type, gains, 1, rows, width, width, 1e-2, x, gain, stats, dy, dx, dgain, dbias, arena);
    }
    free(x), free(dy), free(gain), free(bias);
    ls_arena_free(arena);
}

static void run_rotary(ls_device *device, ls_type type, int64_t n, kernel_output *out)
{
    const int64_t widths[] = {2, 20, 150}; /* pairs below and above what is handled at once */
    void *x = draw(device, type, n, 4, 91);
    for (int i = 0; i < 12; i++) {
        const int64_t width = widths[i / 4], heads = 3, rows = n / (heads * width);
        int32_t *position = malloc(sizeof *position * (size_t)(rows + 1));
        double frequency[75];
        for (int64_t row = 0; row < rows; row++)
            position[row] = (int32_t)(row * 977 % 100003);
        for (int64_t j = 0; j < width / 2; j++)
            frequency[j] = pow(10000, -2.0 * (double)j / (double)width);
        void *y = take(out, device, type, rows * heads * width, "rotary", i);
        device->rotary(device, type, rows, heads, width, frequency, i & 1, i & 2, position, x, y, i % 3 == 0);
        free(position);
    }
    free(x);
}

static void run_move(ls_device *device, ls_type type, int64_t n, kernel_output *out)
{
    const int64_t rows = n / 35;
    void *x = draw(device, type, n, 4, 101);
    /* [rows, 7, 5] to [7, rows, 5], to [rows, 5, 7], and back by adding */
    const ls_strides heads = {3, {7, rows, 5}, {5, 35, 1}, {5 * rows, 5, 1}};
    const ls_strides turned = {3, {rows, 5, 7}, {35, 1, 5}, {35, 7, 1}};
    void *y = take(out, device, type, rows * 35, "copy_strided", 0);
    device->copy_strided(device, type, &heads, x, y);
    device->copy_strided(device, type, &turned, x, take(out, device, type, rows * 35, "copy_strided", 1));
    device->add_strided(device, type, &heads, y, take(out, device, type, rows * 35, "add_strided", 0));
    device->add_strided(device, type, &turned, y, take(out, device, type, rows * 35, "add_strided", 1));

    int32_t *index = malloc(sizeof *index * (size_t)(rows + 13));
    for (int64_t i = 0; i < rows + 13; i++)
        index[i] = i % 11 == 5 ? -1 : (int32_t)(i * i % 13);
    void *table = draw(device, type, 13 * 35, 4, 106);
    device->gather_rows(device, type, rows, 35, index, table, take(out, device, type, rows * 35, "gather_rows", 0));
    device->scatter_add_rows(device, type, type, rows, 35, 13, index, x, take(out, device, type, 13 * 35, "scatter_add_rows", 0), NULL);
    if (rows)
        device->scatter_add_rows(device, type, real_type(type), 13, rows, 13, index, x,
                                take(out, device, real_type(type), 13 * rows, "scatter_add_rows", 1), NULL);
    free(x), free(index), free(table);
}

static void run_flat(ls_device *device, ls_type type, int64_t n, kernel_output *out)
{
    if (type == LS_F64)
        return; /* flat buffers are f32; the type is that of the working copy */
    float *x = draw(device, LS_F32, n, 4, 111), *level[5];
    for (int l = 0; l < 5; l++)
        level[l] = draw(device, LS_F32, n, 4, 112 + (uint32_t)l);
    for (int levels = 0; levels <= 5; levels += levels < 2 ? 1 : 3)
        device->carry(device, n, x, levels, (const float *const *)level, take(out, device, LS_F32, n, "carry", levels));
    for (int i = 0; i < 2; i++)
        device->average(device, n, i ? 0.75 : 1e-3, x, take(out, device, LS_F32, n, "average", i));
    device->chunk_squares(device, n, x, take(out, device, LS_F64, (n + LS_CHUNK - 1) / LS_CHUNK, "chunk_squares", 0));
    for (int kind = 0; kind < 6; kind++) {
        ls_optimizer_args args = {.kind = (ls_optimizer_kind)(kind / 2), .count = n, .step = 3, .lr = 0.01, .beta1 = 0.9,
                                  .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .momentum = kind == 2 ? 0 : 0.9,
                                  .scale = 0.25, .nesterov = kind == 3, .gradient = x, .working_type = type};
        args.master = take(out, device, LS_F32, n, "optimizer_step: master", kind);
        args.first_moment = take(out, device, LS_F32, n, "optimizer_step: first moment", kind);
        args.second_moment = take(out, device, LS_F32, n, "optimizer_step: second moment", kind);
        device->unary(device, LS_UNARY_ABS, LS_F32, n, 0, 0, args.second_moment, args.second_moment);
        args.working = kind % 2 ? take(out, device, type, n, "optimizer_step: working", kind) : NULL;
        device->optimizer_step(device, &args);
    }
    for (int l = 0; l < 5; l++)
        free(level[l]);
    free(x);
}

const kernel_case kernel_cases[] = {
    {"unary", run_unary}, {"binary", run_binary}, {"where, add, fill, cast, dropout", run_flat_entries},
    {"reduce", run_reduce}, {"top-k", run_top_k}, {"sort, running sums", run_orders}, {"element losses", run_element_losses},
    {"row losses, cosine", run_row_losses}, {"upsampling", run_upsample}, {"softmax", run_softmax}, {"norm, sum of rows", run_norm},
    {"norm by channel", run_channels}, {"rotary", run_rotary}, {"move", run_move}, {"flat buffers", run_flat},
};
const int kernel_case_count = sizeof kernel_cases / sizeof *kernel_cases;

/* Numbers of at most `size` may differ by `relative` of their size and, near 0, by `absolute`. */
void kernel_output_compare(const kernel_output *want, const kernel_output *got, ls_type type, double relative, double absolute)
{
    cr_assert_eq(got->arrays, want->arrays);
    for (int i = 0; i < want->arrays; i++) {
        const ls_type own = want->array[i].type;
        const char *w = want->bytes + want->array[i].at, *g = got->bytes + got->array[i].at;
        if (own == LS_I32) {
            cr_assert_eq(memcmp(w, g, (size_t)want->array[i].count * 4), 0, "%s %d", want->array[i].entry,
                         want->array[i].variant);
            continue;
        }
        for (int64_t k = 0; k < want->array[i].count; k++) {
            double a = reference_get(own, w, k), b = reference_get(own, g, k);
            cr_assert((isnan(a) && isnan(b)) || a == b || fabs(a - b) <= relative * fabs(a) + absolute,
                      "%s %d, %s: element %d of %d is %.9g, not %.9g", want->array[i].entry, want->array[i].variant,
                      ls_type_name(type), (int)k, (int)want->array[i].count, b, a);
        }
    }
}
