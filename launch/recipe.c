/* A recipe file and a command line become an ls_train_config. See recipe.h.
 *
 * The steps, each one file of launch/recipe/: yaml.c (tree with lines, overrides put in), schema.c (the tree against the
 * option tables; the last section is the task's own), convert.c (values by kind), from.c (what model.from says of the
 * network), resolve.c (the result as text). */
#include "launch/recipe.h"
#include "launch/recipe/from.h"
#include "launch/recipe/schema.h"
#include "launch/recipe/shipped.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES = 64 << 20 }; /* addresses; a recipe touches a few hundred KiB */

struct ls_recipe {
    ls_train_config config;
    ls_arena *arena;
    ls_schema schema;
    char path[PATH_MAX];
};

static void list_tasks(char *text, size_t bytes, const char *between)
{
    size_t used = 0;
    *text = '\0';
    for (const ls_task *const *task = ls_tasks; *task && used < bytes; task++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", used ? between : "", (*task)->name);
}

/* `task:` decides which section closes the schema, so it is read before anything is checked. */
static ls_status find_task(ls_recipe *recipe, const ls_yaml_node *root)
{
    char names[1024];
    const ls_yaml_node *node = ls_yaml_find(root, "task");
    list_tasks(names, sizeof names, ", ");
    if (!node)
        return ls_fail(LS_ERECIPE, "%s: task: required key is missing; one of: %s", recipe->path, names);
    recipe->config.task = node->kind == LS_YAML_SCALAR ? ls_task_find(node->text) : NULL;
    if (recipe->config.task)
        return LS_OK;
    list_tasks(names, sizeof names, "|");
    ls_option tasks = {.key = "task", .kind = LS_OPTION_CHOICE, .choices = names};
    int index;
    const ls_yaml_node *at;
    ls_option_read(&tasks, node, &index, recipe->arena, &at);
    return ls_schema_fail_at(&recipe->schema, node, "task");
}

/* The sections of other tasks are known words, and deserve a better answer than "no such key". */
static ls_status refuse_other_tasks(const ls_recipe *recipe, const ls_yaml_node *root)
{
    const char *mine = recipe->config.task->name;
    for (const ls_task *const *task = ls_tasks; *task; task++) {
        const ls_yaml_node *node = (*task)->options && strcmp((*task)->name, mine) ? ls_yaml_find(root, (*task)->name) : NULL;
        if (node) {
            ls_fail(LS_ERECIPE, "section of another task; this recipe's task is %s", mine);
            return ls_schema_fail_at(&recipe->schema, node, (*task)->name);
        }
    }
    return LS_OK;
}

static bool has_row(const ls_model_family *family, const char *key)
{
    for (const ls_option *row = family->options; row->key; row++)
        if (!strcmp(row->key, key))
            return true;
    return false;
}

/* `model.family` names the table of the rest of the section; left out it is the first. Where a task knows one family alone
 * its table has no row for the word, which is then taken out of the tree. */
static ls_status take_family(const ls_schema *schema, ls_yaml_node *root, const ls_model_family *families, const ls_model_family **family)
{
    ls_yaml_node *model = ls_yaml_find(root, "model");
    ls_yaml_node **link = model ? &model->first : NULL;
    char names[256];
    size_t used = 0;
    *family = families;
    while (link && *link && strcmp((*link)->key, "family"))
        link = &(*link)->next;
    if (!link || !*link)
        return LS_OK;
    for (const ls_model_family *f = families; f->name && used < sizeof names; f++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? "|" : "", f->name);
    const ls_option choice = {.key = "family", .kind = LS_OPTION_CHOICE, .choices = names};
    int index;
    const ls_yaml_node *at;
    if (ls_option_read(&choice, *link, &index, schema->arena, &at))
        return ls_schema_fail_at(schema, at, "model.family");
    *family = &families[index];
    if (!has_row(*family, "family"))
        *link = (*link)->next;
    return LS_OK;
}

static ls_status fill(ls_recipe *recipe, ls_yaml_node *root)
{
    ls_train_config *config = &recipe->config;
    ls_schema *schema = &recipe->schema;
    ls_status status = find_task(recipe, root);
    if (!status)
        status = refuse_other_tasks(recipe, root);
    if (!status)
        status = take_family(schema, root, ls_task_families(config->task), &config->family);
    if (status)
        return status;
    config->model = ls_arena_take(recipe->arena, config->family->size);
    if (!config->model)
        return ls_arena_status(recipe->arena);
    memset(config->model, 0, config->family->size);
    for (int s = 0; ls_train_sections[s].name; s++)
        ls_schema_add(schema, ls_train_sections[s].name, ls_train_section_of(config->family, s).options, ls_train_section(config, s));
    if (config->task->options) {
        config->task_options = ls_arena_take(recipe->arena, config->task->options_size);
        if (!config->task_options)
            return ls_arena_status(recipe->arena);
        memset(config->task_options, 0, config->task->options_size);
        ls_schema_add(schema, config->task->name, config->task->options, config->task_options);
    }
    status = ls_schema_fill(schema, root);
    if (!status && config->family->options == ls_transformer_option_rows && ((const ls_model_begin *)config->model)->from)
        status = ls_recipe_take_from(schema, root, config->run.run, config->model);
    if (status)
        return status;
    config->recipe_text = ls_schema_write(schema, LS_SCHEMA_ALL);
    config->recipe_fixed = ls_schema_write(schema, LS_SCHEMA_FIXED);
    config->recipe_defaults = ls_schema_write(schema, LS_SCHEMA_FIXED_DEFAULTS);
    return config->recipe_text && config->recipe_fixed && config->recipe_defaults ? LS_OK : ls_fail(LS_EMEM, "%s: no memory", recipe->path);
}

ls_status ls_recipe_read(ls_recipe **out, const char *path, int overrides, char *const *override)
{
    *out = NULL;
    ls_recipe *recipe = calloc(1, sizeof *recipe);
    if (!recipe)
        return ls_fail(LS_EMEM, "%s: no memory", path);
    ls_status status = ls_arena_create(&recipe->arena, "recipe", ARENA_BYTES);
    if (!status)
        status = ls_recipe_find(path, recipe->path);
    recipe->schema.file = recipe->path;
    recipe->schema.arena = recipe->arena;
    ls_yaml_node *root = NULL;
    if (!status)
        status = ls_yaml_read(&root, recipe->path, recipe->arena);
    if (!status && root->kind != LS_YAML_MAP)
        status = ls_fail(LS_ERECIPE, "%s:%d: expected `key: value` lines", recipe->path, root->line);
    for (int i = 0; i < overrides && !status; i++)
        status = ls_yaml_override(root, override[i], recipe->arena);
    if (!status)
        status = fill(recipe, root);
    if (status)
        ls_recipe_free(recipe);
    else
        *out = recipe;
    return status;
}

void ls_recipe_free(ls_recipe *recipe)
{
    if (!recipe)
        return;
    ls_arena_free(recipe->arena);
    free(recipe);
}

const ls_train_config *ls_recipe_config(const ls_recipe *recipe)
{
    return &recipe->config;
}

/* A recipe that leaves model.context out means the length of its rows. */
static ls_status context_of_rows(const ls_yaml_node *root, const ls_schema *schema, ls_transformer_options *model)
{
    static const ls_option tokens = {.key = "tokens", .kind = LS_OPTION_INT, .min = 1, .max = 1e7};
    const ls_yaml_node *batch = ls_yaml_find(root, "batch"), *node = batch ? ls_yaml_find(batch, "tokens") : NULL, *at;
    if (!node)
        return ls_fail(LS_ERECIPE, "%s: neither model.context nor batch.tokens says how many positions the model has", schema->file);
    return ls_option_read(&tokens, node, &model->context, schema->arena, &at) ? ls_schema_fail_at(schema, at, "batch.tokens") : LS_OK;
}

static ls_status read_model(const char *path, bool resolve_context, ls_transformer_options *model)
{
    memset(model, 0, sizeof *model);
    ls_arena *arena;
    ls_status status = ls_arena_create(&arena, "recipe", ARENA_BYTES);
    if (status)
        return status;
    ls_schema schema = {.file = path, .arena = arena};
    ls_schema_add(&schema, "model", ls_transformer_option_rows, model);
    ls_yaml_node *root, only = {.kind = LS_YAML_MAP};
    status = ls_yaml_read(&root, path, arena);
    const ls_model_family *family;
    if (!status)
        status = take_family(&schema, root, ls_text_families, &family);
    if (!status) {
        only.first = ls_yaml_find(root, "model");
        if (!only.first)
            status = ls_fail(LS_ERECIPE, "%s: no section `model`, so nothing is known of the network", path);
    }
    if (!status) {
        ls_yaml_node alone = *only.first;
        alone.next = NULL;
        only.first = &alone;
        status = ls_schema_fill(&schema, &only);
    }
    if (!status && !model->context && resolve_context)
        status = context_of_rows(root, &schema, model);
    ls_arena_free(arena);
    return status;
}

ls_status ls_recipe_read_model(const char *path, ls_transformer_options *model)
{
    return read_model(path, true, model);
}

ls_status ls_recipe_read_model_as_written(const char *path, ls_transformer_options *model)
{
    return read_model(path, false, model);
}
