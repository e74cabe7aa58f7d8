/* `lockstep eval`: how good is a model on what it has not seen?
 *     --data SHARDS   held-out loss on a packed data set, counted tokens only (sft: the responses)
 *     --nll FILE      mean negative log-likelihood of a text file, or of token ids (--ids)
 *     --gsm8k FILE    exact match on GSM8K problems, greedy, with 95 % intervals (train/answers.h)
 * The first two are exact; the third is a sample, so its interval is always printed. */
#include "datasets/shard.h"
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/gsm8k.h"
#include "launch/model_folder.h"
#include "launch/score.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    ls_folder_arguments from;
    const char *data, *nll, *gsm8k;
    ls_gsm8k_options how;
    int64_t limit;
    int threads;
    bool ids, averaged;
} arguments;

enum { KEY_DATA = 256, KEY_NLL, KEY_GSM8K, KEY_IDS, KEY_EMA, KEY_SHOW, KEY_THREADS, KEY_TEMPLATE };
static const struct argp_option options[] = {
    {"data", KEY_DATA, "SHARDS", 0, "Loss on a data set made by `lockstep data pack`", 0},
    {"nll", KEY_NLL, "FILE", 0, "Mean negative log-likelihood of a text file", 0},
    {"ids", KEY_IDS, NULL, 0, "With --nll: FILE holds token ids, in decimal, not text", 0},
    {"gsm8k", KEY_GSM8K, "FILE", 0, "Exact match on GSM8K problems (.jsonl with question and answer)", 0},
    {"limit", 'n', "N", 0, "Only the first N problems or samples", 0},
    {"max-tokens", 'm', "N", 0, "With --gsm8k: at most N tokens a reply (256)", 0},
    {"template", KEY_TEMPLATE, "NAME", 0, "With --gsm8k: how questions were packed: " LS_TEMPLATE_CHOICES " (what FOLDER was trained on, else plain)", 0},
    {"show", KEY_SHOW, NULL, 0, "With --gsm8k: print each question, reply and answer", 0},
    {"ema", KEY_EMA, NULL, 0, "Take the averaged weights (ema.decay)", 0},
    {"threads", KEY_THREADS, "N", 0, "Threads (OMP_NUM_THREADS, else all cores)", 0},
    {0},
};

static int64_t count_argument(struct argp_state *state, const char *option, const char *text)
{
    char *end;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || value < 1)
        argp_error(state, "--%s=%s: expected a whole number of at least 1", option, text);
    return value;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case KEY_DATA: given->data = value; return 0;
    case KEY_NLL: given->nll = value; return 0;
    case KEY_GSM8K: given->gsm8k = value; return 0;
    case KEY_IDS: given->ids = true; return 0;
    case KEY_EMA: given->averaged = true; return 0;
    case KEY_SHOW: given->how.show = true; return 0;
    case KEY_TEMPLATE: given->how.template_name = value; return 0;
    case KEY_THREADS: given->threads = (int)count_argument(state, "threads", value); return 0;
    case 'n': given->limit = given->how.limit = count_argument(state, "limit", value); return 0;
    case 'm': given->how.max_tokens = count_argument(state, "max-tokens", value); return 0;
    case ARGP_KEY_END:
        if (!given->data && !given->nll && !given->gsm8k)
            argp_error(state, "evaluate on what? --data, --nll or --gsm8k");
        return ls_folder_argument(&given->from, key, value, state);
    default: return ls_folder_argument(&given->from, key, value, state);
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "FOLDER",
    .doc = "Evaluates the model of FOLDER (a run, one of its checkpoints, or an imported model).",
};

static void print_loss(const char *what, double sum, int64_t counted)
{
    const double mean = sum / (double)counted;
    printf("%s: loss %.6f nats a token over %lld tokens (perplexity %.4g)\n", what, mean, (long long)counted, exp(mean));
}

static ls_status finish_loss(ls_score *score, const char *what)
{
    double sum;
    int64_t counted;
    ls_status status = ls_score_finish(score, &sum, &counted);
    if (status)
        return status;
    if (!counted)
        return ls_fail(LS_EFORMAT, "%s: no token to predict in it", what);
    print_loss(what, sum, counted);
    return LS_OK;
}

static ls_status eval_data(const arguments *given, const ls_model_folder *folder)
{
    ls_shards *shards;
    ls_score *score = NULL;
    ls_status status = ls_shards_open(&shards, given->data, false);
    if (status)
        return status;
    if (ls_shards_tokenizer_hash(shards) != ls_tokenizer_hash(folder->tokenizer))
        status = ls_fail(LS_ESTATE, "%s was packed with another tokenizer than the model's; pack it with the one in %s",
                         given->data, folder->home);
    if (!status)
        status = ls_score_open(&score, folder->model, folder->device);
    const int64_t samples = ls_shards_samples(shards), last = given->limit && given->limit < samples ? given->limit : samples;
    for (int64_t i = 0; i < last && !status; i++) {
        const int32_t *tokens;
        const uint8_t *mask;
        int64_t count;
        status = ls_shards_text(shards, i, &tokens, &mask, &count);
        if (!status)
            status = ls_score_add(score, tokens, mask, count);
    }
    if (!status)
        status = finish_loss(score, given->data);
    ls_score_close(score);
    ls_shards_free(shards);
    return status;
}

static ls_status read_file(const char *path, char **text, size_t *bytes)
{
    FILE *in = fopen(path, "rb"), *out = in ? open_memstream(text, bytes) : NULL;
    char block[65536];
    if (!in || !out) {
        ls_status status = ls_fail(in ? LS_EMEM : errno == ENOENT ? LS_ENOTFOUND : LS_EIO, "%s: %s", path, strerror(errno));
        if (in)
            fclose(in);
        return status;
    }
    for (size_t got; (got = fread(block, 1, sizeof block, in)) > 0;)
        fwrite(block, 1, got, out);
    ls_status status = ferror(in) ? ls_fail(LS_EIO, "%s: %s", path, strerror(errno)) : LS_OK;
    fclose(in);
    if (fclose(out) && !status)
        status = ls_fail(LS_EMEM, "%s: no memory to read it", path);
    return status;
}

/* Decimal numbers with anything but digits between them. */
static ls_status parse_ids(const ls_model_folder *folder, const char *path, const char *text, ls_ids *ids)
{
    ls_status status = ls_model_folder_prompt(folder, "", 0, ids);
    for (const char *at = text + strcspn(text, "0123456789"); *at && !status; at += strcspn(at, "0123456789")) {
        char *end;
        errno = 0;
        const long id = strtol(at, &end, 10);
        if (errno || id >= folder->options.vocabulary)
            status = ls_fail(LS_EFORMAT, "%s: byte %td: token id %.*s is not below the model's vocabulary of %lld", path, at - text,
                             (int)(end - at), at, (long long)folder->options.vocabulary);
        else
            status = ls_model_folder_append(ids, (int32_t)id);
        at = end;
    }
    return status;
}

static ls_status eval_nll(const arguments *given, const ls_model_folder *folder)
{
    char *text = NULL;
    size_t bytes = 0;
    ls_ids ids = {0};
    ls_score *score = NULL;
    ls_status status = read_file(given->nll, &text, &bytes);
    if (!status)
        status = given->ids ? parse_ids(folder, given->nll, text, &ids) : ls_model_folder_prompt(folder, text, bytes, &ids);
    if (!status)
        status = ls_score_open(&score, folder->model, folder->device);
    if (!status)
        status = ls_score_add(score, ids.id, NULL, ids.count);
    if (!status)
        status = finish_loss(score, given->nll);
    ls_score_close(score);
    free(ids.id);
    free(text);
    return status;
}

static int run(int argc, char **argv)
{
    arguments given = {.how = {.max_tokens = 256}};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    ls_model_folder folder;
    ls_status status = ls_model_folder_open(&folder, given.from.folder, given.threads, given.averaged, 1);
    if (!given.how.template_name)
        given.how.template_name = *folder.template_name ? folder.template_name : "plain";
    if (!status && given.data)
        status = eval_data(&given, &folder);
    if (!status && given.nll)
        status = eval_nll(&given, &folder);
    if (!status && given.gsm8k)
        status = ls_gsm8k_evaluate(&folder, given.gsm8k, &given.how);
    ls_model_folder_close(&folder);
    return ls_command_failed("eval", status);
}

const ls_command ls_command_eval = {"eval", "held-out loss, or exact match on GSM8K", run};
