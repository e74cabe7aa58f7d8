#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The linker's names: __real_ is the C library's, __wrap_ is called in its place. */
int __real_open(const char *path, int flags, ...);
ssize_t __real_pwrite(int fd, const void *bytes, size_t size, off_t offset);
int __real_fsync(int fd);
int __real_rename(const char *from, const char *to);
int __real_symlink(const char *target, const char *path);
int __real_mkdir(const char *path, mode_t mode);
int __real_unlinkat(int folder, const char *path, int flags);
int __real_rmdir(const char *path);
int __real_statvfs(const char *path, struct statvfs *about);
int __wrap_open(const char *path, int flags, ...);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t size, off_t offset);
int __wrap_fsync(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_symlink(const char *target, const char *path);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_unlinkat(int folder, const char *path, int flags);
int __wrap_rmdir(const char *path);
int __wrap_statvfs(const char *path, struct statvfs *about);

/* A disk that lies in wait: what was changed and not yet synced. */
enum { MOST = 256 };
typedef struct {
    char path[512], from[512]; /* from: of a rename */
    char over[64];             /* target of the link that a rename replaced */
} change;
static change dirty[MOST], made[MOST], renamed[MOST];
static int dirties, mades, renames;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;
static fault kind;
static bool armed;
static int at, lasts, count, error;
static const char *struck = "nothing";
static void (*told)(const char *call);
static long long free_space = -1;

void faults_arm(fault new_kind, int new_at, int new_error)
{
    kind = new_kind;
    at = new_at;
    error = new_error;
    lasts = new_kind == FAULT_ERROR_ALL || new_kind == FAULT_HANG || new_kind == FAULT_SHORT ? INT_MAX : 1;
    count = dirties = mades = renames = 0;
    struck = "nothing";
    armed = true;
}

void faults_last(int calls)
{
    lasts = calls;
}

void faults_tell(void (*tell)(const char *call))
{
    told = tell;
}

int faults_disarm(void)
{
    pthread_mutex_lock(&lock);
    armed = false;
    pthread_cond_broadcast(&released);
    pthread_mutex_unlock(&lock);
    return count;
}

const char *faults_struck(void)
{
    return struck;
}

void faults_free_space(long long bytes)
{
    free_space = bytes;
}

static void add(change *list, int *length, const char *path, const char *from, const char *over)
{
    for (int i = 0; i < *length; i++)
        if (strcmp(list[i].path, path) == 0)
            return;
    if (kind != FAULT_POWER_OLD && kind != FAULT_POWER_NEW)
        return;
    if (*length == MOST)
        abort(); /* the test must grow its table */
    snprintf(list[*length].path, sizeof list->path, "%s", path);
    snprintf(list[*length].over, sizeof list->over, "%s", over);
    snprintf(list[(*length)++].from, sizeof list->from, "%s", from);
}

static bool lies_in(const char *path, const char *folder)
{
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && path[length] == '/' && !strchr(path + length + 1, '/');
}

static void forget(change *list, int *length, const char *path, bool in_folder)
{
    for (int i = 0; i < *length;) {
        if (in_folder ? lies_in(list[i].path, path) : strcmp(list[i].path, path) == 0)
            list[i] = list[--*length];
        else
            i++;
    }
}

/* What lies in a renamed folder goes with it. */
static void follow(change *list, int length, const char *from, const char *to)
{
    size_t prefix = strlen(from);
    for (int i = 0; i < length; i++) {
        char rest[sizeof list->path];
        if (strncmp(list[i].path, from, prefix) != 0 || list[i].path[prefix] != '/')
            continue;
        snprintf(rest, sizeof rest, "%s", list[i].path + prefix);
        snprintf(list[i].path, sizeof list->path, "%.200s%.200s", to, rest);
    }
}

/* Files keep their size and lose their bytes: zeros from a write that never happened are what a checksum must not take
 * for data (sqlite's crash9). Names that their folder was not synced for go. */
static void lose_what_was_not_synced(void)
{
    for (int i = 0; i < dirties; i++) {
        struct stat about;
        if (stat(dirty[i].path, &about) != 0)
            continue;
        int ignored = truncate(dirty[i].path, 0) + truncate(dirty[i].path, about.st_size);
        (void)ignored;
    }
    for (int i = 0; i < mades; i++)
        unlink(made[i].path);
    for (int i = renames - 1; kind == FAULT_POWER_OLD && i >= 0; i--) {
        __real_rename(renamed[i].path, renamed[i].from);
        if (renamed[i].over[0])
            __real_symlink(renamed[i].over, renamed[i].path);
    }
}

/* Counts a call; true: it is to fail with errno set. Does not return where the process ends here. */
static bool strike(const char *name)
{
    if (!armed)
        return false;
    int now = count++;
    if (now < at || kind == FAULT_NONE || now - at >= lasts)
        return false;
    if (now == at)
        struck = name;
    if (now == at && told)
        told(name);
    if (kind == FAULT_FLIP || kind == FAULT_SHORT)
        return false;
    while (kind == FAULT_HANG && armed)
        pthread_cond_wait(&released, &lock);
    if (kind == FAULT_HANG)
        return false;
    if (kind == FAULT_ERROR || kind == FAULT_ERROR_ALL) {
        errno = error;
        return true;
    }
    if (kind == FAULT_POWER_OLD || kind == FAULT_POWER_NEW)
        lose_what_was_not_synced();
    _exit(FAULT_EXIT);
}

static void path_of(int fd, char path[512])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, 511);
    path[length < 0 ? 0 : length] = '\0';
}

int __wrap_open(const char *path, int flags, ...)
{
    if (!(flags & O_CREAT))
        return __real_open(path, flags);
    va_list args;
    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    pthread_mutex_lock(&lock);
    int fd = strike("open") ? -1 : __real_open(path, flags, mode);
    if (fd >= 0 && armed)
        add(made, &mades, path, "", "");
    pthread_mutex_unlock(&lock);
    return fd;
}

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    char path[512];
    path_of(fd, path);
    pthread_mutex_lock(&lock);
    if (armed && kind == FAULT_TORN && count == at) {
        ssize_t ignored = __real_pwrite(fd, bytes, size / 2, offset);
        (void)ignored;
    }
    if (armed && kind == FAULT_SHORT && count >= at && count - at < lasts && size > 1)
        size /= 2;
    char *wrong = armed && kind == FAULT_FLIP && count == at && size ? aligned_alloc(4096, (size + 4095) / 4096 * 4096) : NULL;
    if (wrong) {
        memcpy(wrong, bytes, size);
        wrong[size / 2] ^= 4;
    }
    ssize_t n = strike("pwrite") ? -1 : __real_pwrite(fd, wrong ? wrong : bytes, size, offset);
    free(wrong);
    if (n >= 0 && armed)
        add(dirty, &dirties, path, "", "");
    pthread_mutex_unlock(&lock);
    return n;
}

int __wrap_fsync(int fd)
{
    char path[512];
    path_of(fd, path);
    pthread_mutex_lock(&lock);
    int result = strike("fsync") ? -1 : __real_fsync(fd);
    if (result == 0) {
        forget(dirty, &dirties, path, false);
        forget(made, &mades, path, true);
        forget(renamed, &renames, path, true);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int __wrap_rename(const char *from, const char *to)
{
    char over[64];
    ssize_t length = readlink(to, over, sizeof over - 1);
    over[length < 0 ? 0 : length] = '\0';
    pthread_mutex_lock(&lock);
    int result = strike("rename") ? -1 : __real_rename(from, to);
    if (result == 0 && armed) {
        follow(dirty, dirties, from, to);
        follow(made, mades, from, to);
        add(renamed, &renames, to, from, over);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int __wrap_symlink(const char *target, const char *path)
{
    pthread_mutex_lock(&lock);
    int result = strike("symlink") ? -1 : __real_symlink(target, path);
    if (result == 0 && armed)
        add(made, &mades, path, "", "");
    pthread_mutex_unlock(&lock);
    return result;
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    pthread_mutex_lock(&lock);
    int result = strike("mkdir") ? -1 : __real_mkdir(path, mode);
    pthread_mutex_unlock(&lock);
    return result;
}

int __wrap_unlinkat(int folder, const char *path, int flags)
{
    pthread_mutex_lock(&lock);
    int result = strike("unlinkat") ? -1 : __real_unlinkat(folder, path, flags);
    pthread_mutex_unlock(&lock);
    return result;
}

int __wrap_rmdir(const char *path)
{
    pthread_mutex_lock(&lock);
    int result = strike("rmdir") ? -1 : __real_rmdir(path);
    pthread_mutex_unlock(&lock);
    return result;
}

int __wrap_statvfs(const char *path, struct statvfs *about)
{
    int result = __real_statvfs(path, about);
    if (result == 0 && free_space >= 0) {
        about->f_frsize = 1;
        about->f_bavail = (fsblkcnt_t)free_space;
    }
    return result;
}
