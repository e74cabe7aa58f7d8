/* `lockstep launch slurm`: writes a job script of a shipped template, and submits it. `lockstep launch requeue`: what such a
 * script asks when its srun has ended. */
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/launch_commands.h"
#include "launch/process.h"
#include "launch/recipe.h"
#include "launch/slurm/requeue.h"
#include "launch/slurm/script.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_OPTIONS = 32, MAX_WORDS = 256 };

typedef struct {
    ls_recipe_arguments start;
    ls_slurm_option option[MAX_OPTIONS];
    int options;
    long nodes, tasks;
    const char *template, *out;
    bool submit;
} arguments;

enum { KEY_NODES = 256, KEY_TASKS, KEY_GPUS, KEY_CPUS, KEY_TIME, KEY_PARTITION, KEY_ACCOUNT, KEY_NAME, KEY_SUBMIT };
static const struct argp_option options[] = {
    {"nodes", KEY_NODES, "N", 0, "Nodes (1)", 0},
    {"ntasks-per-node", KEY_TASKS, "M", 0, "Ranks on each", 0},
    {"cpus-per-task", KEY_CPUS, "C", 0, "Processors, and threads, of a rank", 0},
    {"gpus-per-node", KEY_GPUS, "G", 0, "GPUs of each node", 0},
    {"time", KEY_TIME, "LIMIT", 0, "Limit of one start, as sbatch takes it (24:00:00); the run goes on after it", 0},
    {"partition", KEY_PARTITION, "NAME", 0, "Where to queue", 0},
    {"account", KEY_ACCOUNT, "NAME", 0, "Who pays", 0},
    {"job-name", KEY_NAME, "NAME", 0, "What squeue shows (the recipe's name)", 0},
    {"sbatch", 's', "OPTION", 0, "Any other option, like -s qos=long or -s exclusive; may be repeated", 0},
    {"template", 't', "NAME", 0, "single-node, many-nodes, preemptible or seeds (by --nodes)", 0},
    {"out", 'o', "FILE", 0, "The script (JOB-NAME.sbatch); - prints it", 0},
    {"submit", KEY_SUBMIT, NULL, 0, "Submit it", 0},
    {0},
};

static void take(arguments *given, struct argp_state *state, const char *key, const char *value)
{
    if (given->options == MAX_OPTIONS)
        argp_error(state, "more than %d options for sbatch", MAX_OPTIONS);
    given->option[given->options++] = (ls_slurm_option){key, value};
}

static long read_count(struct argp_state *state, const char *option, const char *value)
{
    return ls_count_argument(state, option, value, 1, 1000000);
}

/* "qos=long", "--qos=long", "exclusive" */
static void take_any(arguments *given, struct argp_state *state, char *text)
{
    text += strspn(text, "-");
    char *value = strchr(text, '=');
    if (!*text || value == text)
        argp_error(state, "--sbatch=%s: expected NAME=VALUE or NAME", text);
    if (value)
        *value++ = '\0';
    take(given, state, text, value);
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case KEY_NODES: given->nodes = read_count(state, "--nodes", value); take(given, state, "nodes", value); return 0;
    case KEY_TASKS: given->tasks = read_count(state, "--ntasks-per-node", value); take(given, state, "ntasks-per-node", value); return 0;
    case KEY_CPUS: read_count(state, "--cpus-per-task", value); take(given, state, "cpus-per-task", value); return 0;
    case KEY_GPUS: read_count(state, "--gpus-per-node", value); take(given, state, "gpus-per-node", value); return 0;
    case KEY_TIME: take(given, state, "time", value); return 0;
    case KEY_PARTITION: take(given, state, "partition", value); return 0;
    case KEY_ACCOUNT: take(given, state, "account", value); return 0;
    case KEY_NAME: take(given, state, "job-name", value); return 0;
    case KEY_SUBMIT: given->submit = true; return 0;
    case 's': take_any(given, state, value); return 0;
    case 't': given->template = value; return 0;
    case 'o': given->out = value; return 0;
    case ARGP_KEY_END:
        if (!given->tasks)
            argp_error(state, "how many ranks on a node? Say --ntasks-per-node M");
        return ls_recipe_argument(&given->start, key, value, state);
    default: return ls_recipe_argument(&given->start, key, value, state);
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "RECIPE [KEY.PATH=VALUE...]",
    .doc = "Writes a job script that trains RECIPE on N nodes with M ranks each, and with --submit gives it to sbatch. The job "
           "saves before its time limit and when it is preempted, goes back into the queue, and goes on from its last "
           "checkpoint, also after the death of a node. The result is the same to the bit.\v"
           "Examples:\n"
           "  lockstep launch slurm my.yaml --nodes 4 --ntasks-per-node 8 --submit\n"
           "  lockstep launch slurm my.yaml -t preemptible --ntasks-per-node 8 -o -\n",
};

/* Read here as well: better a sentence now than a job that waits a day to say it. */
static ls_status check_recipe(const arguments *given)
{
    ls_recipe *recipe;
    ls_status status = ls_recipe_read(&recipe, given->start.recipe, given->start.overrides, given->start.override);
    if (status)
        return status;
    const int64_t ranks = given->nodes * given->tasks, grains = ls_recipe_config(recipe)->batch.grains;
    if (ranks > grains)
        status = ls_fail(LS_ERECIPE, "%lld ranks, but the recipe has %lld grains a step (batch.grains), and a grain is computed by one rank",
                         (long long)ranks, (long long)grains);
    ls_recipe_free(recipe);
    return status;
}

/* "dir/my.yaml" -> "my" */
static void name_of(const char *recipe, char name[NAME_MAX + 1])
{
    const char *slash = strrchr(recipe, '/');
    snprintf(name, NAME_MAX + 1, "%s", slash ? slash + 1 : recipe);
    char *end = strstr(name, ".yaml");
    if (end)
        *end = '\0';
}

static const char *job_name(const arguments *given)
{
    for (int i = 0; i < given->options; i++)
        if (!strcmp(given->option[i].key, "job-name"))
            return given->option[i].value;
    return NULL;
}

static ls_status write_script(const ls_slurm_script *script, const char *text, const char *path)
{
    FILE *out = strcmp(path, "-") ? fopen(path, "w") : stdout;
    if (!out)
        return ls_fail(LS_EIO, "%s: cannot write the job script: %s", path, strerror(errno));
    ls_status status = ls_slurm_script_write(script, text, out);
    if ((out == stdout ? fflush(out) : fclose(out)) && !status)
        status = ls_fail(LS_EIO, "%s: %s", path, strerror(errno));
    return status;
}

static ls_status submit(const char *path)
{
    char *argv[] = {"sbatch", (char *)path, NULL};
    pid_t process;
    bool done;
    int exit_code = 0;
    ls_status status = ls_process_start(&process, argv, NULL);
    if (status == LS_ENOTFOUND)
        return ls_fail(LS_ENOTFOUND, "no sbatch here; %s is written: submit it where Slurm is installed", path);
    if (!status)
        status = ls_process_wait(process, -1, &done, &exit_code);
    return status || !exit_code ? status : ls_fail(LS_EIO, "sbatch refused %s (exit code %d)", path, exit_code);
}

static ls_status launch(arguments *given)
{
    char executable[PATH_MAX], name[NAME_MAX + 1], path[NAME_MAX + 16], *words[MAX_WORDS];
    const char *text;
    ls_status status = check_recipe(given);
    if (!status)
        status = ls_slurm_template(given->template ? given->template : given->nodes > 1 ? "many-nodes" : "single-node", &text);
    if (!status && given->start.overrides >= MAX_WORDS)
        status = ls_fail(LS_EARG, "%d overrides; write them into a recipe", given->start.overrides);
    if (status)
        return status;
    const ssize_t bytes = readlink("/proc/self/exe", executable, sizeof executable - 1);
    if (bytes < 0)
        return ls_fail(LS_EIO, "/proc/self/exe: %s", strerror(errno));
    executable[bytes] = '\0';
    name_of(given->start.recipe, name);
    if (!job_name(given) && given->options < MAX_OPTIONS)
        given->option[given->options++] = (ls_slurm_option){"job-name", name};
    words[0] = (char *)given->start.recipe;
    for (int i = 0; i < given->start.overrides; i++)
        words[i + 1] = given->start.override[i];
    const ls_slurm_script script = {.executable = executable, .options = given->options, .option = given->option,
                                    .words = given->start.overrides + 1, .word = words};
    snprintf(path, sizeof path, "%.250s.sbatch", job_name(given) ? job_name(given) : name);
    const char *out = given->out ? given->out : path;
    const bool shown = !strcmp(out, "-");
    if (shown && given->submit)
        return ls_fail(LS_EARG, "--out - prints the script; name a file to submit it");
    status = write_script(&script, text, out);
    if (!status && !shown)
        printf("%s is written%s%s\n", out, given->submit ? "" : "; submit it with: sbatch ", given->submit ? "" : out);
    fflush(stdout);
    return status || !given->submit ? status : submit(out);
}

int ls_launch_slurm(int argc, char **argv)
{
    arguments given = {.nodes = 1};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    return ls_command_failed("launch", launch(&given));
}

/* CODE RECIPE [KEY.PATH=VALUE...]: no options, so that a job script can hand on whatever it was given. */
int ls_launch_requeue(int argc, char **argv)
{
    enum { RETRIES = 3 };
    char *end = NULL;
    const long code = argc > 2 ? strtol(argv[1], &end, 10) : -1;
    if (code < 0 || code > 255 || *end) {
        fputs("Usage: lockstep launch requeue CODE RECIPE [KEY.PATH=VALUE...]\n"
              "For job scripts: srun ended with CODE. 0 and 2 are the end; else the job goes back into the queue, unless three\n"
              "failures in a row brought no newer checkpoint. Ends with CODE.\n",
              stderr);
        return 2;
    }
    ls_recipe *recipe;
    bool requeued = false;
    ls_status status = ls_recipe_read(&recipe, argv[2], argc - 3, argv + 3);
    if (!status) {
        status = ls_slurm_requeue(ls_recipe_config(recipe)->run.run, (int)code, RETRIES, &requeued);
        ls_recipe_free(recipe);
    }
    if (status)
        ls_command_failed("launch", status);
    return status && !code ? ls_status_exit_code(status) : (int)code;
}
