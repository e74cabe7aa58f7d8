/* See tensor/cuda_probe.h. */
#include "tensor/cuda/cuda.cuh"

#include <stdio.h>
#include <string.h>

extern "C" {
#include "tensor/cuda_probe.h"
}

extern "C" ls_status ls_device_probe_cuda(ls_cuda_probe *probe, int number)
{
    int mode = cudaComputeModeDefault;
    cudaDeviceProp properties;
    memset(probe, 0, sizeof *probe);
    cudaDriverGetVersion(&probe->driver); /* 0: no driver */
    cudaRuntimeGetVersion(&probe->runtime);
    cudaError_t error = cudaGetDeviceCount(&probe->devices);
    cudaGetLastError(); /* forgets it: it is told here */
    if (error != cudaSuccess || probe->devices == 0 || number < 0)
        return ls_fail(LS_ENOTFOUND, "cuda: no device here (%s); `nvidia-smi` shows what the driver sees", cudaGetErrorString(error));
    probe->number = number % probe->devices;
    error = cudaGetDeviceProperties(&properties, probe->number);
    if (error == cudaSuccess)
        error = cudaDeviceGetPCIBusId(probe->place, sizeof probe->place, probe->number);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, probe->number);
    if (error != cudaSuccess)
        return ls_fail(LS_EIO, "cuda: device %d: asking what it is: %s", probe->number, cudaGetErrorString(error));
    snprintf(probe->name, sizeof probe->name, "%.63s", properties.name);
    probe->prohibited = mode == cudaComputeModeProhibited;
    probe->exclusive = mode == cudaComputeModeExclusiveProcess;
    return LS_OK;
}
