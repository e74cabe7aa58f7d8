/* `lockstep train` from outside, alone and under mpirun: what it refuses, what it leaves behind, how it goes on. */
#include "tests/launch/fixture.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(train, .init = fixture_make, .fini = fixture_clean, .timeout = 100);

#define MPIRUN "mpirun --oversubscribe --bind-to none -n "

Test(train, a_bad_recipe_is_told_once_whatever_the_ranks)
{
    fixture_recipe("pretrain");
    cr_assert_eq(fixture_run(MPIRUN "3 $LOCKSTEP train $FOLDER/recipe.yaml optimizer.lrr=1"), 2, "%s", text);
    cr_assert_eq(fixture_count("no such key; nearest: optimizer.lr"), 1, "%s", text);
    cr_assert_eq(fixture_run("test ! -e $FOLDER/run"), 0, "nothing was written");
}

Test(train, ranks_with_other_recipes_are_refused_by_name)
{
    fixture_recipe("pretrain");
    cr_assert_neq(fixture_run(MPIRUN "2 sh -c '$LOCKSTEP train $FOLDER/recipe.yaml seed=$OMPI_COMM_WORLD_RANK'"), 0);
    cr_assert(strstr(text, "rank 1") && strstr(text, "another recipe than rank 0's: 'seed: 1', there 'seed: 0'"), "%s", text);
    cr_assert_eq(fixture_run("test ! -e $FOLDER/run"), 0, "nothing was written");
}

Test(train, ranks_on_other_processors_are_refused_by_name)
{
    fixture_recipe("pretrain");
    cr_assert_neq(fixture_run(MPIRUN "2 sh -c 'test $OMPI_COMM_WORLD_RANK = 0 || export LS_TEST_NUMERICS=\"cpu z80\"; "
                                     "$LS_BUILD/tests/launch_prove_faulty_lockstep train $FOLDER/recipe.yaml'"), 0);
    cr_assert(strstr(text, "the numerics id differs: rank 1 ") && strstr(text, "has 'cpu z80', rank 0 has 'cpu "), "%s", text);
    cr_assert_eq(fixture_run("test ! -e $FOLDER/run"), 0, "nothing was written");
}

Test(train, dry_run_estimates_and_touches_nothing)
{
    fixture_recipe("sft");
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml --dry-run"), 0, "%s", text);
    cr_assert(strstr(text, "block") && strstr(text, "round") && strstr(text, "step"), "%s", text);
    cr_assert_eq(fixture_run("test ! -e $FOLDER/run"), 0);
}

Test(train, the_same_command_goes_on_and_another_recipe_is_refused)
{
    fixture_recipe("pretrain");
    cr_assert_eq(fixture_run(MPIRUN "2 $LOCKSTEP train $FOLDER/recipe.yaml max_steps=2"), 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml"), 0, "%s", text);
    cr_assert(strstr(text, "resuming from") && strstr(text, "step 2 of 4"), "%s", text);
    cr_assert_eq(fixture_run("cat $FOLDER/run/metrics.jsonl"), 0);
    cr_assert_eq(fixture_count("\"loss\""), 4, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml"), 0, "%s", text); /* nothing is left to do */
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml seed=4"), 1, "%s", text);
    cr_assert(strstr(text, "it says 'seed: 3', this one says 'seed: 4'"), "%s", text);
}

Test(train, a_signal_leaves_a_checkpoint_and_75)
{
    fixture_recipe("pretrain");
    int code = fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml max_steps=100000 & child=$!\n"
                           "until test -s $FOLDER/run/metrics.jsonl; do kill -0 $child || break; done\n"
                           "kill -TERM $child; wait $child");
    cr_assert_eq(code, 75, "%s", text);
    cr_assert_eq(fixture_run("ls $FOLDER/run/checkpoints"), 0);
    cr_assert(!strncmp(text, "step-", 5), "%s", text);
}
