/* The faults of faults.h in a program that runs as it is: a library for LD_PRELOAD. bench/faults trains with it.
 *
 *     LS_DISK_FAULT="KIND RANK AT CALLS"    on one rank, from its AT-th change of a file under checkpoints/ on (from 0), for
 *                                           so many of them:
 *         enospc, eio     the call fails
 *         short           writes put half of their bytes
 *         kill, torn      the process is killed, before the call or after half of a write
 *         count           nothing, and RANK is -1: all
 *     LS_CLOCK_STEP="SECONDS AFTER"         the clock of the day is put so many seconds forward (back: < 0), AFTER seconds
 *                                           after the process began
 *     LS_FAULT_MARK=FILE                    where it is written that a fault struck: "struck CALL SECONDS" (of the monotonic
 *                                           clock), and at the end "counted RANK CALLS" */
#include "tests/checkpoint/faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* What faults.c calls the C library's: found behind this library. REAL(result, name, (parameters), (arguments)) */
#define REAL(type, name, parameters, arguments)                                                                        \
    type __real_##name parameters;                                                                                     \
    type __real_##name parameters                                                                                      \
    {                                                                                                                  \
        static type(*function) parameters;                                                                             \
        if (!function)                                                                                                 \
            *(void **)&function = dlsym(RTLD_NEXT, #name);                                                             \
        return function arguments;                                                                                     \
    }

REAL(ssize_t, pwrite, (int fd, const void *bytes, size_t size, off_t offset), (fd, bytes, size, offset))
REAL(int, fsync, (int fd), (fd))
REAL(int, rename, (const char *from, const char *to), (from, to))
REAL(int, symlink, (const char *target, const char *path), (target, path))
REAL(int, mkdir, (const char *path, mode_t mode), (path, mode))
REAL(int, unlinkat, (int folder, const char *path, int flags), (folder, path, flags))
REAL(int, rmdir, (const char *path), (path))
REAL(int, statvfs, (const char *path, struct statvfs *about), (path, about))
REAL(int, clock_gettime, (clockid_t clock, struct timespec *now), (clock, now))
REAL(int, gettimeofday, (struct timeval *now, void *zone), (now, zone))

int __real_open(const char *path, int flags, ...);
int __real_open(const char *path, int flags, ...)
{
    static int (*function)(const char *, int, ...);
    if (!function)
        *(void **)&function = dlsym(RTLD_NEXT, "open");
    va_list args;
    va_start(args, flags);
    const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return function(path, flags, mode);
}

int __wrap_open(const char *path, int flags, ...);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t size, off_t offset);
int __wrap_fsync(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_symlink(const char *target, const char *path);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_unlinkat(int folder, const char *path, int flags);
int __wrap_rmdir(const char *path);

static bool armed, kills;
static const char *mark;
static char rank_text[16] = "0";
static double step_seconds, step_after, began;

static double seconds_now(void)
{
    struct timespec now;
    __real_clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void write_mark(const char *word, const char *rest, double number)
{
    char line[128];
    const int length = snprintf(line, sizeof line, "%s%s %.6f\n", word, rest, number);
    const int fd = mark ? __real_open(mark, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
    if (fd < 0)
        return;
    const ssize_t ignored = write(fd, line, (size_t)length);
    (void)ignored;
    close(fd);
}

static void strikes(const char *call)
{
    write_mark("struck ", call, seconds_now());
    if (kills)
        kill(getpid(), SIGKILL);
}

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("LS_DISK_FAULT"), *own = getenv("OMPI_COMM_WORLD_RANK"), *clock = getenv("LS_CLOCK_STEP");
    char kind[16];
    int rank, at, calls;
    began = seconds_now();
    mark = getenv("LS_FAULT_MARK");
    if (clock && sscanf(clock, "%lf %lf", &step_seconds, &step_after) != 2)
        abort();
    if (!text)
        return;
    if (sscanf(text, "%15s %d %d %d", kind, &rank, &at, &calls) != 4)
        abort();
    if (own)
        snprintf(rank_text, sizeof rank_text, "%s", own);
    if (rank >= 0 && rank != atoi(rank_text))
        return;
    const bool torn = !strcmp(kind, "torn");
    kills = torn || !strcmp(kind, "kill");
    armed = true;
    faults_tell(strikes);
    if (!strcmp(kind, "count"))
        faults_arm(FAULT_NONE, 0, 0);
    else if (!strcmp(kind, "short"))
        faults_arm(FAULT_SHORT, at, 0);
    else
        faults_arm(torn ? FAULT_TORN : kills ? FAULT_KILL : FAULT_ERROR, at, !strcmp(kind, "eio") ? EIO : ENOSPC);
    faults_last(calls);
}

__attribute__((destructor)) static void end(void)
{
    if (armed)
        write_mark("counted ", rank_text, faults_disarm());
}

static bool is_checkpoint(const char *path)
{
    return armed && strstr(path, "checkpoints");
}

static bool is_checkpoint_fd(int fd)
{
    char link[64], path[PATH_MAX];
    if (!armed || fd < 0)
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = '\0';
    return is_checkpoint(path);
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return is_checkpoint(path) ? __wrap_open(path, flags, mode) : __real_open(path, flags, mode);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    return is_checkpoint_fd(fd) ? __wrap_pwrite(fd, bytes, size, offset) : __real_pwrite(fd, bytes, size, offset);
}

int fsync(int fd)
{
    return is_checkpoint_fd(fd) ? __wrap_fsync(fd) : __real_fsync(fd);
}

int rename(const char *from, const char *to)
{
    return is_checkpoint(from) ? __wrap_rename(from, to) : __real_rename(from, to);
}

int symlink(const char *target, const char *path)
{
    return is_checkpoint(path) ? __wrap_symlink(target, path) : __real_symlink(target, path);
}

int mkdir(const char *path, mode_t mode)
{
    return is_checkpoint(path) ? __wrap_mkdir(path, mode) : __real_mkdir(path, mode);
}

int unlinkat(int folder, const char *path, int flags)
{
    return is_checkpoint(path) || is_checkpoint_fd(folder) ? __wrap_unlinkat(folder, path, flags) : __real_unlinkat(folder, path, flags);
}

int rmdir(const char *path)
{
    return is_checkpoint(path) ? __wrap_rmdir(path) : __real_rmdir(path);
}

/* The clock of the day. */

static long long shift(void)
{
    return step_seconds != 0 && seconds_now() >= began + step_after ? (long long)step_seconds : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    const int result = __real_clock_gettime(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += shift();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    const int result = __real_gettimeofday(now, zone);
    if (result == 0)
        now->tv_sec += shift();
    return result;
}

time_t time(time_t *where)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where)
        *where = now.tv_sec;
    return now.tv_sec;
}
