/* Deadlines from outside: a rank that stands still, one that hangs, and one that is only slow are told apart, and what a
 * user reads names rank and phase. Faults are planted by faulty_lockstep.c and by signals. */
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

TestSuite(deadline, .init = begin, .fini = ls_fixture_end, .timeout = 150);

#define MPIRUN(ranks) "mpirun --oversubscribe --bind-to none -n " #ranks " "

static int occurrences(const char *text, const char *word)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, word)); at++)
        count++;
    return count;
}

Test(deadline, a_rank_that_stands_still_is_named_once_and_every_rank_says_where_it_was)
{
    const ls_answer *answer = ls_shell(MPIRUN(3) "lockstep train tiny.yaml max_steps=100000 guard.deadline=3 >said 2>&1 & job=$!\n"
                                       "until test -s run/metrics.jsonl; do sleep 0.1; done\n"
                                       "kill -STOP $(cat run/log/rank-0001.pid); wait $job; echo \"code $?\"; cat said");
    ls_expect(answer, 0, "code 1\n", "rank 1 (", " did not come to '", "within 3 s", "its process was stopped in '", "of step ", NULL);
    cr_expect_eq(occurrences(answer->output, "did not come to"), 1, "one summary:\n%s", answer->output);
    ls_expect(ls_shell("cat run/log/rank-0000.log"), 0, "a deadline passed; this rank is in '", "it waits in '", "for rank 1", "  #0 ", NULL);
    ls_expect(ls_shell("cat run/log/rank-0002.log"), 0, "a deadline passed; this rank is in '", "  #0 ", NULL);
}

/* With recovery on mpirun lets the others live, so that only lockstep itself can end the job. */
Test(deadline, a_rank_that_dies_is_named_with_the_step_it_died_in)
{
    ls_expect(ls_shell("mpirun --enable-recovery --oversubscribe --bind-to none -n 2 lockstep train tiny.yaml max_steps=100000 >said 2>&1 & job=$!\n"
                       "until test -s run/metrics.jsonl; do sleep 0.1; done\n"
                       "kill -KILL $(cat run/log/rank-0001.pid); wait $job; cat said"), 0, "rank 1 (", "died without a word", "; it was in '", "of step ", NULL);
}

Test(deadline, a_rank_that_hangs_is_named_with_its_backtrace)
{
    setenv("LS_FAULT", "hang 1 2 2", 1);
    const ls_answer *answer = ls_shell(MPIRUN(2) "$FAULTY train tiny.yaml guard.deadline=2");
    ls_expect(answer, 1, "rank 1 (", "it hangs: its process runs, but is in 'forward' of step 3", NULL);
    cr_expect_eq(occurrences(answer->output, "did not come to"), 1, "%s", answer->output);
    ls_expect(ls_shell("cat run/log/rank-0001.log"), 0, "a deadline passed; this rank is in 'forward' of step 3", "pause", "ls_train", NULL);
}

Test(deadline, a_rank_that_is_slow_is_waited_for)
{
    setenv("LS_FAULT", "lazy 1 1 1", 1);
    ls_expect(ls_shell(MPIRUN(2) "$FAULTY train tiny.yaml guard.deadline=3 max_steps=3 batch.grains=10"), 0, "rank 1 (", ") is slow: '",
              "has waited for it for 3 s. It works: it is in '", NULL);
}

Test(deadline, a_straggler_is_in_the_metrics_and_warned_of)
{
    setenv("LS_FAULT", "slow 2 0 99", 1);
    ls_expect(ls_shell(MPIRUN(3) "$FAULTY train tiny.yaml max_steps=21 batch.grains=3"), 0, "rank 2 (", ") is slow: its own work takes", NULL);
    ls_expect(ls_shell("grep slowest_rank run/metrics.jsonl | tail -n 1"), 0, "\"rank_seconds\": [", "\"slowest_rank\": ", "\"slowest_rank_share\": ", "\"median_rank_seconds\"", NULL);
    /* of single steps some neighbour on the machine may be to blame */
    ls_expect(ls_shell("awk '/slowest_rank\": /{n++} /slowest_rank\": 2,/{its++} END{print (n && 2 * its > n) ? \"mostly rank 2\" : its \" of \" n}' run/metrics.jsonl"), 0, "mostly rank 2", NULL);
}
