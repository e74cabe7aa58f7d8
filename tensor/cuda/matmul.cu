/* Matrix products: by cuBLASLt where it has a kernel for the shape (products.cu), else by own tiles: 64 x 64 results a block,
 * 4 x 4 a thread, over slices of 16 of the sum that go through shared memory; there each sum is one chain in ascending order
 * of k, for every shape, stride and type.
 *
 * What goes into an activation is the sum as rounded to C's type. cuBLASLt's epilogues with an activation apply it before they
 * round (and ReLU's may lose a NaN), so of them only the bias is used, and an own kernel applies the activation to what was
 * rounded. */
#include "tensor/cuda/functions.cuh"
#include "tensor/cuda/map.cuh"
#include "tensor/cuda/products.cuh"

enum { TILE = 64, SLICE = 16, EACH = 4, THREADS = (TILE / EACH) * (TILE / EACH) };

template <typename T, typename C> struct product {
    int64_t m, n, k;
    bool trans_a, trans_b, accumulate;
    int64_t lda, ldb, ldc, stride_a, stride_b, stride_c, tiles_n, tiles;
    const T *a, *b;
    const void *bias;
    ls_type type_bias;
    C *c, *pre;
    int activation; /* a unary operator; -1: none */
};

template <typename W> static __device__ inline W bias_at(const void *bias, ls_type type, int64_t i)
{
    return type == LS_F32    ? (W)ls_get(static_cast<const float *>(bias), i)
           : type == LS_BF16 ? (W)ls_get(static_cast<const ls_bf16 *>(bias), i)
           : type == LS_F16  ? (W)ls_get(static_cast<const ls_f16 *>(bias), i)
                             : (W)ls_get(static_cast<const double *>(bias), i);
}

static __device__ inline float multiply_add(float a, float b, float c)
{
    return fmaf(a, b, c);
}

static __device__ inline double multiply_add(double a, double b, double c)
{
    return fma(a, b, c);
}

template <typename T, typename C> __global__ void __launch_bounds__(THREADS) product_kernel(product<T, C> p)
{
    typedef ls_wide<T> W;
    __shared__ W tile_a[SLICE][TILE + 1], tile_b[SLICE][TILE + 1];
    const int64_t matrix = blockIdx.x / p.tiles, tile = blockIdx.x % p.tiles;
    const int64_t row = tile / p.tiles_n * TILE, column = tile % p.tiles_n * TILE;
    const T *a = p.a + matrix * p.stride_a, *b = p.b + matrix * p.stride_b;
    const int own_row = (int)threadIdx.x / (TILE / EACH), own_column = (int)threadIdx.x % (TILE / EACH);
    W sum[EACH][EACH] = {};
    for (int64_t begin = 0; begin < p.k; begin += SLICE) {
        for (int at = (int)threadIdx.x; at < TILE * SLICE; at += THREADS) { /* neighbours in memory by neighbours among threads */
            const int i_a = p.trans_a ? at % TILE : at / SLICE, k_a = p.trans_a ? at / TILE : at % SLICE;
            const int i_b = p.trans_b ? at / SLICE : at % TILE, k_b = p.trans_b ? at % SLICE : at / TILE;
            const int64_t i = row + i_a, j = column + i_b, ka = begin + k_a, kb = begin + k_b;
            tile_a[k_a][i_a] = i < p.m && ka < p.k ? ls_get(a, p.trans_a ? ka * p.lda + i : i * p.lda + ka) : (W)0;
            tile_b[k_b][i_b] = j < p.n && kb < p.k ? ls_get(b, p.trans_b ? j * p.ldb + kb : kb * p.ldb + j) : (W)0;
        }
        __syncthreads();
        for (int k = 0; k < SLICE; k++) {
            W left[EACH], right[EACH];
            for (int i = 0; i < EACH; i++) {
                left[i] = tile_a[k][own_row + i * (TILE / EACH)];
                right[i] = tile_b[k][own_column + i * (TILE / EACH)];
            }
            for (int i = 0; i < EACH; i++)
                for (int j = 0; j < EACH; j++)
                    sum[i][j] = multiply_add(left[i], right[j], sum[i][j]);
        }
        __syncthreads();
    }
    for (int i = 0; i < EACH; i++)
        for (int j = 0; j < EACH; j++) {
            const int64_t at_row = row + own_row + i * (TILE / EACH), at_column = column + own_column + j * (TILE / EACH);
            if (at_row >= p.m || at_column >= p.n)
                continue;
            const int64_t at = matrix * p.stride_c + at_row * p.ldc + at_column;
            W value = sum[i][j];
            if (p.accumulate)
                value += (W)ls_get(p.c, at);
            if (p.bias)
                value += bias_at<W>(p.bias, p.type_bias, at_column);
            value = ls_rounded<C>(value);
            if (p.pre)
                ls_put(p.pre, at, value);
            ls_put(p.c, at, p.activation < 0 ? value : ls_unary_value(p.activation, (W)0, (W)0, value));
        }
}

/* Elements from the first to the last of a batch of matrices. */
static int64_t extent(int64_t batch, int64_t stride, int64_t rows, int64_t ld, int64_t columns)
{
    return batch && rows && columns ? (batch - 1) * stride + (rows - 1) * ld + columns : 0;
}

/* ---- by the library ---- */

/* C = activation(from), which has C's rows and stride, in C's type. */
template <typename C> static void activate(ls_cuda_call &call, const ls_matmul_args *g, const C *from, C *to)
{
    typedef ls_wide<C> W;
    const int op = ls_unary_of(g->activation);
    const int64_t m = g->m, n = g->n, ld = g->ldc, stride = g->stride_c;
    if (ld == n && (g->batch == 1 || stride == m * n)) {
        ls_inputs<C, 1> in = {{from}};
        ls_map<C, 1>(call, g->batch * m * n, in, to, [=] __device__(int64_t, const W *v) { return op < 0 ? v[0] : ls_unary_value(op, (W)0, (W)0, v[0]); });
        return;
    }
    ls_each(call, g->batch * m * n, [=] __device__(int64_t i) {
        const int64_t at = i / (m * n) * stride + i / n % m * ld + i % n;
        const W value = ls_get(from, at);
        ls_put(to, at, op < 0 ? value : ls_unary_value(op, (W)0, (W)0, value));
    });
}

/* The end of a product whose sums are still wide and dense: + C, + bias, rounded into pre, activation into C. */
template <typename W, typename C> static void finish(ls_cuda_call &call, const product<C, C> &p, int64_t batch, const W *sums)
{
    ls_each(call, batch * p.m * p.n, [=] __device__(int64_t i) {
        const int64_t at = i / (p.m * p.n) * p.stride_c + i / p.n % p.m * p.ldc + i % p.n;
        W value = sums[i];
        if (p.accumulate)
            value += (W)ls_get(p.c, at);
        value = ls_rounded<C>(value + bias_at<W>(p.bias, p.type_bias, i % p.n));
        if (p.pre)
            ls_put(p.pre, at, value);
        ls_put(p.c, at, p.activation < 0 ? value : ls_unary_value(p.activation, (W)0, (W)0, value));
    });
}

/* A bias whose bits C's type does not hold, or that the library does not add (f64): the sums stay wide until it is there. */
template <typename T, typename C> static bool with_wide_bias(ls_cuda_call &call, const ls_matmul_args *g, const product<T, C> &p)
{
    typedef ls_wide<T> W;
    ls_cuda_product wide = {g, sizeof(W) == 8 ? LS_F64 : LS_F32, g->n, g->m * g->n, false, p.a, p.b, NULL, NULL, NULL};
    if (!ls_cuda_library_takes(call, &wide))
        return false;
    W *sums = call.scratch<W>(g->batch * g->m * g->n);
    wide.d = sums;
    if (sums && ls_cuda_library_product(call, &wide)) {
        product<C, C> end = {p.m, p.n, p.k, false, false, p.accumulate, 0, 0, p.ldc, 0, 0, p.stride_c, 0, 0, NULL, NULL, p.bias, p.type_bias, p.c, p.pre, p.activation};
        finish<W, C>(call, end, g->batch, sums);
    }
    return true;
}

template <typename T, typename C> static bool by_library(ls_cuda_call &call, const ls_matmul_args *g, const product<T, C> &p)
{
    const bool narrow = sizeof(C) < sizeof(float), fits = sizeof(C) < sizeof(double) && (narrow ? g->type_bias == g->type_c : g->type_bias != LS_F64);
    ls_cuda_product whole = {g, g->type_c, g->ldc, g->stride_c, g->accumulate, p.a, p.b, p.c, p.bias, p.pre ? p.pre : p.c};
    if (p.bias && !fits)
        return with_wide_bias(call, g, p);
    if (p.bias && !narrow && ls_type_is_narrow(g->type_bias)) { /* widened: the same number */
        const void *from = p.bias;
        const ls_type type = g->type_bias;
        float *wide = call.scratch<float>(g->n);
        if (!ls_cuda_library_takes(call, &whole))
            return false;
        if (wide)
            ls_each(call, g->n, [=] __device__(int64_t i) { wide[i] = bias_at<float>(from, type, i); });
        whole.bias = wide;
    }
    if (!ls_cuda_library_product(call, &whole))
        return false;
    if (p.activation >= 0 || p.pre)
        activate(call, g, static_cast<const C *>(whole.d), p.c);
    return true;
}

/* ---- either ---- */

template <typename T, typename C> static void multiply(ls_device *device, const ls_matmul_args *args)
{
    ls_cuda_call call(device);
    product<T, C> p = {args->m, args->n, args->k, args->trans_a, args->trans_b, args->accumulate, args->lda, args->ldb, args->ldc,
                       args->stride_a, args->stride_b, args->stride_c, 0, 0, NULL, NULL, NULL, args->type_bias, NULL, NULL, ls_unary_of(args->activation)};
    const int64_t all_c = extent(args->batch, args->stride_c, args->m, args->ldc, args->n);
    p.a = call.in<T>(args->a, extent(args->batch, args->stride_a, args->trans_a ? args->k : args->m, args->lda, args->trans_a ? args->m : args->k));
    p.b = call.in<T>(args->b, extent(args->batch, args->stride_b, args->trans_b ? args->n : args->k, args->ldb, args->trans_b ? args->k : args->n));
    p.bias = call.in<char>(args->bias, args->n * (int64_t)ls_type_size(args->type_bias));
    p.c = call.into<C>(args->c, all_c); /* rows may stand apart: what is between them stays */
    p.pre = call.into<C>(args->pre, all_c);
    p.tiles_n = (args->n + TILE - 1) / TILE;
    p.tiles = p.tiles_n * ((args->m + TILE - 1) / TILE);
    if (!call.ready() || by_library(call, args, p))
        return;
    LS_CUDA_RUN(call, product_kernel, args->batch * p.tiles, THREADS, p);
}

ls_status ls_cuda_matmul(ls_device *device, const ls_matmul_args *args, ls_arena *)
{
    if (args->type_ab == LS_F32)
        multiply<float, float>(device, args);
    else if (args->type_ab == LS_F64)
        multiply<double, double>(device, args);
    else if (args->type_ab == LS_BF16 && args->type_c == LS_F32)
        multiply<ls_bf16, float>(device, args);
    else if (args->type_ab == LS_BF16)
        multiply<ls_bf16, ls_bf16>(device, args);
    else if (args->type_c == LS_F32)
        multiply<ls_f16, float>(device, args);
    else
        multiply<ls_f16, ls_f16>(device, args);
    return ls_cuda_status(device);
}
