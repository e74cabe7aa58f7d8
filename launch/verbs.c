/* See ls_run_verb in command.h. */
#include "launch/command.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void print_help(const ls_verbs *all, FILE *out)
{
    fprintf(out, "Usage: lockstep %s VERB [ARGUMENT...]\n%s\n\n", all->command, all->about);
    for (int i = 0; i < all->verbs; i++)
        fprintf(out, "  %-10s %s\n", all->verb[i].name, all->verb[i].sentence);
    fprintf(out, "\n`lockstep %s VERB --help` %s\n", all->command, all->more);
}

int ls_run_verb(const ls_verbs *all, int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    const bool help = !strcmp(verb, "--help") || !strcmp(verb, "-?") || !strcmp(verb, "help");
    for (int i = 0; i < all->verbs; i++)
        if (strcmp(verb, all->verb[i].name) == 0) {
            char name[64]; /* argp begins its own lines with it */
            snprintf(name, sizeof name, "lockstep %s %s", all->command, verb);
            argv[1] = name;
            return all->verb[i].run(argc - 1, argv + 1);
        }
    if (argc > 1 && !help)
        fprintf(stderr, "lockstep %s: there is no verb \"%s\"\n", all->command, verb);
    print_help(all, help ? stdout : stderr);
    return help ? 0 : 2;
}
