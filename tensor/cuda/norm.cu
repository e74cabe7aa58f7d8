/* Layer and RMS norm, sums over rows, rotary positions. */
#include "tensor/cuda/cuda.cuh"

/* A row in runs of COUNT neighbours, dealt to the threads: COUNT is that of a pack where rows are made of whole packs, else 1. It
 * follows from the shape alone, for the order of sums is its; whether a run is read at once depends on the arrays' beginnings. */
template <typename T, int COUNT> static __device__ inline void read_run(const T *from, bool aligned, T *run)
{
    if (COUNT > 1 && aligned) {
        *reinterpret_cast<ls_pack<T> *>(run) = *reinterpret_cast<const ls_pack<T> *>(from);
        return;
    }
#pragma unroll
    for (int j = 0; j < COUNT; j++)
        run[j] = from[j];
}

template <typename T, int COUNT> static __device__ inline void write_run(T *to, bool aligned, const T *run)
{
    if (COUNT > 1 && aligned) {
        *reinterpret_cast<ls_pack<T> *>(to) = *reinterpret_cast<const ls_pack<T> *>(run);
        return;
    }
#pragma unroll
    for (int j = 0; j < COUNT; j++)
        to[j] = run[j];
}

static bool on_16_bytes(const void *a, const void *b, const void *c)
{
    return (reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b) | reinterpret_cast<uintptr_t>(c)) % 16 == 0;
}

template <typename T, typename G> struct norm_job {
    typedef ls_wide<T> W;
    bool rms, aligned;
    int64_t width;
    W eps;
    const T *x, *dy;
    const G *gain, *bias;
    T *y, *dx;
    W *stats;
};

template <int COUNT, typename T, typename G> static __device__ inline void norm_row(const norm_job<T, G> &n, int64_t row)
{
    typedef ls_wide<T> W;
    alignas(16) T run[COUNT];
    const T *own = n.x + row * n.width;
    const int64_t step = (int64_t)blockDim.x * COUNT;
    W mean = 0, squares = 0;
    if (!n.rms) {
        for (int64_t i = (int64_t)threadIdx.x * COUNT; i < n.width; i += step) {
            read_run<T, COUNT>(own + i, n.aligned, run);
            for (int j = 0; j < COUNT; j++)
                mean += ls_get(run, j);
        }
        mean = ls_block_sum(mean) / (W)n.width;
    }
    for (int64_t i = (int64_t)threadIdx.x * COUNT; i < n.width; i += step) {
        read_run<T, COUNT>(own + i, n.aligned, run);
        for (int j = 0; j < COUNT; j++) {
            const W d = ls_get(run, j) - mean;
            squares += d * d;
        }
    }
    const W scale = 1 / sqrt(ls_block_sum(squares) / (W)n.width + n.eps);
    if (threadIdx.x == 0) {
        n.stats[2 * row] = mean;
        n.stats[2 * row + 1] = scale;
    }
    for (int64_t i = (int64_t)threadIdx.x * COUNT; i < n.width; i += step) {
        read_run<T, COUNT>(own + i, n.aligned, run);
        for (int j = 0; j < COUNT; j++)
            ls_put(run, j, (ls_get(run, j) - mean) * scale * (W)ls_get(n.gain, i + j) + (n.bias ? (W)ls_get(n.bias, i + j) : (W)0));
        write_run<T, COUNT>(n.y + row * n.width + i, n.aligned, run);
    }
}

/* Gains and biases are of the type, or f32 with bf16 or f16 numbers. */
template <typename T, typename G> static void norm_of(ls_cuda_call &call, bool rms, int64_t rows, int64_t width, double eps, const void *x, const void *gain, const void *bias, void *y, void *stats)
{
    norm_job<T, G> n = {};
    n.rms = rms, n.width = width, n.eps = (ls_wide<T>)eps;
    n.x = call.in<T>(x, rows * width), n.gain = call.in<G>(gain, width), n.bias = call.in<G>(bias, width);
    n.y = call.out<T>(y, rows * width), n.stats = call.out<ls_wide<T>>(stats, rows * 2);
    n.aligned = on_16_bytes(n.x, n.y, NULL);
    if (width % ls_pack<T>::COUNT == 0)
        ls_rows(call, rows, width, [=] __device__(int64_t row) { norm_row<ls_pack<T>::COUNT>(n, row); });
    else
        ls_rows(call, rows, width, [=] __device__(int64_t row) { norm_row<1>(n, row); });
}

template <typename T> static void norm(ls_device *device, ls_type gain_type, bool rms, int64_t rows, int64_t width, double eps, const void *x, const void *gain, const void *bias, void *y, void *stats)
{
    ls_cuda_call call(device);
    if (ls_type_is_narrow(gain_type)) /* it is T then */
        norm_of<T, T>(call, rms, rows, width, eps, x, gain, bias, y, stats);
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
template <int COUNT, typename T, typename G> static __device__ inline void norm_backward_row(const norm_job<T, G> &n, int64_t row)
{
    typedef ls_wide<T> W;
    alignas(16) T x[COUNT], dy[COUNT], dx[COUNT];
    const int64_t at = row * n.width, step = (int64_t)blockDim.x * COUNT;
    const W mean = n.stats[2 * row], scale = n.stats[2 * row + 1];
    W sum = 0, product = 0;
    for (int64_t i = (int64_t)threadIdx.x * COUNT; i < n.width; i += step) {
        read_run<T, COUNT>(n.x + at + i, n.aligned, x);
        read_run<T, COUNT>(n.dy + at + i, n.aligned, dy);
        for (int j = 0; j < COUNT; j++) {
            const W normal = (ls_get(x, j) - mean) * scale, g = ls_get(dy, j) * (W)ls_get(n.gain, i + j);
            sum += g;
            product += g * normal;
        }
    }
    sum = n.rms ? (W)0 : ls_block_sum(sum) / (W)n.width;
    product = ls_block_sum(product) / (W)n.width;
    for (int64_t i = (int64_t)threadIdx.x * COUNT; i < n.width; i += step) {
        read_run<T, COUNT>(n.x + at + i, n.aligned, x);
        read_run<T, COUNT>(n.dy + at + i, n.aligned, dy);
        read_run<T, COUNT>(n.dx + at + i, n.aligned, dx);
        for (int j = 0; j < COUNT; j++) {
            const W normal = (ls_get(x, j) - mean) * scale, g = ls_get(dy, j) * (W)ls_get(n.gain, i + j);
            ls_put(dx, j, ls_get(dx, j) + scale * (g - sum - normal * product));
        }
        write_run<T, COUNT>(n.dx + at + i, n.aligned, dx);
    }
}

template <typename T, typename G> static void norm_backward_of(ls_cuda_call &call, bool rms, int64_t rows, int64_t width, const void *x, const void *gain, const void *stats, const void *dy, void *dx, void *dgain, void *dbias)
{
    typedef ls_wide<T> W;
    norm_job<T, G> n = {};
    n.rms = rms, n.width = width;
    n.x = call.in<T>(x, rows * width), n.dy = call.in<T>(dy, rows * width), n.gain = call.in<G>(gain, width);
    n.stats = const_cast<W *>(call.in<W>(stats, rows * 2)), n.dx = call.into<T>(dx, rows * width);
    n.aligned = on_16_bytes(n.x, n.dy, n.dx);
    W *to_gain = call.into<W>(dgain, width), *to_bias = call.into<W>(dbias, width);
    if (width % ls_pack<T>::COUNT == 0)
        ls_rows(call, rows, width, [=] __device__(int64_t row) { norm_backward_row<ls_pack<T>::COUNT>(n, row); });
    else
        ls_rows(call, rows, width, [=] __device__(int64_t row) { norm_backward_row<1>(n, row); });
    if (to_gain)
        add_rows(call, rows, width, to_gain, [=] __device__(int64_t row, int64_t i) {
            return (ls_get(n.x, row * width + i) - n.stats[2 * row]) * n.stats[2 * row + 1] * ls_get(n.dy, row * width + i);
        });
    if (to_bias)
        add_rows(call, rows, width, to_bias, [=] __device__(int64_t row, int64_t i) { return ls_get(n.dy, row * width + i); });
}

template <typename T> static void norm_backward(ls_device *device, ls_type gain_type, bool rms, int64_t rows, int64_t width, const void *x, const void *gain, const void *stats, const void *dy, void *dx, void *dgain, void *dbias)
{
    ls_cuda_call call(device);
    if (ls_type_is_narrow(gain_type)) /* it is T then */
        norm_backward_of<T, T>(call, rms, rows, width, x, gain, stats, dy, dx, dgain, dbias);
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

/* A thread for each row and pair turns that pair of every head: the angle is theirs together. It is computed in f64, for position
 * times frequency has more digits than f32 holds. */
template <typename T> static void rotary(ls_device *device, int64_t rows, int64_t heads, int64_t width, const double *frequency, bool interleaved, bool inverse, const int32_t *position, const void *x, void *y, bool accumulate)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const int64_t n = rows * heads * width, pairs = width / 2;
    const double *turns = call.in<double>(frequency, pairs);
    const int32_t *place = call.in<int32_t>(position, rows);
    const T *from = call.in<T>(x, n);
    T *to = accumulate ? call.into<T>(y, n) : call.out<T>(y, n);
    ls_each(call, rows * pairs, [=] __device__(int64_t i) {
        const int64_t j = i % pairs, row = i / pairs, distance = interleaved ? 1 : pairs;
        double sine, cosine;
        sincos((double)place[row] * turns[j], &sine, &cosine);
        const W c = (W)cosine, s = (W)(inverse ? -sine : sine);
        for (int64_t head = 0; head < heads; head++) {
            const int64_t first = (row * heads + head) * width + (interleaved ? 2 * j : j), second = first + distance;
            const W a = ls_get(from, first), b = ls_get(from, second);
            const W made_first = a * c - b * s, made_second = a * s + b * c;
            ls_put(to, first, accumulate ? ls_get(to, first) + made_first : made_first);
            ls_put(to, second, accumulate ? ls_get(to, second) + made_second : made_second);
        }
    });
}

void ls_cuda_rotary(ls_device *device, ls_type type, int64_t rows, int64_t heads, int64_t width, const double *frequency, bool interleaved, bool inverse, const int32_t *position, const void *x, void *y, bool accumulate)
{
    LS_CUDA_TYPED(type, rotary, device, rows, heads, width, frequency, interleaved, inverse, position, x, y, accumulate);
}
