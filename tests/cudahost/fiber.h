/* Fibers: stacks that a host thread switches between. A switch saves what a called function must preserve. */
#ifndef CUDAHOST_FIBER_H
#define CUDAHOST_FIBER_H

#include <stddef.h>

struct fiber_context {
    void *machine; /* x86-64: the stack pointer; elsewhere a ucontext_t */
};

/* `context` will run entry() on the stack [low, low + bytes); entry must never return. */
void fiber_start(fiber_context *context, char *low, size_t bytes, void (*entry)());

/* Leaves the running context in `from` and goes on in `to`. */
void fiber_switch(fiber_context *from, fiber_context *to);

#endif
