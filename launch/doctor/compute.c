/* Is one rank slower than the others? All do the same work at the same time, and each measures its seconds on the clock and on its
 * processor. On the clock alone: it did not run (stopped, a quota, a neighbour on its core). On both: a slow processor. */
#include "launch/doctor/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* On a busy machine, ranks that are well differ by a half now and then. */
#define SLOW 1.5
#define THROTTLED 2.5
#define SECONDS 0.5 /* of work, on rank 0: many times what a scheduler or a quota turns around in */

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Multiply-adds that each need the one before, so that it is the same time on any core of a kind. */
static double work(int64_t rounds)
{
    volatile double start = 1.0;
    double a = start, b = start + 1;
    for (int64_t i = 0; i < rounds; i++) {
        a = a * 0.999999 + 1e-6;
        b = b * 0.999998 + 1e-6;
    }
    return a + b;
}

static int64_t calibrate(void)
{
    enum { TRY = 2000000 };
    volatile double sink = work(TRY); /* the clock of the processor goes up */
    const double begin = seconds_of(CLOCK_THREAD_CPUTIME_ID);
    sink = work(TRY);
    (void)sink;
    const double took = seconds_of(CLOCK_THREAD_CPUTIME_ID) - begin;
    return (int64_t)(TRY * SECONDS / (took > 1e-6 ? took : 1e-6));
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The lower median: with two ranks, the faster one is what the other should be. */
static double median_wall(const ls_doctor_pace *pace, int ranks)
{
    double *sorted = calloc((size_t)ranks, sizeof *sorted), median = pace[0].wall;
    for (int r = 0; sorted && r < ranks; r++)
        sorted[r] = pace[r].wall;
    if (sorted) {
        qsort(sorted, (size_t)ranks, sizeof *sorted, by_value);
        median = sorted[(ranks - 1) / 2];
    }
    free(sorted);
    return median;
}

void ls_doctor_judge_pace(const ls_doctor_pace *pace, int ranks, ls_finding *finding)
{
    int slowest = 0;
    for (int r = 1; r < ranks; r++)
        slowest = pace[r].wall > pace[slowest].wall ? r : slowest;
    const ls_doctor_pace *p = &pace[slowest];
    const double usual = median_wall(pace, ranks), times = p->wall / usual, ran = p->cpu / p->wall;
    const ls_doctor_level level = times > THROTTLED ? LS_DOCTOR_FAIL : times > SLOW ? LS_DOCTOR_WARN : LS_DOCTOR_OK;
    if (ranks == 1)
        ls_doctor_find(finding, LS_DOCTOR_OK, "one rank alone, running %.0f%% of the time", 100 * ran);
    else if (level == LS_DOCTOR_OK)
        ls_doctor_find(finding, level, "%d ranks need the same seconds for the same work, to %.0f%%", ranks, 100 * (times - 1));
    else if (ran * times < SLOW)
        ls_doctor_find(finding, level,
                       "rank %d on %s needs %.1f times the seconds of the others for the same work and ran %.0f%% of that time: it is held by a quota "
                       "(cgroup cpu.max), stopped now and then, or has another process on its core; look with `top` there, and leave the node out "
                       "until it is mended",
                       slowest, p->host, times, 100 * ran);
    else
        ls_doctor_find(finding, level,
                       "rank %d on %s needs %.1f times the seconds of the others for the same work, all of them on its processor: heat, a power cap or "
                       "another model; look at `lscpu` and the frequencies there, and leave the node out until it is mended",
                       slowest, p->host, times);
}

ls_status ls_doctor_compute(ls_doctor *doctor)
{
    static const char phase[] = "doctor: compute";
    const int ranks = ls_world_ranks(doctor->world);
    int64_t rounds = ls_world_rank(doctor->world) == 0 ? calibrate() : 0;
    ls_doctor_pace mine = {0}, *all = calloc((size_t)ranks, sizeof *all);
    if (!all)
        return ls_fail(LS_EMEM, "no memory for %d ranks", ranks);
    snprintf(mine.host, sizeof mine.host, "%s", ls_world_host(doctor->world));
    ls_status status = ls_broadcast(doctor->world, &rounds, sizeof rounds, 0, phase);
    if (status == LS_OK)
        status = ls_barrier(doctor->world, phase);
    if (status == LS_OK) {
        const double wall = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_THREAD_CPUTIME_ID);
        volatile double sink = work(rounds);
        (void)sink;
        mine.wall = seconds_of(CLOCK_MONOTONIC) - wall;
        mine.cpu = seconds_of(CLOCK_THREAD_CPUTIME_ID) - cpu;
        status = ls_all_gather_bytes(doctor->world, &mine, sizeof mine, all, phase);
    }
    if (status == LS_OK) {
        ls_finding finding = {0};
        ls_doctor_judge_pace(all, ranks, &finding);
        ls_doctor_say(doctor, "compute", &finding);
    }
    free(all);
    return status;
}
