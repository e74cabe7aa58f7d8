/* Bell: how one thread wakes another, in the same process or across a shared window.
 *
 * A count that only grows, slept upon with a futex. A waiter reads the count, looks whether its condition holds, and
 * sleeps only while the count has not moved since, so a ring between look and sleep is never lost. Ringing costs one
 * addition when nobody sleeps. All zeros is a valid bell. */
#pragma once
#include <stdatomic.h>
#include <stdint.h>

typedef struct {
    _Atomic uint32_t rings;
    _Atomic uint32_t asleep; /* waiters that may need a wake-up call; one too many after a kill does no harm */
} ls_bell;

void ls_bell_ring(ls_bell *bell);
uint32_t ls_bell_read(ls_bell *bell);
/* Returns when the bell has rung since ls_bell_read() gave `seen`, or after `seconds`, or for no reason. */
void ls_bell_wait(ls_bell *bell, uint32_t seen, double seconds);
/* Seconds of the monotonic clock. */
double ls_now(void);
