/* Guards: steps that are not finite are skipped on every rank alike and stop the run when they do not end; a spike goes
 * back to the last checkpoint; replicas that differ are named. Faults are planted by faulty_lockstep.c. */
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(void)
{
    char path[4096];
    ls_fixture_begin();
    ls_fixture_data();
    snprintf(path, sizeof path, "%s/tests/train_faulty_lockstep", getenv("LS_BUILD"));
    setenv("FAULTY", path, 1);
}

TestSuite(guard, .init = begin, .fini = ls_fixture_end, .timeout = 300);

#define MPIRUN(ranks) "mpirun --oversubscribe --bind-to none -n " #ranks " "

Test(guard, a_step_that_is_not_finite_is_skipped_alike_on_any_ranks)
{
    char one[64], three[64], without[64];
    setenv("LS_FAULT", "nan -1 2 3", 1);
    ls_expect(ls_shell("$FAULTY train tiny.yaml run=one hash_log=true"), 0, "step 3 is skipped: the loss is", "(in grain 3 first)", "(1 in a row",
              "grain 3 has loss", "its samples: ", "step 4 is skipped", "(2 in a row", NULL);
    ls_expect(ls_shell(MPIRUN(3) "$FAULTY train tiny.yaml run=three batch.schedule=round"), 0, "step 4 is skipped", NULL);
    unsetenv("LS_FAULT");
    ls_expect(ls_shell("$FAULTY train tiny.yaml run=without"), 0, NULL);
    ls_hash_of("one", one);
    ls_hash_of("three", three);
    ls_hash_of("without", without);
    cr_expect_str_eq(one, three);
    cr_expect_str_neq(one, without, "the fault was there");
    /* lines of steps 2, 3, 4, 5 without step, loss and gradients: the second and third are as the first, the fourth is not */
    ls_expect(ls_shell("sed 's/.*\"parameters\"/p/; s/\"gradients\".*\"moments\"/m/' one/hashes.jsonl > states; "
                       "for n in 2 3 4 5; do sed -n ${n}p states | sed 's/\"train.step\"[^,}]*//; s/\"sampler.position\"[^,}]*//' > s$n; done; "
                       "cmp s2 s3 && cmp s2 s4 && ! cmp -s s4 s5"), 0, NULL);
    ls_expect(ls_shell("cat three/metrics.jsonl | while read line; do echo \"$line\" | python3 -c 'import json,sys; json.loads(sys.stdin.read())' || exit 1; done; "
                       "grep -c '\"loss\": null.*\"skipped\": 1' three/metrics.jsonl"), 0, "2\n", NULL);
}

Test(guard, skips_are_no_difference_to_prove)
{
    setenv("LS_FAULT", "nan -1 1 1", 1);
    ls_expect(ls_shell("$FAULTY prove tiny.yaml --steps 4 --ranks 1,3 --threads 1"), 0, "All 5 trials agree", "killed after step", NULL);
}

Test(guard, more_than_max_skips_in_a_row_end_the_run)
{
    setenv("LS_FAULT", "nan -1 2 99", 1);
    ls_expect(ls_shell(MPIRUN(2) "$FAULTY train tiny.yaml guard.max_skips=1"), 1, "step 3 is skipped",
              "step 4: the loss is ", "in 2 steps in a row (guard.max_skips is 1)", NULL);
    ls_expect(ls_shell("ls run/checkpoints"), 0, "step-00000002", NULL);
    cr_expect_null(strstr(ls_shell("ls run/checkpoints")->output, "step-00000004"), "no checkpoint of what failed");
    ls_expect(ls_shell("$FAULTY train tiny.yaml run=strict guard.max_skips=0"), 1, "step 3: the loss is", NULL);
    ls_expect(ls_shell("lockstep status strict"), 0, "strict: failed, step 3 of 6", "rank 0 said: step 3: the loss is", NULL);
}

/* Statistics of batch norm are neither gradient nor weight, and must be left alone too. */
Test(guard, running_statistics_are_left_alone)
{
    char one[64], three[64];
    ls_fixture_images();
    setenv("LS_FAULT", "nan -1 1 1", 1);
    ls_expect(ls_shell("$FAULTY train digits.yaml batch.grains=4 max_steps=4 run=one hash_log=true"), 0, "step 2 is skipped", NULL);
    ls_expect(ls_shell(MPIRUN(3) "$FAULTY train digits.yaml batch.grains=4 max_steps=4 run=three"), 0, "step 2 is skipped", NULL);
    ls_hash_of("one", one);
    ls_hash_of("three", three);
    cr_expect_str_eq(one, three);
    ls_expect(ls_shell("sed 's/.*\"parameters\"/p/; s/\"gradients\".*\"moments\"/m/; s/\"task\".*//' one/hashes.jsonl > states; "
                       "for n in 1 2 3; do sed -n ${n}p states > s$n; done; grep -q mean s1 && cmp s1 s2 && ! cmp -s s2 s3"), 0, NULL);
}

/* The row that begins with sample 3 is drawn twice in 25 steps; the first time there is no median yet. Checkpoints that an end
 * left between are not gone back to, and those after the one that is are removed. */
Test(guard, a_spike_goes_back_and_leaves_its_data_out)
{
    char one[64], three[64], resumed[64], without[64];
    setenv("LS_FAULT", "spike -1 3 0", 1);
    ls_expect(ls_shell("$FAULTY train tiny.yaml run=one guard.spike=8 checkpoint.every=4 max_steps=25"), 0, "times its running median",
              "(guard.spike is 8): back to the checkpoint of step 20, without the data drawn since", NULL);
    ls_expect(ls_shell(MPIRUN(3) "$FAULTY train tiny.yaml run=three guard.spike=8 checkpoint.every=4 max_steps=25"), 0, "back to the checkpoint", NULL);
    ls_expect(ls_shell("for n in 18 21 22 23 25; do $FAULTY train tiny.yaml run=resumed guard.spike=8 checkpoint.every=4 max_steps=$n || exit 1; done"), 0, NULL);
    ls_expect(ls_shell("$FAULTY train tiny.yaml run=without checkpoint.every=4 max_steps=25"), 0, NULL);
    ls_hash_of("one", one);
    ls_hash_of("three", three);
    ls_hash_of("resumed", resumed);
    ls_hash_of("without", without);
    cr_expect_str_eq(one, three);
    cr_expect_str_eq(one, resumed);
    cr_expect_str_neq(one, without);
    ls_expect(ls_shell("$FAULTY train tiny.yaml run=one guard.spike=9 checkpoint.every=4 max_steps=25"), 1, "another recipe", "spike", NULL);
}

Test(guard, replicas_that_differ_are_named_before_a_checkpoint)
{
    setenv("LS_FAULT", "copy 1 3 3", 1);
    ls_expect(ls_shell(MPIRUN(3) "$FAULTY train tiny.yaml guard.replicas_every=1"), 1, "step 4: the ranks' working weights differ in blocks/",
              ": rank 1 (", "has other ones than the other 2", "No checkpoint is written", NULL);
    ls_expect(ls_shell("ls run/checkpoints"), 0, "step-00000002", NULL);
    cr_expect_null(strstr(ls_shell("ls run/checkpoints")->output, "step-00000004"));
    /* also right before a checkpoint, whatever the interval; and two cannot say who is right */
    ls_expect(ls_shell(MPIRUN(2) "$FAULTY train tiny.yaml run=two guard.replicas_every=1000"), 1, "step 4: the ranks'", "which is right is not known", NULL);
    unsetenv("LS_FAULT");
    ls_expect(ls_shell(MPIRUN(3) "$FAULTY train tiny.yaml run=well guard.replicas_every=1"), 0, NULL);
}
