/* System calls with sentences. See disk.h. */
#include "checkpoint/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

ls_status ls_disk_fail(const char *path, const char *verb)
{
    int reason = errno;
    switch (reason) {
    case ENOSPC:
    case EDQUOT:
        return ls_fail(LS_ESPACE, "%s: cannot %s: %s; free space, or lower checkpoint.keep", path, verb,
                       strerror(reason));
    case EFBIG:
        return ls_fail(LS_ESPACE, "%s: cannot %s: %s; raise the file size limit (ulimit -f)", path, verb,
                       strerror(reason));
    case ENOENT: return ls_fail(LS_ENOTFOUND, "%s: cannot %s: %s", path, verb, strerror(reason));
    case EEXIST: return ls_fail(LS_EEXIST, "%s: cannot %s: %s", path, verb, strerror(reason));
    case EROFS:
    case EACCES:
    case EPERM:
        return ls_fail(LS_EIO, "%s: cannot %s: %s; choose a run folder you may write to", path, verb, strerror(reason));
    default: return ls_fail(LS_EIO, "%s: cannot %s: %s", path, verb, strerror(reason));
    }
}

static bool is_folder(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

ls_status ls_disk_make_folder(const char *path)
{
    char part[LS_PATH];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part)
        return ls_fail(LS_EARG, "a path of %zu bytes, the limit is %d", length, LS_PATH - 1);
    if (is_folder(path))
        return LS_OK;
    memcpy(part, path, length + 1);
    for (char *end = strchr(part + 1, '/');; end = strchr(end + 1, '/')) {
        if (end)
            *end = '\0';
        if (!is_folder(part) && mkdir(part, 0777) != 0 && errno != EEXIST)
            return ls_disk_fail(part, "make the folder");
        if (!end)
            break;
        *end = '/';
    }
    if (is_folder(path))
        return LS_OK;
    return ls_fail(LS_EIO, "%s: cannot make the folder: a file of that name is there", path);
}

ls_status ls_disk_create(const char *path, int *fd)
{
    *fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return *fd < 0 ? ls_disk_fail(path, "create") : LS_OK;
}

ls_status ls_disk_open(const char *path, int *fd, int64_t *bytes)
{
    struct stat about;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe of that name must not hang us */
    if (*fd < 0)
        return ls_disk_fail(path, "open");
    if (fstat(*fd, &about) == 0 && S_ISREG(about.st_mode)) {
        *bytes = about.st_size;
        return LS_OK;
    }
    close(*fd);
    *fd = -1;
    return ls_fail(LS_EFORMAT, "%s: not a regular file", path);
}

ls_status ls_disk_write(int fd, const char *path, const void *bytes, size_t size, int64_t offset)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t n = pwrite(fd, at, size, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            const int reason = errno;
            const ls_status status = ls_disk_fail(path, "write");
            errno = reason;
            return status;
        }
        at += n;
        offset += n;
        size -= (size_t)n;
    }
    return LS_OK;
}

ls_status ls_disk_read(int fd, const char *path, void *bytes, size_t size, int64_t offset)
{
    char *at = bytes;
    while (size > 0) {
        ssize_t n = pread(fd, at, size, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ls_disk_fail(path, "read");
        if (n == 0)
            return ls_fail(LS_ECORRUPT, "%s: ends at byte %lld, %zu bytes too early", path, (long long)offset, size);
        at += n;
        offset += n;
        size -= (size_t)n;
    }
    return LS_OK;
}

bool ls_disk_direct(int fd, bool on)
{
    const int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

ls_status ls_disk_sync(int fd, const char *path)
{
    return fsync(fd) != 0 ? ls_disk_fail(path, "sync") : LS_OK;
}

ls_status ls_disk_sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return ls_disk_fail(path, "open");
    ls_status status = ls_disk_sync(fd, path);
    close(fd);
    return status;
}

ls_status ls_disk_rename(const char *from, const char *to)
{
    return rename(from, to) != 0 ? ls_disk_fail(from, "rename") : LS_OK;
}

ls_status ls_disk_link(const char *target, const char *path)
{
    return symlink(target, path) != 0 ? ls_disk_fail(path, "make the link") : LS_OK;
}

ls_status ls_disk_remove(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0) != 0 ? ls_disk_fail(path, "remove") : LS_OK;
}

ls_status ls_disk_remove_folder(const char *path)
{
    DIR *folder = opendir(path);
    if (!folder)
        return ls_disk_fail(path, "open");
    ls_status status = LS_OK;
    for (struct dirent *row; status == LS_OK && (row = readdir(folder));) {
        if (strcmp(row->d_name, ".") == 0 || strcmp(row->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(folder), row->d_name, 0) != 0 && errno != ENOENT)
            status = ls_disk_fail(path, "empty");
    }
    closedir(folder);
    if (status == LS_OK && rmdir(path) != 0)
        status = ls_disk_fail(path, "remove");
    return status;
}

bool ls_disk_exists(const char *path)
{
    struct stat about;
    return lstat(path, &about) == 0;
}

static double gib(int64_t bytes)
{
    return (double)bytes / (1024.0 * 1024.0 * 1024.0);
}

ls_status ls_disk_room(const char *path, int64_t bytes, int64_t largest)
{
    struct statvfs about;
    if (statvfs(path, &about) != 0)
        return ls_disk_fail(path, "ask for the free space");
    int64_t free_bytes = (int64_t)about.f_bavail * (int64_t)about.f_frsize;
    if (bytes > free_bytes)
        return ls_fail(LS_ESPACE, "%s: no space left (needs %.3g GiB, has %.3g); free space, or lower checkpoint.keep",
                       path, gib(bytes), gib(free_bytes));
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && (rlim_t)largest > limit.rlim_cur)
        return ls_fail(LS_ESPACE, "%s: a file of %.3g GiB is over the file size limit of %.3g; raise it (ulimit -f)",
                       path, gib(largest), gib((int64_t)limit.rlim_cur));
    return LS_OK;
}
