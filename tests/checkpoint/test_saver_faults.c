/* Everything that can fail in a save besides the disk fails once, in turn: each allocation, and each exchange between
 * the ranks.
 *
 * No memory: every rank hears the same sentence, the older checkpoint is as it was, and the next save is written. An
 * exchange that fails ends the job, as it would in a step: all ranks return, none waits for ever, and what is read
 * afterwards is the old checkpoint or the new one. The linker puts the functions below in the place of the real ones;
 * HDF5's and the C library's own allocations are not reached by that. */
#include "fixture.h"

#include "base/log.h"
#include "dist/loopback.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { OLD = 1, NEW = 2, RANKS = 2 };

static atomic_int at = -1, count; /* at < 0: nothing fails */
static atomic_bool everywhere;    /* every thread is struck, not the victim's alone */
static _Thread_local bool is_victim;
static bool exchanges; /* what fails: exchanges, or allocations */

static bool strike(bool exchange)
{
    return atomic_load(&at) >= 0 && exchange == exchanges && (is_victim || atomic_load(&everywhere)) &&
           atomic_fetch_add(&count, 1) == atomic_load(&at);
}

#define WRAP(result, name, types, names, failed, exchange)                                                             \
    result __real_##name types;                                                                                        \
    result __wrap_##name types;                                                                                        \
    result __wrap_##name types                                                                                         \
    {                                                                                                                  \
        return strike(exchange) ? failed : __real_##name names;                                                        \
    }
WRAP(void *, malloc, (size_t size), (size), NULL, false)
WRAP(void *, calloc, (size_t count_, size_t size), (count_, size), NULL, false)
WRAP(void *, realloc, (void *old, size_t size), (old, size), NULL, false)
WRAP(char *, strdup, (const char *text), (text), NULL, false)
WRAP(void *, mmap, (void *where, size_t size, int a, int b, int c, off_t d), (where, size, a, b, c, d), MAP_FAILED,
     false)

#define PLANTED ls_fail(LS_ECOMM, "planted")
WRAP(ls_status, ls_agree, (ls_world * w, ls_status mine, const char *phase), (w, mine, phase), PLANTED, true)
WRAP(ls_status, ls_broadcast, (ls_world * w, void *data, size_t bytes, int root, const char *phase),
     (w, data, bytes, root, phase), PLANTED, true)
WRAP(ls_status, ls_all_gather_bytes, (ls_world * w, const void *mine, size_t bytes, void *all, const char *phase),
     (w, mine, bytes, all, phase), PLANTED, true)
WRAP(ls_status, ls_all_gather_varying,
     (ls_world * w, const void *mine, void *all, const size_t *bytes, const char *phase), (w, mine, all, bytes, phase),
     PLANTED, true)
WRAP(ls_status, ls_same_everywhere, (ls_world * w, const void *data, size_t bytes, const char *what),
     (w, data, bytes, what), PLANTED, true)

static int64_t newest(const char *run)
{
    job j = {.run = run, .seed = OLD};
    if (on_ranks(1, load_body, &j) != LS_OK || j.loaded == NEW) {
        j.seed = NEW;
        cr_assert_eq(on_ranks(1, load_body, &j), LS_OK, "%s", sentence);
    }
    return j.loaded;
}

typedef struct {
    job job;
    int number;      /* of the call that fails */
    bool everywhere; /* of all threads; else of the last rank's own */
} planted;

static ls_status planted_body(ls_world *world, void *context)
{
    const planted *p = context;
    job j = p->job;
    state s;
    state_make(&s, j.seed, ls_world_rank(world), ls_world_ranks(world));
    ls_saver *saver;
    const ls_saver_options how = {.buffer = 64 << 10};
    const ls_checkpoint_options options = {.keep = 1, .best = NEW, .numerics = "test", .recipe = "task: test\n"};
    ls_status status = ls_agree(world, ls_saver_open(&saver, world, &how), "test");
    ls_barrier(world, "test");
    is_victim = ls_world_rank(world) == ls_world_ranks(world) - 1;
    if (is_victim) {
        atomic_store(&everywhere, p->everywhere);
        atomic_store(&at, p->number);
    }
    if (status == LS_OK)
        status = ls_saver_begin(saver, s.tree, j.run, j.step, &options);
    if (status == LS_OK)
        status = save_under_way(world, saver, &s);
    if (is_victim)
        atomic_store(&at, -1);
    is_victim = false;
    ls_saver_close(saver);
    state_free(&s);
    return status;
}

static void no_memory_everywhere(int ranks, bool threads, const char *whose)
{
    int failed = 0, survived = 0;
    exchanges = false;
    for (int number = 0;; number++) {
        const char *run = new_folder();
        save(run, OLD, OLD, ranks);
        planted p = {.job = {.run = run, .step = NEW, .seed = NEW}, .number = number, .everywhere = threads};
        atomic_store(&count, 0);
        const ls_status status = on_ranks(ranks, planted_body, &p);
        const bool struck = atomic_load(&count) > number;
        cr_assert(status == LS_OK || status == LS_EMEM, "allocation %d: %s", number, sentence);
        cr_assert_eq(newest(run), status == LS_OK ? NEW : OLD, "allocation %d: %s", number, sentence);
        failed += status != LS_OK;
        survived += struck && status == LS_OK;
        job again = {.run = run, .step = NEW, .seed = NEW, .keep = 1};
        cr_assert_eq(on_ranks(ranks, save_body, &again), LS_OK, "allocation %d: the next save: %s", number, sentence);
        cr_assert_eq(newest(run), NEW);
        if (!struck)
            break;
    }
    cr_assert_gt(failed, 15);
    fprintf(stderr, "no memory in each of %d allocations of %s: %d cost the save, %d did not\n", failed + survived,
            whose, failed, survived);
}

Test(saver_faults, each_allocation_fails_once)
{
    no_memory_everywhere(1, true, "a rank alone, its writer's too");
    no_memory_everywhere(RANKS, false, "one of two ranks");
}

/* Between the begin of a save and its report a step takes nothing from the heap, and the writer does not either. */
static ls_status counted_body(ls_world *world, void *context)
{
    const job *j = context;
    state s;
    state_make(&s, j->seed, 0, 1);
    const ls_saver_options how = {.buffer = 64 << 10};
    const ls_checkpoint_options options = {.keep = 1};
    ls_saver *saver;
    ls_status status = ls_saver_open(&saver, world, &how);
    for (int step = 1; status == LS_OK && step <= 3; step++) {
        status = ls_saver_begin(saver, s.tree, j->run, step, &options);
        atomic_store(&count, 0);
        atomic_store(&everywhere, true);
        atomic_store(&at, INT_MAX);
        ls_saver_wait_taken(saver);
        while (status == LS_OK && ls_saver_vote(saver) == 1)
            usleep(100);
        atomic_store(&at, -1);
        const int taken = atomic_load(&count);
        if (status == LS_OK && taken)
            status = ls_fail(LS_ENUMERIC, "%d allocations", taken);
        if (status == LS_OK)
            status = ls_saver_finish(saver);
    }
    ls_saver_close(saver);
    state_free(&s);
    return status;
}

Test(saver_faults, the_writer_takes_nothing_from_the_heap)
{
    job j = {.run = new_folder(), .seed = NEW};
    exchanges = false;
    cr_assert_eq(on_ranks(1, counted_body, &j), LS_OK, "%s", sentence);
}

/* ---- exchanges ---- */

typedef struct {
    ls_world *world;
    planted *p;
    ls_status status;
} rank;

static void *run_rank(void *argument)
{
    rank *r = argument;
    r->status = planted_body(r->world, r->p);
    ls_world_close(r->world);
    return NULL;
}

Test(saver_faults, each_exchange_fails_once, .timeout = 100)
{
    int points = 0, first_new = -1;
    ls_log_terminal_level(LS_LOG_ERROR);
    exchanges = true;
    for (int number = 0;; number++) {
        const char *run = new_folder();
        ls_world *worlds[RANKS];
        pthread_t threads[RANKS];
        rank ranks[RANKS];
        save(run, OLD, OLD, RANKS);
        planted p = {.job = {.run = run, .step = NEW, .seed = NEW}, .number = number};
        atomic_store(&count, 0);
        const ls_world_options options = {.deadline = 20};
        cr_assert_eq(ls_loopback_open(worlds, RANKS, &options), LS_OK);
        for (int r = 0; r < RANKS; r++) {
            ranks[r] = (rank){.world = worlds[r], .p = &p};
            pthread_create(&threads[r], NULL, run_rank, &ranks[r]);
        }
        for (int r = 0; r < RANKS; r++)
            pthread_join(threads[r], NULL);
        const bool struck = atomic_load(&count) > number;
        for (int r = 0; r < RANKS; r++)
            cr_assert_eq(ranks[r].status, struck ? LS_ECOMM : LS_OK, "exchange %d: rank %d", number, r);
        const int64_t found = newest(run);
        cr_assert(found == OLD || found == NEW);
        if (found == NEW && first_new < 0)
            first_new = number;
        save(run, NEW, NEW, RANKS);
        cr_assert_eq(newest(run), NEW);
        if (!struck)
            break;
        points++;
        if (number > 200) /* votes until the disk is ready: as many as there is time for */
            break;
    }
    cr_assert_gt(points, 20);
    fprintf(stderr, "each of %d exchanges of a save failed once: the older checkpoint before number %d\n", points,
            first_new);
}
