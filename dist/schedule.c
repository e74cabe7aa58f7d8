/* Who computes which grain, and who owns which slice. Pure arithmetic: every rank works out everyone's. */
#include "dist/reduce.h"

/* `total` things in order over `ranks`, as even as can be, the first ranks having one more. */
static void share(int64_t total, int rank, int ranks, int64_t *begin, int64_t *count)
{
    int64_t each = total / ranks, more = total % ranks;
    *begin = rank * each + (rank < more ? rank : more);
    *count = each + (rank < more);
}

void ls_slice_units(int64_t elements, int64_t unit, int rank, int ranks, int64_t *begin, int64_t *count)
{
    share((elements + unit - 1) / unit, rank, ranks, begin, count);
    int64_t end = (*begin + *count) * unit;
    *begin *= unit;
    if (*begin > elements)
        *begin = elements;
    *count = (end < elements ? end : elements) - *begin;
}

void ls_slice(int64_t elements, int rank, int ranks, int64_t *begin, int64_t *count)
{
    ls_slice_units(elements, LS_CHUNK, rank, ranks, begin, count);
}

int64_t ls_schedule_grains(ls_schedule schedule, int64_t grains, int rank, int ranks)
{
    if (schedule == LS_SCHEDULE_ROUND)
        return rank < grains ? (grains - rank + ranks - 1) / ranks : 0;
    int64_t begin, count;
    share(grains, rank, ranks, &begin, &count);
    return count;
}

int64_t ls_schedule_grain(ls_schedule schedule, int64_t grains, int rank, int ranks, int64_t k)
{
    if (schedule == LS_SCHEDULE_ROUND)
        return k * ranks + rank;
    int64_t begin, count;
    share(grains, rank, ranks, &begin, &count);
    return begin + k;
}
