/* Thread team: the only source of parallelism inside a rank.
 *
 * ls_team_run(team, items, f, context) calls f(context, item) once for every item in [0, items), on any thread, in any
 * order. What an item computes may depend only on its number: callers cut work by shape alone, never by the number of
 * threads, and add partial results in item order themselves. Waits spin at most 50 us, then sleep, so that 4 ranks
 * x 2 threads on 2 cores do not collapse. A call from inside an item runs on the calling thread alone.
 * Every thread sets MXCSR to round-to-nearest, no flush to zero. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct ls_team ls_team;
typedef void (*ls_team_item)(void *context, int64_t item);

/* `threads` >= 1, the caller included. 0: OMP_NUM_THREADS, else the cores this process may use divided by the ranks
 * on the node (`node_ranks` >= 1). */
ls_status ls_team_create(ls_team **team, int threads, int node_ranks);
void ls_team_free(ls_team *team);
int ls_team_threads(const ls_team *team);
void ls_team_run(ls_team *team, int64_t items, ls_team_item f, void *context);
/* 0 for the thread that owns the team, 1.. for its workers: for scratch memory only, never for results. */
int ls_team_thread_number(void);
