/* Task grpo from outside: its first update's ratio is exactly one, it learns what is rewarded and nothing when rewards
 * are dealt out at random, it goes on in the middle of an iteration, and it refuses what cannot be. The loss itself is
 * test_policy_loss.c's. */
#include "checkpoint/checkpoint.h"
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

TestSuite(grpo, .init = begin, .fini = ls_fixture_end, .timeout = 100);

Test(grpo, the_first_updates_ratio_is_exactly_one)
{
    static const char *const precisions[] = {"f32", "bf16", "fp16"};
    for (int i = 0; i < 3; i++) {
        const char *run = precisions[i];
        ls_expect(ls_shell("lockstep train grpo.yaml run=%s precision=%s grpo.epochs=3 grpo.beta=0.1 "
                           "grpo.temperature=0.7 max_steps=6",
                           run, run),
                  0, NULL);
        for (int step = 1; step <= 6; step++) {
            const bool first = step % 3 == 1;
            cr_expect_eq(ls_metric(run, "train_ratio_off", step) == 0, first,
                         "%s, step %d: %g of the tokens have another probability", run, step,
                         ls_metric(run, "train_ratio_off", step));
            cr_expect_eq(ls_metric(run, "train_ratio", step) == 1, first, "%s, step %d", run, step);
            cr_expect_eq(ls_metric(run, "train_kl_k1", step) == 0, step == 1,
                         "%s, step %d: the reference is the model as it began", run, step);
            cr_expect_geq(ls_metric(run, "train_kl_k3", step), 0);
        }
    }
}

Test(grpo, it_learns_what_is_rewarded_and_nothing_from_shuffled_rewards)
{
    ls_expect(ls_shell("lockstep train grpo.yaml"), 0, NULL);
    const double before = ls_metric("run", "train_accuracy", 1), after = ls_metric("run", "train_accuracy", 0);
    cr_expect(before > 0.2 && before < 0.8, "the base answers both ways: %g", before);
    cr_expect_gt(after, 0.9, "from %g to %g", before, after);
    cr_expect_gt(ls_metric("run", "eval_accuracy", 0), 0.9);
    cr_expect_lt(fabs(ls_metric("run", "train_length", 0) - 3), 0.5, "#7 and its end");
    static const char *const others[] = {"grpo", "dr_grpo"};
    for (int i = 0; i < 2; i++) {
        ls_expect(ls_shell("lockstep train grpo.yaml run=%s grpo.loss=%s", others[i], others[i]), 0, NULL);
        cr_expect_gt(ls_metric(others[i], "train_accuracy", 0), before + 0.1, "%s", others[i]);
    }
    ls_expect(ls_shell("lockstep train grpo.yaml run=shuffled grpo.shuffle_rewards=true"), 0, NULL);
    cr_expect_lt(ls_metric("shuffled", "train_accuracy", 0), 0.85, "rewards of other answers teach nothing");
}

Test(grpo, it_goes_on_in_the_middle_of_an_iteration)
{
    char want[64], got[64];
    const char *how = "grpo.epochs=2 grpo.minibatches=2 grpo.beta=0.02 checkpoint.every=1 checkpoint.keep=2";
    ls_expect(ls_shell("lockstep train grpo.yaml run=whole %s max_steps=10", how), 0, NULL);
    ls_hash_of("whole", want);
    ls_expect(ls_shell("for steps in 1 3 6 10; do lockstep train grpo.yaml run=parts %s optimizer.schedule=constant "
                       "max_steps=$steps || exit 1; done",
                       how),
              0, NULL);
    ls_hash_of("parts", got);
    cr_expect_str_eq(got, want, "stopped after steps 1, 3 and 6 of iterations of 4");
    ls_expect(ls_shell("for i in 1 2 3 4 5 6; do timeout -s KILL 0.$((i * 7 %% 10))5 lockstep train grpo.yaml "
                       "run=killed %s max_steps=10 > /dev/null 2>&1; done; "
                       "lockstep train grpo.yaml run=killed %s max_steps=10",
                       how, how),
              0, NULL);
    ls_hash_of("killed", got);
    cr_expect_str_eq(got, want, "killed wherever it was");
}

Test(grpo, the_reference_never_moves)
{
    ls_expect(ls_shell("lockstep train grpo.yaml grpo.beta=0.1 max_steps=3"), 0, NULL);
    ls_state_entry entry;
    float *base, *reference, *moved;
    cr_assert_eq(ls_checkpoint_read("base", "model/blocks/0/mlp/up/weight", &entry, (void **)&base), LS_OK, "%s",
                 ls_fail_sentence());
    cr_assert_eq(ls_checkpoint_read("run", "model/reference/blocks/0/mlp/up/weight", &entry, (void **)&reference),
                 LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_checkpoint_read("run", "model/blocks/0/mlp/up/weight", &entry, (void **)&moved), LS_OK, "%s",
                 ls_fail_sentence());
    const size_t bytes = (size_t)ls_state_elements(&entry) * sizeof *base;
    cr_expect_eq(memcmp(base, reference, bytes), 0);
    cr_expect_neq(memcmp(base, moved, bytes), 0);
    free(base), free(reference), free(moved);
}

Test(grpo, what_cannot_be_is_refused)
{
    static const struct {
        const char *change, *sentence;
    } rows[] = {
        {"grpo.group=3", "an iteration has 16 rows"},
        {"model.dropout=0.1", "model.dropout is 0.1"},
        {"max_steps=0", "max_steps is not set"},
        {"grpo.max_tokens=30", "raise that or lower max_tokens"},
        {"grpo.loss=ppo", "expected one of grpo, dapo, dr_grpo"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const ls_answer *answer = ls_shell("lockstep train grpo.yaml run=bad%zu %s", i, rows[i].change);
        cr_expect_neq(answer->code, 0, "%s", rows[i].change);
        cr_expect(strstr(answer->output, rows[i].sentence), "%s: %s", rows[i].change, answer->output);
    }
}
