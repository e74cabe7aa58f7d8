/* Stands in for dist/comm_thread.c: a simulated rank is one thread, so the communication loop runs in whoever waits.
 * The loop itself, its spinning, its sleeps and its jobs, is dist/comm.c. Each turn of it takes TURN of simulated time:
 * longer than on a real core, where it takes less than one microsecond, for the simulation's sake; an exchange of whole
 * pieces does not see it. */
#include "bench/simulation/simulation.h"
#include "dist/fabric.h"

#define TURN 5e-6

ls_status ls_comm_open(ls_world *world)
{
    pthread_mutex_init(&world->comm.lock, NULL);
    world->comm.busy = ls_now();
    return LS_OK;
}

void ls_comm_close(ls_world *world)
{
    pthread_mutex_destroy(&world->comm.lock);
}

void ls_comm_await(ls_world *world, uint32_t seen)
{
    (void)seen;
    sim_sleep(TURN);
    ls_comm_turn(world);
}

void sim_compute(ls_world *world, double seconds)
{
    const double end = ls_now() + seconds;
    sim_set_wake(end);
    while (ls_now() < end && (world->comm.jobs > 0 || world->comm.inboxes > 0))
        ls_comm_await(world, 0);
    sim_set_wake(1e30);
    if (ls_now() < end)
        sim_sleep(end - ls_now());
}
