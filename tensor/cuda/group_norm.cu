/* Group and batch norm. Sums over a group go in two steps, in f64: chunks of 256 rows, a block of threads each; then the
 * chunks of a group in ascending order. The mean first, then the squares around it. */
#include "tensor/cuda/cuda.cuh"

enum { CHUNK_ROWS = 256 };

struct layout {
    int64_t outer, rows, channels, groups, depth, chunks; /* depth: channels of a group; chunks of rows */
};

static layout layout_of(int64_t outer, int64_t rows, int64_t channels, int64_t groups)
{
    return {outer, rows, channels, groups, channels / groups, (rows + CHUNK_ROWS - 1) / CHUNK_ROWS};
}

/* partial[group of all, chunk] = sum over its elements of f(group, element number, channel) */
template <typename F> static void sum_chunks(ls_cuda_call &call, const layout &l, double *partial, F f)
{
    ls_rows(call, l.outer * l.groups * l.chunks, CHUNK_ROWS * l.depth, [=] __device__(int64_t item) {
        const int64_t chunk = item % l.chunks, group = item / l.chunks, first = chunk * CHUNK_ROWS;
        const int64_t rows = min(l.rows - first, (int64_t)CHUNK_ROWS), channel = group % l.groups * l.depth;
        const int64_t begin = (group / l.groups * l.rows + first) * l.channels + channel;
        double sum = 0;
        for (int64_t i = threadIdx.x; i < rows * l.depth; i += blockDim.x)
            sum += f(group, begin + i / l.depth * l.channels + i % l.depth, channel + i % l.depth);
        sum = ls_block_sum(sum);
        if (threadIdx.x == 0)
            partial[item] = sum;
    });
}

/* stats[2 group + which] = sum of its chunks over the elements of a group */
static void mean_of_chunks(ls_cuda_call &call, const layout &l, const double *partial, int which, double *stats)
{
    ls_each(call, l.outer * l.groups, [=] __device__(int64_t group) {
        double sum = 0;
        for (int64_t chunk = 0; chunk < l.chunks; chunk++)
            sum += partial[group * l.chunks + chunk];
        stats[2 * group + which] = sum / (double)(l.rows * l.depth);
    });
}

/* The group, of all, that element i of x belongs to. */
static __device__ inline int64_t group_of(const layout &l, int64_t i)
{
    return i / (l.rows * l.channels) * l.groups + i % l.channels / l.depth;
}

template <typename T, typename G> static void norm_of(ls_cuda_call &call, const layout &l, double eps, bool given, const void *x, const void *gain, const void *bias, void *y, double *stats)
{
    typedef ls_wide<T> W;
    const int64_t n = l.outer * l.rows * l.channels, all = l.outer * l.groups;
    const T *from = call.in<T>(x, n);
    const G *gains = call.in<G>(gain, l.channels), *biases = call.in<G>(bias, l.channels);
    double *kept = given ? const_cast<double *>(call.in<double>(stats, 2 * all)) : call.out<double>(stats, 2 * all);
    T *to = call.out<T>(y, n);
    if (!given) {
        double *partial = call.scratch<double>(all * l.chunks);
        sum_chunks(call, l, partial, [=] __device__(int64_t, int64_t i, int64_t) { return (double)ls_get(from, i); });
        mean_of_chunks(call, l, partial, 0, kept);
        sum_chunks(call, l, partial, [=] __device__(int64_t group, int64_t i, int64_t) {
            const double d = (double)ls_get(from, i) - kept[2 * group];
            return d * d;
        });
        mean_of_chunks(call, l, partial, 1, kept);
    }
    ls_each(call, n, [=] __device__(int64_t i) {
        const int64_t group = group_of(l, i), c = i % l.channels;
        const W scale = (W)(1 / sqrt(kept[2 * group + 1] + eps)), normal = (ls_get(from, i) - (W)kept[2 * group]) * scale;
        ls_put(to, i, normal * (gains ? (W)ls_get(gains, c) : (W)1) + (biases ? (W)ls_get(biases, c) : (W)0));
    });
}

template <typename T> static void group_norm(ls_device *device, ls_type gain_type, const layout &l, double eps, bool given, const void *x, const void *gain, const void *bias, void *y, double *stats)
{
    ls_cuda_call call(device);
    if (ls_type_is_narrow(gain_type)) /* it is T then */
        norm_of<T, T>(call, l, eps, given, x, gain, bias, y, stats);
    else
        norm_of<T, ls_wide<T>>(call, l, eps, given, x, gain, bias, y, stats);
}

ls_status ls_cuda_group_norm(ls_device *device, ls_type type, ls_type gain_type, int64_t outer, int64_t rows, int64_t channels, int64_t groups, double eps, bool given, const void *x, const void *gain, const void *bias, void *y, double *stats, ls_arena *)
{
    LS_CUDA_TYPED(type, group_norm, device, gain_type, layout_of(outer, rows, channels, groups), eps, given, x, gain, bias, y, stats);
    return ls_cuda_status(device);
}

/* sums[c] += sum over outer and rows of f(element): a thread for each chunk of rows and channel, then chunks in order. */
template <typename W, typename F> static void add_channels(ls_cuda_call &call, const layout &l, W *sums, F f)
{
    const int64_t rows = l.outer * l.rows, chunks = (rows + CHUNK_ROWS - 1) / CHUNK_ROWS, channels = l.channels;
    double *partial = call.scratch<double>(chunks * channels);
    ls_each(call, chunks * channels, [=] __device__(int64_t at) {
        const int64_t chunk = at / channels, c = at % channels, end = min((chunk + 1) * CHUNK_ROWS, rows);
        double sum = 0;
        for (int64_t row = chunk * CHUNK_ROWS; row < end; row++)
            sum += f(row * channels + c);
        partial[at] = sum;
    });
    ls_each(call, channels, [=] __device__(int64_t c) {
        double sum = 0;
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            sum += partial[chunk * channels + c];
        sums[c] += (W)sum;
    });
}

/* With g = dy gain and n the normalised x: dx += (g - mean(g) - n mean(g n)) / deviation */
template <typename T, typename G> static void norm_backward_of(ls_cuda_call &call, const layout &l, double eps, const void *x, const void *gain, const double *stats, const void *dy, void *dx, void *dgain, void *dbias)
{
    typedef ls_wide<T> W;
    const int64_t n = l.outer * l.rows * l.channels, all = l.outer * l.groups;
    const T *from = call.in<T>(x, n), *slope = call.in<T>(dy, n);
    const G *gains = call.in<G>(gain, l.channels);
    const double *kept = call.in<double>(stats, 2 * all);
    T *to = call.into<T>(dx, n);
    W *to_gain = call.into<W>(dgain, l.channels), *to_bias = call.into<W>(dbias, l.channels);
    const auto normal_at = [=] __device__(int64_t group, int64_t i) { return ((double)ls_get(from, i) - kept[2 * group]) / sqrt(kept[2 * group + 1] + eps); };
    if (to_gain)
        add_channels(call, l, to_gain, [=] __device__(int64_t i) { return normal_at(group_of(l, i), i) * (double)ls_get(slope, i); });
    if (to_bias)
        add_channels(call, l, to_bias, [=] __device__(int64_t i) { return (double)ls_get(slope, i); });
    if (!to)
        return;
    double *partial = call.scratch<double>(all * l.chunks), *means = call.scratch<double>(2 * all);
    const auto slope_at = [=] __device__(int64_t i, int64_t c) { return (double)ls_get(slope, i) * (gains ? (double)ls_get(gains, c) : 1); };
    sum_chunks(call, l, partial, [=] __device__(int64_t, int64_t i, int64_t c) { return slope_at(i, c); });
    mean_of_chunks(call, l, partial, 0, means);
    sum_chunks(call, l, partial, [=] __device__(int64_t group, int64_t i, int64_t c) { return slope_at(i, c) * normal_at(group, i); });
    mean_of_chunks(call, l, partial, 1, means);
    ls_each(call, n, [=] __device__(int64_t i) {
        const int64_t group = group_of(l, i);
        const double d = slope_at(i, i % l.channels) - means[2 * group] - normal_at(group, i) * means[2 * group + 1];
        ls_put(to, i, ls_get(to, i) + (W)(d / sqrt(kept[2 * group + 1] + eps)));
    });
}

template <typename T> static void group_norm_backward(ls_device *device, ls_type gain_type, const layout &l, double eps, const void *x, const void *gain, const double *stats, const void *dy, void *dx, void *dgain, void *dbias)
{
    ls_cuda_call call(device);
    if (ls_type_is_narrow(gain_type)) /* it is T then */
        norm_backward_of<T, T>(call, l, eps, x, gain, stats, dy, dx, dgain, dbias);
    else
        norm_backward_of<T, ls_wide<T>>(call, l, eps, x, gain, stats, dy, dx, dgain, dbias);
}

ls_status ls_cuda_group_norm_backward(ls_device *device, ls_type type, ls_type gain_type, int64_t outer, int64_t rows, int64_t channels, int64_t groups, double eps, const void *x, const void *gain, const double *stats, const void *dy, void *dx, void *dgain, void *dbias, ls_arena *)
{
    LS_CUDA_TYPED(type, group_norm_backward, device, gain_type, layout_of(outer, rows, channels, groups), eps, x, gain, stats, dy, dx, dgain, dbias);
    return ls_cuda_status(device);
}
