/* Softmax cross-entropy over tiles of the vocabulary. Logits of a tile are a matrix product into scratch; two walks over
 * the tiles: the first finds each row's greatest logit and log-sum-exp and its label's logit, the second turns logits
 * into their gradients and multiplies those back. The products run in the type of x and w, the rest in f32 (f64). */
#include "tensor/cuda/cuda.cuh"

enum { TILE = 4096 }; /* of the vocabulary */

template <typename T> struct cross_entropy {
    typedef ls_wide<T> W;
    int64_t rows, width, vocabulary;
    const T *x, *w;
    const int32_t *labels;
    const float *weights;
    W *logits;              /* [rows, TILE] */
    W *greatest, *sum, *at; /* [rows]: so far; the label's logit */
};

template <typename T> static __device__ inline bool skipped(const cross_entropy<T> &c, int64_t row)
{
    return c.labels[row] < 0 || (c.weights && c.weights[row] == 0);
}

template <typename T> static void multiply(ls_device *device, ls_type type, bool wide_c, bool trans_a, bool trans_b, bool accumulate, int64_t m, int64_t n, int64_t k, const T *a, int64_t lda, const T *b,
                                           int64_t ldb, void *to, int64_t ldc)
{
    ls_matmul_args args = {};
    args.batch = 1, args.m = m, args.n = n, args.k = k;
    args.trans_a = trans_a, args.trans_b = trans_b, args.accumulate = accumulate;
    args.type_ab = type, args.type_c = wide_c && ls_type_is_narrow(type) ? LS_F32 : type;
    args.a = a, args.b = b, args.c = to;
    args.lda = lda, args.ldb = ldb, args.ldc = ldc;
    ls_cuda_matmul(device, &args, NULL);
}

/* Joins the tile [begin, begin + n) to each row's greatest logit and sum. */
template <typename T> static void join_tile(ls_cuda_call &call, const cross_entropy<T> &c, int64_t begin, int64_t n)
{
    typedef ls_wide<T> W;
    ls_rows(call, c.rows, n, [=] __device__(int64_t row) {
        const W *own = c.logits + row * n;
        W greatest = (W)-INFINITY, sum = 0;
        if (skipped(c, row))
            return;
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
            greatest = ls_greater()(greatest, own[i]);
        greatest = ls_block_all(greatest, (W)-INFINITY, ls_greater());
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
            sum += exp(own[i] - greatest);
        sum = ls_block_sum(sum);
        if (threadIdx.x != 0)
            return;
        const int64_t label = c.labels[row] - begin;
        if (label >= 0 && label < n)
            c.at[row] = own[label];
        if (begin > 0) {
            const W before = c.greatest[row], most = ls_greater()(before, greatest);
            sum = c.sum[row] * exp(before - most) + sum * exp(greatest - most);
            greatest = most;
        }
        c.greatest[row] = greatest;
        c.sum[row] = sum;
    });
}

/* Logits become gradients: weight (softmax - [is the label]), in T for the products to come. */
template <typename T> static void make_slopes(ls_cuda_call &call, const cross_entropy<T> &c, int64_t begin, int64_t n, T *slopes)
{
    typedef ls_wide<T> W;
    ls_rows(call, c.rows, n, [=] __device__(int64_t row) {
        const bool none = skipped(c, row);
        const W greatest = c.greatest[row], sum = c.sum[row], weight = c.weights ? (W)c.weights[row] : (W)1;
        const int64_t label = c.labels[row] - begin;
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
            const W slope = exp(c.logits[row * n + i] - greatest) / sum - (W)(i == label);
            ls_put(slopes, row * n + i, none ? (W)0 : slope * weight);
        }
    });
}

template <typename T> static void run(ls_device *device, const ls_cross_entropy_args *args)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    cross_entropy<T> c = {args->rows, args->width, args->vocabulary, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL};
    c.x = call.in<T>(args->x, c.rows * c.width), c.w = call.in<T>(args->w, c.vocabulary * c.width);
    c.labels = call.in<int32_t>(args->labels, c.rows), c.weights = call.in<float>(args->weights, c.rows);
    W *losses = call.out<W>(args->losses, c.rows), *dx = call.out<W>(args->dx, c.rows * c.width), *dw = call.out<W>(args->dw, c.vocabulary * c.width);
    const int64_t tile = c.vocabulary < TILE ? c.vocabulary : (int64_t)TILE;
    c.logits = call.scratch<W>(c.rows * tile);
    c.greatest = call.scratch<W>(c.rows), c.sum = call.scratch<W>(c.rows), c.at = call.scratch<W>(c.rows);
    T *slopes = dx || dw ? call.scratch<T>(c.rows * tile) : NULL;
    if (!call.ready())
        return;
    if (dx && c.vocabulary == 0) /* no tile will write it */
        ls_each(call, c.rows * c.width, [=] __device__(int64_t i) { dx[i] = 0; });
    for (int64_t begin = 0; begin < c.vocabulary; begin += tile) {
        const int64_t n = c.vocabulary - begin < tile ? c.vocabulary - begin : tile;
        multiply(device, args->type, true, false, true, false, c.rows, n, c.width, c.x, c.width, c.w + begin * c.width, c.width, c.logits, n);
        join_tile(call, c, begin, n);
    }
    ls_each(call, c.rows, [=] __device__(int64_t row) { losses[row] = skipped(c, row) ? (W)0 : c.greatest[row] + log(c.sum[row]) - c.at[row]; });
    for (int64_t begin = 0; slopes && begin < c.vocabulary; begin += tile) {
        const int64_t n = c.vocabulary - begin < tile ? c.vocabulary - begin : tile;
        const T *w = c.w + begin * c.width;
        if (tile < c.vocabulary) /* else the one tile is still there */
            multiply(device, args->type, true, false, true, false, c.rows, n, c.width, c.x, c.width, w, c.width, c.logits, n);
        make_slopes(call, c, begin, n, slopes);
        if (dx)
            multiply(device, args->type, true, false, false, begin > 0, c.rows, c.width, n, slopes, n, w, c.width, dx, c.width);
        if (dw)
            multiply(device, args->type, true, true, false, false, n, c.width, c.rows, slopes, n, c.x, c.width, dw + begin * c.width, c.width);
    }
}

ls_status ls_cuda_cross_entropy(ls_device *device, const ls_cross_entropy_args *args, ls_arena *)
{
    LS_CUDA_TYPED(args->type, run, device, args);
    return ls_cuda_status(device);
}
