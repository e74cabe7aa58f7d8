/* The recipes that come with lockstep: every NAME.yaml of the recipes folder, found by name from anywhere.
 * Looked for in $LOCKSTEP_RECIPES (a colon-separated list), then where this binary was installed, then where it was
 * built. Which folder won never shows in a result: the resolved recipe is what is stored. */
#pragma once
#include "base/error.h"

#include <limits.h>

/* `name`: a file, or the name of a shipped recipe. LS_ENOTFOUND with the nearest shipped name. */
ls_status ls_recipe_find(const char *name, char path[PATH_MAX]);
/* Calls `each` for every shipped recipe in order of name; the first folder that has a name wins. */
ls_status ls_recipes_each(void (*each)(void *context, const char *name, const char *path), void *context);
