/* See resize.h. Weights are worked out in f64 and rounded to 22 bits behind the point; sums are whole numbers, so their
 * order does not matter. First along the rows, then along the columns, each rounded to a byte; an axis that keeps its
 * size is left alone. (Pillow, libImaging/Resample.c; from 13 on it goes along the columns first where that is cheaper,
 * which moves a few bytes by one.) */
#include "datasets/picture/resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BITS = 22 };

typedef struct {
    int64_t most;          /* weights of one output at most */
    int64_t *from, *count; /* [outputs]: which inputs */
    int32_t *weight;       /* [outputs, most] */
} weights;

static void free_weights(weights *w)
{
    free(w->from);
    free(w->count);
    free(w->weight);
}

static double filtered(ls_picture_filter filter, double x)
{
    if (filter == LS_FILTER_AREA)
        return x > -0.5 && x <= 0.5 ? 1 : 0;
    return fabs(x) < 1 ? 1 - fabs(x) : 0;
}

static void weigh(weights *w, int64_t i, double centre, double reach, double scale, int64_t size,
                  ls_picture_filter filter, double *sums)
{
    int64_t from = (int64_t)(centre - reach + 0.5), to = (int64_t)(centre + reach + 0.5);
    double sum = 0;
    from = from < 0 ? 0 : from;
    to = to > size ? size : to;
    w->from[i] = from;
    w->count[i] = to - from;
    for (int64_t k = 0; k < to - from; k++)
        sum += sums[k] = filtered(filter, ((double)(k + from) - centre + 0.5) * (1 / scale));
    for (int64_t k = 0; k < to - from; k++) {
        const double share = sum != 0 ? sums[k] / sum : sums[k];
        w->weight[i * w->most + k] = (int32_t)(share * (1 << BITS) + (share < 0 ? -0.5 : 0.5));
    }
}

static bool make_weights(weights *w, int64_t size, const ls_resize_axis *axis, ls_picture_filter filter)
{
    const double step = (double)size / (double)axis->size, scale = step < 1 ? 1 : step;
    const double reach = (filter == LS_FILTER_AREA ? 0.5 : 1) * scale;
    const size_t outputs = (size_t)axis->count;
    w->most = (int64_t)ceil(reach) * 2 + 1;
    w->from = malloc(outputs * sizeof *w->from);
    w->count = malloc(outputs * sizeof *w->count);
    w->weight = malloc(outputs * (size_t)w->most * sizeof *w->weight);
    double *sums = malloc((size_t)w->most * sizeof *sums);
    const bool good = w->from && w->count && w->weight && sums;
    for (int64_t i = 0; i < axis->count && good; i++)
        weigh(w, i, ((double)(axis->first + i) + 0.5) * step, reach, scale, size, filter, sums);
    free(sums);
    return good;
}

static uint8_t rounded(int64_t sum)
{
    const int64_t value = (sum + (1 << (BITS - 1))) >> BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* in: `lines` rows of `width` pixels. */
static void along_rows(const uint8_t *in, int64_t lines, int64_t width, int64_t channels, const weights *w,
                       int64_t outputs, uint8_t *out)
{
    for (int64_t y = 0; y < lines; y++, in += width * channels)
        for (int64_t i = 0; i < outputs; i++)
            for (int64_t c = 0; c < channels; c++) {
                int64_t sum = 0;
                for (int64_t k = 0; k < w->count[i]; k++)
                    sum += (int64_t)in[(w->from[i] + k) * channels + c] * w->weight[i * w->most + k];
                *out++ = rounded(sum);
            }
}

/* in: rows of `bytes`, of which the first is row `top` of the picture. */
static void along_columns(const uint8_t *in, int64_t top, int64_t bytes, const weights *w, int64_t outputs,
                          uint8_t *out)
{
    for (int64_t i = 0; i < outputs; i++)
        for (int64_t x = 0; x < bytes; x++) {
            int64_t sum = 0;
            for (int64_t k = 0; k < w->count[i]; k++)
                sum += (int64_t)in[(w->from[i] + k - top) * bytes + x] * w->weight[i * w->most + k];
            *out++ = rounded(sum);
        }
}

ls_status ls_picture_resize(const uint8_t *in, int64_t height, int64_t width, int64_t channels,
                            ls_picture_filter filter, ls_resize_axis down, ls_resize_axis across, uint8_t *out)
{
    weights rows = {0}, columns = {0};
    uint8_t *narrow = NULL;
    ls_status status = LS_OK;
    const bool good = make_weights(&rows, height, &down, filter) && make_weights(&columns, width, &across, filter);
    /* Only the rows that the second pass looks at; an axis of the same size has one weight of 1 at its own place. */
    const int64_t top = good ? rows.from[0] : 0;
    const int64_t lines = good ? rows.from[down.count - 1] + rows.count[down.count - 1] - top : 1;
    if (!good || !(narrow = malloc((size_t)(lines * across.count * channels)))) {
        status = ls_fail(LS_EMEM, "no memory to bring a picture of %lld x %lld to %lld x %lld", (long long)height,
                         (long long)width, (long long)down.size, (long long)across.size);
    } else {
        along_rows(in + top * width * channels, lines, width, channels, &columns, across.count, narrow);
        along_columns(narrow, top, across.count * channels, &rows, down.count, out);
    }
    free(narrow);
    free_weights(&rows);
    free_weights(&columns);
    return status;
}
