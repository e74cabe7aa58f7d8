/* The CUDA device of a program that may run where there is no CUDA: a module beside it, which is loaded when a recipe asks for
 * the device. Linked into the program, NVIDIA's libraries would be loaded at each start (0.4 s and 200 MiB for cuBLASLt).
 * Tests that link the device itself link it whole (cmake/lockstep.cmake), so that this file is not asked for. */
#include "tensor/device.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MODULE "lockstep-cuda.so"

typedef ls_status (*creator)(ls_device **device, ls_team *team, int number);

/* The module beside the program, or in the build's folder of tensor/cuda. LS_ENOTFOUND. */
static ls_status find(char path[4352])
{
    static const char *const folders[] = {"", "../tensor/cuda/"};
    char program[4096];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash)
        slash[1] = '\0';
    for (int i = 0; i < 2; i++) {
        snprintf(path, 4352, "%s%s" MODULE, program, folders[i]);
        if (access(path, F_OK) == 0)
            return LS_OK;
    }
    return ls_fail(LS_ENOTFOUND, "cuda: this lockstep was built without CUDA (no " MODULE " beside it); build it where cmake finds nvcc (on PATH, in CUDA_HOME or /usr/local/cuda; docs/gpu.md), or say device: cpu");
}

static ls_status load(creator *create)
{
    char path[4352];
    const ls_status status = find(path);
    if (status != LS_OK)
        return status;
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module)
        return ls_fail(LS_EIO, "cuda: cannot load %s (%s); do LD_LIBRARY_PATH or `module load cuda` lead to CUDA's libraries?", path, dlerror());
    void *address = dlsym(module, "ls_device_create_cuda");
    memcpy(create, &address, sizeof address);
    return address ? LS_OK : ls_fail(LS_EIO, "cuda: %s is of another lockstep", path);
}

ls_status ls_device_create_cuda(ls_device **device, ls_team *team, int number)
{
    static creator create; /* one thread makes devices */
    *device = NULL;
    const ls_status status = create ? LS_OK : load(&create);
    return status == LS_OK ? create(device, team, number) : status;
}
