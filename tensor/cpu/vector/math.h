/* Elementary functions that vectorise: no branch, no table, no call; the same bits on every level.
 *
 * f32: Cody & Waite argument reduction and minimax polynomials found with the Remez exchange (weights: relative error;
 * the bound stands at each). Measured errors in units of the last place are asserted in tests/tensor/test_math.c.
 * f64 is for gradient checks only and takes the C library's.
 * Names: real_exp, real_log, log_of_normal, real_tanh, real_sigmoid, real_softplus, normal_cdf (Phi), normal_pdf (phi). */
#pragma once
#include "tensor/cpu/vector/variant.h"

#include <math.h>

always_inline real real_sqrt(real x)
{
    return sizeof(real) == 4 ? (real)__builtin_sqrtf((float)x) : (real)__builtin_sqrt((double)x);
}

#if defined(LS_ELEMENT_F64)

always_inline real real_exp(real x) { return exp(x); }
always_inline real exp_of_negative(real x) { return exp(-fabs(x)); }
always_inline real real_log(real x) { return log(x); }
always_inline real log_of_normal(real x) { return log(x); }
always_inline real real_log1p(real x) { return log1p(x); }
always_inline real real_tanh(real x) { return tanh(x); }
always_inline real normal_cdf(real x) { return 0.5 * erfc(-x * 0x1.6a09e667f3bcdp-1); }
always_inline real normal_pdf(real x) { return 0x1.9884533d43651p-2 * exp(-0.5 * x * x); }

#else

/* e^(high + low), |low| tiny. With n = round(x / ln 2), r = x - n ln 2, |r| <= 0.3466:
 * e^r = 1 + r + r^2 P(r), |error| < 2^-28; times 2^n in two steps, so that denormal results are rounded once. */
always_inline real exp_of_sum(real high, real low)
{
    real x = high < -105.0f ? -105.0f : high > 90.0f ? 90.0f : high;
    real shifted = x * 0x1.715476p+0f + 0x1.8p+23f; /* adding 1.5 * 2^23 rounds to an integer, kept in the low bits */
    real n = shifted - 0x1.8p+23f;
    int32_t k = (int32_t)(bits_of(shifted) - UINT32_C(0x4b400000));
    real r = ((x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f) + low;
    real p = 0x1.6dc52cp-10f;
    p = p * r + 0x1.124758p-7f;
    p = p * r + 0x1.55544ap-5f;
    p = p * r + 0x1.55547ep-3f;
    p = p * r + 0.5f;
    p = (p * (r * r) + r) + 1.0f;
    int32_t half = k >> 1;
    return p * float_of((uint32_t)(half + 127) << 23) * float_of((uint32_t)(k - half + 127) << 23);
}

always_inline real real_exp(real x)
{
    return exp_of_sum(x, 0.0f);
}

/* e^-|x| with the bits of real_exp, in two thirds of its steps; of a NaN it is e^-105. The size is cut off as an integer, for
 * which there is one instruction; the result's exponent is made 64 too large, then put right, which rounds it once. */
always_inline real exp_of_negative(real x)
{
    uint32_t size = bits_of(x) & UINT32_C(0x7fffffff);
    size = size < UINT32_C(0x42d20000) ? size : UINT32_C(0x42d20000); /* 105 */
    real negative = float_of(size | UINT32_C(0x80000000));
    real shifted = negative * 0x1.715476p+0f + 0x1.8p+23f, n = shifted - 0x1.8p+23f;
    real r = (negative - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
    real p = 0x1.6dc52cp-10f;
    p = p * r + 0x1.124758p-7f;
    p = p * r + 0x1.55544ap-5f;
    p = p * r + 0x1.55547ep-3f;
    p = p * r + 0.5f;
    p = (p * (r * r) + r) + 1.0f;
    return float_of(bits_of(p) + (bits_of(shifted) << 23) + (UINT32_C(64) << 23)) * 0x1p-64f;
}

/* Of 2^-less x: x = 2^k (1 + f), 1 + f in [sqrt(1/2), sqrt(2)); log(1 + f) = f - f^2/2 + f^3 P(f), |error| < 2^-30. */
always_inline real log_of_scaled(real x, real less)
{
    uint32_t bits = bits_of(x);
    int32_t k = (int32_t)(bits - UINT32_C(0x3f3504f3)) >> 23;
    real f = float_of(bits - ((uint32_t)k << 23)) - 1.0f, exponent = (real)k - less;
    real p = 0x1.145df6p-4f;
    p = p * f - 0x1.de3ed2p-4f;
    p = p * f + 0x1.e6ef22p-4f;
    p = p * f - 0x1.fc2180p-4f;
    p = p * f + 0x1.233774p-3f;
    p = p * f - 0x1.555c52p-3f;
    p = p * f + 0x1.99a4b4p-3f;
    p = p * f - 0x1.000006p-2f;
    p = p * f + 0x1.555548p-2f;
    real square = f * f;
    real y = p * (square * f) + exponent * -0x1.bd0106p-13f; /* ln 2 = 0.693359375 - 2.12194440e-4 */
    y = (y - 0.5f * square) + f;
    return y + exponent * 0x1.63p-1f;
}

/* x positive, finite and not denormal: without the choices of real_log, for which gcc gives up some loops. */
always_inline real log_of_normal(real x)
{
    return log_of_scaled(x, 0.0f);
}

always_inline real real_log(real x)
{
    bool denormal = x < 0x1p-126f;
    real y = log_of_scaled(denormal ? x * 0x1p+23f : x, denormal ? 23.0f : 0.0f);
    y = x == INFINITY ? x : y;
    y = x == 0.0f ? -INFINITY : y;
    return x < 0.0f || x != x ? NAN : y;
}

/* log(1 + x) for x in [0, 1]: the rounding of 1 + x is put back, and a NaN with it. */
always_inline real real_log1p(real x)
{
    real u = 1.0f + x;
    return log_of_normal(u) + (x - (u - 1.0f)) / u;
}

/* |x| < 0.625: x + x^3 P(x^2), |error| < 2^-27; else 1 - 2 / (e^(2|x|) + 1) with the sign of x. */
always_inline real real_tanh(real x)
{
    real size = __builtin_fabsf(x), z = x * x;
    real p = -0x1.76ac22p-8f;
    p = p * z + 0x1.5256dap-6f;
    p = p * z - 0x1.b8444ap-5f;
    p = p * z + 0x1.110768p-3f;
    p = p * z - 0x1.555534p-2f;
    real small = size + size * (z * p), large = 1.0f - 2.0f / (real_exp(2.0f * size) + 1.0f);
    return __builtin_copysignf(size < 0.625f ? small : large, x);
}

/* e^(-x^2 / 2) to the last places: x^2 = h^2 + (x - h)(x + h) with h the upper 12 bits of x, so that h^2 is exact. */
always_inline real half_gaussian(real size)
{
    real h = float_of(bits_of(size) & UINT32_C(0xfffff000));
    return exp_of_sum(-0.5f * (h * h), -0.5f * ((size - h) * (size + h)));
}

/* Phi(x) = erfc(-x / sqrt 2) / 2. z = |x| / sqrt 2 < 1/2: erf z = z P(z^2), |error| < 2^-29. Else
 * erfc z = e^(-z^2) t Q(t), t = 1 / (1 + z/2), |error| < 2^-33. Beyond |x| = 14.4 the smaller tail is 0. */
always_inline real normal_cdf(real x)
{
    real size = __builtin_fabsf(x);
    size = size > 14.4f ? 14.4f : size;
    real z = size * 0x1.6a09e6p-1f, square = z * z;
    real p = 0x1.33f222p-8f;
    p = p * square - 0x1.b63fd6p-6f;
    p = p * square + 0x1.ce23bcp-4f;
    p = p * square - 0x1.81272ep-2f;
    p = p * square + 0x1.20dd74p+0f;
    real half_erf = 0.5f * (z * p);
    real t = 1.0f / (1.0f + 0.5f * z);
    real q = 0x1.ff3b90p-5f;
    q = q * t - 0x1.4f2842p-2f;
    q = q * t + 0x1.5fc152p-1f;
    q = q * t - 0x1.5e6308p-1f;
    q = q * t + 0x1.35c4fap-2f;
    q = q * t - 0x1.21c040p-3f;
    q = q * t + 0x1.e97330p-4f;
    q = q * t + 0x1.5c2e9ap-3f;
    q = q * t + 0x1.fafb56p-3f;
    q = q * t + 0x1.20d102p-2f;
    q = q * t + 0x1.20ddd2p-2f;
    real tail = 0.5f * (half_gaussian(size) * (t * q));
    real lower = z < 0.5f ? 0.5f - half_erf : tail; /* Phi(-|x|) */
    return x > 0.0f ? 1.0f - lower : lower;
}

always_inline real normal_pdf(real x)
{
    real size = __builtin_fabsf(x);
    return 0x1.988454p-2f * half_gaussian(size > 14.4f ? 14.4f : size);
}

#endif

always_inline real real_abs(real x)
{
    return sizeof(real) == 4 ? (real)__builtin_fabsf((float)x) : (real)__builtin_fabs((double)x);
}

/* Both sides from e^-|x|, which cannot overflow. Of a NaN some number: for what is multiplied by x. */
always_inline real sigmoid_of_number(real x)
{
    real e = exp_of_negative(x), q = 1 / (1 + e);
    return x < 0 ? e * q : q;
}

always_inline real real_sigmoid(real x)
{
    real y = sigmoid_of_number(x);
    return x != x ? x : y;
}

always_inline real real_softplus(real x)
{
    return (x < 0 ? 0 : x) + real_log1p(real_exp(-real_abs(x)));
}
