/* Layer and RMS norm, sums over rows, rotary positions. */
#include "tensor/cuda/cuda.cuh"

/* Gains and biases are of the type, or f32 with bf16 numbers. */
template <typename T, typename G> static void norm_of(ls_cuda_call &call, bool rms, int64_t rows, int64_t width, double eps, const void *x, const void *gain, const void *bias, void *y, void *stats)
{
    typedef ls_wide<T> W;
    const T *from = call.in<T>(x, rows * width);
    const G *gains = call.in<G>(gain, width), *biases = call.in<G>(bias, width);
    T *to = call.out<T>(y, rows * width);
    W *kept = call.out<W>(stats, rows * 2);
    ls_rows(call, rows, width, [=] __device__(int64_t row) {
        const T *own = from + row * width;
        W mean = 0, squares = 0;
        if (!rms) {
            for (int64_t i = threadIdx.x; i < width; i += blockDim.x)
                mean += ls_get(own, i);
            mean = ls_block_sum(mean) / (W)width;
        }
        for (int64_t i = threadIdx.x; i < width; i += blockDim.x) {
            const W d = ls_get(own, i) - mean;
            squares += d * d;
        }
        const W scale = 1 / sqrt(ls_block_sum(squares) / (W)width + (W)eps);
        if (threadIdx.x == 0) {
            kept[2 * row] = mean;
            kept[2 * row + 1] = scale;
        }
        for (int64_t i = threadIdx.x; i < width; i += blockDim.x)
            ls_put(to + row * width, i, (ls_get(own, i) - mean) * scale * (W)ls_get(gains, i) + (biases ? (W)ls_get(biases, i) : (W)0));
    });
}

template <typename T> static void norm(ls_device *device, ls_type gain_type, bool rms, int64_t rows, int64_t width, double eps, const void *x, const void *gain, const void *bias, void *y, void *stats)
{
    ls_cuda_call call(device);
    if (gain_type == LS_BF16)
        norm_of<T, ls_bf16>(call, rms, rows, width, eps, x, gain, bias, y, stats);
    else
        norm_of<T, ls_wide<T>>(call, rms, rows, width, eps, x, gain, bias, y, stats);
}

void ls_cuda_norm(ls_device *device, ls_type type, ls_type gain_type, bool rms, int64_t rows, int64_t width, double eps, const void *x, const void *gain, const void *bias, void *y, void *stats)
{
    LS_CUDA_TYPED(type, norm, device, gain_type, rms, rows, width, eps, x, gain, bias, y, stats);
}

/* ---- sums over rows ---- */

enum { CHUNK_ROWS = 64 };

/* sums[i] += sum over rows of f(row, i): chunks of 64 rows in ascending order, a thread for each chunk and column; then
 * chunks in ascending order. */
template <typename W, typename F> static void add_rows(ls_cuda_call &call, int64_t rows, int64_t width, W *sums, F f)
{
    const int64_t chunks = (rows + CHUNK_ROWS - 1) / CHUNK_ROWS;
    W *partial = call.scratch<W>(chunks * width);
    ls_each(call, chunks * width, [=] __device__(int64_t at) {
        const int64_t chunk = at / width, i = at % width, end = min((chunk + 1) * CHUNK_ROWS, rows);
        W sum = 0;
        for (int64_t row = chunk * CHUNK_ROWS; row < end; row++)
            sum += f(row, i);
        partial[at] = sum;
    });
    ls_each(call, chunks ? width : 0, [=] __device__(int64_t i) {
        W sum = partial[i];
        for (int64_t chunk = 1; chunk < chunks; chunk++)
            sum += partial[chunk * width + i];
        sums[i] += sum;
    });
}

/* dx += scale (g - mean(g) [layer norm only] - normal mean(g normal)), g = dy gain */
template <typename T, typename G> static void norm_backward_of(ls_cuda_call &call, bool rms, int64_t rows, int64_t width, const void *x, const void *gain, const void *stats, const void *dy, void *dx, void *dgain, void *dbias)
{
    typedef ls_wide<T> W;
    const T *from = call.in<T>(x, rows * width), *slope = call.in<T>(dy, rows * width);
    const G *gains = call.in<G>(gain, width);
    const W *kept = call.in<W>(stats, rows * 2);
    T *to = call.into<T>(dx, rows * width);
    W *to_gain = call.into<W>(dgain, width), *to_bias = call.into<W>(dbias, width);
    ls_rows(call, rows, width, [=] __device__(int64_t row) {
        const int64_t at = row * width;
        const W mean = kept[2 * row], scale = kept[2 * row + 1];
        W sum = 0, product = 0;
        for (int64_t i = threadIdx.x; i < width; i += blockDim.x) {
            const W normal = (ls_get(from, at + i) - mean) * scale, g = ls_get(slope, at + i) * (W)ls_get(gains, i);
            sum += g;
            product += g * normal;
        }
        sum = rms ? (W)0 : ls_block_sum(sum) / (W)width;
        product = ls_block_sum(product) / (W)width;
        for (int64_t i = threadIdx.x; i < width; i += blockDim.x) {
            const W normal = (ls_get(from, at + i) - mean) * scale, g = ls_get(slope, at + i) * (W)ls_get(gains, i);
            ls_put(to, at + i, ls_get(to, at + i) + scale * (g - sum - normal * product));
        }
    });
    if (to_gain)
        add_rows(call, rows, width, to_gain, [=] __device__(int64_t row, int64_t i) {
            return (ls_get(from, row * width + i) - kept[2 * row]) * kept[2 * row + 1] * ls_get(slope, row * width + i);
        });
    if (to_bias)
        add_rows(call, rows, width, to_bias, [=] __device__(int64_t row, int64_t i) { return ls_get(slope, row * width + i); });
}

template <typename T> static void norm_backward(ls_device *device, ls_type gain_type, bool rms, int64_t rows, int64_t width, const void *x, const void *gain, const void *stats, const void *dy, void *dx, void *dgain, void *dbias)
{
    ls_cuda_call call(device);
    if (gain_type == LS_BF16)
        norm_backward_of<T, ls_bf16>(call, rms, rows, width, x, gain, stats, dy, dx, dgain, dbias);
    else
        norm_backward_of<T, ls_wide<T>>(call, rms, rows, width, x, gain, stats, dy, dx, dgain, dbias);
}

void ls_cuda_norm_backward(ls_device *device, ls_type type, ls_type gain_type, bool rms, int64_t rows, int64_t width, const void *x, const void *gain, const void *stats, const void *dy, void *dx, void *dgain, void *dbias, ls_arena *)
{
    LS_CUDA_TYPED(type, norm_backward, device, gain_type, rms, rows, width, x, gain, stats, dy, dx, dgain, dbias);
}

template <typename T> static void sum_rows(ls_device *device, int64_t rows, int64_t width, const void *x, void *y)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const T *from = call.in<T>(x, rows * width);
    add_rows(call, rows, width, call.into<W>(y, width), [=] __device__(int64_t row, int64_t i) { return ls_get(from, row * width + i); });
}

void ls_cuda_sum_rows(ls_device *device, ls_type type, int64_t rows, int64_t width, const void *x, void *y, ls_arena *)
{
    LS_CUDA_TYPED(type, sum_rows, device, rows, width, x, y);
}

/* ---- rotary positions ---- */

/* A thread for each pair. The angle in f64: position times frequency has more digits than f32 holds. */
template <typename T> static void rotary(ls_device *device, int64_t rows, int64_t heads, int64_t width, const double *frequency, bool interleaved, bool inverse, const int32_t *position, const void *x, void *y, bool accumulate)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const int64_t n = rows * heads * width, pairs = width / 2;
    const double *turns = call.in<double>(frequency, pairs);
    const int32_t *place = call.in<int32_t>(position, rows);
    const T *from = call.in<T>(x, n);
    T *to = accumulate ? call.into<T>(y, n) : call.out<T>(y, n);
    ls_each(call, rows * heads * pairs, [=] __device__(int64_t i) {
        const int64_t j = i % pairs, head = i / pairs;
        const int64_t first = head * width + (interleaved ? 2 * j : j), second = first + (interleaved ? 1 : pairs);
        double sine, cosine;
        sincos((double)place[head / heads] * turns[j], &sine, &cosine);
        const W c = (W)cosine, s = (W)(inverse ? -sine : sine), a = ls_get(from, first), b = ls_get(from, second);
        const W made_first = a * c - b * s, made_second = a * s + b * c;
        ls_put(to, first, accumulate ? ls_get(to, first) + made_first : made_first);
        ls_put(to, second, accumulate ? ls_get(to, second) + made_second : made_second);
    });
}

void ls_cuda_rotary(ls_device *device, ls_type type, int64_t rows, int64_t heads, int64_t width, const double *frequency, bool interleaved, bool inverse, const int32_t *position, const void *x, void *y, bool accumulate)
{
    LS_CUDA_TYPED(type, rotary, device, rows, heads, width, frequency, interleaved, inverse, position, x, y, accumulate);
}
