/* What the emulated device says about itself: an sm_90 with few multiprocessors. */
#include "runtime.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static thread_local int device_now;

/* CUDA_VISIBLE_DEVICES, a list of numbers, chooses among the machine's devices as it does for CUDA. Returns how many
 * are visible, and the machine's number of one of them. */
static int visible(int device, int *number)
{
    int all = (int)order_environment("CUDAHOST_DEVICES", 8), n = 0;
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    if (list == nullptr) {
        *number = device;
        return all;
    }
    for (char *end; *list != 0; list = *end == ',' ? end + 1 : end) {
        long which = strtol(list, &end, 10);
        if (end == list || which < 0 || which >= all)
            break; /* CUDA sees the devices before the first wrong one */
        if (n++ == device)
            *number = (int)which;
    }
    return n;
}

static int device_count()
{
    int number;
    return visible(0, &number);
}

static int machine_number(int device)
{
    int number = device;
    visible(device, &number);
    return number;
}

extern "C" {
cudaError_t cudaDriverGetVersion(int *version)
{
    *version = (int)order_environment("CUDAHOST_DRIVER", CUDART_VERSION);
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    if (count == nullptr)
        return report_error(cudaErrorInvalidValue);
    *count = device_count();
    return *count > 0 ? cudaSuccess : report_error(cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device)
{
    if (device < 0 || device >= device_count())
        return report_error(cudaErrorInvalidDevice);
    device_now = device;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    if (device == nullptr)
        return report_error(cudaErrorInvalidValue);
    *device = device_now;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    size_t available;
    if (properties == nullptr || device < 0 || device >= device_count())
        return report_error(cudaErrorInvalidDevice);
    struct cudaDeviceProp *p = properties;
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "emulated sm_90");
    memory_info(&available, &p->totalGlobalMem);
    p->sharedMemPerBlock = 48 << 10;
    p->sharedMemPerBlockOptin = 227 << 10;
    p->sharedMemPerMultiprocessor = 228 << 10;
    p->regsPerBlock = 65536;
    p->warpSize = 32;
    p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 0x7fffffff;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->totalConstMem = 64 << 10;
    p->major = 9;
    p->multiProcessorCount = 4;
    p->maxThreadsPerMultiProcessor = 2048;
    p->l2CacheSize = 50 << 20;
    p->memoryBusWidth = 5120;
    p->ECCEnabled = 1;
    p->pciBusID = machine_number(device) + 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    struct cudaDeviceProp p;
    cudaError_t error = value == nullptr ? report_error(cudaErrorInvalidValue) : cudaGetDeviceProperties(&p, device);
    if (error != cudaSuccess)
        return error;
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = (int)p.sharedMemPerBlock; break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrClockRate: *value = 1980000; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrComputeMode: *value = (int)order_environment("CUDAHOST_COMPUTE_MODE", cudaComputeModeDefault); break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = (int)p.sharedMemPerMultiprocessor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)p.sharedMemPerBlockOptin; break;
    default: return report_error(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int length, int device)
{
    if (text == nullptr || length < 13 || device < 0 || device >= device_count())
        return report_error(cudaErrorInvalidValue);
    snprintf(text, (size_t)length, "0000:%02x:00.0", machine_number(device) + 1);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

/* A new process could do no more: queued work is dropped, errors are forgotten. */
cudaError_t cudaDeviceReset(void)
{
    stream_call call;
    stream_forget();
    report_forget();
    return cudaSuccess;
}
}
