/* The keys of recipes as text, printed from the option tables: they cannot say anything else than the schema does. */
#pragma once
#include <stdio.h>

void ls_keys_help(FILE *out);     /* for `lockstep train --help`, 78 columns */
void ls_keys_markdown(FILE *out); /* the tables of docs/recipes.md */
