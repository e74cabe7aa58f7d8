/* `lockstep ckpt import` of Hugging Face folders, and of tensors that belong to no known network. */
#include "tests/launch/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(import, .init = fixture_make, .fini = fixture_clean, .timeout = 220);

#define GOLDEN  "$LS_SOURCE/tests/golden/hf/"
#define STORIES "$LS_SOURCE/tests/data/stories260K/"
#define IMPORT  "$LOCKSTEP ckpt import " STORIES "stories260K.bin --tokenizer "

/* The Hugging Face form of the same model speaks the same text, prompt and all. */
Test(import, hugging_face_folders_are_brought_in)
{
    static char want[1 << 16];
    cr_assert_eq(fixture_run(IMPORT STORIES "tok512.bin --out $FOLDER/bin"), 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt import " STORIES "hf --tokenizer " STORIES "tok512.bin --out $FOLDER/hf"),
                 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP generate $FOLDER/bin --temperature 0 --max-tokens 256"), 0, "%s", text);
    snprintf(want, sizeof want, "%.60000s", text);
    cr_assert(strstr(want, "Once upon a time, there was a little girl named Lily."), "%s", want);
    cr_assert_eq(fixture_run("$LOCKSTEP generate $FOLDER/hf --temperature 0 --max-tokens 256"), 0, "%s", text);
    cr_assert_str_eq(text, want);
    /* the folder itself, a tokenizer put beside the weights */
    cr_assert_eq(fixture_run("cp -r " STORIES "hf $FOLDER/plain; cp " STORIES
                             "tok512.bin $FOLDER/plain/tokenizer.bin; $LOCKSTEP generate $FOLDER/plain --temperature 0 "
                             "--max-tokens 256"),
                 0, "%s", text);
    cr_assert_str_eq(text, want);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt import " GOLDEN "qwen3 --out $FOLDER/qwen3"), 0, "%s", text);
    cr_assert(strstr(text, "no tokenizer beside the weights"), "%s", text);
    cr_assert_eq(fixture_run("cat $FOLDER/qwen3/recipe.yaml"), 0);
    cr_assert(strstr(text, "qk_norm: true") && strstr(text, "head_width: 10") && strstr(text, "rope_factor: 2"), "%s",
              text);
    cr_assert_eq(fixture_run("cp -r " GOLDEN "gpt2 $FOLDER/odd; sed -i 's/gelu_new/relu/' $FOLDER/odd/config.json; "
                                             "$LOCKSTEP ckpt import $FOLDER/odd --out $FOLDER/x"),
                 1);
    cr_assert(strstr(text, "odd/config.json: \"activation_function\" is \"relu\""), "%s", text);
}

/* Files of other projects, of which nothing says what network they are. */
Test(import, tensors_come_in_as_they_are)
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
        cr_assert_eq(
            fixture_run(
                "rm -rf $FOLDER/t; $LOCKSTEP ckpt import $LS_SOURCE/tests/data/checkpoint-fixtures/%s --out $FOLDER/t",
                fixtures[i].file),
            0, "%s", text);
        cr_assert_eq(fixture_run("$LOCKSTEP ckpt info $FOLDER/t | tr -s ' '"), 0, "%s", text);
        cr_expect(strstr(text, fixtures[i].lists), "%s: %s", fixtures[i].file, text);
    }
}
