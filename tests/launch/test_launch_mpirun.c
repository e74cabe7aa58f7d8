/* `lockstep launch mpirun` from outside: ranks and hosts die under it, and the run ends with the bits of one that nobody touched. */
#include "tests/launch/fixture.h"

#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

TestSuite(launch_mpirun, .init = fixture_make, .fini = fixture_clean, .timeout = 200);

#define LONG "max_steps=240 checkpoint.every=20"
/* sh: until `steps` steps are in metrics.jsonl of FOLDER/run, or the child ends */
#define AFTER(steps) \
    "until test $(grep -c '\"loss\"' $FOLDER/run/metrics.jsonl 2>/dev/null || :) -ge " #steps " 2>/dev/null; do kill -0 $child || break; done\n"

static void expect_bits_of_one_rank(void)
{
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml " LONG " run=$FOLDER/alone"), 0, "%s", text);
    cr_assert_eq(fixture_run("test $($LOCKSTEP ckpt hash $FOLDER/run) = $($LOCKSTEP ckpt hash $FOLDER/alone) && echo same bits"), 0, "%s", text);
    cr_assert(strstr(text, "same bits"), "%s", text);
}

Test(launch_mpirun, a_killed_rank_costs_steps_and_no_bits)
{
    fixture_recipe("pretrain");
    const int code = fixture_run("$LOCKSTEP launch mpirun $FOLDER/recipe.yaml -n 3 " LONG " & child=$!\n" AFTER(60)
                                 "kill -KILL $(cat $FOLDER/run/log/rank-0001.pid); wait $child");
    cr_assert_eq(code, 0, "%s", text);
    cr_assert(strstr(text, "start 1: 3 rank(s) from the beginning"), "%s", text);
    cr_assert(strstr(text, "start 2: 3 rank(s) from step "), "%s", text);
    cr_assert(strstr(text, " s (rank 1 (") && strstr(text, "died without a word"), "the rank is named: %s", text);
    cr_assert_eq(fixture_count("lockstep launch "), 3, "one line a start and a failure: %s", text);
    expect_bits_of_one_rank();
}

/* Nobody is left to clean up behind it but the launcher: ranks, session folder, shared segments. */
Test(launch_mpirun, a_killed_mpirun_leaves_nothing_behind_and_the_run_goes_on)
{
    fixture_recipe("pretrain");
    const int code = fixture_run("$LOCKSTEP launch mpirun $FOLDER/recipe.yaml -n 3 " LONG " & child=$!\n" AFTER(60)
                                 "mpirun=$(cat /proc/$child/task/$child/children); mpirun=${mpirun%%%% *}\n"
                                 "job=$(printf %%x $(($(sed -n '1s/[.].*//p' $FOLDER/ompi.*/pid.$mpirun/contact.txt) + 1)))\n"
                                 "echo there were $(ls /dev/shm | grep -c vader_segment.*$job)\n"
                                 ": > /dev/shm/osc_sm.$(hostname).$job.7.9 # as of a rank that was killed while it opened a window\n"
                                 "kill -KILL $mpirun; wait $child; code=$?\n"
                                 "ls /dev/shm | grep -E \"(vader_segment|osc_sm).*$job\"; ls -d $FOLDER/ompi.* 2>/dev/null; echo that is left; exit $code");
    cr_assert_eq(code, 0, "%s", text);
    cr_assert(strstr(text, "there were 3\nlockstep launch") || strstr(text, "there were 3\n"), "%s", text);
    cr_assert(strstr(text, "start 2: 3 rank(s) from step "), "%s", text);
    cr_assert_null(strstr(text, "/ompi."), "%s", text);
    cr_assert_null(strstr(text, "vader_segment"), "%s", text);
    cr_assert_null(strstr(text, "osc_sm"), "%s", text);
    expect_bits_of_one_rank();
}

/* In place of mpirun: at the first start it runs two steps and stands (nobody writes into the fifo that it reads), at the second its
 * one child is stopped, then it is the real one. */
#define STANDING \
    "mkdir $FOLDER/bin; mkfifo $FOLDER/fifo; export REAL=$(command -v mpirun)\n" \
    "cat > $FOLDER/bin/mpirun <<'E'\n" \
    "#!/bin/sh\n" \
    "echo >> $FOLDER/starts\n" \
    "case $(wc -l < $FOLDER/starts) in\n" \
    "1) $REAL \"$@\" max_steps=2; read never <> $FOLDER/fifo;;\n" \
    "2) OMPI_COMM_WORLD_RANK=1 sh -c 'kill -STOP $$'; exit 1;;\n" \
    "*) exec $REAL \"$@\";;\n" \
    "esac\n" \
    "E\n" \
    "chmod +x $FOLDER/bin/mpirun; PATH=$FOLDER/bin:$PATH\n"

Test(launch_mpirun, an_mpirun_that_stands_is_ended)
{
    fixture_recipe("pretrain");
    const int code = fixture_run(STANDING "$LOCKSTEP launch mpirun $FOLDER/recipe.yaml -n 2 guard.deadline=1");
    cr_assert_eq(code, 0, "%s", text);
    cr_assert(strstr(text, "mpirun stood still for 10 s after all of its ranks had ended") && strstr(text, "start 2: 2 rank(s) from step 2"), "%s", text);
    cr_assert(strstr(text, "(rank 1 was stopped (process ") && strstr(text, "start 3: 2 rank(s) from step 2"), "%s", text);
}

Test(launch_mpirun, retries_0_starts_once)
{
    fixture_recipe("pretrain");
    cr_assert_eq(fixture_run("$LOCKSTEP launch mpirun $FOLDER/recipe.yaml -n 2 --retries 0 data.train=$FOLDER/nowhere"), 1, "%s", text);
    cr_assert_eq(fixture_count(": start "), 1, "%s", text);
    cr_assert(strstr(text, "--retries 0 asks for no other start: rank ") && strstr(text, "/nowhere"), "%s", text);
}

Test(launch_mpirun, failures_without_a_newer_checkpoint_end_it)
{
    fixture_recipe("pretrain");
    const int code = fixture_run("$LOCKSTEP launch mpirun $FOLDER/recipe.yaml -n 2 --retries 2 data.train=$FOLDER/nowhere");
    cr_assert_eq(code, 1, "%s", text);
    cr_assert_eq(fixture_count(": start "), 2, "%s", text);
    const char *last = strstr(text, "2 failures in a row without a checkpoint newer than the beginning");
    cr_assert(last && strstr(last, "The first one: rank ") && strstr(last, ": data.train: ") && strstr(last, "/nowhere"), "with the rank's sentence: %s", text);
}

Test(launch_mpirun, what_another_start_cannot_mend_is_not_started_again)
{
    fixture_recipe("pretrain");
    cr_assert_eq(fixture_run("$LOCKSTEP launch mpirun $FOLDER/recipe.yaml -n 2 optimizer.lrr=1"), 2, "%s", text);
    cr_assert_eq(fixture_count("nearest: optimizer.lr"), 1, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP launch mpirun $FOLDER/recipe.yaml -n 9"), 2, "%s", text);
    cr_assert(strstr(text, "5 grains a step"), "%s", text);
    /* what only a rank sees */
    cr_assert_eq(fixture_run("OMP_NUM_THREADS=many $LOCKSTEP launch mpirun $FOLDER/recipe.yaml -n 2"), 2, "%s", text);
    cr_assert_eq(fixture_count(": start "), 1, "%s", text);
}

Test(launch_mpirun, a_stop_is_passed_on_and_a_rank_that_stopped_by_itself_goes_on)
{
    fixture_recipe("pretrain");
    const int stopped = fixture_run("$LOCKSTEP launch mpirun $FOLDER/recipe.yaml -n 2 " LONG " & child=$!\n" AFTER(30)
                                    "kill -TERM $child; wait $child");
    cr_assert_eq(stopped, 75, "%s", text);
    cr_assert(strstr(text, "stopped as asked"), "%s", text);
    cr_assert_eq(fixture_count(": start "), 1, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt info $FOLDER/run"), 0, "%s", text);

    const int ended = fixture_run("$LOCKSTEP launch mpirun $FOLDER/recipe.yaml -n 2 " LONG " & child=$!\n" AFTER(100)
                                  "kill -USR1 $(cat $FOLDER/run/log/rank-0001.pid); wait $child");
    cr_assert_eq(ended, 0, "%s", text);
    cr_assert(strstr(text, "(stopped early: ") && fixture_count(": start ") == 2, "%s", text);
    expect_bits_of_one_rank();
}

/* Two hosts, each a name space with a host name of its own; the agent is what ssh is elsewhere. FOLDER/gone names the host that
 * is no longer there. */
#define AGENT \
    "cat > $FOLDER/agent <<'E'\n" \
    "#!/bin/sh\n" \
    "host=$1; shift\n" \
    "grep -qsx \"$host\" $FOLDER/gone && exit 255\n" \
    "echo $$ > $FOLDER/$host.pid\n" \
    "export host; exec unshare -u sh -c 'hostname $host; exec sh -c \"$*\"' sh \"$@\"\n" \
    "E\n" \
    "chmod +x $FOLDER/agent; export OMPI_MCA_plm_rsh_agent=$FOLDER/agent\n"

Test(launch_mpirun, goes_on_with_fewer_ranks_when_a_host_is_gone)
{
    fixture_recipe("pretrain");
    if (fixture_run("unshare -u true"))
        cr_skip_test("unshare is refused here: no second host to kill");
    const int code = fixture_run(
        AGENT "printf 'localhost slots=1\nn2 slots=2 # the one that dies\n' > $FOLDER/hosts\n"
        "$LOCKSTEP launch mpirun $FOLDER/recipe.yaml -n 3 --hostfile $FOLDER/hosts " LONG " & child=$!\n" AFTER(60)
        "echo n2 > $FOLDER/gone; kill -KILL $(cat $FOLDER/n2.pid $FOLDER/run/log/rank-0001.pid $FOLDER/run/log/rank-0002.pid); wait $child");
    cr_assert_eq(code, 0, "%s", text);
    cr_assert(strstr(text, "n2 does not answer: 1 rank(s) instead of 3"), "%s", text);
    cr_assert(strstr(text, "start 2: 1 rank(s) from step "), "%s", text);
    expect_bits_of_one_rank();
}
