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
    cr_assert_eq(fixture_run("printf x | dd of=$FOLDER/run/checkpoints/step-00000004/rank-0000.h5 bs=1 seek=20000 "
                             "conv=notrunc status=none"),
                 0);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt verify $FOLDER/run"), 1);
    cr_assert(strstr(text, "lockstep ckpt verify: ") && strstr(text, "step-00000004/rank-0000.h5"), "%s", text);
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

#define GOLDEN "$LS_SOURCE/tests/golden/hf/"

/* The Hugging Face form of the same model speaks the same text, prompt and all. */
Test(ckpt, hugging_face_folders_are_brought_in)
{
    static char want[1 << 16];
    cr_assert_eq(fixture_run(IMPORT STORIES "tok512.bin --out $FOLDER/bin"), 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt import " STORIES "hf --tokenizer " STORIES "tok512.bin --out $FOLDER/hf"), 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP generate $FOLDER/bin --temperature 0 --max-tokens 256"), 0, "%s", text);
    snprintf(want, sizeof want, "%.60000s", text);
    cr_assert(strstr(want, "Once upon a time, there was a little girl named Lily."), "%s", want);
    cr_assert_eq(fixture_run("$LOCKSTEP generate $FOLDER/hf --temperature 0 --max-tokens 256"), 0, "%s", text);
    cr_assert_str_eq(text, want);
    /* the folder itself, a tokenizer put beside the weights */
    cr_assert_eq(fixture_run("cp -r " STORIES "hf $FOLDER/plain; cp " STORIES "tok512.bin $FOLDER/plain/tokenizer.bin; $LOCKSTEP generate $FOLDER/plain --temperature 0 --max-tokens 256"), 0, "%s",
                 text);
    cr_assert_str_eq(text, want);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt import " GOLDEN "qwen3 --out $FOLDER/qwen3"), 0, "%s", text);
    cr_assert(strstr(text, "no tokenizer beside the weights"), "%s", text);
    cr_assert_eq(fixture_run("cat $FOLDER/qwen3/recipe.yaml"), 0);
    cr_assert(strstr(text, "qk_norm: true") && strstr(text, "head_width: 10") && strstr(text, "rope_factor: 2"), "%s", text);
    cr_assert_eq(fixture_run("cp -r " GOLDEN "gpt2 $FOLDER/odd; sed -i 's/gelu_new/relu/' $FOLDER/odd/config.json; $LOCKSTEP ckpt import $FOLDER/odd --out $FOLDER/x"), 1);
    cr_assert(strstr(text, "odd/config.json: \"activation_function\" is \"relu\""), "%s", text);
}

static void hash_of(const char *name, char hash[32])
{
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt hash $FOLDER/%s", name), 0, "%s", text);
    snprintf(hash, 32, "%.31s", text);
}

/* Files of other projects, of which nothing says what network they are. */
Test(ckpt, tensors_come_in_as_they_are)
{
    static const struct {
        const char *file, *lists;
    } fixtures[] = {
        {"jfk-codes.safetensors", "i64 [1, 2, 828] codes"},
        {"test.pt", "i64 [2, 4] test"},
        {"test_with_key.pt", "model_state_dict/test"},
        {"tiny_state_dict_with_one_key.pt", "f32 [10, 10] test_key"},
        {"test.npz", "x_plus_one"},
    };
    for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
        cr_assert_eq(fixture_run("rm -rf $FOLDER/t; $LOCKSTEP ckpt import $LS_SOURCE/tests/data/checkpoint-fixtures/%s --out $FOLDER/t", fixtures[i].file), 0, "%s", text);
        cr_assert_eq(fixture_run("$LOCKSTEP ckpt info $FOLDER/t | tr -s ' '"), 0, "%s", text);
        cr_expect(strstr(text, fixtures[i].lists), "%s: %s", fixtures[i].file, text);
    }
}

/* Out and in again is the same model to the bit, and what is in between says what it is. */
Test(ckpt, what_is_exported_reads_back_to_itself)
{
    static const char *const names[] = {"gpt2", "qwen2", "qwen3"},
                            *const classes[] = {"GPT2LMHeadModel", "Qwen2ForCausalLM", "Qwen3ForCausalLM"};
    for (int i = 0; i < 3; i++) {
        char first[32], again[32];
        cr_assert_eq(fixture_run("$LOCKSTEP ckpt import " GOLDEN "%s --out $FOLDER/%s", names[i], names[i]), 0, "%s", text);
        cr_assert_eq(fixture_run("$LOCKSTEP ckpt export $FOLDER/%s $FOLDER/%s-hf", names[i], names[i]), 0, "%s", text);
        cr_assert_eq(fixture_run("$LOCKSTEP ckpt import $FOLDER/%s-hf --out $FOLDER/%s-again", names[i], names[i]), 0, "%s", text);
        hash_of(names[i], first);
        char name[64];
        snprintf(name, sizeof name, "%s-again", names[i]);
        hash_of(name, again);
        cr_expect_str_eq(first, again, "%s", names[i]);
        cr_assert_eq(fixture_run("cat $FOLDER/%s-hf/config.json; ls $FOLDER/%s-hf", names[i], names[i]), 0);
        cr_expect(strstr(text, classes[i]) && strstr(text, "model.safetensors"), "%s", text);
    }
    /* tensors and their shapes are those that transformers saved */
    cr_assert_eq(fixture_run("cd $FOLDER; names() { head -c 20000 $1 | grep -ao '\"[a-z][a-z0-9_.]*\":{\"dtype\":\"[A-Z0-9]*\",\"shape\":[^]]*' | sort; }; "
                             "names gpt2-hf/model.safetensors > a; names " GOLDEN "gpt2/model.safetensors > b; test -s a && cmp a b"),
                 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt export $FOLDER/gpt2 $FOLDER/gpt2-hf"), 1);
    cr_assert(strstr(text, "is there already"), "%s", text);
}

/* llama2.c's pairs (2j, 2j+1) become halves: the folder that another hand made from the same file has the same numbers. */
Test(ckpt, llama2c_weights_are_exported_in_the_order_of_halves)
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

Test(ckpt, a_run_is_exported_and_rounded_once)
{
    char first[32], again[32];
    fixture_recipe("pretrain");
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml max_steps=2 run=$FOLDER/run"), 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt export $FOLDER/run $FOLDER/a --dtype bf16"), 0, "%s", text);
    cr_assert(strstr(text, "BF16"), "%s", text);
    cr_assert_eq(fixture_run("grep -q '\"vocab_size\": 64' $FOLDER/a/config.json && grep -q bfloat16 $FOLDER/a/config.json"), 0);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt import $FOLDER/a --out $FOLDER/b"), 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt export $FOLDER/b $FOLDER/c --dtype bf16; cmp $FOLDER/a/model.safetensors $FOLDER/c/model.safetensors"), 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt export $FOLDER/run/checkpoints/step-00000002 $FOLDER/d; $LOCKSTEP ckpt import $FOLDER/d --out $FOLDER/e"), 0, "%s", text);
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
