/* Sums, extremes and norms. A row (inner = 1) is cut into pieces of LS_CHUNK elements; each is summed over 16 lanes in
 * `real`, the pieces in f64 in ascending order. Columns (inner > 1) are summed down the rows in f32 (f64). */
#include "tensor/cpu/vector/math.h"
#include "tensor/cpu/vector/prototypes.h"

double KERNEL(reduce_real)(int64_t n, const void *x)
{
    lanes sum = {0};
    lanes_add(&sum, x, n);
    return lanes_total(&sum);
}

static double sum_of(int64_t n, const element *x)
{
    real buffer[BLOCK];
    lanes sum = {0};
    for (int64_t i = 0; i < n; i += BLOCK)
        lanes_add(&sum, as_reals(x + i, at_most(n - i, BLOCK), buffer), at_most(n - i, BLOCK));
    return lanes_total(&sum);
}

static double sum_of_squares(int64_t n, const element *x)
{
    real buffer[BLOCK];
    lanes sum = {0};
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        int64_t count = at_most(n - begin, BLOCK);
        for (int64_t i = 0; i < count; i++)
            buffer[i] = load(x + begin + i) * load(x + begin + i);
        lanes_add(&sum, buffer, count);
    }
    return lanes_total(&sum);
}

/* n >= 1. The least is the greatest of the negated numbers, negated. */
static double extreme(int64_t n, const element *x, bool least)
{
    real buffer[BLOCK];
    lanes best;
    const real sign = least ? -1 : 1;
    for (int lane = 0; lane < LANES; lane++)
        best.lane[lane] = sign * load(x);
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        int64_t count = at_most(n - begin, BLOCK);
        for (int64_t i = 0; least && i < count; i++)
            buffer[i] = -load(x + begin + i);
        lanes_greatest(&best, least ? buffer : as_reals(x + begin, count, buffer), count);
    }
    real total = best.lane[0];
    for (int lane = 1; lane < LANES; lane++)
        total = greater(best.lane[lane], total);
    return sign * total;
}

double KERNEL(reduce_partial)(ls_reduce op, int64_t n, const void *x)
{
    switch (op) {
    case LS_REDUCE_SUM:
    case LS_REDUCE_MEAN: return sum_of(n, x);
    case LS_REDUCE_NORM: return sum_of_squares(n, x);
    case LS_REDUCE_MAX: return extreme(n, x, false);
    case LS_REDUCE_MIN: return extreme(n, x, true);
    case LS_REDUCE_COUNT: break;
    }
    return 0;
}

void KERNEL(reduce_store)(ls_reduce op, int64_t length, double total, void *y)
{
    if (op == LS_REDUCE_MEAN)
        total /= (double)length;
    if (op == LS_REDUCE_NORM)
        total = sqrt(total);
    *(element *)y = store((real)total);
}

static void columns_block(ls_reduce op, int64_t length, int64_t inner, int64_t count, const element *x, element *y)
{
    real sum[BLOCK];
    const real sign = op == LS_REDUCE_MIN ? -1 : 1;
    for (int64_t j = 0; j < count; j++)
        sum[j] = op == LS_REDUCE_MAX || op == LS_REDUCE_MIN ? sign * load(x + j) : 0;
    for (int64_t row = 0; row < length; row++, x += inner) {
        switch (op) {
        case LS_REDUCE_SUM:
        case LS_REDUCE_MEAN:
            for (int64_t j = 0; j < count; j++)
                sum[j] += load(x + j);
            break;
        case LS_REDUCE_NORM:
            for (int64_t j = 0; j < count; j++)
                sum[j] += load(x + j) * load(x + j);
            break;
        default:
            for (int64_t j = 0; j < count; j++)
                sum[j] = greater(sign * load(x + j), sum[j]);
            break;
        }
    }
    for (int64_t j = 0; j < count; j++)
        y[j] = store(op == LS_REDUCE_MEAN ? sum[j] / (real)length : op == LS_REDUCE_NORM ? real_sqrt(sum[j]) : sign * sum[j]);
}

void KERNEL(reduce_columns)(ls_reduce op, int64_t length, int64_t inner, int64_t begin, int64_t end, const void *x_,
                            void *y_)
{
    const element *x = x_;
    element *y = y_;
    for (int64_t j = begin; j < end; j += BLOCK)
        columns_block(op, length, inner, at_most(end - j, BLOCK), x + j, y + j);
}

/* The gradient of an extreme goes to the first element that is it. */
static void to_first_extreme(int64_t length, int64_t inner, const element *x, const element *y, const element *dy,
                             element *dx)
{
    const real found = load(y);
    for (int64_t row = 0; row < length; row++) {
        const real v = load(x + row * inner);
        if (v == found || (v != v && found != found)) {
            dx[row * inner] = store(load(dx + row * inner) + load(dy));
            return;
        }
    }
}

/* dx += dy times slope; for the norm x / y, and 0 where y = 0. Columns are walked along memory when there are many. */
void KERNEL(reduce_columns_backward)(ls_reduce op, int64_t length, int64_t inner, int64_t begin, int64_t end,
                                     const void *x_, const void *y_, const void *dy_, void *dx_)
{
    const element *x = x_, *y = y_, *dy = dy_;
    element *dx = dx_;
    if (op == LS_REDUCE_MAX || op == LS_REDUCE_MIN) {
        for (int64_t j = begin; j < end; j++)
            to_first_extreme(length, inner, x + j, y + j, dy + j, dx + j);
        return;
    }
    const real share = op == LS_REDUCE_MEAN ? 1 / (real)length : 1;
    if (inner == 1) {
        const real g = load(dy) * share, norm = op == LS_REDUCE_NORM ? load(y) : 1, slope = norm != 0 ? g / norm : 0;
        if (op == LS_REDUCE_NORM)
            INDEPENDENT for (int64_t i = 0; i < length; i++)
                dx[i] = store(load(dx + i) + load(x + i) * slope);
        else
            INDEPENDENT for (int64_t i = 0; i < length; i++)
                dx[i] = store(load(dx + i) + g);
        return;
    }
    for (int64_t row = 0; row < length; row++, x += inner, dx += inner) {
        if (op == LS_REDUCE_NORM)
            INDEPENDENT for (int64_t j = begin; j < end; j++)
            {
                const real norm = load(y + j), slope = load(dy + j) / norm;
                dx[j] = store(load(dx + j) + load(x + j) * (norm != 0 ? slope : 0));
            }
        else
            INDEPENDENT for (int64_t j = begin; j < end; j++)
                dx[j] = store(load(dx + j) + load(dy + j) * share);
    }
}

void KERNEL(sum_rows)(int64_t rows, int64_t width, int64_t begin, int64_t end, const void *x_, void *y_)
{
    const element *x = x_;
    real *y = y_;
    for (int64_t j = begin; j < end; j++)
        y[j] = 0;
    for (int64_t row = 0; row < rows; row++, x += width)
        INDEPENDENT for (int64_t j = begin; j < end; j++)
            y[j] += load(x + j);
}
