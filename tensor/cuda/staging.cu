/* Staging memory: what the host makes ahead of the calls that read it (the loader's grains) travels beside them.
 *
 *     host          page-locked block k --.                         .-- block k+1 ...
 *     fetch stream                        `-> copy k, event k       `-> copy k+1, event k+1
 *     compute       ... grain k-1 ...   wait for event k, grain k reads copy k      wait for event k+1, ...
 *
 * A block is filled and sent by one thread and read by the calls of another; who hands it over (the loader's lock) orders
 * the two. Arrays keep the host's addresses, so that shape rules may read them: a call that is given one finds its copy. */
#include "tensor/cuda/cuda.cuh"

#include <stdlib.h>
#include <string.h>

struct ls_cuda_staging {
    ls_cuda_staging *next;
    char *host, *copy;
    size_t bytes;
    cudaEvent_t there; /* the copy is whole */
    bool readable;     /* by the calls: ls_device.use_prefetched was called */
};

static ls_cuda_staging *find(const ls_cuda *cuda, const void *array)
{
    const char *at = static_cast<const char *>(array);
    ls_cuda_staging *block = cuda->staging;
    while (block && !(at >= block->host && at < block->host + block->bytes))
        block = block->next;
    return block;
}

static ls_status told(const ls_cuda *cuda, cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return LS_OK;
    cudaGetLastError(); /* forgets it: it is told here */
    return ls_fail(error == cudaErrorMemoryAllocation ? LS_EMEM : LS_EIO, "cuda: device %d: %s: %s (%s)", cuda->number, what, cudaGetErrorString(error),
                   cudaGetErrorName(error));
}

const char *ls_cuda_staged(const ls_cuda *cuda, const void *array)
{
    const ls_cuda_staging *block = find(cuda, array);
    return block && block->readable ? block->copy + (static_cast<const char *>(array) - block->host) : NULL;
}

bool ls_cuda_staging_owns(const ls_cuda *cuda, const char *array)
{
    const ls_cuda_staging *block = cuda->staging;
    while (block && !(array >= block->copy && array < block->copy + block->bytes))
        block = block->next;
    return block != NULL;
}

/* ---- memory ---- */

static void give_back(ls_cuda_staging *block)
{
    if (block->there)
        cudaEventDestroy(block->there);
    if (block->copy)
        cudaFree(block->copy);
    if (block->host)
        cudaFreeHost(block->host);
    free(block);
}

/* Zeros in both, so that a block which was not fetched yet reads as the host has it. */
static cudaError_t fill_block(ls_cuda *cuda, ls_cuda_staging *block)
{
    cudaError_t error = cuda->fetching ? cudaSuccess : cudaStreamCreateWithFlags(&cuda->fetching, cudaStreamNonBlocking);
    if (error == cudaSuccess)
        error = cudaMallocHost((void **)&block->host, block->bytes);
    if (error == cudaSuccess)
        error = cudaMalloc((void **)&block->copy, block->bytes);
    if (error == cudaSuccess)
        error = cudaEventCreateWithFlags(&block->there, cudaEventDisableTiming);
    if (error == cudaSuccess)
        error = cudaMemsetAsync(block->copy, 0, block->bytes, cuda->fetching);
    if (error == cudaSuccess)
        memset(block->host, 0, block->bytes);
    return error;
}

ls_status ls_cuda_allocate_staging(ls_device *device, size_t bytes, void **host)
{
    ls_cuda *cuda = static_cast<ls_cuda *>(device->self);
    *host = NULL;
    ls_cuda_staging *block = static_cast<ls_cuda_staging *>(calloc(1, sizeof *block));
    if (!block)
        return ls_fail(LS_EMEM, "cuda: no memory for a block's header");
    block->bytes = bytes ? bytes : 1;
    const cudaError_t error = fill_block(cuda, block);
    if (error != cudaSuccess) {
        give_back(block);
        return told(cuda, error, "staging memory, page-locked and on the device");
    }
    block->next = cuda->staging;
    cuda->staging = block;
    *host = block->host;
    return LS_OK;
}

bool ls_cuda_staging_release(ls_cuda *cuda, const void *host)
{
    ls_cuda_staging **link = &cuda->staging;
    while (*link && (*link)->host != host)
        link = &(*link)->next;
    ls_cuda_staging *block = *link;
    if (!block)
        return false;
    *link = block->next;
    ls_graph_submit(cuda);
    cudaStreamSynchronize(cuda->fetching); /* it may be on its way */
    cudaStreamSynchronize(cuda->stream);   /* or be read */
    give_back(block);
    return true;
}

void ls_cuda_staging_free(ls_cuda *cuda)
{
    while (cuda->staging)
        ls_cuda_staging_release(cuda, cuda->staging->host);
    if (cuda->fetching)
        cudaStreamDestroy(cuda->fetching);
}

/* ---- the copies ---- */

ls_status ls_cuda_prefetch(ls_device *device, const void *host)
{
    const ls_cuda *cuda = static_cast<const ls_cuda *>(device->self);
    const ls_cuda_staging *block = find(cuda, host);
    if (!block)
        return ls_fail(LS_EARG, "cuda: a block to fetch that is no staging memory");
    cudaError_t error = cudaSetDevice(cuda->number); /* a thread has a device of its own, 0 at first */
    if (error == cudaSuccess)
        error = cudaMemcpyAsync(block->copy, block->host, block->bytes, cudaMemcpyHostToDevice, cuda->fetching);
    if (error == cudaSuccess)
        error = cudaEventRecord(block->there, cuda->fetching);
    return told(cuda, error, "fetching a grain");
}

ls_status ls_cuda_use_prefetched(ls_device *device, const void *host)
{
    ls_cuda *cuda = static_cast<ls_cuda *>(device->self);
    ls_cuda_staging *block = find(cuda, host);
    if (!block)
        return ls_fail(LS_EARG, "cuda: a block to read that is no staging memory");
    block->readable = true;
    ls_graph_submit(cuda);
    return told(cuda, cudaStreamWaitEvent(cuda->stream, block->there, 0), "waiting for a grain");
}

bool ls_cuda_is_prefetched(const ls_device *device, const void *array)
{
    return ls_cuda_staged(static_cast<const ls_cuda *>(device->self), array) != NULL;
}
