/* Convolution: by cuDNN where it has a kernel for the shape (cudnn.cu), else as matrix products: what a run of positions sees is
 * gathered into a matrix [positions, taps x channels of a group], a piece of the result's positions at a time; w is one already.
 * Backward in x multiplies into the same matrix, and each position of x gathers from it: no two threads add to one element. */
#include "tensor/cuda/cudnn.cuh"
#include "tensor/cuda/functions.cuh"
#include "tensor/cuda/grid.cuh"

enum { GATHERED = 64 << 20 }; /* bytes of a piece's matrix, about: shapes alone decide */

struct piece { /* positions of the result in all samples, as rows */
    ls_grid grid;
    int64_t begin, rows, depth, breadth, taps; /* depth, breadth: channels of x and of the result in a group */
};

static int64_t rows_of_piece(const ls_grid *g)
{
    const int64_t row = ls_volume(g->window) * g->channels * (int64_t)ls_type_size(g->type), rows = GATHERED / (row ? row : 1);
    return rows > 64 ? rows : 64;
}

static piece piece_of(const ls_grid *g, int64_t begin)
{
    const int64_t all = g->batch * ls_volume(g->out), rows = rows_of_piece(g);
    return {*g, begin, all - begin < rows ? all - begin : rows, g->channels / g->groups, g->outputs / g->groups, ls_volume(g->window)};
}

/* matrix [rows, groups, taps, depth] */
template <typename T> static void gather(ls_cuda_call &call, const piece &p, const T *x, T *matrix)
{
    ls_each(call, p.rows * p.grid.channels * p.taps, [=] __device__(int64_t i) {
        const int64_t c = i % p.depth, tap = i / p.depth % p.taps, group = i / (p.depth * p.taps) % p.grid.groups, row = p.begin + i / (p.depth * p.taps * p.grid.groups);
        const int64_t positions = ls_volume(p.grid.out), sample = row / positions;
        const int64_t seen = ls_seen(p.grid, ls_place_of(row % positions, p.grid.out), ls_place_of(tap, p.grid.window));
        matrix[i] = seen >= 0 ? x[(sample * ls_volume(p.grid.in) + seen) * p.grid.channels + group * p.depth + c] : (T)0.0f;
    });
}

/* One product for each group, as a batch: the groups stand side by side in the rows of both matrices. */
static ls_matmul_args grouped(const ls_grid *g, const piece &p)
{
    ls_matmul_args args = {};
    args.batch = g->groups, args.type_ab = g->type, args.type_c = g->type;
    args.m = p.rows, args.n = p.breadth, args.k = p.taps * p.depth;
    return args;
}

static int64_t size_of_w(const ls_grid *g)
{
    return g->outputs * ls_volume(g->window) * (g->channels / g->groups);
}

/* Bias and activation, on the whole result. */
template <typename T> static void finish(ls_cuda_call &call, const ls_grid *g, const void *bias, ls_type type_bias, ls_activation activation, T *y, T *pre)
{
    typedef ls_wide<T> W;
    const int64_t n = g->batch * ls_volume(g->out) * g->outputs, outputs = g->outputs;
    const int op = ls_unary_of(activation);
    const float *narrow = type_bias == LS_F32 ? call.in<float>(bias, outputs) : NULL;
    const ls_bf16 *bf16 = type_bias == LS_BF16 ? call.in<ls_bf16>(bias, outputs) : NULL;
    const ls_f16 *f16 = type_bias == LS_F16 ? call.in<ls_f16>(bias, outputs) : NULL;
    const double *full = type_bias == LS_F64 ? call.in<double>(bias, outputs) : NULL;
    if (!bias && !pre && op < 0)
        return;
    ls_each(call, n, [=] __device__(int64_t i) {
        const int64_t o = i % outputs;
        W value = ls_get(y, i);
        value += narrow ? (W)narrow[o] : bf16 ? (W)ls_get(bf16, o) : f16 ? (W)ls_get(f16, o) : full ? (W)full[o] : (W)0;
        value = ls_rounded<T>(value);
        if (pre)
            ls_put(pre, i, value);
        ls_put(y, i, op < 0 ? value : ls_unary_value(op, (W)0, (W)0, value));
    });
}

template <typename T> static void gathered_conv(ls_device *device, const ls_grid *g, const T *from, const T *weights, T *to)
{
    ls_cuda_call call(device);
    const int64_t rows = g->batch * ls_volume(g->out);
    T *matrix = call.scratch<T>((rows < rows_of_piece(g) ? rows : rows_of_piece(g)) * g->channels * ls_volume(g->window));
    for (int64_t begin = 0; begin < rows && call.ready(); begin += rows_of_piece(g)) {
        const piece p = piece_of(g, begin);
        gather(call, p, from, matrix);
        ls_matmul_args args = grouped(g, p);
        args.trans_b = true;
        args.a = matrix, args.lda = p.taps * g->channels, args.stride_a = p.taps * p.depth;
        args.b = weights, args.ldb = p.taps * p.depth, args.stride_b = p.breadth * p.taps * p.depth;
        args.c = to + begin * g->outputs, args.ldc = g->outputs, args.stride_c = p.breadth;
        ls_cuda_matmul(device, &args, NULL);
    }
}

template <typename T> static void conv(ls_device *device, const ls_grid *g, const void *x, const void *w, const void *bias, ls_type type_bias, ls_activation activation, void *y, void *pre)
{
    ls_cuda_call call(device);
    const int64_t rows = g->batch * ls_volume(g->out);
    const T *from = call.in<T>(x, g->batch * ls_volume(g->in) * g->channels), *weights = call.in<T>(w, size_of_w(g));
    T *to = call.out<T>(y, rows * g->outputs), *to_pre = call.out<T>(pre, rows * g->outputs);
    if (!ls_cuda_cudnn(call, g, LS_CUDNN_FORWARD, from, weights, false, to))
        gathered_conv(device, g, from, weights, to);
    finish(call, g, bias, type_bias, activation, to, to_pre);
}

ls_status ls_cuda_conv(ls_device *device, const ls_grid *grid, const void *x, const void *w, const void *bias, ls_type type_bias, ls_activation activation, void *y, void *pre, ls_arena *)
{
    LS_CUDA_TYPED(grid->type, conv, device, grid, x, w, bias, type_bias, activation, y, pre);
    return ls_cuda_status(device);
}

/* A piece here is one of samples, so that a position of x finds all that sees it. */
template <typename T> static void gathered_input(ls_device *device, const ls_grid *g, const T *slope, const T *weights, bool accumulate, T *to)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const int64_t out = ls_volume(g->out), in = ls_volume(g->in), taps = ls_volume(g->window);
    const int64_t fit = out ? rows_of_piece(g) / out : 1, samples = fit < 1 ? 1 : fit < g->batch ? fit : g->batch;
    T *matrix = call.scratch<T>(samples * out * g->channels * taps);
    for (int64_t first = 0; first < g->batch && call.ready(); first += samples) {
        const int64_t count = g->batch - first < samples ? g->batch - first : samples;
        piece p = {*g, first * out, count * out, g->channels / g->groups, g->outputs / g->groups, taps};
        ls_matmul_args args = grouped(g, p);
        args.n = taps * p.depth, args.k = p.breadth;
        args.a = slope + first * out * g->outputs, args.lda = g->outputs, args.stride_a = p.breadth;
        args.b = weights, args.ldb = taps * p.depth, args.stride_b = p.breadth * taps * p.depth;
        args.c = matrix, args.ldc = taps * g->channels, args.stride_c = taps * p.depth;
        ls_cuda_matmul(device, &args, NULL);
        ls_each(call, count * in * g->channels, [=] __device__(int64_t i) {
            const int64_t channel = i % p.grid.channels, c = channel % p.depth, group = channel / p.depth;
            const int64_t position = i / p.grid.channels % in, sample = i / (p.grid.channels * in);
            const ls_place place = ls_place_of(position, p.grid.in);
            W sum = 0;
            for (int64_t tap = 0; tap < taps; tap++) {
                const int64_t row = ls_seeing(p.grid, place, ls_place_of(tap, p.grid.window));
                if (row >= 0)
                    sum += ls_get(matrix, ((sample * out + row) * p.grid.groups + group) * taps * p.depth + tap * p.depth + c);
            }
            const int64_t at = first * in * p.grid.channels + i;
            ls_put(to, at, accumulate ? (W)ls_get(to, at) + sum : sum);
        });
    }
}

template <typename T> static void conv_input(ls_device *device, const ls_grid *g, const void *dy, const void *w, bool accumulate, void *dx)
{
    ls_cuda_call call(device);
    const int64_t all = g->batch * ls_volume(g->in) * g->channels;
    const T *slope = call.in<T>(dy, g->batch * ls_volume(g->out) * g->outputs), *weights = call.in<T>(w, size_of_w(g));
    T *to = accumulate ? call.into<T>(dx, all) : call.out<T>(dx, all);
    if (!ls_cuda_cudnn(call, g, LS_CUDNN_INPUT, slope, weights, accumulate, to))
        gathered_input(device, g, slope, weights, accumulate, to);
}

ls_status ls_cuda_conv_input(ls_device *device, const ls_grid *grid, const void *dy, const void *w, bool accumulate, void *dx, ls_arena *)
{
    LS_CUDA_TYPED(grid->type, conv_input, device, grid, dy, w, accumulate, dx);
    return ls_cuda_status(device);
}

template <typename T> static void gathered_weight(ls_device *device, const ls_grid *g, const T *from, const T *slope, ls_wide<T> *to)
{
    ls_cuda_call call(device);
    const int64_t rows = g->batch * ls_volume(g->out);
    T *matrix = call.scratch<T>((rows < rows_of_piece(g) ? rows : rows_of_piece(g)) * g->channels * ls_volume(g->window));
    for (int64_t begin = 0; begin < rows && call.ready(); begin += rows_of_piece(g)) {
        const piece p = piece_of(g, begin);
        gather(call, p, from, matrix);
        ls_matmul_args args = grouped(g, p);
        args.trans_a = args.accumulate = true;
        args.type_c = g->type == LS_F64 ? LS_F64 : LS_F32;
        args.m = p.breadth, args.n = p.taps * p.depth, args.k = p.rows;
        args.a = slope + begin * g->outputs, args.lda = g->outputs, args.stride_a = p.breadth;
        args.b = matrix, args.ldb = p.taps * g->channels, args.stride_b = p.taps * p.depth;
        args.c = to, args.ldc = p.taps * p.depth, args.stride_c = p.breadth * p.taps * p.depth;
        ls_cuda_matmul(device, &args, NULL);
    }
}

template <typename T> static void conv_weight(ls_device *device, const ls_grid *g, const void *x, const void *dy, void *dw)
{
    ls_cuda_call call(device);
    const T *from = call.in<T>(x, g->batch * ls_volume(g->in) * g->channels), *slope = call.in<T>(dy, g->batch * ls_volume(g->out) * g->outputs);
    ls_wide<T> *to = call.into<ls_wide<T>>(dw, size_of_w(g));
    if (!ls_cuda_cudnn(call, g, LS_CUDNN_WEIGHT, from, slope, true, to))
        gathered_weight(device, g, from, slope, to);
}

ls_status ls_cuda_conv_weight(ls_device *device, const ls_grid *grid, const void *x, const void *dy, void *dw, ls_arena *)
{
    LS_CUDA_TYPED(grid->type, conv_weight, device, grid, x, dy, dw);
    return ls_cuda_status(device);
}
