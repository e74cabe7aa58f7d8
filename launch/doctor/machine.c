/* Libraries, clocks and memory of the nodes. */
#include "launch/doctor/doctor.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define SKEW 1.0   /* seconds; file times and logs of the nodes no longer fit together */
#define TIGHT 0.85 /* of the free memory */

/* What must be the same on all ranks, the first that differs named. */
ls_status ls_doctor_library(ls_doctor *doctor)
{
    typedef struct {
        char host[64], mpi[128], numerics[128], version[32];
    } card;
    const int ranks = ls_world_ranks(doctor->world);
    card mine = {.version = LS_VERSION}, *all = calloc((size_t)ranks, sizeof *all);
    if (!all)
        return ls_fail(LS_EMEM, "no memory for %d ranks", ranks);
    snprintf(mine.host, sizeof mine.host, "%s", ls_world_host(doctor->world));
    snprintf(mine.numerics, sizeof mine.numerics, "%s", ls_numerics_id());
    ls_world_library(mine.mpi);
    const ls_status status = ls_all_gather_bytes(doctor->world, &mine, sizeof mine, all, "doctor: libraries");
    ls_finding finding = {0};
    for (int r = 1; r < ranks && status == LS_OK; r++) {
        const char *remedy = "install one version on all nodes, or start from one shared folder";
        if (strcmp(all[r].version, all[0].version))
            ls_doctor_find(&finding, LS_DOCTOR_FAIL, "rank %d on %s is lockstep %s, rank 0 on %s is %s; %s", r, all[r].host, all[r].version, all[0].host,
                           all[0].version, remedy);
        else if (strcmp(all[r].mpi, all[0].mpi))
            ls_doctor_find(&finding, LS_DOCTOR_FAIL, "rank %d on %s runs %s, rank 0 on %s runs %s; %s", r, all[r].host, all[r].mpi, all[0].host, all[0].mpi,
                           remedy);
        else if (strcmp(all[r].numerics, all[0].numerics))
            ls_doctor_find(&finding, LS_DOCTOR_FAIL, "rank %d on %s computes as '%s', rank 0 on %s as '%s': training will refuse it; pin the lower one, like "
                           "numerics: avx2", r, all[r].host, all[r].numerics, all[0].host, all[0].numerics);
    }
    if (status == LS_OK) {
        ls_doctor_find(&finding, LS_DOCTOR_OK, "%.*s on all ranks; lockstep %s, numerics %s", (int)strcspn(mine.mpi, ","), mine.mpi, LS_VERSION, mine.numerics);
        ls_doctor_say(doctor, "mpi", &finding);
    }
    free(all);
    return status;
}

static double real_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* All read their clocks just after a barrier: good to some milliseconds, and skews that hurt are seconds. */
ls_status ls_doctor_clock(ls_doctor *doctor)
{
    typedef struct {
        char host[64];
        double seconds;
    } reading;
    static const char phase[] = "doctor: clock";
    const int ranks = ls_world_ranks(doctor->world);
    reading mine = {0}, *all = calloc((size_t)ranks, sizeof *all);
    if (!all)
        return ls_fail(LS_EMEM, "no memory for %d clocks", ranks);
    snprintf(mine.host, sizeof mine.host, "%s", ls_world_host(doctor->world));
    ls_status status = ls_barrier(doctor->world, phase);
    mine.seconds = real_seconds();
    if (status == LS_OK)
        status = ls_all_gather_bytes(doctor->world, &mine, sizeof mine, all, phase);
    ls_finding finding = {0};
    double most = 0;
    for (int r = 1; r < ranks && status == LS_OK; r++) {
        const double off = all[r].seconds - all[0].seconds, far = off < 0 ? -off : off;
        most = far > most ? far : most;
        if (far > SKEW)
            ls_doctor_find(&finding, LS_DOCTOR_WARN, "the clock of %s is %.1f s %s that of %s: times in logs and files mislead, and munge refuses five minutes; "
                           "start chrony or systemd-timesyncd there", all[r].host, far, off < 0 ? "behind" : "before", all[0].host);
    }
    if (status == LS_OK) {
        ls_doctor_find(&finding, LS_DOCTOR_OK, "clocks agree to %.0f ms", 1000 * most);
        if (ranks > 1)
            ls_doctor_say(doctor, "clock", &finding);
    }
    free(all);
    return status;
}

static double read_number(const char *path)
{
    char text[64] = "";
    FILE *in = fopen(path, "r");
    if (in && !fgets(text, sizeof text, in))
        text[0] = '\0';
    if (in)
        fclose(in);
    char *end;
    const double value = strtod(text, &end);
    return end == text ? -1 : value; /* "max" is no number */
}

/* Bytes of memory that are free here: the machine's, or those the control group still grants. */
static double free_memory(void)
{
    char line[256], path[PATH_MAX], group[3072] = "";
    double available = -1;
    FILE *in = fopen("/proc/meminfo", "r");
    while (in && fgets(line, sizeof line, in))
        if (!strncmp(line, "MemAvailable:", 13))
            available = 1024 * strtod(line + 13, NULL);
    if (in)
        fclose(in);
    in = fopen("/proc/self/cgroup", "r");
    while (in && fgets(path, sizeof path, in))
        if (!strncmp(path, "0::", 3))
            snprintf(group, sizeof group, "%.*s", (int)strcspn(path + 3, "\n"), path + 3);
    if (in)
        fclose(in);
    snprintf(path, sizeof path, "/sys/fs/cgroup%.3000s/memory.max", group);
    const double limit = read_number(path);
    snprintf(path, sizeof path, "/sys/fs/cgroup%.3000s/memory.current", group);
    const double used = read_number(path);
    return limit > 0 && used >= 0 && limit - used < available ? limit - used : available;
}

static double gib(double bytes)
{
    return bytes / 1073741824;
}

ls_status ls_doctor_memory(ls_doctor *doctor, const ls_train_needs *needs)
{
    typedef struct {
        char host[64];
        int node, node_ranks;
        double free, shared;
    } room;
    const int ranks = ls_world_ranks(doctor->world);
    struct statvfs shared = {0};
    statvfs("/dev/shm", &shared);
    room mine = {.node = ls_world_node(doctor->world), .node_ranks = ls_world_node_ranks(doctor->world), .free = free_memory(),
                 .shared = (double)shared.f_bavail * (double)shared.f_frsize};
    room *all = calloc((size_t)ranks, sizeof *all);
    if (!all)
        return ls_fail(LS_EMEM, "no memory for %d ranks", ranks);
    snprintf(mine.host, sizeof mine.host, "%s", ls_world_host(doctor->world));
    const ls_status status = ls_all_gather_bytes(doctor->world, &mine, sizeof mine, all, "doctor: memory");
    ls_finding finding = {0};
    int least = 0;
    for (int r = 0; r < ranks && status == LS_OK; r++) {
        const double need = needs ? (double)needs->memory * all[r].node_ranks : 0;
        least = all[r].free < all[least].free ? r : least;
        if (need > TIGHT * all[r].free)
            ls_doctor_find(&finding, need > all[r].free ? LS_DOCTOR_FAIL : LS_DOCTOR_WARN,
                           "%d ranks on %s need %.2f GiB, %.2f are free there; start fewer ranks a node, or look at --dry-run for what trades memory",
                           all[r].node_ranks, all[r].host, gib(need), gib(all[r].free));
        if (all[r].node_ranks > 1 && all[r].shared < 64e6)
            ls_doctor_find(&finding, LS_DOCTOR_WARN, "/dev/shm of %s has %.0f MiB free: ranks there will talk by MPI, which is slower; enlarge it (`docker run "
                           "--shm-size`, `mount -o remount,size=`)", all[r].host, all[r].shared / 1048576);
    }
    if (status == LS_OK) {
        char need[96] = "; name a recipe to compare it with";
        if (needs)
            snprintf(need, sizeof need, "; a rank of this recipe takes %.2f", gib((double)needs->memory));
        ls_doctor_find(&finding, LS_DOCTOR_OK, "%.2f GiB free on %s%s%s", gib(all[least].free), ls_world_nodes(doctor->world) > 1 ? "the fullest node, " : "",
                       all[least].host, need);
        ls_doctor_say(doctor, "memory", &finding);
    }
    free(all);
    return status;
}
