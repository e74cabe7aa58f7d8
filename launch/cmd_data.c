/* `lockstep data`: finds the verb and hands over. The verbs are in files of their own, data_*.c. */
#include "launch/command.h"
#include "launch/data_commands.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *sentence;
    int (*run)(int argc, char **argv);
} verbs[] = {
    {"tokenizer", "train a byte-pair encoding on texts", ls_data_tokenizer},
    {"pack", "make a data set of text files", ls_data_pack},
    {"images", "make a data set of images", ls_data_pack_images},
    {"info", "tell what a data set holds", ls_data_info},
    {"show", "show a sample, a row or an image", ls_data_show},
    {"verify", "check every byte of a data set", ls_data_verify},
};
enum { VERBS = sizeof verbs / sizeof *verbs };

static void print_help(FILE *out)
{
    fputs("Usage: lockstep data VERB [ARGUMENT...]\nData sets: HDF5 shards of tokens or images, made once and read by every run.\n\n", out);
    for (int i = 0; i < VERBS; i++)
        fprintf(out, "  %-10s %s\n", verbs[i].name, verbs[i].sentence);
    fputs("\n`lockstep data VERB --help` tells more.\n", out);
}

static int run(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    const bool help = !strcmp(verb, "--help") || !strcmp(verb, "-?") || !strcmp(verb, "help");
    for (int i = 0; i < VERBS; i++)
        if (strcmp(verb, verbs[i].name) == 0) {
            char name[64]; /* argp begins its own lines with it */
            snprintf(name, sizeof name, "lockstep data %s", verb);
            argv[1] = name;
            return verbs[i].run(argc - 1, argv + 1);
        }
    if (argc > 1 && !help)
        fprintf(stderr, "lockstep data: there is no verb \"%s\"\n", verb);
    print_help(help ? stdout : stderr);
    return help ? 0 : 2;
}

const ls_command ls_command_data = {"data", "make, show and check data sets", run};
