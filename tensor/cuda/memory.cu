/* The device's memory: blocks that are given out, scratch that is kept, and copies of arrays that are the host's. */
#include "tensor/cuda/cuda.cuh"

#include <stdio.h>
#include <string.h>

enum { ALIGN = 256, SCRATCH_LEAST = 1 << 20 };

bool ls_cuda_owns(const ls_cuda *cuda, const void *array)
{
    const char *at = static_cast<const char *>(array);
    for (int i = 0; i < cuda->owned; i++)
        if (at >= cuda->own[i].begin && at < cuda->own[i].end)
            return true;
    for (int i = 0; i < cuda->scratch.blocks; i++)
        if (at >= cuda->scratch.block[i] && at < cuda->scratch.block[i] + cuda->scratch.size[i])
            return true;
    return ls_cuda_staging_owns(cuda, at) || (cuda->beside && ls_cuda_owns(cuda->beside, array));
}

/* ---- scratch ---- */

static bool scratch_grow(ls_cuda *cuda, size_t bytes)
{
    ls_cuda_scratch *scratch = &cuda->scratch;
    const size_t last = scratch->blocks ? scratch->size[scratch->blocks - 1] : SCRATCH_LEAST / 2, size = bytes > 2 * last ? bytes : 2 * last;
    void *block = NULL;
    if (scratch->blocks == LS_CUDA_RANGES) {
        ls_cuda_raise(cuda, LS_EMEM, "cuda: scratch memory is in too many pieces");
        return false;
    }
    ls_graph_submit(cuda);
    const cudaError_t error = cudaMalloc(&block, size);
    if (error != cudaSuccess) {
        size_t left = 0, all = 0;
        char text[256];
        cudaGetLastError(); /* forgets it: it has been seen */
        cudaMemGetInfo(&left, &all);
        snprintf(text, sizeof text, "cuda: %.2f GiB of scratch asked for, %.2f of %.2f GiB free (%s); lower batch.grain, batch.tokens or the model's size",
                 (double)size / 0x1p30, (double)left / 0x1p30, (double)all / 0x1p30, cudaGetErrorString(error));
        ls_cuda_raise(cuda, LS_EMEM, text);
        return false;
    }
    scratch->block[scratch->blocks] = static_cast<char *>(block);
    scratch->size[scratch->blocks++] = size;
    return true;
}

void *ls_cuda_scratch_take(ls_cuda *cuda, size_t bytes)
{
    ls_cuda_scratch *scratch = &cuda->scratch;
    const size_t size = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (cuda->status != LS_OK)
        return NULL;
    for (;; scratch->current++, scratch->used = 0) {
        if (scratch->current == scratch->blocks && !scratch_grow(cuda, size))
            return NULL;
        if (size <= scratch->size[scratch->current] - scratch->used)
            break;
    }
    char *taken = scratch->block[scratch->current] + scratch->used;
    scratch->used += size;
    return taken;
}

void ls_cuda_scratch_free(ls_cuda *cuda)
{
    for (int i = 0; i < cuda->scratch.blocks; i++)
        cudaFree(cuda->scratch.block[i]);
    cuda->scratch.blocks = 0;
}

/* ---- copies ---- */

/* Through pinned memory, piece by piece: the host may change its array as soon as this returns. */
void ls_cuda_copy_in(ls_cuda *cuda, void *to, const void *host, size_t bytes)
{
    for (size_t at = 0, n; at < bytes && cuda->status == LS_OK; at += n) {
        if (cuda->pinned_used == cuda->pinned_size) /* older pieces may not have been read yet */
            ls_cuda_wait(cuda);
        const size_t room = cuda->pinned_size - cuda->pinned_used;
        n = bytes - at < room ? bytes - at : room;
        char *piece = cuda->pinned + cuda->pinned_used;
        memcpy(piece, static_cast<const char *>(host) + at, n);
        ls_cuda_failed(cuda, cudaMemcpyAsync(static_cast<char *>(to) + at, piece, n, cudaMemcpyHostToDevice, cuda->stream), "copying to the device");
        cuda->pinned_used += (n + 63) / 64 * 64;
        if (cuda->pinned_used > cuda->pinned_size)
            cuda->pinned_used = cuda->pinned_size;
    }
}

/* Waits: the host's array is whole when this returns. Once, where it fits beside the pieces that may not have been read yet. */
void ls_cuda_copy_out(ls_cuda *cuda, void *host, const void *from, size_t bytes)
{
    for (size_t at = 0, n; at < bytes && cuda->status == LS_OK; at += n) {
        n = bytes - at < cuda->pinned_size ? bytes - at : cuda->pinned_size;
        if (n > cuda->pinned_size - cuda->pinned_used)
            ls_cuda_wait(cuda); /* pinned memory is free again */
        char *piece = cuda->pinned + cuda->pinned_used;
        ls_cuda_failed(cuda, cudaMemcpyAsync(piece, static_cast<const char *>(from) + at, n, cudaMemcpyDeviceToHost, cuda->stream), "copying from the device");
        ls_cuda_wait(cuda);
        if (cuda->status == LS_OK)
            memcpy(static_cast<char *>(host) + at, piece, n);
    }
}

/* ---- reading from another thread ---- */

enum { READING = 4 << 20 };

ls_status ls_cuda_begin_reading(ls_device *device)
{
    ls_cuda *cuda = static_cast<ls_cuda *>(device->self);
    cudaError_t error = cuda->readable ? cudaSuccess : cudaEventCreateWithFlags(&cuda->readable, cudaEventDisableTiming);
    ls_graph_submit(cuda);
    if (error == cudaSuccess)
        error = cudaEventRecord(cuda->readable, cuda->stream);
    ls_cuda_failed(cuda, error, "marking where reading begins");
    return ls_cuda_status(device);
}

/* A thread has a device of its own, 0 at first. */
static cudaError_t open_reading(ls_cuda *cuda)
{
    cudaError_t error = cudaSetDevice(cuda->number);
    if (error == cudaSuccess && !cuda->reading)
        error = cudaStreamCreateWithFlags(&cuda->reading, cudaStreamNonBlocking);
    if (error == cudaSuccess && !cuda->reading_pinned)
        error = cudaMallocHost((void **)&cuda->reading_pinned, READING);
    return error == cudaSuccess && cuda->readable ? cudaStreamWaitEvent(cuda->reading, cuda->readable, 0) : error;
}

/* Through pinned memory by a copy of the device's: read by the host where it is, managed memory would move there page by page, and
 * back when the next kernel wants it. Asks CUDA whose the memory is, for the lists of blocks are the other thread's. */
ls_status ls_cuda_read_beside(ls_device *device, size_t bytes, const void *x, void *y)
{
    ls_cuda *cuda = static_cast<ls_cuda *>(device->self);
    cudaPointerAttributes whose = cudaPointerAttributes();
    cudaError_t error = open_reading(cuda);
    if (error == cudaSuccess)
        error = cudaPointerGetAttributes(&whose, x);
    const bool own = whose.type == cudaMemoryTypeDevice || whose.type == cudaMemoryTypeManaged;
    if (error == cudaSuccess && !own)
        memcpy(y, x, bytes);
    for (size_t at = 0, n; own && at < bytes && error == cudaSuccess; at += n) {
        n = bytes - at < (size_t)READING ? bytes - at : (size_t)READING;
        error = cudaMemcpyAsync(cuda->reading_pinned, static_cast<const char *>(x) + at, n, cudaMemcpyDeviceToHost, cuda->reading);
        if (error == cudaSuccess)
            error = cudaStreamSynchronize(cuda->reading);
        if (error == cudaSuccess)
            memcpy(static_cast<char *>(y) + at, cuda->reading_pinned, n);
    }
    return error == cudaSuccess ? LS_OK : ls_fail(LS_EIO, "cuda: device %d: reading its memory beside its work: %s (%s)", cuda->number, cudaGetErrorString(error), cudaGetErrorName(error));
}

void ls_cuda_reading_free(ls_cuda *cuda)
{
    if (cuda->reading)
        cudaStreamDestroy(cuda->reading);
    if (cuda->readable)
        cudaEventDestroy(cuda->readable);
    if (cuda->reading_pinned)
        cudaFreeHost(cuda->reading_pinned);
}

/* ---- one call's arrays ---- */

ls_cuda_call::ls_cuda_call(ls_device *device, const char *caller)
    : cuda(static_cast<ls_cuda *>(device->self)), stream(cuda->stream), arrays(0), scratch_current(cuda->scratch.current),
      scratch_used(cuda->scratch.used)
{
    ls_graph_begin(cuda, caller);
}

void *ls_cuda_call::reach(void *host, size_t bytes, bool read, bool written)
{
    if (!host || ls_cuda_owns(cuda, host))
        return host;
    const char *staged = written ? NULL : ls_cuda_staged(cuda, host);
    if (staged)
        return const_cast<char *>(staged);
    for (int i = 0; i < arrays; i++) /* one array in two roles (y may be x) has one copy */
        if (reached[i].host == host && reached[i].bytes >= bytes) {
            reached[i].written |= written;
            return reached[i].copy;
        }
    if (arrays == LS_CUDA_ARRAYS) {
        ls_cuda_raise(cuda, LS_EARG, "cuda: one call with more host arrays than it has room for");
        return NULL;
    }
    void *copy = ls_cuda_scratch_take(cuda, bytes);
    if (!copy)
        return NULL;
    if (read)
        ls_cuda_copy_in(cuda, copy, host, bytes);
    reached[arrays].host = host;
    reached[arrays].copy = copy;
    reached[arrays].bytes = bytes;
    reached[arrays++].written = written;
    return copy;
}

ls_cuda_call::~ls_cuda_call()
{
    for (int i = 0; i < arrays; i++)
        if (reached[i].written)
            ls_cuda_copy_out(cuda, reached[i].host, reached[i].copy, reached[i].bytes);
    cuda->scratch.current = scratch_current;
    cuda->scratch.used = scratch_used;
}
