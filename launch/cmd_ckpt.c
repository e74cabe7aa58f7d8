/* `lockstep ckpt`: what is in a checkpoint, whether it is whole, and the one hash of its state.
 *
 *     lockstep ckpt info runs/sft          a table of tensors
 *     lockstep ckpt verify runs/sft        reads every byte; exit code 1 and the place where it is damaged
 *     lockstep ckpt hash runs/sft          16 digits, the same whatever the number of ranks that wrote it
 *
 *     lockstep ckpt import DIR --out X     a Hugging Face folder (or llama2.c file) as a folder of ours
 *     lockstep ckpt export runs/sft DIR    the other way
 *
 * FOLDER is a run folder (its newest checkpoint) or one checkpoint of it, runs/sft/checkpoints/best for instance. No MPI is
 * needed; under mpirun, verify shares the files among the ranks. */
#include "checkpoint/checkpoint.h"
#include "launch/ckpt/export.h"
#include "launch/ckpt/import.h"
#include "launch/command.h"

#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *action, *folder;
    const char *tokenizer; /* import */
    const char *out;       /* import, export */
    ls_ckpt_export_options how;
    bool how_given;
} arguments;

enum { KEY_DTYPE = 256, KEY_EMA, KEY_SHARD };
static const struct argp_option options[] = {
    {"tokenizer", 't', "FILE", 0, "import: the model's tokenizer, copied into OUT (the folder's own)", 0},
    {"out", 'o', "FOLDER", 0, "import, export: the folder to make; must not exist", 0},
    {"dtype", KEY_DTYPE, "f32|bf16|f16", 0, "export: what numbers are rounded to (f32)", 0},
    {"max-shard-size", KEY_SHARD, "SIZE", 0, "export: several files of at most SIZE bytes (2000000, 500MB, 5GB), and an index (one file)", 0},
    {"ema", KEY_EMA, NULL, 0, "export: take the averaged weights (ema.decay)", 0},
    {0},
};

static bool find_dtype(const char *name, ls_foreign_type *type)
{
    static const struct {
        const char *name;
        ls_foreign_type type;
    } dtypes[] = {{"f32", LS_FOREIGN_F32}, {"bf16", LS_FOREIGN_BF16}, {"f16", LS_FOREIGN_F16}};
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strcmp(dtypes[i].name, name)) {
            *type = dtypes[i].type;
            return true;
        }
    return false;
}

/* "500MB" as transformers reads it: KB, MB, GB are powers of 1000. */
static bool find_size(const char *text, int64_t *bytes)
{
    static const struct {
        const char *unit;
        double factor;
    } units[] = {{"", 1}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}};
    char *end;
    const double number = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(end, units[i].unit) && number * units[i].factor >= 1 && number * units[i].factor < 1e18) {
            *bytes = (int64_t)(number * units[i].factor);
            return true;
        }
    return false;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case 't': given->tokenizer = value; return 0;
    case 'o': given->out = value; return 0;
    case KEY_EMA: given->how.averaged = given->how_given = true; return 0;
    case KEY_DTYPE:
        given->how_given = true;
        if (!find_dtype(value, &given->how.type))
            argp_error(state, "--dtype=%s: f32, bf16 or f16", value);
        return 0;
    case KEY_SHARD:
        given->how_given = true;
        if (!find_size(value, &given->how.shard_bytes))
            argp_error(state, "--max-shard-size=%s: a number of bytes, or of KB, MB or GB (5GB)", value);
        return 0;
    case ARGP_KEY_ARG:
        if (!given->action)
            given->action = value;
        else if (!given->folder)
            given->folder = value;
        else if (!given->out && !strcmp(given->action, "export"))
            given->out = value;
        else
            argp_error(state, "one folder at a time: %s", value);
        return 0;
    case ARGP_KEY_END:
        if (!given->folder)
            argp_error(state, "an action and a folder are needed");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "info FOLDER\nverify FOLDER\nhash FOLDER\nimport MODEL --out FOLDER [--tokenizer FILE]\nexport FOLDER OUT [--dtype f32|bf16|f16] [--ema] [--max-shard-size SIZE]",
    .doc = "Looks into checkpoints. FOLDER is a run folder (its newest checkpoint) or a checkpoint's own, RUN/checkpoints/best\n"
           "where checkpoint.best is set.\v"
           "info     step, numerics, sizes, and a table of all tensors with their hashes\n"
           "verify   reads every byte and says what is damaged; under mpirun the ranks share the files\n"
           "hash     one hash of names, shapes and bits: the same whatever the number of ranks\n"
           "import   makes a folder for `generate`, `eval` and `model.from` out of a Hugging Face folder (config.json and\n"
           "         safetensors: gpt2, llama, mistral, qwen2, qwen3), or of a llama2.c model file with its --tokenizer; tensors without\n"
           "         a config (.safetensors, .pt, .npz) come in as they are, for info and hash\n"
           "export   makes a Hugging Face folder that transformers loads: config.json, model.safetensors, tokenizer.json",
};

static const char *kind_name(ls_state_kind kind)
{
    static const char *const names[LS_STATE_KINDS] = {"parameter", "gradient", "moment", "task"};
    return (unsigned)kind < LS_STATE_KINDS ? names[kind] : "?";
}

static bool print_row(void *context, const ls_state_entry *entry, uint64_t hash)
{
    char shape[160] = "[";
    size_t at = 1;
    (void)context;
    for (int d = 0; d < entry->ndim && at < sizeof shape; d++)
        at += (size_t)snprintf(shape + at, sizeof shape - at, d ? ", %" PRId64 : "%" PRId64, entry->shape[d]);
    if (at < sizeof shape)
        snprintf(shape + at, sizeof shape - at, "]");
    printf("%016" PRIx64 "  %-9s  %-4s  %-16s  %s%s\n", hash, kind_name(entry->kind), ls_type_name(entry->type), shape,
           entry->name, entry->flags & LS_STATE_UNHASHED ? "  (not in the hash)" : "");
    return true;
}

static ls_status info(const char *folder)
{
    ls_checkpoint_info about;
    uint64_t hash;
    ls_status status = ls_checkpoint_about(folder, &about);
    if (status == LS_OK)
        status = ls_checkpoint_hash(about.path, &hash);
    if (status != LS_OK)
        return status;
    printf("checkpoint  %s\n"
           "step        %" PRId64 "\n"
           "hash        %016" PRIx64 "\n"
           "numerics    %s\n"
           "state       %.1f MiB in %" PRId64 " tensors\n"
           "files       %.1f MiB of %d ranks; schema %d, save %016" PRIx64 "\n",
           about.path, about.step, hash, about.numerics[0] ? about.numerics : "(not told)",
           (double)about.state_bytes / (1 << 20), about.tensors, (double)about.file_bytes / (1 << 20), about.ranks,
           about.schema, about.save);
    if (ls_checkpoint_best(folder))
        printf("best        step %" PRId64 ", %s/checkpoints/best\n", ls_checkpoint_best(folder), folder);
    printf("\n%-16s  %-9s  %-4s  %-16s  %s\n", "hash", "kind", "type", "shape", "name");
    return ls_checkpoint_list(about.path, print_row, NULL);
}

/* Under mpirun or srun, which say so in the environment; else no MPI is started. */
static bool is_launched(void)
{
    return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK") || getenv("PMI_RANK");
}

/* Of several ranks, rank 0 speaks. */
static int verify(const char *folder)
{
    ls_world *world = NULL;
    ls_checkpoint_info about;
    ls_status status = is_launched() ? ls_world_open(&world, NULL) : LS_OK;
    const bool speaks = !world || ls_world_rank(world) == 0;
    if (status == LS_OK)
        status = world ? ls_checkpoint_verify_shared(world, folder) : ls_checkpoint_verify(folder);
    if (status == LS_OK && speaks)
        status = ls_checkpoint_about(folder, &about);
    if (status == LS_OK && speaks)
        printf("%s: whole; %d rank files, %" PRId64 " bytes\n", about.path, about.ranks, about.file_bytes);
    const int code = speaks ? ls_command_failed("ckpt verify", status) : ls_status_exit_code(status);
    ls_world_close(world);
    return code;
}

static ls_status print_hash(const char *folder)
{
    uint64_t hash;
    ls_status status = ls_checkpoint_hash(folder, &hash);
    if (status == LS_OK)
        printf("%016" PRIx64 "\n", hash);
    return status;
}

static int run(int argc, char **argv)
{
    arguments given = {.how = {.type = LS_FOREIGN_F32}};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    const bool importing = !strcmp(given.action, "import"), exporting = !strcmp(given.action, "export");
    if ((importing || exporting) != (given.out != NULL) || (!importing && given.tokenizer) || (!exporting && given.how_given)) {
        fprintf(stderr, "lockstep ckpt %s: --out belongs to `import` and `export`, which need it, --tokenizer to `import`, --dtype and --ema to `export`\n", given.action);
        return 2;
    }
    if (importing)
        return ls_command_failed("ckpt import", ls_ckpt_import(given.folder, given.tokenizer, given.out));
    if (exporting)
        return ls_command_failed("ckpt export", ls_ckpt_export(given.folder, given.out, &given.how));
    if (strcmp(given.action, "info") == 0)
        return ls_command_failed("ckpt info", info(given.folder));
    if (strcmp(given.action, "verify") == 0)
        return verify(given.folder);
    if (strcmp(given.action, "hash") == 0)
        return ls_command_failed("ckpt hash", print_hash(given.folder));
    fprintf(stderr, "lockstep ckpt: no action \"%s\"; there are info, verify, hash, import and export\n", given.action);
    return 2;
}

const ls_command ls_command_ckpt = {"ckpt", "look into checkpoints, verify, hash, import and export them", run};
