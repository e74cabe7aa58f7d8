/* Thread team: one deal at a time, items dealt from one atomic word, nobody waited for who has not joined.
 *
 * `deal` holds the run's number and the next item:   | run, 24 bits | next item, 40 bits |
 * Threads take an item by compare-and-swap, so a thread that wakes late, from whatever run, either finds work of the
 * run that is on or none; the owner never waits for a sleeper. Between two runs the word is CLOSED, and the
 * description (f, context, items) changes only then: a thread that read a mixture fails its compare-and-swap, because
 * it read the new part with acquire and so sees the closed word. The run is over when `finished` counts all items.
 * The last to finish stores the run's number in `over`, for which the owner waits.
 *
 * Both waits (a worker's for the next run, the owner's for the last item) spin for at most 50 us and then sleep on a
 * futex; who changes the word wakes a sleeper only if one has announced itself (seq_cst on both sides). */
#include "base/team.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#else
#include <fenv.h>
#endif

#define ITEM_BITS 40
#define ITEM_MASK ((UINT64_C(1) << ITEM_BITS) - 1)
#define CLOSED ITEM_MASK

enum { SPIN_NS = 50000, MAX_THREADS = 1024 };

typedef struct {
    ls_team *team;
    int number;
    pthread_t thread;
} worker;

struct ls_team {
    /* written by whoever takes an item */
    _Alignas(64) _Atomic uint64_t deal;
    _Alignas(64) _Atomic int64_t finished;
    /* written once a run */
    _Alignas(64) _Atomic(ls_team_item) item;
    _Atomic(void *) context;
    _Atomic int64_t items;
    _Atomic uint32_t opened, over; /* futex words: the last run opened, the last run finished */
    _Atomic int32_t sleepers, owner_sleeps;
    _Atomic bool busy, stop;
    int threads;
    worker *workers;
};

static _Thread_local int thread_number;

int ls_team_thread_number(void)
{
    return thread_number;
}

int ls_team_threads(const ls_team *team)
{
    return team->threads;
}

static void set_rounding(void)
{
#if defined(__x86_64__)
    _mm_setcsr(0x1f80); /* all exceptions masked, round to nearest, no flush to zero, no denormals-are-zero */
#else
    fesetenv(FE_DFL_ENV);
#endif
}

static void relax(void)
{
#if defined(__x86_64__)
    _mm_pause();
#endif
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, (void *)word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0); /* returns at once if *word != seen */
}

static void futex_wake(_Atomic uint32_t *word, int threads)
{
    syscall(SYS_futex, (void *)word, FUTEX_WAKE_PRIVATE, threads, NULL, NULL, 0);
}

/* Until *word differs from `seen`: spins, then sleeps, announcing itself in *sleepers. */
static void wait_for_change(_Atomic uint32_t *word, uint32_t seen, _Atomic int32_t *sleepers)
{
    int64_t deadline = 0;
    for (int spin = 1; atomic_load_explicit(word, memory_order_acquire) == seen; spin++) {
        relax();
        if (spin % 64)
            continue;
        int64_t now = now_ns();
        if (!deadline)
            deadline = now + SPIN_NS;
        if (now < deadline)
            continue;
        atomic_fetch_add(sleepers, 1);
        if (atomic_load(word) == seen)
            futex_wait(word, seen);
        atomic_fetch_sub(sleepers, 1);
    }
}

/* Takes and computes items of the run that is on, until none is left. */
static void work(ls_team *team)
{
    for (;;) {
        uint64_t deal = atomic_load_explicit(&team->deal, memory_order_acquire);
        if ((deal & ITEM_MASK) == CLOSED)
            return;
        ls_team_item item = atomic_load_explicit(&team->item, memory_order_acquire);
        void *context = atomic_load_explicit(&team->context, memory_order_acquire);
        int64_t items = atomic_load_explicit(&team->items, memory_order_acquire);
        int64_t next = (int64_t)(deal & ITEM_MASK);
        if (next >= items)
            return;
        if (!atomic_compare_exchange_weak(&team->deal, &deal, deal + 1))
            continue;
        item(context, next);
        if (atomic_fetch_add(&team->finished, 1) + 1 == items) {
            atomic_store(&team->over, (uint32_t)(deal >> ITEM_BITS));
            if (atomic_load(&team->owner_sleeps))
                futex_wake(&team->over, 1);
        }
    }
}

static void *worker_main(void *argument)
{
    worker *self = argument;
    ls_team *team = self->team;
    thread_number = self->number;
    set_rounding();
    uint32_t seen = 0;
    for (;;) {
        wait_for_change(&team->opened, seen, &team->sleepers);
        seen = atomic_load(&team->opened);
        if (atomic_load(&team->stop))
            return NULL;
        work(team);
    }
}

void ls_team_run(ls_team *team, int64_t items, ls_team_item f, void *context)
{
    if (items <= 0)
        return;
    set_rounding();
    /* Alone: one thread or item, a call from inside an item, or another thread's run is on. */
    if (team->threads == 1 || items == 1 || atomic_exchange(&team->busy, true)) {
        for (int64_t i = 0; i < items; i++)
            f(context, i);
        return;
    }
    uint32_t run = (atomic_load(&team->opened) + 1) & 0xffffff;
    atomic_store(&team->deal, (uint64_t)run << ITEM_BITS | CLOSED);
    atomic_store(&team->item, f);
    atomic_store(&team->context, context);
    atomic_store(&team->items, items);
    atomic_store(&team->finished, 0);
    atomic_store(&team->deal, (uint64_t)run << ITEM_BITS);
    atomic_store(&team->opened, run);
    if (atomic_load(&team->sleepers))
        futex_wake(&team->opened, items < MAX_THREADS ? (int)items - 1 : MAX_THREADS); /* the owner takes one */

    work(team);
    uint32_t over;
    while ((over = atomic_load(&team->over)) != run)
        wait_for_change(&team->over, over, &team->owner_sleeps);
    atomic_store(&team->deal, (uint64_t)run << ITEM_BITS | CLOSED);
    atomic_store(&team->busy, false);
}

/* OMP_NUM_THREADS, else this process's cores divided by the ranks that share them; 0 with a sentence when unreadable. */
static int default_threads(int node_ranks)
{
    const char *text = getenv("OMP_NUM_THREADS");
    if (text && *text) {
        char *end;
        long value = strtol(text, &end, 10);
        if (end == text || (*end && *end != ',') || value < 1 || value > MAX_THREADS) {
            ls_fail(LS_EARG, "OMP_NUM_THREADS is \"%s\"; 1 to %d threads are possible", text, MAX_THREADS);
            return 0;
        }
        return (int)value;
    }
    cpu_set_t set;
    int cores = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    int share = cores / (node_ranks < 1 ? 1 : node_ranks);
    return share < 1 ? 1 : share;
}

ls_status ls_team_create(ls_team **out, int threads, int node_ranks)
{
    *out = NULL;
    if (threads < 0 || threads > MAX_THREADS)
        return ls_fail(LS_EARG, "thread team: %d threads; 1 to %d are possible, 0 chooses", threads, MAX_THREADS);
    if (!threads && !(threads = default_threads(node_ranks)))
        return LS_EARG;
    ls_team *team = aligned_alloc(64, sizeof *team);
    if (!team)
        return ls_fail(LS_EMEM, "thread team: no memory");
    memset(team, 0, sizeof *team);
    atomic_store(&team->deal, CLOSED);
    team->threads = 1;
    team->workers = calloc((size_t)threads, sizeof *team->workers);
    if (!team->workers) {
        free(team);
        return ls_fail(LS_EMEM, "thread team: no memory for %d threads", threads);
    }
    set_rounding();
    for (; team->threads < threads; team->threads++) {
        worker *self = &team->workers[team->threads];
        *self = (worker){.team = team, .number = team->threads};
        int error = pthread_create(&self->thread, NULL, worker_main, self);
        if (error) {
            ls_team_free(team);
            return ls_fail(LS_EMEM, "thread team: cannot start thread %d of %d (%s); lower run.threads or raise `ulimit -u`",
                           self->number + 1, threads, strerror(error));
        }
    }
    *out = team;
    return LS_OK;
}

void ls_team_free(ls_team *team)
{
    if (!team)
        return;
    atomic_store(&team->stop, true);
    atomic_store(&team->opened, (atomic_load(&team->opened) + 1) & 0xffffff);
    futex_wake(&team->opened, MAX_THREADS);
    for (int i = 1; i < team->threads; i++)
        pthread_join(team->workers[i].thread, NULL);
    free(team->workers);
    free(team);
}
