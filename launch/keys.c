/* Option tables as help text and as a page of the manual. See keys.h. */
#include "launch/keys.h"
#include "launch/recipe/convert.h"
#include "train/run.h"

#include <string.h>

/* `task` is NULL for sections of every task, `family` for those that every net of the task shares. */
typedef void (*section_printer)(FILE *out, const char *name, const char *task, const char *family, const ls_option *options);

static void each_section(FILE *out, section_printer print)
{
    for (const ls_option_section *section = ls_train_sections; section->name; section++)
        print(out, section->name, NULL, NULL, section->options);
    for (const ls_task *const *task = ls_tasks; *task; task++)
        if ((*task)->options)
            print(out, (*task)->name, (*task)->name, NULL, (*task)->options);
    for (const ls_task *const *task = ls_tasks; *task; task++)
        for (const ls_model_family *family = (*task)->families; family && family->name; family++)
            print(out, "model", (*task)->name, family->name, family->options);
}

/* Words of `text` in lines of at most 78 columns, each after `indent` spaces. */
static void fold(FILE *out, const char *text, int indent)
{
    enum { WIDTH = 78 };
    int column = 0;
    for (const char *word = text + strspn(text, " "); *word; word += strspn(word, " ")) {
        int bytes = (int)strcspn(word, " ");
        if (column && column + 1 + bytes > WIDTH) {
            fputc('\n', out);
            column = 0;
        }
        fprintf(out, "%*s%.*s", column ? 1 : indent, "", bytes, word);
        column += (column ? 1 : indent) + bytes;
        word += bytes;
    }
    fputc('\n', out);
}

static const char *value_or_word(const ls_option *option)
{
    return option->fallback ? option->fallback : option->flags & LS_OPTION_REQUIRED ? "(required)" : "(unset)";
}

static void help_section(FILE *out, const char *name, const char *task, const char *family, const ls_option *options)
{
    if (task)
        fprintf(out, "With `task: %s`%s%s%s:\n", task, family ? " and `model.family: " : "", family ? family : "", family ? "`" : "");
    for (const ls_option *option = options; option->key; option++) {
        char kind[512], text[2048];
        ls_option_describe(option, kind, sizeof kind);
        fprintf(out, "  %s%s%s=%s\n", name, *name ? "." : "", option->key, value_or_word(option));
        snprintf(text, sizeof text, "%s (%s%s)", option->sentence, kind,
                 option->flags & LS_OPTION_FREE ? "" : "; fixed for the life of a run folder");
        fold(out, text, 6);
        if (option->kind != LS_OPTION_LIST)
            continue;
        for (const ls_option *of = ((const ls_option_section *)option->choices)->options; of->key; of++) {
            ls_option_describe(of, kind, sizeof kind);
            snprintf(text, sizeof text, "%s: %s (%s; %s)", of->key, of->sentence, kind, value_or_word(of));
            fold(out, text, 8);
        }
    }
    fputc('\n', out);
}

void ls_keys_help(FILE *out)
{
    each_section(out, help_section);
}

/* A table cell: "|" would end it. */
static void cell(FILE *out, const char *text)
{
    for (; *text; text++)
        fprintf(out, "%s%c", *text == '|' ? "\\" : "", *text);
}

static void markdown_row(FILE *out, const char *before, const ls_option *option, bool free)
{
    char kind[512];
    ls_option_describe(option, kind, sizeof kind);
    fprintf(out, "| `%s%s` | ", before, option->key);
    cell(out, kind);
    fputs(" | ", out);
    if (option->fallback)
        fprintf(out, "`%s`", option->fallback);
    else
        fputs(option->flags & LS_OPTION_REQUIRED ? "required" : "unset", out);
    fprintf(out, " | %s | ", free ? "free" : "fixed");
    cell(out, option->sentence);
    fputs(" |\n", out);
}

static void markdown_section(FILE *out, const char *name, const char *task, const char *family, const ls_option *options)
{
    if (task)
        fprintf(out, "\n### `%s` of task %s%s%s\n", name, task, family ? ", family " : "", family ? family : "");
    else
        fprintf(out, *name ? "\n### `%s`\n" : "\n### Top level\n", name);
    fputs("\n| key | what it is | default | on resume | what it does |\n| --- | --- | --- | --- | --- |\n", out);
    for (const ls_option *option = options; option->key; option++) {
        char before[256];
        const bool free = option->flags & LS_OPTION_FREE;
        snprintf(before, sizeof before, "%s%s", name, *name ? "." : "");
        markdown_row(out, before, option, free);
        if (option->kind != LS_OPTION_LIST)
            continue;
        snprintf(before, sizeof before, "%s%s%s[].", name, *name ? "." : "", option->key);
        for (const ls_option *of = ((const ls_option_section *)option->choices)->options; of->key; of++)
            markdown_row(out, before, of, free);
    }
}

void ls_keys_markdown(FILE *out)
{
    each_section(out, markdown_section);
}
