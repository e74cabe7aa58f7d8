/* Kill, resume, another number of ranks: the bits of the undisturbed run. */
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static void begin(void)
{
    ls_fixture_begin();
    ls_fixture_data();
}

TestSuite(resume, .init = begin, .fini = ls_fixture_end, .timeout = 100);

Test(resume, a_four_rank_checkpoint_goes_on_with_three_two_and_one)
{
    char want[64], got[64];
    ls_expect(ls_shell("mpirun --oversubscribe -n 2 lockstep train tiny.yaml max_steps=8 run=straight"), 0, NULL);
    ls_hash_of("straight", want);
    ls_expect(ls_shell("mpirun --oversubscribe -n 4 lockstep train tiny.yaml max_steps=2"), 0, NULL);
    ls_expect(ls_shell("mpirun --oversubscribe -n 3 lockstep train tiny.yaml max_steps=4 batch.schedule=round"), 0, "resuming", "step 2", NULL);
    ls_expect(ls_shell("mpirun --oversubscribe -n 2 lockstep train tiny.yaml max_steps=6"), 0, "step 4", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=8"), 0, "step 6", NULL);
    ls_hash_of("run", got);
    cr_assert_str_eq(got, want);
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=9"), 0, NULL);
    ls_hash_of("run", got);
    cr_assert_str_neq(got, want, "another step is another state: the hash can differ");
}

/* the loss of the step after a resume is that of the undisturbed run, to the last digit. */
Test(resume, the_loss_does_not_jump)
{
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=6 run=straight"), 0, NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=4 && lockstep train tiny.yaml max_steps=6"), 0, NULL);
    const char *losses = "grep -o '\"step\": [0-9]*, \"loss\": [0-9.e+-]*'";
    ls_expect(ls_shell("%s straight/metrics.jsonl > a; %s run/metrics.jsonl > b; wc -l < a; diff a b && echo equal", losses, losses), 0, "6", "equal", NULL);
}

Test(resume, sigterm_finishes_the_step_saves_and_exits_75)
{
    char want[64], got[64];
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=60 checkpoint.every=0 run=straight"), 0, NULL);
    ls_hash_of("straight", want);
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=60 checkpoint.every=0 & pid=$!\n"
                       "until grep -qs '\"step\": 3,' run/metrics.jsonl; do sleep 0.02; done; kill -TERM $pid; wait $pid"), 75, "run the same command again", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=60 checkpoint.every=0"), 0, "resuming", NULL);
    ls_hash_of("run", got);
    cr_assert_str_eq(got, want);
}

/* a step's denominator is its count of tokens, so how rows fall into grains does not weigh them. */
Test(resume, the_loss_of_a_step_does_not_depend_on_the_grain)
{
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=1 model.dropout=0 batch.grain=1 batch.grains=4 run=a"), 0, NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=1 model.dropout=0 batch.grain=4 batch.grains=1 run=b"), 0, NULL);
    const ls_answer *answer = ls_shell("cat a/metrics.jsonl b/metrics.jsonl | grep -o '\"loss\": [0-9.]*' | grep -o '[0-9.]*$'");
    double a, b;
    cr_assert_eq(sscanf(answer->output, "%lf %lf", &a, &b), 2, "%s", answer->output);
    cr_assert_float_eq(a, b, 1e-5 * a);
}

/* 120 rows do not divide into steps of 4 x 9 (12 rows are left: two grains, the second of three rows), nor the last step's grains among three ranks: nobody waits. */
Test(resume, a_short_last_step_ends_the_epoch_on_any_rank_count)
{
    char want[64], got[64];
    const char *epoch = "max_steps=0 data.epochs=1 data.pack=false batch.grain=9 batch.grains=4 optimizer.decay_steps=20";
    ls_expect(ls_shell("lockstep train tiny.yaml %s run=a", epoch), 0, "step 4/4", NULL);
    ls_hash_of("a", want);
    ls_expect(ls_shell("mpirun --oversubscribe -n 3 lockstep train tiny.yaml %s run=b batch.schedule=round", epoch), 0, NULL);
    ls_hash_of("b", got);
    cr_assert_str_eq(got, want);
    ls_expect(ls_shell("mpirun --oversubscribe -n 4 lockstep train tiny.yaml %s run=c batch.schedule=block", epoch), 0, NULL);
    ls_hash_of("c", got);
    cr_assert_str_eq(got, want);
}
