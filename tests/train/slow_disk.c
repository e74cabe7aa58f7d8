/* A disk that takes 10 ms for each write of a checkpoint's piece: preloaded into a training, so that its state would change
 * under a save that did not hold it back. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/types.h>
#include <unistd.h>

typedef ssize_t (*writer)(int fd, const void *bytes, size_t size, off_t offset);

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    static writer real;
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "pwrite");
    if (size >= 4096)
        usleep(10000);
    return real(fd, bytes, size, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
    return pwrite(fd, bytes, size, offset);
}
