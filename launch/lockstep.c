/* `lockstep`: finds the subcommand and hands over. In the manner of GNU tools: --help and --version go to stdout with
 * exit code 0, bad usage to stderr with exit code 2 and the nearest command. */
#include "launch/command.h"
#include "launch/recipe/convert.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const ls_command *const commands[] = {
    &ls_command_train,
    &ls_command_launch,
    &ls_command_doctor,
    &ls_command_data,
    &ls_command_generate,
    &ls_command_rejection,
    &ls_command_eval,
    &ls_command_ckpt,
    &ls_command_prove,
    &ls_command_report,
    &ls_command_status,
    &ls_command_recipes,
    &ls_command_units,
    NULL,
};

static const ls_command *find(const char *name)
{
    for (const ls_command *const *command = commands; *command; command++)
        if (!strcmp((*command)->name, name))
            return *command;
    return NULL;
}

static void print_help(FILE *out)
{
    fputs("Usage: lockstep COMMAND [ARGUMENT...]\n"
          "Distributed training whose result does not depend on the number of ranks.\n\n",
          out);
    for (const ls_command *const *command = commands; *command; command++)
        fprintf(out, "  %-10s %s\n", (*command)->name, (*command)->sentence);
    fputs("\n`lockstep COMMAND --help` tells more. To use more processes, put `mpirun -n N` or `srun` in front of\n"
          "`lockstep train`, or let `lockstep launch` keep a run going. A first run: `./quickstart`, or `lockstep recipes` and `lockstep train NAME`.\n"
          "Exit codes: 0 done, 1 failed, 2 bad usage or recipe, 75 stopped early with a checkpoint: run it again.\n",
          out);
}

static int unknown(const char *name)
{
    const char *nearest = commands[0]->name;
    for (const ls_command *const *command = commands; *command; command++)
        if (ls_edit_distance(name, (*command)->name) < ls_edit_distance(name, nearest))
            nearest = (*command)->name;
    fprintf(stderr, "lockstep: no command \"%s\"; did you mean \"%s\"?\nTry `lockstep --help`.\n", name, nearest);
    return 2;
}

int ls_command_failed(const char *name, ls_status status)
{
    if (status != LS_OK)
        fprintf(stderr, "lockstep %s: %s\n", name, ls_fail_sentence());
    return ls_status_exit_code(status);
}

int ls_lockstep(int argc, char **argv)
{
    argp_program_version = "lockstep " LS_VERSION;
    argp_err_exit_status = 2;
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    const char *first = argv[1];
    if (!strcmp(first, "--version") || !strcmp(first, "-V")) {
        puts(argp_program_version);
        return 0;
    }
    bool help = !strcmp(first, "help");
    if (!strcmp(first, "--help") || !strcmp(first, "-?") || !strcmp(first, "-h") || (help && argc == 2)) {
        print_help(stdout);
        return 0;
    }
    const ls_command *command = find(help ? argv[2] : first);
    if (!command)
        return unknown(help ? argv[2] : first);
    char name[64]; /* argp begins its own lines with it */
    snprintf(name, sizeof name, "lockstep %s", command->name);
    if (help) {
        char option[] = "--help", *asked[] = {name, option, NULL};
        return command->run(2, asked);
    }
    argv[1] = name;
    return command->run(argc - 1, argv + 1);
}
