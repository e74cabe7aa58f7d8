/* Which cores the ranks have: two ranks on one core halve the speed of all, since every step waits for the slowest. */
#include "launch/doctor/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "0-3,8" as the kernel writes it. */
static void read_list(const char *text, cpu_set_t *set)
{
    CPU_ZERO(set);
    for (char *end; *text >= '0' && *text <= '9'; text = *end == ',' ? end + 1 : end) {
        long first = strtol(text, &end, 10), last = first;
        if (*end == '-')
            last = strtol(end + 1, &end, 10);
        for (long core = first; core <= last && core < CPU_SETSIZE; core++)
            CPU_SET((size_t)core, set);
    }
}

/* All cores of the node, or of the container it is: those of its first process. */
static void node_cores(cpu_set_t *all)
{
    char line[4096];
    CPU_ZERO(all);
    FILE *in = fopen("/proc/1/status", "r");
    while (in && fgets(line, sizeof line, in))
        if (!strncmp(line, "Cpus_allowed_list:\t", 19))
            read_list(line + 19, all);
    if (in)
        fclose(in);
    for (long core = 0; !CPU_COUNT(all) && core < sysconf(_SC_NPROCESSORS_ONLN); core++)
        CPU_SET((size_t)core, all);
}

static int first_core(const cpu_set_t *set)
{
    for (int core = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET((size_t)core, set))
            return core;
    return -1;
}

/* Ranks of rank r's node; and those of them with the same cores as r. */
static void count(const ls_doctor_place *place, int ranks, int r, int *node_ranks, int *alike, int *threads, int *other)
{
    *node_ranks = *alike = *threads = 0;
    *other = -1;
    for (int q = 0; q < ranks; q++) {
        if (place[q].node != place[r].node)
            continue;
        *node_ranks += 1;
        *threads += place[q].threads;
        if (!CPU_EQUAL(&place[q].bound, &place[r].bound))
            continue;
        *alike += 1;
        if (q != r && *other < 0)
            *other = q;
    }
}

void ls_doctor_judge_places(const ls_doctor_place *place, int ranks, ls_finding *finding)
{
    int nodes = 0, bound = 0;
    for (int r = 0; r < ranks; r++) {
        int node_ranks, alike, threads, other;
        count(place, ranks, r, &node_ranks, &alike, &threads, &other);
        const int mine = CPU_COUNT(&place[r].bound), all = CPU_COUNT(&place[r].all);
        nodes = place[r].node >= nodes ? place[r].node + 1 : nodes;
        bound += mine < all;
        if (alike > mine && mine < all)
            ls_doctor_find(finding, LS_DOCTOR_FAIL,
                           "ranks %d and %d on %s share %d core%s (core %d) of %d: each waits for the other; use `mpirun --bind-to "
                           "none` or `--map-by slot:PE=THREADS`, under Slurm `srun --cpu-bind=cores` and --cpus-per-task",
                           r, other, place[r].host, mine, mine == 1 ? "" : "s", first_core(&place[r].bound), all);
        else if (place[r].threads > mine)
            ls_doctor_find(finding, LS_DOCTOR_WARN,
                           "rank %d on %s has %d threads on %d core%s; set threads (or OMP_NUM_THREADS) to %d, or bind it to more", r,
                           place[r].host, place[r].threads, mine, mine == 1 ? "" : "s", mine);
        else if (threads > all)
            ls_doctor_find(finding, LS_DOCTOR_WARN, "%d ranks with %d threads together share %d core%s of %s; start fewer", node_ranks, threads, all,
                           all == 1 ? "" : "s", place[r].host);
    }
    ls_doctor_find(finding, LS_DOCTOR_OK, "%d rank(s) x %d thread(s) on %d node(s) of %d cores, %s", ranks, place[0].threads, nodes,
                   CPU_COUNT(&place[0].all), !bound ? "not bound" : bound < ranks ? "some of them bound" : "bound to cores of their own");
}

ls_status ls_doctor_binding(ls_doctor *doctor)
{
    const int ranks = ls_world_ranks(doctor->world);
    ls_doctor_place mine = {.node = ls_world_node(doctor->world), .threads = ls_team_threads(doctor->team)};
    ls_doctor_place *all = calloc((size_t)ranks, sizeof *all);
    if (!all)
        return ls_fail(LS_EMEM, "no memory for %d places", ranks);
    snprintf(mine.host, sizeof mine.host, "%s", ls_world_host(doctor->world));
    sched_getaffinity(0, sizeof mine.bound, &mine.bound);
    node_cores(&mine.all);
    const ls_status status = ls_all_gather_bytes(doctor->world, &mine, sizeof mine, all, "doctor: binding");
    if (status == LS_OK) {
        ls_finding finding = {0};
        ls_doctor_judge_places(all, ranks, &finding);
        ls_doctor_say(doctor, "binding", &finding);
    }
    free(all);
    return status;
}
