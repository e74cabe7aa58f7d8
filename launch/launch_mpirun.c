/* `lockstep launch mpirun`: the command line of the supervisor (launch/supervise/). */
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/launch_commands.h"
#include "launch/recipe.h"
#include "launch/supervise/supervise.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    ls_recipe_arguments start;
    int ranks, retries;
    const char *hostfile;
} arguments;

enum { MOST = 65536 };

static const struct argp_option options[] = {
    {"ranks", 'n', "N", 0, "Ranks to start; fewer when hosts are gone", 0},
    {"retries", 'k', "K", 0, "Failures in a row without a newer checkpoint after which it gives up (3); 0: it starts once", 0},
    {"hostfile", 'f', "FILE", 0, "Hosts, a line each: `NAME slots=N`; without it, this machine", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case 'n': given->ranks = (int)ls_count_argument(state, "--ranks", value, 1, MOST); return 0;
    case 'k': given->retries = (int)ls_count_argument(state, "--retries", value, 0, MOST); return 0;
    case 'f': given->hostfile = value; return 0;
    case ARGP_KEY_END:
        if (!given->ranks)
            argp_error(state, "how many ranks? Say -n N");
        return ls_recipe_argument(&given->start, key, value, state);
    default: return ls_recipe_argument(&given->start, key, value, state);
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "RECIPE [KEY.PATH=VALUE...]",
    .doc = "Trains RECIPE on N ranks under mpirun. When the run fails, it is started again from its last checkpoint: with fewer "
           "ranks if a host does not answer, which changes no bit of the result. It gives up after K failures in a row "
           "without a newer checkpoint.\v"
           "SIGTERM, SIGINT or SIGUSR1 to this command lets the ranks finish their step, save, and ends with 75; a second one "
           "ends them at once. Hosts are asked by ssh, or by what OMPI_MCA_plm_rsh_agent says. Other settings reach "
           "mpirun through its environment (OMPI_MCA_...).\n"
           "Examples:\n"
           "  lockstep launch mpirun gsm8k-pretrain -n 2 run=runs/first\n"
           "  lockstep launch mpirun my.yaml -n 16 --hostfile hosts --retries 5\n",
};

/* The recipe is read here too: a wrong one is told in a moment, and the run folder is known. */
static ls_status supervise(const arguments *given)
{
    char executable[PATH_MAX];
    ls_recipe *recipe;
    if (getenv("OMPI_COMM_WORLD_SIZE"))
        return ls_fail(LS_EARG, "start it without mpirun: it starts mpirun itself");
    const ssize_t bytes = readlink("/proc/self/exe", executable, sizeof executable - 1);
    if (bytes < 0)
        return ls_fail(LS_EIO, "/proc/self/exe: %s", strerror(errno));
    executable[bytes] = '\0';
    ls_status status = ls_recipe_read(&recipe, given->start.recipe, given->start.overrides, given->start.override);
    if (status)
        return status;
    const ls_train_config *config = ls_recipe_config(recipe);
    const ls_supervise_options o = {.executable = executable, .recipe = given->start.recipe, .overrides = given->start.overrides,
                                    .override = given->start.override, .run = config->run.run, .ranks = given->ranks,
                                    .retries = given->retries, .hostfile = given->hostfile,
                                    .deadline = config->guard.deadline};
    if (config->batch.grains < given->ranks)
        status = ls_fail(LS_ERECIPE, "-n %d, but the recipe has %lld grains a step (batch.grains), and a grain is computed by one rank",
                         given->ranks, (long long)config->batch.grains);
    if (!status)
        status = ls_supervise(&o);
    ls_recipe_free(recipe);
    return status;
}

int ls_launch_mpirun(int argc, char **argv)
{
    arguments given = {.retries = 3};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    return ls_command_failed("launch", supervise(&given));
}
