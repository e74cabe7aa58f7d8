/* See ycc.h. The formulas are JFIF's (ITU-T T.871, 7) with 16 bits behind the point, and the weights 3/4 and 1/4
 * between neighbours of the stored differences are those of the IJG's library: what most programs make of a JPEG file.
 * libswscale is not used here: its bilinear rows of colour lie a quarter of a pixel too high (5.1), and its vector code
 * would have to be trusted to give the same bits on every processor. */
#include "datasets/picture/ycc.h"

static uint8_t clamp(int v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static int within(int i, int count)
{
    return i < 0 ? 0 : i >= count ? count - 1 : i;
}

/* Difference of plane c at pixel (x, y), 0 .. 255. Rounding up and down in turns, so that it has no direction. Stored
 * at a quarter of the size, as it is. */
static int difference(const ls_ycc *f, int c, int x, int y)
{
    const int columns = (f->width + (1 << f->shift_x) - 1) >> f->shift_x;
    const int rows = (f->height + (1 << f->shift_y) - 1) >> f->shift_y;
    const int i = x >> f->shift_x, j = y >> f->shift_y;
    const int beside = within(x & 1 ? i + 1 : i - 1, columns), above = within(y & 1 ? j + 1 : j - 1, rows);
    const uint8_t *near = f->plane[c] + j * f->stride[c], *far = f->plane[c] + above * f->stride[c];
    if (f->shift_x == 1 && f->shift_y == 1)
        return (3 * (3 * near[i] + far[i]) + 3 * near[beside] + far[beside] + (x & 1 ? 7 : 8)) >> 4;
    if (f->shift_x == 1)
        return (3 * near[i] + near[beside] + (x & 1 ? 2 : 1)) >> 2;
    if (f->shift_y == 1)
        return (3 * near[i] + far[i] + (y & 1 ? 2 : 1)) >> 2;
    return near[i];
}

void ls_ycc_to_rgba(const ls_ycc *f, uint8_t *rgba)
{
    enum {
        RED = 91881,
        GREEN_CB = 22554,
        GREEN_CR = 46802,
        BLUE = 116130,
        HALF = 1 << 15
    }; /* 1.402 * 2^16 and so on */
    for (int y = 0; y < f->height; y++)
        for (int x = 0; x < f->width; x++, rgba += 4) {
            const int light = f->plane[0][y * f->stride[0] + x];
            const int cb = difference(f, 1, x, y) - 128, cr = difference(f, 2, x, y) - 128;
            rgba[0] = clamp(light + ((RED * cr + HALF) >> 16));
            rgba[1] = clamp(light + ((-GREEN_CB * cb - GREEN_CR * cr + HALF) >> 16));
            rgba[2] = clamp(light + ((BLUE * cb + HALF) >> 16));
            rgba[3] = 255;
        }
}
