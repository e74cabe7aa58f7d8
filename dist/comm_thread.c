/* The thread in which the communication loop runs, and the sleep of those who wait for it. Apart from comm.c, so that a
 * simulator, whose ranks have no second thread, can run the loop in whoever waits (bench/simulation/). */
#include "dist/comm.h"
#include "dist/fabric.h"

#include <signal.h>
#include <string.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

static void *run(void *argument)
{
    ls_world *world = argument;
#if defined(__SSE__)
    _mm_setcsr(0x1f80); /* this thread adds gradients: round to nearest, keep denormals */
#endif
    world->comm.busy = ls_now();
    while (!atomic_load(&world->comm.stop))
        ls_comm_turn(world);
    return NULL;
}

ls_status ls_comm_open(ls_world *world)
{
    ls_comm *comm = &world->comm;
    pthread_mutex_init(&comm->lock, NULL);
    sigset_t all, before;
    sigfillset(&all); /* signals are for the threads that asked for them */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&comm->thread, NULL, run, world);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error ? ls_fail(LS_EMEM, "cannot start the communication thread: %s", strerror(error)) : LS_OK;
}

void ls_comm_close(ls_world *world)
{
    atomic_store(&world->comm.stop, true);
    ls_comm_ring(world);
    pthread_join(world->comm.thread, NULL);
    pthread_mutex_destroy(&world->comm.lock);
}

void ls_comm_await(ls_world *world, uint32_t seen)
{
    ls_bell_wait(&world->comm.moved, seen, 1);
}
