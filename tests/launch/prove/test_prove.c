/* `lockstep prove` from outside: it passes on both model styles, tasks and precisions, and it catches planted faults, naming
 * the step and the tensor. */
#include "tests/launch/fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(prove, .init = fixture_make, .fini = fixture_clean, .timeout = 110);

Test(prove, tasks_styles_and_precisions_keep_their_bits)
{
    static const struct {
        const char *task, *arguments;
    } rows[] = {
        {"pretrain", "--ranks 1,3 --threads 1"},
        {"sft", "--ranks 2,5 --threads 2 precision=bf16 guard.audit_every=1 guard.replicas_every=1"},
        {"sft", "--ranks 1,2 --threads 2 'model={style: gpt2, layers: 2, width: 32, heads: 4, dropout: 0.1}'"},
        {"pretrain", "--ranks 2,4 --threads 1 precision=bf16 optimizer.clip_norm=0.1 'model={style: gpt2, layers: 1, width: 32, heads: 2}'"},
        {"sft", "--ranks 1,3 --threads 1 precision=bf16 'model={layers: 1, width: 32, heads: 2, tied: false, sparse_embedding: true}' guard.audit_every=1 guard.replicas_every=1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fixture_recipe(rows[i].task);
        int code = fixture_run("$LOCKSTEP prove $FOLDER/recipe.yaml --steps 5 %s", rows[i].arguments);
        cr_expect_eq(code, 0, "%s %s: %d\n%s", rows[i].task, rows[i].arguments, code, text);
        cr_expect_eq(fixture_count("  same"), 4, "%s", text);
        cr_expect(strstr(text, "killed after step") && strstr(text, "All 5 trials agree"), "%s", text);
    }
}

Test(prove, planted_faults_are_caught_at_their_step_and_tensor)
{
    static const char said[] = "first difference: step 3, parameters, ";
    static const struct {
        const char *task, *tensor;
    } rows[] = {
        {"hidden-state", "model/blocks/1/mlp/down/weight\n"},
        {"other-order", "model/blocks/1/mlp/down/weight\n"},
        {"rank-mean", "model/blocks/0/attention/key/weight\n"}, /* every tensor parts: the first by name */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fixture_recipe(rows[i].task);
        int code = fixture_run("$LS_BUILD/tests/launch_prove_faulty_lockstep prove $FOLDER/recipe.yaml --ranks 1,2 --threads 1 "
                               "--steps 4 --schedules block --no-kill");
        cr_expect_eq(code, 1, "%s: %d\n%s", rows[i].task, code, text);
        char *first = strstr(text, said);
        cr_expect(first && !strncmp(first + strlen(said), rows[i].tensor, strlen(rows[i].tensor)), "%s\n%s", rows[i].task, text);
        cr_expect(strstr(text, "its gradients differ as well, first in gradient"), "%s", text);
        cr_expect_eq(fixture_count("NOT THE SAME"), 1, "%s", text);
    }
}

Test(prove, rank_counts_above_the_grains_are_skipped_and_said)
{
    fixture_recipe("pretrain");
    int code = fixture_run("$LOCKSTEP prove $FOLDER/recipe.yaml --ranks 1,2 --threads 1 --steps 2 --schedules round --no-kill batch.grains=1");
    cr_assert_eq(code, 0, "%s", text);
    cr_assert(strstr(text, "    2  skipped: the recipe has 1 grains a step"), "%s", text);
    code = fixture_run("$LOCKSTEP prove $FOLDER/recipe.yaml --ranks 2 --steps 2 batch.grains=1");
    cr_assert_eq(code, 2, "%s", text);
}

Test(prove, nothing_is_left_behind_unless_asked)
{
    fixture_recipe("pretrain");
    cr_assert_eq(fixture_run("$LOCKSTEP prove $FOLDER/recipe.yaml --ranks 1 --threads 1 --steps 2 --schedules block --no-kill"), 0, "%s", text);
    cr_assert_eq(fixture_run("test -z \"$(ls -d $FOLDER/lockstep-prove-* 2>/dev/null)\""), 0);
    cr_assert_eq(fixture_run("test ! -e $FOLDER/run"), 0, "the user's run folder is not touched");
    cr_assert_eq(fixture_run("$LOCKSTEP prove $FOLDER/recipe.yaml --ranks 1 --threads 1 --steps 2 --schedules block --no-kill --keep"), 0, "%s", text);
    cr_assert(strstr(text, "The runs are kept in "), "%s", text);
    cr_assert_eq(fixture_run("test -f $FOLDER/lockstep-prove-*/1-*/hashes.jsonl"), 0);
}

Test(prove, a_recipe_that_cannot_train_is_told_in_its_own_words)
{
    fixture_recipe("pretrain");
    cr_assert_eq(fixture_run("$LOCKSTEP prove $FOLDER/recipe.yaml --ranks 1 --threads 1 data.train=$FOLDER/nowhere"), 1);
    cr_assert(strstr(text, "lockstep prove: train ended with exit code 1: ") && strstr(text, "nowhere: no data set there"), "%s", text);
}
