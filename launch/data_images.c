/* `lockstep data images`: the arguments of ls_pack_images (launch/image_packing.h). */
#include "launch/command.h"
#include "launch/data_commands.h"
#include "launch/image_packing.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_LABELS = 256,
    KEY_LABEL,
    KEY_SCALE,
    KEY_SIZE,
    KEY_FIT,
    KEY_SHORTER,
    KEY_FILTER,
    KEY_BACKGROUND,
    KEY_ON_BAD,
    KEY_LIKE,
    KEY_NAMES,
    KEY_RANGE,
    KEY_HOLDOUT,
    KEY_SEED,
    KEY_FORCE
};

static const struct argp_option options[] = {
    {"out", 'o', "FOLDER", 0, "Folder to make; it appears when it is whole", 1},
    {"size", KEY_SIZE, "HxW[xC]", 0,
     "Height, width and channels. CSV: what a line holds (a square of one channel); a folder: what pictures become, 3 "
     "channels or 1 (3)",
     1},
    {NULL, 0, NULL, 0, "IDX:", 2},
    {"labels", KEY_LABELS, "FILE", 0, "The file of labels that belongs to the file of images", 2},
    {NULL, 0, NULL, 0, "CSV:", 3},
    {"label", KEY_LABEL, "WHICH", 0, "The label is the first or the last number of a line (last)", 3},
    {"scale", KEY_SCALE, "GREATEST", 0, "The number that means full brightness (255)", 3},
    {NULL, 0, NULL, 0, "Folders of pictures:", 4},
    {"on-bad", KEY_ON_BAD, "WHAT", 0,
     "A file that is damaged or no PNG or JPEG: fail, or skip: name it, count it and go on (fail)", 4},
    {"fit", KEY_FIT, "HOW", 0,
     "crop: resize until it covers the size, and take the middle; stretch: resize to it (crop)", 4},
    {"shorter", KEY_SHORTER, "N", 0,
     "With crop: resize the shorter side to N before the middle is taken (the least that covers)", 4},
    {"filter", KEY_FILTER, "WHICH", 0, "To resize by: bilinear or area (bilinear)", 4},
    {"background", KEY_BACKGROUND, "RRGGBB", 0, "Colour under transparent pixels (ffffff)", 4},
    {"like", KEY_LIKE, "SET", 0,
     "Take the classes and their numbers from this data set, and the size where none is said", 4},
    {NULL, 0, NULL, 0, "All:", 5},
    {"names", KEY_NAMES, "NAME,...", 0,
     "Names of the classes, in the order of their numbers (the numbers; the folders)", 5},
    {"range", KEY_RANGE, "FIRST..LAST", 0, "Take only images FIRST to LAST, counted from 0 (all)", 5},
    {"holdout", KEY_HOLDOUT, "SHARE", 0, "Put this share of the images into FOLDER-holdout (0)", 5},
    {"seed", KEY_SEED, "N", 0, "Which images are held out (0)", 5},
    {"force", KEY_FORCE, NULL, 0, "Replace an older data set of this name", 5},
    {0},
};

static double number(struct argp_state *state, const char *option, const char *text, double least, double most)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most))
        argp_error(state, "--%s %s: expected a number from %g to %g", option, text, least, most);
    return value;
}

/* 1 for the second word. */
static bool choice(struct argp_state *state, const char *option, const char *text, const char *first,
                   const char *second)
{
    const bool is_second = strcmp(text, second) == 0;
    if (!is_second && strcmp(text, first) != 0)
        argp_error(state, "--%s %s: expected %s or %s", option, text, first, second);
    return is_second;
}

static void read_size(ls_image_packing *given, const char *text, struct argp_state *state)
{
    long long height, width, channels = 0;
    char rest;
    const int fields = sscanf(text, "%lldx%lldx%lld%c", &height, &width, &channels, &rest);
    if (fields < 2 || fields > 3 || height < 1 || width < 1 || (fields == 3 && channels < 1) ||
        height > LS_IMAGE_MAX_SIDE || width > LS_IMAGE_MAX_SIDE || channels > LS_IMAGE_MAX_CHANNELS)
        argp_error(state, "--size %s: expected HEIGHTxWIDTH or HEIGHTxWIDTHxCHANNELS, like 32x32x3", text);
    given->csv.height = given->picture.height = height;
    given->csv.width = given->picture.width = width;
    given->csv.channels = channels ? channels : 1;
    given->picture.channels = channels ? channels : 3;
}

static void read_range(ls_image_packing *given, const char *text, struct argp_state *state)
{
    long long first, last;
    char rest;
    if (sscanf(text, "%lld..%lld%c", &first, &last, &rest) != 2 || first < 0 || last < first)
        argp_error(state, "--range %s: expected FIRST..LAST, like 0..7999", text);
    given->first = first;
    given->last = last;
}

static void read_background(ls_image_packing *given, const char *text, struct argp_state *state)
{
    const char *digits = *text == '#' ? text + 1 : text;
    if (strlen(digits) != 6 || strspn(digits, "0123456789abcdefABCDEF") != 6)
        argp_error(state, "--background %s: expected a colour of six hexadecimal digits, like ffffff", text);
    const unsigned long colour = strtoul(digits, NULL, 16);
    for (int i = 0; i < 3; i++)
        given->picture.background[i] = (uint8_t)(colour >> 8 * (2 - i));
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    ls_image_packing *given = state->input;
    switch (key) {
    case 'o': given->out = value; return 0;
    case KEY_SIZE: read_size(given, value, state); return 0;
    case KEY_LABELS: given->labels = value; return 0;
    case KEY_LABEL: given->csv.label_first = !choice(state, "label", value, "first", "last"); return 0;
    case KEY_SCALE: given->csv.scale = number(state, "scale", value, 1e-9, 1e9); return 0;
    case KEY_ON_BAD: given->skip_bad = choice(state, "on-bad", value, "fail", "skip"); return 0;
    case KEY_FIT: given->picture.fit = choice(state, "fit", value, "crop", "stretch"); return 0;
    case KEY_SHORTER: given->picture.shorter = (int64_t)number(state, "shorter", value, 1, LS_IMAGE_MAX_SIDE); return 0;
    case KEY_FILTER: given->picture.filter = choice(state, "filter", value, "bilinear", "area"); return 0;
    case KEY_BACKGROUND: read_background(given, value, state); return 0;
    case KEY_LIKE: given->like = value; return 0;
    case KEY_NAMES: given->names = value; return 0;
    case KEY_RANGE: read_range(given, value, state); return 0;
    case KEY_HOLDOUT: given->holdout = number(state, "holdout", value, 0, 0.999); return 0;
    case KEY_SEED: given->seed = (uint64_t)number(state, "seed", value, 0, 9e15); return 0;
    case KEY_FORCE: given->force = true; return 0;
    case ARGP_KEY_ARG:
        if (given->input)
            argp_error(state, "one input at a time: %s (labels go behind --labels)", value);
        given->input = value;
        return 0;
    case ARGP_KEY_END:
        if (!given->input || !given->out)
            argp_error(state, "%s",
                       given->input
                           ? "--out is needed"
                           : "which images? Name an IDX file (with --labels), a CSV file or a folder of pictures");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "FILE|FOLDER",
    .doc = "Makes a data set of images. FILE is CSV, or IDX where --labels is given; either may be gzipped. FOLDER "
           "holds a "
           "folder of PNG and JPEG files for each class.\v"
           "Examples:\n"
           "  lockstep data images -o data/mnist --holdout 0.2 --labels t10k-labels-idx1-ubyte.gz "
           "t10k-images-idx3-ubyte.gz\n"
           "  lockstep data images -o data/digits/train --scale 16 --range 0..897 digits.csv.gz\n"
           "  lockstep data images -o data/pets --size 224x224 --shorter 256 --on-bad skip pictures/train\n"
           "See docs/data.md.",
};

int ls_data_pack_images(int argc, char **argv)
{
    ls_image_packing given = {.last = INT64_MAX, .picture = {.background = {255, 255, 255}}};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    const ls_status status = ls_pack_images(&given);
    return status == LS_OK ? 0 : ls_command_failed("data images", status);
}
