/* Pooling and upsampling: each position gathers what it sees, or what sees it, in ascending order. */
#include "tensor/cuda/grid.cuh"

template <typename T> static void pool(ls_device *device, const ls_grid *grid, ls_pooling_kind kind, const void *x, void *y, int32_t *which)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const ls_grid g = *grid;
    const int64_t out = ls_volume(g.out), in = ls_volume(g.in), taps = ls_volume(g.window), n = g.batch * out * g.channels;
    const T *from = call.in<T>(x, g.batch * in * g.channels);
    T *to = call.out<T>(y, n);
    int32_t *won = call.out<int32_t>(which, n);
    ls_each(call, n, [=] __device__(int64_t i) {
        const int64_t c = i % g.channels, sample = i / (g.channels * out);
        const ls_place place = ls_place_of(i / g.channels % out, g.out);
        W sum = 0, best = 0;
        int64_t inside = 0, winner = -1;
        for (int64_t tap = 0; tap < taps; tap++) {
            const int64_t seen = ls_seen(g, place, ls_place_of(tap, g.window));
            if (seen < 0)
                continue;
            const W v = ls_get(from, (sample * in + seen) * g.channels + c);
            inside++;
            sum += v;
            if (winner < 0 || v > best || (v != v && best == best)) /* a NaN wins */
                best = v, winner = tap;
        }
        ls_put(to, i, kind == LS_POOL_MAX ? best : sum / (W)(kind == LS_POOL_AVERAGE ? inside : taps));
        if (won)
            won[i] = (int32_t)winner;
    });
}

void ls_cuda_pool(ls_device *device, const ls_grid *grid, ls_pooling_kind kind, const void *x, void *y, int32_t *which)
{
    LS_CUDA_TYPED(grid->type, pool, device, grid, kind, x, y, which);
}

/* Taps of a position of the result that lie inside. */
static __device__ inline int64_t taps_inside(const ls_grid &g, int64_t position, int64_t taps)
{
    const ls_place place = ls_place_of(position, g.out);
    int64_t inside = 0;
    for (int64_t tap = 0; tap < taps; tap++)
        inside += ls_seen(g, place, ls_place_of(tap, g.window)) >= 0;
    return inside;
}

template <typename T> static void pool_backward(ls_device *device, const ls_grid *grid, ls_pooling_kind kind, const void *dy, const int32_t *which, void *dx)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const ls_grid g = *grid;
    const int64_t out = ls_volume(g.out), in = ls_volume(g.in), taps = ls_volume(g.window), n = g.batch * in * g.channels;
    const T *slope = call.in<T>(dy, g.batch * out * g.channels);
    const int32_t *won = call.in<int32_t>(which, g.batch * out * g.channels);
    T *to = call.into<T>(dx, n);
    ls_each(call, n, [=] __device__(int64_t i) {
        const int64_t c = i % g.channels, sample = i / (g.channels * in);
        const ls_place place = ls_place_of(i / g.channels % in, g.in);
        W sum = 0;
        for (int64_t tap = taps - 1; tap >= 0; tap--) { /* positions of the result in ascending order */
            const int64_t seeing = ls_seeing(g, place, ls_place_of(tap, g.window));
            if (seeing < 0)
                continue;
            const int64_t at = (sample * out + seeing) * g.channels + c;
            if (kind != LS_POOL_MAX)
                sum += ls_get(slope, at) / (W)(kind == LS_POOL_AVERAGE ? taps_inside(g, seeing, taps) : taps);
            else if (won[at] == tap)
                sum += ls_get(slope, at);
        }
        ls_put(to, i, ls_get(to, i) + sum);
    });
}

void ls_cuda_pool_backward(ls_device *device, const ls_grid *grid, ls_pooling_kind kind, const void *dy, const int32_t *which, void *dx)
{
    LS_CUDA_TYPED(grid->type, pool_backward, device, grid, kind, dy, which, dx);
}

/* ---- upsampling ---- */

/* What position o of `out` sees along an axis of `in`: at most two neighbours, `low` and the next, with weights. */
struct neighbours {
    int64_t low;
    double weight[2];
};

static __device__ inline neighbours neighbours_of(ls_upsampling_kind kind, int64_t in, int64_t out, int64_t o)
{
    neighbours n = {0, {1, 0}};
    if (kind == LS_UPSAMPLE_NEAREST) { /* PyTorch's index: exact for equal and double sizes, else a product in f32 */
        n.low = out == in ? o : out == 2 * in ? o / 2 : (int64_t)((float)o * ((float)in / (float)out));
        n.low = n.low < in - 1 ? n.low : in - 1;
        return n;
    }
    double place = kind == LS_UPSAMPLE_BILINEAR_CORNERS ? (out == 1 ? 0 : (double)o * (double)(in - 1) / (double)(out - 1)) : ((double)o + 0.5) * (double)in / (double)out - 0.5;
    place = place < 0 ? 0 : place > (double)(in - 1) ? (double)(in - 1) : place; /* beyond the last position is the last */
    n.low = (int64_t)place;
    n.weight[1] = place - (double)n.low;
    n.weight[0] = 1 - n.weight[1];
    return n;
}

/* How much position o sees of position i. */
static __device__ inline double share_of(ls_upsampling_kind kind, int64_t in, int64_t out, int64_t o, int64_t i)
{
    const neighbours n = neighbours_of(kind, in, out, o);
    return i == n.low ? n.weight[0] : i == n.low + 1 ? n.weight[1] : 0;
}

template <typename T> static void upsample(ls_device *device, const ls_grid *grid, ls_upsampling_kind kind, const void *x, void *y)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const ls_grid g = *grid;
    const int64_t out = ls_volume(g.out), in = ls_volume(g.in), n = g.batch * out * g.channels;
    const T *from = call.in<T>(x, g.batch * in * g.channels);
    T *to = call.out<T>(y, n);
    ls_each(call, n, [=] __device__(int64_t i) {
        const int64_t c = i % g.channels, sample = i / (g.channels * out);
        const ls_place place = ls_place_of(i / g.channels % out, g.out);
        neighbours near[3];
        W sum = 0;
        for (int d = 0; d < 3; d++)
            near[d] = neighbours_of(kind, g.in[d], g.out[d], place.at[d]);
        for (int corner = 0; corner < 8; corner++) { /* ascending */
            const int pick[3] = {corner >> 2, corner >> 1 & 1, corner & 1};
            double weight = 1;
            int64_t position = 0;
            for (int d = 0; d < 3; d++) {
                weight *= near[d].weight[pick[d]];
                position = position * g.in[d] + near[d].low + pick[d];
            }
            if (weight != 0)
                sum += (W)weight * ls_get(from, (sample * in + position) * g.channels + c);
        }
        ls_put(to, i, sum);
    });
}

ls_status ls_cuda_upsample(ls_device *device, const ls_grid *grid, ls_upsampling_kind kind, const void *x, void *y, ls_arena *)
{
    LS_CUDA_TYPED(grid->type, upsample, device, grid, kind, x, y);
    return ls_cuda_status(device);
}

/* Positions of the result along an axis that may see position i: [first, end). */
static __device__ inline void seers_of(int64_t in, int64_t out, int64_t i, int64_t *first, int64_t *end)
{
    const double scale = (double)out / (double)in, corners = in > 1 ? (double)(out - 1) / (double)(in - 1) : (double)out;
    const double widest = scale > corners ? scale : corners, narrowest = scale < corners ? scale : corners;
    const int64_t low = (int64_t)((double)(i - 2) * narrowest) - 1, high = (int64_t)((double)(i + 2) * widest) + 2;
    *first = low < 0 ? 0 : low;
    *end = high > out ? out : high;
}

template <typename T> static void upsample_backward(ls_device *device, const ls_grid *grid, ls_upsampling_kind kind, const void *dy, void *dx)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const ls_grid g = *grid;
    const int64_t out = ls_volume(g.out), in = ls_volume(g.in), n = g.batch * in * g.channels;
    const T *slope = call.in<T>(dy, g.batch * out * g.channels);
    T *to = call.into<T>(dx, n);
    ls_each(call, n, [=] __device__(int64_t i) {
        const int64_t c = i % g.channels, sample = i / (g.channels * in);
        const ls_place place = ls_place_of(i / g.channels % in, g.in);
        int64_t first[3], end[3];
        W sum = 0;
        for (int d = 0; d < 3; d++)
            seers_of(g.in[d], g.out[d], place.at[d], &first[d], &end[d]);
        for (int64_t a = first[0]; a < end[0]; a++) {
            const double weight_a = share_of(kind, g.in[0], g.out[0], a, place.at[0]);
            for (int64_t b = first[1]; weight_a != 0 && b < end[1]; b++) {
                const double weight_b = weight_a * share_of(kind, g.in[1], g.out[1], b, place.at[1]);
                for (int64_t e = first[2]; weight_b != 0 && e < end[2]; e++) {
                    const double weight = weight_b * share_of(kind, g.in[2], g.out[2], e, place.at[2]);
                    if (weight != 0)
                        sum += (W)weight * ls_get(slope, ((sample * out + (a * g.out[1] + b) * g.out[2] + e)) * g.channels + c);
                }
            }
        }
        ls_put(to, i, ls_get(to, i) + sum);
    });
}

ls_status ls_cuda_upsample_backward(ls_device *device, const ls_grid *grid, ls_upsampling_kind kind, const void *dy, void *dx, ls_arena *)
{
    LS_CUDA_TYPED(grid->type, upsample_backward, device, grid, kind, dy, dx);
    return ls_cuda_status(device);
}
