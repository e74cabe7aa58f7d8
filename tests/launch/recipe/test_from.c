/* model.from says what the network is: what a recipe leaves out, what it may say otherwise, what is refused. */
#include "launch/recipe.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/lockstep-test-from-XXXXXX", path[128];

static void make(void)
{
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/x.yaml", folder);
}

static void clean(void)
{
    char line[128];
    snprintf(line, sizeof line, "rm -r %s", folder);
    cr_assert_eq(system(line), 0);
}

TestSuite(recipe_from, .init = make, .fini = clean);

static void write_text(const char *file, const char *text)
{
    FILE *out = fopen(file, "w");
    cr_assert_not_null(out);
    fputs(text, out);
    fclose(out);
}

/* A recipe with that model section, `from` being a folder of tests/golden/hf or a path. */
static ls_status read_model(ls_recipe **recipe, const char *from, const char *rest, const char *override)
{
    char text[1024];
    char *overrides[] = {(char *) override};
    snprintf(text, sizeof text,
             "task: sft\nrun: %s/run\ndata: {train: shards/a}\nbatch: {tokens: 16}\nmodel: {from: %s%s%s%s}\n", folder,
             *from == '/' ? "" : getenv("LS_SOURCE"), *from == '/' ? "" : "/tests/golden/hf/", from, rest);
    write_text(path, text);
    return ls_recipe_read(recipe, path, override != NULL, overrides);
}

static const ls_transformer_options *model_of(const ls_recipe *recipe)
{
    return ls_recipe_config(recipe)->model;
}

Test(recipe_from, a_hugging_face_folder_says_all_of_the_network)
{
    ls_recipe *recipe;
    cr_assert_eq(read_model(&recipe, "qwen3", ", dropout: 0.25", NULL), LS_OK, "%s", ls_fail_sentence());
    const ls_transformer_options *o = model_of(recipe);
    cr_expect(o->style == 1 && o->vocabulary == 61 && o->layers == 2 && o->width == 24 && o->heads == 6 &&
              o->kv_heads == 2);
    cr_expect(o->hidden == 40 && o->head_width == 10 && o->qk_norm && !o->qkv_bias && !o->tied && o->context == 64);
    cr_expect(o->rope_scaling == 1 && o->rope_factor == 2 && o->rope_base == 100 && o->norm_eps == 1e-6);
    cr_expect_eq(o->dropout, 0.25, "the recipe's own");
    cr_expect(strstr(ls_recipe_config(recipe)->recipe_text, "head_width: 10"), "the run says it without the folder");
    ls_recipe_free(recipe);
    cr_assert_eq(read_model(&recipe, "gpt2", ", style: gpt2, layers: 2, kv_heads: 0", NULL), LS_OK, "%s",
                 ls_fail_sentence());
    cr_expect(model_of(recipe)->style == 0 && model_of(recipe)->tied && model_of(recipe)->context == 64);
    ls_recipe_free(recipe);
}

Test(recipe_from, the_resolved_text_reads_back_to_itself)
{
    ls_recipe *recipe, *again;
    cr_assert_eq(read_model(&recipe, "llama3", "", NULL), LS_OK, "%s", ls_fail_sentence());
    write_text(path, ls_recipe_config(recipe)->recipe_text);
    cr_assert_eq(ls_recipe_read(&again, path, 0, NULL), LS_OK, "%s", ls_fail_sentence());
    cr_expect_str_eq(ls_recipe_config(again)->recipe_text, ls_recipe_config(recipe)->recipe_text);
    ls_recipe_free(recipe), ls_recipe_free(again);
}

Test(recipe_from, what_contradicts_the_folder_is_refused_with_its_line)
{
    static const struct {
        const char *from, *rest, *override, *says;
    } cases[] = {
        {"llama3", ", layers: 3", NULL, "x.yaml:5: model.layers: 3 here, but "},
        {"llama3", ", layers: 3", NULL, "is a model with 2; leave the key out"},
        {"llama3", "", "model.tied=true", "command line: model.tied=true: true here, but "},
        {"llama3", ", style: gpt2", NULL, "model.style: gpt2 here"},
        {"llama3", ", rope_base: 10000", NULL, "model.rope_base: 10000 here"},
        {"llama3", ", context: 65", NULL, "model.context: 65 here"},
        {"llama3", ", qkv_bias: true", NULL, "model.qkv_bias: true here"},
        {"llama3", ", vocabulary: 64", NULL, "model.vocabulary: 64 here"},
        {"gpt2", ", context: 32", NULL, "model.context: 32 here"},
        {"mistral", ", window: 5", NULL, "model.window: 5 here"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ls_recipe *recipe;
        cr_expect_eq(read_model(&recipe, cases[i].from, cases[i].rest, cases[i].override), LS_ERECIPE, "case %zu", i);
        cr_expect(strstr(ls_fail_sentence(), cases[i].says), "case %zu: %s", i, ls_fail_sentence());
    }
    ls_recipe *recipe;
    cr_assert_eq(read_model(&recipe, "llama3", ", context: 32", NULL), LS_OK, "fewer positions are the same weights");
    cr_expect_eq(model_of(recipe)->context, 32);
    ls_recipe_free(recipe);
}

Test(recipe_from, a_run_folder_says_it_too)
{
    char run[64], file[160];
    ls_recipe *recipe;
    snprintf(run, sizeof run, "%s/pretrained", folder);
    snprintf(file, sizeof file, "mkdir -p %s/checkpoints/best", run);
    cr_assert_eq(system(file), 0);
    snprintf(file, sizeof file, "%s/recipe.yaml", run);
    write_text(file, "task: pretrain\nbatch: {tokens: 12}\nmodel: {style: llama, layers: 3, width: 40, heads: 5, "
                     "dropout: 0.5, init_std: 0.1}\n");
    cr_assert_eq(read_model(&recipe, run, "", NULL), LS_OK, "%s", ls_fail_sentence());
    const ls_transformer_options *o = model_of(recipe);
    cr_expect(o->layers == 3 && o->width == 40 && o->heads == 5 && o->hidden == 128);
    cr_expect(o->context == 0 && o->vocabulary == 0, "the data's, as there");
    cr_expect(o->dropout == 0 && o->init_std == 0.02, "of that training, not of the network");
    ls_recipe_free(recipe);
    snprintf(file, sizeof file, "%s/checkpoints/best", run);
    cr_assert_eq(read_model(&recipe, file, ", width: 40, hidden: 128, context: 99", NULL), LS_OK, "%s",
                 ls_fail_sentence());
    cr_expect(model_of(recipe)->layers == 3 && model_of(recipe)->context == 99);
    ls_recipe_free(recipe);
    cr_expect_eq(read_model(&recipe, run, ", hidden: 64", NULL), LS_ERECIPE);
    cr_expect(strstr(ls_fail_sentence(), "model.hidden: 64 here"), "%s", ls_fail_sentence());
}

/* A run that goes on does not need the folder that it began from. */
Test(recipe_from, the_run_remembers_what_is_gone)
{
    char line[512];
    ls_recipe *recipe;
    snprintf(line, sizeof line, "mkdir %s/run; cp -r %s/tests/golden/hf/qwen2 %s/gone", folder, getenv("LS_SOURCE"),
             folder);
    cr_assert_eq(system(line), 0);
    snprintf(line, sizeof line, "%s/gone", folder);
    cr_assert_eq(read_model(&recipe, line, "", NULL), LS_OK, "%s", ls_fail_sentence());
    char *before = strdup(ls_recipe_config(recipe)->recipe_text);
    ls_recipe_free(recipe);
    snprintf(line, sizeof line, "%s/run/recipe.yaml", folder);
    write_text(line, before);
    snprintf(line, sizeof line, "rm -r %s/gone", folder);
    cr_assert_eq(system(line), 0);
    snprintf(line, sizeof line, "%s/gone", folder);
    cr_assert_eq(read_model(&recipe, line, "", NULL), LS_OK, "%s", ls_fail_sentence());
    cr_expect_str_eq(ls_recipe_config(recipe)->recipe_text, before);
    ls_recipe_free(recipe);
    free(before);
}
