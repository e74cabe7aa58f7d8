/* The run folder: can it be written, how fast, is there room for the checkpoints, and is it one folder on all nodes? */
#include "launch/doctor/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 1 << 20, PROBE = 64 * PIECE };
#define SLOW_DISK 50.0 /* MB/s */

static const char phase[] = "doctor: disk";

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The folder itself, or the nearest one above it: a run makes what is missing. */
static void existing(const char *folder, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s", folder);
    for (struct stat info; stat(path, &info) || !S_ISDIR(info.st_mode);) {
        char *slash = strrchr(path, '/');
        if (!slash) {
            snprintf(path, PATH_MAX, ".");
            return;
        }
        slash[slash == path] = '\0';
        if (!strcmp(path, "/"))
            return;
    }
}

static double mib(double bytes)
{
    return bytes / 1048576;
}

static void refused(const char *path, const char *folder, int reason, double written, ls_finding *finding)
{
    if (reason == EROFS || reason == EACCES || reason == EPERM)
        ls_doctor_find(finding, LS_DOCTOR_FAIL, "%s cannot be written (%s): read-only, or another user's; choose another run folder", folder,
                       strerror(reason));
    else if (reason == ENOSPC || reason == EDQUOT)
        ls_doctor_find(finding, LS_DOCTOR_FAIL, "%s is full (%s after %.0f of %.0f MiB); free space, or choose another run folder", folder, strerror(reason),
                       mib(written), mib(PROBE));
    else
        ls_doctor_find(finding, LS_DOCTOR_FAIL, "%s: %s; choose another run folder", path, strerror(reason));
}

typedef struct {
    double write, sync, read; /* seconds */
} probe_times;

static int write_probe(int file, char *piece, double *written, probe_times *times)
{
    double begin = now();
    for (*written = 0; *written < PROBE; *written += PIECE)
        if (write(file, piece, PIECE) != PIECE)
            return errno ? errno : ENOSPC;
    times->write = now() - begin;
    begin = now();
    if (fsync(file))
        return errno;
    times->sync = now() - begin;
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED); /* from the disk, as a resume does */
    begin = now();
    for (off_t at = 0; at < PROBE; at += PIECE)
        if (pread(file, piece, PIECE, at) != PIECE)
            return errno ? errno : EIO;
    times->read = now() - begin;
    return 0;
}

/* Rank 0. Leaves the probe for the other nodes to see. */
static void try_folder(const char *folder, const char *path, const ls_train_needs *needs, ls_finding *finding)
{
    struct statvfs space = {0};
    probe_times times = {0};
    double written = 0;
    const int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file < 0) {
        refused(path, folder, errno, 0, finding);
        return;
    }
    char *piece = calloc(1, PIECE);
    errno = 0;
    const int reason = piece ? write_probe(file, piece, &written, &times) : ENOMEM;
    free(piece);
    if (ftruncate(file, 0) == 0) /* its space is not the run's to miss */
        fstatvfs(file, &space);
    close(file);
    if (reason) {
        refused(path, folder, reason, written, finding);
        return;
    }
    const double free_bytes = (double)space.f_bavail * (double)space.f_frsize, rate = 1e-6 * PROBE / (times.write + times.sync);
    const double need = needs ? (double)needs->checkpoint * (double)needs->kept : 0;
    if (need > free_bytes)
        ls_doctor_find(finding, LS_DOCTOR_FAIL, "%s has %.0f MiB free, the run's checkpoints take %.0f (%lld of %.0f MiB at once); free space, or lower "
                       "checkpoint.keep", folder, mib(free_bytes), mib(need), (long long)needs->kept, mib((double)needs->checkpoint));
    if (rate < SLOW_DISK)
        ls_doctor_find(finding, LS_DOCTOR_WARN, "%s writes %.0f MB/s with fsync (%.2f s of it): saving will be slow; choose a local or parallel disk", folder,
                       rate, times.sync);
    char room[96] = "";
    if (needs)
        snprintf(room, sizeof room, ", %.0f MiB for checkpoints", mib(need));
    ls_doctor_find(finding, LS_DOCTOR_OK, "%s writes %.0f MB/s with fsync (%.3f s of it), reads %.0f MB/s; %.1f GiB free%s", folder, rate, times.sync,
                   1e-6 * PROBE / times.read, mib(free_bytes) / 1024, room);
}

/* Every rank looks for rank 0's probe; the first one that does not see it is named. */
static ls_status look(ls_doctor *doctor, const char *path, ls_finding *finding)
{
    typedef struct {
        char host[64];
        int sees;
    } view;
    const int ranks = ls_world_ranks(doctor->world);
    view mine = {.sees = access(path, F_OK) == 0}, *all = calloc((size_t)ranks, sizeof *all);
    if (!all)
        return ls_fail(LS_EMEM, "no memory for %d views", ranks);
    snprintf(mine.host, sizeof mine.host, "%s", ls_world_host(doctor->world));
    const ls_status status = ls_all_gather_bytes(doctor->world, &mine, sizeof mine, all, phase);
    for (int r = 1; r < ranks && status == LS_OK && all[0].sees; r++)
        if (!all[r].sees)
            ls_doctor_find(finding, LS_DOCTOR_FAIL, "rank %d on %s does not see what rank 0 wrote into %s: the run folder must be one folder on all nodes; put it "
                           "on a shared file system", r, all[r].host, doctor->folder);
    free(all);
    return status;
}

ls_status ls_doctor_disk(ls_doctor *doctor, const ls_train_needs *needs)
{
    char folder[PATH_MAX - 64] = "", path[PATH_MAX] = "";
    ls_finding finding = {0};
    if (ls_world_rank(doctor->world) == 0) {
        existing(doctor->folder, path);
        snprintf(folder, sizeof folder, "%.4000s", path);
        snprintf(path, sizeof path, "%s/.lockstep-doctor-%ld", folder, (long)getpid());
        try_folder(folder, path, needs, &finding);
    }
    ls_status status = ls_broadcast(doctor->world, path, sizeof path, 0, phase);
    if (status == LS_OK)
        status = look(doctor, path, &finding);
    if (ls_world_rank(doctor->world) == 0)
        unlink(path);
    if (status == LS_OK)
        ls_doctor_say(doctor, "disk", &finding);
    return status;
}
