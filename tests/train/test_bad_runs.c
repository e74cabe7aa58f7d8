/* Bad input to a run: each is refused with what, where and what to do, with exit code 1 or 2, and nothing that looks
 * whole is left behind. */
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

static void begin(void)
{
    ls_fixture_begin();
    ls_fixture_data();
}

TestSuite(bad_run, .init = begin, .fini = ls_fixture_end, .timeout = 100);

Test(bad_run, recipes_are_refused_before_anything_is_touched)
{
    ls_expect(ls_shell("lockstep train tiny.yaml optimizer.lrr=1"), 2, "optimizer.lrr", "optimizer.lr", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml optimizer.lr=fast"), 2, "optimizer.lr", "fast", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml batch.grain=0"), 2, "batch.grain", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml task=sfd"), 2, "sfd", "sft", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml model.width=33"), 2, "model.width", "model.heads", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml model.kv_heads=3"), 2, "model.kv_heads", NULL);
    ls_expect(ls_shell("lockstep train missing.yaml"), 1, "missing.yaml", NULL);
    cr_assert_neq(access("run", F_OK), 0, "no run folder was made");
}

Test(bad_run, data_that_does_not_fit_is_named)
{
    ls_expect(ls_shell("lockstep train tiny.yaml data.train=nowhere"), 1, "nowhere", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml model.vocabulary=300"), 2, "model.vocabulary is 300", "512", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml batch.tokens=48"), 2, "48", "on_long", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml model.context=64"), 2, "model.context", "batch.tokens", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=0"), 2, "max_steps", "data.epochs", NULL);
    ls_expect(ls_shell(": > empty.jsonl; lockstep data pack --text question --tokenizer tokenizer.json --out empty empty.jsonl"), 1, "empty", NULL);
    cr_assert_neq(access("empty", F_OK), 0, "an empty data set leaves nothing behind");
    cr_assert_neq(access("run", F_OK), 0, "no run folder was made");
}

Test(bad_run, more_ranks_than_grains_are_refused)
{
    ls_expect(ls_shell("mpirun --oversubscribe -n 3 lockstep train tiny.yaml batch.grains=2"), 2, "batch.grains is 2", "3 ranks", NULL);
}

Test(bad_run, a_flipped_byte_in_a_shard_stops_training)
{
    ls_shell("printf '\\377' | dd of=sft/shard-00000.h5 bs=1 seek=$(($(stat -c %%s sft/shard-00000.h5) / 2)) conv=notrunc");
    const ls_answer *verify = ls_shell("lockstep data verify sft");
    ls_expect(verify, 1, "shard-00000.h5", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml"), 1, "shard-00000.h5", NULL);
    /* in the middle of a step, with an exchange on its way that is given up: the cause is told, not that */
    ls_expect(ls_shell("mpirun --oversubscribe -n 2 lockstep train tiny.yaml"), 1, "ERROR world: rank ", "shard-00000.h5", NULL);
}

Test(bad_run, a_run_folder_of_another_recipe_is_refused_and_left_alone)
{
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=2"), 0, NULL);
    const ls_answer *before = ls_shell("lockstep ckpt hash run");
    char hash[64];
    snprintf(hash, sizeof hash, "%.63s", before->output);
    ls_expect(ls_shell("lockstep train tiny.yaml optimizer.lr=1e-2"), 1, "another recipe", "lr", "run=NEW", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml data.train=text"), 1, "another recipe", NULL);
    cr_assert_str_eq(ls_shell("lockstep ckpt hash run")->output, hash, "the run is as it was");
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=3 threads=2 batch.schedule=round"), 0, NULL);
}

Test(bad_run, a_folder_from_before_a_key_was_known_goes_on_with_its_default)
{
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=2"), 0, NULL);
    /* as an older lockstep wrote it: without a key in the middle of a section, and without a whole section */
    ls_expect(ls_shell("sed -i -e '/^  nesterov:/d' -e '/^guard:/,/^[a-z]/{/^guard:/d;/^  /d}' run/recipe.fixed.yaml && "
                       "grep -q weight_decay: run/recipe.fixed.yaml && ! grep -q guard: run/recipe.fixed.yaml"), 0, NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=4 guard.spike=9"), 1, "another recipe", "spike", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=4"), 0, NULL);
}

Test(bad_run, other_data_under_the_same_name_is_refused)
{
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=2"), 0, NULL);
    ls_expect(ls_shell("rm -r sft && head -n 100 train.jsonl > less.jsonl && "
                       "lockstep data pack --prompt question --response answer --tokenizer tokenizer.json --out sft less.jsonl"), 0, NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=4"), 1, "other data", "hash", NULL);
}

Test(bad_run, a_folder_that_cannot_be_made_is_named)
{
    ls_expect(ls_shell("lockstep train tiny.yaml run=train.jsonl/run"), 1, "train.jsonl", "run=FOLDER", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml run=/proc/run"), 1, "/proc", "run=FOLDER", NULL);
}

Test(bad_run, a_disk_that_fills_up_is_told_and_leaves_no_checkpoint_that_looks_whole)
{
    if (ls_shell("mkdir small && mount -t tmpfs -o size=1500k none small")->code != 0)
        cr_skip_test("a small disk cannot be mounted here: that takes root");
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=2 run=small/run"), 0, NULL);
    ls_expect(ls_shell("dd if=/dev/zero of=small/filler bs=1k count=4096; truncate -s -100k small/filler; "
                       "lockstep train tiny.yaml max_steps=4 run=small/run"), 1, "space", "last good: step 2", NULL);
    ls_expect(ls_shell("lockstep ckpt verify small/run; ls small/run/checkpoints"), 0, "step-00000002", NULL);
    ls_expect(ls_shell("rm small/filler; lockstep train tiny.yaml max_steps=4 run=small/run && lockstep ckpt hash small/run && umount small"), 0,
              "resuming", NULL);
}
