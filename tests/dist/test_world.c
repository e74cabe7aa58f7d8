/* The world under mpirun: collectives through the window and through MPI, and what the user reads when a rank fails. */
#include "mpirun.h"

#include <criterion/criterion.h>

/* Seconds. It takes two or three on a quiet machine, more on one that has other work; ranks that nobody told would go on
 * until a deadline of 50 or a sleep of 60 (rank_world.c), so a job that is over by now was ended by the news. */
enum { ENDED = 40 };

static void check_case(int ranks, const char *name)
{
    mpirun_result r = mpirun("", ranks, "dist_rank_world", "%s", name);
    cr_expect_eq(r.exit_code, 0, "%s on %d ranks: exit code %d\n%s", name, ranks, r.exit_code, r.output);
}

Test(world, collectives_hold_for_one_rank_without_mpirun)
{
    check_case(0, "collectives");
    check_case(0, "grain_values");
}

Test(world, collectives_hold_through_the_window)
{
    check_case(2, "collectives");
    check_case(4, "collectives");
    check_case(3, "grain_values");
    check_case(3, "nodes");
}

Test(world, collectives_hold_through_mpi)
{
    check_case(3, "collectives apart");
    check_case(4, "grain_values apart");
    check_case(3, "nodes_apart apart");
}

Test(world, agreement_and_difference_name_the_rank)
{
    check_case(0, "agree");
    check_case(3, "agree");
    check_case(3, "agree apart");
    check_case(2, "same");
    check_case(3, "same apart");
}

static void check_raise(const char *apart)
{
    mpirun_result r = mpirun("", 3, "dist_rank_world", "raises %s", apart);
    cr_expect_eq(r.exit_code, 3, "exit code %d\n%s", r.exit_code, r.output);
    cr_expect_lt(r.seconds, ENDED);
    cr_expect_eq(occurrences(r.output, "the reactor is too hot (812 degrees, limit 800); open the window"), 1,
                 "the sentence of the rank that failed, once:\n%s", r.output);
    cr_expect(strstr(r.output, "rank 1"), "%s", r.output);
}

Test(world, a_rank_that_raises_ends_the_job_with_its_sentence)
{
    check_raise("");
    check_raise("apart");
}

/* With recovery on mpirun lets the others live, so that only lockstep itself can end the job. */
Test(world, a_rank_that_dies_is_named_and_ends_the_job)
{
    mpirun_result alone = mpirun("--enable-recovery", 3, "dist_rank_world", "dies");
    cr_expect_lt(alone.seconds, ENDED);
    cr_expect_eq(occurrences(alone.output, "rank 1 (") >= 1 && strstr(alone.output, "died without a word"), 1, "%s",
                 alone.output);
    mpirun_result usual = mpirun("", 3, "dist_rank_world", "dies apart");
    cr_expect_lt(usual.seconds, ENDED);
    cr_expect_neq(usual.exit_code, 0);
    cr_expect(strstr(usual.output, "rank 1"), "%s", usual.output);
}

static void check_sleep(const char *apart)
{
    mpirun_result r = mpirun("", 3, "dist_rank_world", "sleeps %s", apart);
    cr_expect_eq(r.exit_code, 1, "exit code %d\n%s", r.exit_code, r.output);
    cr_expect_lt(r.seconds, ENDED);
    cr_expect(strstr(r.output, "rank 1 (") && strstr(r.output, "did not come to 'evening roll-call' within 1 s"), "%s",
              r.output);
    cr_expect_null(strstr(r.output, "stood still"), "%s", r.output);
}

Test(world, a_rank_that_sleeps_past_the_deadline_is_named_with_the_phase)
{
    check_sleep("");
    check_sleep("apart");
}

Test(world, a_rank_whose_process_stands_still_is_told_from_a_slow_one)
{
    mpirun_result r = mpirun("", 2, "dist_rank_world", "stops");
    cr_expect_eq(r.exit_code, 1, "exit code %d\n%s", r.exit_code, r.output);
    cr_expect(strstr(r.output, "rank 1 (") && strstr(r.output, "its process has stood still"), "%s", r.output);
}

/* MPI_Finalize too: a run whose last checkpoint was written stood for ever when a rank was stopped there. */
Test(world, a_rank_that_is_stopped_where_mpi_itself_waits_ends_the_job)
{
    static const struct {
        const char *name, *word;
    } rows[] = {{"stops_sharing", "rank 1 ("}, {"stops_at_end", "rank 1 ("}, {"stops_at_start", "not all ranks came to 'start of MPI' within 3 s"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mpirun_result r = mpirun("", 2, "dist_rank_world", "%s", rows[i].name);
        cr_expect_eq(r.exit_code, 1, "%s: exit code %d\n%s", rows[i].name, r.exit_code, r.output);
        cr_expect_lt(r.seconds, ENDED);
        cr_expect(strstr(r.output, rows[i].word), "%s: %s", rows[i].name, r.output);
    }
}

Test(world, ranks_in_different_collectives_are_told_so)
{
    mpirun_result r = mpirun("", 3, "dist_rank_world", "parted");
    cr_expect_eq(r.exit_code, 1, "exit code %d\n%s", r.exit_code, r.output);
    cr_expect(strstr(r.output, "'broadcast of the plan'") && strstr(r.output, "come apart"), "%s", r.output);
}
