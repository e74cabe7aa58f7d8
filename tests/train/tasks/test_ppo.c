/* Task ppo from outside, on the base of test_grpo.c: a first ratio of exactly one, learning with values that come to
 * explain the rewards, none from shuffled rewards, and going on in the middle of an iteration. Its parts are
 * test_policy_loss.c's and test_value_loss.c's. */
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(void)
{
    ls_fixture_begin();
    ls_fixture_answers();
}

TestSuite(ppo, .init = begin, .fini = ls_fixture_end, .timeout = 100);

Test(ppo, it_learns_what_is_rewarded_and_nothing_from_shuffled_rewards)
{
    ls_expect(ls_shell("lockstep train ppo.yaml"), 0, NULL);
    cr_expect(ls_metric("run", "train_ratio", 1) == 1 && ls_metric("run", "train_ratio_off", 1) == 0 &&
              ls_metric("run", "train_kl_k3", 1) == 0);
    cr_expect(ls_metric("run", "train_ratio_off", 5) == 0 && ls_metric("run", "train_ratio_off", 4) > 0,
              "iterations of 4 steps");
    cr_expect_leq(fabs(ls_metric("run", "train_explained_variance", 1)), 1e-6, "values begin at 0");
    const double before = ls_metric("run", "train_accuracy", 1), after = ls_metric("run", "eval_accuracy", 0);
    cr_expect(before > 0.15 && before < 0.85, "the base answers both ways: %g", before);
    cr_expect_gt(after, 0.9, "from %g to %g", before, after);
    ls_expect(ls_shell("lockstep train ppo.yaml run=shuffled ppo.shuffle_rewards=true && lockstep train ppo.yaml "
                       "run=warm ppo.warmup=100"),
              0, NULL);
    cr_expect_lt(ls_metric("shuffled", "train_accuracy", 0), 0.9, "rewards of other answers teach nothing");
    cr_expect_lt(ls_metric("warm", "train_accuracy", 0), 0.9, "while the values alone learn, answers stay as they are");
}

Test(ppo, the_coefficient_follows_the_kl)
{
    ls_expect(ls_shell("lockstep train ppo.yaml ppo.kl_target=1e-6 ppo.kl_horizon=100 max_steps=12"), 0, NULL);
    const double first = ls_metric("run", "train_kl_coef", 1), third = ls_metric("run", "train_kl_coef", 9);
    cr_expect_leq(fabs(first - 0.01), 1e-9);
    cr_expect_leq(fabs(ls_metric("run", "train_kl_coef", 5) - 0.01 * (1 - 0.2 * 32 / 100)), 1e-9,
                  "no KL yet: below its target");
    cr_expect_gt(third, ls_metric("run", "train_kl_coef", 5), "now there is some");
}

Test(ppo, it_goes_on_in_the_middle_of_an_iteration)
{
    char want[64], got[64];
    ls_expect(ls_shell("lockstep train ppo.yaml run=whole ppo.kl_target=0.1 ppo.kl_horizon=100 max_steps=10"), 0, NULL);
    ls_hash_of("whole", want);
    ls_expect(ls_shell("for steps in 1 3 6 10; do lockstep train ppo.yaml run=parts ppo.kl_target=0.1 "
                       "ppo.kl_horizon=100 max_steps=$steps || exit 1; done"),
              0, NULL);
    ls_hash_of("parts", got);
    cr_expect_str_eq(got, want, "stopped after steps 1, 3 and 6 of iterations of 4");
}
