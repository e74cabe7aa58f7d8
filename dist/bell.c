/* Bell on futex(2). Not FUTEX_PRIVATE: the word may lie in memory that several processes map. */
#include "dist/bell.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void ls_bell_ring(ls_bell *bell)
{
    atomic_fetch_add(&bell->rings, 1);
    if (atomic_load(&bell->asleep) > 0)
        syscall(SYS_futex, &bell->rings, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

uint32_t ls_bell_read(ls_bell *bell)
{
    return atomic_load(&bell->rings);
}

void ls_bell_wait(ls_bell *bell, uint32_t seen, double seconds)
{
    struct timespec timeout = {.tv_sec = (time_t)seconds};
    timeout.tv_nsec = (long)((seconds - (double)timeout.tv_sec) * 1e9);
    atomic_fetch_add(&bell->asleep, 1);
    if (atomic_load(&bell->rings) == seen)
        syscall(SYS_futex, &bell->rings, FUTEX_WAIT, seen, &timeout, NULL, 0);
    atomic_fetch_sub(&bell->asleep, 1);
}

double ls_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}
