/* Pictures made smaller or greater, to the bits of Pillow's resize (up to 12; so of torchvision's Resize on its
 * images): each output pixel is a weighted mean of the input under a filter that is as wide as the output's pixels. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef enum { LS_FILTER_BILINEAR, LS_FILTER_AREA } ls_picture_filter; /* "bilinear|area": a triangle, a box */

typedef struct {
    int64_t size;  /* of the whole axis after resizing */
    int64_t first; /* the part that is wanted: first .. first + count - 1 */
    int64_t count;
} ls_resize_axis;

/* in [height, width, channels] to out [down.count, across.count, channels], u8. LS_EMEM. */
ls_status ls_picture_resize(const uint8_t *in, int64_t height, int64_t width, int64_t channels,
                            ls_picture_filter filter, ls_resize_axis down, ls_resize_axis across, uint8_t *out);
