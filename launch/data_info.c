/* `lockstep data info` and `lockstep data verify`: what a data set holds, and whether it is whole. */
#include "datasets/loader.h"
#include "datasets/sums.h"
#include "launch/command.h"
#include "launch/data_commands.h"
#include "launch/image_views.h"

#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    int64_t tokens;
    char **folder;
    int folders;
} arguments;

static const struct argp_option info_options[] = {
    {"tokens", 'T', "N", 0, "Also tell how its samples fill rows of N positions (batch.tokens)", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    char *end;
    switch (key) {
    case 'T':
        given->tokens = strtoll(value, &end, 10);
        if (*end || given->tokens < 2 || given->tokens > INT32_MAX)
            argp_error(state, "--tokens %s: a whole number from 2 on is needed", value);
        return 0;
    case ARGP_KEY_ARGS:
        given->folder = state->argv + state->next;
        given->folders = state->argc - state->next;
        return 0;
    case ARGP_KEY_END:
        if (!given->folders)
            argp_error(state, "which data set? Name the folder that `lockstep data pack` or `data images` made");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static int ascending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static ls_status print_lengths(const ls_shards *set)
{
    const int64_t samples = ls_shards_samples(set);
    int64_t *length = malloc((size_t)samples * sizeof *length);
    if (!length)
        return ls_fail(LS_EMEM, "%s: no memory for the lengths of %lld samples", ls_shards_folder(set), (long long)samples);
    for (int64_t s = 0; s < samples; s++)
        length[s] = ls_shards_length(set, s);
    qsort(length, (size_t)samples, sizeof *length, ascending);
    printf("  sample lengths   %" PRId64 " shortest, %" PRId64 " median, %" PRId64 " for 99%%, %" PRId64 " longest\n", length[0],
           length[samples / 2], length[samples - 1 - samples / 100], length[samples - 1]);
    free(length);
    return LS_OK;
}

/* What pairs and outcomes say besides their texts. */
static void print_judged(const ls_shards *set)
{
    const int64_t samples = ls_shards_samples(set);
    double sum = 0;
    int64_t told = 0;
    for (int64_t s = 0; s < samples; s++) {
        const double value = (double)ls_shards_value(set, s);
        sum += value;
        told += value != 0;
    }
    if (ls_shards_form_of(set) == LS_SHARDS_PAIRS)
        printf("  pairs            %" PRId64 ", each a preferred answer and a rejected one; %" PRId64 " with a margin\n", samples / 2, told);
    else
        printf("  outcomes         %.1f%% right\n", 100 * sum / (double)samples);
}

static void print_set(const ls_shards *set)
{
    const int64_t tokens = ls_shards_tokens(set);
    printf("%s\n", ls_shards_folder(set));
    printf("  made from        %s\n", ls_shards_source(set));
    printf("  template         %s\n", ls_shards_template(set)[0] ? ls_shards_template(set) : "none (documents)");
    printf("  samples          %" PRId64 "\n", ls_shards_samples(set));
    if (ls_shards_form_of(set) != LS_SHARDS_TEXT)
        print_judged(set);
    printf("  tokens           %" PRId64 ", %.1f%% learnt\n", tokens, 100.0 * (double)ls_shards_unmasked(set) / (double)tokens);
    printf("  vocabulary       %" PRId64 ", tokenizer %s (hash %016" PRIx64 ")\n", ls_shards_vocabulary(set),
           ls_shards_tokenizer_path(set) ? ls_shards_tokenizer_path(set) : "not stored", ls_shards_tokenizer_hash(set));
    printf("  shards           %" PRId64 "\n", ls_shards_files(set));
    printf("  hash             %016" PRIx64 "\n", ls_shards_hash(set));
}

/* The same rows that a run would make of it. */
static ls_status print_rows(const char *folder, ls_shards_form form, int64_t tokens)
{
    static const char *const names[] = {"packed", "one each", "stream"};
    for (int kind = 0; kind < (form == LS_SHARDS_TEXT ? 3 : 2); kind++) { /* pairs and outcomes are neither joined nor cut */
        const ls_data_options options = {.sources = {.count = 1, .source = {{folder, 1}}}, .tokens = tokens, .grain = 1, .pack = kind == 0,
                                         .stream = kind == 2, .on_long = form == LS_SHARDS_TEXT ? LS_LONG_TRUNCATE : LS_LONG_SKIP, .epochs = 1};
        ls_data *data;
        const ls_status status = ls_data_open(&data, &options);
        if (status != LS_OK)
            return status;
        printf("  rows of %-8" PRId64 " %s: %" PRId64 ", %.1f%% filled", tokens, names[kind], ls_data_rows(data), 100 * ls_data_fill(data));
        const int64_t longer = ls_data_truncated(data) + ls_data_skipped(data);
        if (longer)
            printf(", %" PRId64 " %s longer", longer, form == LS_SHARDS_PAIRS ? "pairs are" : "samples are");
        putchar('\n');
        ls_data_free(data);
    }
    return LS_OK;
}

static ls_status info_of(const char *folder, int64_t tokens)
{
    if (ls_folder_holds_images(folder))
        return ls_images_print_info(folder);
    ls_shards *set;
    ls_status status = ls_shards_open(&set, folder, false);
    if (status != LS_OK)
        return status;
    print_set(set);
    status = print_lengths(set);
    const ls_shards_form form = ls_shards_form_of(set);
    ls_shards_free(set);
    return status == LS_OK && tokens ? print_rows(folder, form, tokens) : status;
}

int ls_data_info(int argc, char **argv)
{
    static const struct argp parser = {info_options, parse, "FOLDER...", "Tells what a data set holds.", NULL, NULL, NULL};
    arguments given = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    for (int i = 0; i < given.folders; i++) {
        const ls_status status = info_of(given.folder[i], given.tokens);
        if (status != LS_OK)
            return ls_command_failed("data info", status);
    }
    return 0;
}

static ls_status verify(const char *folder)
{
    if (ls_folder_holds_images(folder))
        return ls_images_print_verified(folder);
    ls_shards *set;
    ls_status status = ls_shards_open(&set, folder, true);
    if (status != LS_OK)
        return status;
    status = ls_sums_check(folder);
    if (status == LS_OK)
        printf("%s: whole; %" PRId64 " samples, %" PRId64 " tokens in %" PRId64 " shards, hash %016" PRIx64 "\n", folder, ls_shards_samples(set),
           ls_shards_tokens(set), ls_shards_files(set), ls_shards_hash(set));
    ls_shards_free(set);
    return status;
}

int ls_data_verify(int argc, char **argv)
{
    static const struct argp parser = {NULL, parse, "FOLDER...", "Reads every byte of a data set and checks it against the sums it was written with.",
                                       NULL, NULL, NULL};
    arguments given = {0};
    int exit_code = 0;
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    for (int i = 0; i < given.folders; i++) { /* all of them: who verifies wants the whole list */
        const ls_status status = verify(given.folder[i]);
        if (status != LS_OK)
            exit_code = ls_command_failed("data verify", status);
    }
    return exit_code;
}
