/* The reducer under mpirun: the same bits through shared windows and through MPI, between near and far ranks. */
#include "mpirun.h"

#include <criterion/criterion.h>

static void check(int ranks, const char *arguments, const char *description)
{
    mpirun_result r = mpirun("", ranks, "dist_rank_reduce", "%s", arguments);
    cr_expect_eq(r.exit_code, 0, "%d ranks, %s: exit code %d\n%s", ranks, arguments, r.exit_code, r.output);
    cr_expect(strstr(r.output, description), "%d ranks, %s: %s", ranks, arguments, r.output);
}

Test(reduce_ranks, one_rank_needs_no_transport)
{
    check(0, "best block 0", "block schedule, no exchange");
    check(1, "best round 4096", "round schedule, no exchange");
}

Test(reduce_ranks, the_window_gives_the_tree)
{
    check(2, "best block 0", "block schedule, shared sums");
    check(3, "window block 8192", "block schedule, window transport");
    check(4, "best round 4096", "round schedule, window transport");
    check(3, "window round 0", "round schedule, window transport");
}

Test(reduce_ranks, mpi_gives_the_tree_inside_a_node)
{
    check(2, "mpi round 8192", "round schedule, mpi transport");
    check(3, "mpi block 4096", "block schedule, mpi transport");
}

Test(reduce_ranks, mpi_gives_the_tree_between_nodes)
{
    check(4, "best block 8192 apart", "block schedule, mpi transport");
    check(2, "best block 0 apart", "block schedule, mpi transport");
    check(3, "best round 12288 apart", "round schedule, mpi transport");
    check(4, "best round 0 apart", "round schedule, mpi transport");
}

Test(reduce_ranks, a_window_between_nodes_is_refused)
{
    mpirun_result r = mpirun("", 2, "dist_rank_reduce", "window block 0 apart");
    cr_expect_eq(r.exit_code, 9, "exit code %d\n%s", r.exit_code, r.output);
    cr_expect(strstr(r.output, "transport window does not join rank"), "%s", r.output);
}
