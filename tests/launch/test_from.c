/* model.from a Hugging Face folder, from outside: the bits of the run that the folder was exported from, on any ranks.
 */
#include "tests/launch/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(from, .init = fixture_make, .fini = fixture_clean, .timeout = 220);

#define MPIRUN "mpirun --oversubscribe --bind-to none -n "

static void hash_of(const char *run, char hash[32])
{
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt hash $FOLDER/%s", run), 0, "%s", text);
    snprintf(hash, 32, "%.31s", text);
}

/* $FOLDER/hf: what two steps of pretraining made, exported; $FOLDER/from.yaml: sft from it, of which nothing else is
 * said. */
static void begin(void)
{
    fixture_recipe("pretrain");
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml max_steps=2 run=$FOLDER/first && $LOCKSTEP ckpt "
                             "export $FOLDER/first $FOLDER/hf"),
                 0, "%s", text);
    cr_assert_eq(fixture_run("sed 's#^model:.*#model: {from: '$FOLDER'/hf}#; s/^task:.*/task: sft/' "
                             "$FOLDER/recipe.yaml > $FOLDER/from.yaml"),
                 0);
}

Test(from, an_exported_folder_begins_as_the_run_it_came_from)
{
    char run[32], one[32], three[32];
    begin();
    cr_assert_eq(
        fixture_run(
            "$LOCKSTEP train $FOLDER/recipe.yaml task=sft max_steps=2 run=$FOLDER/run model.from=$FOLDER/first"),
        0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/from.yaml max_steps=2 run=$FOLDER/one"), 0, "%s", text);
    cr_assert_eq(fixture_run(MPIRUN "3 $LOCKSTEP train $FOLDER/from.yaml max_steps=2 run=$FOLDER/three"), 0, "%s",
                 text);
    hash_of("run", run);
    hash_of("one", one);
    hash_of("three", three);
    cr_expect_str_eq(one, run);
    cr_expect_str_eq(three, run);
    /* the folder is not needed any more */
    cr_assert_eq(fixture_run("mv $FOLDER/hf $FOLDER/away; $LOCKSTEP train $FOLDER/from.yaml max_steps=3 "
                             "optimizer.schedule=constant run=$FOLDER/one"),
                 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/from.yaml run=$FOLDER/new"), 1, "%s", text);
    cr_assert(strstr(text, "model.from: ") && strstr(text, "no checkpoint here"), "%s", text);
}

Test(from, what_does_not_fit_is_refused_before_anything_is_trained)
{
    begin();
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/from.yaml model.layers=3"), 2, "%s", text);
    cr_assert(strstr(text, "command line: model.layers=3: 3 here, but "), "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/from.yaml model.from_ema=true"), 2, "%s", text);
    cr_assert(strstr(text, "which has no averaged weights"), "%s", text);
    cr_assert_eq(
        fixture_run("$LOCKSTEP train $FOLDER/from.yaml run=$FOLDER/small model.from=$LS_SOURCE/tests/golden/hf/llama3"),
        2, "%s", text);
    cr_assert(strstr(text, "model.vocabulary is 61, but the data was packed with a tokenizer of 64 tokens"), "%s",
              text);
    cr_assert_eq(
        fixture_run("cp $LS_SOURCE/tests/data/tiny-tokenizers/bytelevel-2000/tokenizer.json $FOLDER/hf; " MPIRUN
                    "2 $LOCKSTEP train $FOLDER/from.yaml run=$FOLDER/other"),
        2, "%s", text);
    cr_assert(strstr(text, "data.train was packed with another tokenizer than that of model.from"), "%s", text);
    cr_assert_eq(fixture_run("rm $FOLDER/hf/tokenizer.json; head -c 20000 $FOLDER/hf/model.safetensors > $FOLDER/cut; "
                             "mv $FOLDER/cut $FOLDER/hf/model.safetensors; "
                             "$LOCKSTEP train $FOLDER/from.yaml run=$FOLDER/cut"),
                 1, "%s", text);
    cr_assert(strstr(text, "model.from: ") && strstr(text, "are not inside the file's"), "%s", text);
}

/* Adapters learnt beside a foreign base are merged on the way out: going on from the folder is going on from the run.
 */
Test(from, adapters_are_merged_into_what_is_exported)
{
    char run[32], folder_of_run[32], base[32];
    begin();
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/from.yaml max_steps=2 run=$FOLDER/lora lora.rank=4"), 0, "%s",
                 text);
    cr_assert_eq(fixture_run("$LOCKSTEP ckpt export $FOLDER/lora $FOLDER/lora-hf"), 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/from.yaml max_steps=1 run=$FOLDER/a model.from=$FOLDER/lora"), 0,
                 "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/from.yaml max_steps=1 run=$FOLDER/b model.from=$FOLDER/lora-hf"),
                 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/from.yaml max_steps=1 run=$FOLDER/c"), 0, "%s", text);
    hash_of("a", run);
    hash_of("b", folder_of_run);
    hash_of("c", base);
    cr_expect_str_eq(folder_of_run, run);
    cr_expect_str_neq(base, run, "the adapters learnt something");
}
