/* `lockstep data`: finds the verb and hands over. The verbs are in files of their own, data_*.c. */
#include "launch/command.h"
#include "launch/data_commands.h"

static const ls_command verbs[] = {
    {"tokenizer", "train a byte-pair encoding on texts", ls_data_tokenizer},
    {"pack", "make a data set of text files", ls_data_pack},
    {"images", "make a data set of images", ls_data_pack_images},
    {"info", "tell what a data set holds", ls_data_info},
    {"show", "show a sample, a row or an image", ls_data_show},
    {"verify", "check every byte of a data set", ls_data_verify},
};
enum { VERBS = sizeof verbs / sizeof *verbs };

static int run(int argc, char **argv)
{
    static const ls_verbs all = {"data", "Data sets: HDF5 shards of tokens or images, made once and read by every run.", "tells more.", verbs, VERBS};
    return ls_run_verb(&all, argc, argv);
}

const ls_command ls_command_data = {"data", "make, show and check data sets", run};
