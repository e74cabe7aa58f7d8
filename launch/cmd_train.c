/* `lockstep train`: one rank of a training run, alone or under mpirun or srun.
 *
 * Every rank reads the recipe for itself and all compare what they read, with the numerics id, before the first step: a
 * rank with another file, another library or another processor is refused by name. A rank that fails later takes the
 * others with it (ls_world_abort), so nobody waits for the dead. */
#include "base/log.h"
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/keys.h"
#include "launch/recipe.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    ls_recipe_arguments start;
    bool dry_run;
} arguments;

static const struct argp_option options[] = {
    {"dry-run", 'n', NULL, 0, "Print the estimate (memory a rank, steps, tokens, disk, time) and stop", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case 'n': given->dry_run = true; return 0;
    default: return ls_recipe_argument(&given->start, key, value, state);
    }
}

/* The keys stand behind the options, printed from the tables. */
static char *add_keys(int key, const char *text, void *input)
{
    (void)input;
    char *keys = NULL;
    size_t bytes;
    FILE *out = key == ARGP_KEY_HELP_POST_DOC ? open_memstream(&keys, &bytes) : NULL;
    if (!out)
        return (char *)text;
    fprintf(out, "%s\nKeys of a recipe and their defaults:\n\n", text);
    ls_keys_help(out);
    fclose(out);
    return keys;
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "RECIPE [KEY.PATH=VALUE...]",
    .doc = "Trains RECIPE, a YAML file or the name of a shipped recipe; KEY.PATH=VALUE overrides one of its keys. A run "
           "folder that holds a checkpoint is gone on with. Put `mpirun -n N` or `srun` in front for more ranks: the "
           "result is the same to the bit.\v"
           "Examples:\n"
           "  lockstep train gsm8k-pretrain run=runs/first max_steps=100\n"
           "  mpirun -n 2 lockstep train my.yaml optimizer.lr=2e-5\n"
           "  lockstep train my.yaml --dry-run\n",
    .help_filter = add_keys,
};

/* The first line in which two texts differ; ls_agree puts the rank in front. */
static ls_status tell_difference(const char *here, const char *there)
{
    while (*here && *there) {
        size_t mine = strcspn(here, "\n"), theirs = strcspn(there, "\n");
        if (mine != theirs || memcmp(here, there, mine))
            break;
        here += mine + (here[mine] == '\n');
        there += theirs + (there[theirs] == '\n');
    }
    return ls_fail(LS_ESTATE, "another recipe than rank 0's: '%.*s', there '%.*s'; start all ranks with the same file and overrides",
                   (int)strcspn(here, "\n"), here, (int)strcspn(there, "\n"), there);
}

/* Every rank compares its resolved recipe with rank 0's. */
static ls_status compare_recipes(ls_world *world, const char *text)
{
    static const char phase[] = "comparing recipes";
    uint64_t bytes = strlen(text) + 1;
    ls_status status = ls_broadcast(world, &bytes, sizeof bytes, 0, phase);
    char *first = status ? NULL : malloc(bytes);
    if (!status)
        status = ls_agree(world, first ? LS_OK : ls_fail(LS_EMEM, "no memory for the recipe"), phase);
    if (!status && ls_world_rank(world) == 0)
        memcpy(first, text, bytes);
    if (!status)
        status = ls_broadcast(world, first, bytes, 0, phase);
    if (!status)
        status = ls_agree(world, strcmp(first, text) ? tell_difference(text, first) : LS_OK, phase);
    free(first);
    return status;
}

/* Reads, then makes sure that every rank read the same and computes alike. */
static ls_status prepare(ls_world *world, const arguments *given, ls_recipe **recipe)
{
    ls_status status = ls_recipe_read(recipe, given->start.recipe, given->start.overrides, given->start.override);
    if (!status)
        status = ls_numerics_pin((ls_numerics)ls_recipe_config(*recipe)->run.numerics);
    status = ls_agree(world, status, "reading the recipe");
    if (status)
        return status;
    const char *numerics = ls_numerics_id();
    status = compare_recipes(world, ls_recipe_config(*recipe)->recipe_text);
    if (status || ls_recipe_config(*recipe)->run.device != LS_RUN_CPU)
        return status; /* another device's id is compared where it is opened */
    return ls_same_everywhere(world, numerics, strlen(numerics), "the numerics id");
}

static int run(int argc, char **argv)
{
    arguments given = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &given);

    ls_world *world;
    ls_status status = ls_world_open(&world, NULL);
    if (status)
        return ls_command_failed("train", status);
    ls_log_identity(ls_world_rank(world), ls_world_ranks(world));
    ls_recipe *recipe = NULL;
    status = prepare(world, &given, &recipe);
    /* ls_agree: all ranks are here with the same sentence. But a rank that left the last exchange early may have failed
     * in training already; who hears of that here has to leave by the failure's own exit code. */
    const bool together = status != LS_OK && status != LS_ECOMM && status != LS_ETIMEOUT;
    if (!status && given.dry_run)
        status = ls_train_estimate(world, ls_recipe_config(recipe));
    else if (!status) {
        ls_world_deadline(world, ls_recipe_config(recipe)->guard.deadline);
        status = ls_train(world, ls_recipe_config(recipe));
    }

    const int exit_code = ls_status_exit_code(status);
    /* Whoever reads the run folder later was not at the terminal. What takes other ranks along is logged by ls_world_abort. */
    if (status && ls_world_rank(world) == 0 && (together || status == LS_ESTOPPED || ls_world_ranks(world) == 1))
        ls_log_keep(status == LS_ESTOPPED ? LS_LOG_INFO : LS_LOG_ERROR, "train", "%s", ls_fail_sentence());
    if (status && status != LS_ESTOPPED && !together && ls_world_ranks(world) > 1)
        ls_world_abort(world, exit_code, ls_fail_sentence());
    if (status && ls_world_rank(world) == 0)
        ls_command_failed("train", status);
    ls_recipe_free(recipe);
    ls_world_close(world);
    return exit_code;
}

const ls_command ls_command_train = {"train", "train a recipe, or go on with its run", run};
