/* The vectorised elementary functions in f32 against the C library in f64, over all of f32: every 1999th bit pattern. */
#include "base/half.h"
#include "tensor/cpu/cpu.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static ls_team *team;
static ls_device *device;

static void make_device(void)
{
    cr_assert_eq(ls_team_create(&team, 1, 1), LS_OK);
    cr_assert_eq(ls_device_create_cpu(&device, team), LS_OK);
}

static void free_device(void)
{
    device->free(device);
    ls_team_free(team);
}

TestSuite(math, .init = make_device, .fini = free_device);

/* Error in units of the last place that f32 has at `want`; denormals have all the same unit. */
static double ulps(float got, double want)
{
    if (isnan(want))
        return isnan(got) ? 0 : INFINITY;
    if ((double)got == want || (isinf(got) && fabs(want) > 0x1.ffffffp+127 && (got > 0) == (want > 0)))
        return 0;
    int exponent;
    frexp(want, &exponent);
    return fabs((double)got - want) / ldexp(1, exponent < -125 ? -149 : exponent - 24);
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

enum { STEP = 1999, BATCH = 4096 };

/* The worst error of y against `want` over x in [low, high]; *where is its x. */
static double worst(ls_unary op, double (*want)(double), float low, float high, float *where)
{
    float x[BATCH], y[BATCH];
    double greatest = 0;
    int n = 0;
    for (uint64_t bits = 0; bits <= UINT32_MAX + (uint64_t)STEP; bits += STEP) {
        if (bits <= UINT32_MAX) {
            float value = float_of((uint32_t)bits);
            if ((value >= low && value <= high) || isnan(value))
                x[n++] = value;
        }
        if (n < BATCH && bits + STEP <= UINT32_MAX)
            continue;
        ls_cpu_unary(device, op, LS_F32, n, 0, 0, x, y);
        for (int i = 0; i < n; i++) {
            double error = ulps(y[i], want((double)x[i]));
            if (error > greatest) {
                greatest = error;
                *where = x[i];
            }
        }
        n = 0;
    }
    return greatest;
}

static void within(ls_unary op, double (*want)(double), float low, float high, double bound)
{
    float where = 0;
    double error = worst(op, want, low, high, &where);
    cr_assert_leq(error, bound, "%.3f ulp at %a (%g); the bound is %g", error, (double)where, (double)where, bound);
    cr_assert_gt(error, 0.3, "the test sees errors at all");
}

static double sigmoid(double x)
{
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}

static double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

static double gelu(double x)
{
    return x * 0.5 * erfc(-x * M_SQRT1_2);
}

static double gelu_tanh(double x)
{
    return x * sigmoid(2 * 0.7978845608028654 * (x + 0.044715 * x * x * x));
}

static double silu(double x)
{
    return x * sigmoid(x);
}

Test(math, exp) { within(LS_UNARY_EXP, exp, -INFINITY, INFINITY, 1.1); }
Test(math, log) { within(LS_UNARY_LOG, log, -INFINITY, INFINITY, 1.1); }
Test(math, sqrt) { within(LS_UNARY_SQRT, sqrt, -INFINITY, INFINITY, 0.5); }
Test(math, tanh) { within(LS_UNARY_TANH, tanh, -INFINITY, INFINITY, 2); }
Test(math, sigmoid) { within(LS_UNARY_SIGMOID, sigmoid, -80, INFINITY, 2.5); }
Test(math, softplus) { within(LS_UNARY_SOFTPLUS, softplus, -80, INFINITY, 2); }
Test(math, gelu) { within(LS_UNARY_GELU, gelu, -12, 1e30f, 6); }
Test(math, gelu_tanh) { within(LS_UNARY_GELU_TANH, gelu_tanh, -1, 1e10f, 4); }
Test(math, silu) { within(LS_UNARY_SILU, silu, -80, 1e30f, 3); }

Test(math, edges)
{
    static const float x[] = {0, -0.0f, 1, INFINITY, -INFINITY, NAN, -1, 200, -200};
    enum { COUNT = sizeof x / sizeof *x };
    float y[COUNT];
    ls_cpu_unary(device, LS_UNARY_EXP, LS_F32, COUNT, 0, 0, x, y);
    cr_assert(y[0] == 1 && y[1] == 1 && y[3] == INFINITY && y[4] == 0 && isnan(y[5]) && y[7] == INFINITY && y[8] == 0);
    ls_cpu_unary(device, LS_UNARY_LOG, LS_F32, COUNT, 0, 0, x, y);
    cr_assert(y[0] == -INFINITY && y[2] == 0 && y[3] == INFINITY && isnan(y[4]) && isnan(y[5]) && isnan(y[6]));
    ls_cpu_unary(device, LS_UNARY_TANH, LS_F32, COUNT, 0, 0, x, y);
    cr_assert(y[0] == 0 && signbit(y[1]) && y[3] == 1 && y[4] == -1 && isnan(y[5]) && y[7] == 1 && y[8] == -1);
    ls_cpu_unary(device, LS_UNARY_SIGMOID, LS_F32, COUNT, 0, 0, x, y);
    cr_assert(y[0] == 0.5f && y[3] == 1 && y[4] == 0 && isnan(y[5]));
    ls_cpu_unary(device, LS_UNARY_RELU, LS_F32, COUNT, 0, 0, x, y);
    cr_assert(y[0] == 0 && y[2] == 1 && y[3] == INFINITY && y[4] == 0 && isnan(y[5]), "a NaN is not hidden");
}

/* As base/half.h has it, whatever converts: every half, and every f32 whose rounding is near a border, NaNs with their payloads. */
Test(math, f16_is_rounded_as_ieee_754_says)
{
    enum { ALL = 1 << 16 };
    static uint16_t half[ALL], got[ALL];
    static float x[ALL];
    for (uint32_t i = 0; i < ALL; i++)
        half[i] = (uint16_t)i;
    ls_cpu_cast(device, LS_F16, LS_F32, ALL, half, x);
    for (uint32_t i = 0; i < ALL; i++) {
        const float want = ls_half_widen(half[i]);
        cr_assert_eq(memcmp(&x[i], &want, sizeof want), 0, "0x%04x", i);
    }
    static const uint32_t lows[] = {0, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x2fff, 0x3000, 0x3001, 0xffff};
    for (size_t low = 0; low < sizeof lows / sizeof *lows; low++) {
        for (uint32_t i = 0; i < ALL; i++)
            x[i] = float_of(i << 16 | lows[low]);
        ls_cpu_cast(device, LS_F32, LS_F16, ALL, x, got);
        for (uint32_t i = 0; i < ALL; i++)
            cr_assert_eq(got[i], ls_half_narrow(x[i]), "0x%04x%04x gave 0x%04x", i, lows[low], got[i]);
    }
}

/* To nearest, ties to even, for every f32 whose rounding is near a border. */
Test(math, bf16_is_rounded_to_nearest_even)
{
    for (uint32_t high = 0; high <= 0xffff; high++) {
        static const uint32_t lows[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
        for (int i = 0; i < 6; i++) {
            float x = float_of(high << 16 | lows[i]), back;
            uint16_t got;
            ls_cpu_cast(device, LS_F32, LS_BF16, 1, &x, &got);
            if (isnan(x)) {
                ls_cpu_cast(device, LS_BF16, LS_F32, 1, &got, &back);
                cr_assert(isnan(back));
                continue;
            }
            uint32_t want = high + (lows[i] > 0x8000 || (lows[i] == 0x8000 && high & 1));
            cr_assert_eq(got, (uint16_t)want, "0x%04x%04x gave 0x%04x", high, lows[i], got);
        }
    }
}
