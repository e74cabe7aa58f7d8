/* Files of images that `lockstep data images` reads, plain or gzipped (told by their first bytes, not their names).
 *
 * IDX (LeCun's MNIST page): big-endian; 0, 0, 8 (unsigned bytes), number of axes, the axes' sizes, the bytes. Images have
 * axes [n, height, width] or [n, height, width, channels], labels [n].
 * CSV: one image a line, numbers separated by commas, semicolons, tabs or blanks; the label is the first or the last one.
 * A first line without a number in it is a header. Pixels are whole or decimal numbers from 0 to `scale`. */
#pragma once
#include "datasets/images.h"

/* All images of the input, in memory. */
typedef struct {
    ls_image_shape shape; /* classes: the greatest label + 1 */
    int64_t count;
    uint8_t *pixels; /* [count, height, width, channels] */
    int32_t *label;  /* [count] */
} ls_image_input;
void ls_image_input_free(ls_image_input *input);

/* LS_EFORMAT, with the path: not IDX, another element type or number of axes, shorter or longer than its header says,
 * or as many labels as images are not there. LS_ENOTFOUND, LS_EIO, LS_EMEM. */
ls_status ls_image_input_idx(ls_image_input *input, const char *images, const char *labels);

typedef struct {
    bool label_first;
    double scale;                    /* the number that becomes 255; 0: 255 */
    int64_t height, width, channels; /* 0: a square of one channel */
} ls_csv_options;
/* LS_EFORMAT with "path:line": not a number, another count of numbers than the lines before, a pixel outside 0 .. scale,
 * a label that is no whole number from 0 on, a count of pixels that the shape does not fit. */
ls_status ls_image_input_csv(ls_image_input *input, const char *path, const ls_csv_options *options);
/* The same, for bytes in memory: what the files hold once unpacked. `path` is for sentences; a NUL stands behind
 * `text`. */
ls_status ls_image_input_idx_bytes(ls_image_input *input, const char *images_path, const uint8_t *images, size_t image_bytes,
                                   const char *labels_path, const uint8_t *labels, size_t label_bytes);
ls_status ls_image_input_csv_bytes(ls_image_input *input, const char *path, const char *text, size_t bytes, const ls_csv_options *options);
