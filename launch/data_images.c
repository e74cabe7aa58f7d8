/* `lockstep data images`: files of images to a data set of HDF5 shards (datasets/image_input.h, images.h). */
#include "base/random.h"
#include "datasets/image_input.h"
#include "launch/command.h"
#include "launch/data_commands.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *input, *labels, *out, *names;
    ls_csv_options csv;
    int64_t first, last; /* numbers of the images that are taken */
    double holdout;
    uint64_t seed;
    bool force;
} arguments;

enum { KEY_LABELS = 256, KEY_LABEL, KEY_SCALE, KEY_SIZE, KEY_NAMES, KEY_RANGE, KEY_HOLDOUT, KEY_SEED, KEY_FORCE };

static const struct argp_option options[] = {
    {"out", 'o', "FOLDER", 0, "Folder to make; it appears when it is whole", 1},
    {"labels", KEY_LABELS, "FILE", 0, "IDX: the file of labels that belongs to the file of images", 2},
    {"label", KEY_LABEL, "WHICH", 0, "CSV: the label is the first or the last number of a line (last)", 3},
    {"scale", KEY_SCALE, "GREATEST", 0, "CSV: the number that means full brightness (255)", 3},
    {"size", KEY_SIZE, "HxW[xC]", 0, "CSV: height, width and channels (a square of one channel)", 3},
    {"names", KEY_NAMES, "NAME,...", 0, "Names of the classes, in the order of their numbers (the numbers)", 4},
    {"range", KEY_RANGE, "FIRST..LAST", 0, "Take only images FIRST to LAST, counted from 0 (all)", 4},
    {"holdout", KEY_HOLDOUT, "SHARE", 0, "Put this share of the images into FOLDER-holdout (0)", 4},
    {"seed", KEY_SEED, "N", 0, "Which images are held out (0)", 4},
    {"force", KEY_FORCE, NULL, 0, "Replace an older data set of this name", 4},
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

static void read_size(arguments *given, const char *text, struct argp_state *state)
{
    long long height, width, channels = 1;
    char rest;
    const int fields = sscanf(text, "%lldx%lldx%lld%c", &height, &width, &channels, &rest);
    if (fields < 2 || fields > 3 || height < 1 || width < 1 || channels < 1 || height > LS_IMAGE_MAX_SIDE || width > LS_IMAGE_MAX_SIDE ||
        channels > LS_IMAGE_MAX_CHANNELS)
        argp_error(state, "--size %s: expected HEIGHTxWIDTH or HEIGHTxWIDTHxCHANNELS, like 32x32x3", text);
    given->csv.height = height;
    given->csv.width = width;
    given->csv.channels = channels;
}

static void read_range(arguments *given, const char *text, struct argp_state *state)
{
    long long first, last;
    char rest;
    if (sscanf(text, "%lld..%lld%c", &first, &last, &rest) != 2 || first < 0 || last < first)
        argp_error(state, "--range %s: expected FIRST..LAST, like 0..7999", text);
    given->first = first;
    given->last = last;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case 'o': given->out = value; return 0;
    case KEY_LABELS: given->labels = value; return 0;
    case KEY_LABEL:
        given->csv.label_first = strcmp(value, "first") == 0;
        if (!given->csv.label_first && strcmp(value, "last") != 0)
            argp_error(state, "--label %s: expected first or last", value);
        return 0;
    case KEY_SCALE: given->csv.scale = number(state, "scale", value, 1e-9, 1e9); return 0;
    case KEY_SIZE: read_size(given, value, state); return 0;
    case KEY_NAMES: given->names = value; return 0;
    case KEY_RANGE: read_range(given, value, state); return 0;
    case KEY_HOLDOUT: given->holdout = number(state, "holdout", value, 0, 0.999); return 0;
    case KEY_SEED: given->seed = (uint64_t)number(state, "seed", value, 0, 9e15); return 0;
    case KEY_FORCE: given->force = true; return 0;
    case ARGP_KEY_ARG:
        if (given->input)
            argp_error(state, "one file of images at a time: %s (labels go behind --labels)", value);
        given->input = value;
        return 0;
    case ARGP_KEY_END:
        if (!given->input || !given->out)
            argp_error(state, "%s", given->input ? "--out is needed" : "which file? Name an IDX file (with --labels) or a CSV file");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "FILE",
    .doc = "Makes a data set of images: FILE is CSV, or IDX where --labels is given; either may be gzipped.\v"
           "Examples:\n"
           "  lockstep data images -o data/mnist --holdout 0.2 --labels t10k-labels-idx1-ubyte.gz t10k-images-idx3-ubyte.gz\n"
           "  lockstep data images -o data/digits/train --scale 16 --range 0..897 digits.csv.gz\n"
           "See docs/data.md.",
};

/* The names given, at least one a class; *count of them. */
static ls_status split_names(const char *text, char **copy, const char ***names, int64_t *count)
{
    *copy = text ? strdup(text) : NULL;
    *names = NULL;
    *count = 0;
    if (!text)
        return LS_OK;
    int64_t commas = 0;
    for (const char *c = text; *c; c++)
        commas += *c == ',';
    *names = calloc((size_t)commas + 1, sizeof **names);
    if (!*copy || !*names)
        return ls_fail(LS_EMEM, "no memory for the names of classes");
    for (char *rest = *copy, *name; (name = strsep(&rest, ","));)
        (*names)[(*count)++] = name;
    return LS_OK;
}

static ls_status write_set(const arguments *given, const ls_image_input *input, const char *folder, const char *const *names, bool held_out)
{
    const ls_image_options how = {.shape = input->shape, .source = given->input, .class_names = names, .replace = given->force};
    const ls_random stream = {.seed = given->seed, .purpose = LS_RANDOM_DATA};
    const int64_t bytes = input->shape.height * input->shape.width * input->shape.channels;
    ls_image_writer *writer;
    ls_status status = ls_image_writer_open(&writer, folder, &how);
    if (status != LS_OK)
        return status;
    for (int64_t i = given->first; i <= given->last && i < input->count && status == LS_OK; i++) {
        const bool out = (double)ls_random_uniform(&stream, (uint64_t)i) < given->holdout;
        if (out == held_out)
            status = ls_image_writer_add(writer, input->pixels + i * bytes, input->label[i]);
    }
    const int64_t images = ls_image_writer_count(writer);
    if (status == LS_OK)
        status = ls_image_writer_commit(writer);
    else
        ls_image_writer_discard(writer);
    if (status == LS_OK)
        printf("%s: %lld images of %lld x %lld x %lld, %lld classes\n", folder, (long long)images, (long long)input->shape.height,
               (long long)input->shape.width, (long long)input->shape.channels, (long long)input->shape.classes);
    return status;
}

/* The held-out part first: what carries the main name is the last to appear. */
static ls_status write_sets(const arguments *given, ls_image_input *input)
{
    char *copy, folder[4096];
    const char **names;
    int64_t count;
    int length = (int)strlen(given->out);
    while (length > 1 && given->out[length - 1] == '/')
        length--;
    ls_status status = split_names(given->names, &copy, &names, &count);
    if (status == LS_OK && given->last < INT64_MAX && given->last >= input->count)
        status = ls_fail(LS_EARG, "--range %lld..%lld: %s holds images 0..%lld", (long long)given->first, (long long)given->last, given->input,
                         (long long)input->count - 1);
    if (status == LS_OK && names && count < input->shape.classes)
        status = ls_fail(LS_EARG, "--names has %lld names, the labels go up to %lld", (long long)count, (long long)input->shape.classes - 1);
    if (names && count > input->shape.classes)
        input->shape.classes = count;
    snprintf(folder, sizeof folder, "%.*s-holdout", length, given->out);
    if (status == LS_OK && given->holdout > 0)
        status = write_set(given, input, folder, names, true);
    snprintf(folder, sizeof folder, "%.*s", length, given->out);
    if (status == LS_OK)
        status = write_set(given, input, folder, names, false);
    free(copy);
    free(names);
    return status;
}

int ls_data_pack_images(int argc, char **argv)
{
    arguments given = {.last = INT64_MAX};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    ls_image_input input;
    ls_status status = given.labels ? ls_image_input_idx(&input, given.input, given.labels)
                                    : ls_image_input_csv(&input, given.input, &given.csv);
    if (status != LS_OK)
        return ls_command_failed("data images", status);
    status = write_sets(&given, &input);
    ls_image_input_free(&input);
    return status == LS_OK ? 0 : ls_command_failed("data images", status);
}
