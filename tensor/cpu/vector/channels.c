/* Loops along the channels of positions [rows, width], each position's channels being one run of memory: statistics and
 * normalisation by channel (batch norm, group norm), and pooling, one tap at a time. Sums over rows go in ascending order
 * for each channel, so no width of vectors can show. */
#include "tensor/cpu/vector/prototypes.h"

/* Mean and sum of squared distances from it, of each channel, over at most a few hundred rows: two passes, in cache. */
void KERNEL(channel_moments)(int64_t rows, int64_t width, const void *x_, double *mean, double *squares)
{
    real sum[BLOCK], centre[BLOCK];
    for (int64_t begin = 0; begin < width; begin += BLOCK) {
        const int64_t count = at_most(width - begin, BLOCK);
        const element *x = (const element *)x_ + begin;
        memset(sum, 0, sizeof sum);
        for (int64_t row = 0; row < rows; row++)
            INDEPENDENT for (int64_t i = 0; i < count; i++)
                sum[i] += load(x + row * width + i);
        for (int64_t i = 0; i < count; i++) {
            mean[begin + i] = (double)sum[i] / (double)rows;
            centre[i] = (real)mean[begin + i];
            mean[begin + i] = (double)centre[i];
        }
        real drift[BLOCK] = {0}; /* what the rounded mean leaves */
        memset(sum, 0, sizeof sum);
        for (int64_t row = 0; row < rows; row++)
            INDEPENDENT for (int64_t i = 0; i < count; i++)
            {
                const real d = load(x + row * width + i) - centre[i];
                sum[i] += d * d;
                drift[i] += d;
            }
        for (int64_t i = 0; i < count; i++) {
            mean[begin + i] += (double)drift[i] / (double)rows;
            squares[begin + i] = (double)sum[i] - (double)drift[i] * (double)drift[i] / (double)rows;
        }
    }
}

/* y = (x - mean) scale + shift, all by channel */
void KERNEL(channel_normalise)(int64_t rows, int64_t width, const void *x_, const void *mean_, const void *scale_, const void *shift_, void *y_)
{
    const real *mean = mean_, *scale = scale_, *shift = shift_;
    const element *x = x_;
    element *y = y_;
    for (int64_t row = 0; row < rows; row++, x += width, y += width)
        INDEPENDENT for (int64_t i = 0; i < width; i++)
            y[i] = store((load(x + i) - mean[i]) * scale[i] + shift[i]);
}

/* Sums over the rows of dy (x - mean) and of dy. */
void KERNEL(channel_gradients)(int64_t rows, int64_t width, const void *x_, const void *mean_, const void *dy_, double *product, double *plain)
{
    real sum[BLOCK], sum_product[BLOCK];
    for (int64_t begin = 0; begin < width; begin += BLOCK) {
        const int64_t count = at_most(width - begin, BLOCK);
        const element *x = (const element *)x_ + begin, *dy = (const element *)dy_ + begin;
        const real *mean = (const real *)mean_ + begin;
        memset(sum, 0, sizeof sum);
        memset(sum_product, 0, sizeof sum_product);
        for (int64_t row = 0; row < rows; row++)
            INDEPENDENT for (int64_t i = 0; i < count; i++)
            {
                const real d = load(dy + row * width + i);
                sum[i] += d;
                sum_product[i] += d * (load(x + row * width + i) - mean[i]);
            }
        for (int64_t i = 0; i < count; i++) {
            product[begin + i] = (double)sum_product[i];
            plain[begin + i] = (double)sum[i];
        }
    }
}

/* dx += dy of_dy + (x - mean) of_x + constant, all by channel */
void KERNEL(channel_backward)(int64_t rows, int64_t width, const void *x_, const void *mean_, const void *dy_, const void *of_dy_, const void *of_x_,
                              const void *constant_, void *dx_)
{
    const real *mean = mean_, *of_dy = of_dy_, *of_x = of_x_, *constant = constant_;
    const element *x = x_, *dy = dy_;
    element *dx = dx_;
    for (int64_t row = 0; row < rows; row++, x += width, dy += width, dx += width)
        INDEPENDENT for (int64_t i = 0; i < width; i++)
            dx[i] = store(load(dx + i) + (load(dy + i) * of_dy[i] + (load(x + i) - mean[i]) * of_x[i] + constant[i]));
}

/* best, which: the greatest so far and the tap it is from; the first tap that a position has sets them. A NaN wins. */
void KERNEL(pool_greatest)(bool first, int32_t tap, int64_t width, const void *x_, void *best_, int32_t *which)
{
    const element *x = x_;
    real *best = best_;
    INDEPENDENT for (int64_t i = 0; i < width; i++)
    {
        const real value = load(x + i);
        const bool wins = first | (value > best[i]) | ((value != value) & (best[i] == best[i]));
        best[i] = wins ? value : best[i];
        which[i] = wins ? tap : which[i];
    }
}

void KERNEL(pool_greatest_backward)(int32_t tap, int64_t width, const int32_t *which, const void *dy_, void *dx_)
{
    const element *dy = dy_;
    element *dx = dx_;
    INDEPENDENT for (int64_t i = 0; i < width; i++)
        dx[i] = store(load(dx + i) + (which[i] == tap ? load(dy + i) : 0));
}

/* sum += x */
void KERNEL(pool_add)(int64_t width, const void *x_, void *sum_)
{
    const element *x = x_;
    real *sum = sum_;
    INDEPENDENT for (int64_t i = 0; i < width; i++)
        sum[i] += load(x + i);
}

/* y = sum scale */
void KERNEL(pool_finish)(int64_t width, double scale, const void *sum_, void *y_)
{
    const real *sum = sum_;
    element *y = y_;
    INDEPENDENT for (int64_t i = 0; i < width; i++)
        y[i] = store(sum[i] * (real)scale);
}

/* dx += dy scale */
void KERNEL(pool_add_backward)(int64_t width, double scale, const void *dy_, void *dx_)
{
    const element *dy = dy_;
    element *dx = dx_;
    INDEPENDENT for (int64_t i = 0; i < width; i++)
        dx[i] = store(load(dx + i) + load(dy + i) * (real)scale);
}

/* One loop for each number of taps, so that sums stay in registers. */
#define BLEND(expression)                                                                                              \
    INDEPENDENT for (int64_t i = 0; i < width; i++) y[i] = store(expression)
#define TAP(k) ((real)weight[k] * load(x[k] + i))

void KERNEL(blend)(int taps, int64_t width, const double *weight, const void *const *x_, void *y_)
{
    const element *x[8];
    element *y = y_;
    for (int k = 0; k < taps; k++)
        x[k] = x_[k];
    switch (taps) {
    case 1: BLEND(TAP(0)); break;
    case 2: BLEND(TAP(0) + TAP(1)); break;
    case 4: BLEND(TAP(0) + TAP(1) + TAP(2) + TAP(3)); break;
    default: BLEND(TAP(0) + TAP(1) + TAP(2) + TAP(3) + TAP(4) + TAP(5) + TAP(6) + TAP(7)); break;
    }
}

/* sum += weight[0] x[0], then weight[1] x[1], ...: one chain of additions, however many are handed over at once. */
void KERNEL(add_blend)(int taps, int64_t width, const double *weight, const void *const *x_, void *sum_)
{
    const element *const *x = (const element *const *)x_;
    real *sum = sum_;
    for (; taps >= 4; taps -= 4, weight += 4, x += 4)
        INDEPENDENT for (int64_t i = 0; i < width; i++)
            sum[i] = sum[i] + TAP(0) + TAP(1) + TAP(2) + TAP(3);
    for (; taps > 0; taps--, weight++, x++)
        INDEPENDENT for (int64_t i = 0; i < width; i++)
            sum[i] += TAP(0);
}
