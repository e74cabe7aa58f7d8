/* Whole files. See file.h. */
#include "datasets/file.h"
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static ls_status map_whole(const char *path, void **bytes, size_t *count)
{
    *bytes = NULL;
    *count = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat about;
    ls_status status = LS_OK;
    if (fd < 0 || fstat(fd, &about) != 0)
        status = ls_fail(errno == ENOENT ? LS_ENOTFOUND : LS_EIO, "%s: cannot open it (%s)", path, strerror(errno));
    else if (!S_ISREG(about.st_mode))
        status = ls_fail(LS_EFORMAT, "%s: not a regular file", path);
    else if (about.st_size > 0) {
        *bytes = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (*bytes == MAP_FAILED) {
            *bytes = NULL;
            status = ls_fail(LS_EIO, "%s: cannot map it (%s)", path, strerror(errno));
        } else {
            *count = (size_t)about.st_size;
        }
    }
    if (fd >= 0)
        close(fd);
    return status;
}

ls_status ls_data_file_write(const char *path, const void *bytes, size_t count)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool good = fd >= 0;
    for (size_t done = 0; good && done < count;) {
        ssize_t wrote = write(fd, (const char *)bytes + done, count - done);
        if (wrote < 0 && errno == EINTR)
            continue;
        good = wrote > 0;
        done += good ? (size_t)wrote : 0;
    }
    good = good && fsync(fd) == 0;
    ls_status status = LS_OK;
    if (!good)
        status = errno == ENOSPC ? ls_fail(LS_ESPACE, "%s: no space left for its %zu bytes; free some, or choose another disk", path, count)
                                 : ls_fail(LS_EIO, "%s: cannot write its %zu bytes (%s)", path, count, strerror(errno));
    if (fd >= 0)
        close(fd);
    return status;
}

ls_status ls_data_file_sum(const char *path, uint64_t *sum)
{
    void *bytes;
    size_t count;
    ls_status status = map_whole(path, &bytes, &count);
    if (status == LS_OK)
        *sum = ls_hash_bytes(bytes ? bytes : "", count, LS_HASH_SEED);
    if (bytes)
        munmap(bytes, count);
    return status;
}

ls_status ls_data_file_copy(const char *from, const char *to, uint64_t *sum)
{
    void *bytes;
    size_t count;
    ls_status status = map_whole(from, &bytes, &count);
    if (status == LS_OK && (status = ls_data_file_write(to, bytes, count)) == LS_OK)
        *sum = ls_hash_bytes(bytes ? bytes : "", count, LS_HASH_SEED);
    if (bytes)
        munmap(bytes, count);
    return status;
}
