/* How long the CUDA device's hot kernels take, one at a time, each named by a kind and its sizes. bench/gpu calls it, and knows
 * what bytes and operations each of them has; bench/tensor/peer_gpu.py is PyTorch on the same.
 *
 *     build/release/bench/tensor_bench_gpu [least=SECONDS] "matmul m=8192 n=768 k=768" "attention batch=8 tokens=1024 heads=12 kv_heads=12 width=64" ...
 *
 * bf16 throughout, with gradients of weights, statistics and optimiser in f32, as training has it. Calls are queued until
 * `least` seconds (0.1) have passed from the first to the end of the last; the figure is the median of five such runs, after
 * one to warm up. Arrays are the device's own and are used again by every call: those of a few MiB stay in its L2 cache. */
#include "bench/figure.h"
#include "tensor/device.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RUNS = 5, BLOCKS = 16 };

typedef struct {
    ls_device *device;
    ls_arena *scratch;
    const char *spec;
    void *block[BLOCKS];
    size_t bytes[BLOCKS];
    int blocks;
    union {
        ls_matmul_args matmul;
        ls_attention_args attention;
        ls_cross_entropy_args loss;
        ls_optimizer_args optimizer;
        struct {
            ls_grid grid;
            void *x, *w, *y, *dw;
        } conv;
        struct {
            int64_t n, rows, width;
            void *x, *y, *z, *dx, *dy;
            float *gain, *stats;
            const int32_t *index;
            const double *frequency;
        } other;
    } on;
} bench;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void need(ls_status status)
{
    if (status == LS_OK)
        return;
    fprintf(stderr, "tensor_bench_gpu: %s\n", ls_fail_sentence());
    exit(ls_status_exit_code(status));
}

/* The number after `key=` in the spec. */
static int64_t size(const bench *b, const char *key)
{
    const size_t length = strlen(key);
    for (const char *at = strchr(b->spec, ' '); at; at = strchr(at + 1, ' '))
        if (strncmp(at + 1, key, length) == 0 && at[1 + length] == '=' && atoll(at + length + 2) > 0)
            return atoll(at + length + 2);
    fprintf(stderr, "tensor_bench_gpu: \"%s\" has no %s=NUMBER\n", b->spec, key);
    exit(2);
}

static void *take(bench *b, size_t bytes)
{
    if (b->blocks == BLOCKS)
        abort();
    need(b->device->allocate(b->device, bytes, &b->block[b->blocks]));
    b->bytes[b->blocks] = bytes;
    return b->block[b->blocks++];
}

/* Small numbers that differ: a GPU that multiplies zeros is cooler, and faster, than one that works. */
static void *numbers(bench *b, ls_type type, int64_t count)
{
    const ls_random stream = {.seed = (uint32_t)b->blocks, .purpose = LS_RANDOM_TASK};
    void *x = take(b, (size_t)count * ls_type_size(type));
    b->device->gumbel(b->device, type, count, 0.02, &stream, 0, x, x);
    return x;
}

static int32_t *indices(bench *b, int64_t count, int64_t below, int64_t step)
{
    int32_t *index = take(b, (size_t)count * sizeof *index);
    need(b->device->synchronize(b->device));
    for (int64_t i = 0; i < count; i++)
        index[i] = (int32_t)(i * step % below);
    return index;
}

/* ---- products: y = x w', its gradient in x, and that in w ---- */

static void product(bench *b, bool trans_a, bool trans_b, ls_type type_c)
{
    const int64_t m = size(b, "m"), n = size(b, "n"), k = size(b, "k");
    b->on.matmul = (ls_matmul_args){.batch = 1, .m = m, .n = n, .k = k, .trans_a = trans_a, .trans_b = trans_b, .accumulate = type_c == LS_F32, .type_ab = LS_BF16, .type_c = type_c,
                                    .type_bias = LS_BF16, .a = numbers(b, LS_BF16, m * k), .b = numbers(b, LS_BF16, k * n), .c = numbers(b, type_c, m * n),
                                    .lda = trans_a ? m : k, .ldb = trans_b ? k : n, .ldc = n};
}

static void make_matmul(bench *b) { product(b, false, true, LS_BF16); }
static void make_matmul_slope(bench *b) { product(b, false, false, LS_BF16); }
static void make_matmul_weight(bench *b) { product(b, true, false, LS_F32); }

static void make_matmul_gelu(bench *b)
{
    product(b, false, true, LS_BF16);
    b->on.matmul.bias = numbers(b, LS_BF16, b->on.matmul.n);
    b->on.matmul.pre = numbers(b, LS_BF16, b->on.matmul.m * b->on.matmul.n);
    b->on.matmul.activation = LS_ACT_GELU_TANH;
}

static void matmul(bench *b) { need(b->device->matmul(b->device, &b->on.matmul, b->scratch)); }

/* ---- attention and the loss ---- */

static void attention(bench *b) { need(b->device->attention(b->device, &b->on.attention, b->scratch)); }
static void attention_backward(bench *b) { need(b->device->attention_backward(b->device, &b->on.attention, b->scratch)); }

static void make_attention(bench *b)
{
    const int64_t batch = size(b, "batch"), tokens = size(b, "tokens"), heads = size(b, "heads"), kv_heads = size(b, "kv_heads"), width = size(b, "width");
    const int64_t q = batch * tokens * heads * width, k = batch * tokens * kv_heads * width;
    b->on.attention = (ls_attention_args){.type = LS_BF16, .batch = batch, .queries = tokens, .keys = tokens, .heads = heads, .kv_heads = kv_heads, .width = width, .causal = true, .scale = 0.125,
                                          .q = numbers(b, LS_BF16, q), .k = numbers(b, LS_BF16, k), .v = numbers(b, LS_BF16, k), .out = numbers(b, LS_BF16, q),
                                          .lse = numbers(b, LS_F32, batch * heads * tokens), .dout = numbers(b, LS_BF16, q), .dq = numbers(b, LS_BF16, q), .dk = numbers(b, LS_BF16, k),
                                          .dv = numbers(b, LS_BF16, k)};
    attention(b); /* backward wants its sums */
}

static void make_cross_entropy(bench *b)
{
    const int64_t rows = size(b, "rows"), width = size(b, "width"), vocabulary = size(b, "vocabulary");
    b->on.loss = (ls_cross_entropy_args){.type = LS_BF16, .rows = rows, .width = width, .vocabulary = vocabulary, .x = numbers(b, LS_BF16, rows * width),
                                         .w = numbers(b, LS_BF16, vocabulary * width), .labels = indices(b, rows, vocabulary, 7919), .losses = numbers(b, LS_F32, rows),
                                         .dx = numbers(b, LS_F32, rows * width), .dw = numbers(b, LS_F32, vocabulary * width)};
}

static void cross_entropy(bench *b) { need(b->device->cross_entropy(b->device, &b->on.loss, b->scratch)); }

/* ---- what memory bounds ---- */

static void make_flat(bench *b)
{
    const int64_t n = size(b, "n");
    b->on.other.n = n;
    b->on.other.x = numbers(b, LS_BF16, n), b->on.other.y = numbers(b, LS_BF16, n), b->on.other.z = numbers(b, LS_BF16, n);
    b->on.other.dx = numbers(b, LS_BF16, n), b->on.other.dy = numbers(b, LS_BF16, n);
}

static ls_strides dense(const bench *b) { return (ls_strides){.ndim = 1, .shape = {b->on.other.n}, .stride_a = {1}, .stride_b = {1}}; }

static void add(bench *b)
{
    const ls_strides shape = dense(b);
    b->device->binary(b->device, LS_BINARY_ADD, LS_BF16, &shape, b->on.other.x, b->on.other.y, b->on.other.x);
}

static void gated(bench *b) { b->device->gated(b->device, LS_UNARY_SILU, LS_BF16, b->on.other.n, b->on.other.x, b->on.other.y, b->on.other.z); }

static void gated_backward(bench *b)
{
    b->device->gated_backward(b->device, LS_UNARY_SILU, LS_BF16, b->on.other.n, b->on.other.x, b->on.other.y, b->on.other.z, b->on.other.dx, false, b->on.other.dy, false);
}

static void activation(bench *b) { b->device->unary(b->device, LS_UNARY_GELU_TANH, LS_BF16, b->on.other.n, 0, 0, b->on.other.x, b->on.other.y); }
static void activation_slope(bench *b) { b->device->unary_backward(b->device, LS_UNARY_GELU_TANH, LS_BF16, b->on.other.n, 0, 0, b->on.other.x, b->on.other.y, b->on.other.dy, b->on.other.dx); }

static void make_rows(bench *b)
{
    b->on.other.rows = size(b, "rows"), b->on.other.width = size(b, "width");
    const int64_t n = b->on.other.rows * b->on.other.width;
    b->on.other.x = numbers(b, LS_BF16, n), b->on.other.y = numbers(b, LS_BF16, n), b->on.other.dx = numbers(b, LS_BF16, n), b->on.other.dy = numbers(b, LS_BF16, n);
    b->on.other.gain = numbers(b, LS_F32, 3 * b->on.other.width), b->on.other.stats = numbers(b, LS_F32, 2 * b->on.other.rows);
}

static void norm(bench *b)
{
    b->device->norm(b->device, LS_BF16, LS_F32, true, b->on.other.rows, b->on.other.width, 1e-5, b->on.other.x, b->on.other.gain, NULL, b->on.other.y, b->on.other.stats);
}

static void norm_backward(bench *b)
{
    float *dgain = b->on.other.gain + b->on.other.width;
    b->device->norm_backward(b->device, LS_BF16, LS_F32, true, b->on.other.rows, b->on.other.width, b->on.other.x, b->on.other.gain, b->on.other.stats, b->on.other.dy, b->on.other.dx, dgain, NULL, b->scratch);
}

static void sum_rows(bench *b) { b->device->sum_rows(b->device, LS_BF16, b->on.other.rows, b->on.other.width, b->on.other.x, b->on.other.gain, b->scratch); }

static void make_rotary(bench *b)
{
    const int64_t width = size(b, "width"), heads = size(b, "heads");
    static double frequency[4096];
    for (int64_t i = 0; i < width / 2 && i < 4096; i++)
        frequency[i] = 1.0 / (double)(i + 1);
    b->on.other.rows = size(b, "rows"), b->on.other.width = width, b->on.other.n = heads;
    b->on.other.x = numbers(b, LS_BF16, b->on.other.rows * heads * width), b->on.other.y = numbers(b, LS_BF16, b->on.other.rows * heads * width);
    b->on.other.index = indices(b, b->on.other.rows, 4096, 1);
    b->on.other.frequency = frequency;
}

static void rotary(bench *b)
{
    b->device->rotary(b->device, LS_BF16, b->on.other.rows, b->on.other.n, b->on.other.width, b->on.other.frequency, false, false, b->on.other.index, b->on.other.x, b->on.other.y, false);
}

static void make_embedding(bench *b)
{
    const int64_t rows = size(b, "rows"), width = size(b, "width"), vocabulary = size(b, "vocabulary");
    b->on.other.rows = rows, b->on.other.width = width, b->on.other.n = vocabulary;
    b->on.other.x = numbers(b, LS_BF16, vocabulary * width), b->on.other.y = numbers(b, LS_BF16, rows * width), b->on.other.dx = numbers(b, LS_F32, vocabulary * width);
    b->on.other.index = indices(b, rows, vocabulary, 7919);
}

static void embedding(bench *b) { b->device->gather_rows(b->device, LS_BF16, b->on.other.rows, b->on.other.width, b->on.other.index, b->on.other.x, b->on.other.y); }

static void embedding_gradient(bench *b)
{
    b->device->scatter_add_rows(b->device, LS_BF16, LS_F32, b->on.other.rows, b->on.other.width, b->on.other.n, b->on.other.index, b->on.other.y, b->on.other.dx, b->scratch);
}

static void make_optimizer(bench *b)
{
    const int64_t n = size(b, "n");
    b->on.optimizer = (ls_optimizer_args){.kind = LS_OPTIMIZER_ADAMW, .count = n, .step = 10, .lr = 1e-4, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .scale = 1,
                                          .gradient = numbers(b, LS_F32, n), .master = numbers(b, LS_F32, n), .first_moment = numbers(b, LS_F32, n), .second_moment = take(b, (size_t)n * sizeof(float)),
                                          .working_type = LS_BF16, .working = numbers(b, LS_BF16, n)};
}

static void adamw(bench *b) { b->device->optimizer_step(b->device, &b->on.optimizer); }

static void make_squares(bench *b)
{
    b->on.other.n = size(b, "n");
    b->on.other.x = numbers(b, LS_F32, b->on.other.n), b->on.other.y = take(b, (size_t)(b->on.other.n / 4096 + 1) * sizeof(double));
}

static void squares(bench *b) { b->device->chunk_squares(b->device, b->on.other.n, b->on.other.x, b->on.other.y); }

/* ---- convolutions of square images: y, its gradient in x, and that in w, which is added to in f32 ---- */

static void make_conv(bench *b)
{
    const int64_t batch = size(b, "batch"), side = size(b, "side"), channels = size(b, "channels"), outputs = size(b, "outputs"), window = size(b, "window"), stride = size(b, "stride");
    const int64_t padding = window / 2, out = (side + 2 * padding - window) / stride + 1, taps = window * window;
    b->on.conv.grid = (ls_grid){.type = LS_BF16, .batch = batch, .in = {1, side, side}, .out = {1, out, out}, .window = {1, window, window}, .stride = {1, stride, stride},
                                .padding = {0, padding, padding}, .dilation = {1, 1, 1}, .channels = channels, .outputs = outputs, .groups = 1};
    b->on.conv.x = numbers(b, LS_BF16, batch * side * side * channels), b->on.conv.w = numbers(b, LS_BF16, outputs * taps * channels);
    b->on.conv.y = numbers(b, LS_BF16, batch * out * out * outputs), b->on.conv.dw = numbers(b, LS_F32, outputs * taps * channels);
}

static void conv(bench *b)
{
    need(b->device->conv(b->device, &b->on.conv.grid, b->on.conv.x, b->on.conv.w, NULL, LS_F32, LS_ACT_NONE, b->on.conv.y, NULL, b->scratch));
}

static void conv_input(bench *b) { need(b->device->conv_input(b->device, &b->on.conv.grid, b->on.conv.y, b->on.conv.w, false, b->on.conv.x, b->scratch)); }
static void conv_weight(bench *b) { need(b->device->conv_weight(b->device, &b->on.conv.grid, b->on.conv.x, b->on.conv.y, b->on.conv.dw, b->scratch)); }

static const struct {
    const char *kind;
    void (*make)(bench *b), (*call)(bench *b);
} kinds[] = {
    {"matmul", make_matmul, matmul}, {"matmul_slope", make_matmul_slope, matmul}, {"matmul_weight", make_matmul_weight, matmul}, {"matmul_gelu", make_matmul_gelu, matmul},
    {"attention", make_attention, attention}, {"attention_backward", make_attention, attention_backward}, {"cross_entropy", make_cross_entropy, cross_entropy},
    {"add", make_flat, add}, {"gated", make_flat, gated}, {"gated_backward", make_flat, gated_backward}, {"activation", make_flat, activation},
    {"activation_slope", make_flat, activation_slope}, {"norm", make_rows, norm}, {"norm_backward", make_rows, norm_backward}, {"sum_rows", make_rows, sum_rows},
    {"rotary", make_rotary, rotary}, {"embedding", make_embedding, embedding}, {"embedding_gradient", make_embedding, embedding_gradient},
    {"conv", make_conv, conv}, {"conv_input", make_conv, conv_input}, {"conv_weight", make_conv, conv_weight},
    {"adamw", make_optimizer, adamw}, {"squares", make_squares, squares},
};

/* ---- time ---- */

/* Seconds of a call, of as many as fill `least`. */
static double time_once(bench *b, void (*call)(bench *b), double least)
{
    int64_t calls = 1;
    for (;; calls *= 2) {
        need(b->device->synchronize(b->device));
        const double begin = seconds();
        for (int64_t i = 0; i < calls; i++)
            call(b);
        need(b->device->synchronize(b->device));
        const double took = seconds() - begin;
        if (took >= least)
            return took / (double)calls;
    }
}

static int by_value(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : 1; }

static void measure(ls_device *device, ls_arena *scratch, const char *spec, double least)
{
    bench b = {.device = device, .scratch = scratch, .spec = spec};
    double took[RUNS];
    size_t k = 0;
    while (k < sizeof kinds / sizeof *kinds && (strncmp(spec, kinds[k].kind, strlen(kinds[k].kind)) != 0 || spec[strlen(kinds[k].kind)] != ' '))
        k++;
    if (k == sizeof kinds / sizeof *kinds) {
        fprintf(stderr, "tensor_bench_gpu: no kernel is called \"%s\"\n", spec);
        exit(2);
    }
    kinds[k].make(&b);
    time_once(&b, kinds[k].call, 0);
    for (int i = 0; i < RUNS; i++)
        took[i] = time_once(&b, kinds[k].call, least);
    qsort(took, RUNS, sizeof *took, by_value);
    ls_figure(spec, 1e3 * took[RUNS / 2], "ms", 1, "");
    for (int i = 0; i < b.blocks; i++)
        device->release(device, b.block[i], b.bytes[i]);
}

int main(int argc, char **argv)
{
    ls_arena *scratch;
    ls_team *team;
    ls_device *device;
    double least = 0.1;
    need(ls_arena_create(&scratch, "bench", (size_t)1 << 30));
    need(ls_team_create(&team, 1, 1));
    need(ls_device_create_cuda(&device, team, 0));
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "least=", 6) == 0)
            least = atof(argv[i] + 6);
        else
            measure(device, scratch, argv[i], least);
    device->free(device);
    ls_team_free(team);
    ls_arena_free(scratch);
    return 0;
}
