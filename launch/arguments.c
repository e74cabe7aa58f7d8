#include "launch/arguments.h"

#include <stdlib.h>

error_t ls_recipe_argument(ls_recipe_arguments *given, int key, char *value, struct argp_state *state)
{
    switch (key) {
    case ARGP_KEY_ARG:
        if (given->recipe)
            return ARGP_ERR_UNKNOWN; /* the rest comes as ARGP_KEY_ARGS */
        given->recipe = value;
        return 0;
    case ARGP_KEY_ARGS:
        given->override = state->argv + state->next;
        given->overrides = state->argc - state->next;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_END:
        if (!given->recipe)
            argp_error(state, "which recipe? Name a file or a shipped recipe (`lockstep recipes`)");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

error_t ls_folder_argument(ls_folder_arguments *given, int key, char *value, struct argp_state *state)
{
    switch (key) {
    case ARGP_KEY_ARG:
        if (given->folder)
            argp_error(state, "one folder at a time: %s (text behind an option goes in quotes)", value);
        given->folder = value;
        return 0;
    case ARGP_KEY_END:
        if (!given->folder)
            argp_error(state, "which model? Name a run folder or an imported one");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

long ls_count_argument(struct argp_state *state, const char *option, const char *value, long least, long most)
{
    char *end;
    const long count = strtol(value, &end, 10);
    if (end == value || *end || count < least || count > most)
        argp_error(state, "%s=%s: expected a whole number of at least %ld", option, value, least);
    return count;
}
