/* `lockstep launch`: finds the verb and hands over. The verbs are in files of their own, launch_*.c. */
#include "launch/command.h"
#include "launch/launch_commands.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *sentence;
    int (*run)(int argc, char **argv);
} verbs[] = {
    {"mpirun", "train under mpirun, and start again after a failure", ls_launch_mpirun},
    {"slurm", "write a job script, and submit it", ls_launch_slurm},
    {"requeue", "what a job script asks when its srun has ended", ls_launch_requeue},
};
enum { VERBS = sizeof verbs / sizeof *verbs };

static void print_help(FILE *out)
{
    fputs("Usage: lockstep launch VERB [ARGUMENT...]\nKeeps a training run going over failures, on the hosts that are left.\n\n", out);
    for (int i = 0; i < VERBS; i++)
        fprintf(out, "  %-10s %s\n", verbs[i].name, verbs[i].sentence);
    fputs("\n`lockstep launch VERB --help` tells more; so does docs/cluster.md.\n", out);
}

static int run(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    const bool help = !strcmp(verb, "--help") || !strcmp(verb, "-?") || !strcmp(verb, "help");
    for (int i = 0; i < VERBS; i++)
        if (strcmp(verb, verbs[i].name) == 0) {
            char name[64]; /* argp begins its own lines with it */
            snprintf(name, sizeof name, "lockstep launch %s", verb);
            argv[1] = name;
            return verbs[i].run(argc - 1, argv + 1);
        }
    if (argc > 1 && !help)
        fprintf(stderr, "lockstep launch: there is no verb \"%s\"\n", verb);
    print_help(help ? stdout : stderr);
    return help ? 0 : 2;
}

const ls_command ls_command_launch = {"launch", "keep a run going over failures, with mpirun or Slurm", run};
