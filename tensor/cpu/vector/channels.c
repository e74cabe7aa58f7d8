/* Loops along the channels of positions [rows, width], each position's channels being one run of memory: statistics and
 * normalisation by channel (batch norm, group norm), and pooling, one tap at a time. Sums over rows go in ascending order
 * for each channel, so no width of vectors can show. */
#include "tensor/cpu/vector/prototypes.h"

/* Rows of at most FEW whole vectors keep their sums and factors in registers: where a row is so short, a sum in memory waits for its
 * own last store. `vectors` is a constant at each call. bf16 and f16 go the usual way: their conversions, written on vectors, cost twice that. */
#if defined(LS_ELEMENT_NARROW)
#define FEW_OR(width, call, otherwise) otherwise
#else
enum { FEW = 4 };

always_inline vector load_vector(const element *x)
{
    vector v;
    memcpy(&v, x, sizeof v);
    return v;
}

always_inline void store_vector(vector v, element *y)
{
    memcpy(y, &v, sizeof v);
}

always_inline void few_sums(int vectors, int64_t rows, const element *x, real *sum)
{
    vector total[FEW] = {0};
    for (int64_t row = 0; row < rows; row++)
        for (int v = 0; v < vectors; v++, x += WIDTH)
            total[v] += load_vector(x);
    memcpy(sum, total, (size_t)vectors * sizeof *total);
}

/* Of squared distances from the centre, and of distances. */
always_inline void few_distances(int vectors, int64_t rows, const element *x, const real *centre_, real *sum, real *drift)
{
    vector total[FEW] = {0}, drifts[FEW] = {0}, centre[FEW] = {0};
    memcpy(centre, centre_, (size_t)vectors * sizeof *centre);
    for (int64_t row = 0; row < rows; row++)
        for (int v = 0; v < vectors; v++, x += WIDTH) {
            const vector d = load_vector(x) - centre[v];
            total[v] += d * d;
            drifts[v] += d;
        }
    memcpy(sum, total, (size_t)vectors * sizeof *total);
    memcpy(drift, drifts, (size_t)vectors * sizeof *drifts);
}

/* Of dy (x - mean), and of dy. */
always_inline void few_gradients(int vectors, int64_t rows, const element *x, const real *mean_, const element *dy, real *sum_product, real *sum)
{
    vector products[FEW] = {0}, total[FEW] = {0}, mean[FEW] = {0};
    memcpy(mean, mean_, (size_t)vectors * sizeof *mean);
    for (int64_t row = 0; row < rows; row++)
        for (int v = 0; v < vectors; v++, x += WIDTH, dy += WIDTH) {
            const vector d = load_vector(dy);
            total[v] += d;
            products[v] += d * (load_vector(x) - mean[v]);
        }
    memcpy(sum, total, (size_t)vectors * sizeof *total);
    memcpy(sum_product, products, (size_t)vectors * sizeof *products);
}

always_inline void few_normalise(int vectors, int64_t rows, const element *x, const real *mean_, const real *scale_, const real *shift_, element *y)
{
    vector mean[FEW] = {0}, scale[FEW] = {0}, shift[FEW] = {0};
    memcpy(mean, mean_, (size_t)vectors * sizeof *mean);
    memcpy(scale, scale_, (size_t)vectors * sizeof *scale);
    memcpy(shift, shift_, (size_t)vectors * sizeof *shift);
    for (int64_t row = 0; row < rows; row++)
        for (int v = 0; v < vectors; v++, x += WIDTH, y += WIDTH)
            store_vector((load_vector(x) - mean[v]) * scale[v] + shift[v], y);
}

always_inline void few_backward(int vectors, int64_t rows, const element *x, const real *mean_, const element *dy, const real *of_dy_, const real *of_x_,
                                const real *constant_, element *dx)
{
    vector mean[FEW] = {0}, of_dy[FEW] = {0}, of_x[FEW] = {0}, constant[FEW] = {0};
    memcpy(mean, mean_, (size_t)vectors * sizeof *mean);
    memcpy(of_dy, of_dy_, (size_t)vectors * sizeof *of_dy);
    memcpy(of_x, of_x_, (size_t)vectors * sizeof *of_x);
    memcpy(constant, constant_, (size_t)vectors * sizeof *constant);
    for (int64_t row = 0; row < rows; row++)
        for (int v = 0; v < vectors; v++, x += WIDTH, dy += WIDTH, dx += WIDTH)
            store_vector(load_vector(dx) + (load_vector(dy) * of_dy[v] + (load_vector(x) - mean[v]) * of_x[v] + constant[v]), dx);
}

/* One loop for each number of vectors; `otherwise` is a statement. */
#define FEW_OR(width, call, otherwise)                                                                                 \
    switch ((width) % WIDTH ? 0 : (width) / WIDTH) {                                                                   \
    case 1: call(1); break;                                                                                            \
    case 2: call(2); break;                                                                                            \
    case 3: call(3); break;                                                                                            \
    case 4: call(4); break;                                                                                            \
    default: otherwise; break;                                                                                         \
    }
#endif

static void column_sums(int64_t rows, int64_t width, int64_t count, const element *x, real *sum)
{
    memset(sum, 0, (size_t)count * sizeof *sum);
    for (int64_t row = 0; row < rows; row++)
        INDEPENDENT for (int64_t i = 0; i < count; i++)
            sum[i] += load(x + row * width + i);
}

static void column_distances(int64_t rows, int64_t width, int64_t count, const element *x, const real *centre, real *sum, real *drift)
{
    memset(sum, 0, (size_t)count * sizeof *sum);
    memset(drift, 0, (size_t)count * sizeof *drift);
    for (int64_t row = 0; row < rows; row++)
        INDEPENDENT for (int64_t i = 0; i < count; i++)
        {
            const real d = load(x + row * width + i) - centre[i];
            sum[i] += d * d;
            drift[i] += d;
        }
}

/* Mean and sum of squared distances from it, of each channel, over at most a few hundred rows: two passes, in cache. */
void KERNEL(channel_moments)(int64_t rows, int64_t width, const void *x_, double *mean, double *squares)
{
    real sum[BLOCK], centre[BLOCK], drift[BLOCK]; /* drift: what the rounded mean leaves */
    for (int64_t begin = 0; begin < width; begin += BLOCK) {
        const int64_t count = at_most(width - begin, BLOCK);
        const element *x = (const element *)x_ + begin;
#define SUMS(vectors) few_sums(vectors, rows, x, sum)
        FEW_OR(width, SUMS, column_sums(rows, width, count, x, sum));
        for (int64_t i = 0; i < count; i++) {
            mean[begin + i] = (double)sum[i] / (double)rows;
            centre[i] = (real)mean[begin + i];
            mean[begin + i] = (double)centre[i];
        }
#define DISTANCES(vectors) few_distances(vectors, rows, x, centre, sum, drift)
        FEW_OR(width, DISTANCES, column_distances(rows, width, count, x, centre, sum, drift));
        for (int64_t i = 0; i < count; i++) {
            mean[begin + i] += (double)drift[i] / (double)rows;
            squares[begin + i] = (double)sum[i] - (double)drift[i] * (double)drift[i] / (double)rows;
        }
    }
}

static void column_normalise(int64_t rows, int64_t width, const element *x, const real *mean, const real *scale, const real *shift, element *y)
{
    for (int64_t row = 0; row < rows; row++, x += width, y += width)
        INDEPENDENT for (int64_t i = 0; i < width; i++)
            y[i] = store((load(x + i) - mean[i]) * scale[i] + shift[i]);
}

/* y = (x - mean) scale + shift, all by channel */
void KERNEL(channel_normalise)(int64_t rows, int64_t width, const void *x, const void *mean, const void *scale, const void *shift, void *y)
{
#define NORMALISE(vectors) few_normalise(vectors, rows, x, mean, scale, shift, y)
    FEW_OR(width, NORMALISE, column_normalise(rows, width, x, mean, scale, shift, y));
}

static void column_gradients(int64_t rows, int64_t width, int64_t count, const element *x, const real *mean, const element *dy, real *sum_product, real *sum)
{
    memset(sum, 0, (size_t)count * sizeof *sum);
    memset(sum_product, 0, (size_t)count * sizeof *sum_product);
    for (int64_t row = 0; row < rows; row++)
        INDEPENDENT for (int64_t i = 0; i < count; i++)
        {
            const real d = load(dy + row * width + i);
            sum[i] += d;
            sum_product[i] += d * (load(x + row * width + i) - mean[i]);
        }
}

/* Sums over the rows of dy (x - mean) and of dy. */
void KERNEL(channel_gradients)(int64_t rows, int64_t width, const void *x_, const void *mean_, const void *dy_, double *product, double *plain)
{
    real sum[BLOCK], sum_product[BLOCK];
    for (int64_t begin = 0; begin < width; begin += BLOCK) {
        const int64_t count = at_most(width - begin, BLOCK);
        const element *x = (const element *)x_ + begin, *dy = (const element *)dy_ + begin;
        const real *mean = (const real *)mean_ + begin;
#define GRADIENTS(vectors) few_gradients(vectors, rows, x, mean, dy, sum_product, sum)
        FEW_OR(width, GRADIENTS, column_gradients(rows, width, count, x, mean, dy, sum_product, sum));
        for (int64_t i = 0; i < count; i++) {
            product[begin + i] = (double)sum_product[i];
            plain[begin + i] = (double)sum[i];
        }
    }
}

static void column_backward(int64_t rows, int64_t width, const element *x, const real *mean, const element *dy, const real *of_dy, const real *of_x,
                            const real *constant, element *dx)
{
    for (int64_t row = 0; row < rows; row++, x += width, dy += width, dx += width)
        INDEPENDENT for (int64_t i = 0; i < width; i++)
            dx[i] = store(load(dx + i) + (load(dy + i) * of_dy[i] + (load(x + i) - mean[i]) * of_x[i] + constant[i]));
}

/* dx += dy of_dy + (x - mean) of_x + constant, all by channel */
void KERNEL(channel_backward)(int64_t rows, int64_t width, const void *x, const void *mean, const void *dy, const void *of_dy, const void *of_x,
                              const void *constant, void *dx)
{
#define BACKWARD(vectors) few_backward(vectors, rows, x, mean, dy, of_dy, of_x, constant, dx)
    FEW_OR(width, BACKWARD, column_backward(rows, width, x, mean, dy, of_dy, of_x, constant, dx));
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
