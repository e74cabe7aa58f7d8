/* Backtrace of one thread, asked for by another: where does the main thread hang?
 *
 * The watched thread answers a real-time signal by writing down its return addresses, which is all that a handler may
 * do; names are found by the one who asks. Functions that are not exported have none, but their offset, which
 * `addr2line -e lockstep OFFSET` resolves. */
#pragma once
#include <stdbool.h>

/* The calling thread is the one to be asked from now on. Takes SIGRTMIN + 3. */
void ls_backtrace_watch(void);
/* Calls `line` for each frame, innermost first. False: nobody is watched, or the thread did not answer within a second
 * (its whole process stands still). Allocates. */
bool ls_backtrace_tell(void (*line)(void *context, const char *text), void *context);
