/* The promise of the project on its smallest model: losses and weights have the same bits on any number of ranks. */
#include "mpirun.h"

#include <criterion/criterion.h>

Test(toy, one_to_four_ranks_train_to_the_same_bits_in_both_schedules)
{
    static const char *const ways[] = {"block", "round", "round apart"};
    mpirun_result alone = mpirun("", 0, "dist_rank_toy", "block");
    cr_assert_eq(alone.exit_code, 0, "%s", alone.output);
    cr_assert_eq(occurrences(alone.output, "loss"), 6, "%s", alone.output);
    for (int ranks = 1; ranks <= 4; ranks++)
        for (int way = 0; way < (ranks == 4 ? 3 : 2); way++) {
            mpirun_result r = mpirun("", ranks, "dist_rank_toy", "%s", ways[way]);
            cr_assert_eq(r.exit_code, 0, "%d ranks, %s:\n%s", ranks, ways[way], r.output);
            cr_expect_str_eq(r.output, alone.output, "%d ranks, %s:\n%sone rank:\n%s", ranks, ways[way], r.output,
                             alone.output);
        }
}

/* The toy learns: with a loss that stands still the comparison above would mean little. */
Test(toy, the_loss_falls)
{
    mpirun_result r = mpirun("", 0, "dist_rank_toy", "round");
    double first = 0, last = 0;
    cr_assert_eq(sscanf(strstr(r.output, "step 0 "), "step 0 loss %la", &first), 1);
    cr_assert_eq(sscanf(strstr(r.output, "step 4 "), "step 4 loss %la", &last), 1);
    cr_expect_lt(last, first / 2, "%g, then %g", first, last);
}
