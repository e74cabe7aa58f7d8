/* Were the ranks' devices answered alike? A library that chooses an algorithm for each shape (device.h, choices) promises the
 * same answer on one version and one kind of GPU only, which the numerics id names; here it is seen. */
#include "train/choices.h"

#include "train/internal.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 1024 };

/* Shapes that both have, with other algorithms. */
static int64_t different(const ls_device_choice *a, int64_t in_a, const ls_device_choice *b, int64_t in_b)
{
    int64_t count = 0;
    for (int64_t i = 0; i < in_a; i++)
        for (int64_t j = 0; j < in_b; j++)
            count += a[i].shape == b[j].shape && a[i].algorithm != b[j].algorithm;
    return count;
}

ls_status ls_run_compare_choices(ls_run *run)
{
    const ls_device *device = run->device;
    if (!device->choices || run->ranks == 1)
        return LS_OK;
    ls_device_choice mine[MOST], first[MOST] = {0};
    const int64_t own = device->choices(device, mine, MOST);
    if (run->rank == 0)
        memcpy(first, mine, (size_t)own * sizeof *mine);
    ls_status status = ls_broadcast(run->world, first, sizeof first, 0, "choice of algorithms");
    if (status != LS_OK)
        return status;
    const int64_t others = different(mine, own, first, MOST);
    if (others > 0)
        status = ls_fail(LS_ESTATE, "rank %d's device chose other algorithms than rank 0's for %lld of %lld shapes, so that bits would depend on the rank; run all ranks on one kind of GPU, library (%s) and driver",
                         run->rank, (long long)others, (long long)own, device->numerics);
    return ls_agree(run->world, status, "choice of algorithms");
}
