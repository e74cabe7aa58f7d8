/* `lockstep data tokenizer`: trains a byte-level BPE on texts and writes tokenizer.json.
 *
 * Inputs are JSON lines (*.jsonl: the fields named, each a text of its own) or plain text (anything else, read in
 * blocks that end at a line's end). The result depends on the texts alone, not on how they are spread over files. */
#include "datasets/jsonl.h"
#include "datasets/tokenizer.h"
#include "launch/command.h"
#include "launch/data_commands.h"

#include <argp.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FIELDS = 16, SPECIALS = 64, BLOCK = 16 << 20 };

typedef struct {
    int64_t vocabulary;
    const char *pattern, *out;
    char *field[FIELDS + 1];
    const char *special[SPECIALS + 1];
    int fields, specials;
    bool force;
    char **input;
    int inputs;
} arguments;

enum { KEY_FORCE = 256 };
static const struct argp_option options[] = {
    {"vocabulary", 'v', "N", 0, "Tokens in all, the 256 bytes and the special ones included (4096)", 0},
    {"out", 'o', "FILE", 0, "Where tokenizer.json goes; its folder is made", 0},
    {"field", 'f', "NAME,...", 0, "Fields of JSON lines to learn from, each a text of its own (text)", 0},
    {"pattern", 'p', "NAME", 0, "How text is cut into words: gpt2, llama3 or qwen2 (gpt2)", 0},
    {"special", 's', "TOKEN", 0, "A special token; may be given again (<|endoftext|>)", 0},
    {"force", KEY_FORCE, NULL, 0, "Replace FILE if it is there", 0},
    {0},
};

static void parse_fields(arguments *given, char *names, struct argp_state *state)
{
    for (char *rest = names, *name; (name = strtok_r(rest, ",", &rest));) {
        if (given->fields == FIELDS)
            argp_error(state, "--field: at most %d fields", FIELDS);
        given->field[given->fields++] = name;
    }
    if (!given->fields)
        argp_error(state, "--field: name at least one field");
}

static int64_t parse_vocabulary(const char *text, struct argp_state *state)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < 257 || value > 1 << 20)
        argp_error(state, "--vocabulary=%s: expected a whole number in [257, %d]", text, 1 << 20);
    return value;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case 'v': given->vocabulary = parse_vocabulary(value, state); return 0;
    case 'o': given->out = value; return 0;
    case 'f': parse_fields(given, value, state); return 0;
    case 'p': given->pattern = value; return 0;
    case 's':
        if (given->specials == SPECIALS)
            argp_error(state, "--special: at most %d special tokens", SPECIALS);
        given->special[given->specials++] = value;
        return 0;
    case KEY_FORCE: given->force = true; return 0;
    case ARGP_KEY_ARGS:
        given->input = state->argv + state->next;
        given->inputs = state->argc - state->next;
        return 0;
    case ARGP_KEY_END:
        if (!given->inputs)
            argp_error(state, "from which texts? Name .jsonl or text files");
        if (!given->out)
            argp_error(state, "--out FILE: where should the tokenizer go?");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "INPUT...",
    .doc =
        "Trains a byte-level BPE tokenizer on the texts of INPUT and writes it as tokenizer.json, which Hugging Face's "
        "library reads to the same ids.\v"
        "Example: lockstep data tokenizer --vocabulary 4096 --field question,answer --out data/gsm8k/tokenizer.json "
        "data-sets/gsm8k/train.jsonl",
};

/* The texts of all inputs, one after another. */
typedef struct {
    const arguments *given;
    int input; /* the next one to open */
    ls_jsonl *rows;
    json_t *row;
    int field; /* the next one of `row` */
    FILE *plain;
    char *block;
    size_t used, held; /* of `block`: bytes given out as the last text, bytes behind them that belong to the next */
    int64_t texts, bytes;
    ls_status status;
} texts;

static bool is_jsonl(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && strcmp(dot, ".jsonl") == 0;
}

static ls_status open_next(texts *from)
{
    const char *path = from->given->input[from->input++];
    if (is_jsonl(path))
        return ls_jsonl_open(&from->rows, path);
    struct stat about;
    if (stat(path, &about) == 0 && S_ISDIR(about.st_mode))
        return ls_fail(LS_EIO, "%s: is a folder; name the files in it", path);
    if (!(from->plain = fopen(path, "rb")))
        return ls_fail(errno == ENOENT ? LS_ENOTFOUND : LS_EIO, "%s: cannot open: %s", path, strerror(errno));
    from->used = from->held = 0;
    if (!from->block && !(from->block = malloc(BLOCK)))
        return ls_fail(LS_EMEM, "no memory for a block of text");
    return LS_OK;
}

/* The next field of the current row, or of the next row; *text NULL: the file is at its end. */
static ls_status next_field(texts *from, const char **text, size_t *bytes)
{
    ls_status status = LS_OK;
    *text = NULL;
    if (!from->row || from->field == from->given->fields) {
        status = ls_jsonl_next(from->rows, &from->row);
        from->field = 0;
        if (status || !from->row)
            return status;
    }
    return ls_jsonl_text(from->rows, from->given->field[from->field++], text, bytes);
}

/* The next block of plain text. It ends behind the last line end in it, so that no word is cut, unless there is none;
 * what is behind goes to the front of the next block, once this one has been used. */
static ls_status next_block(texts *from, const char **text, size_t *bytes)
{
    memmove(from->block, from->block + from->used, from->held);
    size_t filled = from->held + fread(from->block + from->held, 1, BLOCK - from->held, from->plain);
    *text = NULL;
    if (ferror(from->plain))
        return ls_fail(LS_EIO, "%s: cannot be read: %s", from->given->input[from->input - 1], strerror(errno));
    const char *line_end = filled == BLOCK ? memrchr(from->block, '\n', filled) : NULL;
    *bytes = from->used = line_end ? (size_t)(line_end + 1 - from->block) : filled;
    from->held = filled - from->used;
    if (from->used)
        *text = from->block;
    return LS_OK;
}

static void close_input(texts *from)
{
    ls_jsonl_close(from->rows);
    if (from->plain)
        fclose(from->plain);
    from->rows = NULL;
    from->row = NULL;
    from->plain = NULL;
}

/* ls_next_text: the end, or an error, which stays in from->status. */
static bool next_text(void *context, const char **text, size_t *bytes)
{
    texts *from = context;
    for (;;) {
        if (!from->rows && !from->plain) {
            if (from->input == from->given->inputs || (from->status = open_next(from)) != LS_OK)
                return false;
        }
        from->status = from->rows ? next_field(from, text, bytes) : next_block(from, text, bytes);
        if (from->status)
            return false;
        if (*text)
            break;
        close_input(from);
    }
    from->texts++;
    from->bytes += (int64_t)*bytes;
    return true;
}

/* Makes the folder that `path` lies in, and those above it. */
static ls_status make_folder_of(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return ls_fail(LS_EMEM, "%s: no memory for its name", path);
    ls_status status = LS_OK;
    for (char *slash = copy; !status && (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            status = ls_fail(LS_EIO, "%s: cannot make this folder: %s", copy, strerror(errno));
        *slash = '/';
    }
    free(copy);
    return status;
}

static void report(const arguments *given, const texts *from, const ls_tokenizer *tokenizer, double seconds)
{
    int64_t size = ls_tokenizer_size(tokenizer);
    printf("%s: %lld tokens (%d special, 256 bytes, %lld learnt) from %lld texts of %.1f MB in %.1f s\n", given->out,
           (long long)size, given->specials, (long long)(size - 256 - given->specials), (long long)from->texts,
           (double)from->bytes / 1e6, seconds);
    if (size < given->vocabulary)
        fprintf(stderr,
                "lockstep data tokenizer: the texts give only %lld tokens, not %lld: every word is one token by now. "
                "Give it more text, "
                "or a smaller --vocabulary.\n",
                (long long)size, (long long)given->vocabulary);
}

static ls_status train(const arguments *given)
{
    ls_tokenizer_training how = {given->vocabulary, given->pattern, given->special};
    texts from = {.given = given};
    struct timespec begin, end;
    ls_tokenizer *tokenizer = NULL;
    if (access(given->out, F_OK) == 0 && !given->force)
        return ls_fail(LS_EEXIST,
                       "%s: exists already; data packed with it would no longer match. Use another name, or --force",
                       given->out);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    ls_status status = ls_tokenizer_train(&tokenizer, &how, next_text, &from);
    clock_gettime(CLOCK_MONOTONIC, &end);
    status = from.status ? from.status : status;
    if (!status && !from.bytes)
        status = ls_fail(LS_EFORMAT, "%s: no text in it", given->input[0]);
    if (!status)
        status = make_folder_of(given->out);
    if (!status)
        status = ls_tokenizer_write(tokenizer, given->out);
    if (!status)
        report(given, &from, tokenizer,
               (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec));
    close_input(&from);
    free(from.block);
    ls_tokenizer_free(tokenizer);
    return status;
}

int ls_data_tokenizer(int argc, char **argv)
{
    static char text[] = "text";
    arguments given = {.vocabulary = 4096, .pattern = "gpt2"};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    if (!given.fields)
        given.field[given.fields++] = text;
    if (!given.specials)
        given.special[given.specials++] = "<|endoftext|>";
    return ls_command_failed("data tokenizer", train(&given));
}
