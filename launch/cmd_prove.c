/* `lockstep prove`: the promise of docs/architecture.md, tried on a recipe of the user's own.
 *
 * The recipe's first steps run on every rank and thread count, in both schedules, and once with a rank killed and the
 * run resumed on fewer ranks. Every trial must end in the same state to the bit, by way of the same state after every step. Where one
 * parts from the first trial, the hash logs say in which step and which tensor. */
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/process.h"
#include "launch/prove/proof.h"
#include "launch/recipe.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_COUNTS = 16 };

typedef struct {
    int count, value[MAX_COUNTS];
} counts;

typedef struct {
    ls_recipe_arguments start;
    int64_t steps;
    counts ranks, threads;
    bool schedule[2]; /* which of `schedules` */
    bool kill, keep;
} arguments;

static const char *const schedules[] = {"block", "round"};

enum { KEY_STEPS = 's', KEY_RANKS = 'r', KEY_THREADS = 't', KEY_KEEP = 'k', KEY_SCHEDULES = 256, KEY_NO_KILL };
static const struct argp_option options[] = {
    {"steps", KEY_STEPS, "N", 0, "Steps a trial (20)", 0},
    {"ranks", KEY_RANKS, "LIST", 0, "Rank counts to try (1,2,3,4)", 0},
    {"threads", KEY_THREADS, "LIST", 0, "Threads a rank to try (1,2)", 0},
    {"schedules", KEY_SCHEDULES, "LIST", 0, "Schedules to try (block,round)", 0},
    {"no-kill", KEY_NO_KILL, NULL, 0, "Leave out the trial in which a rank is killed", 0},
    {"keep", KEY_KEEP, NULL, 0, "Keep the run folders of the trials, and say where they are", 0},
    {0},
};

static bool parse_counts(const char *text, counts *list)
{
    list->count = 0;
    for (char *end; list->count < MAX_COUNTS; text = end + 1) {
        long value = strtol(text, &end, 10);
        if (end == text || value < 1 || value > 4096 || (*end && *end != ','))
            return false;
        list->value[list->count++] = (int)value;
        if (!*end)
            return true;
    }
    return false;
}

static bool parse_schedules(const char *text, bool chosen[2])
{
    chosen[0] = !strcmp(text, "block") || !strcmp(text, "block,round") || !strcmp(text, "round,block");
    chosen[1] = !strcmp(text, "round") || (chosen[0] && strchr(text, ','));
    return chosen[0] || chosen[1];
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    char *end;
    switch (key) {
    case KEY_STEPS:
        given->steps = strtoll(value, &end, 10);
        if (end == value || *end || given->steps < 1)
            argp_error(state, "--steps=%s: expected a whole number of at least 1", value);
        return 0;
    case KEY_RANKS:
    case KEY_THREADS:
        if (!parse_counts(value, key == KEY_RANKS ? &given->ranks : &given->threads))
            argp_error(state, "%s: expected up to %d whole numbers of at least 1 with commas between them, like 1,2,4", value,
                       MAX_COUNTS);
        return 0;
    case KEY_SCHEDULES:
        if (!parse_schedules(value, given->schedule))
            argp_error(state, "--schedules=%s: expected block, round, or block,round", value);
        return 0;
    case KEY_NO_KILL: given->kill = false; return 0;
    case KEY_KEEP: given->keep = true; return 0;
    default: return ls_recipe_argument(&given->start, key, value, state);
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "RECIPE [KEY.PATH=VALUE...]",
    .doc = "Runs the first steps of RECIPE on several rank and thread counts, in both schedules, and once with a rank killed "
           "and the run resumed on fewer ranks; prints one row each and whether the bits are the same. Where two part, it "
           "names the first step and the first tensor. Exit code 0 only if all agree.\v"
           "It starts mpirun itself. Runs go to a temporary folder (TMPDIR) that is removed at the end; your run folder is "
           "not touched.\n",
};

static ls_status try_all(ls_proof *p, const arguments *given, int64_t grains)
{
    ls_status status = LS_OK;
    int most = 0, next = 0; /* the two greatest rank counts */
    ls_proof_heading();
    for (int r = 0; r < given->ranks.count && !status; r++) {
        int ranks = given->ranks.value[r];
        if (ranks > grains) {
            printf("%5d  skipped: the recipe has %lld grains a step (batch.grains), and a grain is computed by one rank\n",
                   ranks, (long long)grains);
            continue;
        }
        next = ranks > most ? most : ranks > next && ranks < most ? ranks : next;
        most = ranks > most ? ranks : most;
        for (int t = 0; t < given->threads.count && !status; t++)
            for (int s = 0; s < 2 && !status; s++)
                if (given->schedule[s])
                    status = ls_proof_try(p, ranks, given->threads.value[t], schedules[s], 0);
    }
    if (!status && most && given->kill)
        status = ls_proof_try(p, most, given->threads.value[0], schedules[given->schedule[0] ? 0 : 1], next ? next : most);
    if (!status && !most)
        status = ls_fail(LS_EARG, "every rank count of --ranks is above the recipe's %lld grains", (long long)grains);
    return status;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *at)
{
    (void)info, (void)type, (void)at;
    return remove(path);
}

static ls_status make_folder(char folder[PATH_MAX])
{
    const char *parent = getenv("TMPDIR");
    snprintf(folder, PATH_MAX, "%.4000s/lockstep-prove-XXXXXX", parent && *parent ? parent : "/tmp");
    return mkdtemp(folder) ? LS_OK : ls_fail(LS_EIO, "%s: %s; set TMPDIR to a folder that can be written", folder, strerror(errno));
}

static void leave_folder(const char *folder, bool keep)
{
    if (keep)
        printf("The runs are kept in %s\n", folder);
    else
        nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* The recipe is read once here, so that a wrong one is told in a moment and not by sixteen mpiruns. */
static ls_status read_once(const arguments *given, int64_t *grains, bool *evaluates)
{
    char run[] = "run=unused";
    char **override = calloc((size_t)given->start.overrides + 1, sizeof *override);
    if (!override)
        return ls_fail(LS_EMEM, "no memory for the overrides");
    for (int i = 0; i < given->start.overrides; i++)
        override[i] = given->start.override[i];
    override[given->start.overrides] = run;
    ls_recipe *recipe;
    ls_status status = ls_recipe_read(&recipe, given->start.recipe, given->start.overrides + 1, override);
    free(override);
    if (status)
        return status;
    const ls_train_config *config = ls_recipe_config(recipe);
    *grains = config->batch.grains;
    *evaluates = config->checkpoint.best || config->early_stop.patience;
    ls_recipe_free(recipe);
    return LS_OK;
}

static ls_status prove(const arguments *given, ls_proof *p)
{
    char folder[PATH_MAX], executable[PATH_MAX];
    int64_t grains = 0;
    bool evaluates = false;
    if (getenv("OMPI_COMM_WORLD_SIZE"))
        return ls_fail(LS_EARG, "start it without mpirun: it starts mpirun itself, once a trial");
    ssize_t bytes = readlink("/proc/self/exe", executable, sizeof executable - 1);
    if (bytes < 0)
        return ls_fail(LS_EIO, "/proc/self/exe: %s", strerror(errno));
    executable[bytes] = '\0';
    ls_status status = read_once(given, &grains, &evaluates);
    if (!status)
        status = make_folder(folder);
    if (status)
        return status;
    if (geteuid() == 0) { /* Open MPI asks root twice */
        setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
        setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    }
    ls_process_catch_signals();
    p->setting = (ls_trial_setting){executable, given->start.recipe, given->start.overrides, given->start.override, folder, given->steps,
                                     evaluates};
    status = try_all(p, given, grains);
    leave_folder(folder, given->keep);
    ls_proof_end(p);
    return status;
}

static int run(int argc, char **argv)
{
    arguments given = {.steps = 20, .ranks = {4, {1, 2, 3, 4}}, .threads = {2, {1, 2}}, .schedule = {true, true}, .kill = true};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    ls_proof p = {0};
    ls_status status = prove(&given, &p);
    if (status)
        return ls_command_failed("prove", status);
    if (!p.different && !p.failed) {
        printf("All %d trials agree, bit for bit, after each of %lld steps.\n", p.trials, (long long)given.steps);
        return 0;
    }
    printf("%d of %d trials are not the same, %d failed.%s\n", p.different, p.trials, p.failed,
           given.keep ? "" : " Run again with --keep to look at them.");
    return 1;
}

const ls_command ls_command_prove = {"prove", "show that ranks, threads, schedules and a crash do not change a bit", run};
