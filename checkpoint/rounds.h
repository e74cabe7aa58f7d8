/* Long work on all ranks in rounds: between them every rank says that it lives, and one that failed stops the others.
 * Reading or writing a hundred gigabytes takes longer than any deadline on a wait should be (VeOmni#1164: a save of 11
 * minutes was killed by a watchdog of 10, again and again); a round takes a second. */
#pragma once
#include "dist/world.h"

/* Bytes of a round. A disk of 100 MB/s is silent for less than a second. */
#define LS_ROUND_BYTES (INT64_C(64) << 20)

/* Does up to LS_ROUND_BYTES of work; *done: nothing is left. Not called again after that or a failure. */
typedef ls_status (*ls_round)(void *context, bool *done);
/* Collective. LS_OK when all ranks are done; else the same failure on all. `mine`: how the preparations went here. */
ls_status ls_rounds(ls_world *world, ls_status mine, ls_round round, void *context, const char *phase);
