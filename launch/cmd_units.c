/* `lockstep units`: the lexical units of a data set, as the model that was trained on it sees them (spec 2.3 B; file:
 * datasets/units.h). Samples are dealt to the ranks in stretches of equal number; a row's numbers do not feel the
 * others of its batch, so the file is the same on any rank count. */
#include "checkpoint/checkpoint.h"
#include "datasets/shard.h"
#include "datasets/units.h"
#include "dist/world.h"
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/model_folder.h"

#include "base/hash.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 8 };

typedef struct {
    ls_folder_arguments from;
    const char *data, *again, *out;
    double alpha;
    int threads;
    bool averaged;
} arguments;

enum { KEY_DATA = 256, KEY_AGAIN, KEY_ALPHA, KEY_EMA, KEY_THREADS };
static const struct argp_option options[] = {
    {"data", KEY_DATA, "SHARDS", 0, "The data set that FOLDER was fine-tuned on", 0},
    {"out", 'o', "FILE", 0, "The file that is written (HDF5)", 0},
    {"alpha", KEY_ALPHA, "A", 0, "A unit's tokens are all more probable than A (0.9)", 0},
    {"again", KEY_AGAIN, "FILE", 0,
     "Take the probabilities of FILE, an older one, instead of asking a model: another alpha costs nothing", 0},
    {"ema", KEY_EMA, NULL, 0, "Take the averaged weights (ema.decay)", 0},
    {"threads", KEY_THREADS, "N", 0, "Threads of a rank (OMP_NUM_THREADS, else all cores)", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    char *end;
    switch (key) {
    case KEY_DATA: given->data = value; return 0;
    case KEY_AGAIN: given->again = value; return 0;
    case 'o': given->out = value; return 0;
    case KEY_ALPHA:
        given->alpha = strtod(value, &end);
        if (end == value || *end || !(given->alpha > 0 && given->alpha < 1))
            argp_error(state, "--alpha=%s: expected a number between 0 and 1", value);
        return 0;
    case KEY_EMA: given->averaged = true; return 0;
    case KEY_THREADS:
        given->threads = atoi(value);
        if (given->threads < 1 || given->threads > 1024)
            argp_error(state, "--threads=%s: expected 1 to 1024", value);
        return 0;
    case ARGP_KEY_END:
        if (!given->out)
            argp_error(state, "where to? --out FILE");
        if (!given->again == !given->data)
            argp_error(state, "either FOLDER and --data, or --again FILE");
        return given->again ? 0 : ls_folder_argument(&given->from, key, value, state);
    case ARGP_KEY_NO_ARGS: return given->again ? 0 : ls_folder_argument(&given->from, key, value, state);
    default: return ls_folder_argument(&given->from, key, value, state);
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "FOLDER",
    .doc = "Writes the lexical units of a data set: runs of at least two response tokens that the model of FOLDER "
           "predicts "
           "with more than alpha each. Task lud learns from them.\v"
           "Examples: mpirun -n 2 lockstep units runs/sft --data data/sft --out data/units.h5\n"
           "  lockstep units --again data/units.h5 --alpha 0.7 --out data/units-0.7.h5\n"
           "The file is the same on any number of ranks.",
};

/* ---- what the model predicts ---- */

typedef struct {
    const ls_model_folder *folder;
    const ls_shards *shards;
    ls_tape *tape;
    int32_t *ids, *labels, *positions, *segments; /* [ROWS, longest] */
    float *losses;
} scan;

/* Samples [first, past) side by side, padded to the longest of them: *tokens. */
static ls_status lay_out(scan *s, int64_t first, int64_t past, int64_t *tokens)
{
    *tokens = 1;
    for (int64_t i = first; i < past; i++)
        *tokens = ls_shards_length(s->shards, i) > *tokens ? ls_shards_length(s->shards, i) : *tokens;
    for (int64_t i = first; i < past; i++) {
        const int32_t *id;
        const uint8_t *mask;
        int64_t count;
        ls_status status = ls_shards_text(s->shards, i, &id, &mask, &count);
        if (status)
            return status;
        for (int64_t t = 0; t < *tokens; t++) {
            const int64_t at = (i - first) * *tokens + t;
            const bool real = t < count;
            s->ids[at] = real ? id[t] : 0;
            s->labels[at] = t + 1 < count && mask[t + 1] ? id[t + 1] : -1;
            s->positions[at] = real ? (int32_t)t : 0;
            s->segments[at] = real ? 0 : -1;
        }
    }
    return LS_OK;
}

/* Samples [first, past) into logp, which begins at the first one's. */
static ls_status scan_rows(scan *s, int64_t first, int64_t past, float *logp)
{
    int64_t tokens;
    ls_status status = lay_out(s, first, past, &tokens);
    if (status)
        return status;
    const ls_token_rows rows = {
        .rows = past - first, .tokens = tokens, .ids = s->ids, .positions = s->positions, .segments = s->segments};
    ls_tape_reset(s->tape, 0, 0, 0);
    ls_no_grad_begin(s->tape);
    ls_tensor *hidden = ls_transformer_hidden(s->folder->model, s->tape, &rows);
    ls_cross_entropy_sum(s->tape, hidden, ls_transformer_head(s->folder->model, s->tape), s->labels, NULL, s->losses);
    ls_no_grad_end(s->tape);
    for (int64_t i = first; i < past; i++) {
        const int64_t count = ls_shards_length(s->shards, i), row = (i - first) * tokens;
        logp[0] = NAN;
        for (int64_t t = 1; t < count; t++)
            logp[t] = s->labels[row + t - 1] >= 0 ? -s->losses[row + t - 1] : NAN;
        logp += count;
    }
    return ls_tape_status(s->tape);
}

/* Samples [first, past), this rank's. */
static ls_status scan_mine(const ls_model_folder *folder, const ls_shards *shards, const int64_t *row_ptr,
                           int64_t first, int64_t past, float *logp)
{
    const size_t places = (size_t)(ROWS * ls_shards_longest(shards));
    scan s = {.folder = folder, .shards = shards};
    int32_t **const arrays[] = {&s.ids, &s.labels, &s.positions, &s.segments};
    bool whole = (s.losses = malloc(places * sizeof *s.losses)) != NULL;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        whole &= (*arrays[i] = malloc(places * sizeof **arrays[i])) != NULL;
    ls_status status =
        whole ? ls_tape_create(&s.tape, folder->device, (size_t)1 << 38)
              : ls_fail(LS_EMEM, "no memory for %d rows of %lld tokens", ROWS, (long long)ls_shards_longest(shards));
    for (int64_t i = first; i < past && !status; i += ROWS)
        status = scan_rows(&s, i, i + ROWS < past ? i + ROWS : past, logp + (row_ptr[i] - row_ptr[first]));
    if (s.tape)
        ls_tape_free(s.tape);
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(*arrays[i]);
    free(s.losses);
    return status;
}

static ls_status check_data(const ls_model_folder *folder, const ls_shards *shards)
{
    if (ls_shards_form_of(shards) != LS_SHARDS_TEXT)
        return ls_fail(LS_EARG, "%s does not hold texts: lexical units are of prompts with responses",
                       ls_shards_folder(shards));
    if (ls_shards_tokenizer_hash(shards) != ls_tokenizer_hash(folder->tokenizer))
        return ls_fail(LS_ESTATE, "%s was packed with another tokenizer than the model's; pack it with the one in %s",
                       ls_shards_folder(shards), folder->home);
    if (ls_shards_longest(shards) > folder->options.context)
        return ls_fail(
            LS_EARG,
            "%s: its longest sample has %lld tokens, the model's context is %lld; pack it without the long ones",
            ls_shards_folder(shards), (long long)ls_shards_longest(shards), (long long)folder->options.context);
    return LS_OK;
}

/* ---- what is written and said ---- */

static void say(const ls_units *u, const char *path)
{
    int64_t counted = 0, covered = 0;
    for (int64_t i = 0; i < u->tokens; i++)
        counted += !isnan(u->logp[i]);
    for (int64_t j = 0; j < u->units; j++)
        covered += u->unit_len[j];
    printf("%s: %lld units at alpha %g in %lld samples: %.1f%% of %lld response tokens, mean length %.2f\n", path,
           (long long)u->units, u->alpha, (long long)u->samples, counted ? 100 * (double)covered / (double)counted : 0,
           (long long)counted, u->units ? (double)covered / (double)u->units : 0);
    if (covered * 20 > counted * 19)
        printf("nearly every token is in a unit: the model knows these texts by heart; scan after fewer epochs, or "
               "texts it has not seen\n");
}

static ls_status write_units(const arguments *given, const ls_units *like, const int64_t *row_ptr, const float *logp)
{
    ls_units units;
    ls_status status = ls_units_make(&units, given->alpha, like->samples, row_ptr, logp);
    if (status)
        return status;
    units.data_hash = like->data_hash;
    units.tokenizer_hash = like->tokenizer_hash;
    units.model_hash = like->model_hash;
    status = ls_units_write(&units, given->out);
    if (!status)
        say(&units, given->out);
    ls_units_unmake(&units);
    return status;
}

/* Everybody's probabilities to everybody; rank 0 writes. */
static ls_status gather_and_write(ls_world *world, const arguments *given, const ls_shards *shards,
                                  const int64_t *row_ptr, const float *mine, const size_t *bytes)
{
    static const char phase[] = "gathering probabilities";
    const int64_t samples = ls_shards_samples(shards);
    ls_units like = {.samples = samples, .tokenizer_hash = ls_shards_tokenizer_hash(shards)};
    const uint64_t hash = ls_shards_hash(shards);
    float *logp = malloc((size_t)row_ptr[samples] * sizeof *logp);
    ls_status status = ls_agree(
        world, logp ? LS_OK : ls_fail(LS_EMEM, "no memory for %lld tokens", (long long)row_ptr[samples]), phase);
    if (!status)
        status = ls_all_gather_varying(world, mine, logp, bytes, phase);
    if (!status && ls_world_rank(world) == 0) {
        like.data_hash = ls_hash_bytes(&hash, sizeof hash, LS_HASH_SEED);
        status = ls_checkpoint_hash(given->from.folder, &like.model_hash);
        if (!status)
            status = write_units(given, &like, row_ptr, logp);
    }
    free(logp);
    return ls_agree(world, status, "writing the units");
}

static ls_status find_units(ls_world *world, const arguments *given, const ls_model_folder *folder,
                            const ls_shards *shards)
{
    const int64_t samples = ls_shards_samples(shards), ranks = ls_world_ranks(world), rank = ls_world_rank(world);
    const int64_t first = samples * rank / ranks, past = samples * (rank + 1) / ranks;
    int64_t *row_ptr = malloc(((size_t)samples + 1) * sizeof *row_ptr);
    size_t *bytes = malloc((size_t)ranks * sizeof *bytes);
    float *mine = NULL;
    ls_status status = row_ptr && bytes ? LS_OK : ls_fail(LS_EMEM, "no memory for %lld samples", (long long)samples);
    if (!status) {
        row_ptr[0] = 0;
        for (int64_t i = 0; i < samples; i++)
            row_ptr[i + 1] = row_ptr[i] + ls_shards_length(shards, i);
        for (int64_t r = 0; r < ranks; r++)
            bytes[r] = (size_t)(row_ptr[samples * (r + 1) / ranks] - row_ptr[samples * r / ranks]) * sizeof *mine;
        mine = malloc(bytes[rank] + sizeof *mine);
        status = mine ? scan_mine(folder, shards, row_ptr, first, past, mine)
                      : ls_fail(LS_EMEM, "no memory for %zu bytes", bytes[rank]);
    }
    status = ls_agree(world, status, "asking the model");
    if (!status)
        status = gather_and_write(world, given, shards, row_ptr, mine, bytes);
    free(mine);
    free(bytes);
    free(row_ptr);
    return status;
}

static ls_status scan_data(ls_world *world, const arguments *given)
{
    ls_model_folder folder;
    ls_shards *shards = NULL;
    ls_status status =
        ls_model_folder_open(&folder, given->from.folder, given->threads, given->averaged, ls_world_node_ranks(world));
    if (!status)
        status = ls_shards_open(&shards, given->data, false);
    if (!status)
        status = check_data(&folder, shards);
    status = ls_agree(world, status, "opening model and data");
    if (!status)
        status = find_units(world, given, &folder, shards);
    if (shards)
        ls_shards_free(shards);
    ls_model_folder_close(&folder);
    return status;
}

static ls_status split_again(ls_world *world, const arguments *given)
{
    ls_status status = LS_OK;
    if (ls_world_rank(world) == 0) {
        ls_units_file *file;
        ls_units old;
        status = ls_units_open(&file, given->again, &old);
        if (!status)
            status = write_units(given, &old, old.row_ptr, old.logp);
        ls_units_close(file);
    }
    return ls_agree(world, status, "splitting again");
}

static int run(int argc, char **argv)
{
    arguments given = {.alpha = 0.9};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    ls_world *world;
    ls_status status = ls_world_open(&world, NULL);
    if (status)
        return ls_command_failed("units", status);
    status = given.again ? split_again(world, &given) : scan_data(world, &given);
    const int exit_code = ls_world_rank(world) == 0 ? ls_command_failed("units", status) : ls_status_exit_code(status);
    ls_world_close(world);
    return exit_code;
}

const ls_command ls_command_units = {"units", "lexical units of a data set, for task lud", run};
