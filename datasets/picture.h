/* PNG and JPEG files as images of one size, for `lockstep data images`. On one thread, and to the same bytes on every
 * processor.
 *
 * In this order: decoded by FFmpeg (picture/decoder.h), turned upright as Exif says, laid on the background where it is
 * transparent, made grey where one channel is wanted, resized, cut. Of PNG files the result is Pillow's (up to
 * 12) and so torchvision's, to the bit; of JPEG files it differs by the decoder's rounding, 0.04 of 255 levels on
 * average. */
#pragma once
#include "base/error.h"
#include "base/type.h"
#include "datasets/picture/resize.h"

typedef enum { LS_FIT_CROP, LS_FIT_STRETCH } ls_picture_fit; /* "crop|stretch" */

typedef struct {
    int64_t height, width, channels; /* of the result; channels 1 or 3 */
    int fit;               /* ls_picture_fit. Crop: resized so that it covers the result, its middle is cut out */
    int64_t shorter;       /* crop: what the shorter side is resized to; 0: the least that covers */
    int filter;            /* ls_picture_filter */
    uint8_t background[3]; /* red, green, blue under transparent pixels */
} ls_picture_options;

typedef struct ls_picture_reader ls_picture_reader;

/* LS_EARG: sizes outside their range, `shorter` too small for the cut. LS_ENOTFOUND: FFmpeg's libraries are not there.
 */
ls_status ls_picture_reader_open(ls_picture_reader **reader, const ls_picture_options *options);
void ls_picture_reader_free(ls_picture_reader *reader);
/* pixels u8 [height, width, channels]. LS_EFORMAT: no picture, or of a kind that is not read. LS_ECORRUPT: damaged, cut
 * off. LS_ENOTFOUND, LS_EIO: cannot be read. All of them say which file and what about it. LS_EMEM. */
ls_status ls_picture_read(const ls_picture_reader *reader, const char *path, uint8_t *pixels);
/* The same of a file's bytes; `path` is for sentences. */
ls_status ls_picture_read_bytes(const ls_picture_reader *reader, const char *path, const uint8_t *bytes, size_t size,
                                uint8_t *pixels);
/* Whether it is the file that is at fault, and not the machine: such a file may be skipped. */
bool ls_picture_is_bad(ls_status status);
