/* What is around the pixels of a PNG or JPEG file. Pure functions on bytes; they trust no length in them. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { LS_CONTAINER_UNKNOWN, LS_CONTAINER_PNG, LS_CONTAINER_JPEG } ls_container;

/* By the first bytes. *name: what else it is, "GIF" or "WebP", where that is known; else NULL. */
ls_container ls_container_of(const uint8_t *bytes, size_t size, const char **name);
typedef enum {
    LS_STRIP_WHOLE,
    LS_STRIP_CUT,     /* the file ends before its end mark, or a length points outside */
    LS_STRIP_DAMAGED, /* PNG: a sum that is not right */
} ls_strip;
/* Copies what makes the pixels and leaves out what does not (Exif, colour profiles, texts, animations), so that what is
 * wrong there does no harm. `out` has room for `size` bytes; *kept of them are written. *orientation is Exif's, 1 .. 8
 * (1 where nothing is said). */
ls_strip ls_container_strip(ls_container kind, const uint8_t *bytes, size_t size, uint8_t *out, size_t *kept,
                            int *orientation);
/* Where the pixel at (x, y) of the upright picture is stored in one of width x height with this orientation. */
void ls_orientation_source(int orientation, int width, int height, int x, int y, int *from_x, int *from_y);
