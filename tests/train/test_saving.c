/* Checkpoints written while training goes on: the bits of the step they are named after, whatever rule, rank count or
 * clock chose the step. */
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static void begin(void)
{
    ls_fixture_begin();
    ls_fixture_data();
}

TestSuite(saving, .init = begin, .fini = ls_fixture_end, .timeout = 100);

#define RANKS "mpirun --oversubscribe --bind-to none -n "
#define TRAIN "lockstep train tiny.yaml data.eval= checkpoint.keep=99 ema.decay=0.9 "

#define SLOW_DISK                                                                                                      \
    "export LD_PRELOAD=$LS_BUILD/tests/libslow_disk.so ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0; "

static void expect_equal_checkpoints(const char *other, int steps)
{
    for (int step = 1; step <= steps; step++) {
        char a[64], b[64], folder[128];
        snprintf(folder, sizeof folder, "sync/checkpoints/step-%08d", step);
        ls_hash_of(folder, a);
        snprintf(folder, sizeof folder, "%s/checkpoints/step-%08d", other, step);
        ls_expect(ls_shell("lockstep ckpt verify %s", folder), 0, "whole", NULL);
        ls_hash_of(folder, b);
        cr_assert_str_eq(b, a, "%s", folder);
    }
}

Test(saving, beside_training_has_the_bits_of_its_step)
{
    ls_expect(ls_shell(TRAIN "checkpoint.every=1 checkpoint.async=false run=sync max_steps=5"), 0, NULL);
    ls_expect(ls_shell(RANKS "2 " TRAIN "checkpoint.every='1 step' checkpoint.buffer=64Ki run=async max_steps=5"), 0,
              NULL);
    expect_equal_checkpoints("async", 5);
    ls_expect(ls_shell("grep -c 'is saved: .* training waited' async/log/rank-0000.log"), 0, "5", NULL);
    ls_expect(ls_shell(RANKS "3 " TRAIN "checkpoint.every='0.000001 s' run=clock max_steps=5"), 0, NULL);
    expect_equal_checkpoints("clock", 5); /* it is always time */
    ls_expect(ls_shell(TRAIN "checkpoint.every='10 h' run=never max_steps=3 && ls never/checkpoints"), 0,
              "step-00000003", NULL);
    cr_assert_null(strstr(ls_shell("ls never/checkpoints")->output, "step-00000002"));
}

/* A disk slower than training: the optimiser waits for what does not fit into the buffer, and the next save for the one
 * before. */
Test(saving, to_a_slow_disk_has_the_bits_of_its_step)
{
    ls_expect(ls_shell(TRAIN "checkpoint.every=1 checkpoint.async=false run=sync max_steps=4"), 0, NULL);
    ls_expect(ls_shell(SLOW_DISK RANKS "2 " TRAIN "checkpoint.every=1 checkpoint.buffer=64Ki run=slow max_steps=4"), 0,
              "step 2 waits: the checkpoint of step 1 is still being written; raise checkpoint.every", NULL);
    expect_equal_checkpoints("slow", 4);
}

/* Killed while a save is in flight: the older checkpoint is gone on with, on another number of ranks. */
Test(saving, killed_in_the_middle_goes_on_from_the_older)
{
    char want[64], got[64];
    ls_expect(ls_shell(TRAIN "run=straight max_steps=8"), 0, NULL);
    ls_hash_of("straight", want);
    ls_expect(ls_shell("(" SLOW_DISK RANKS "2 " TRAIN
                       "checkpoint.every=2 checkpoint.buffer=64Ki max_steps=20) & pid=$!\n"
                       "until test -d run/checkpoints/step-00000004.partial; do kill -0 $pid || break; done\n"
                       "kill -KILL $(cat run/log/rank-0001.pid); wait $pid; ls run/checkpoints"),
              0, "step-00000002\n", "step-00000004.partial", NULL);
    ls_expect(ls_shell(RANKS "3 " TRAIN "checkpoint.every=2 max_steps=8"), 0,
              "resuming from run/checkpoints/step-00000002", "set aside as", NULL);
    ls_hash_of("run", got);
    cr_assert_str_eq(got, want);
}

Test(saving, what_keep_every_names_stays)
{
    ls_expect(
        ls_shell(TRAIN
                 "checkpoint.every=1 checkpoint.keep=1 checkpoint.keep_every=3 max_steps=8 && ls run/checkpoints"),
        0, NULL);
    cr_assert_str_eq(ls_shell("ls run/checkpoints")->output, "step-00000003\nstep-00000006\nstep-00000008\n");
}

/* A file stands where step 2's folder shall be, and that is no checkpoint; then where all of them shall be. */
Test(saving, what_is_in_the_way_is_set_aside_or_told)
{
    ls_expect(ls_shell("mkdir -p run/checkpoints && touch run/checkpoints/step-00000002 && " TRAIN
                       "checkpoint.every=1 max_steps=3"),
              1, "none of them whole", NULL);
    ls_expect(ls_shell("rm -r run; " TRAIN
                       "checkpoint.every=1 max_steps=2 && printf x | dd of=run/checkpoints/step-00000002/rank-0000.h5 "
                       "bs=1 seek=20000 conv=notrunc && " TRAIN "checkpoint.every=1 max_steps=3"),
              0, "trying the one before", "set aside as", NULL);
    ls_expect(ls_shell("ls -d run/checkpoints/step-00000002.damaged-1 run/checkpoints/step-00000002 "
                       "run/checkpoints/step-00000003"),
              0, NULL);
    ls_expect(ls_shell("rm -r run/checkpoints; touch run/checkpoints; " TRAIN "checkpoint.every=1 max_steps=3"), 1,
              "run/checkpoints", NULL);
}
