/* Any bytes as a recipe: either they are refused with a sentence that names the place, or they fill the structs and the
 * resolved text reads back to itself. Built with tests/fuzz/mutate.c for ctest, or with clang -fsanitize=fuzzer. */
#include "launch/recipe/schema.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    const char *task, *run;
    int64_t seed;
    bool shuffle;
    int name;
    double lr;
    ls_option_floats betas;
    ls_option_ints sizes;
    ls_option_sources train;
    ls_option_list groups;
} values;

typedef struct {
    const char *match, *note;
    double scale;
    bool still;
} group;

static const ls_option group_rows[] = {
    {"match", LS_OPTION_STRING, offsetof(group, match), LS_OPTION_REQUIRED, 0, 0, NULL, NULL, "match"},
    {"scale", LS_OPTION_FLOAT, offsetof(group, scale), 0, 0, 10, "1", NULL, "scale"},
    {"still", LS_OPTION_BOOL, offsetof(group, still), 0, 0, 0, "false", NULL, "still"},
    {"note", LS_OPTION_STRING, offsetof(group, note), 0, 0, 0, NULL, NULL, "note"},
    {0},
};
static const ls_option_section group_section = {"group", group_rows, sizeof(group)};

static const ls_option top[] = {
    {"task", LS_OPTION_STRING, offsetof(values, task), LS_OPTION_REQUIRED, 0, 0, NULL, NULL, "task"},
    {"run", LS_OPTION_PATH, offsetof(values, run), LS_OPTION_FREE, 0, 0, "here", NULL, "run"},
    {"seed", LS_OPTION_INT, offsetof(values, seed), 0, -1e18, 1e18, "1", NULL, "seed"},
    {"shuffle", LS_OPTION_BOOL, offsetof(values, shuffle), 0, 0, 0, "true", NULL, "shuffle"},
    {0},
};
static const ls_option section[] = {
    {"name", LS_OPTION_CHOICE, offsetof(values, name), 0, 0, 0, "adamw", "adamw|sgd", "name"},
    {"lr", LS_OPTION_FLOAT, offsetof(values, lr), 0, 0, 0, "0.1", NULL, "lr"},
    {"betas", LS_OPTION_FLOATS, offsetof(values, betas), 0, 0, 1, NULL, NULL, "betas"},
    {"sizes", LS_OPTION_INTS, offsetof(values, sizes), 0, 0, 0, "[1, 2]", NULL, "sizes"},
    {"train", LS_OPTION_SOURCES, offsetof(values, train), 0, 0, 0, NULL, NULL, "train"},
    {"groups", LS_OPTION_LIST, offsetof(values, groups), 0, 0, 3, NULL, &group_section, "groups"},
    {0},
};

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* The resolved text, or NULL when the recipe is refused. */
static const char *resolve(ls_arena *arena, values *v, const char *text, size_t size)
{
    ls_schema schema = {.file = "fuzz.yaml", .arena = arena};
    memset(v, 0, sizeof *v);
    ls_schema_add(&schema, "", top, v);
    ls_schema_add(&schema, "data", section, v);
    ls_yaml_node *root;
    ls_fail_clear();
    ls_status status = ls_yaml_parse(&root, text, size, "fuzz.yaml", arena);
    if (!status)
        status = ls_yaml_override(root, "data.lr=2e-5", arena);
    if (!status)
        status = ls_schema_fill(&schema, root);
    if (!status)
        return ls_schema_write(&schema, LS_SCHEMA_ALL);
    require(status == LS_ERECIPE || status == LS_EMEM);
    require(strstr(ls_fail_sentence(), "fuzz.yaml") || strstr(ls_fail_sentence(), "command line") || status == LS_EMEM);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ls_arena *arena;
    values v;
    require(ls_arena_create(&arena, "fuzz", 64 << 20) == LS_OK);
    const char *text = resolve(arena, &v, (const char *)data, size);
    if (text) {
        const char *again = resolve(arena, &v, text, strlen(text));
        require(again && !strcmp(text, again));
    }
    ls_arena_free(arena);
    return 0;
}
