/* The resolved recipe as text: what was read, with every default filled in. It is stored with the run and its
 * checkpoints, and reading it gives the same structs to the bit, so a run folder alone says what was trained.
 * The fixed part is what a resume compares: two runs with equal fixed text may share a folder, and so may a run begun
 * before a key was known and one that has the key's default (train/folder.c). */
#include "launch/recipe/schema.h"

#include <stdlib.h>
#include <string.h>

static bool is_text(const ls_option *option)
{
    return option->kind == LS_OPTION_STRING || option->kind == LS_OPTION_PATH;
}

/* A value that the table's default gives by itself and that YAML has no word for but null. */
static bool left_out(const ls_option *option, const void *field)
{
    if (is_text(option))
        return !option->fallback && !*(const char *const *)field;
    if (option->kind == LS_OPTION_LIST)
        return ((const ls_option_list *)field)->count == 0;
    return option->kind == LS_OPTION_SOURCES && ((const ls_option_sources *)field)->count == 0;
}

static char *print(const ls_option *option, const void *field)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return NULL;
    ls_option_print(option, field, out);
    return fclose(out) == 0 ? text : (free(text), NULL);
}

/* Values are compared as they are written: that tells lists and texts apart as well. */
static bool holds_default(const ls_schema *schema, int s, const ls_option *option, const void *field)
{
    union {
        ls_option_sources sources;
        ls_option_ints ints;
        ls_option_floats floats;
        ls_option_every every;
        ls_option_list list;
        double number;
        int64_t integer;
        const char *text;
    } fallback = {0};
    if ((option->flags & LS_OPTION_REQUIRED) || ls_schema_default(schema, s, option, &fallback))
        return false;
    char *is = print(option, field), *was = print(option, &fallback);
    const bool same = is && was && !strcmp(is, was);
    free(is);
    free(was);
    return same;
}

static bool is_asked(const ls_schema *schema, int s, const ls_option *option, const void *field, ls_schema_part part)
{
    if (left_out(option, field) || (part != LS_SCHEMA_ALL && (option->flags & LS_OPTION_FREE)))
        return false;
    return part != LS_SCHEMA_FIXED_DEFAULTS || holds_default(schema, s, option, field);
}

static void write_section(const ls_schema *schema, int s, ls_schema_part part, FILE *out)
{
    bool named = *schema->section[s].name, opened = !named;
    for (const ls_option *option = schema->section[s].options; option && option->key; option++) {
        const void *field = (const char *)schema->section[s].values + option->offset;
        if (!is_asked(schema, s, option, field, part))
            continue;
        if (!opened)
            fprintf(out, "%s:\n", schema->section[s].name);
        opened = true;
        fprintf(out, "%s%s: ", named ? "  " : "", option->key);
        ls_option_print(option, field, out);
        fputc('\n', out);
    }
}

char *ls_schema_write(const ls_schema *schema, ls_schema_part part)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return NULL;
    for (int s = 0; s < schema->sections; s++)
        write_section(schema, s, part, out);
    bool whole = !ferror(out);
    whole &= fclose(out) == 0;
    char *kept = whole ? ls_arena_take(schema->arena, bytes + 1) : NULL;
    if (kept)
        memcpy(kept, text, bytes + 1);
    free(text);
    return kept;
}
