/* `lockstep data show`: samples and rows as a person reads them, with what is learnt marked: in colour on a terminal, in
 * [brackets] elsewhere. A text may hold anything, so control characters are printed as \xNN, never sent to the terminal. */
#include "datasets/loader.h"
#include "launch/command.h"
#include "launch/data_commands.h"
#include "launch/image_views.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const char *folder;
    int64_t sample, row, tokens, columns;
    bool stream, one_each, ids;
} arguments;

enum { KEY_STREAM = 256, KEY_ONE_EACH, KEY_IDS, KEY_COLUMNS };

static const struct argp_option options[] = {
    {"sample", 's', "N", 0, "The N-th sample or image, from 0 (0)", 0},
    {"row", 'r', "N", 0, "The N-th row instead, as a run makes them before it shuffles", 0},
    {"tokens", 'T', "N", 0, "With --row: positions of a row, batch.tokens (512)", 0},
    {"stream", KEY_STREAM, NULL, 0, "With --row: samples joined and cut, as `pretrain` reads them", 0},
    {"one-each", KEY_ONE_EACH, NULL, 0, "With --row: one sample a row (data.pack: false)", 0},
    {"ids", KEY_IDS, NULL, 0, "One line a token: position, id, learnt or not, text", 0},
    {"columns", KEY_COLUMNS, "N", 0, "Images: how wide to draw (the terminal's width, else 80)", 0},
    {0},
};

static int64_t number(const char *option, const char *text, int64_t least, struct argp_state *state)
{
    char *end;
    const long long value = strtoll(text, &end, 10);
    if (*end || end == text || value < least)
        argp_error(state, "%s %s: a whole number from %lld on is needed", option, text, (long long)least);
    return value;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case 's': given->sample = number("--sample", value, 0, state); return 0;
    case 'r': given->row = number("--row", value, 0, state); return 0;
    case 'T': given->tokens = number("--tokens", value, 2, state); return 0;
    case KEY_STREAM: given->stream = true; return 0;
    case KEY_ONE_EACH: given->one_each = true; return 0;
    case KEY_IDS: given->ids = true; return 0;
    case KEY_COLUMNS: given->columns = number("--columns", value, 2, state); return 0;
    case ARGP_KEY_ARG:
        if (given->folder)
            argp_error(state, "one data set at a time");
        given->folder = value;
        return 0;
    case ARGP_KEY_END:
        if (!given->folder)
            argp_error(state, "which data set? Name the folder that `lockstep data pack` or `data images` made");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* Printing */

void ls_data_print_text(const char *text, size_t bytes, bool on_one_line)
{
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c == '\n' && on_one_line)
            fputs("\\n", stdout);
        else if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f || (c == 0xc2 && i + 1 < bytes && (unsigned char)text[i + 1] < 0xa0))
            printf("\\x%02x", c); /* also the two-byte controls U+0080 .. U+009F */
        else
            putchar(c);
    }
}

static ls_status print_run(ls_tokenizer *tokenizer, const int32_t *ids, int64_t count, bool learnt)
{
    char *text;
    size_t bytes;
    const bool colour = isatty(STDOUT_FILENO);
    const ls_status status = ls_tokenizer_decode(tokenizer, ids, count, &text, &bytes);
    if (status != LS_OK)
        return status;
    if (learnt)
        fputs(colour ? "\033[32m" : "[", stdout);
    ls_data_print_text(text, bytes, false);
    if (learnt)
        fputs(colour ? "\033[0m" : "]", stdout);
    free(text);
    return LS_OK;
}

static ls_status print_table(ls_tokenizer *tokenizer, const int32_t *ids, const uint8_t *learnt, int64_t count)
{
    for (int64_t t = 0; t < count; t++) {
        char *text;
        size_t bytes;
        const ls_status status = ls_tokenizer_decode(tokenizer, &ids[t], 1, &text, &bytes);
        if (status != LS_OK)
            return status;
        printf("%6lld %8d %s ", (long long)t, (int)ids[t], learnt[t] ? "learnt" : "read  ");
        putchar('"');
        ls_data_print_text(text, bytes, true);
        puts("\"");
        free(text);
    }
    return LS_OK;
}

/* Tokens of equal mask are decoded together, since one character may be several tokens. */
static ls_status print_tokens(ls_tokenizer *tokenizer, const int32_t *ids, const uint8_t *learnt, int64_t count, bool table)
{
    if (table)
        return print_table(tokenizer, ids, learnt, count);
    ls_status status = LS_OK;
    for (int64_t t = 0, end; t < count && status == LS_OK; t = end) {
        for (end = t + 1; end < count && learnt[end] == learnt[t];)
            end++;
        status = print_run(tokenizer, ids + t, end - t, learnt[t]);
    }
    putchar('\n');
    return status;
}

/* What is shown */

static ls_status show_sample(const arguments *given, const ls_shards *set, ls_tokenizer *tokenizer)
{
    const int32_t *ids;
    const uint8_t *mask;
    int64_t count;
    if (given->sample >= ls_shards_samples(set))
        return ls_fail(LS_EARG, "%s: there is no sample %lld; it has 0 .. %lld", given->folder, (long long)given->sample,
                       (long long)ls_shards_samples(set) - 1);
    const ls_status status = ls_shards_text(set, given->sample, &ids, &mask, &count);
    if (status != LS_OK)
        return status;
    printf("-- sample %lld%s: %lld tokens, %lld of them learnt", (long long)given->sample,
           ls_shards_form_of(set) != LS_SHARDS_PAIRS ? "" : given->sample % 2 ? " (rejected)" : " (preferred)", (long long)count,
           (long long)ls_shards_counted(set, given->sample));
    if (ls_shards_form_of(set) == LS_SHARDS_OUTCOMES)
        printf(", outcome %g", (double)ls_shards_value(set, given->sample));
    putchar('\n');
    return print_tokens(tokenizer, ids, mask, count, given->ids);
}


/* A token is learnt where the position before it has it as its label. */
static ls_status print_segments(const arguments *given, ls_tokenizer *tokenizer, const ls_grain_memory *row, uint8_t *learnt)
{
    ls_status status = LS_OK;
    for (int64_t t = 0; t < given->tokens; t++)
        learnt[t] = t > 0 && row->segments[t] == row->segments[t - 1] && row->labels[t - 1] >= 0;
    for (int64_t t = 0, end; t < given->tokens && status == LS_OK; t = end) {
        for (end = t + 1; end < given->tokens && row->segments[end] == row->segments[t];)
            end++;
        if (row->segments[t] < 0) {
            printf("-- padding: %lld positions\n", (long long)(end - t));
            continue;
        }
        printf("-- segment %d: positions %lld .. %lld\n", (int)row->segments[t], (long long)t, (long long)end - 1);
        status = print_tokens(tokenizer, row->ids + t, learnt + t, end - t, given->ids);
    }
    return status;
}

static ls_status show_row(const arguments *given, ls_shards_form form, ls_tokenizer *tokenizer)
{
    const ls_data_options how = {.sources = {.count = 1, .source = {{given->folder, 1}}}, .tokens = given->tokens, .grain = 1,
                                 .pack = !given->one_each, .stream = given->stream,
                                 .on_long = form == LS_SHARDS_TEXT ? LS_LONG_TRUNCATE : LS_LONG_SKIP, .epochs = 1};
    ls_data *data;
    ls_status status = ls_data_open(&data, &how);
    if (status != LS_OK)
        return status;
    ls_grain_memory row;
    ls_grain grain;
    uint8_t *learnt = malloc((size_t)given->tokens);
    status = ls_grain_memory_make(&row, data);
    if (status == LS_OK && given->row >= ls_data_rows(data))
        status = ls_fail(LS_EARG, "%s: there is no row %lld of %lld positions; it has 0 .. %lld", given->folder, (long long)given->row,
                         (long long)given->tokens, (long long)ls_data_rows(data) - 1);
    else if (status == LS_OK && !learnt)
        status = ls_fail(LS_EMEM, "no memory for a row of %lld positions", (long long)given->tokens);
    else if (status == LS_OK && (status = ls_data_fill_grain(data, &(ls_grain_request){.position = given->row, .rows = 1}, &row, &grain)) == LS_OK) {
        printf("-- row %lld: %lld %s, first sample %lld\n", (long long)given->row, (long long)grain.counted,
               form == LS_SHARDS_PAIRS ? "pairs" : form == LS_SHARDS_OUTCOMES ? "outcomes" : "labels", (long long)grain.samples[0]);
        status = print_segments(given, tokenizer, &row, learnt);
    }
    ls_grain_memory_free(&row);
    free(learnt);
    ls_data_free(data);
    return status;
}

int ls_data_show(int argc, char **argv)
{
    static const struct argp parser = {options, parse, "FOLDER",
                                       "Shows a sample or a row as text; what the model learns to say is green, or in [brackets] where there "
                                       "are no colours. Shows an image as coloured half blocks, or as characters.", NULL, NULL, NULL};
    arguments given = {.row = -1, .tokens = 512};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    if (ls_folder_holds_images(given.folder)) {
        const ls_status shown = ls_images_print(given.folder, given.sample, given.columns);
        return shown == LS_OK ? 0 : ls_command_failed("data show", shown);
    }
    ls_shards *set = NULL;
    ls_tokenizer *tokenizer = NULL;
    ls_status status = ls_shards_open(&set, given.folder, false);
    if (status == LS_OK && !ls_shards_tokenizer_path(set))
        status = ls_fail(LS_ENOTFOUND, "%s: holds no tokenizer, so its tokens cannot be shown as text", given.folder);
    if (status == LS_OK)
        status = ls_tokenizer_open(&tokenizer, ls_shards_tokenizer_path(set));
    if (status == LS_OK)
        status = given.row >= 0 ? show_row(&given, ls_shards_form_of(set), tokenizer) : show_sample(&given, set, tokenizer);
    ls_tokenizer_free(tokenizer);
    ls_shards_free(set);
    return status == LS_OK ? 0 : ls_command_failed("data show", status);
}
