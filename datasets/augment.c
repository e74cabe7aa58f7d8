/* Crop, flip and colours of one row. augment.h says what is computed and from which numbers. */
#include "datasets/augment.h"

#include "datasets/image_format.h"

enum { BRIGHTNESS, CONTRAST, SATURATION };

static bool any_colour(const ls_augment_options *o)
{
    return o->brightness > 0 || o->contrast > 0 || o->saturation > 0;
}

bool ls_augment_any(const ls_augment_options *o)
{
    return o->crop || o->flip || any_colour(o) || o->mixup > 0;
}

ls_status ls_augment_check(const ls_augment_options *o, const ls_image_shape *shape, int64_t rows)
{
    const int64_t side = shape->height < shape->width ? shape->height : shape->width;
    if (o->crop < 0 || o->crop >= side)
        return ls_fail(
            LS_ERECIPE,
            "augment.crop is %lld, images are %lld x %lld: it must be below the shorter side, or a cut could "
            "hold nothing of the image",
            (long long)o->crop, (long long)shape->height, (long long)shape->width);
    if (!(o->brightness >= 0) || !(o->contrast >= 0) || !(o->saturation >= 0))
        return ls_fail(LS_ERECIPE, "augment.brightness, contrast and saturation are %g, %g, %g; they must be 0 or more",
                       o->brightness, o->contrast, o->saturation);
    if (any_colour(o) && shape->channels != 1 && shape->channels != 3)
        return ls_fail(LS_ERECIPE,
                       "augment: colours are changed in images of 1 or 3 channels, these have %lld; leave brightness, "
                       "contrast and saturation out, or pack with --channels 3",
                       (long long)shape->channels);
    if (o->saturation > 0 && shape->channels != 3)
        return ls_fail(LS_ERECIPE, "augment.saturation is %g, but grey images have no colour to change; leave it out",
                       o->saturation);
    if (!(o->mixup >= 0 && o->mixup <= LS_MIXUP_MOST))
        return ls_fail(LS_ERECIPE, "augment.mixup is %g, it must be from 0 to %d", o->mixup, LS_MIXUP_MOST);
    if (o->mixup > 0 && rows < 2)
        return ls_fail(LS_ERECIPE,
                       "augment.mixup mixes the rows of a grain, but batch.grain is %lld; give a grain 2 rows or more",
                       (long long)rows);
    return LS_OK;
}

static float factor(const ls_random *stream, int which, double b)
{
    const double least = b < 1 ? 1 - b : 0;
    return (float)(least + (1 + b - least) * (double)ls_random_uniform(stream, LS_AUGMENT_FACTOR + (uint64_t)which));
}

void ls_augment_row_draw(const ls_augment_options *o, const ls_random *stream, ls_augment_draw *draw)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    const uint64_t places = 2 * (uint64_t)o->crop + 1;
    *draw = (ls_augment_draw){.factor = {1, 1, 1}};
    if (o->crop) {
        draw->top = (int64_t)ls_random_below(stream, LS_AUGMENT_TOP, places);
        draw->left = (int64_t)ls_random_below(stream, LS_AUGMENT_LEFT, places);
    }
    draw->flip = o->flip && ls_random_uniform(stream, LS_AUGMENT_FLIP) < 0.5f;
    if (!any_colour(o))
        return;
    const int *order = orders[ls_random_below(stream, LS_AUGMENT_ORDER, 6)];
    const double b[3] = {o->brightness, o->contrast, o->saturation};
    for (int i = 0; i < 3; i++) {
        draw->order[i] = order[i];
        draw->factor[i] = b[i] > 0 ? factor(stream, i, b[i]) : 1;
    }
}

/* Where index i of a row of n pixels is taken from, i from -n + 1 to 2n - 2; -1: from nowhere, it is black. */
static int64_t inside(int64_t i, int64_t n, int pad)
{
    if (i >= 0 && i < n)
        return i;
    if (pad == LS_PAD_ZERO)
        return -1;
    return i < 0 ? -i : 2 * (n - 1) - i;
}

/* Of all pixels of the cut; level [channels, 256]. */
static void cut(const ls_augment_options *o, const ls_augment_draw *draw, const ls_image_shape *s, const float *level,
                const uint8_t *pixels, float *out)
{
    const int64_t channels = s->channels;
    for (int64_t y = 0; y < s->height; y++) {
        const int64_t from_y = inside(y + draw->top - o->crop, s->height, o->pad);
        for (int64_t x = 0; x < s->width; x++, out += channels) {
            const int64_t seen = draw->flip ? s->width - 1 - x : x;
            const int64_t from_x = inside(seen + draw->left - o->crop, s->width, o->pad);
            const bool black = from_y < 0 || from_x < 0;
            const uint8_t *from = black ? NULL : pixels + (from_y * s->width + from_x) * channels;
            for (int64_t c = 0; c < channels; c++)
                out[c] = level[c * 256 + (black ? 0 : from[c])];
        }
    }
}

/* ---- colours, on numbers in 0 .. 1 ---- */

static float clamp(float v)
{
    return v < 0 ? 0 : v > 1 ? 1 : v;
}

static float grey_of(const float *pixel, int64_t channels)
{
    return channels == 3 ? 0.2989f * pixel[0] + 0.587f * pixel[1] + 0.114f * pixel[2] : pixel[0];
}

static void change_brightness(float f, int64_t values, float *v)
{
    for (int64_t i = 0; i < values; i++)
        v[i] = clamp(f * v[i]);
}

/* The sum of grey goes over the pixels in their order, in f64. */
static void change_contrast(float f, int64_t values, int64_t channels, float *v)
{
    double sum = 0;
    for (int64_t i = 0; i < values; i += channels)
        sum += (double)grey_of(v + i, channels);
    const float rest = (1 - f) * (float)(sum / (double)(values / channels));
    for (int64_t i = 0; i < values; i++)
        v[i] = clamp(f * v[i] + rest);
}

static void change_saturation(float f, int64_t values, float *v)
{
    for (int64_t i = 0; i < values; i += 3) {
        const float rest = (1 - f) * grey_of(v + i, 3);
        for (int64_t c = 0; c < 3; c++)
            v[i + c] = clamp(f * v[i + c] + rest);
    }
}

static void normalise(const ls_augment_numbers *n, int64_t values, float *v)
{
    const int64_t channels = n->shape->channels;
    for (int64_t i = 0; i < values; i += channels)
        for (int64_t c = 0; c < channels; c++)
            v[i + c] = v[i + c] * n->scale[c] + n->shift[c];
}

void ls_augment_row(const ls_augment_options *o, const ls_augment_draw *draw, const ls_augment_numbers *numbers,
                    const uint8_t *pixels, float *out)
{
    const ls_image_shape *s = numbers->shape;
    const int64_t values = ls_image_bytes(s);
    const double b[3] = {o->brightness, o->contrast, o->saturation};
    cut(o, draw, s, any_colour(o) ? numbers->unit : numbers->level, pixels, out);
    if (!any_colour(o))
        return;
    for (int i = 0; i < 3; i++) {
        const int which = draw->order[i];
        const float f = draw->factor[which];
        if (!(b[which] > 0))
            continue;
        if (which == BRIGHTNESS)
            change_brightness(f, values, out);
        else if (which == CONTRAST)
            change_contrast(f, values, s->channels, out);
        else
            change_saturation(f, values, out);
    }
    normalise(numbers, values, out);
}
