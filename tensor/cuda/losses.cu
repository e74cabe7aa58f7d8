/* Losses over elements and over rows, and cosine similarity; formulas in tensor/ops/. Sums in f64. */
#include "tensor/cuda/cuda.cuh"

/* ---- the sum of rows ---- */

template <typename T, typename S> static void sum_losses(ls_device *device, int64_t rows, const int32_t *labels, const float *weights, const void *losses, void *sum)
{
    ls_cuda_call call(device);
    const int32_t *label = call.in<int32_t>(labels, rows);
    const float *own = call.in<float>(weights, rows);
    const T *x = call.in<T>(losses, rows);
    S *to = call.out<S>(sum, 1);
    ls_rows(call, 1, rows, [=] __device__(int64_t) {
        double all = 0;
        for (int64_t r = threadIdx.x; r < rows; r += blockDim.x) {
            const double weight = own ? (double)own[r] : 1; /* 0 leaves a row out, whatever its loss */
            if ((!label || label[r] >= 0) && weight != 0)
                all += weight * (double)x[r];
        }
        all = ls_block_sum(all);
        if (threadIdx.x == 0)
            *to = (S)all;
    });
}

void ls_cuda_sum_losses(ls_device *device, ls_type type, int64_t rows, const int32_t *labels, const float *weights, const void *losses, ls_type sum_type, void *sum)
{
    if (type == LS_F64 && sum_type == LS_F64)
        sum_losses<double, double>(device, rows, labels, weights, losses, sum);
    else if (type == LS_F64)
        sum_losses<double, float>(device, rows, labels, weights, losses, sum);
    else if (sum_type == LS_F64)
        sum_losses<float, double>(device, rows, labels, weights, losses, sum);
    else
        sum_losses<float, float>(device, rows, labels, weights, losses, sum);
}

/* ---- elements ---- */

/* 0 where the probability is, though its logarithm may be infinite. */
template <typename W> static __device__ inline W of_probability(W probability, W other)
{
    return probability == 0 ? 0 : probability * other;
}

template <typename W> static __device__ inline W element_value(int kind, W v, W t, W p)
{
    switch (kind) {
    case LS_LOSS_SQUARE: return (v - t) * (v - t);
    case LS_LOSS_BINARY_CROSS_ENTROPY: { /* softplus of -v and of v: no term is negative or cancels */
        const W rest = log1p(exp(-fabs(v)));
        return t * p * ((v < 0 ? -v : 0) + rest) + (1 - t) * ((v < 0 ? 0 : v) + rest);
    }
    default: return of_probability(exp(t), t - v); /* LS_LOSS_KL */
    }
}

template <typename W> static __device__ inline W element_slope(int kind, bool of_target, W v, W t, W p)
{
    const W e = exp(-fabs(v)), q = 1 / (1 + e), tail = e * q, rest = log1p(e); /* sigmoid of |v| and of -|v| */
    switch (kind) {
    case LS_LOSS_SQUARE: return of_target ? 2 * (t - v) : 2 * (v - t);
    case LS_LOSS_BINARY_CROSS_ENTROPY:
        return of_target ? p * ((v < 0 ? -v : 0) + rest) - ((v < 0 ? 0 : v) + rest) : (1 - t) * (v < 0 ? tail : q) - t * p * (v < 0 ? q : tail);
    default: return of_target ? of_probability(exp(t), t - v + 1) : -exp(t);
    }
}

enum { PIECE = 16384 }; /* elements that a block sums up */

template <typename T> static void element_loss(ls_device *device, const ls_element_loss_args *args)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const int kind = args->kind;
    const int64_t n = args->count, run = args->run, classes = args->classes, pieces = (n + PIECE - 1) / PIECE;
    const T *x = call.in<T>(args->x, n), *target = call.in<T>(args->target, n);
    const float *weights = call.in<float>(args->weights, n ? (n - 1) / run + 1 : 0), *pos_weights = call.in<float>(args->pos_weights, classes);
    double *partial = call.scratch<double>(pieces);
    W *total = call.out<W>(args->sum, 1);
    ls_rows(call, pieces, PIECE, [=] __device__(int64_t piece) {
        const int64_t end = min((piece + 1) * PIECE, n);
        double own = 0;
        for (int64_t i = piece * PIECE + threadIdx.x; i < end; i += blockDim.x) {
            const W weight = weights ? (W)weights[i / run] : 1; /* 0 leaves an element out, whatever it holds */
            const W value = element_value(kind, ls_get(x, i), ls_get(target, i), pos_weights ? (W)pos_weights[i % classes] : (W)1);
            own += weight == 0 ? 0 : (double)(value * weight);
        }
        own = ls_block_sum(own);
        if (threadIdx.x == 0)
            partial[piece] = own;
    });
    ls_each(call, 1, [=] __device__(int64_t) {
        double all = 0;
        for (int64_t i = 0; i < pieces; i++)
            all += partial[i];
        *total = (W)all;
    });
}

void ls_cuda_element_loss(ls_device *device, const ls_element_loss_args *args)
{
    LS_CUDA_TYPED(args->type, element_loss, device, args);
}

template <typename T> static void element_loss_backward(ls_device *device, const ls_element_loss_args *args)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const int kind = args->kind;
    const int64_t n = args->count, run = args->run, classes = args->classes;
    const W *dloss = call.in<W>(args->dloss, 1);
    const T *x = call.in<T>(args->x, n), *target = call.in<T>(args->target, n);
    const float *weights = call.in<float>(args->weights, n ? (n - 1) / run + 1 : 0), *pos_weights = call.in<float>(args->pos_weights, classes);
    T *dx = call.into<T>(args->dx, n), *dtarget = call.into<T>(args->dtarget, n);
    ls_each(call, n, [=] __device__(int64_t i) {
        const W weight = weights ? (W)weights[i / run] : 1, p = pos_weights ? (W)pos_weights[i % classes] : 1;
        const W v = ls_get(x, i), t = ls_get(target, i), scale = *dloss;
        if (weight == 0)
            return;
        if (dx)
            ls_put(dx, i, ls_get(dx, i) + element_slope(kind, false, v, t, p) * weight * scale);
        if (dtarget)
            ls_put(dtarget, i, ls_get(dtarget, i) + element_slope(kind, true, v, t, p) * weight * scale);
    });
}

void ls_cuda_element_loss_backward(ls_device *device, const ls_element_loss_args *args)
{
    LS_CUDA_TYPED(args->type, element_loss_backward, device, args);
}

/* ---- rows of classes ---- */

/* The greatest element of the row, and the logarithm of the sum of e^(x - greatest); in every thread of the block. */
template <typename T, typename W> static __device__ inline void log_sum_exp(int64_t n, const T *x, W *greatest, W *log_sum)
{
    W most = (W)-INFINITY, sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        most = ls_greater()(most, ls_get(x, i));
    most = ls_block_all(most, (W)-INFINITY, ls_greater());
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        sum += exp(ls_get(x, i) - most);
    *greatest = most;
    *log_sum = log(ls_block_sum(sum));
}

template <typename T> static void row_loss(ls_device *device, const ls_row_loss_args *args)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const bool kl = args->kind == LS_LOSS_KL_OF_LOGITS;
    const int64_t n = args->classes;
    const W keep = (W)(1 - args->smoothing), share = (W)(args->smoothing / (double)n);
    const T *x = call.in<T>(args->x, args->rows * n), *target = call.in<T>(args->target, args->rows * n);
    double *losses = call.out<double>(args->losses, args->rows), *stats = call.out<double>(args->stats, 4 * args->rows);
    ls_rows(call, args->rows, n, [=] __device__(int64_t row) {
        const T *own = x + row * n, *own_target = target + row * n;
        W greatest, log_sum, greatest_target = 0, log_sum_target = 0;
        double loss = 0, mass = 0;
        log_sum_exp(n, own, &greatest, &log_sum);
        if (kl)
            log_sum_exp(n, own_target, &greatest_target, &log_sum_target);
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
            const W log_q = (ls_get(own, i) - greatest) - log_sum, t = ls_get(own_target, i);
            const W log_p = (t - greatest_target) - log_sum_target, p = kl ? exp(log_p) : keep * t + share;
            loss += (double)of_probability(p, kl ? log_p - log_q : -log_q);
            mass += (double)p;
        }
        loss = ls_block_sum(loss);
        mass = ls_block_sum(mass);
        if (threadIdx.x != 0)
            return;
        losses[row] = loss;
        stats[4 * row] = (double)greatest, stats[4 * row + 1] = (double)log_sum;
        stats[4 * row + 2] = kl ? (double)greatest_target : mass, stats[4 * row + 3] = (double)log_sum_target;
    });
}

void ls_cuda_row_loss(ls_device *device, const ls_row_loss_args *args)
{
    LS_CUDA_TYPED(args->type, row_loss, device, args);
}

/* With q and p the probabilities of x and target: dx += scale (q - p), dtarget += scale p ((log p - log q) - loss); soft
 * targets: dx += scale (q mass - t'), dtarget += scale keep (-log q). */
template <typename T> static void row_loss_backward(ls_device *device, const ls_row_loss_args *args)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const bool kl = args->kind == LS_LOSS_KL_OF_LOGITS;
    const int64_t n = args->classes;
    const W *dloss = call.in<W>(args->dloss, 1);
    const W keep = (W)(1 - args->smoothing), share = (W)(args->smoothing / (double)(n ? n : 1));
    const T *x = call.in<T>(args->x, args->rows * n), *target = call.in<T>(args->target, args->rows * n);
    const double *losses = call.in<double>(args->losses, args->rows), *stats = call.in<double>(args->stats, 4 * args->rows);
    const float *weights = call.in<float>(args->weights, args->rows);
    T *dx = call.into<T>(args->dx, args->rows * n), *dtarget = call.into<T>(args->dtarget, args->rows * n);
    ls_each(call, args->rows * n, [=] __device__(int64_t i) {
        const int64_t row = i / n;
        const double *own = stats + 4 * row;
        const W scale = (W)((double)*dloss * (weights ? (double)weights[row] : 1)), t = ls_get(target, i);
        if (weights && weights[row] == 0)
            return;
        const W log_q = (ls_get(x, i) - (W)own[0]) - (W)own[1], q = exp(log_q);
        const W log_p = kl ? (t - (W)own[2]) - (W)own[3] : (W)0, p = kl ? exp(log_p) : keep * t + share;
        if (dx)
            ls_put(dx, i, ls_get(dx, i) + scale * (kl ? q - p : q * (W)own[2] - p));
        if (dtarget)
            ls_put(dtarget, i, ls_get(dtarget, i) + (kl ? scale * of_probability(p, log_p - log_q - (W)losses[row]) : scale * keep * -log_q));
    });
}

void ls_cuda_row_loss_backward(ls_device *device, const ls_row_loss_args *args)
{
    LS_CUDA_TYPED(args->type, row_loss_backward, device, args);
}

/* ---- cosine similarity ---- */

static __device__ inline double at_least(double x, double least)
{
    return x > least || x != x ? x : least; /* a NaN stays */
}

template <typename T> static void cosine(ls_device *device, int64_t rows, int64_t width, double eps, const void *a, const void *b, void *y, double *stats)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const T *from_a = call.in<T>(a, rows * width), *from_b = call.in<T>(b, rows * width);
    T *to = call.out<T>(y, rows);
    double *kept = call.out<double>(stats, 3 * rows);
    ls_rows(call, rows, width, [=] __device__(int64_t row) {
        double ab = 0, aa = 0, bb = 0;
        for (int64_t i = row * width + threadIdx.x; i < (row + 1) * width; i += blockDim.x) {
            const double u = (double)ls_get(from_a, i), v = (double)ls_get(from_b, i);
            ab += u * v, aa += u * u, bb += v * v;
        }
        ab = ls_block_sum(ab);
        aa = sqrt(ls_block_sum(aa));
        bb = sqrt(ls_block_sum(bb));
        if (threadIdx.x != 0)
            return;
        kept[3 * row] = ab, kept[3 * row + 1] = aa, kept[3 * row + 2] = bb;
        ls_put(to, row, (W)(ab / at_least(aa, eps) / at_least(bb, eps)));
    });
}

void ls_cuda_cosine(ls_device *device, ls_type type, int64_t rows, int64_t width, double eps, const void *a, const void *b, void *y, double *stats)
{
    LS_CUDA_TYPED(type, cosine, device, rows, width, eps, a, b, y, stats);
}

/* da += along b - across a, the second 0 where the norm is below eps: there the divisor is a constant. */
template <typename T> static void cosine_side(ls_cuda_call &call, int side, int64_t rows, int64_t width, double eps, const T *a, const T *b, const double *stats, const T *dy, T *da)
{
    typedef ls_wide<T> W;
    if (!da)
        return;
    ls_each(call, rows * width, [=] __device__(int64_t i) {
        const double *own = stats + 3 * (i / width);
        const double norm_a = own[1 + side], norm_b = own[2 - side];
        const double along = (double)ls_get(dy, i / width) / at_least(norm_a, eps) / at_least(norm_b, eps);
        const W of_b = (W)along, of_a = norm_a > eps ? (W)(along * own[0] / norm_a / norm_a) : (W)0;
        ls_put(da, i, ls_get(da, i) + (ls_get(b, i) * of_b - ls_get(a, i) * of_a));
    });
}

template <typename T> static void cosine_backward(ls_device *device, int64_t rows, int64_t width, double eps, const void *a, const void *b, const double *stats, const void *dy, void *da, void *db)
{
    ls_cuda_call call(device);
    const T *from_a = call.in<T>(a, rows * width), *from_b = call.in<T>(b, rows * width), *slope = call.in<T>(dy, rows);
    const double *kept = call.in<double>(stats, 3 * rows);
    cosine_side(call, 0, rows, width, eps, from_a, from_b, kept, slope, call.into<T>(da, rows * width));
    cosine_side(call, 1, rows, width, eps, from_b, from_a, kept, slope, call.into<T>(db, rows * width));
}

void ls_cuda_cosine_backward(ls_device *device, ls_type type, int64_t rows, int64_t width, double eps, const void *a, const void *b, const double *stats, const void *dy, void *da, void *db)
{
    LS_CUDA_TYPED(type, cosine_backward, device, rows, width, eps, a, b, stats, dy, da, db);
}
