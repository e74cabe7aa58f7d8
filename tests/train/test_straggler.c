/* Which rank is called slow, when, and how often. */
#include "train/straggler.h"

#include <criterion/criterion.h>

static ls_straggler s;
static double ratio;

static int steps(int count, const double *own)
{
    int told = -1, times = 0;
    for (int k = 0; k < count; k++) {
        const int rank = ls_straggler_step(&s, own, &ratio);
        told = rank >= 0 ? rank : told;
        times += rank >= 0;
    }
    cr_assert_leq(times, 1 + count / 200, "warned %d times in %d steps", times, count);
    return told;
}

Test(straggler, a_rank_that_is_slow_for_long_is_named)
{
    const double own[] = {1, 1.1, 2.2, 0.9};
    cr_assert_eq(ls_straggler_open(&s, 4), LS_OK);
    cr_assert_eq(steps(19, own), -1, "too early to say");
    cr_assert_eq(steps(1, own), 2);
    cr_assert_float_eq(ratio, 2.2, 1e-9);
    cr_assert_eq(steps(199, own), -1, "told a moment ago");
    cr_assert_eq(steps(1, own), 2);
    ls_straggler_close(&s);
}

Test(straggler, noise_and_one_slow_step_are_no_straggler)
{
    const double usual[] = {1, 1.3, 1.2}, hiccup[] = {1, 1, 9};
    cr_assert_eq(ls_straggler_open(&s, 3), LS_OK);
    cr_assert_eq(steps(100, usual), -1);
    cr_assert_eq(steps(1, hiccup), -1);
    cr_assert_eq(steps(300, usual), -1);
    ls_straggler_close(&s);
}

Test(straggler, of_two_the_slower_and_alone_nobody)
{
    const double two[] = {3, 1}, one[] = {5};
    cr_assert_eq(ls_straggler_open(&s, 2), LS_OK);
    cr_assert_eq(steps(30, two), 0);
    ls_straggler_close(&s);
    cr_assert_eq(ls_straggler_open(&s, 1), LS_OK);
    cr_assert_eq(steps(30, one), -1);
    ls_straggler_close(&s);
}
