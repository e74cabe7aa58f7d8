/* The naive device's orders, running sums and Gumbel noise: each number from its formula. */
#include "tests/tensor/reference_products.h"

#include <math.h>

#define get reference_get
#define put reference_put

/* Does element i of a row come before element j? */
static bool before(ls_type type, const void *x, int64_t i, int64_t j, bool descending)
{
    double v = get(type, x, i), w = get(type, x, j);
    bool nan_v = isnan(v), nan_w = isnan(w);
    if (v == w || (nan_v && nan_w))
        return i < j;
    bool less = nan_v ? false : nan_w ? true : v < w;
    return less != descending;
}

/* Each element's place is the number of those before it. */
ls_status reference_sort(ls_device *device, ls_type type, int64_t rows, int64_t length, bool descending, const void *x,
                         void *values, int32_t *index, ls_arena *scratch)
{
    (void)device, (void)scratch;
    for (int64_t i = 0; i < rows * length; i++) {
        int64_t first = i / length * length, place = 0;
        for (int64_t j = first; j < first + length; j++)
            place += j != i && before(type, x, j, i, descending);
        put(type, values, first + place, get(type, x, i));
        index[first + place] = (int32_t)(i - first);
    }
    return LS_OK;
}

void reference_scatter_add_elements(ls_device *device, ls_type type, int64_t rows, int64_t length, int64_t k,
                                    const int32_t *index, const void *y, void *x)
{
    (void)device;
    for (int64_t i = 0; i < rows * k; i++)
        reference_add(type, x, i / k * length + index[i], get(type, y, i));
}

void reference_cumulative_sum(ls_device *device, ls_type type, int64_t outer, int64_t length, int64_t inner,
                              bool reverse, bool accumulate, const void *x, void *y)
{
    (void)device;
    for (int64_t line = 0; line < outer * inner; line++) {
        int64_t at = line / inner * length * inner + line % inner;
        for (int64_t i = 0; i < length; i++) {
            double sum = 0;
            for (int64_t k = reverse ? i : 0; reverse ? k < length : k <= i; k++)
                sum += get(type, x, at + k * inner);
            put(type, y, at + i * inner, sum + (accumulate ? get(type, y, at + i * inner) : 0));
        }
    }
}

/* ---- noise ---- */

void reference_gumbel(ls_device *device, ls_type type, int64_t n, double scale, const ls_random *stream, uint64_t first,
                      const void *x, void *y)
{
    (void)device;
    for (int64_t i = 0; i < n; i++) {
        double u = (2 * (double)(ls_random_bits(stream, first + (uint64_t)i) / 512) + 1) / 16777216;
        put(type, y, i, (get(type, x, i) - log(-log(u))) * scale);
    }
}
