/* `lockstep data pack`: text files to a data set of HDF5 shards. The work is datasets/pack.c's; here are the options and
 * the closing summary. */
#include "base/log.h"
#include "datasets/pack.h"
#include "launch/command.h"
#include "launch/data_commands.h"

#include <argp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    ls_pack_options pack;
    double progressed; /* seconds at the last progress line */
} arguments;

enum { KEY_TEXT = 256, KEY_PROMPT, KEY_RESPONSE, KEY_MESSAGES, KEY_PAIRS, KEY_OUTCOME, KEY_TEMPLATE, KEY_DOCUMENTS, KEY_END, KEY_HOLDOUT, KEY_SEED, KEY_FORCE };

static const struct argp_option options[] = {
    {"tokenizer", 't', "PATH", 0, "Tokenizer: a tokenizer.json (`lockstep data tokenizer` makes one), a tiktoken or llama2.c file, or a folder", 1},
    {"out", 'o', "FOLDER", 0, "Folder to make; it appears when it is whole", 1},
    {"prompt", KEY_PROMPT, "FIELD", 0, "JSON lines: the field that is only read", 2},
    {"response", KEY_RESPONSE, "FIELD", 0, "JSON lines: the field that is learnt, with the end-of-text behind it", 2},
    {"text", KEY_TEXT, "FIELD,...", 0, "JSON lines: fields of a document, joined by newlines; all is learnt", 2},
    {"messages", KEY_MESSAGES, "FIELD", 0, "JSON lines: the list of {role, content}; what the assistant says is learnt (messages)", 2},
    {"pairs", KEY_PAIRS, NULL, 0, "JSON lines: preference pairs, \"chosen\" and \"rejected\" with or without a \"prompt\"; for tasks reward and dpo", 2},
    {"outcome", KEY_OUTCOME, "FIELD", 0, "JSON lines: was the answer right? true, false or a number from 0 to 1; for task reward", 2},
    {"template", KEY_TEMPLATE, "NAME", 0, "How conversations become tokens: plain, chatml, qwen, qwen-3 or llama-3 (plain)", 2},
    {"documents", KEY_DOCUMENTS, "WHAT", 0, "Plain text: a document is a whole file, a paragraph or a line: file, paragraph or line (file)", 3},
    {"eot", KEY_END, "TOKEN", 0, "Text of the end-of-text token (the tokenizer's own)", 3},
    {"holdout", KEY_HOLDOUT, "SHARE", 0, "Put this share of the samples into FOLDER-holdout (0); of whole plain texts, their last part", 4},
    {"seed", KEY_SEED, "N", 0, "Which samples are held out (0)", 4},
    {"threads", 'j', "N", 0, "Threads (OMP_NUM_THREADS, else all cores); the result does not depend on it", 4},
    {"force", KEY_FORCE, NULL, 0, "Replace an older data set of this name", 4},
    {0},
};

static double share_of(const char *text, struct argp_state *state)
{
    char *end;
    const double value = strtod(text, &end);
    if (*end || end == text || !(value >= 0 && value < 1))
        argp_error(state, "--holdout %s: a share is at least 0 and below 1, as 0.05", text);
    return value;
}

static int64_t whole(const char *option, const char *text, int64_t least, int64_t most, struct argp_state *state)
{
    char *end;
    const long long value = strtoll(text, &end, 10);
    if (*end || end == text || value < least || value > most)
        argp_error(state, "%s %s: a whole number from %lld to %lld is needed", option, text, (long long)least, (long long)most);
    return value;
}

static ls_document_kind document_kind(const char *text, struct argp_state *state)
{
    static const char *const names[] = {"file", "paragraph", "line"};
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0)
            return (ls_document_kind)i;
    argp_error(state, "--documents %s: there are file, paragraph and line", text);
    return LS_DOCUMENT_FILE;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    ls_pack_options *o = &((arguments *)state->input)->pack;
    switch (key) {
    case 't': o->tokenizer = value; return 0;
    case 'o': o->out = value; return 0;
    case 'j': o->threads = (int)whole("--threads", value, 1, 1024, state); return 0;
    case KEY_PROMPT: o->prompt = value; return 0;
    case KEY_RESPONSE: o->response = value; return 0;
    case KEY_TEXT: o->text = value; return 0;
    case KEY_MESSAGES: o->messages = value; return 0;
    case KEY_PAIRS: o->pairs = true; return 0;
    case KEY_OUTCOME: o->outcome = value; return 0;
    case KEY_TEMPLATE: o->template_name = value; return 0;
    case KEY_DOCUMENTS: o->documents = document_kind(value, state); return 0;
    case KEY_END: o->end = value; return 0;
    case KEY_HOLDOUT: o->holdout = share_of(value, state); return 0;
    case KEY_SEED: o->seed = (uint64_t)whole("--seed", value, 0, INT64_MAX, state); return 0;
    case KEY_FORCE: o->replace = true; return 0;
    case ARGP_KEY_ARGS:
        o->input = (const char *const *)(state->argv + state->next);
        o->inputs = state->argc - state->next;
        return 0;
    case ARGP_KEY_END:
        if (!o->inputs || !o->tokenizer || !o->out)
            argp_error(state, "%s", !o->inputs ? "which files? Name .jsonl or text files" : !o->tokenizer ? "--tokenizer is needed" : "--out is needed");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "FILE...",
    .doc = "Makes a data set of text files: *.jsonl are JSON lines, all others plain text.\v"
           "Examples:\n"
           "  lockstep data pack -t tokenizer.json -o data/sft --prompt question --response answer train.jsonl\n"
           "  lockstep data pack -t tokenizer.json -o data/chat --template chatml chats.jsonl\n"
           "  lockstep data pack -t tokenizer.json -o data/text --holdout 0.1 book.txt\n"
           "See docs/data.md; `lockstep data show` shows what came out.",
};

static void show_progress(void *context, const ls_pack_report *r)
{
    arguments *given = context;
    char line[160];
    if (r->seconds - given->progressed < (isatty(STDERR_FILENO) ? 0.2 : 10)) /* a log file gets a line now and then */
        return;
    given->progressed = r->seconds;
    snprintf(line, sizeof line, "pack: %lld samples, %.1f M tokens, %.1f MB/s", (long long)(r->kept.samples + r->held.samples),
             (double)(r->kept.tokens + r->held.tokens) / 1e6, (double)r->text_bytes / 1e6 / r->seconds);
    ls_log_progress(line);
}

static void print_part(const char *folder, const char *suffix, int64_t samples, int64_t tokens, int64_t learnt)
{
    printf("%s%s: %lld samples, %lld tokens, %.1f%% learnt\n", folder, suffix, (long long)samples, (long long)tokens,
           100.0 * (double)learnt / (double)tokens);
}

static void print_summary(const ls_pack_options *o, const ls_pack_report *r)
{
    const double megabytes = (double)r->text_bytes / 1e6;
    int length = (int)strlen(o->out);
    while (length > 1 && o->out[length - 1] == '/')
        length--;
    char folder[4096];
    snprintf(folder, sizeof folder, "%.*s", length, o->out);
    print_part(folder, "", r->kept.samples, r->kept.tokens, r->kept.learnt);
    if (r->held.samples)
        print_part(folder, "-holdout", r->held.samples, r->held.tokens, r->held.learnt);
    printf("longest sample: %lld tokens (%s); vocabulary %lld\n", (long long)r->longest, r->longest_at, (long long)r->vocabulary);
    if (r->alike)
        printf("left out: %lld pairs whose two texts are equal\n", (long long)r->alike);
    if (r->empty)
        printf("left out: %lld records without text%s\n", (long long)r->empty, o->response ? ", or without a response" : "");
    printf("%.1f MB of text in %.2f s on %d thread%s (%.1f MB/s a core), %.2f bytes a token\n", megabytes, r->seconds, r->threads,
           r->threads == 1 ? "" : "s", megabytes / fmax(r->cpu_seconds, 1e-9),
           (double)r->text_bytes / (double)(r->kept.tokens + r->held.tokens));
}

int ls_data_pack(int argc, char **argv)
{
    arguments given = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    given.pack.progress = show_progress;
    given.pack.context = &given;
    ls_pack_report report;
    const ls_status status = ls_pack(&given.pack, &report);
    if (given.progressed > 0)
        ls_log_progress(NULL);
    if (status != LS_OK)
        return ls_command_failed("data pack", status);
    print_summary(&given.pack, &report);
    return 0;
}
