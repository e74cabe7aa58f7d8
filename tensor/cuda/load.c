/* The CUDA device of a program that may run where there is no CUDA: a module beside it, which is loaded when a recipe asks for
 * the device. Linked into the program, NVIDIA's libraries would be loaded at each start (0.4 s and 200 MiB for cuBLASLt).
 * Tests that link the device itself link it whole (cmake/lockstep.cmake), so that this file is not asked for. */
#include "base/module.h"
#include "tensor/cuda_probe.h"
#include "tensor/device.h"

typedef ls_status (*creator)(ls_device **device, ls_team *team, int number);
typedef ls_status (*prober)(ls_cuda_probe *probe, int number);

static const ls_module cuda = {
    .what = "cuda",
    .name = "lockstep-cuda.so",
    .folder = "../tensor/cuda/",
    .absent = "cuda: this lockstep was built without CUDA (no lockstep-cuda.so beside it); build it where cmake finds nvcc (on PATH, in CUDA_HOME or /usr/local/cuda; docs/gpu.md), or say device: cpu",
    .libraries = "do LD_LIBRARY_PATH or `module load cuda` lead to CUDA's libraries, and to cuDNN's (a build with -DLS_CUDNN=OFF does without)?",
};

ls_status ls_device_create_cuda(ls_device **device, ls_team *team, int number)
{
    static creator create; /* one thread makes devices */
    *device = NULL;
    const ls_status status = create ? LS_OK : ls_module_load(&cuda, "ls_device_create_cuda", &create);
    return status == LS_OK ? create(device, team, number) : status;
}

ls_status ls_device_probe_cuda(ls_cuda_probe *probe, int number)
{
    prober ask = NULL;
    *probe = (ls_cuda_probe){0};
    const ls_status status = ls_module_load(&cuda, "ls_device_probe_cuda", &ask);
    return status == LS_OK ? ask(probe, number) : status;
}
