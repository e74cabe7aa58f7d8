/* The manual's tables are the option tables: docs/recipes.md ends in exactly what `lockstep recipes --keys` prints. */
#include "launch/keys.h"
#include "train/run.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *printed(void (*print)(FILE *))
{
    char *text;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    print(out);
    fclose(out);
    return text;
}

Test(keys, the_page_shows_every_key_as_it_is)
{
    char path[4096], *page = malloc(1 << 20);
    snprintf(path, sizeof path, "%s/docs/recipes.md", getenv("LS_SOURCE"));
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    size_t bytes = fread(page, 1, (1 << 20) - 1, file);
    fclose(file);
    page[bytes] = '\0';
    char *tables = printed(ls_keys_markdown);
    const char *end = page + bytes - strlen(tables);
    cr_assert(bytes > strlen(tables) && !strcmp(end, tables),
              "docs/recipes.md is behind the option tables: delete it from \"### Top level\" on, then `lockstep recipes --keys >> docs/recipes.md`");
    free(tables);
    free(page);
}

Test(keys, help_names_every_key_and_stays_within_80_columns)
{
    char *help = printed(ls_keys_help);
    for (const ls_option_section *section = ls_train_sections; section->name; section++)
        for (const ls_option *option = section->options; option->key; option++) {
            char key[256];
            snprintf(key, sizeof key, "  %s%s%s=", section->name, *section->name ? "." : "", option->key);
            cr_expect(strstr(help, key), "%s", key);
        }
    for (const char *line = help; *line; line += strcspn(line, "\n") + 1)
        cr_expect_leq(strcspn(line, "\n"), 79, "%.*s", (int)strcspn(line, "\n"), line);
    free(help);
}
