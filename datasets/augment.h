/* Augmentation of training images, by the loader's thread, from counter random numbers.
 *
 * In this order, as torchvision's RandomCrop(padding), RandomHorizontalFlip, ColorJitter, Normalize and mixup would:
 *     crop     the image with `crop` pixels put around it, cut to its own size at one of (2 crop + 1)^2 places.
 *              pad zero: black, before normalisation; pad reflect: the image mirrored, its edge not repeated
 *     flip     left and right exchanged, with probability 1/2
 *     colour   brightness, contrast and saturation in a random order, each by a factor uniform in
 *              [max(0, 1 - b), 1 + b], on numbers in 0 .. 1 that are clamped after each:
 *                  brightness   f v
 *                  contrast     f v + (1 - f) m      m: mean over the image of grey
 *                  saturation   f v + (1 - f) grey   grey = 0.2989 r + 0.587 g + 0.114 b, at the pixel
 *     mixup    row b becomes share x_b + (1 - share) x_partner, share ~ Beta(mixup, mixup) (Zhang et al. 2018, "mixup:
 *              Beyond Empirical Risk Minimization", eq. 1). The partner of row b is row (b + shift) mod rows of the
 *              same grain, after all of the above; shift is uniform in 1 .. rows - 1, one a grain. It is of the same
 *              grain because a grain is computed alone: whoever computes it has all it needs.
 *
 * A number is a function of (seed, slot in the step, step, LS_RANDOM_AUGMENT, element): the elements are listed in
 * augment.c. So a grain has the same pixels on any rank and thread, in any order, and after any restart. Nothing here
 * allocates. Never applied to held-out data. */
#pragma once
#include "base/random.h"
#include "datasets/images.h"

typedef enum { LS_PAD_ZERO, LS_PAD_REFLECT } ls_augment_pad; /* "zero|reflect" */

/* All zero: nothing is done. */
typedef struct {
    int64_t crop; /* pixels around the image */
    int pad;      /* ls_augment_pad */
    bool flip;
    double brightness, contrast, saturation; /* b above; 0: left out */
    double mixup;                            /* alpha of Beta(alpha, alpha), 0 .. LS_MIXUP_MOST; 0: none */
} ls_augment_options;

enum { LS_MIXUP_MOST = 16 };

bool ls_augment_any(const ls_augment_options *options);
/* LS_ERECIPE, with the key: padding that reaches over the whole image, colours of images that have none, mixup where a
 * grain has one row, numbers out of range. `rows`: of a whole grain. */
ls_status ls_augment_check(const ls_augment_options *options, const ls_image_shape *shape, int64_t rows);

/* What one row draws. */
typedef struct {
    int64_t top, left; /* of the cut in the padded image, 0 .. 2 crop */
    bool flip;
    int order[3];    /* 0 brightness, 1 contrast, 2 saturation */
    float factor[3]; /* of each, by these numbers */
} ls_augment_draw;
void ls_augment_row_draw(const ls_augment_options *options, const ls_random *stream, ls_augment_draw *draw);

/* From bytes to what training sees, (byte / 255 - mean) / deviation: at once where colours stay, in two steps where
 * they are changed in between. [channels, 256] and [channels]. */
typedef struct {
    const ls_image_shape *shape;
    const float *level;         /* of a byte, normalised: one rounding, so that training and evaluation agree */
    const float *unit;          /* of a byte, in 0 .. 1 */
    const float *scale, *shift; /* normalised = scale unit + shift */
} ls_augment_numbers;
/* Cuts, flips, colours and normalises: pixels u8 to out f32, [height, width, channels]. */
void ls_augment_row(const ls_augment_options *options, const ls_augment_draw *draw, const ls_augment_numbers *numbers,
                    const uint8_t *pixels, float *out);

/* Mixes the rows of a grain in place (mixup.c). pixels [rows, values], labels, mixed_labels, share [rows]; one_row
 * [values] is scratch. `stream` is that of the grain's first row. A grain of one row is mixed with itself. */
void ls_mixup_grain(double alpha, const ls_random *stream, int64_t rows, int64_t values, float *pixels,
                    const int32_t *labels, int32_t *mixed_labels, float *share, float *one_row);
/* Inverse of the distribution function of Beta(alpha, alpha), 0 < p < 1, alpha > 0: no rejection, no hidden state. */
double ls_beta_quantile(double alpha, double p);

/* Elements of a row's stream. Even ones that ls_random_below reads take two. */
enum {
    LS_AUGMENT_TOP = 0,
    LS_AUGMENT_LEFT = 2,
    LS_AUGMENT_FLIP = 4,
    LS_AUGMENT_SHARE = 5,
    LS_AUGMENT_ORDER = 6,
    LS_AUGMENT_FACTOR = 8, /* and 9, 10 */
    LS_AUGMENT_SHIFT = 12, /* mixup's, of the grain's first row */
};
