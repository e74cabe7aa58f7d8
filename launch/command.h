/* The `lockstep` command: one row a subcommand. A subcommand is one file, launch/cmd_NAME.c, that ends in its row.
 * run() gets argv[0] = "lockstep NAME", parses with argp (so --help and --usage come for free), prints errors to stderr
 * as "lockstep NAME: sentence", and returns the exit code of docs/architecture.md: 0 done, 1 failed, 2 bad usage or
 * recipe, 75 stopped early with a checkpoint. */
#pragma once
#include "base/error.h"

typedef struct {
    const char *name, *sentence;
    int (*run)(int argc, char **argv);
} ls_command;

extern const ls_command ls_command_train, ls_command_data, ls_command_ckpt, ls_command_generate, ls_command_eval, ls_command_launch, ls_command_doctor,
    ls_command_prove, ls_command_recipes, ls_command_rejection, ls_command_report, ls_command_status,
    ls_command_units;

/* The whole command: what main() is. A test that brings tasks of its own sets ls_tasks and calls this. */
int ls_lockstep(int argc, char **argv);

/* Prints "lockstep NAME: sentence" (the calling thread's) and returns the status's exit code. */
int ls_command_failed(const char *name, ls_status status);

/* A command that is a few verbs, each with arguments of its own. */
typedef struct {
    const char *command, *about, *more; /* of the help; `more` ends "`lockstep COMMAND VERB --help`" */
    const ls_command *verb;
    int verbs;
} ls_verbs;

/* The run() of such a command: finds argv[1], and hands over with argv[0] = "lockstep COMMAND VERB". */
int ls_run_verb(const ls_verbs *all, int argc, char **argv);
