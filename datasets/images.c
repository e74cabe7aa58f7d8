/* Reading an image data set; images.h describes the format. Nothing in the files is trusted before it was checked. */
#include "datasets/image_format.h"
#include "base/hash.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    ls_h5_input input;
    char *path;
    ls_image_shard_header header;
    const uint8_t *pixels;
    const int32_t *label;
    const uint64_t *block_sum;
    _Atomic unsigned char *checked; /* [blocks], 1: the block's sum was right; set by whoever looks first */
    int64_t first;                  /* number of its first image in the set */
} shard;

struct ls_images {
    char *folder;
    ls_image_set_header header;
    ls_image_shape shape;
    double mean[LS_IMAGE_MAX_CHANNELS], deviation[LS_IMAGE_MAX_CHANNELS];
    char *names, **name; /* [name_bytes], [classes] */
    int64_t *samples, *bytes;
    uint64_t *sum;
    shard *shard; /* [header.shards] */
    uint64_t hash;
};

enum { MAX_SHARDS = 1 << 20 };

static const char repack[] = "copy it again, or pack again with `lockstep data images`";

ls_status ls_data_set_kind(const char *folder, char kind[16])
{
    typedef struct {
        char kind[16];
    } only_kind;
    static const ls_h5_attribute row[] = {{"kind", LS_H5_TEXT, 0, 16}, {NULL, 0, 0, 0}};
    only_kind header;
    ls_h5_input input;
    char *path = ls_path_join(folder, LS_DATASET_FILE);
    ls_status status = path ? ls_h5_open(&input, path, LS_DATASET_FORMAT, INT64_MAX) : ls_fail(LS_EMEM, "%s: no memory for a path", folder);
    if (status == LS_ENOTFOUND)
        status = ls_fail(LS_ENOTFOUND, "%s: no data set there (no dataset.h5); make one with `lockstep data pack` or `lockstep data images`", folder);
    if (status == LS_OK) {
        status = ls_h5_read_header(&input, row, &header);
        ls_h5_close(&input);
        ls_h5_unmap(&input);
    }
    if (status == LS_OK)
        memcpy(kind, header.kind, sizeof header.kind);
    free(path);
    return status;
}

static ls_status check_set_header(const ls_image_set_header *h, const char *path)
{
    const ls_image_shape shape = {h->height, h->width, h->channels, h->classes};
    if (h->header_sum != ls_image_set_sum(h))
        return ls_fail(LS_ECORRUPT, "%s: its header does not have the sum it was written with; %s", path, repack);
    if (ls_image_check_shape(&shape, path) != LS_OK)
        return ls_fail(LS_ECORRUPT, "%s; %s", ls_fail_sentence(), repack);
    if (h->shards < 1 || h->shards > MAX_SHARDS || h->samples < h->shards || h->name_bytes < h->classes || h->name_bytes > 1 << 26)
        return ls_fail(LS_ECORRUPT, "%s: %lld shards with %lld images cannot be; %s", path, (long long)h->shards, (long long)h->samples, repack);
    return LS_OK;
}

/* Copies the arrays of dataset.h5, whose map is then let go. */
static ls_status copy_list(ls_images *set, const ls_image_list *list)
{
    const size_t shards = (size_t)set->header.shards, channels = (size_t)set->header.channels;
    set->samples = malloc(shards * sizeof *set->samples);
    set->bytes = malloc(shards * sizeof *set->bytes);
    set->sum = malloc(shards * sizeof *set->sum);
    set->shard = calloc(shards, sizeof *set->shard);
    set->names = malloc((size_t)set->header.name_bytes);
    set->name = calloc((size_t)set->header.classes, sizeof *set->name);
    if (!set->samples || !set->bytes || !set->sum || !set->shard || !set->names || !set->name)
        return ls_fail(LS_EMEM, "%s: no memory for the list of its shards", set->folder);
    memcpy(set->samples, list->samples, shards * sizeof *set->samples);
    memcpy(set->bytes, list->bytes, shards * sizeof *set->bytes);
    memcpy(set->sum, list->sum, shards * sizeof *set->sum);
    memcpy(set->names, list->names, (size_t)set->header.name_bytes);
    memcpy(set->mean, list->mean, channels * sizeof *set->mean);
    memcpy(set->deviation, list->deviation, channels * sizeof *set->deviation);
    for (size_t i = 0; i < shards; i++)
        set->shard[i].input.id = H5I_INVALID_HID;
    set->hash = ls_hash_bytes(set->sum, shards * sizeof *set->sum, LS_HASH_SEED);
    return LS_OK;
}

/* Cuts the names into lines, and looks at the numbers that training divides by. */
static ls_status check_list(ls_images *set, const char *path)
{
    int64_t lines = 0;
    char *begin = set->names;
    for (int64_t i = 0; i < set->header.name_bytes && lines < set->header.classes; i++)
        if (set->names[i] == '\n') {
            set->names[i] = '\0';
            set->name[lines++] = begin;
            begin = set->names + i + 1;
        }
    bool good = lines == set->header.classes;
    for (int64_t c = 0; c < set->header.channels; c++)
        good = good && isfinite(set->mean[c]) && isfinite(set->deviation[c]) && set->deviation[c] > 0;
    return good ? LS_OK : ls_fail(LS_ECORRUPT, "%s: %lld names for %lld classes, or a mean or deviation that cannot be; %s", path,
                                  (long long)lines, (long long)set->header.classes, repack);
}

static ls_status map_list(const ls_h5_input *input, const ls_image_set_header *h, ls_image_list *list)
{
    const void *data;
    ls_status status;
    if ((status = ls_h5_map_array(input, "shard_samples", H5T_STD_I64LE, h->shards, &data)) != LS_OK)
        return status;
    list->samples = data;
    if ((status = ls_h5_map_array(input, "shard_bytes", H5T_STD_I64LE, h->shards, &data)) != LS_OK)
        return status;
    list->bytes = data;
    if ((status = ls_h5_map_array(input, "shard_sum", H5T_STD_U64LE, h->shards, &data)) != LS_OK)
        return status;
    list->sum = data;
    if ((status = ls_h5_map_array(input, "class_names", H5T_STD_U8LE, h->name_bytes, &data)) != LS_OK)
        return status;
    list->names = data;
    if ((status = ls_h5_map_array(input, "mean", H5T_IEEE_F64LE, h->channels, &data)) != LS_OK)
        return status;
    list->mean = data;
    status = ls_h5_map_array(input, "deviation", H5T_IEEE_F64LE, h->channels, &data);
    list->deviation = data;
    return status;
}

static ls_status read_set_file(ls_images *set, const char *path)
{
    ls_h5_input input;
    ls_image_list list = {0};
    ls_status status = ls_h5_open(&input, path, LS_DATASET_FORMAT, LS_IMAGE_SCHEMA);
    if (status != LS_OK)
        return status;
    if ((status = ls_h5_read_header(&input, ls_image_set_rows, &set->header)) == LS_OK &&
        (status = check_set_header(&set->header, path)) == LS_OK && (status = map_list(&input, &set->header, &list)) == LS_OK) {
        if (set->header.list_sum != ls_image_list_sum(&set->header, &list))
            status = ls_fail(LS_ECORRUPT, "%s: its lists do not have the sum they were written with; %s", path, repack);
        else if ((status = copy_list(set, &list)) == LS_OK)
            status = check_list(set, path);
    }
    ls_h5_close(&input);
    ls_h5_unmap(&input);
    set->shape = (ls_image_shape){set->header.height, set->header.width, set->header.channels, set->header.classes};
    return status;
}

static ls_status check_shard(const ls_images *set, const shard *s, int64_t number)
{
    const ls_image_shard_header *h = &s->header;
    const ls_image_set_header *of = &set->header;
    if (h->header_sum != ls_image_shard_sum(h))
        return ls_fail(LS_ECORRUPT, "%s: its header does not have the sum it was written with; %s", s->path, repack);
    if (h->number != number || h->header_sum != set->sum[number])
        return ls_fail(LS_ECORRUPT, "%s: a whole shard (number %lld), but not the one that dataset.h5 lists here; %s", s->path,
                       (long long)h->number, repack);
    if (strcmp(h->kind, of->kind) != 0 || h->samples != set->samples[number] || h->samples < 1 || h->height != of->height ||
        h->width != of->width || h->channels != of->channels || h->classes != of->classes)
        return ls_fail(LS_ECORRUPT, "%s: kind, images, shape or classes differ from dataset.h5's; %s", s->path, repack);
    return LS_OK;
}

static ls_status map_shard(const ls_images *set, shard *s)
{
    const void *data;
    const int64_t image = ls_image_bytes(&set->shape), samples = s->header.samples;
    if (samples > (int64_t)s->input.bytes / image)
        return ls_fail(LS_ECORRUPT, "%s: too short for %lld images; %s", s->path, (long long)samples, repack);
    const int64_t blocks = ls_image_blocks(samples * image);
    ls_status status;
    if ((status = ls_h5_map_array(&s->input, "pixels", H5T_STD_U8LE, samples * image, &data)) != LS_OK)
        return status;
    s->pixels = data;
    if ((status = ls_h5_map_array(&s->input, "label", H5T_STD_I32LE, samples, &data)) != LS_OK)
        return status;
    s->label = data;
    if ((status = ls_h5_map_array(&s->input, "block_sum", H5T_STD_U64LE, blocks, &data)) != LS_OK)
        return status;
    s->block_sum = data;
    if (s->header.index_sum != ls_image_index_sum(s->label, samples, s->block_sum, blocks))
        return ls_fail(LS_ECORRUPT, "%s: label or block_sum do not have the sum they were written with; %s", s->path, repack);
    for (int64_t i = 0; i < samples; i++)
        if (s->label[i] < 0 || s->label[i] >= set->shape.classes)
            return ls_fail(LS_ECORRUPT, "%s: image %lld has label %d of %lld classes; %s", s->path, (long long)i, (int)s->label[i],
                           (long long)set->shape.classes, repack);
    s->checked = calloc((size_t)blocks, sizeof *s->checked);
    return s->checked ? LS_OK : ls_fail(LS_EMEM, "%s: no memory for its block marks", s->path);
}

static ls_status open_shard(ls_images *set, int64_t number)
{
    shard *s = &set->shard[number];
    s->path = ls_shard_path(set->folder, number);
    if (!s->path)
        return ls_fail(LS_EMEM, "%s: no memory for a path", set->folder);
    ls_status status = ls_h5_open(&s->input, s->path, LS_SHARD_FORMAT, LS_IMAGE_SCHEMA);
    if (status == LS_ENOTFOUND)
        return ls_fail(LS_ENOTFOUND, "%s: missing; dataset.h5 lists %lld shards: %s", s->path, (long long)set->header.shards, repack);
    if (status != LS_OK)
        return status;
    if ((int64_t)s->input.bytes != set->bytes[number])
        return ls_fail(LS_ECORRUPT, "%s: %zu bytes, dataset.h5 says %lld; %s", s->path, s->input.bytes, (long long)set->bytes[number], repack);
    if ((status = ls_h5_read_header(&s->input, ls_image_shard_rows, &s->header)) != LS_OK ||
        (status = check_shard(set, s, number)) != LS_OK || (status = map_shard(set, s)) != LS_OK)
        return status;
    ls_h5_close(&s->input);
    return LS_OK;
}

/* Checks the blocks that bytes [from, from + count) of the shard's pixels lie in. */
static ls_status check_blocks(const shard *s, int64_t all, int64_t from, int64_t count)
{
    for (int64_t b = from / LS_IMAGE_BLOCK; b * LS_IMAGE_BLOCK < from + count; b++) {
        if (atomic_load_explicit(&s->checked[b], memory_order_relaxed))
            continue;
        const int64_t begin = b * LS_IMAGE_BLOCK, rest = all - begin;
        if (ls_image_block_sum(s->pixels + begin, rest < LS_IMAGE_BLOCK ? rest : LS_IMAGE_BLOCK, b) != s->block_sum[b])
            return ls_fail(LS_ECORRUPT, "%s: block %lld of its pixels does not have the sum it was written with; %s", s->path, (long long)b, repack);
        atomic_store_explicit(&s->checked[b], 1, memory_order_relaxed);
    }
    return LS_OK;
}

static ls_status verify(const ls_images *set)
{
    for (int64_t i = 0; i < set->header.shards; i++) {
        const int64_t bytes = set->shard[i].header.samples * ls_image_bytes(&set->shape);
        const ls_status status = check_blocks(&set->shard[i], bytes, 0, bytes);
        if (status != LS_OK)
            return status;
    }
    return LS_OK;
}

ls_status ls_images_open(ls_images **out, const char *folder, bool all)
{
    *out = NULL;
    char kind[16], *path = NULL;
    ls_status status = ls_data_set_kind(folder, kind);
    if (status == LS_OK && strcmp(kind, "image") != 0)
        status = ls_fail(LS_EFORMAT, "%s: holds samples of kind '%s', images are needed; make them with `lockstep data images`", folder, kind);
    ls_images *set = status == LS_OK ? calloc(1, sizeof *set) : NULL;
    if (status == LS_OK && (!set || !(set->folder = strdup(folder)) || !(path = ls_path_join(folder, LS_DATASET_FILE))))
        status = ls_fail(LS_EMEM, "%s: no memory to open it", folder);
    if (status == LS_OK)
        status = read_set_file(set, path);
    int64_t samples = 0;
    for (int64_t i = 0; status == LS_OK && i < set->header.shards; i++)
        if ((status = open_shard(set, i)) == LS_OK) {
            set->shard[i].first = samples;
            samples += set->shard[i].header.samples;
        }
    if (status == LS_OK && samples != set->header.samples)
        status = ls_fail(LS_ECORRUPT, "%s: its shards hold %lld images, dataset.h5 says %lld; %s", folder, (long long)samples,
                         (long long)set->header.samples, repack);
    if (status == LS_OK && all)
        status = verify(set);
    free(path);
    if (status == LS_OK)
        *out = set;
    else
        ls_images_free(set);
    return status;
}

void ls_images_free(ls_images *set)
{
    if (!set)
        return;
    for (int64_t i = 0; set->shard && i < set->header.shards; i++) {
        ls_h5_close(&set->shard[i].input);
        ls_h5_unmap(&set->shard[i].input);
        free((void *)set->shard[i].checked);
        free(set->shard[i].path);
    }
    free(set->shard);
    free(set->samples);
    free(set->bytes);
    free(set->sum);
    free(set->names);
    free(set->name);
    free(set->folder);
    free(set);
}

static const shard *shard_of(const ls_images *set, int64_t number)
{
    int64_t low = 0, high = set->header.shards;
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        *(set->shard[middle].first <= number ? &low : &high) = middle;
    }
    return &set->shard[low];
}

int32_t ls_images_label(const ls_images *set, int64_t number)
{
    const shard *s = shard_of(set, number);
    return s->label[number - s->first];
}

ls_status ls_images_get(const ls_images *set, int64_t number, const uint8_t **pixels, int32_t *label)
{
    const shard *s = shard_of(set, number);
    const int64_t bytes = ls_image_bytes(&set->shape), at = number - s->first;
    const ls_status status = check_blocks(s, s->header.samples * bytes, at * bytes, bytes);
    *pixels = s->pixels + at * bytes;
    *label = s->label[at];
    return status;
}

const ls_image_shape *ls_images_shape(const ls_images *set)
{
    return &set->shape;
}

int64_t ls_images_count(const ls_images *set)
{
    return set->header.samples;
}

int64_t ls_images_files(const ls_images *set)
{
    return set->header.shards;
}

const double *ls_images_mean(const ls_images *set)
{
    return set->mean;
}

const double *ls_images_deviation(const ls_images *set)
{
    return set->deviation;
}

const char *ls_images_class_name(const ls_images *set, int64_t number)
{
    return set->name[number];
}

const char *ls_images_source(const ls_images *set)
{
    return set->header.source;
}

const char *ls_images_folder(const ls_images *set)
{
    return set->folder;
}

uint64_t ls_images_hash(const ls_images *set)
{
    return set->hash;
}
