/* Mixup: the share of each row, and the mixing of a grain. augment.h says what is computed and from which numbers.
 *
 * The quantile of Beta(a, a). With S(x) = sum over n of x^n (2a)_n / (a+1)_n, its distribution function is
 *     I_x(a, a) = x^a (1 - x)^a S(x) / (a B(a, a))                       (DLMF 8.17.8; all terms are positive)
 * and I_1/2 = 1/2, so in t = (2x)^a, for x up to 1/2:
 *     F(t) = K t (1 - x)^a S(x),  F'(t) = K (1 - x)^(a - 1),  K = 2^a / (2 S(1/2))
 * t lies in 0 .. 1 however small a is and x with it, and F is convex for a < 1, concave for a > 1: Newton's steps
 * approach the root from one side, after the first, which stops at the ends. For x above 1/2, I_x = 1 - I_(1-x). */
#include "base/math.h"
#include "datasets/augment.h"

#include <math.h>
#include <string.h>

static double series(double alpha, double x)
{
    double sum = 1, term = 1;
    for (int n = 0; n < 1000 && term > 1e-17 * sum; n++) {
        term *= x * (2 * alpha + n) / (alpha + 1 + n);
        sum += term;
    }
    return sum;
}

double ls_beta_quantile(double alpha, double p)
{
    const double u = p < 0.5 ? p : 1 - p, k = ls_math_pow(2, alpha) / (2 * series(alpha, 0.5));
    double t = 2 * u, x = 0;
    for (int i = 0; i < 60; i++) {
        x = ls_math_pow(t, 1 / alpha) / 2;
        /* (F - u) / F' = t (1 - x) S(x) - u / K (1 - x)^(1 - a) */
        const double step = t * (1 - x) * series(alpha, x) - u / k * ls_math_pow(1 - x, 1 - alpha);
        const double next = t - step < 0 ? 0 : t - step > 1 ? 1 : t - step;
        if (fabs(next - t) <= 1e-15 * t)
            break;
        t = next;
    }
    return p < 0.5 ? x : 1 - x;
}

/* out = share a + (1 - share) b */
static void mix(float share, const float *a, const float *b, int64_t values, float *out)
{
    const float rest = 1 - share;
    for (int64_t i = 0; i < values; i++)
        out[i] = share * a[i] + rest * b[i];
}

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void ls_mixup_grain(double alpha, const ls_random *first, int64_t rows, int64_t values, float *pixels,
                    const int32_t *labels, int32_t *mixed_labels, float *share, float *one_row)
{
    const int64_t shift = rows > 1 ? 1 + (int64_t)ls_random_below(first, LS_AUGMENT_SHIFT, (uint64_t)rows - 1) : 0;
    for (int64_t b = 0; b < rows; b++) {
        ls_random stream = *first;
        stream.slot += (uint32_t)b;
        const double p = ((double)ls_random_bits(&stream, LS_AUGMENT_SHARE) + 0.5) * 0x1p-32;
        share[b] = (float)ls_beta_quantile(alpha, p);
        mixed_labels[b] = labels[(b + shift) % rows];
    }
    /* b -> b + shift runs in circles, `loops` of them. Along one, a row is read before it is written but for the
     * first, which is kept aside: so the memory of one row is enough. */
    const int64_t loops = common_divisor(rows, shift);
    for (int64_t begin = 0; begin < loops && shift; begin++) {
        memcpy(one_row, pixels + begin * values, (size_t)values * sizeof *one_row);
        for (int64_t b = begin, next;; b = next) {
            next = (b + shift) % rows;
            mix(share[b], pixels + b * values, next == begin ? one_row : pixels + next * values, values,
                pixels + b * values);
            if (next == begin)
                break;
        }
    }
}
