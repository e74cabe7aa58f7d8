/* dist/bell.h in simulated time: stands in for dist/bell.c. Nobody sleeps on a bell, since a rank has no second thread
 * to ring it; a wait passes time, and wakes early where the real one would be rung. */
#include "bench/simulation/simulation.h"

#include <simgrid/actor.h>
#include <simgrid/engine.h>
#include <smpi/smpi.h>

void ls_bell_ring(ls_bell *bell)
{
    atomic_fetch_add(&bell->rings, 1);
}

uint32_t ls_bell_read(ls_bell *bell)
{
    return atomic_load(&bell->rings);
}

void sim_sleep(double seconds)
{
    sg_actor_sleep_for(seconds);
}

void ls_bell_wait(ls_bell *bell, uint32_t seen, double seconds)
{
    const double wake = sim_wake() - ls_now();
    if (atomic_load(&bell->rings) == seen && wake > 0)
        sim_sleep(wake < seconds ? wake : seconds);
}

double ls_now(void)
{
    return simgrid_get_clock();
}
