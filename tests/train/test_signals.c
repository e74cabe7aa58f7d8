/* SIGTERM, SIGINT and SIGUSR1 under mpirun: whichever ranks get one, and whenever, all finish the same step, write a
 * checkpoint and end with 75; a second signal ends at once. */
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static void begin(void)
{
    char path[4096];
    ls_fixture_begin();
    ls_fixture_data();
    snprintf(path, sizeof path, "%s/tests/train_faulty_lockstep", getenv("LS_BUILD"));
    setenv("FAULTY", path, 1);
}

TestSuite(signals, .init = begin, .fini = ls_fixture_end, .timeout = 100);

/* Starts `lockstep` on ranks, waits for its first step, and lets `p` be the processes of the ranks. */
#define START(ranks)                                                                                                   \
    "mpirun --oversubscribe --bind-to none -n " #ranks " $FAULTY train tiny.yaml max_steps=100000 checkpoint.every=0 eval_every=0 $MORE >said 2>&1 & job=$!\n"  \
    "until grep -q '\"step\": 1,.*\"lr\"' run/metrics.jsonl 2>/dev/null; do kill -0 $job || exit 1; sleep 0.05; done\n"     \
    "for r in 0 1 2; do eval p$r=$(cat run/log/rank-000$r.pid 2>/dev/null); done\n"
#define END "wait $job; code=$?; cat said; ls run/checkpoints; lockstep status run; exit $code"

Test(signals, one_rank_told_ends_all_at_the_same_step_and_the_run_goes_on)
{
    char stopped[64], straight[64];
    ls_expect(ls_shell(START(3) "kill -USR1 $p2\n" END), 75, "stopped by a signal at step ", "checkpoint written", "step-0", "stopped early with a checkpoint",
              NULL);
    /* the same steps as if nothing had happened */
    ls_expect(ls_shell("n=$(ls run/checkpoints | sed 's/step-0*//'); n=$((n + 2)); $FAULTY train tiny.yaml max_steps=$n && "
                       "$FAULTY train tiny.yaml run=straight max_steps=$n"), 0, "resuming from", NULL);
    ls_hash_of("run", stopped);
    ls_hash_of("straight", straight);
    cr_expect_str_eq(stopped, straight);
}

Test(signals, ranks_may_be_told_at_different_moments)
{
    ls_expect(ls_shell(START(3) "kill -TERM $p0; sleep 0.01; kill -INT $p1; sleep 0.02; kill -USR1 $p2\n" END), 75, "checkpoint written", "step-0", NULL);
}

/* In the middle of a step of some seconds, which is not finished then. */
Test(signals, the_second_ends_at_once)
{
    setenv("LS_FAULT", "lazy -1 1 1", 1);
    setenv("MORE", "batch.grains=20", 1);
    ls_expect(ls_shell(START(2) "sleep 0.5; kill -TERM $p0 $p1; sleep 0.2; kill -TERM $p0 $p1\n"
                                "wait $job; code=$?; grep '\"step\": 2' run/metrics.jsonl && exit 1; test ! -e run/checkpoints/step-00000002 || exit 2; exit $code"),
              75, NULL);
}
