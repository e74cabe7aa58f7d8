/* NCCL of a program that may run where there is none: a module beside it, as the CUDA device's (tensor/cuda/load.c). Apart from
 * that one, so that one device needs no NCCL. */
#include "dist/nccl/nccl.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MODULE "lockstep-nccl.so"

typedef ls_status (*opener)(ls_exchange **exchange, ls_world *world, ls_device *device, ls_nccl_mode mode);

/* The module beside the program, or in the build's folder of dist. */
static ls_status find(char path[4352])
{
    static const char *const folders[] = {"", "../dist/"};
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
    return ls_fail(LS_ENOTFOUND, "this lockstep was built without NCCL (no " MODULE " beside it); build it where cmake finds nccl.h and libnccl (NCCL_HOME; docs/gpu.md), or say batch.reduce: host");
}

static ls_status load(opener *open)
{
    char path[4352];
    const ls_status status = find(path);
    if (status != LS_OK)
        return status;
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module)
        return ls_fail(LS_EIO, "NCCL: cannot load %s (%s); does LD_LIBRARY_PATH lead to libnccl?", path, dlerror());
    void *address = dlsym(module, "ls_nccl_open");
    memcpy(open, &address, sizeof address);
    return address ? LS_OK : ls_fail(LS_EIO, "NCCL: %s is of another lockstep", path);
}

ls_status ls_nccl_open(ls_exchange **exchange, ls_world *world, ls_device *device, ls_nccl_mode mode)
{
    opener open = NULL;
    *exchange = NULL;
    const ls_status status = ls_agree(world, load(&open), "loading NCCL");
    return status == LS_OK ? open(exchange, world, device, mode) : status;
}
