/* The resolved recipe as text: what was read, with every default filled in. It is stored with the run and its
 * checkpoints, and reading it gives the same structs to the bit, so a run folder alone says what was trained.
 * The text with `fixed` is what a resume compares: two runs with equal fixed text may share a folder. */
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

static void write_section(const ls_schema *schema, int s, bool fixed, FILE *out)
{
    bool named = *schema->section[s].name, opened = !named;
    for (const ls_option *option = schema->section[s].options; option && option->key; option++) {
        const void *field = (const char *)schema->section[s].values + option->offset;
        if ((fixed && (option->flags & LS_OPTION_FREE)) || left_out(option, field))
            continue;
        if (!opened)
            fprintf(out, "%s:\n", schema->section[s].name);
        opened = true;
        fprintf(out, "%s%s: ", named ? "  " : "", option->key);
        ls_option_print(option, field, out);
        fputc('\n', out);
    }
}

char *ls_schema_write(const ls_schema *schema, bool fixed)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return NULL;
    for (int s = 0; s < schema->sections; s++)
        write_section(schema, s, fixed, out);
    bool whole = !ferror(out);
    whole &= fclose(out) == 0;
    char *kept = whole ? ls_arena_take(schema->arena, bytes + 1) : NULL;
    if (kept)
        memcpy(kept, text, bytes + 1);
    free(text);
    return kept;
}
