/* See straggler.h. */
#include "train/straggler.h"

#include <stdlib.h>
#include <string.h>

/* Half as long again is more than the noise of a shared machine; a throttled processor or a busy neighbour is at 2. */
#define WORTH_A_WARNING 1.5
enum { BEFORE_FIRST = 20, BETWEEN = 200 };

ls_status ls_straggler_open(ls_straggler *s, int ranks)
{
    *s = (ls_straggler){.ranks = ranks, .smooth = calloc((size_t)ranks, sizeof(double)), .sorted = calloc((size_t)ranks, sizeof(double))};
    s->told_at = -BETWEEN;
    return s->smooth && s->sorted ? LS_OK : ls_fail(LS_EMEM, "no memory for the times of %d ranks", ranks);
}

void ls_straggler_close(ls_straggler *s)
{
    free(s->smooth);
    free(s->sorted);
    *s = (ls_straggler){0};
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int ls_straggler_step(ls_straggler *s, const double *own, double *ratio)
{
    int slowest = 0;
    for (int rank = 0; rank < s->ranks; rank++) {
        s->smooth[rank] += (own[rank] - s->smooth[rank]) / (s->steps < BEFORE_FIRST ? (double)(s->steps + 1) : (double)BEFORE_FIRST);
        slowest = s->smooth[rank] > s->smooth[slowest] ? rank : slowest;
    }
    s->steps++;
    if (s->ranks < 2 || s->steps < BEFORE_FIRST || s->steps < s->told_at + BETWEEN)
        return -1;
    memcpy(s->sorted, s->smooth, (size_t)s->ranks * sizeof *s->sorted);
    qsort(s->sorted, (size_t)s->ranks, sizeof *s->sorted, ascending);
    const double median = s->sorted[(s->ranks - 1) / 2];
    *ratio = median > 0 ? s->smooth[slowest] / median : 0;
    if (*ratio < WORTH_A_WARNING)
        return -1;
    s->told_at = s->steps;
    return slowest;
}
