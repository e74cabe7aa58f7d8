#include "train/optimizer.h"

#include <criterion/criterion.h>
#include <math.h>

static ls_optimizer_options options(int schedule)
{
    return (ls_optimizer_options){.lr = 0.5, .schedule = schedule, .warmup = 4, .min_lr_ratio = 0.1};
}

Test(learning_rate, warms_up_linearly_and_reaches_lr_at_the_last_warm_up_step)
{
    ls_optimizer_options o = options(2);
    cr_assert_float_eq(ls_learning_rate(&o, 0, 100), 0.125, 1e-7);
    cr_assert_float_eq(ls_learning_rate(&o, 3, 100), 0.5, 1e-7);
}

Test(learning_rate, cosine_passes_through_its_middle_and_stays_at_the_end)
{
    ls_optimizer_options o = options(2);
    cr_assert_float_eq(ls_learning_rate(&o, 4, 100), 0.5, 1e-7);
    cr_assert_float_eq(ls_learning_rate(&o, 52, 100), 0.5 * 0.55, 1e-7, "half way: the mean of lr and its floor");
    cr_assert_float_eq(ls_learning_rate(&o, 100, 100), 0.05, 1e-7);
    cr_assert_float_eq(ls_learning_rate(&o, 500, 100), 0.05, 1e-7);
}

Test(learning_rate, linear_falls_evenly)
{
    ls_optimizer_options o = options(1);
    cr_assert_float_eq(ls_learning_rate(&o, 52, 100), 0.5 * 0.55, 1e-7);
    cr_assert_float_eq(ls_learning_rate(&o, 76, 100), 0.5 * (1 - 0.9 * 0.75), 1e-7);
}

Test(learning_rate, wsd_is_stable_until_its_last_tenth)
{
    ls_optimizer_options o = options(3);
    cr_assert_float_eq(ls_learning_rate(&o, 90, 100), 0.5, 1e-7);
    cr_assert_float_eq(ls_learning_rate(&o, 95, 100), 0.5 * 0.55, 1e-7);
    o.decay_steps = 50;
    cr_assert_float_eq(ls_learning_rate(&o, 75, 100), 0.5 * 0.55, 1e-7);
}

Test(clipping, scales_only_what_is_too_long)
{
    cr_assert_eq(ls_clip_scale(0.5, 1.0), 1.0);
    cr_assert_float_eq(ls_clip_scale(4.0, 1.0), 0.25, 1e-6);
    cr_assert_eq(ls_clip_scale(1e9, 0), 1.0, "0 switches clipping off");
}
