/* Arguments that several subcommands take in the same way, read by the argp parser of each. */
#pragma once
#include <argp.h>

/* RECIPE [KEY.PATH=VALUE...] */
typedef struct {
    const char *recipe; /* a file, or the name of a shipped one */
    int overrides;
    char **override;
} ls_recipe_arguments;

/* FOLDER, one */
typedef struct {
    const char *folder;
} ls_folder_arguments;

/* For the `default:` of a subcommand's parser: takes what is theirs of argp's keys, and refuses a command line without a
 * recipe (or folder). ARGP_ERR_UNKNOWN: not theirs. */
error_t ls_recipe_argument(ls_recipe_arguments *given, int key, char *value, struct argp_state *state);
error_t ls_folder_argument(ls_folder_arguments *given, int key, char *value, struct argp_state *state);

/* A whole number from `least` to `most`; anything else is refused as "OPTION=VALUE: expected ...". */
long ls_count_argument(struct argp_state *state, const char *option, const char *value, long least, long most);
