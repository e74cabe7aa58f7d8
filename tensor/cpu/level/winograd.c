/* The transforms of tensor/cpu/winograd.h. Each is a matrix of small numbers applied to both axes of a square: down its columns, then
 * along its rows. Compiled once a level. */
#include "tensor/cpu/winograd.h"
#include "tensor/cpu/level/lanes.h"

enum { MOST = 4 };
_Static_assert((int)LS_WINOGRAD_CHANNELS % (int)LANES == 0, "channels come in whole vectors");

/* y[i * step] = sum over j of matrix[i, j] x[j * step] */
typedef void one_axis(const lanes *x, lanes *y, int step);

LANES_INLINE void patch_axis(const lanes *x, lanes *y, int step) /* B^T */
{
    y[0] = x[0] - x[2 * step];
    y[step] = x[step] + x[2 * step];
    y[2 * step] = x[2 * step] - x[step];
    y[3 * step] = x[step] - x[3 * step];
}

LANES_INLINE void result_axis(const lanes *x, lanes *y, int step) /* A^T */
{
    y[0] = (x[0] + x[step]) + x[2 * step];
    y[step] = (x[step] - x[2 * step]) - x[3 * step];
}

LANES_INLINE void gradient_axis(const lanes *x, lanes *y, int step) /* A */
{
    y[0] = x[0];
    y[step] = x[0] + x[step];
    y[2 * step] = x[0] - x[step];
    y[3 * step] = -x[step];
}

LANES_INLINE void weight_axis(const lanes *x, lanes *y, int step) /* G */
{
    const lanes ends = x[0] + x[2 * step], half = lanes_all(0.5f);
    y[0] = x[0];
    y[step] = (ends + x[step]) * half;
    y[2 * step] = (ends - x[step]) * half;
    y[3 * step] = x[2 * step];
}

LANES_INLINE void weight_gradient_axis(const lanes *x, lanes *y, int step) /* G^T */
{
    const lanes half = lanes_all(0.5f), sum = (x[step] + x[2 * step]) * half;
    y[0] = x[0] + sum;
    y[step] = (x[step] - x[2 * step]) * half;
    y[2 * step] = sum + x[3 * step];
}

/* x and y: squares of from x from and of to x to, rows MOST apart. */
LANES_INLINE void both_axes(one_axis *f, int from, int to, const lanes *x, lanes *y)
{
    lanes half[MOST * MOST];
#pragma GCC unroll 4
    for (int column = 0; column < from; column++)
        f(x + column, half + column, MOST);
#pragma GCC unroll 4
    for (int row = 0; row < to; row++)
        f(half + row * MOST, y + row * MOST, 1);
}

LANES_INLINE void load_places(int side, const float *const *x, int64_t channel, lanes *to)
{
#pragma GCC unroll 16
    for (int i = 0; i < side * side; i++)
        to[i / side * MOST + i % side] = lanes_load(x[i] + channel);
}

LANES_INLINE void store_matrix(const lanes *from, float *to, int64_t distance)
{
#pragma GCC unroll 16
    for (int e = 0; e < MOST * MOST; e++)
        lanes_store(to + e * distance, from[e]);
}

LANES_INLINE void load_matrix(const float *from, int64_t distance, lanes *to)
{
#pragma GCC unroll 16
    for (int e = 0; e < MOST * MOST; e++)
        to[e] = lanes_load(from + e * distance);
}

LANES_INLINE void into_matrix(one_axis *f, int side, int64_t channels, const float *const *x, float *to, int64_t distance)
{
    for (int64_t c = 0; c < channels; c += LANES) {
        lanes in[MOST * MOST], out[MOST * MOST];
        load_places(side, x, c, in);
        both_axes(f, side, MOST, in, out);
        store_matrix(out, to + c, distance);
    }
}

static void patch(int64_t channels, const float *const d[16], float *v, int64_t distance)
{
    into_matrix(patch_axis, 4, channels, d, v, distance);
}

static void gradient(int64_t channels, const float *const dy[4], float *z, int64_t distance)
{
    into_matrix(gradient_axis, 2, channels, dy, z, distance);
}

static void weight(int64_t channels, const float *const w[9], float *u, int64_t distance)
{
    into_matrix(weight_axis, 3, channels, w, u, distance);
}

static void result(int64_t channels, const float *m, int64_t distance, float *const y[4])
{
    for (int64_t c = 0; c < channels; c += LANES) {
        lanes in[MOST * MOST], out[MOST * MOST];
        load_matrix(m + c, distance, in);
        both_axes(result_axis, 4, 2, in, out);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            lanes_store(y[i] + c, out[i / 2 * MOST + i % 2]);
    }
}

static void weight_gradient(int64_t channels, const float *p, int64_t distance, float *const dw[9])
{
    for (int64_t c = 0; c < channels; c += LANES) {
        lanes in[MOST * MOST], out[MOST * MOST];
        load_matrix(p + c, distance, in);
        both_axes(weight_gradient_axis, 4, 3, in, out);
#pragma GCC unroll 9
        for (int i = 0; i < 9; i++)
            lanes_store(dw[i] + c, lanes_load(dw[i] + c) + out[i / 3 * MOST + i % 3]);
    }
}

extern const ls_winograd_kernels level_symbol(ls_winograd_kernels);
const ls_winograd_kernels level_symbol(ls_winograd_kernels) = {
    .patch = patch,
    .result = result,
    .gradient = gradient,
    .weight = weight,
    .weight_gradient = weight_gradient,
};
