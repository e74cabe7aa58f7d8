/* One value of a recipe: from a node to the C field that an option names, and back to text.
 *
 * Numbers: 17, -3, 2e-5 and 2E-5 (YAML 1.1 reads the last two as text), with k, M, G, T for powers of 1000 and Ki, Mi,
 * Gi, Ti for powers of 1024 behind them; an integer may be written 1e6 or 1.5k when that is whole. No hexadecimal, no
 * infinity, no NaN. Lists of numbers: [0.9, 0.95]. Sources: a path, a list of paths, or a list of {path, weight}.
 * ~, null or nothing unsets text and sources that need not be set. What ls_option_print writes, ls_option_read reads back to the same bits. */
#pragma once
#include "base/option.h"
#include "launch/recipe/yaml.h"
#include <stdio.h>

/* Stores the node's value in *field. LS_ERECIPE with what was read and what is allowed, without a place: the caller
 * knows the key; *at is the node to blame (an element of a list, or `node`). Text is copied into the arena. */
ls_status ls_option_read(const ls_option *option, const ls_yaml_node *node, void *field, ls_arena *arena, const ls_yaml_node **at);
/* Writes the value as YAML in one line. */
void ls_option_print(const ls_option *option, const void *field, FILE *out);
/* "number in [0, 1]", "text", "true or false": for errors, --help and the manual. */
void ls_option_describe(const ls_option *option, char *text, size_t bytes);
/* The word of `words` ("a|b|c") nearest to `word`, into text. */
void ls_nearest_choice(const char *words, const char *word, char *text, size_t bytes);
/* Levenshtein distance, a swap of neighbours counting as one; words over 64 bytes are cut. */
int ls_edit_distance(const char *a, const char *b);
