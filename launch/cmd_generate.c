/* `lockstep generate`: text from a trained or imported model. One prompt is streamed to the terminal as it is drawn;
 * the prompts of a file are drawn in batches and printed in order. Row r's token at position t comes from the counter
 * RNG (seed, r, t), so the batch a prompt falls into changes nothing. */
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/model_folder.h"
#include "models/generate/generate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 16 };

typedef struct {
    ls_folder_arguments from;
    const char *prompt, *prompts, *template_name;
    ls_template template; /* opened when template_name is set */
    ls_generate_options how;
    int threads;
    bool ids, averaged;
} arguments;

enum { KEY_TEMPERATURE = 256, KEY_TOP_P, KEY_TOP_K, KEY_SEED, KEY_IDS, KEY_EMA, KEY_THREADS, KEY_TEMPLATE };
static const struct argp_option options[] = {
    {"prompt", 'p', "TEXT", 0, "Begin with TEXT (nothing)", 0},
    {"prompts", 'f', "FILE", 0, "One prompt a line of FILE", 0},
    {"max-tokens", 'n', "N", 0, "Stop after N new tokens (256), or at end-of-text, or at the model's context", 0},
    {"temperature", KEY_TEMPERATURE, "T", 0, "Divide logits by T; 0: always the likeliest token (0.8)", 0},
    {"top-p", KEY_TOP_P, "P", 0, "Draw from the likeliest tokens that hold P of the probability (0.95); 1: off", 0},
    {"top-k", KEY_TOP_K, "K", 0, "Draw from the K likeliest tokens; 0: off (0)", 0},
    {"seed", KEY_SEED, "SEED", 0, "Key of the counter random numbers (0)", 0},
    {"template", KEY_TEMPLATE, "NAME", 0, "Prompts are questions, to be put as they were packed: " LS_TEMPLATE_CHOICES "; none: go on with the text as it is (what FOLDER was trained on)", 0},
    {"ids", KEY_IDS, NULL, 0, "Print the ids of the new tokens instead of text", 0},
    {"ema", KEY_EMA, NULL, 0, "Take the averaged weights (ema.decay)", 0},
    {"threads", KEY_THREADS, "N", 0, "Threads (OMP_NUM_THREADS, else all cores)", 0},
    {0},
};

static double number(struct argp_state *state, const char *option, const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most))
        argp_error(state, "--%s=%s: expected a number in [%g, %g]", option, text, least, most);
    return value;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case 'p': given->prompt = value; return 0;
    case 'f': given->prompts = value; return 0;
    case 'n': given->how.max_tokens = (int64_t)number(state, "max-tokens", value, 1, 1e6); return 0;
    case KEY_TEMPERATURE: given->how.temperature = number(state, "temperature", value, 0, 100); return 0;
    case KEY_TOP_P: given->how.top_p = number(state, "top-p", value, 0, 1); return 0;
    case KEY_TOP_K: given->how.top_k = (int64_t)number(state, "top-k", value, 0, 1e6); return 0;
    case KEY_SEED: given->how.seed = (uint64_t)number(state, "seed", value, 0, 9e15); return 0;
    case KEY_TEMPLATE: given->template_name = value; return 0;
    case KEY_IDS: given->ids = true; return 0;
    case KEY_EMA: given->averaged = true; return 0;
    case KEY_THREADS: given->threads = (int)number(state, "threads", value, 1, 1024); return 0;
    case ARGP_KEY_END:
        if (given->prompt && given->prompts)
            argp_error(state, "--prompt and --prompts exclude each other");
        return ls_folder_argument(&given->from, key, value, state);
    default: return ls_folder_argument(&given->from, key, value, state);
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "FOLDER",
    .doc = "Prints text that the model of FOLDER (a run, one of its checkpoints, or an imported model) draws.\v"
           "Example: lockstep generate runs/gsm8k-sft --prompt 'How many legs have 3 cats?' --temperature 0",
};

typedef struct {
    char **line;
    int64_t count;
} prompt_list;

static ls_status read_prompts(const char *path, prompt_list *list)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return ls_fail(errno == ENOENT ? LS_ENOTFOUND : LS_EIO, "%s: %s", path, strerror(errno));
    ls_status status = LS_OK;
    char *line = NULL;
    size_t room = 0;
    while (!status && getline(&line, &room, file) > 0) {
        line[strcspn(line, "\r\n")] = '\0';
        char **grown = realloc(list->line, (size_t)(list->count + 1) * sizeof *grown), *copy = strdup(line);
        list->line = grown ? grown : list->line;
        if (grown && copy)
            list->line[list->count++] = copy;
        else
            status = (free(copy), ls_fail(LS_EMEM, "%s: no memory for its prompts", path));
    }
    if (!status && ferror(file))
        status = ls_fail(LS_EIO, "%s: %s", path, strerror(errno));
    if (!status && !list->count)
        status = ls_fail(LS_EFORMAT, "%s: empty; write one prompt a line", path);
    free(line);
    fclose(file);
    return status;
}

static void free_prompts(prompt_list *list)
{
    for (int64_t i = 0; i < list->count; i++)
        free(list->line[i]);
    free(list->line);
}

/* A row as it grows on the terminal: a token may end inside a character, so bytes are printed, not characters. */
typedef struct {
    const ls_model_folder *folder;
    int32_t *id; /* prompt and new tokens */
    int64_t prompt, count;
    size_t printed;
    bool print_ids;
    ls_status status;
} stream;

static bool print_token(void *context, int64_t row, int32_t id)
{
    (void)row;
    stream *out = context;
    out->id[out->count++] = id;
    if (out->print_ids) {
        printf("%s%d", out->count == out->prompt + 1 ? "" : " ", id);
    } else {
        char *text;
        size_t bytes;
        out->status = ls_model_folder_text(out->folder, out->id, out->prompt, out->count, &text, &bytes);
        if (out->status)
            return false;
        if (bytes > out->printed)
            fwrite(text + out->printed, 1, bytes - out->printed, stdout);
        out->printed = bytes;
        free(text);
    }
    fflush(stdout);
    return true;
}

/* A text to go on with, or with --template a question to be answered. */
static ls_status encode_prompt(const arguments *given, const ls_model_folder *folder, const char *prompt, ls_ids *ids)
{
    return given->template_name ? ls_model_folder_question(folder, &given->template, prompt, strlen(prompt), ids)
                                : ls_model_folder_prompt(folder, prompt, strlen(prompt), ids);
}

static ls_status stream_one(const arguments *given, const ls_model_folder *folder)
{
    const char *prompt = given->prompt ? given->prompt : "";
    const int64_t room = given->how.max_tokens;
    ls_ids ids = {0};
    ls_status status = encode_prompt(given, folder, prompt, &ids);
    const int64_t offsets[] = {0, ids.count};
    int64_t length;
    stream out = {.folder = folder, .prompt = ids.count, .count = ids.count, .print_ids = given->ids};
    int32_t *drawn = malloc((size_t)room * sizeof *drawn);
    out.id = malloc((size_t)(ids.count + room) * sizeof *out.id);
    if (!status && (!drawn || !out.id))
        status = ls_fail(LS_EMEM, "no memory for %lld tokens", (long long)room);
    if (!status) {
        memcpy(out.id, ids.id, (size_t)ids.count * sizeof *out.id);
        if (!given->ids && !given->template_name)
            fputs(prompt, stdout);
        status = ls_generate(folder->model, folder->device, &given->how, 1, ids.id, offsets, NULL, drawn, &length, print_token,
                             &out);
        putchar('\n');
    }
    free(drawn);
    free(out.id);
    free(ids.id);
    return status ? status : out.status;
}

static ls_status print_row(const arguments *given, const ls_model_folder *folder, const char *prompt, const int32_t *prompt_id,
                           int64_t prompt_count, const int32_t *id, int64_t count)
{
    for (int64_t i = 0; i < count && given->ids; i++)
        printf("%s%d", i ? " " : "", id[i]);
    if (given->ids) {
        putchar('\n');
        return LS_OK;
    }
    int32_t *all = malloc((size_t)(prompt_count + count) * sizeof *all);
    if (!all)
        return ls_fail(LS_EMEM, "no memory for %lld tokens", (long long)(prompt_count + count));
    memcpy(all, prompt_id, (size_t)prompt_count * sizeof *all);
    memcpy(all + prompt_count, id, (size_t)count * sizeof *all);
    char *text;
    size_t bytes;
    ls_status status = ls_model_folder_text(folder, all, prompt_count, prompt_count + count, &text, &bytes);
    free(all);
    if (status)
        return status;
    if (!given->template_name)
        fputs(prompt, stdout);
    fwrite(text, 1, bytes, stdout);
    putchar('\n');
    free(text);
    return LS_OK;
}

static ls_status draw_batch(const arguments *given, const ls_model_folder *folder, const prompt_list *list, int64_t first,
                            int64_t rows)
{
    int64_t offsets[BATCH + 1] = {0}, row_ids[BATCH], lengths[BATCH];
    const int64_t room = given->how.max_tokens;
    ls_ids ids = {0};
    ls_status status = LS_OK;
    for (int64_t r = 0; r < rows && !status; r++) {
        const char *prompt = list->line[first + r];
        status = encode_prompt(given, folder, prompt, &ids);
        offsets[r + 1] = ids.count;
        row_ids[r] = first + r;
    }
    int32_t *drawn = malloc((size_t)(rows * room) * sizeof *drawn);
    if (!status && !drawn)
        status = ls_fail(LS_EMEM, "no memory for %lld rows of %lld tokens", (long long)rows, (long long)room);
    if (!status)
        status = ls_generate(folder->model, folder->device, &given->how, rows, ids.id, offsets, row_ids, drawn, lengths, NULL, NULL);
    for (int64_t r = 0; r < rows && !status; r++)
        status = print_row(given, folder, list->line[first + r], ids.id + offsets[r], offsets[r + 1] - offsets[r],
                           drawn + r * room, lengths[r]);
    free(drawn);
    free(ids.id);
    return status;
}

static ls_status draw_all(const arguments *given, const ls_model_folder *folder)
{
    prompt_list list = {0};
    ls_status status = read_prompts(given->prompts, &list);
    for (int64_t first = 0; first < list.count && !status; first += BATCH)
        status = draw_batch(given, folder, &list, first, list.count - first < BATCH ? list.count - first : BATCH);
    free_prompts(&list);
    return status;
}

/* A prompt is put as the model was trained, unless the user says otherwise; no prompt at all is no question. */
static ls_status choose_template(arguments *given, const ls_model_folder *folder)
{
    const bool asks = given->prompt || given->prompts;
    if (!given->template_name && asks && *folder->template_name)
        given->template_name = folder->template_name;
    if (given->template_name && strcmp(given->template_name, "none") == 0)
        given->template_name = NULL;
    given->how.stop_id = ls_tokenizer_eot(folder->tokenizer);
    if (!given->template_name)
        return LS_OK;
    ls_status status = ls_template_open(&given->template, given->template_name, folder->tokenizer, NULL);
    given->how.stop_id = given->template.end;
    return status;
}

static int run(int argc, char **argv)
{
    arguments given = {.how = {.max_tokens = 256, .temperature = 0.8, .top_p = 0.95}};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    ls_model_folder folder;
    ls_status status = ls_model_folder_open(&folder, given.from.folder, given.threads, given.averaged);
    if (!status)
        status = choose_template(&given, &folder);
    if (!status)
        status = given.prompts ? draw_all(&given, &folder) : stream_one(&given, &folder);
    ls_model_folder_close(&folder);
    return ls_command_failed("generate", status);
}

const ls_command ls_command_generate = {"generate", "draw text from a trained or imported model", run};
