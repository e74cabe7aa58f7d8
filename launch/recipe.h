/* Recipes: YAML to the structs of train/run.h, by the tables of options that each layer owns.
 * An unknown key, a wrong type or a bad range is refused with file, line and the nearest valid key. */
#pragma once
#include "train/run.h"

typedef struct ls_recipe ls_recipe;

/* Reads `path` (a file, or the name of a shipped recipe), then overrides "key.path=value". LS_ERECIPE: file, line,
 * key, what was read, what is allowed, nearest key. Everything config points to lives until ls_recipe_free. */
ls_status ls_recipe_read(ls_recipe **recipe, const char *path, int overrides, char *const *override);
void ls_recipe_free(ls_recipe *recipe);
const ls_train_config *ls_recipe_config(const ls_recipe *recipe);

/* Only the `model` section of a recipe or of a run's recipe.yaml: what `generate` and `eval` need, for folders that
 * were imported and name neither task nor data. */
ls_status ls_recipe_read_model(const char *path, ls_transformer_options *model);
/* The same, but a context that is left to the length of rows stays 0. */
ls_status ls_recipe_read_model_as_written(const char *path, ls_transformer_options *model);
