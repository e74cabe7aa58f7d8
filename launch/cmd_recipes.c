/* `lockstep recipes`: what is shipped, one line each; with a name, its text, ready to be saved and changed. */
#include "launch/command.h"
#include "launch/keys.h"
#include "launch/recipe.h"
#include "launch/recipe/shipped.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *name;
    bool keys, tasks;
} arguments;

static const struct argp_option options[] = {
    {"keys", 'k', NULL, 0, "Print every key of a recipe as the tables of the manual", 0},
    {"tasks", 't', NULL, 0, "List the tasks that `task:` can name", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case 'k': given->keys = true; return 0;
    case 't': given->tasks = true; return 0;
    case ARGP_KEY_ARG:
        if (given->name)
            argp_error(state, "one name at a time: %s", value);
        given->name = value;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "[NAME]",
    .doc = "Lists the shipped recipes, or prints the one called NAME. Save it under a name of your own to change it:\n"
           "`lockstep recipes gsm8k-sft > my.yaml`.\v"
           "Shipped recipes are looked for in the folders of LOCKSTEP_RECIPES (separated by colons) first.",
};

/* Its first comment, without "recipes/NAME.yaml:" in front. */
static void print_row(void *context, const char *name, const char *path)
{
    (void)context;
    char line[512] = "";
    FILE *file = fopen(path, "r");
    if (file && !fgets(line, sizeof line, file))
        *line = '\0';
    if (file)
        fclose(file);
    line[strcspn(line, "\n")] = '\0';
    const char *text = *line == '#' ? line + 1 + strspn(line + 1, " ") : "";
    const char *after = strstr(text, ".yaml: ");
    printf("%-28s %s\n", name, after ? after + strlen(".yaml: ") : text);
}

static ls_status print_text(const char *name)
{
    char path[PATH_MAX], buffer[4096];
    ls_status status = ls_recipe_find(name, path);
    if (status)
        return status;
    FILE *file = fopen(path, "rb");
    if (!file)
        return ls_fail(LS_EIO, "%s: %s", path, strerror(errno));
    for (size_t bytes; (bytes = fread(buffer, 1, sizeof buffer, file)) > 0;)
        fwrite(buffer, 1, bytes, stdout);
    if (ferror(file))
        status = ls_fail(LS_EIO, "%s: %s", path, strerror(errno));
    fclose(file);
    return status;
}

static int run(int argc, char **argv)
{
    arguments given = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    if (given.keys)
        ls_keys_markdown(stdout);
    if (given.tasks)
        for (const ls_task *const *task = ls_tasks; *task; task++)
            printf("%-28s %s\n", (*task)->name, (*task)->sentence);
    if (given.name)
        return ls_command_failed("recipes", print_text(given.name));
    if (given.keys || given.tasks)
        return 0;
    return ls_command_failed("recipes", ls_recipes_each(print_row, NULL));
}

const ls_command ls_command_recipes = {"recipes", "list the shipped recipes, or print one", run};
