/* `lockstep ckpt export`: what goes out comes in again to the bit, rounded once where it is asked for. */
#include "tests/launch/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(export, .init = fixture_make, .fini = fixture_clean, .timeout = 220);

#define GOLDEN  "$LS_SOURCE/tests/golden/hf/"
#define STORIES "$LS_SOURCE/tests/data/stories260K/"
#define IMPORT  "$LOCKSTEP ckpt import " STORIES "stories260K.bin --tokenizer "

static void hash_of(const char *name, char hash[32])
{
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt hash $FOLDER/%s", name), 0, "%s", text);
    snprintf(hash, 32, "%.31s", text);
}

/* Out and in again is the same model to the bit, and what is in between says what it is. */
Test(export, what_is_exported_reads_back_to_itself)
{
    static const char *const names[] = {"gpt2", "qwen3"}, *const classes[] = {"GPT2LMHeadModel", "Qwen3ForCausalLM"};
    for (int i = 0; i < 2; i++) {
        char first[32], again[32];
        cr_assert_eq(fixture_run("$LOCKSTEP ckpt import " GOLDEN "%s --out $FOLDER/%s", names[i], names[i]), 0, "%s",
                     text);
        cr_assert_eq(fixture_run("$LOCKSTEP ckpt export $FOLDER/%s $FOLDER/%s-hf", names[i], names[i]), 0, "%s", text);
        cr_assert_eq(fixture_run("$LOCKSTEP ckpt import $FOLDER/%s-hf --out $FOLDER/%s-again", names[i], names[i]), 0,
                     "%s", text);
        hash_of(names[i], first);
        char name[64];
        snprintf(name, sizeof name, "%s-again", names[i]);
        hash_of(name, again);
        cr_expect_str_eq(first, again, "%s", names[i]);
        cr_assert_eq(fixture_run("cat $FOLDER/%s-hf/config.json; ls $FOLDER/%s-hf", names[i], names[i]), 0);
        cr_expect(strstr(text, classes[i]) && strstr(text, "model.safetensors"), "%s", text);
    }
    /* tensors and their shapes are those that transformers saved */
    cr_assert_eq(fixture_run("cd $FOLDER; names() { head -c 20000 $1 | grep -ao "
                             "'\"[a-z][a-z0-9_.]*\":{\"dtype\":\"[A-Z0-9]*\",\"shape\":[^]]*' | sort; }; "
                             "names gpt2-hf/model.safetensors > a; names " GOLDEN
                             "gpt2/model.safetensors > b; test -s a && cmp a b"),
                 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt export $FOLDER/gpt2 $FOLDER/gpt2-hf"), 1);
    cr_assert(strstr(text, "is there already"), "%s", text);
}

/* Several files and an index: transformers' own split, the same tensors, and the same model again. */
Test(export, shards_are_the_same_model)
{
    char one[32], several[32];
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt import " GOLDEN "qwen2 --out $FOLDER/in && $LOCKSTEP ckpt export $FOLDER/in $FOLDER/one && "
                             "$LOCKSTEP ckpt export $FOLDER/in $FOLDER/hf --dtype bf16 --max-shard-size 12KB"),
                 0, "%s", text);
    cr_assert_eq(fixture_run("cd $FOLDER/hf && ls | grep -c '^model-0000[0-9]-of-0000[0-9].safetensors$'; ! test -e model.safetensors"), 0, "%s", text);
    const int files = atoi(text);
    cr_expect_geq(files, 2, "%s", text);
    cr_assert_eq(fixture_run("cd $FOLDER/hf && for f in model-*; do test $(stat -c %%s $f) -le 14500 || exit 1; done"), 0, "a file is too large");
    /* each tensor's file is the one that the index names, and their number is transformers' */
    cr_assert_eq(fixture_run("cd $FOLDER/hf && grep -o '\"model[^\"]*\": \"model-[^\"]*\"' model.safetensors.index.json | tr -d '\":' | while read name file; do "
                             "grep -aq \"\\\"$name\\\"\" $file || { echo $name is not in $file; exit 1; }; done && "
                             "test $(grep -c safetensors model.safetensors.index.json) = $(grep -c safetensors " GOLDEN "qwen2/model.safetensors.index.json)"),
                 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt import $FOLDER/hf --out $FOLDER/again && $LOCKSTEP ckpt import $FOLDER/one --out $FOLDER/once"), 0, "%s", text);
    hash_of("once", one);
    hash_of("again", several);
    cr_expect_str_eq(one, several, "bf16 weights are bf16 weights");
    cr_assert_eq(fixture_run("rm $FOLDER/hf/model-00002-*; $LOCKSTEP ckpt import $FOLDER/hf --out $FOLDER/gone"), 1, "%s", text);
    cr_expect(strstr(text, "model-00002-of-"), "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt export $FOLDER/in $FOLDER/x --max-shard-size 5TB"), 2, "%s", text);
    cr_expect(strstr(text, "--max-shard-size=5TB"), "%s", text);
}

/* llama2.c's pairs (2j, 2j+1) become halves: the folder that another hand made from the same file has the same numbers.
 */
Test(export, llama2c_weights_are_exported_in_the_order_of_halves)
{
    char ours[32], theirs[32];
    cr_assert_eq(fixture_run(IMPORT STORIES "tok512.bin --out $FOLDER/bin"), 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt export $FOLDER/bin $FOLDER/bin-hf"), 0, "%s", text);
    cr_assert(strstr(text, "no tokenizer.json is written") && strstr(text, "47 tensors, F32"), "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt import $FOLDER/bin-hf --out $FOLDER/ours"), 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt import " STORIES "hf --out $FOLDER/theirs"), 0, "%s", text);
    hash_of("ours", ours);
    hash_of("theirs", theirs);
    cr_assert_str_eq(ours, theirs);
}

Test(export, a_run_is_exported_and_rounded_once)
{
    char first[32], again[32];
    fixture_recipe("pretrain");
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml max_steps=2 run=$FOLDER/run"), 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt export $FOLDER/run $FOLDER/a --dtype bf16"), 0, "%s", text);
    cr_assert(strstr(text, "BF16"), "%s", text);
    cr_assert_eq(
        fixture_run("grep -q '\"vocab_size\": 64' $FOLDER/a/config.json && grep -q bfloat16 $FOLDER/a/config.json"), 0);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt import $FOLDER/a --out $FOLDER/b"), 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt export $FOLDER/b $FOLDER/c --dtype bf16; cmp $FOLDER/a/model.safetensors "
                             "$FOLDER/c/model.safetensors"),
                 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt export $FOLDER/run/checkpoints/step-00000002 $FOLDER/d; $LOCKSTEP ckpt "
                             "import $FOLDER/d --out $FOLDER/e"),
                 0, "%s", text);
    hash_of("b", first);
    hash_of("e", again);
    cr_assert_str_neq(first, again, "f32 is not bf16");
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt export $FOLDER/run $FOLDER/x --ema"), 1);
    cr_assert(strstr(text, "no averaged weights"), "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt export $FOLDER/run $FOLDER/x --dtype f8"), 2);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt export $FOLDER/run"), 2);
    cr_assert_eq(fixture_run("ls $FOLDER"), 0);
    cr_assert(!strstr(text, ".partial") && !strstr(text, "\nx\n"), "%s", text);
}
