/* The reducer over NCCL, on the emulation of CUDA: the tree's bits on any number of ranks and in any order that streams
 * allow, what a missing wait does, and what a user reads when a rank fails. */
#include "dist/nccl/nccl.h"
#include "dist/loopback.h"
#include "mpirun.h"

#include <criterion/criterion.h>

static void check(int ranks, const char *arguments, const char *description)
{
    mpirun_result r = mpirun("", ranks, "dist_rank_nccl", "%s", arguments);
    cr_expect_eq(r.exit_code, 0, "%d ranks, %s: exit code %d\n%s", ranks, arguments, r.exit_code, r.output);
    cr_expect(strstr(r.output, description), "%d ranks, %s: %s", ranks, arguments, r.output);
}

Test(nccl, exact_gives_the_tree_on_any_number_of_ranks)
{
    check(1, "exact block 8192 seeds=1", "block schedule, no exchange");
    check(2, "exact round 8192", "round schedule, NCCL 2.28.3, exact sums");
    check(3, "exact block 12288", "block schedule, NCCL 2.28.3, exact sums");
    check(3, "exact round 0 seeds=6", "round schedule, NCCL 2.28.3, exact sums");
    check(4, "exact block 8192", "block schedule, NCCL 2.28.3, exact sums");
    check(5, "exact block 8192 seeds=1", "block schedule, NCCL 2.28.3, exact sums"); /* ten nodes: in pieces */
}

Test(nccl, sums_of_a_machine_leave_it_as_one)
{
    check(4, "exact block 8192 machines=2", "exact sums");
    check(4, "exact round 8192 machines=2", "exact sums");
    check(5, "exact block 4096 machines=2 seeds=1", "exact sums");
}

Test(nccl, fast_gives_the_sum_within_rounding)
{
    check(2, "fast round 8192", "round schedule, NCCL 2.28.3, fast sums");
    check(3, "fast block 8192", "block schedule, NCCL 2.28.3, fast sums");
}

/* Under the checks of every access of the sums' kernels. */
Test(nccl, kernels_stay_inside_their_memory)
{
    setenv("CUDAHOST_CHECK", "1", 1);
    check(2, "exact round 8192 seeds=1", "exact sums");
}

/* A wait of one stream for the other that is left out is not harmless: the emulation shows it. */
Test(nccl, a_missing_wait_shows_as_wrong_bits)
{
    static const char *const planted[] = {"exact block 8192 drop=communication", "exact round 8192 drop=communication", "exact round 8192 drop=compute"};
    for (int k = 0; k < 3; k++) {
        mpirun_result r = mpirun("", 2, "dist_rank_nccl", "%s seeds=10", planted[k]);
        cr_expect_eq(r.exit_code, 9, "%s: exit code %d\n%s", planted[k], r.exit_code, r.output);
        cr_expect(strstr(r.output, "the sum does not hold"), "%s: %s", planted[k], r.output);
    }
}

static void check_fault(const char *options, const char *arguments, int exit_code, const char *sentence)
{
    mpirun_result r = mpirun(options, 2, "dist_rank_nccl", "%s", arguments);
    cr_expect(exit_code < 0 || r.exit_code == exit_code, "%s: exit code %d\n%s", arguments, r.exit_code, r.output);
    cr_expect_lt(r.seconds, 40);
    cr_expect(strstr(r.output, sentence), "%s: %s", arguments, r.output);
}

Test(nccl, a_rank_that_dies_is_named)
{
    check_fault("--enable-recovery", "fast round 8192 dies", -1, "died without a word");
    check_fault("--enable-recovery", "exact round 4096 dies_awaited", -1, "died without a word");
}

Test(nccl, a_rank_that_is_late_or_stopped_is_named)
{
    check_fault("", "exact round 8192 late", 1, "did not come to 'gradient exchange' within 4 s");
    check_fault("", "exact round 4096 late_awaited", 1, "gradient exchange: not done 4 s after it was queued");
    check_fault("", "exact block 8192 stops", 1, "its process has stood still");
}

Test(nccl, two_ranks_on_one_device_are_told_so)
{
    check_fault("", "exact block 0 shared", 1, "CUDA device 0, NCCL 2.28.3: ncclCommInitRankConfig: invalid usage");
}

static ls_status no_device(ls_device *device, ls_device **beside)
{
    (void)device, (void)beside;
    return ls_fail(LS_EIO, "NCCL 2: a device after all, but not for this test");
}

/* NVIDIA's, as far as it goes where no device is: the module loads, with all that it needs of the program. */
Test(nccl, a_build_with_nccl_has_the_module)
{
    ls_world *world;
    ls_exchange *exchange;
    ls_device device = {.create_beside = no_device};
    cr_assert_eq(ls_loopback_open(&world, 1, &(ls_world_options){.deadline = 10}), LS_OK);
    cr_expect_neq(ls_nccl_open(&exchange, world, &device, LS_NCCL_EXACT), LS_OK);
    cr_expect(strstr(ls_fail_sentence(), LS_TEST_NCCL), "%s", ls_fail_sentence());
    ls_world_close(world);
}
