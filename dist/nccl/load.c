/* NCCL of a program that may run where there is none: a module beside it, as the CUDA device's (tensor/cuda/load.c). Apart from
 * that one, so that one device needs no NCCL. */
#include "base/module.h"
#include "dist/nccl/nccl.h"

typedef ls_status (*asker)(int *version);
typedef ls_status (*opener)(ls_exchange **exchange, ls_world *world, ls_device *device, ls_nccl_mode mode);

static const ls_module nccl = {
    .what = "NCCL",
    .name = "lockstep-nccl.so",
    .folder = "../dist/",
    .absent = "this lockstep was built without NCCL (no lockstep-nccl.so beside it); build it where cmake finds nccl.h and libnccl (NCCL_HOME; docs/gpu.md), or say batch.reduce: host",
    .libraries = "does LD_LIBRARY_PATH lead to libnccl?",
};

ls_status ls_nccl_open(ls_exchange **exchange, ls_world *world, ls_device *device, ls_nccl_mode mode)
{
    opener open = NULL;
    *exchange = NULL;
    const ls_status status = ls_agree(world, ls_module_load(&nccl, "ls_nccl_open", &open), "loading NCCL");
    return status == LS_OK ? open(exchange, world, device, mode) : status;
}

ls_status ls_nccl_version(int *version)
{
    asker ask = NULL;
    *version = 0;
    const ls_status status = ls_module_load(&nccl, "ls_nccl_version", &ask);
    return status == LS_OK ? ask(version) : status;
}
