/* Sums of row gradients under mpirun: the same rows and bits through shared windows and through MPI. */
#include "mpirun.h"

#include <criterion/criterion.h>

static void check(int ranks, const char *arguments)
{
    mpirun_result r = mpirun("", ranks, "dist_rank_rows", "%s", arguments);
    cr_expect_eq(r.exit_code, 0, "%d ranks, %s: exit code %d\n%s", ranks, arguments, r.exit_code, r.output);
}

Test(rows_ranks, give_the_tree_inside_a_node)
{
    check(0, "best block");
    check(2, "best block");
    check(4, "best round");
    check(3, "mpi round");
}

Test(rows_ranks, give_the_tree_between_nodes)
{
    check(3, "best block apart");
    check(2, "best round apart");
}
