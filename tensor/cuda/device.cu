/* The CUDA device: its table, its one stream, and its errors. */
#include "tensor/cuda/cudnn.cuh"
#include "tensor/cuda/products.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors ---- */

void ls_cuda_raise(ls_cuda *cuda, ls_status status, const char *sentence)
{
    if (cuda->status != LS_OK)
        return;
    cuda->status = status;
    snprintf(cuda->sentence, sizeof cuda->sentence, "%s", sentence);
}

void ls_cuda_failed(ls_cuda *cuda, cudaError_t error, const char *what)
{
    char text[sizeof cuda->sentence];
    if (error == cudaSuccess)
        return;
    const bool capture = error >= cudaErrorStreamCaptureUnsupported && error <= cudaErrorStreamCaptureWrongThread;
    snprintf(text, sizeof text, "cuda: device %d: %.150s: %s (%s); %s", cuda->number, what, cudaGetErrorString(error), cudaGetErrorName(error),
             capture ? "cuda_graphs: false does without" : cuda->graphs ? "cuda_graphs: false and CUDA_LAUNCH_BLOCKING=1 name the call it was in" : "CUDA_LAUNCH_BLOCKING=1 names the call it was in");
    ls_cuda_raise(cuda, error == cudaErrorMemoryAllocation ? LS_EMEM : LS_EIO, text);
}

void ls_cuda_wait(ls_cuda *cuda)
{
    ls_graph_submit(cuda);
    ls_cuda_failed(cuda, cudaStreamSynchronize(cuda->stream), "waiting for kernels and copies");
    ls_graph_waited(cuda);
    cuda->pinned_used = 0;
}

ls_status ls_cuda_status(ls_device *device)
{
    const ls_cuda *cuda = static_cast<const ls_cuda *>(device->self);
    return cuda->status == LS_OK ? LS_OK : ls_fail(cuda->status, "%s", cuda->sentence);
}

ls_status ls_cuda_synchronize(ls_device *device)
{
    ls_cuda *cuda = static_cast<ls_cuda *>(device->self);
    ls_cuda_wait(cuda);
    const ls_status status = cuda->status;
    cuda->status = LS_OK;
    return status == LS_OK ? LS_OK : ls_fail(status, "%s", cuda->sentence);
}

bool ls_cuda_shared(ls_cuda *cuda, const void *kernel, size_t bytes, const char *name)
{
    char text[sizeof cuda->sentence];
    if (bytes > (size_t)cuda->shared_most) {
        snprintf(text, sizeof text, "cuda: %.80s needs %zu bytes of shared memory in a block, and device %d has %d; narrower heads need less", name, bytes, cuda->number, cuda->shared_most);
        ls_cuda_raise(cuda, LS_ESHAPE, text);
        return false;
    }
    if (bytes > 48 << 10)
        ls_cuda_failed(cuda, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes), name);
    return cuda->status == LS_OK;
}

/* ---- memory ---- */

/* From cudaMallocManaged, zeros, or cudaMalloc. */
static ls_status take(ls_cuda *cuda, size_t bytes, bool managed, void **block)
{
    const size_t size = bytes ? bytes : 1;
    void *memory = NULL;
    *block = NULL;
    if (cuda->owned == LS_CUDA_RANGES)
        return ls_fail(LS_EMEM, "cuda: more than %d blocks of memory", LS_CUDA_RANGES);
    ls_graph_submit(cuda);
    cudaError_t error = managed ? cudaMallocManaged(&memory, size, cudaMemAttachGlobal) : cudaMalloc(&memory, size);
    if (error == cudaSuccess && managed)
        error = cudaMemsetAsync(memory, 0, size, cuda->stream);
    if (error == cudaSuccess && managed)
        error = cudaStreamSynchronize(cuda->stream); /* the host may write there at once */
    if (error != cudaSuccess) {
        size_t left = 0, all = 0;
        cudaGetLastError(); /* forgets it: it is told here */
        cudaMemGetInfo(&left, &all);
        return ls_fail(LS_EMEM, "cuda: %.2f GiB asked for, %.2f of %.2f GiB free (%s); lower the model's size, batch.grain or batch.tokens",
                       (double)bytes / 0x1p30, (double)left / 0x1p30, (double)all / 0x1p30, cudaGetErrorString(error));
    }
    cuda->own[cuda->owned].begin = static_cast<char *>(memory);
    cuda->own[cuda->owned++].end = static_cast<char *>(memory) + size;
    *block = memory;
    return LS_OK;
}

static ls_status allocate(ls_device *device, size_t bytes, void **block)
{
    return take(static_cast<ls_cuda *>(device->self), bytes, true, block);
}

static ls_status reserve(ls_device *device, size_t bytes, void **block)
{
    return take(static_cast<ls_cuda *>(device->self), bytes, false, block);
}

static void release(ls_device *device, void *block, size_t bytes)
{
    ls_cuda *cuda = static_cast<ls_cuda *>(device->self);
    (void)bytes;
    if (ls_cuda_staging_release(cuda, block))
        return;
    for (int i = 0; i < cuda->owned; i++)
        if (cuda->own[i].begin == block) {
            ls_graph_submit(cuda);
            cudaStreamSynchronize(cuda->stream); /* a kernel may be writing there */
            cudaFree(block);
            cuda->own[i] = cuda->own[--cuda->owned];
            return;
        }
}

static void move(ls_device *device, size_t bytes, const void *x, void *y)
{
    ls_cuda_call call(device);
    const char *from = call.in<char>(x, (int64_t)bytes);
    char *to = call.out<char>(y, (int64_t)bytes);
    if (!call.ready() || bytes == 0 || from == to)
        return;
    const bool overlap = from < to + bytes && to < from + bytes;
    char *between = overlap ? call.scratch<char>((int64_t)bytes) : NULL;
    if (overlap && between)
        ls_cuda_failed(call.cuda, cudaMemcpyAsync(between, from, bytes, cudaMemcpyDeviceToDevice, call.stream), "moving memory");
    if (!overlap || between)
        ls_cuda_failed(call.cuda, cudaMemcpyAsync(to, overlap ? between : from, bytes, cudaMemcpyDeviceToDevice, call.stream), "moving memory");
}

/* ---- life ---- */

static void device_free(ls_device *device)
{
    if (!device)
        return;
    ls_cuda *cuda = static_cast<ls_cuda *>(device->self);
    if (cuda) {
        if (cuda->stream) {
            ls_graph_submit(cuda);
            cudaStreamSynchronize(cuda->stream);
        }
        ls_graphs_free(cuda);
        ls_cuda_library_free(cuda);
        ls_cuda_cudnn_free(cuda);
        free(cuda->list);
        ls_cuda_scratch_free(cuda);
        ls_cuda_reading_free(cuda);
        ls_cuda_staging_free(cuda);
        if (cuda->pinned)
            cudaFreeHost(cuda->pinned);
        if (cuda->stream)
            cudaStreamDestroy(cuda->stream);
        free(cuda);
    }
    free(device);
}

static void fill_table(ls_device *t)
{
    t->name = "cuda", t->free = device_free, t->allocate = allocate, t->release = release, t->reserve = reserve, t->synchronize = ls_cuda_synchronize, t->move = move, t->begin_reading = ls_cuda_begin_reading, t->read_beside = ls_cuda_read_beside;
    t->allocate_staging = ls_cuda_allocate_staging, t->prefetch = ls_cuda_prefetch, t->use_prefetched = ls_cuda_use_prefetched, t->is_prefetched = ls_cuda_is_prefetched;
    t->use_tf32 = ls_cuda_use_tf32, t->choices = ls_cuda_choices;
    t->use_graphs = ls_cuda_use_graphs, t->submit = ls_cuda_submit;
    t->unary = ls_cuda_unary, t->scale_by = ls_cuda_scale_by, t->unary_backward = ls_cuda_unary_backward;
    t->binary = ls_cuda_binary, t->binary_backward = ls_cuda_binary_backward;
    t->gated = ls_cuda_gated, t->gated_backward = ls_cuda_gated_backward;
    t->where = ls_cuda_where, t->where_backward = ls_cuda_where_backward;
    t->cast = ls_cuda_cast, t->add_to = ls_cuda_add_to, t->fill = ls_cuda_fill;
    t->dropout = ls_cuda_dropout, t->gumbel = ls_cuda_gumbel;
    t->reduce = ls_cuda_reduce, t->reduce_backward = ls_cuda_reduce_backward;
    t->top_k = ls_cuda_top_k, t->sort = ls_cuda_sort;
    t->scatter_add_elements = ls_cuda_scatter_add_elements, t->cumulative_sum = ls_cuda_cumulative_sum;
    t->softmax = ls_cuda_softmax, t->softmax_backward = ls_cuda_softmax_backward;
    t->norm = ls_cuda_norm, t->norm_backward = ls_cuda_norm_backward, t->sum_rows = ls_cuda_sum_rows;
    t->rotary = ls_cuda_rotary;
    t->copy_strided = ls_cuda_copy_strided, t->add_strided = ls_cuda_add_strided;
    t->gather_rows = ls_cuda_gather_rows, t->scatter_add_rows = ls_cuda_scatter_add_rows;
    t->matmul = ls_cuda_matmul;
    t->attention = ls_cuda_attention, t->attention_backward = ls_cuda_attention_backward;
    t->cross_entropy = ls_cuda_cross_entropy;
    t->sum_losses = ls_cuda_sum_losses;
    t->element_loss = ls_cuda_element_loss, t->element_loss_backward = ls_cuda_element_loss_backward;
    t->row_loss = ls_cuda_row_loss, t->row_loss_backward = ls_cuda_row_loss_backward;
    t->cosine = ls_cuda_cosine, t->cosine_backward = ls_cuda_cosine_backward;
    t->conv = ls_cuda_conv, t->conv_input = ls_cuda_conv_input, t->conv_weight = ls_cuda_conv_weight;
    t->pool = ls_cuda_pool, t->pool_backward = ls_cuda_pool_backward;
    t->upsample = ls_cuda_upsample, t->upsample_backward = ls_cuda_upsample_backward;
    t->group_norm = ls_cuda_group_norm, t->group_norm_backward = ls_cuda_group_norm_backward;
    t->carry = ls_cuda_carry, t->chunk_squares = ls_cuda_chunk_squares;
    t->optimizer_step = ls_cuda_optimizer_step, t->average = ls_cuda_average;
}

static cudaError_t open_stream(ls_cuda *cuda)
{
    int least = 0, greatest = 0;
    if (!cuda->beside)
        return cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking);
    const cudaError_t error = cudaDeviceGetStreamPriorityRange(&least, &greatest);
    return error == cudaSuccess ? cudaStreamCreateWithPriority(&cuda->stream, cudaStreamNonBlocking, greatest) : error;
}

static ls_status open_device(ls_cuda *cuda, int number)
{
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess || count == 0)
        return ls_fail(LS_ENOTFOUND, "cuda: no device here (%s); `nvidia-smi` shows what the driver sees", cudaGetErrorString(error));
    if (number < 0)
        return ls_fail(LS_EARG, "cuda: device %d asked for", number);
    number %= count;
    cuda->number = number;
    error = cudaSetDevice(number);
    if (error == cudaSuccess)
        error = open_stream(cuda);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&cuda->shared_most, cudaDevAttrMaxSharedMemoryPerBlockOptin, number);
    cuda->pinned_size = (size_t)8 << 20;
    if (error == cudaSuccess)
        error = cudaMallocHost((void **)&cuda->pinned, cuda->pinned_size);
    ls_cuda_failed(cuda, error, "opening it");
    return cuda->status == LS_OK ? LS_OK : ls_fail(cuda->status, "%s", cuda->sentence);
}

static ls_status create(ls_device **out, ls_team *team, int number, const ls_cuda *beside);

static ls_status create_beside(ls_device *device, ls_device **beside)
{
    return create(beside, device->team, device->number, static_cast<const ls_cuda *>(device->self));
}

static ls_status create(ls_device **out, ls_team *team, int number, const ls_cuda *beside)
{
    *out = NULL;
    ls_device *device = static_cast<ls_device *>(calloc(1, sizeof *device));
    ls_cuda *cuda = static_cast<ls_cuda *>(calloc(1, sizeof *cuda));
    if (!device || !cuda) {
        free(device);
        free(cuda);
        return ls_fail(LS_EMEM, "cuda: no memory for the device's table");
    }
    fill_table(device);
    device->self = cuda;
    device->team = team;
    cuda->beside = beside;
    const ls_status status = open_device(cuda, number);
    if (status != LS_OK) {
        device_free(device);
        return status;
    }
    ls_cuda_name_numerics(cuda);
    device->numerics = cuda->numerics;
    device->number = cuda->number;
    device->stream = cuda->stream;
    device->create_beside = create_beside;
    *out = device;
    return LS_OK;
}

extern "C" ls_status ls_device_create_cuda(ls_device **out, ls_team *team, int number)
{
    return create(out, team, number, NULL);
}
