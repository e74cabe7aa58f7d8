/* The k greatest of a row, descending; equal ones by index, lower first; a NaN is greater than every number.
 * A heap of indices, worst on top, in the place of the result: no memory is needed, O(n log k) at worst and one
 * comparison for most elements. */
#include "tensor/cpu/vector/prototypes.h"

/* Does element i come before element j in the result? */
static inline bool precedes(const element *x, int32_t i, int32_t j)
{
    const real v = load(x + i), w = load(x + j);
    const bool nan_v = v != v, nan_w = w != w;
    if (nan_v | nan_w)
        return nan_v & nan_w ? i < j : nan_v;
    return v > w || (v == w && i < j);
}

enum { STRIDE = 64 };

/* Is any of n elements, all later ones than the one that is `least`, perhaps before it? In vectors: mostly none is. */
static bool any_greater(int64_t n, const element *x, real least)
{
    int any = 0;
    for (int64_t i = 0; i < n; i++) {
        const real v = load(x + i);
        any |= (v > least) | (v != v);
    }
    return any;
}

/* Puts `item` into the hole at the top of heap[0 .. size): every parent comes after its children. */
static void sift_down(const element *x, int32_t *heap, int64_t size, int64_t hole, int32_t item)
{
    for (int64_t child; (child = 2 * hole + 1) < size; hole = child) {
        if (child + 1 < size && precedes(x, heap[child], heap[child + 1]))
            child++; /* the later of both */
        if (!precedes(x, item, heap[child]))
            break;
        heap[hole] = heap[child];
    }
    heap[hole] = item;
}

/* Arg-max: the vectorised maximum, and then its first place. */
static int32_t first_greatest(int64_t length, const element *x)
{
    real found = (real)KERNEL(reduce_partial)(LS_REDUCE_MAX, length, x);
    for (int64_t i = 0; i < length; i++) {
        const real v = load(x + i);
        if (v == found || (v != v && found != found))
            return (int32_t)i;
    }
    return 0;
}

void KERNEL(top_k)(int64_t length, int64_t k, const void *x_, void *values_, int32_t *index)
{
    const element *x = x_;
    element *values = values_;
    if (k == 1) {
        index[0] = first_greatest(length, x);
        if (values)
            values[0] = x[index[0]];
        return;
    }
    for (int64_t i = 0; i < k; i++)
        index[i] = (int32_t)i;
    for (int64_t i = k / 2 - 1; i >= 0; i--)
        sift_down(x, index, k, i, index[i]);
    for (int64_t begin = k; begin < length; begin += STRIDE) {
        const int64_t end = begin + at_most(length - begin, STRIDE);
        if (!any_greater(end - begin, x + begin, load(x + index[0])))
            continue;
        for (int64_t i = begin; i < end; i++)
            if (precedes(x, (int32_t)i, index[0]))
                sift_down(x, index, k, 0, (int32_t)i);
    }
    for (int64_t size = k - 1; size > 0; size--) { /* heap sort: the last in order goes to the end */
        int32_t last = index[0];
        sift_down(x, index, size, 0, index[size]);
        index[size] = last;
    }
    if (values)
        for (int64_t i = 0; i < k; i++)
            values[i] = x[index[i]];
}
