#include "base/math.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

/* Error in units of the last place of the true value. */
static double ulps(double got, long double want)
{
    if (want == 0)
        return got == 0 ? 0 : INFINITY;
    int exponent;
    frexpl(want, &exponent);
    return (double)(fabsl(got - want) / ldexpl(1, exponent - 53));
}

static double drawn(double low, double high)
{
    return low + (high - low) * drand48();
}

Test(math, log_and_exp_are_good_to_two_ulp)
{
    for (int i = 0; i < 200000; i++) {
        double x = ldexp(drawn(1, 2), (int)drawn(-1000, 1000)), y = drawn(-700, 700), near_one = drawn(0.9, 1.1);
        cr_assert_lt(ulps(ls_math_log(x), logl(x)), 2, "log %a", x);
        cr_assert_lt(ulps(ls_math_log(near_one), logl(near_one)), 2, "log %a", near_one);
        cr_assert_lt(ulps(ls_math_exp(y), expl(y)), 2, "exp %a", y);
    }
}

Test(math, sine_and_cosine_are_good_to_an_absolute_2_to_the_minus_52)
{
    for (int i = 0; i < 200000; i++) {
        double x = drawn(-1e6, 1e6), s, c;
        if (i % 2)
            x = drawn(-7, 7);
        ls_math_sincos(x, &s, &c);
        cr_assert_lt(fabsl(s - sinl(x)), 0x1p-52L, "sin %a", x);
        cr_assert_lt(fabsl(c - cosl(x)), 0x1p-52L, "cos %a", x);
        uint32_t turn = (uint32_t)mrand48();
        ls_math_sincos_turn(turn, &s, &c);
        long double angle = ldexpl(turn, -31) * acosl(-1);
        cr_assert_lt(fabsl(s - sinl(angle)), 0x1p-52L, "turn %u", turn);
        cr_assert_lt(fabsl(c - cosl(angle)), 0x1p-52L, "turn %u", turn);
    }
}

Test(math, a_power_is_good_enough_for_rotary_angles)
{
    for (int j = 0; j < 64; j++)
        cr_assert_lt(ulps(ls_math_pow(10000, -2.0 * j / 128), powl(10000, -2.0L * j / 128)), 16);
}

Test(math, whole_powers_are_products)
{
    for (int64_t n = 0; n < 70; n++)
        cr_assert_leq(ulps(ls_math_power(0.9, n), powl(0.9, (long double)n)), 2 + (double)n);
    cr_assert_eq(ls_math_power(0, 0), 1);
    cr_assert_eq(ls_math_power(0, 3), 0);
    cr_assert_eq(ls_math_power(-2, 5), -32);
}

Test(math, edges)
{
    double s, c;
    cr_assert_eq(ls_math_log(1), 0);
    cr_assert_eq(ls_math_log(0), -INFINITY);
    cr_assert_eq(ls_math_log(INFINITY), INFINITY);
    cr_assert(isnan(ls_math_log(-1)));
    cr_assert_eq(ls_math_exp(0), 1);
    cr_assert_eq(ls_math_exp(-INFINITY), 0);
    cr_assert_eq(ls_math_exp(1000), INFINITY);
    cr_assert(isnan(ls_math_exp(NAN)));
    ls_math_sincos(0, &s, &c);
    cr_assert(s == 0 && c == 1);
    ls_math_sincos(INFINITY, &s, &c);
    cr_assert(isnan(s) && isnan(c));
}
