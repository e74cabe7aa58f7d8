/* What stands in for NCCL where the build has none; as tensor/cuda/absent.c. */
#include "dist/nccl/nccl.h"

bool ls_nccl_present(void)
{
    return false;
}

ls_status ls_nccl_open(ls_nccl **nccl, ls_world *world, ls_device *device, ls_nccl_mode mode)
{
    (void)world, (void)device, (void)mode;
    *nccl = NULL;
    return ls_fail(LS_ENOTFOUND, "this lockstep was built without NCCL; build it where cmake finds nccl.h and libnccl (NCCL_HOME; docs/gpu.md), or say batch.reduce: host");
}

void ls_nccl_close(ls_nccl *nccl)
{
    (void)nccl;
}

const ls_exchange *ls_nccl_exchange(const ls_nccl *nccl)
{
    (void)nccl;
    return NULL;
}

const char *ls_nccl_version(const ls_nccl *nccl)
{
    (void)nccl;
    return "none";
}
