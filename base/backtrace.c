/* See backtrace.h. */
#include "base/backtrace.h"

#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FRAMES = 64, HANDLER_FRAMES = 2 /* the handler, and the kernel's way into it */ };

static pthread_t watched;
static _Atomic bool watching;
static _Atomic int asked, answered;
static void *frame[FRAMES];
static int frames;

static int signal_number(void)
{
    return SIGRTMIN + 3;
}

static void answer(int number)
{
    (void)number;
    if (atomic_load(&asked) == atomic_load(&answered))
        return; /* somebody else's signal */
    frames = backtrace(frame, FRAMES);
    atomic_store(&answered, atomic_load(&asked));
}

void ls_backtrace_watch(void)
{
    struct sigaction action = {.sa_handler = answer, .sa_flags = SA_RESTART};
    sigset_t own;
    frames = backtrace(frame, FRAMES); /* its first call loads a library, which no handler may */
    sigaction(signal_number(), &action, NULL);
    sigemptyset(&own);
    sigaddset(&own, signal_number());
    pthread_sigmask(SIG_UNBLOCK, &own, NULL);
    watched = pthread_self();
    atomic_store(&watching, true);
}

bool ls_backtrace_tell(void (*line)(void *context, const char *text), void *context)
{
    if (!atomic_load(&watching) || pthread_equal(watched, pthread_self()))
        return false;
    atomic_fetch_add(&asked, 1);
    if (pthread_kill(watched, signal_number()) != 0)
        return false;
    for (int turn = 0; turn < 100 && atomic_load(&answered) != atomic_load(&asked); turn++)
        usleep(10000);
    if (atomic_load(&answered) != atomic_load(&asked))
        return false;
    char **names = backtrace_symbols(frame, frames);
    for (int k = HANDLER_FRAMES; k < frames && names; k++)
        line(context, names[k]);
    free(names);
    return true;
}
