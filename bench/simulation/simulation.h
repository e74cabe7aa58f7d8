/* What a simulated rank (rank.c) shares with its stand-ins for parts of dist/ (clock.c, comm_inline.c). */
#pragma once
#include "dist/bell.h"
#include "dist/comm.h"

/* Simulated time passes. */
void sim_sleep(double seconds);
/* The compute thread works for so long, while the communication thread, on a core of its own, goes on. */
void sim_compute(ls_world *world, double seconds);
/* When this rank has something to do again, in simulated time; until then, waits may sleep. */
double sim_wake(void);
void sim_set_wake(double time);
