/* Layer norm (Ba et al. 2016) and RMS norm (Zhang & Sennrich 2019) over rows:
 *     xhat = (x - mean) / sqrt(mean (x - mean)^2 + eps), RMS: mean = 0;  y = xhat gain + bias
 * Backward, with g = dy gain: dx += (g - mean g - xhat mean(g xhat)) / std, RMS without mean g;
 * dgain = sum over rows of dy xhat, dbias = sum of dy, in ascending order of the rows.
 * The variance is a second pass over the row (it is in cache): E[x^2] - mean^2 would cancel. */
#include "tensor/cpu/vector/math.h"
#include "tensor/cpu/vector/prototypes.h"

/* gain or bias [begin, begin + n) as reals; NULL: all `otherwise`. */
static const real *parameter(const void *p, bool is_real, int64_t begin, int64_t n, real otherwise, real buffer[BLOCK])
{
    if (!p) {
        for (int64_t i = 0; i < n; i++)
            buffer[i] = otherwise;
        return buffer;
    }
    return is_real ? (const real *)p + begin : as_reals((const element *)p + begin, n, buffer);
}

static real mean_of(int64_t n, const element *x)
{
    real buffer[BLOCK];
    lanes sum = {0};
    for (int64_t i = 0; i < n; i += BLOCK)
        lanes_add(&sum, as_reals(x + i, at_most(n - i, BLOCK), buffer), at_most(n - i, BLOCK));
    return lanes_total(&sum) / (real)n;
}

static real mean_square(int64_t n, const element *x, real mean)
{
    real buffer[BLOCK];
    lanes sum = {0};
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        int64_t count = at_most(n - begin, BLOCK);
        for (int64_t i = 0; i < count; i++) {
            real centred = load(x + begin + i) - mean;
            buffer[i] = centred * centred;
        }
        lanes_add(&sum, buffer, count);
    }
    return lanes_total(&sum) / (real)n;
}

void KERNEL(norm)(bool rms, bool gain_real, int64_t rows, int64_t width, double eps, const void *x_, const void *gain,
                  const void *bias, void *y_, void *stats_)
{
    const element *x = x_;
    element *y = y_;
    real *stats = stats_, gain_buffer[BLOCK], bias_buffer[BLOCK];
    for (int64_t row = 0; row < rows; row++, x += width, y += width, stats += 2) {
        const real mean = rms ? 0 : mean_of(width, x);
        const real inverse = 1 / real_sqrt(mean_square(width, x, mean) + (real)eps);
        stats[0] = mean;
        stats[1] = inverse;
        for (int64_t begin = 0; begin < width; begin += BLOCK) {
            int64_t count = at_most(width - begin, BLOCK);
            const real *g = parameter(gain, gain_real, begin, count, 1, gain_buffer);
            const real *b = bias ? parameter(bias, gain_real, begin, count, 0, bias_buffer) : NULL;
            const element *from = x + begin;
            element *to = y + begin;
            if (b)
                INDEPENDENT for (int64_t i = 0; i < count; i++)
                    to[i] = store((load(from + i) - mean) * inverse * g[i] + b[i]);
            else
                INDEPENDENT for (int64_t i = 0; i < count; i++)
                    to[i] = store((load(from + i) - mean) * inverse * g[i]);
        }
    }
}

typedef struct {
    bool rms, gain_real;
    int64_t width;
    const void *gain;
    real *dgain, *dbias;
} norm_gradient;

static void norm_row_backward(const norm_gradient *n, const element *x, const element *dy, real mean, real inverse,
                              element *dx)
{
    real gain_buffer[BLOCK], gradient[BLOCK], product[BLOCK], *dgain = n->dgain, *dbias = n->dbias;
    lanes sum = {0}, sum_product = {0};
    for (int64_t begin = 0; begin < n->width; begin += BLOCK) {
        int64_t count = at_most(n->width - begin, BLOCK);
        const real *g = parameter(n->gain, n->gain_real, begin, count, 1, gain_buffer);
        INDEPENDENT for (int64_t i = 0; i < count; i++)
        {
            const real d = load(dy + begin + i), xhat = (load(x + begin + i) - mean) * inverse;
            gradient[i] = d * g[i];
            product[i] = d * g[i] * xhat;
        }
        lanes_add(&sum, gradient, count);
        lanes_add(&sum_product, product, count);
        if (dgain)
            INDEPENDENT for (int64_t i = 0; i < count; i++)
                dgain[begin + i] += load(dy + begin + i) * ((load(x + begin + i) - mean) * inverse);
        if (dbias)
            INDEPENDENT for (int64_t i = 0; i < count; i++)
                dbias[begin + i] += load(dy + begin + i);
    }
    const real mean_g = n->rms ? 0 : lanes_total(&sum) / (real)n->width;
    const real mean_product = lanes_total(&sum_product) / (real)n->width;
    for (int64_t begin = 0; begin < n->width; begin += BLOCK) {
        int64_t count = at_most(n->width - begin, BLOCK);
        const real *g = parameter(n->gain, n->gain_real, begin, count, 1, gain_buffer);
        INDEPENDENT for (int64_t i = 0; i < count; i++)
        {
            const int64_t j = begin + i;
            const real xhat = (load(x + j) - mean) * inverse;
            dx[j] = store(load(dx + j) + inverse * (load(dy + j) * g[i] - mean_g - xhat * mean_product));
        }
    }
}

void KERNEL(norm_backward)(bool rms, bool gain_real, int64_t rows, int64_t width, const void *x_, const void *gain,
                           const void *stats_, const void *dy_, void *dx_, void *dgain, void *dbias)
{
    const element *x = x_, *dy = dy_;
    element *dx = dx_;
    const real *stats = stats_;
    const norm_gradient n = {rms, gain_real, width, gain, dgain, dbias};
    if (dgain)
        memset(dgain, 0, (size_t)width * sizeof(real));
    if (dbias)
        memset(dbias, 0, (size_t)width * sizeof(real));
    for (int64_t row = 0; row < rows; row++, x += width, dy += width, dx += width, stats += 2)
        norm_row_backward(&n, x, dy, stats[0], stats[1], dx);
}
