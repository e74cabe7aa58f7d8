/* Textbook series on reduced arguments; every constant is an exactly written f64. See math.h. */
#include "base/math.h"

#include <math.h>
#include <string.h>

static const double LN2_HIGH = 0x1.62e42fefp-1; /* 33 bits: k * LN2_HIGH is exact for |k| < 2^20 */
static const double LN2_LOW = 0x1.473de6af278edp-34;

/* Horner's rule, highest power first. */
static double polynomial(double x, const double *coefficient, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum = sum * x + coefficient[i];
    return sum;
}

static double with_exponent(double m, int64_t k) /* m * 2^k for results in the normal range */
{
    uint64_t bits;
    memcpy(&bits, &m, sizeof bits);
    bits += (uint64_t)k << 52;
    memcpy(&m, &bits, sizeof m);
    return m;
}

/* x = m 2^k with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m - 1) / (m + 1), s^2 < 0.0295:
 * the series' term after s^23 is below 2^-60. */
double ls_math_log(double x)
{
    if (x == 0)
        return -INFINITY;
    if (!(x >= 0x1p-1022) || x == INFINITY)
        return x == INFINITY ? x : NAN;
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int64_t k = (int64_t)(bits >> 52) - 1023;
    double m = with_exponent(x, -k);
    if (m > 0x1.6a09e667f3bcdp+0) {
        m *= 0.5;
        k++;
    }
    static const double series[] = {1.0 / 23, 1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13,
                                    1.0 / 11, 1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3};
    double s = (m - 1) / (m + 1), z = s * s;
    double tail = z * polynomial(z, series, 11);
    return (double)k * LN2_HIGH + ((double)k * LN2_LOW + 2 * (s + s * tail));
}

/* x = k ln 2 + r, |r| <= ln(2) / 2; Taylor to r^14 / 14!, error below 2^-60. */
double ls_math_exp(double x)
{
    if (!(x < 709.7))
        return x == x ? INFINITY : x;
    if (x < -708)
        return 0;
    double k = floor(x * 0x1.71547652b82fep+0 + 0.5);
    double r = (x - k * LN2_HIGH) - k * LN2_LOW;
    static const double series[] = {1 / 87178291200., 1 / 6227020800., 1 / 479001600., 1 / 39916800., 1 / 3628800.,
                                    1 / 362880.,      1 / 40320.,      1 / 5040.,      1 / 720.,      1 / 120.,
                                    1 / 24.,          1 / 6.,          1 / 2.,         1};
    return with_exponent(1 + r * polynomial(r, series, 14), (int64_t)k);
}

double ls_math_pow(double x, double y)
{
    return ls_math_exp(y * ls_math_log(x));
}

double ls_math_power(double x, int64_t n)
{
    double power = 1;
    for (; n > 0; n >>= 1, x *= x)
        power *= n & 1 ? x : 1;
    return power;
}

/* Sine and cosine of quadrant * pi/2 + r, |r| <= pi/4, by Taylor series to r^19 and r^18. */
static void sincos_quadrant(int64_t quadrant, double r, double *sine, double *cosine)
{
    static const double sine_series[] = {-1 / 121645100408832000., 1 / 355687428096000., -1 / 1307674368000.,
                                         1 / 6227020800., -1 / 39916800., 1 / 362880., -1 / 5040., 1 / 120., -1 / 6.};
    static const double cosine_series[] = {-1 / 6402373705728000., 1 / 20922789888000., -1 / 87178291200.,
                                           1 / 479001600., -1 / 3628800., 1 / 40320., -1 / 720., 1 / 24., -1 / 2.};
    double z = r * r;
    double s = r + r * (z * polynomial(z, sine_series, 9));
    double c = 1 + z * polynomial(z, cosine_series, 9);
    *sine = quadrant & 1 ? c : s;
    *cosine = quadrant & 1 ? s : c;
    if (quadrant & 2)
        *sine = -*sine;
    if ((quadrant + 1) & 2)
        *cosine = -*cosine;
}

void ls_math_sincos(double angle, double *sine, double *cosine)
{
    if (!(fabs(angle) < 0x1p30)) {
        *sine = *cosine = NAN;
        return;
    }
    /* pi/2 in two parts of 22 bits, so that their products with k < 2^30 are exact, and a rest (Cody & Waite 1980). */
    double k = floor(angle * 0x1.45f306dc9c883p-1 + 0.5);
    double r = ((angle - k * 0x1.921fbp+0) - k * 0x1.5110bp-22) - k * 0x1.18469898cc517p-44;
    sincos_quadrant((int64_t)k, r, sine, cosine);
}

void ls_math_sincos_turn(uint32_t turn, double *sine, double *cosine)
{
    uint32_t nearest = turn + UINT32_C(0x20000000); /* round to the nearest quarter; wraps with the circle */
    int32_t rest = (int32_t)(turn - (nearest & UINT32_C(0xc0000000)));
    sincos_quadrant(nearest >> 30, (double)rest * 0x1.921fb54442d18p-30, sine, cosine);
}
