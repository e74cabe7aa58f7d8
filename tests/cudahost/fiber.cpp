/* The switch in nine instructions on x86-64, where an emulated kernel does millions of them; ucontext elsewhere. */
#include "fiber.h"
#include <stdint.h>
#include <stdlib.h>

#if defined(__x86_64__) && !defined(CUDAHOST_UCONTEXT)

/* System V ABI: rbx, rbp and r12 to r15 survive a call. The floating-point control words are the same in all fibers. */
extern "C" void cudahost_switch(void **from, void *to);
__asm__(".text\n"
        ".type cudahost_switch, @function\n"
        "cudahost_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size cudahost_switch, . - cudahost_switch\n");

void fiber_start(fiber_context *context, char *low, size_t bytes, void (*entry)())
{
    uintptr_t *top = reinterpret_cast<uintptr_t *>(reinterpret_cast<uintptr_t>(low + bytes) & ~(uintptr_t)15);
    *--top = 0; /* entry()'s return address: none, and with it the stack is aligned as after a call */
    *--top = reinterpret_cast<uintptr_t>(entry);
    for (int i = 0; i < 6; i++)
        *--top = 0;
    context->machine = top;
}

void fiber_switch(fiber_context *from, fiber_context *to)
{
    cudahost_switch(&from->machine, to->machine);
}

#else

#include <ucontext.h>

static ucontext_t *machine(fiber_context *context)
{
    if (context->machine == nullptr)
        context->machine = calloc(1, sizeof(ucontext_t));
    return static_cast<ucontext_t *>(context->machine);
}

void fiber_start(fiber_context *context, char *low, size_t bytes, void (*entry)())
{
    ucontext_t *m = machine(context);
    getcontext(m);
    m->uc_stack.ss_sp = low;
    m->uc_stack.ss_size = bytes;
    m->uc_link = nullptr;
    makecontext(m, entry, 0);
}

void fiber_switch(fiber_context *from, fiber_context *to)
{
    swapcontext(machine(from), machine(to));
}

#endif
