/* Loopback: a world whose ranks are threads of one process, for tests and for debugging a many-rank program in one
 * debugger. The same code as under mpirun runs but for the fabric: windows are plain memory, and all ranks are near
 * (node_per_rank only makes them count as nodes). */
#pragma once
#include "dist/world.h"

/* Opens worlds[ranks]; each is then used and closed by a thread of its own (closing is collective). */
ls_status ls_loopback_open(ls_world **worlds, int ranks, const ls_world_options *options);
