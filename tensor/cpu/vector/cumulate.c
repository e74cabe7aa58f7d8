/* Running sums along an axis: each is one chain of additions in f64, rounded where it passes. */
#include "tensor/cpu/vector/prototypes.h"

static void cumulate_row(int64_t length, bool reverse, bool accumulate, const element *x, element *y)
{
    double sum = 0;
    for (int64_t k = 0; k < length; k++) {
        const int64_t i = reverse ? length - 1 - k : k;
        sum += (double)load(x + i);
        y[i] = store(accumulate ? load(y + i) + (real)sum : (real)sum);
    }
}

static void cumulate_block(int64_t length, int64_t inner, int64_t count, bool reverse, bool accumulate,
                           const element *x, element *y)
{
    double sum[BLOCK] = {0};
    for (int64_t k = 0; k < length; k++) {
        const int64_t row = (reverse ? length - 1 - k : k) * inner;
        if (accumulate)
            INDEPENDENT for (int64_t i = 0; i < count; i++)
            {
                sum[i] += (double)load(x + row + i);
                y[row + i] = store(load(y + row + i) + (real)sum[i]);
            }
        else
            INDEPENDENT for (int64_t i = 0; i < count; i++)
            {
                sum[i] += (double)load(x + row + i);
                y[row + i] = store((real)sum[i]);
            }
    }
}

void KERNEL(cumulate)(int64_t length, int64_t inner, int64_t begin, int64_t end, bool reverse, bool accumulate,
                      const void *x_, void *y_)
{
    const element *x = x_;
    element *y = y_;
    if (inner == 1 && begin < end)
        cumulate_row(length, reverse, accumulate, x, y);
    else
        for (int64_t i = begin; i < end; i += BLOCK)
            cumulate_block(length, inner, at_most(end - i, BLOCK), reverse, accumulate, x + i, y + i);
}
