/* Writing an image data set: images gather in memory until a shard is full, then go to the disk as one file. The folder
 * appears whole or not at all, as a text set does (folder.h). Must never write into a folder of the set's own name. */
#include "datasets/folder.h"
#include "datasets/image_format.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct ls_image_writer {
    char *folder, *partial;
    int lock;
    bool replace;
    ls_image_set_header header;
    char *names; /* [header.name_bytes] */

    uint8_t *pixels; /* the shard being filled: [per_shard] images */
    int32_t *label;
    int64_t image_bytes, per_shard, held;

    int64_t *shard_samples, *shard_bytes; /* of the shards written */
    uint64_t *shard_sum;
    int64_t room;
    uint64_t sum[LS_IMAGE_MAX_CHANNELS], squares[LS_IMAGE_MAX_CHANNELS]; /* of all pixels: whole numbers, so exact */
};

static bool owns(const char *name)
{
    const size_t length = strlen(name);
    if (length > 9 && strncmp(name, "shard-", 6) == 0 && strcmp(name + length - 3, ".h5") == 0)
        return strspn(name + 6, "0123456789") == length - 9;
    return strcmp(name, LS_DATASET_FILE) == 0;
}

static void free_writer(ls_image_writer *w)
{
    if (w->lock >= 0)
        close(w->lock);
    free(w->folder);
    free(w->partial);
    free(w->names);
    free(w->pixels);
    free(w->label);
    free(w->shard_samples);
    free(w->shard_bytes);
    free(w->shard_sum);
    free(w);
}

/* Names in order, each with a newline behind it. */
static ls_status copy_names(ls_image_writer *w, const ls_image_options *options)
{
    size_t bytes;
    FILE *out = open_memstream(&w->names, &bytes);
    if (!out)
        return ls_fail(LS_EMEM, "%s: no memory for the names of classes", w->folder);
    for (int64_t i = 0; i < options->shape.classes; i++) {
        if (!options->class_names)
            fprintf(out, "%lld\n", (long long)i);
        else if (strpbrk(options->class_names[i], "\r\n"))
            break;
        else
            fprintf(out, "%s\n", options->class_names[i]);
    }
    const bool whole = !ferror(out);
    if (fclose(out) != 0 || !whole)
        return ls_fail(LS_EMEM, "%s: no memory for the names of classes", w->folder);
    w->header.name_bytes = (int64_t)bytes;
    int64_t lines = 0;
    for (size_t i = 0; i < bytes; i++)
        lines += w->names[i] == '\n';
    return lines == options->shape.classes ? LS_OK : ls_fail(LS_EARG, "%s: the name of class %lld holds a line break", w->folder, (long long)lines);
}

static ls_status prepare(ls_image_writer *w, const ls_image_options *options)
{
    ls_image_set_header *h = &w->header;
    ls_status status = ls_image_check_shape(&options->shape, w->folder);
    if (status != LS_OK)
        return status;
    snprintf(h->format, sizeof h->format, "%s", LS_DATASET_FORMAT);
    snprintf(h->kind, sizeof h->kind, "image");
    snprintf(h->lockstep, sizeof h->lockstep, "%s", LS_VERSION);
    snprintf(h->source, sizeof h->source, "%s", options->source ? options->source : "");
    h->schema = LS_IMAGE_SCHEMA;
    h->height = options->shape.height;
    h->width = options->shape.width;
    h->channels = options->shape.channels;
    h->classes = options->shape.classes;
    w->image_bytes = ls_image_bytes(&options->shape);
    const int64_t bytes = options->bytes_per_shard > 0 ? options->bytes_per_shard : (int64_t)64 << 20;
    w->per_shard = bytes / w->image_bytes > 0 ? bytes / w->image_bytes : 1;
    w->pixels = malloc((size_t)(w->per_shard * w->image_bytes));
    w->label = malloc((size_t)w->per_shard * sizeof *w->label);
    if (!w->pixels || !w->label)
        return ls_fail(LS_EMEM, "%s: no memory for a shard of %lld images", w->folder, (long long)w->per_shard);
    return copy_names(w, options);
}

ls_status ls_image_writer_open(ls_image_writer **out, const char *folder, const ls_image_options *options)
{
    *out = NULL;
    ls_image_writer *w = calloc(1, sizeof *w);
    if (!w)
        return ls_fail(LS_EMEM, "%s: no memory to write it", folder);
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/')
        length--;
    w->lock = -1;
    w->replace = options->replace;
    w->folder = strndup(folder, length);
    ls_status status;
    if (!w->folder || asprintf(&w->partial, "%s.partial", w->folder) < 0) {
        w->partial = NULL;
        status = ls_fail(LS_EMEM, "%s: no memory for its path", folder);
    } else if ((status = prepare(w, options)) == LS_OK && (status = ls_data_folder_may_commit(w->folder, w->replace, owns)) == LS_OK)
        status = ls_data_folder_begin(w->partial, owns, &w->lock);
    if (status == LS_OK)
        *out = w;
    else
        free_writer(w);
    return status;
}

static ls_status write_arrays(const ls_image_writer *w, const char *path, const ls_image_shard_header *header, const uint64_t *block_sum)
{
    ls_h5_output file;
    const int64_t bytes = w->held * w->image_bytes;
    ls_status status = ls_h5_create(&file, path);
    if (status != LS_OK)
        return status;
    if ((status = ls_h5_write_header(&file, ls_image_shard_rows, header)) != LS_OK ||
        (status = ls_h5_write_array(&file, "pixels", H5T_STD_U8LE, bytes, w->pixels)) != LS_OK ||
        (status = ls_h5_write_array(&file, "label", H5T_STD_I32LE, w->held, w->label)) != LS_OK ||
        (status = ls_h5_write_array(&file, "block_sum", H5T_STD_U64LE, ls_image_blocks(bytes), block_sum)) != LS_OK) {
        ls_h5_abandon(&file);
        return status;
    }
    return ls_h5_finish(&file);
}

static ls_status list_shard(ls_image_writer *w, const char *path, uint64_t sum)
{
    struct stat about;
    if (stat(path, &about) != 0)
        return ls_fail(LS_EIO, "%s: cannot read back its size", path);
    if (w->header.shards == w->room) {
        const size_t room = w->room ? (size_t)w->room * 2 : 64;
        int64_t *samples = realloc(w->shard_samples, room * sizeof *samples);
        w->shard_samples = samples ? samples : w->shard_samples;
        int64_t *bytes = realloc(w->shard_bytes, room * sizeof *bytes);
        w->shard_bytes = bytes ? bytes : w->shard_bytes;
        uint64_t *sums = realloc(w->shard_sum, room * sizeof *sums);
        w->shard_sum = sums ? sums : w->shard_sum;
        if (!samples || !bytes || !sums)
            return ls_fail(LS_EMEM, "%s: no memory for the list of shards", w->partial);
        w->room = (int64_t)room;
    }
    w->shard_samples[w->header.shards] = w->held;
    w->shard_bytes[w->header.shards] = about.st_size;
    w->shard_sum[w->header.shards++] = sum;
    w->header.samples += w->held;
    w->held = 0;
    return LS_OK;
}

static ls_status write_shard(ls_image_writer *w)
{
    const ls_image_set_header *set = &w->header;
    ls_image_shard_header header = {.schema = LS_IMAGE_SCHEMA, .number = set->shards, .samples = w->held, .height = set->height,
                                    .width = set->width, .channels = set->channels, .classes = set->classes};
    const int64_t bytes = w->held * w->image_bytes, blocks = ls_image_blocks(bytes);
    uint64_t *block_sum = calloc((size_t)blocks, sizeof *block_sum);
    char *path = ls_shard_path(w->partial, header.number);
    ls_status status = block_sum && path ? LS_OK : ls_fail(LS_EMEM, "%s: no memory for a shard's sums", w->partial);
    if (status == LS_OK) {
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t begin = b * LS_IMAGE_BLOCK, rest = bytes - begin;
            block_sum[b] = ls_image_block_sum(w->pixels + begin, rest < LS_IMAGE_BLOCK ? rest : LS_IMAGE_BLOCK, b);
        }
        snprintf(header.format, sizeof header.format, "%s", LS_SHARD_FORMAT);
        memcpy(header.kind, set->kind, sizeof header.kind);
        header.index_sum = ls_image_index_sum(w->label, w->held, block_sum, blocks);
        header.header_sum = ls_image_shard_sum(&header);
        status = write_arrays(w, path, &header, block_sum);
    }
    if (status == LS_OK)
        status = list_shard(w, path, header.header_sum);
    free(block_sum);
    free(path);
    return status;
}

int64_t ls_image_writer_count(const ls_image_writer *w)
{
    return w->header.samples + w->held;
}

ls_status ls_image_writer_add(ls_image_writer *w, const uint8_t *pixels, int32_t label)
{
    if (label < 0 || label >= w->header.classes)
        return ls_fail(LS_EARG, "%s: image %lld has label %d, there are classes 0 .. %lld", w->folder, (long long)ls_image_writer_count(w),
                       (int)label, (long long)w->header.classes - 1);
    if (w->held == w->per_shard) {
        const ls_status status = write_shard(w);
        if (status != LS_OK)
            return status;
    }
    memcpy(w->pixels + w->held * w->image_bytes, pixels, (size_t)w->image_bytes);
    w->label[w->held++] = label;
    const int64_t channels = w->header.channels;
    for (int64_t i = 0; i < w->image_bytes; i++) {
        w->sum[i % channels] += pixels[i];
        w->squares[i % channels] += (uint64_t)pixels[i] * pixels[i];
    }
    return LS_OK;
}

/* Mean and deviation of each channel, in 0 .. 1. A channel that never changes is divided by 1. */
static void make_statistics(const ls_image_writer *w, double *mean, double *deviation)
{
    const double pixels = (double)(w->header.samples * w->header.height * w->header.width);
    for (int64_t c = 0; c < w->header.channels; c++) {
        mean[c] = (double)w->sum[c] / pixels / 255;
        const double variance = (double)w->squares[c] / pixels / (255.0 * 255.0) - mean[c] * mean[c];
        deviation[c] = variance > 1e-8 ? sqrt(variance) : 1;
    }
}

/* The last file: from here on the folder describes itself, and only lacks its name. */
static ls_status write_set_file(ls_image_writer *w)
{
    double mean[LS_IMAGE_MAX_CHANNELS], deviation[LS_IMAGE_MAX_CHANNELS];
    const int64_t shards = w->header.shards, channels = w->header.channels;
    make_statistics(w, mean, deviation);
    const ls_image_list list = {w->shard_samples, w->shard_bytes, w->shard_sum, w->names, mean, deviation};
    w->header.list_sum = ls_image_list_sum(&w->header, &list);
    w->header.header_sum = ls_image_set_sum(&w->header);
    char *path = ls_path_join(w->partial, LS_DATASET_FILE);
    ls_h5_output file;
    ls_status status = path ? ls_h5_create(&file, path) : ls_fail(LS_EMEM, "%s: no memory for a path", w->partial);
    if (status == LS_OK) {
        if ((status = ls_h5_write_header(&file, ls_image_set_rows, &w->header)) != LS_OK ||
            (status = ls_h5_write_array(&file, "shard_samples", H5T_STD_I64LE, shards, w->shard_samples)) != LS_OK ||
            (status = ls_h5_write_array(&file, "shard_bytes", H5T_STD_I64LE, shards, w->shard_bytes)) != LS_OK ||
            (status = ls_h5_write_array(&file, "shard_sum", H5T_STD_U64LE, shards, w->shard_sum)) != LS_OK ||
            (status = ls_h5_write_array(&file, "class_names", H5T_STD_U8LE, w->header.name_bytes, w->names)) != LS_OK ||
            (status = ls_h5_write_array(&file, "mean", H5T_IEEE_F64LE, channels, mean)) != LS_OK ||
            (status = ls_h5_write_array(&file, "deviation", H5T_IEEE_F64LE, channels, deviation)) != LS_OK)
            ls_h5_abandon(&file);
        else
            status = ls_h5_finish(&file);
    }
    free(path);
    return status;
}

ls_status ls_image_writer_commit(ls_image_writer *w)
{
    ls_status status = LS_OK;
    if (ls_image_writer_count(w) == 0)
        status = ls_fail(LS_EARG, "%s: no images, so there is no data set to write", w->folder);
    if (status == LS_OK && w->held)
        status = write_shard(w);
    if (status == LS_OK && (status = write_set_file(w)) == LS_OK)
        status = ls_data_folder_commit(w->partial, w->folder, w->replace, owns);
    if (status == LS_OK)
        free_writer(w);
    else
        ls_image_writer_discard(w);
    return status;
}

void ls_image_writer_discard(ls_image_writer *w)
{
    if (!w)
        return;
    char sentence[2048]; /* why it is discarded is worth more than why the leftovers could not be removed */
    snprintf(sentence, sizeof sentence, "%s", ls_fail_sentence());
    ls_data_folder_remove(w->partial, owns);
    ls_fail_copy(LS_EARG, sentence);
    free_writer(w);
}
