/* model.from says what the network is: a recipe that gives it need not say it again.
 *     model: {from: DIR}
 * DIR is a Hugging Face folder, a run, a checkpoint of one, or an imported folder. Keys of the network that the recipe
 * leaves out come from there; a key that says something else is refused with its line. How it is trained (dropout,
 * recompute, ...) is the recipe's own. */
#pragma once
#include "launch/recipe/schema.h"
#include "models/transformer.h"

/* `model` as the schema filled it from `root`; `run`: the run folder, which remembers the network when DIR is gone. A
 * DIR that is neither is left to who reads the weights. LS_ERECIPE: file, line, key, both values. */
ls_status ls_recipe_take_from(const ls_schema *schema, const ls_yaml_node *root, const char *run,
                              ls_transformer_options *model);
