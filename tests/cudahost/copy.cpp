/* cudaMalloc and its kin, copies and fills: checks of the arguments, and the queueing that CUDA documents ("API
 * synchronization behavior"). From pageable memory a copy reads its source before the call returns; to pageable memory
 * it is done when the call returns; between device and pinned memory it runs when the stream comes to it, and a host
 * that reads or writes the buffer before that gets, or leaves, the wrong bytes. */
#include "graph.h"
#include <string.h>
#include <cudahost.h>

struct rectangle {
    char *to;
    const char *from;
    size_t to_pitch, from_pitch, width, height;
};

static size_t extent(size_t pitch, const rectangle &r)
{
    return r.height == 0 || r.width == 0 ? 0 : pitch * (r.height - 1) + r.width;
}

static const char *const kind_names[] = {"host to host", "host to device", "device to host", "device to device",
                                         "default"};

/* The direction must be that of the pointers, and both ranges must lie in one allocation. */
static cudaError_t check_copy(const char *function, const rectangle &r, enum cudaMemcpyKind kind)
{
    size_t to_bytes = extent(r.to_pitch, r), from_bytes = extent(r.from_pitch, r);
    bool to_device = memory_in_heap(r.to), from_device = memory_in_heap(r.from);
    if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault)
        return report_refusal(cudaErrorInvalidMemcpyDirection, "%s: kind %d", function, (int)kind);
    if (r.to_pitch < r.width || r.from_pitch < r.width)
        return report_refusal(cudaErrorInvalidValue, "%s: width %zu is more than a pitch (%zu, %zu)", function, r.width,
                              r.to_pitch, r.from_pitch);
    if (to_bytes == 0)
        return cudaSuccess;
    if (r.to == nullptr || r.from == nullptr)
        return report_refusal(cudaErrorInvalidValue, "%s: a null pointer", function);
    bool says_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool says_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind != cudaMemcpyDefault && ((to_device != says_to && !memory_is_managed(r.to)) ||
                                      (from_device != says_from && !memory_is_managed(r.from))))
        return report_refusal(cudaErrorInvalidValue, "%s: the copy is called %s, but goes from %s to %s", function,
                              kind_names[kind], from_device ? "device" : "host", to_device ? "device" : "host");
    if (to_device && !memory_is_device(r.to, to_bytes))
        return report_refusal(cudaErrorInvalidValue, "%s: writes %zu bytes: %s", function, to_bytes,
                              memory_describe(r.to).c_str());
    if (from_device && !memory_is_device(r.from, from_bytes))
        return report_refusal(cudaErrorInvalidValue, "%s: reads %zu bytes: %s", function, from_bytes,
                              memory_describe(r.from).c_str());
    return cudaSuccess;
}

/* When the stream comes to it, what was queued must still be there. */
static void run_copy(const char *function, const rectangle &r, bool to_pinned, bool from_pinned)
{
    size_t to_bytes = extent(r.to_pitch, r), from_bytes = extent(r.from_pitch, r);
    bool to_live =
        memory_in_heap(r.to) ? memory_is_device(r.to, to_bytes) : !to_pinned || memory_is_pinned(r.to, to_bytes);
    bool from_live = memory_in_heap(r.from) ? memory_is_device(r.from, from_bytes)
                                            : !from_pinned || memory_is_pinned(r.from, from_bytes);
    if (!to_live || !from_live)
        return report_fault(cudaErrorIllegalAddress,
                            "%s of %zu bytes: the memory it %s was freed before the stream came to it: %s", function,
                            to_bytes, to_live ? "reads" : "writes", memory_describe(to_live ? r.from : r.to).c_str());
    memory_settle();
    for (size_t row = 0; row < r.height; row++)
        memmove(r.to + row * r.to_pitch, r.from + row * r.from_pitch, r.width);
}

static int whose(const void *address)
{
    return !memory_in_heap(address) ? 0 : memory_is_managed(address) ? 1 : 2;
}

static cudaError_t copy(const char *function, rectangle r, enum cudaMemcpyKind kind, cudaStream_t stream, bool wait)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return call.refused;
    std::shared_ptr<queue> q = stream_queue(stream, function);
    if (q == nullptr)
        return cudaErrorInvalidResourceHandle;
    cudaError_t error = check_copy(function, r, kind);
    size_t to_bytes = extent(r.to_pitch, r), from_bytes = extent(r.from_pitch, r);
    if (error != cudaSuccess || to_bytes == 0)
        return error;
    bool to_pinned = memory_is_pinned(r.to, to_bytes), from_pinned = memory_is_pinned(r.from, from_bytes);
    bool from_pageable = !from_pinned && !memory_in_heap(r.from), to_pageable = !to_pinned && !memory_in_heap(r.to);
    error = capture_check(q, function, !wait && !from_pageable && !to_pageable); /* the others wait, or read at once */
    if (error == cudaSuccess && wait)
        error = capture_check_unsafe(function);
    if (error != cudaSuccess)
        return error;
    if (q->captured != nullptr)
        return capture_or_push(q, function, {graph_node::copy, nullptr, whose(r.to) * 16 + whose(r.from) * 2 + (r.height > 1),
                                             [=] { run_copy(function, r, to_pinned, from_pinned); }});
    std::shared_ptr<std::string> staged;
    if (from_pageable && !to_pageable) {
        staged = std::make_shared<std::string>(r.from, from_bytes);
        r.from = staged->data();
    }
    ticket place = stream_push(q, [=] {
        (void)staged;
        run_copy(function, r, to_pinned, from_pinned);
    });
    if (wait || to_pageable)
        stream_run_until(place);
    return report_error(cudaSuccess);
}

static cudaError_t fill(const char *function, void *pointer, int value, size_t bytes, cudaStream_t stream)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return call.refused;
    std::shared_ptr<queue> q = stream_queue(stream, function);
    if (q == nullptr)
        return cudaErrorInvalidResourceHandle;
    if (bytes == 0)
        return cudaSuccess;
    if (!memory_is_device(pointer, bytes) && !memory_is_pinned(pointer, bytes))
        return report_refusal(cudaErrorInvalidValue, "%s: fills %zu bytes: %s", function, bytes,
                              memory_describe(pointer).c_str());
    return capture_or_push(q, function, {graph_node::fill, nullptr, whose(pointer), [=] {
        if (memory_is_device(pointer, bytes) || memory_is_pinned(pointer, bytes))
            memory_fill(pointer, value, bytes);
        else
            report_fault(cudaErrorIllegalAddress,
                         "%s of %zu bytes: its memory was freed before the stream came to it: %s", function, bytes,
                         memory_describe(pointer).c_str());
    }});
}

extern "C" {
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    rectangle r = {static_cast<char *>(to), static_cast<const char *>(from), bytes, bytes, bytes, 1};
    return copy("cudaMemcpy", r, kind, nullptr, true);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    rectangle r = {static_cast<char *>(to), static_cast<const char *>(from), bytes, bytes, bytes, 1};
    return copy("cudaMemcpyAsync", r, kind, stream, false);
}

cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                         enum cudaMemcpyKind kind)
{
    rectangle r = {static_cast<char *>(to), static_cast<const char *>(from), to_pitch, from_pitch, width, height};
    return copy("cudaMemcpy2D", r, kind, nullptr, true);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    rectangle r = {static_cast<char *>(to), static_cast<const char *>(from), to_pitch, from_pitch, width, height};
    return copy("cudaMemcpy2DAsync", r, kind, stream, false);
}

/* Asynchronous with the host on device memory, as documented. */
cudaError_t cudaMemset(void *pointer, int value, size_t bytes)
{
    return fill("cudaMemset", pointer, value, bytes, nullptr);
}

cudaError_t cudaMemsetAsync(void *pointer, int value, size_t bytes, cudaStream_t stream)
{
    return fill("cudaMemsetAsync", pointer, value, bytes, stream);
}

cudaError_t cudaMalloc(void **pointer, size_t bytes)
{
    stream_call call;
    const cudaError_t error = call.refused != cudaSuccess ? call.refused : capture_check_unsafe("cudaMalloc");
    return error != cudaSuccess ? error : report_error(memory_allocate(pointer, bytes, false));
}

cudaError_t cudahost_malloc_managed(void **pointer, size_t bytes, unsigned int flags)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return call.refused;
    if (flags != cudaMemAttachGlobal && flags != cudaMemAttachHost)
        return report_error(cudaErrorInvalidValue);
    const cudaError_t error = capture_check_unsafe("cudaMallocManaged");
    if (error != cudaSuccess)
        return error;
    return report_error(memory_allocate(pointer, bytes, true));
}

/* Its C name. */
cudaError_t cudaMallocManaged(void **pointer, size_t bytes, unsigned int flags)
{
    return cudahost_malloc_managed(pointer, bytes, flags);
}

/* Waits for all work, as cudaFree does. */
cudaError_t cudaFree(void *pointer)
{
    stream_call call;
    if (call.refused != cudaSuccess || pointer == nullptr)
        return call.refused;
    if (memory_check_live(pointer) != cudaSuccess)
        return report_refusal(cudaErrorInvalidValue, "cudaFree: %s", memory_describe(pointer).c_str());
    const cudaError_t error = capture_check_unsafe("cudaFree");
    if (error != cudaSuccess)
        return error;
    stream_run_all();
    memory_release(pointer);
    return report_error(cudaSuccess);
}

cudaError_t cudaMallocAsync(void **pointer, size_t bytes, cudaStream_t stream)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return call.refused;
    std::shared_ptr<queue> q = stream_queue(stream, "cudaMallocAsync");
    if (q == nullptr)
        return cudaErrorInvalidResourceHandle;
    const cudaError_t error = capture_check(q, "cudaMallocAsync", false);
    if (error != cudaSuccess)
        return error;
    return report_error(memory_allocate(pointer, bytes, false));
}

cudaError_t cudaFreeAsync(void *pointer, cudaStream_t stream)
{
    stream_call call;
    if (call.refused != cudaSuccess || pointer == nullptr)
        return call.refused;
    std::shared_ptr<queue> q = stream_queue(stream, "cudaFreeAsync");
    if (q == nullptr)
        return cudaErrorInvalidResourceHandle;
    if (memory_check_live(pointer) != cudaSuccess)
        return report_refusal(cudaErrorInvalidValue, "cudaFreeAsync: %s", memory_describe(pointer).c_str());
    const cudaError_t error = capture_check(q, "cudaFreeAsync", false);
    if (error != cudaSuccess)
        return error;
    stream_push(q, [=] { memory_release(pointer); });
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **pointer, size_t bytes)
{
    return cudaHostAlloc(pointer, bytes, cudaHostAllocDefault);
}

cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned int flags)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return call.refused;
    const cudaError_t error = capture_check_unsafe("cudaHostAlloc");
    if (error != cudaSuccess)
        return error;
    return report_error(flags > 7 ? cudaErrorInvalidValue : memory_pin(pointer, bytes));
}

cudaError_t cudaFreeHost(void *pointer)
{
    stream_call call;
    if (call.refused != cudaSuccess || pointer == nullptr)
        return call.refused;
    const cudaError_t error = capture_check_unsafe("cudaFreeHost");
    return error != cudaSuccess ? error : report_error(memory_unpin(pointer));
}

cudaError_t cudaHostRegister(void *pointer, size_t bytes, unsigned int flags)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return call.refused;
    return report_error(flags > 7 ? cudaErrorInvalidValue : memory_register(pointer, bytes));
}

cudaError_t cudaHostUnregister(void *pointer)
{
    stream_call call;
    return call.refused != cudaSuccess ? call.refused : report_error(memory_unregister(pointer));
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    stream_call call;
    return call.refused != cudaSuccess ? call.refused : report_error(memory_info(available, total));
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *pointer)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return call.refused;
    if (attributes == nullptr)
        return report_error(cudaErrorInvalidValue);
    void *p = const_cast<void *>(pointer);
    *attributes = {cudaMemoryTypeUnregistered, 0, nullptr, p};
    if (memory_is_device(pointer, 1))
        *attributes = {memory_is_managed(pointer) ? cudaMemoryTypeManaged : cudaMemoryTypeDevice, 0, p,
                       memory_is_managed(pointer) ? p : nullptr};
    else if (memory_is_pinned(pointer, 1))
        *attributes = {cudaMemoryTypeHost, 0, p, p};
    cudaGetDevice(&attributes->device);
    return cudaSuccess;
}

void cudahost_forget(void)
{
    stream_call call;
    stream_forget();
    report_forget();
}
}
