/* The naive device's convolutions, pooling, upsampling and norms over grids: each number straight from its formula. */
#include "tests/tensor/reference_products.h"

#include <math.h>
#include <stdlib.h>

#define get reference_get
#define put reference_put

/* Element number of x [batch, in, C] that position o [3] of sample n sees with tap k [3] in channel c; -1: outside. */
static int64_t seen(const ls_grid *g, int64_t n, const int64_t o[3], const int64_t k[3], int64_t c)
{
    int64_t at = n;
    for (int axis = 0; axis < 3; axis++) {
        int64_t i = o[axis] * g->stride[axis] + k[axis] * g->dilation[axis] - g->padding[axis];
        if (i < 0 || i >= g->in[axis])
            return -1;
        at = at * g->in[axis] + i;
    }
    return at * g->channels + c;
}

typedef void (*visit)(void *context, int64_t ix, int64_t iw, int64_t iy);

/* Every (x, w, y) that are multiplied; iw counts w as [O, window, C / groups]. */
static void walk(const ls_grid *g, visit f, void *context)
{
    int64_t depth = g->channels / g->groups, width = g->outputs / g->groups, o[3], k[3], iy = 0;
    for (int64_t n = 0; n < g->batch; n++)
        for (o[0] = 0; o[0] < g->out[0]; o[0]++)
            for (o[1] = 0; o[1] < g->out[1]; o[1]++)
                for (o[2] = 0; o[2] < g->out[2]; o[2]++)
                    for (int64_t output = 0; output < g->outputs; output++, iy++) {
                        int64_t iw = output * g->window[0] * g->window[1] * g->window[2] * depth;
                        for (k[0] = 0; k[0] < g->window[0]; k[0]++)
                            for (k[1] = 0; k[1] < g->window[1]; k[1]++)
                                for (k[2] = 0; k[2] < g->window[2]; k[2]++)
                                    for (int64_t c = 0; c < depth; c++, iw++) {
                                        int64_t ix = seen(g, n, o, k, output / width * depth + c);
                                        if (ix >= 0)
                                            f(context, ix, iw, iy);
                                    }
                    }
}

typedef struct {
    ls_type type;
    const void *a, *b;
    double *sum;
    int which[3]; /* of (x, w, y): factor a, factor b, and what is summed */
} products;

static void multiply(void *context, int64_t ix, int64_t iw, int64_t iy)
{
    products *p = context;
    const int64_t at[3] = {ix, iw, iy};
    p->sum[at[p->which[2]]] += get(p->type, p->a, at[p->which[0]]) * get(p->type, p->b, at[p->which[1]]);
}

static int64_t count(const int64_t a[3])
{
    return a[0] * a[1] * a[2];
}

ls_status reference_conv(ls_device *device, const ls_grid *g, const void *x, const void *w, const void *bias, ls_type type_bias, ls_activation activation,
                         void *y, void *pre, ls_arena *scratch)
{
    (void)device, (void)scratch;
    static const ls_unary unary[] = {[LS_ACT_RELU] = LS_UNARY_RELU, [LS_ACT_GELU] = LS_UNARY_GELU, [LS_ACT_GELU_TANH] = LS_UNARY_GELU_TANH, [LS_ACT_SILU] = LS_UNARY_SILU};
    int64_t n = g->batch * count(g->out) * g->outputs;
    double *sum = reference_zeros(n);
    walk(g, multiply, &(products){g->type, x, w, sum, {0, 1, 2}});
    for (int64_t i = 0; i < n; i++) {
        double value = sum[i] + (bias ? get(type_bias, bias, i % g->outputs) : 0);
        if (pre)
            put(g->type, pre, i, value);
        put(g->type, y, i, activation == LS_ACT_NONE ? value : reference_activation(unary[activation], 0, 0, value));
    }
    free(sum);
    return LS_OK;
}

ls_status reference_conv_input(ls_device *device, const ls_grid *g, const void *dy, const void *w, bool accumulate, void *dx, ls_arena *scratch)
{
    (void)device, (void)scratch;
    int64_t n = g->batch * count(g->in) * g->channels;
    double *sum = reference_zeros(n);
    walk(g, multiply, &(products){g->type, dy, w, sum, {2, 1, 0}});
    for (int64_t i = 0; i < n && !accumulate; i++)
        put(g->type, dx, i, 0);
    reference_add_all(g->type, dx, n, sum);
    return LS_OK;
}

ls_status reference_conv_weight(ls_device *device, const ls_grid *g, const void *x, const void *dy, void *dw, ls_arena *scratch)
{
    (void)device, (void)scratch;
    int64_t n = g->outputs * count(g->window) * (g->channels / g->groups);
    double *sum = reference_zeros(n);
    walk(g, multiply, &(products){g->type, dy, x, sum, {2, 0, 1}});
    reference_add_all(reference_wide(g->type), dw, n, sum);
    return LS_OK;
}

/* ---- pooling ---- */

typedef struct {
    const ls_grid *grid;
    ls_pooling_kind kind;
    const void *x, *dy;
    void *y;
    int32_t *which;
    const int32_t *won;
    double *dx;
} pooling;

static void pool_one(const pooling *p, int64_t n, const int64_t o[3], int64_t c, int64_t iy)
{
    const ls_grid *g = p->grid;
    double best = 0, sum = 0;
    int64_t k[3], tap = 0, inside = 0, winner = -1, taps = count(g->window);
    for (int pass = 0; pass < (p->dx ? 2 : 1); pass++)
        for (tap = 0; tap < taps; tap++) {
            k[0] = tap / (g->window[1] * g->window[2]), k[1] = tap / g->window[2] % g->window[1], k[2] = tap % g->window[2];
            int64_t ix = seen(g, n, o, k, c);
            if (ix < 0)
                continue;
            if (pass) { /* every tap inside gets its share */
                double share = p->kind == LS_POOL_MAX ? tap == p->won[iy] : 1 / (double)(p->kind == LS_POOL_AVERAGE ? inside : taps);
                p->dx[ix] += share * get(g->type, p->dy, iy);
                continue;
            }
            inside++;
            double value = p->x ? get(g->type, p->x, ix) : 0;
            sum += value;
            if (winner < 0 || value > best)
                best = value, winner = tap;
        }
    if (p->y)
        put(g->type, p->y, iy, p->kind == LS_POOL_MAX ? best : sum / (double)(p->kind == LS_POOL_AVERAGE ? inside : taps));
    if (p->which)
        p->which[iy] = (int32_t)winner;
}

static void each_position(const pooling *p)
{
    const ls_grid *g = p->grid;
    int64_t o[3], iy = 0;
    for (int64_t n = 0; n < g->batch; n++)
        for (o[0] = 0; o[0] < g->out[0]; o[0]++)
            for (o[1] = 0; o[1] < g->out[1]; o[1]++)
                for (o[2] = 0; o[2] < g->out[2]; o[2]++)
                    for (int64_t c = 0; c < g->channels; c++)
                        pool_one(p, n, o, c, iy++);
}

void reference_pool(ls_device *device, const ls_grid *g, ls_pooling_kind kind, const void *x, void *y, int32_t *which)
{
    (void)device;
    each_position(&(pooling){.grid = g, .kind = kind, .x = x, .y = y, .which = which});
}

void reference_pool_backward(ls_device *device, const ls_grid *g, ls_pooling_kind kind, const void *dy, const int32_t *which, void *dx)
{
    (void)device;
    int64_t n = g->batch * count(g->in) * g->channels;
    double *sum = reference_zeros(n);
    each_position(&(pooling){.grid = g, .kind = kind, .dy = dy, .won = which, .dx = sum});
    reference_add_all(g->type, dx, n, sum);
}

/* ---- upsampling ---- */

/* How much position o along an axis sees of position i. */
static double share_of(ls_upsampling_kind kind, int64_t in, int64_t out, int64_t o, int64_t i)
{
    double place = ((double)o + 0.5) * (double)in / (double)out - 0.5;
    if (kind == LS_UPSAMPLE_NEAREST) {
        double nearest = out == in ? (double)o : out == 2 * in ? floor((double)o / 2) : floor((double)((float)o * ((float)in / (float)out)));
        return fmin(nearest, (double)(in - 1)) == (double)i;
    }
    if (kind == LS_UPSAMPLE_BILINEAR_CORNERS)
        place = out == 1 ? 0 : (double)o * (double)(in - 1) / (double)(out - 1);
    place = fmin(fmax(place, 0), (double)(in - 1)); /* beyond the last position is the last position */
    return fmax(0, 1 - fabs(place - (double)i));    /* a hat */
}

/* How much position iy of the result sees of position ix. */
static double share_of3(const ls_grid *g, ls_upsampling_kind kind, int64_t ix, int64_t iy)
{
    double weight = 1;
    for (int d = 2; d >= 0; d--) {
        weight *= share_of(kind, g->in[d], g->out[d], iy % g->out[d], ix % g->in[d]);
        ix /= g->in[d];
        iy /= g->out[d];
    }
    return weight;
}

static void upsample_pairs(const ls_grid *g, ls_upsampling_kind kind, bool backward, const void *from, double *to)
{
    int64_t in = g->in[0] * g->in[1] * g->in[2], out = g->out[0] * g->out[1] * g->out[2], channels = g->channels;
    for (int64_t n = 0; n < g->batch; n++)
        for (int64_t iy = 0; iy < out; iy++)
            for (int64_t ix = 0; ix < in; ix++) {
                double weight = share_of3(g, kind, ix, iy);
                int64_t x = (n * in + ix) * channels, y = (n * out + iy) * channels;
                for (int64_t c = 0; c < channels && weight != 0; c++)
                    to[(backward ? x : y) + c] += weight * get(g->type, from, (backward ? y : x) + c);
            }
}

ls_status reference_upsample(ls_device *device, const ls_grid *g, ls_upsampling_kind kind, const void *x, void *y, ls_arena *scratch)
{
    (void)device, (void)scratch;
    int64_t count = g->batch * g->out[0] * g->out[1] * g->out[2] * g->channels;
    double *sum = reference_zeros(count + 1);
    upsample_pairs(g, kind, false, x, sum);
    for (int64_t i = 0; i < count; i++)
        put(g->type, y, i, sum[i]);
    free(sum);
    return LS_OK;
}

ls_status reference_upsample_backward(ls_device *device, const ls_grid *g, ls_upsampling_kind kind, const void *dy, void *dx, ls_arena *scratch)
{
    (void)device, (void)scratch;
    int64_t count = g->batch * g->in[0] * g->in[1] * g->in[2] * g->channels;
    double *sum = reference_zeros(count + 1);
    upsample_pairs(g, kind, true, dy, sum);
    reference_add_all(g->type, dx, count, sum);
    return LS_OK;
}

/* ---- norms ---- */

/* Whether element i of x [outer, rows, C] belongs to group number `group` of all [outer, groups]. */
static bool of_group(int64_t i, int64_t group, int64_t rows, int64_t channels, int64_t groups)
{
    return i / (rows * channels) * groups + i % channels / (channels / groups) == group;
}

ls_status reference_group_norm(ls_device *device, ls_type type, ls_type gain_type, int64_t outer, int64_t rows, int64_t channels, int64_t groups, double eps,
                               bool given, const void *x, const void *gain, const void *bias, void *y, double *stats, ls_arena *scratch)
{
    (void)device, (void)scratch;
    int64_t all = outer * rows * channels;
    double n = (double)(rows * channels / groups);
    for (int64_t group = 0; group < outer * groups; group++) {
        double mean = 0, squares = 0;
        for (int64_t i = 0; i < all; i++)
            mean += of_group(i, group, rows, channels, groups) ? get(type, x, i) / n : 0;
        for (int64_t i = 0; i < all; i++)
            squares += of_group(i, group, rows, channels, groups) ? pow(get(type, x, i) - mean, 2) / n : 0;
        if (!given)
            stats[2 * group] = mean, stats[2 * group + 1] = squares;
        for (int64_t i = 0; i < all; i++)
            if (of_group(i, group, rows, channels, groups))
                put(type, y, i, (get(type, x, i) - stats[2 * group]) / sqrt(stats[2 * group + 1] + eps) * (gain ? get(gain_type, gain, i % channels) : 1) +
                                    (bias ? get(gain_type, bias, i % channels) : 0));
    }
    return LS_OK;
}

ls_status reference_group_norm_backward(ls_device *device, ls_type type, ls_type gain_type, int64_t outer, int64_t rows, int64_t channels, int64_t groups,
                                        double eps, const void *x, const void *gain, const double *stats, const void *dy, void *dx, void *dgain, void *dbias,
                                        ls_arena *scratch)
{
    (void)device, (void)scratch;
    int64_t all = outer * rows * channels;
    double n = (double)(rows * channels / groups), *sum_gain = reference_zeros(channels), *sum_bias = reference_zeros(channels);
    for (int64_t group = 0; group < outer * groups; group++) {
        double deviation = sqrt(stats[2 * group + 1] + eps), sum = 0, product = 0;
        for (int64_t i = 0; i < all; i++) {
            if (!of_group(i, group, rows, channels, groups))
                continue;
            double xhat = (get(type, x, i) - stats[2 * group]) / deviation, d = get(type, dy, i), g = gain ? get(gain_type, gain, i % channels) : 1;
            sum += d * g;
            product += d * g * xhat;
            sum_gain[i % channels] += d * xhat;
            sum_bias[i % channels] += d;
        }
        for (int64_t i = 0; i < all; i++)
            if (of_group(i, group, rows, channels, groups)) {
                double xhat = (get(type, x, i) - stats[2 * group]) / deviation, g = get(type, dy, i) * (gain ? get(gain_type, gain, i % channels) : 1);
                if (dx)
                    reference_add(type, dx, i, (g - sum / n - xhat * product / n) / deviation);
            }
    }
    reference_add_all(reference_wide(type), dgain, channels, sum_gain);
    reference_add_all(reference_wide(type), dbias, channels, sum_bias);
    return LS_OK;
}
