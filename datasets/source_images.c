/* Rows of image sets: one image each, as numbers with mean 0 and deviation 1 over the training set. */
#include "datasets/image_format.h"
#include "datasets/source.h"

#include <stdlib.h>
#include <string.h>

enum { LEVELS = 256 };

static ls_status make_levels(ls_source *source, const double *mean, const double *deviation)
{
    const int64_t channels = ls_images_shape(source->images)->channels;
    source->level = malloc((size_t)(2 * channels * LEVELS) * sizeof *source->level);
    if (!source->level)
        return ls_fail(LS_EMEM, "%s: no memory for its table of brightness", source->path);
    float *unit = source->level + channels * LEVELS;
    for (int64_t c = 0; c < channels; c++) {
        for (int v = 0; v < LEVELS; v++) {
            source->level[c * LEVELS + v] = (float)(((double)v / 255 - mean[c]) / deviation[c]);
            unit[c * LEVELS + v] = (float)((double)v / 255);
        }
        source->scale[c] = (float)(1 / deviation[c]);
        source->shift[c] = (float)(-mean[c] / deviation[c]);
    }
    return LS_OK;
}

static ls_status check_like(const ls_source *source, const ls_images *like)
{
    const ls_image_shape *a = ls_images_shape(like), *b = ls_images_shape(source->images);
    if (a->height != b->height || a->width != b->width || a->channels != b->channels || b->classes > a->classes)
        return ls_fail(LS_ERECIPE, "%s holds images of %lld x %lld x %lld in %lld classes, %s %lld x %lld x %lld in %lld; pack both alike",
                       source->path, (long long)b->height, (long long)b->width, (long long)b->channels, (long long)b->classes,
                       ls_images_folder(like), (long long)a->height, (long long)a->width, (long long)a->channels, (long long)a->classes);
    for (int64_t c = 0; c < b->classes; c++) {
        const char *mine = ls_images_class_name(source->images, c), *theirs = ls_images_class_name(like, c);
        if (strcmp(mine, theirs) != 0)
            return ls_fail(LS_ERECIPE, "%s: class %lld is \"%s\", in %s it is \"%s\"; pack it again with `lockstep data images --like %s`, or with "
                           "the same --names", source->path, (long long)c, mine, ls_images_folder(like), theirs, ls_images_folder(like));
    }
    return LS_OK;
}

static ls_status open_images(ls_source *source, const ls_data_options *options)
{
    ls_status status = ls_images_open(&source->images, source->path, false);
    if (status != LS_OK)
        return status;
    const ls_images *like = options->like ? ls_data_images(options->like) : source->images;
    if (!like)
        return ls_fail(LS_ERECIPE, "%s holds images, the training data text; evaluate on what is trained", source->path);
    source->rows = source->samples = source->positions = source->placed = ls_images_count(source->images);
    source->hash = ls_images_hash(source->images);
    source->augment = options->augment;
    status = check_like(source, like);
    if (status == LS_OK)
        status = ls_augment_check(&source->augment, ls_images_shape(source->images), options->grain);
    return status == LS_OK ? make_levels(source, ls_images_mean(like), ls_images_deviation(like)) : status;
}

static void close_images(ls_source *source)
{
    ls_images_free(source->images);
    free(source->level);
}

/* Of several training sets the first one's mean and deviation hold for all. */
static ls_status images_fit(ls_source *source, const ls_source *first)
{
    const ls_status status = check_like(source, first->images);
    if (status != LS_OK)
        return status;
    memcpy(source->level, first->level, (size_t)(2 * ls_images_shape(first->images)->channels * LEVELS) * sizeof *source->level);
    memcpy(source->scale, first->scale, sizeof source->scale);
    memcpy(source->shift, first->shift, sizeof source->shift);
    return LS_OK;
}

static ls_status count_image(const ls_source *source, int64_t row, int64_t *counted)
{
    (void)source, (void)row;
    *counted = 1;
    return LS_OK;
}

static void as_it_is(const float *level, const ls_image_shape *shape, const uint8_t *pixels, float *out)
{
    const int64_t values = ls_image_bytes(shape);
    for (int64_t i = 0; i < values; i += shape->channels)
        for (int64_t c = 0; c < shape->channels; c++)
            out[i + c] = level[c * LEVELS + pixels[i + c]];
}

static ls_status fill_image(const ls_source *source, int64_t row, int64_t at, const ls_random *stream, ls_grain_memory *m, int64_t *counted)
{
    const ls_image_shape *shape = ls_images_shape(source->images);
    float *out = m->pixels + at * ls_image_bytes(shape);
    const uint8_t *pixels;
    const ls_status status = ls_images_get(source->images, row, &pixels, &m->labels[at]);
    if (status != LS_OK)
        return status;
    m->samples[at] = row;
    *counted = 1;
    if (!ls_augment_any(&source->augment)) {
        as_it_is(source->level, shape, pixels, out);
        return LS_OK;
    }
    const ls_augment_numbers numbers = {shape, source->level, source->level + shape->channels * LEVELS, source->scale, source->shift};
    ls_augment_draw draw;
    ls_augment_row_draw(&source->augment, stream, &draw);
    ls_augment_row(&source->augment, &draw, &numbers, pixels, out);
    return LS_OK;
}

const ls_source_kind ls_source_images = {"image", open_images, close_images, images_fit, count_image, fill_image};
