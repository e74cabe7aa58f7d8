/* `lockstep generate`: text from a trained or imported model. One prompt is streamed to the terminal as it is drawn; the
 * prompts of a file are drawn in batches, on all ranks, and printed in order (draw.h). Row r's token at position t comes from
 * the counter RNG (seed, r, t), so neither batch nor rank changes anything. */
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/draw.h"
#include "launch/lud_sweep.h"
#include "datasets/utf8.h"
#include "models/generate/generate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    ls_folder_arguments from;
    const char *prompt, *template_name, *out;
    ls_template template; /* opened when template_name is set */
    ls_draw_options draw; /* path: the file of prompts */
    int threads;
    bool ids, averaged, json;
    bool by_lud, temperature_set, sweep; /* --decode lud */
    ls_lud_decoding lud;
    ls_lud_work work;
} arguments;

enum { KEY_TEMPERATURE = 256, KEY_TOP_P, KEY_TOP_K, KEY_SEED, KEY_IDS, KEY_EMA, KEY_THREADS, KEY_TEMPLATE, KEY_SAMPLES, KEY_BATCH, KEY_STOP, KEY_JSONL, KEY_FIELD, KEY_DECODE, KEY_WINDOW, KEY_THRESHOLD, KEY_POLICY, KEY_GATE, KEY_REPEATS, KEY_VERIFY, KEY_SWEEP };
static const struct argp_option options[] = {
    {"prompt", 'p', "TEXT", 0, "Begin with TEXT (nothing)", 0},
    {"prompts", 'f', "FILE", 0, "One prompt a line of FILE; of a .jsonl file one object a line", 0},
    {"field", KEY_FIELD, "NAME", 0, "JSON lines: the prompt's field (prompt, else question)", 0},
    {"samples", KEY_SAMPLES, "N", 0, "Draw N texts for each prompt of FILE (1)", 0},
    {"batch", KEY_BATCH, "N", 0, "Rows drawn together by a rank (16); changes nothing but speed and memory", 0},
    {"out", 'o', "FILE", 0, "Write JSON lines to FILE: the prompt's fields, sample, text, tokens, end", 0},
    {"jsonl", KEY_JSONL, NULL, 0, "Print those JSON lines", 0},
    {"stop", KEY_STOP, "TEXT", 0, "End where TEXT would begin; may be given several times", 0},
    {"max-tokens", 'n', "N", 0, "Stop after N new tokens (256), or at end-of-text, or at the model's context", 0},
    {"temperature", KEY_TEMPERATURE, "T", 0, "Divide logits by T; 0: always the likeliest token (0.8)", 0},
    {"top-p", KEY_TOP_P, "P", 0, "Draw from the likeliest tokens that hold P of the probability (0.95); 1: off", 0},
    {"top-k", KEY_TOP_K, "K", 0, "Draw from the K likeliest tokens; 0: off (0)", 0},
    {"seed", KEY_SEED, "SEED", 0, "Key of the counter random numbers (0)", 0},
    {"template", KEY_TEMPLATE, "NAME", 0, "Prompts are questions, to be put as they were packed: " LS_TEMPLATE_CHOICES "; none: go on with the text as it is (what FOLDER was trained on)", 0},
    {"ids", KEY_IDS, NULL, 0, "Print the ids of the new tokens instead of text; in JSON lines beside it", 0},
    {"decode", KEY_DECODE, "HOW", 0, "plain, or lud: several tokens a pass, of a model that task lud trained; greedy (plain)", 0},
    {"window", KEY_WINDOW, "K", 0, "lud: most tokens a pass gives (4)", 0},
    {"threshold", KEY_THRESHOLD, "B", 0, "lud: least probability of a token taken early (0.9); above 1: none is", 0},
    {"policy", KEY_POLICY, "P", 0, "lud: prefix, take tokens up to the first that is not sure enough, or all, all or none (prefix)", 0},
    {"first-gate", KEY_GATE, NULL, 0, "lud: take none early when the first token itself is not sure enough", 0},
    {"repeats", KEY_REPEATS, NULL, 0, "lud: let a token be taken early that equals the one before it", 0},
    {"verify", KEY_VERIFY, NULL, 0, "lud: check what was taken early in the next pass: the text is greedy decoding's", 0},
    {"sweep", KEY_SWEEP, NULL, 0, "lud: decode the prompts of FILE plainly, then by windows up to --window and thresholds 0.5 to 0.99; a table, and FOLDER/lud.jsonl (or --out) for `lockstep report`", 0},
    {"ema", KEY_EMA, NULL, 0, "Take the averaged weights (ema.decay)", 0},
    {"threads", KEY_THREADS, "N", 0, "Threads of a rank (OMP_NUM_THREADS, else all cores)", 0},
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
    case 'f': given->draw.path = value; return 0;
    case 'o': given->out = value; return 0;
    case KEY_FIELD: given->draw.field = value; return 0;
    case KEY_SAMPLES: given->draw.samples = (int64_t)number(state, "samples", value, 1, 1e5); return 0;
    case KEY_BATCH: given->draw.batch = (int64_t)number(state, "batch", value, 1, 4096); return 0;
    case KEY_JSONL: given->json = true; return 0;
    case KEY_STOP:
        if (ls_stop_strings_add(&given->draw.stops, value))
            argp_error(state, "--stop: %s", ls_fail_sentence());
        return 0;
    case 'n': given->draw.how.max_tokens = (int64_t)number(state, "max-tokens", value, 1, 1e6); return 0;
    case KEY_TEMPERATURE: given->temperature_set = true; given->draw.how.temperature = number(state, "temperature", value, 0, 100); return 0;
    case KEY_TOP_P: given->draw.how.top_p = number(state, "top-p", value, 0, 1); return 0;
    case KEY_TOP_K: given->draw.how.top_k = (int64_t)number(state, "top-k", value, 0, 1e6); return 0;
    case KEY_SEED: given->draw.how.seed = (uint64_t)number(state, "seed", value, 0, 9e15); return 0;
    case KEY_TEMPLATE: given->template_name = value; return 0;
    case KEY_IDS: given->ids = true; return 0;
    case KEY_EMA: given->averaged = true; return 0;
    case KEY_THREADS: given->threads = (int)number(state, "threads", value, 1, 1024); return 0;
    case KEY_DECODE:
        if (strcmp(value, "lud") && strcmp(value, "plain"))
            argp_error(state, "--decode=%s: expected plain or lud", value);
        given->by_lud = !strcmp(value, "lud");
        return 0;
    case KEY_WINDOW: given->lud.window = (int64_t)number(state, "window", value, 1, LS_LUD_LONGEST); return 0;
    case KEY_THRESHOLD: given->lud.threshold = number(state, "threshold", value, 0, 2); return 0;
    case KEY_POLICY:
        if (strcmp(value, "prefix") && strcmp(value, "all"))
            argp_error(state, "--policy=%s: expected prefix or all", value);
        given->lud.policy = strcmp(value, "all") ? LS_LUD_PREFIX : LS_LUD_ALL;
        return 0;
    case KEY_GATE: given->lud.first_gate = true; return 0;
    case KEY_REPEATS: given->lud.repeats = true; return 0;
    case KEY_VERIFY: given->lud.verify = true; return 0;
    case KEY_SWEEP: given->sweep = true; return 0;
    case ARGP_KEY_END:
        if (given->by_lud && given->draw.how.temperature > 0 && given->temperature_set)
            argp_error(state, "--decode lud is greedy: the tokens of a pass are not drawn from their joint distribution; leave out --temperature");
        if (given->sweep && (!given->by_lud || !given->draw.path || given->lud.window < 2))
            argp_error(state, "--sweep compares windows and thresholds of --decode lud on the prompts of a file; give --prompts FILE and a --window above 1 too");
        if (given->prompt && given->draw.path)
            argp_error(state, "--prompt and --prompts exclude each other");
        if (!given->draw.path && (given->out || given->json || given->draw.samples > 1))
            argp_error(state, "--out, --jsonl and --samples are for the prompts of a file (--prompts)");
        return ls_folder_argument(&given->from, key, value, state);
    default: return ls_folder_argument(&given->from, key, value, state);
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "FOLDER",
    .doc = "Prints text that the model of FOLDER (a run, one of its checkpoints, or an imported model) draws.\v"
           "Examples: lockstep generate runs/gsm8k-sft --prompt 'How many legs have 3 cats?' --temperature 0\n"
           "  mpirun -n 4 lockstep generate runs/gsm8k-sft --prompts test.jsonl --samples 8 --out answers.jsonl\n"
           "The output is the same on any number of ranks.",
};

/* A row as it grows on the terminal: a token may end inside a character, so bytes are printed, not characters. */
typedef struct {
    const ls_model_folder *folder;
    const ls_stop_strings *stops;
    ls_stop_watch *watch;
    int32_t *id; /* prompt and new tokens */
    int64_t prompt, count;
    size_t printed;
    bool print_ids;
    ls_status status;
} stream;

/* The text so far; what may be the beginning of a stop string waits until it is known to be none. */
static ls_status print_text(stream *out, bool ended)
{
    char *text;
    size_t bytes;
    ls_status status = ls_model_folder_text(out->folder, out->id, out->prompt, out->count, &text, &bytes);
    if (status)
        return status;
    const size_t cut = ls_stop_strings_cut(out->stops, text, bytes);
    const size_t shown = ended || cut < bytes ? cut : cut - ls_stop_strings_pending(out->stops, text, bytes);
    if (shown > out->printed) {
        fwrite(text + out->printed, 1, shown - out->printed, stdout);
        out->printed = shown;
    }
    free(text);
    return LS_OK;
}

static bool print_token(void *context, int64_t row, int32_t id)
{
    stream *out = context;
    out->id[out->count++] = id;
    if (out->print_ids)
        printf("%s%d", out->count == out->prompt + 1 ? "" : " ", id);
    else
        out->status = print_text(out, false);
    fflush(stdout);
    return !out->status && ls_stop_watch_goes_on(out->watch, row, id);
}

/* A text to go on with, or with --template a question to be answered. */
static ls_status encode_prompt(const arguments *given, const ls_model_folder *folder, const char *prompt, ls_ids *ids)
{
    return given->template_name ? ls_model_folder_question(folder, &given->template, prompt, strlen(prompt), ids)
                                : ls_model_folder_prompt(folder, prompt, strlen(prompt), ids);
}

static ls_status stream_by_lud(arguments *given, const ls_model_folder *folder, const ls_generate_rows *rows, stream *out)
{
    ls_lud_decoder *decoder;
    ls_status status = ls_lud_open(&decoder, folder->model, folder->device, 1, &given->lud);
    if (status)
        return status;
    status = ls_lud_run(decoder, &given->draw.how, rows, print_token, out);
    given->work = *ls_lud_done(decoder);
    ls_lud_close(decoder);
    return status;
}

static ls_status stream_one(arguments *given, const ls_model_folder *folder)
{
    const char *prompt = given->prompt ? given->prompt : "";
    const int64_t room = given->draw.how.max_tokens;
    ls_ids ids = {0};
    ls_status status = encode_prompt(given, folder, prompt, &ids);
    const int64_t offsets[] = {0, ids.count};
    int64_t length;
    stream out = {.folder = folder, .stops = &given->draw.stops, .prompt = ids.count, .count = ids.count, .print_ids = given->ids};
    int32_t *drawn = malloc((size_t)room * sizeof *drawn);
    out.id = malloc((size_t)(ids.count + room) * sizeof *out.id);
    if (!status && (!drawn || !out.id))
        status = ls_fail(LS_EMEM, "no memory for %lld tokens", (long long)room);
    if (!status)
        status = ls_stop_watch_open(&out.watch, out.stops, folder->tokenizer, 1);
    if (!status) {
        memcpy(out.id, ids.id, (size_t)ids.count * sizeof *out.id);
        if (!given->ids && !given->template_name)
            fputs(prompt, stdout);
        const ls_generate_rows rows = {.prompts = 1, .samples = 1, .ids = ids.id, .offsets = offsets, .out = drawn, .lengths = &length};
        status = given->by_lud ? stream_by_lud(given, folder, &rows, &out)
                               : ls_generate(folder->model, folder->device, &given->draw.how, 1, ids.id, offsets, NULL, drawn, &length,
                                             print_token, &out);
        if (!status && !out.status && !given->ids)
            out.status = print_text(&out, true);
        putchar('\n');
    }
    ls_stop_watch_close(out.watch);
    free(drawn);
    free(out.id);
    free(ids.id);
    return status ? status : out.status;
}

static ls_status format_text(void *context, const ls_drawn_prompt *prompt, FILE *out)
{
    const arguments *given = context;
    for (int64_t s = 0; s < prompt->samples; s++) {
        const ls_drawn_sample *sample = &prompt->sample[s];
        for (int64_t i = 0; i < sample->count && given->ids; i++)
            fprintf(out, "%s%d", i ? " " : "", sample->ids[i]);
        if (!given->ids && !given->template_name)
            fputs(prompt->text, out);
        if (!given->ids)
            fwrite(sample->text, 1, sample->bytes, out);
        fputc('\n', out);
    }
    return LS_OK;
}

/* A text may end inside a character, and a model may draw bytes that are none: each such byte becomes U+FFFD. */
static json_t *json_text(const char *text, size_t bytes)
{
    char *whole = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&whole, &size);
    for (size_t at = 0; out && at < bytes;) {
        const size_t good = ls_utf8_prefix(text + at, bytes - at);
        fwrite(text + at, 1, good, out);
        at += good;
        if (at < bytes) {
            fputs("\xef\xbf\xbd", out);
            at++;
        }
    }
    json_t *string = out && !fclose(out) ? json_stringn(whole, size) : NULL;
    free(whole);
    return string;
}

static json_t *json_of(const arguments *given, const ls_drawn_prompt *prompt, int64_t s)
{
    static const char *const ends[] = {[LS_END_LENGTH] = "length", [LS_END_STOP] = "stop", [LS_END_CALLER] = "stop string"};
    const ls_drawn_sample *sample = &prompt->sample[s];
    json_t *object = prompt->object ? json_copy(prompt->object) : json_object();
    int bad = object ? 0 : 1;
    if (!prompt->object)
        bad |= json_object_set_new(object, "prompt", json_text(prompt->text, strlen(prompt->text)));
    bad |= json_object_set_new(object, "sample", json_integer(s));
    bad |= json_object_set_new(object, "text", json_text(sample->text, sample->bytes));
    bad |= json_object_set_new(object, "tokens", json_integer(sample->count));
    bad |= json_object_set_new(object, "end", json_string(ends[sample->end]));
    json_t *ids = given->ids ? json_array() : NULL;
    for (int64_t i = 0; i < sample->count && ids; i++)
        bad |= json_array_append_new(ids, json_integer(sample->ids[i]));
    if (ids)
        bad |= json_object_set_new(object, "ids", ids);
    if (bad) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static ls_status format_json(void *context, const ls_drawn_prompt *prompt, FILE *out)
{
    for (int64_t s = 0; s < prompt->samples; s++) {
        json_t *object = json_of(context, prompt, s);
        const int failed = object ? json_dumpf(object, out, JSON_COMPACT | JSON_PRESERVE_ORDER) : -1;
        json_decref(object);
        if (failed)
            return ls_fail(LS_EMEM, "no memory for a line of JSON");
        fputc('\n', out);
    }
    return LS_OK;
}

static ls_status draw_all(ls_world *world, arguments *given, const ls_model_folder *folder)
{
    FILE *out = stdout;
    const bool writes = ls_world_rank(world) == 0 && given->out;
    if (writes)
        out = fopen(given->out, "w");
    ls_status status = ls_agree(world, out ? LS_OK : ls_fail(LS_EIO, "%s: %s", given->out, strerror(errno)), "opening the output");
    given->draw.template = given->template_name ? &given->template : NULL;
    if (!status)
        status = ls_draw_file(world, folder, &given->draw, given->out || given->json ? format_json : format_text, given, out);
    if (writes && out && fclose(out) && !status)
        status = ls_fail(LS_EIO, "%s: %s", given->out, strerror(errno));
    return status;
}

static ls_status sweep(ls_world *world, arguments *given, const ls_model_folder *folder)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/lud.jsonl", given->from.folder) >= (int)sizeof path)
        return ls_fail(LS_EARG, "%s: the name is too long", given->from.folder);
    given->draw.template = given->template_name ? &given->template : NULL;
    return ls_lud_sweep(world, folder, &given->draw, &given->lud, given->out ? given->out : path);
}

/* A prompt is put as the model was trained, unless the user says otherwise; no prompt at all is no question. */
static ls_status choose_template(arguments *given, const ls_model_folder *folder)
{
    const bool asks = given->prompt || given->draw.path;
    if (!given->template_name && asks && *folder->template_name)
        given->template_name = folder->template_name;
    if (given->template_name && strcmp(given->template_name, "none") == 0)
        given->template_name = NULL;
    given->draw.how.stop_id = ls_tokenizer_eot(folder->tokenizer);
    if (!given->template_name)
        return LS_OK;
    ls_status status = ls_template_open(&given->template, given->template_name, folder->tokenizer, NULL);
    given->draw.how.stop_id = given->template.end;
    return status;
}

/* With --verify: what was taken early, by how sure the model was of it. */
static void tell_reliability(const ls_lud_work *w)
{
    for (int b = 0; b < LS_LUD_BINS; b++) {
        const ls_lud_bin *bin = &w->bins[b];
        if (bin->count)
            fprintf(stderr, "taken early at %.2f to %.2f: %lld tokens, sure of %.3f, right %.3f\n", ls_lud_bin_begins[b],
                    b + 1 < LS_LUD_BINS ? ls_lud_bin_begins[b + 1] : 1.0, (long long)bin->count,
                    1e-6 * (double)bin->sum / (double)bin->count, (double)bin->right / (double)bin->count);
    }
}

/* On stderr: the text is on stdout. */
static void tell_passes(const arguments *given)
{
    const ls_lud_work *w = &given->work;
    if (!w->passes)
        return;
    fprintf(stderr, "lud: %lld tokens in %lld passes: %.3f tokens a pass (mean of rows %.3f); window %lld, threshold %g, %s%s%s%s\npasses that gave", (long long)w->tokens,
            (long long)w->passes, (double)w->tokens / (double)w->passes, w->rows ? (double)w->row_tau / 1e6 / (double)w->rows : 0, (long long)given->lud.window, given->lud.threshold,
            given->lud.policy == LS_LUD_ALL ? "all" : "prefix", given->lud.first_gate ? ", first gate" : "", given->lud.repeats ? ", repeats" : "",
            given->lud.verify ? ", verified" : "");
    for (int64_t a = 1; a <= given->lud.window; a++)
        fprintf(stderr, "%s %lld: %.1f%%", a > 1 ? "," : "", (long long)a, 100 * (double)w->given[a] / (double)w->passes);
    if (given->lud.verify)
        fprintf(stderr, "; %lld tokens taken early did not stand", (long long)w->cut);
    fputc('\n', stderr);
    tell_reliability(w);
}

/* Ranks beyond the first have nothing to do for one prompt. */
static ls_status draw(ls_world *world, arguments *given)
{
    ls_model_folder folder;
    ls_status status = ls_model_folder_open(&folder, given->from.folder, given->threads, given->averaged, ls_world_node_ranks(world));
    if (!status)
        status = choose_template(given, &folder);
    if (!status && given->by_lud && given->lud.window > 1 && !folder.options.slot)
        status = ls_fail(LS_ESTATE, "%s: the model has no input row for tokens not known yet; task lud trains one (docs/lud.md), or take --decode plain",
                         given->from.folder);
    if (given->by_lud) {
        given->draw.how.temperature = 0;
        given->draw.lud = &given->lud;
        given->draw.work = &given->work;
    }
    status = ls_agree(world, status, "opening the model");
    if (!status && given->sweep)
        status = sweep(world, given, &folder);
    else if (!status && given->draw.path)
        status = draw_all(world, given, &folder);
    else if (!status && ls_world_rank(world) == 0)
        status = stream_one(given, &folder);
    if (!status && given->by_lud && ls_world_rank(world) == 0)
        tell_passes(given);
    ls_model_folder_close(&folder);
    return status;
}

static int run(int argc, char **argv)
{
    arguments given = {.lud = {.window = 4, .threshold = 0.9}, .draw = {.samples = 1, .batch = 16, .how = {.max_tokens = 256, .temperature = 0.8, .top_p = 0.95}}};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    ls_world *world;
    ls_status status = ls_world_open(&world, NULL);
    if (status)
        return ls_command_failed("generate", status);
    status = draw(world, &given);
    const int exit_code = ls_world_rank(world) == 0 ? ls_command_failed("generate", status) : ls_status_exit_code(status);
    ls_world_close(world);
    return exit_code;
}

const ls_command ls_command_generate = {"generate", "draw text from a trained or imported model", run};
