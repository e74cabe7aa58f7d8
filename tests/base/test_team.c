#include "base/team.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void count_item(void *context, int64_t item)
{
    ((int *)context)[item]++; /* no atomic: TSan sees it if two threads get one item */
}

Test(team, every_item_is_run_once)
{
    for (int threads = 1; threads <= 4; threads++) {
        ls_team *team;
        cr_assert_eq(ls_team_create(&team, threads, 1), LS_OK);
        cr_assert_eq(ls_team_threads(team), threads);
        int64_t counts[] = {0, 1, 2, 3, 7, 64, 1000};
        for (int repeat = 0; repeat < 300; repeat++) {
            int64_t items = counts[repeat % 7];
            int seen[1000] = {0};
            ls_team_run(team, items, count_item, seen);
            for (int64_t i = 0; i < 1000; i++)
                cr_assert_eq(seen[i], i < items, "%d threads, item %d of %d", threads, (int)i, (int)items);
        }
        ls_team_free(team);
    }
}

typedef struct {
    ls_team *team;
    int inner[16][8];
} nest;

static void run_inside(void *context, int64_t item)
{
    nest *n = context;
    ls_team_run(n->team, 8, count_item, n->inner[item]);
}

Test(team, a_run_inside_an_item_is_run_in_place)
{
    nest n = {0};
    cr_assert_eq(ls_team_create(&n.team, 3, 1), LS_OK);
    for (int repeat = 0; repeat < 50; repeat++)
        ls_team_run(n.team, 16, run_inside, &n);
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 8; k++)
            cr_assert_eq(n.inner[i][k], 50);
    ls_team_free(n.team);
}

static void note_thread(void *context, int64_t item)
{
    int *threads = context;
    threads[item] = ls_team_thread_number();
    usleep(2000);
}

Test(team, the_work_is_shared)
{
    ls_team *team;
    int threads[40], by[2] = {0};
    cr_assert_eq(ls_team_create(&team, 2, 1), LS_OK);
    usleep(20000); /* the worker sleeps by now and must be woken */
    ls_team_run(team, 40, note_thread, threads);
    for (int i = 0; i < 40; i++)
        by[threads[i]]++;
    cr_assert(by[0] > 0 && by[1] > 0, "%d and %d", by[0], by[1]);
    ls_team_free(team);
}

#if defined(__x86_64__)
static void note_mxcsr(void *context, int64_t item)
{
    ((unsigned *)context)[item] = _mm_getcsr() & 0xffc0; /* rounding, flush to zero, denormals are zero, masks */
    usleep(2000);
}

Test(team, no_thread_flushes_denormals)
{
    ls_team *team;
    unsigned found[16];
    _mm_setcsr(0x9fc0); /* what -ffast-math's start-up code leaves behind, inherited by new threads */
    cr_assert_eq(ls_team_create(&team, 2, 1), LS_OK);
    _mm_setcsr(0x9fc0);
    ls_team_run(team, 16, note_mxcsr, found);
    for (int i = 0; i < 16; i++)
        cr_assert_eq(found[i], 0x1f80);
    ls_team_free(team);
}
#endif

static void busy_item(void *context, int64_t item)
{
    double end = seconds() + 1e-5;
    while (seconds() < end)
        ;
    ((int *)context)[item] = 1;
}

/* Seconds that `processes` of `threads` each take for 2000 runs of two items of 10 us. */
static double crowd(int processes, int threads)
{
    double start = seconds();
    for (int p = 0; p < processes; p++)
        if (fork() == 0) {
            ls_team *team;
            int done[2];
            if (ls_team_create(&team, threads, 1) != LS_OK)
                _exit(1);
            for (int run = 0; run < 2000; run++)
                ls_team_run(team, 2, busy_item, done);
            ls_team_free(team);
            _exit(0);
        }
    for (int p = 0; p < processes; p++) {
        int status;
        wait(&status);
        cr_assert_eq(status, 0);
    }
    return seconds() - start;
}

static void nap(void *context, int64_t item)
{
    (void)context;
    usleep(item == 0 ? 200000 : 0);
}

Test(team, whoever_waits_sleeps_after_a_short_spin)
{
    ls_team *team;
    cr_assert_eq(ls_team_create(&team, 3, 1), LS_OK);
    clock_t before = clock(); /* processor time of all threads; only spinning can use any here */
    ls_team_run(team, 2, nap, NULL);
    usleep(200000);
    double used = (double)(clock() - before) / CLOCKS_PER_SEC;
    cr_assert_lt(used, 0.05, "%.3f s of processor time while all slept", used);
    ls_team_free(team);
}

/* A team that waits for workers who have not joined loses a scheduler's time slice (some ms) in most of the 2000 runs. */
Test(team, four_processes_of_two_threads_do_not_collapse, .timeout = 60)
{
    double alone = crowd(4, 1), crowded = crowd(4, 2);
    cr_assert_lt(crowded, 4 * alone + 1, "%.2f s with one thread each, %.2f s with two", alone, crowded);
}

Test(team, the_default_is_the_environment_or_a_share_of_the_cores)
{
    ls_team *team;
    setenv("OMP_NUM_THREADS", "3", 1);
    cr_assert_eq(ls_team_create(&team, 0, 1), LS_OK);
    cr_assert_eq(ls_team_threads(team), 3);
    ls_team_free(team);
    setenv("OMP_NUM_THREADS", "many", 1);
    cr_assert_eq(ls_team_create(&team, 0, 1), LS_EARG);
    cr_assert(strstr(ls_fail_sentence(), "many"));
    unsetenv("OMP_NUM_THREADS");
    cr_assert_eq(ls_team_create(&team, 0, 100000), LS_OK);
    cr_assert_eq(ls_team_threads(team), 1, "at least one");
    ls_team_free(team);
    cr_assert_eq(ls_team_create(&team, -1, 1), LS_EARG);
}
