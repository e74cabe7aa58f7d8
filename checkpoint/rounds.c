/* See rounds.h. */
#include "checkpoint/rounds.h"

#include <stdlib.h>

ls_status ls_rounds(ls_world *world, ls_status mine, ls_round round, void *context, const char *phase)
{
    int ranks = ls_world_ranks(world);
    bool done = false, *all = calloc((size_t)ranks, sizeof *all);
    if (mine == LS_OK && !all)
        mine = ls_fail(LS_EMEM, "no memory to count %d ranks", ranks);
    ls_status status = ls_agree(world, mine, phase);
    for (bool all_done = false; status == LS_OK && !all_done;) {
        status = ls_agree(world, done ? LS_OK : round(context, &done), phase);
        if (status == LS_OK)
            status = ls_all_gather_bytes(world, &done, sizeof done, all, phase);
        all_done = true;
        for (int r = 0; r < ranks; r++)
            all_done = all_done && all[r];
    }
    free(all);
    return status;
}
