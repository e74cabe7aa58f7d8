/* `lockstep status` from outside: on runs that go on, hang, were killed, failed or are over; and on records that are not
 * what they should be. */
#include "tests/launch/fixture.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(status, .init = fixture_make, .fini = fixture_clean, .timeout = 100);

/* A shell's functions: STATUS until it says WORD; the process of a rank. */
#define TOOLS                                                                                                          \
    "wait_for() { for i in $(seq 300); do $LOCKSTEP status $FOLDER/run 2>&1 | grep -q \"$1\" && return 0; sleep 0.1; done; "                           \
    "echo \"never said: $1\"; $LOCKSTEP status $FOLDER/run; return 1; }\n"                                             \
    "pid_of() { cat $FOLDER/run/log/rank-000$1.pid; }\n"
#define START(ranks) "mpirun --oversubscribe --bind-to none -n " #ranks " $LOCKSTEP train $FOLDER/recipe.yaml max_steps=1000000 >$FOLDER/said 2>&1 & job=$!\n"

static void expect_said(const char *word)
{
    cr_expect(strstr(text, word), "'%s' is not in:\n%s", word, text);
}

Test(status, a_stopped_rank_of_a_hung_run_is_named)
{
    fixture_recipe("pretrain");
    cr_expect_eq(fixture_run(TOOLS START(4) "wait_for ': running, step [1-9][0-9]' || exit 1\n"
                                            "kill -STOP $(pid_of 2); wait_for 'hangs' || exit 1\n"
                                            "sleep 1; $LOCKSTEP status --events 4 $FOLDER/run\n"
                                            "echo \"is $(pid_of 2)\"; kill -CONT $(pid_of 2); wait_for ': running' || exit 1\n"
                                            "kill -TERM $job; wait $job; $LOCKSTEP status $FOLDER/run"),
                 0, "%s", text);
    expect_said("run: hangs, step ");
    expect_said("rank 2 holds the others up: its process ");
    expect_said("was stopped by a signal");
    cr_expect_eq(fixture_count("STOPPED"), 1, "%s", text);
    expect_said("  rank 2\n"); /* someone waits for it */
    expect_said("exchange: ");
    expect_said("stopped early with a checkpoint");
    expect_said("last checkpoint: step ");
}

Test(status, a_killed_run_is_dead_at_its_step)
{
    fixture_recipe("pretrain");
    cr_expect_eq(fixture_run(TOOLS START(2) "wait_for ': running, step [1-9]' || exit 1\n"
                                            "kill -KILL $(pid_of 0) $(pid_of 1); wait $job; wait_for ': dead' || exit 1\n"
                                            "$LOCKSTEP status $FOLDER/run"),
                 0, "%s", text);
    expect_said("run: dead, step ");
    cr_expect_eq(fixture_count(" DEAD "), 2, "%s", text);
    expect_said("last checkpoint: none");
    expect_said("of 1000000");
    expect_said("No rank came to its end");
}

Test(status, a_finished_run_and_one_that_failed)
{
    fixture_recipe("pretrain");
    cr_assert_eq(fixture_run("mpirun --oversubscribe -n 3 $LOCKSTEP train $FOLDER/recipe.yaml && $LOCKSTEP status $FOLDER/run"), 0, "%s", text);
    expect_said("run: finished, step 4 of 4");
    expect_said("last checkpoint: step 4, 0 steps behind");
    cr_expect_eq(fixture_count("  finished  "), 3, "%s", text);
    /* fewer ranks go on: those of the start before are gone */
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml max_steps=5 && $LOCKSTEP status $FOLDER/run"), 0, "%s", text);
    cr_expect_eq(fixture_count("  finished  "), 1, "%s", text);
    cr_expect_eq(fixture_run("test -f $FOLDER/run/flight.previous/rank-0002 && test ! -e $FOLDER/run/flight/rank-0001"), 0);
}

Test(status, records_that_are_damaged_or_missing_are_told)
{
    fixture_recipe("pretrain");
    cr_assert_eq(fixture_run("mpirun --oversubscribe -n 3 $LOCKSTEP train $FOLDER/recipe.yaml && cd $FOLDER/run/flight && "
                             "truncate -s 700 rank-0001 && echo hello > rank-0002 && cp rank-0000 rank-0003 && echo x > rank-x && "
                             "$LOCKSTEP status $FOLDER/run"),
                 0, "%s", text);
    expect_said("run: finished");
    expect_said("   1  ");
    expect_said("rank-0001: the flight record has 700 bytes");
    expect_said("rank-0002: no flight record");
    expect_said("rank-0003: it is of rank 0");
    cr_assert_eq(fixture_run("rm -r $FOLDER/run/flight; $LOCKSTEP status $FOLDER/run"), 1, "%s", text);
    expect_said("no rank has begun there");
    cr_assert_eq(fixture_run("$LOCKSTEP status $FOLDER/nowhere"), 1, "%s", text);
    expect_said("no such run folder");
}
