/* `lockstep ckpt` from outside: one hash whatever the ranks, damage named with exit code 1, foreign weights brought in.
 */
#include "checkpoint/checkpoint.h"
#include "tests/launch/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(ckpt, .init = fixture_make, .fini = fixture_clean, .timeout = 100);

#define MPIRUN  "mpirun --oversubscribe --bind-to none -n "
#define STORIES "$LS_SOURCE/tests/data/stories260K/"

Test(ckpt, one_hash_whatever_the_ranks)
{
    char one[64];
    fixture_recipe("pretrain");
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml max_steps=2 run=$FOLDER/one"), 0, "%s", text);
    cr_assert_eq(fixture_run(MPIRUN "3 $LOCKSTEP train $FOLDER/recipe.yaml max_steps=2 run=$FOLDER/three"), 0, "%s",
                 text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt hash $FOLDER/one"), 0, "%s", text);
    snprintf(one, sizeof one, "%.60s", text);
    cr_assert_eq(strlen(one), 17, "16 digits and a line's end: %s", one);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt hash $FOLDER/three/checkpoints/step-00000002"), 0, "%s", text);
    cr_assert_str_eq(text, one);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt info $FOLDER/three"), 0, "%s", text);
    cr_assert(strstr(text, one) && strstr(text, "of 3 ranks") && strstr(text, "model/embedding/token/weight"), "%s",
              text);
    cr_assert_eq(
        fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml max_steps=3 optimizer.schedule=constant run=$FOLDER/one"), 0);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt hash $FOLDER/one"), 0);
    cr_assert_str_neq(text, one, "a step later");
}

Test(ckpt, verify_names_what_is_damaged)
{
    fixture_recipe("pretrain");
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml checkpoint.every=2"), 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt verify $FOLDER/run"), 0, "%s", text);
    cr_assert(strstr(text, "step-00000004: whole"), "%s", text);
    cr_assert_eq(fixture_run("mpirun --oversubscribe -n 3 $LOCKSTEP ckpt verify $FOLDER/run"), 0, "%s", text);
    cr_assert_eq(fixture_count("step-00000004: whole"), 1, "one verdict: %s", text);
    cr_assert_eq(fixture_run("printf x | dd of=$FOLDER/run/checkpoints/step-00000004/rank-0000.h5 bs=1 seek=20000 "
                             "conv=notrunc status=none"),
                 0);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt verify $FOLDER/run"), 1);
    cr_assert(strstr(text, "lockstep ckpt verify: ") && strstr(text, "step-00000004/rank-0000.h5"), "%s", text);
    cr_assert_eq(fixture_run("mpirun --oversubscribe -n 3 $LOCKSTEP ckpt verify $FOLDER/run"), 1);
    cr_assert_eq(fixture_count("lockstep ckpt verify: "), 1, "%s", text);
    cr_assert_eq(
        fixture_run("rm -r $FOLDER/run/checkpoints/step-00000004/checkpoint.h5; $LOCKSTEP ckpt info $FOLDER/run"), 0);
    cr_assert(strstr(text, "step        2"), "the newest whole one: %s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt info $FOLDER/data"), 1);
    cr_assert(strstr(text, "no checkpoint here"), "%s", text);
}

Test(ckpt, bad_usage_is_2_and_says_how)
{
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt"), 2);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt inform $FOLDER"), 2);
    cr_assert(strstr(text, "info, verify, hash, import and export"), "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt import x.bin"), 2);
    cr_assert(strstr(text, "`export`, which need it"), "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt import x.bin --out $FOLDER/x"), 2);
    cr_assert(strstr(text, "x.bin: neither a folder with config.json"), "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt --help"), 0);
}

#define IMPORT "$LOCKSTEP ckpt import " STORIES "stories260K.bin --tokenizer "

Test(ckpt, llama2c_weights_are_brought_in_to_the_bit)
{
    cr_assert_eq(fixture_run(IMPORT STORIES "tok512.bin --out $FOLDER/stories"), 0, "%s", text);
    cr_assert_eq(fixture_run("cmp $FOLDER/stories/tokenizer/tok512.bin " STORIES "tok512.bin"), 0);
    cr_assert_eq(fixture_run("cat $FOLDER/stories/recipe.yaml"), 0);
    cr_assert(strstr(text, "style: llama") && strstr(text, "kv_heads: 4") && strstr(text, "rope_interleaved: true"),
              "%s", text);
    /* the embedding is the first array of the file, behind seven integers */
    char path[4096];
    ls_state_entry entry;
    void *data;
    static float want[512 * 64];
    snprintf(path, sizeof path, "%s/tests/data/stories260K/stories260K.bin", getenv("LS_SOURCE"));
    FILE *file = fopen(path, "rb");
    fseek(file, 28, SEEK_SET);
    cr_assert_eq(fread(want, sizeof want, 1, file), 1);
    fclose(file);
    snprintf(path, sizeof path, "%s/stories", folder);
    cr_assert_eq(ls_checkpoint_read(path, "model/embedding/token/weight", &entry, &data), LS_OK, "%s",
                 ls_fail_sentence());
    cr_assert(entry.ndim == 2 && entry.shape[0] == 512 && entry.shape[1] == 64 && entry.type == LS_F32);
    cr_assert_eq(memcmp(data, want, sizeof want), 0);
    free(data);
}

Test(ckpt, an_import_that_fails_leaves_nothing)
{
    cr_assert_eq(fixture_run(IMPORT "$LS_SOURCE/tests/data/tiny-tokenizers/ --out $FOLDER/x"), 1, "%s", text);
    cr_assert_eq(fixture_run(IMPORT STORIES "none.bin --out $FOLDER/x"), 1, "%s", text);
    cr_assert_eq(fixture_run("head -c 100000 " STORIES
                             "stories260K.bin > $FOLDER/cut.bin; $LOCKSTEP ckpt import $FOLDER/cut.bin "
                             "--tokenizer " STORIES "tok512.bin --out $FOLDER/x"),
                 1);
    cr_assert(strstr(text, "cut.bin: 100000 bytes"), "%s", text);
    cr_assert_eq(fixture_run("ls $FOLDER"), 0);
    cr_assert(!strstr(text, "x\n") && !strstr(text, ".partial"), "%s", text);
    cr_assert_eq(fixture_run(IMPORT STORIES "tok512.bin --out $FOLDER/cut.bin"), 1);
    cr_assert(strstr(text, "is there already"), "%s", text);
}
