/* JPEG's colours: from brightness and two colour differences, which may be stored at half the size, to RGB. */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int width, height;
    int shift_x, shift_y;    /* the differences have width / 2^shift_x columns, height / 2^shift_y rows, rounded up */
    const uint8_t *plane[3]; /* Y, Cb, Cr, of full range */
    ptrdiff_t stride[3];     /* bytes from row to row */
} ls_ycc;
/* Writes rgba [height, width, 4], alpha 255. Whole numbers only: the same on every processor. */
void ls_ycc_to_rgba(const ls_ycc *ycc, uint8_t *rgba);
