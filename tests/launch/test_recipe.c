/* Whole recipes against the real option tables, and tasks with sections of their own. */
#include "launch/recipe.h"
#include "launch/recipe/shipped.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SMALL "task: pretrain\nrun: runs/x\ndata: {train: shards/a}\nbatch: {tokens: 64}\n"

static char path[] = "/tmp/lockstep-test-recipe-XXXXXX.yaml";

static void write_recipe(const char *text)
{
    static bool made;
    int file = made ? -1 : mkstemps(path, 5);
    if (file >= 0)
        close(file);
    made = true;
    FILE *out = fopen(path, "w");
    cr_assert_not_null(out);
    fputs(text, out);
    fclose(out);
}

static ls_status read_text(ls_recipe **recipe, const char *text, const char *override)
{
    char *overrides[] = {(char *)override};
    write_recipe(text);
    ls_status status = ls_recipe_read(recipe, path, override != NULL, overrides);
    unlink(path);
    return status;
}

/* The sentence without the temporary file's name. */
static const char *sentence(void)
{
    const char *found = ls_fail_sentence();
    return strncmp(found, path, strlen(path)) ? found : found + strlen(path);
}

Test(recipe, every_default_of_every_table_is_a_valid_value)
{
    for (const ls_task *const *task = ls_tasks; *task; task++) {
        char text[512];
        snprintf(text, sizeof text, "task: %s\nrun: runs/x\ndata: {train: shards/a}\nbatch: {tokens: 64}\n", (*task)->name);
        ls_recipe *recipe;
        cr_assert_eq(read_text(&recipe, text, NULL), LS_OK, "%s", ls_fail_sentence());
        cr_assert_eq(ls_recipe_config(recipe)->task, *task);
        ls_recipe_free(recipe);
    }
}

Test(recipe, the_resolved_text_reads_back_to_itself)
{
    ls_recipe *recipe, *again;
    cr_assert_eq(read_text(&recipe, SMALL "model: {family: transformer, style: gpt2}\noptimizer: {lr: 2e-5}\n", "seed=9"), LS_OK,
                 "%s", ls_fail_sentence());
    const ls_train_config *config = ls_recipe_config(recipe);
    cr_assert_eq(config->run.seed, 9);
    cr_assert_eq(config->optimizer.lr, 2e-5);
    cr_assert_eq(((const ls_transformer_options *)config->model)->style, 0);
    cr_assert_eq(read_text(&again, config->recipe_text, NULL), LS_OK, "%s", ls_fail_sentence());
    cr_assert_str_eq(ls_recipe_config(again)->recipe_text, config->recipe_text);
    cr_assert_str_eq(ls_recipe_config(again)->recipe_fixed, config->recipe_fixed);
    cr_assert(strstr(config->recipe_text, "schedule: auto") && !strstr(config->recipe_fixed, "schedule: auto"));
    ls_recipe_free(recipe);
    ls_recipe_free(again);
}

Test(recipe, a_task_must_be_one_of_this_binary)
{
    ls_recipe *recipe;
    cr_assert_eq(read_text(&recipe, "run: x\n", NULL), LS_ERECIPE);
    cr_assert_str_eq(sentence(), ": task: required key is missing; one of: pretrain, sft, reward, dpo, lud, classify, grpo, ppo");
    cr_assert_eq(read_text(&recipe, "seed: 1\ntask: pretrian\n", NULL), LS_ERECIPE);
    cr_assert_str_eq(sentence(), ":2: task: expected one of pretrain, sft, reward, dpo, lud, classify, grpo, ppo, read \"pretrian\"; nearest: pretrain");
    cr_assert_eq(read_text(&recipe, SMALL, "task=lavit"), LS_ERECIPE);
    cr_assert(strstr(sentence(), "command line: task=lavit: expected one of pretrain, sft, reward, dpo, lud, classify, grpo, ppo, read \"lavit\""), "%s", sentence());
    cr_assert_eq(read_text(&recipe, SMALL "model: {family: resnet}\n", NULL), LS_ERECIPE);
    cr_assert_str_eq(sentence(), ":5: model.family: expected one of transformer, read \"resnet\"; nearest: transformer");
    cr_assert_eq(read_text(&recipe, "just text\n", NULL), LS_ERECIPE);
    cr_assert_str_eq(sentence(), ":1: expected `key: value` lines");
    cr_assert_eq(read_text(&recipe, SMALL "batch.grain: 1\n", NULL), LS_ERECIPE);
}

typedef struct {
    double keep;
} pruning;
static const ls_option pruning_rows[] = {
    {"keep", LS_OPTION_FLOAT, offsetof(pruning, keep), 0, 0, 1, "0.5", NULL, "share of weights kept"},
    {0},
};
static const ls_option other_rows[] = {
    {"beta", LS_OPTION_FLOAT, offsetof(pruning, keep), 0, 0, 1, "0.5", NULL, "of another task"},
    {0},
};

Test(recipe, the_section_of_a_task_is_its_own)
{
    static const ls_task prune = {.name = "prune", .sentence = "p", .options = pruning_rows, .options_size = sizeof(pruning)};
    static const ls_task other = {.name = "other", .sentence = "o", .options = other_rows, .options_size = sizeof(pruning)};
    static const ls_task *const tasks[] = {&prune, &other, NULL};
    ls_tasks = tasks;
    ls_recipe *recipe;
    static const char good[] = "task: prune\nrun: r\ndata: {train: a}\nbatch: {tokens: 8}\n";
    cr_assert_eq(read_text(&recipe, good, NULL), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(((pruning *)ls_recipe_config(recipe)->task_options)->keep, 0.5);
    cr_assert(strstr(ls_recipe_config(recipe)->recipe_fixed, "prune:\n  keep: 0.5\n"));
    ls_recipe_free(recipe);
    cr_assert_eq(read_text(&recipe, good, "prune.keep=2"), LS_ERECIPE);
    cr_assert_str_eq(sentence(), "command line: prune.keep=2: 2 is out of range: expected a number in [0, 1]");
    cr_assert_eq(read_text(&recipe, good, "prune.kep=1"), LS_ERECIPE);
    cr_assert_str_eq(sentence(), "command line: prune.kep=1: no such key; nearest: prune.keep");
    cr_assert_eq(read_text(&recipe, good, "other.beta=1"), LS_ERECIPE);
    cr_assert_str_eq(sentence(), "command line: other.beta=1: other: section of another task; this recipe's task is prune");
}

static void read_shipped(void *context, const char *name, const char *file)
{
    ++*(int *)context;
    ls_recipe *recipe;
    cr_assert_eq(ls_recipe_read(&recipe, name, 0, NULL), LS_OK, "%s: %s", file, ls_fail_sentence());
    ls_recipe_free(recipe);
}

Test(recipe, every_shipped_recipe_is_right)
{
    int count = 0;
    cr_assert_eq(ls_recipes_each(read_shipped, &count), LS_OK);
    cr_assert_geq(count, 3);
}

Test(recipe, the_recipes_of_the_mathematics_chain_are_right)
{
    static const char *const names[] = {"sft", "refine", "reward", "dpo", "ppo", "grpo"};
    char folder[PATH_MAX], found[PATH_MAX];
    snprintf(folder, sizeof folder, "%s/recipes/math", getenv("LS_SOURCE"));
    setenv("LOCKSTEP_RECIPES", folder, 1);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ls_recipe *recipe;
        cr_assert_eq(ls_recipe_find(names[i], found), LS_OK, "%s", ls_fail_sentence());
        cr_expect_eq(strncmp(found, folder, strlen(folder)), 0, "%s", found);
        cr_assert_eq(ls_recipe_read(&recipe, names[i], 0, NULL), LS_OK, "%s", ls_fail_sentence());
        ls_recipe_free(recipe);
    }
}

Test(recipe, a_name_is_found_in_the_recipes_folders)
{
    char found[PATH_MAX], folder[] = "/tmp/lockstep-test-recipes-XXXXXX", file[PATH_MAX];
    cr_assert_eq(ls_recipe_find("gsm8k-sft", found), LS_OK);
    cr_assert(strstr(found, "/recipes/gsm8k-sft.yaml"), "%s", found);
    cr_assert_eq(ls_recipe_find("gsm8k-stf", found), LS_ENOTFOUND);
    cr_assert_str_eq(ls_fail_sentence(), "gsm8k-stf: no such file and no such shipped recipe; nearest shipped recipe: gsm8k-sft; "
                                         "`lockstep recipes` lists them");
    cr_assert_not_null(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/gsm8k-sft.yaml", folder);
    fclose(fopen(file, "w"));
    char list[PATH_MAX];
    snprintf(list, sizeof list, "/no/such/folder:%s", folder);
    setenv("LOCKSTEP_RECIPES", list, 1);
    cr_assert_eq(ls_recipe_find("gsm8k-sft", found), LS_OK);
    cr_assert_str_eq(found, file, "the user's folder comes first");
    unlink(file);
    rmdir(folder);
}

Test(recipe, the_model_alone_is_read_from_any_recipe)
{
    ls_transformer_options model;
    write_recipe("model: {family: transformer, style: gpt2, layers: 3, vocabulary: 512, context: 128}\nsomething: else\n");
    cr_assert_eq(ls_recipe_read_model(path, &model), LS_OK, "%s", ls_fail_sentence());
    cr_assert(model.layers == 3 && model.vocabulary == 512 && model.context == 128);
    write_recipe(SMALL "model: {layers: 2}\n");
    cr_assert_eq(ls_recipe_read_model(path, &model), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(model.context, 64, "batch.tokens");
    write_recipe("model: {layer: 2}\n");
    cr_assert_eq(ls_recipe_read_model(path, &model), LS_ERECIPE);
    cr_assert_str_eq(sentence(), ":1: model.layer: no such key; nearest: model.layers");
    write_recipe("task: sft\n");
    cr_assert_eq(ls_recipe_read_model(path, &model), LS_ERECIPE);
    cr_assert_str_eq(sentence(), ": no section `model`, so nothing is known of the network");
    unlink(path);
}
