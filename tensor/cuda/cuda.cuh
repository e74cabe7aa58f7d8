/* The CUDA device's own functions and what they share. tensor/cuda/device.cu puts them into the table of
 * tensor/device.h, where each is described. Not for use outside tensor/cuda/ and its tests.
 *
 * All work is queued on one stream, in the order of the calls, so a later call sees what an earlier one wrote. An array
 * that is not the device's own (labels of a batch, a test's input) is copied in before and, where it is written, out
 * after; then the call waits. Arrays of the device itself, from ls_device.allocate, are used where they are. */
#pragma once
#include "tensor/cuda/number.cuh"

extern "C" {
#include "tensor/strides.h"
}

enum { LS_CUDA_RANGES = 256, LS_CUDA_ARRAYS = 16 };

typedef struct {
    char *begin, *end;
} ls_cuda_range;

/* Device memory for the time of one call, in blocks that are kept: in the order of the stream, so that a block is free
 * again for the next call as soon as this one is queued. */
typedef struct {
    char *block[LS_CUDA_RANGES];
    size_t size[LS_CUDA_RANGES], used;
    int blocks, current;
} ls_cuda_scratch;

struct ls_cuda_library; /* tensor/cuda/products.cu */
struct ls_cuda_staging; /* tensor/cuda/staging.cu */
struct ls_cuda_convolutions; /* tensor/cuda/cudnn.cu */
struct ls_cuda_graphs; /* tensor/cuda/graph.cu */

/* What device->self points to. */
typedef struct ls_cuda {
    const struct ls_cuda *beside; /* the device whose blocks of memory are this one's too; NULL: none */
    int number; /* of the device */
    int shared_most; /* bytes of shared memory a block may have */
    cudaStream_t stream;
    ls_cuda_range own[LS_CUDA_RANGES]; /* blocks given out by allocate */
    int owned;
    ls_cuda_scratch scratch;
    char *pinned; /* host memory that copies go through */
    size_t pinned_size, pinned_used;
    cudaStream_t reading; /* of read_beside, and the pinned memory that it goes through; NULL until the first */
    cudaEvent_t readable;  /* what it waits for: the calls before begin_reading; NULL until the first */
    char *reading_pinned;
    cudaStream_t fetching; /* of prefetch; NULL until the first block of staging memory */
    struct ls_cuda_staging *staging;
    ls_cuda_products products;
    bool tf32;
    struct ls_cuda_library *library; /* NULL until the first product */
    struct ls_cuda_convolutions *convolutions; /* NULL until the first */
    struct ls_cuda_graphs *graphs; /* NULL: calls are queued as they come */
    void *list; /* host memory for attention's list of tiles */
    size_t list_room;
    ls_status status; /* the first error, until somebody asks */
    char sentence[512], numerics[128];
} ls_cuda;

/* Keeps the first error; what is called after it does nothing until ls_device.synchronize has told it. */
void ls_cuda_failed(ls_cuda *cuda, cudaError_t error, const char *what);
void ls_cuda_raise(ls_cuda *cuda, ls_status status, const char *sentence);
bool ls_cuda_owns(const ls_cuda *cuda, const void *array);
/* Lets a kernel have that much dynamic shared memory; false, with an error, where a multiprocessor has not got it. */
bool ls_cuda_shared(ls_cuda *cuda, const void *kernel, size_t bytes, const char *name);
void *ls_cuda_scratch_take(ls_cuda *cuda, size_t bytes);
void ls_cuda_scratch_free(ls_cuda *cuda);
void ls_cuda_copy_in(ls_cuda *cuda, void *to, const void *host, size_t bytes);
void ls_cuda_copy_out(ls_cuda *cuda, void *host, const void *from, size_t bytes);
ls_status ls_cuda_begin_reading(ls_device *device);
ls_status ls_cuda_read_beside(ls_device *device, size_t bytes, const void *x, void *y);
void ls_cuda_reading_free(ls_cuda *cuda);
ls_status ls_cuda_allocate_staging(ls_device *device, size_t bytes, void **host);
bool ls_cuda_staging_release(ls_cuda *cuda, const void *host); /* false: it is no block of staging memory */
void ls_cuda_staging_free(ls_cuda *cuda);
bool ls_cuda_staging_owns(const ls_cuda *cuda, const char *array); /* does it lie in a copy? */
const char *ls_cuda_staged(const ls_cuda *cuda, const void *array); /* the copy of an array in staging memory, if calls may read it */
ls_status ls_cuda_prefetch(ls_device *device, const void *host);
ls_status ls_cuda_use_prefetched(ls_device *device, const void *host);
bool ls_cuda_is_prefetched(const ls_device *device, const void *array);
ls_status ls_cuda_synchronize(ls_device *device);
void ls_cuda_wait(ls_cuda *cuda); /* for the stream */
ls_status ls_cuda_status(ls_device *device); /* the first error so far, for functions of the table that return one */

/* Graphs (graph.cu). Begin: what is queued on the stream from here on is recorded, if graphs are wanted; `caller` is the first
 * call's name. Note: what was recorded, for telling segments apart. Submit: what was recorded is launched; before anybody but the
 * stream itself shall see it, and before memory is taken. Waited: nothing that was launched runs any more. */
void ls_graph_begin(ls_cuda *cuda, const char *caller);
void ls_graph_note(ls_cuda *cuda, uint64_t what);
void ls_graph_submit(ls_cuda *cuda);
void ls_graph_waited(ls_cuda *cuda);
void ls_graphs_free(ls_cuda *cuda);
ls_status ls_cuda_use_graphs(ls_device *device, bool graphs);
ls_status ls_cuda_submit(ls_device *device);

/* One call of a function of the table, from its arguments to its last launch. */
struct ls_cuda_call {
    ls_cuda *cuda;
    cudaStream_t stream;

    /* `caller`: the function of the table, or a part of it */
    explicit ls_cuda_call(ls_device *device, const char *caller = __builtin_FUNCTION());
    ~ls_cuda_call();
    ls_cuda_call(const ls_cuda_call &) = delete;
    ls_cuda_call &operator=(const ls_cuda_call &) = delete;

    /* `count` elements that are read; that are read and written; that are written, all of them. NULL stays NULL. */
    template <typename T> const T *in(const void *array, int64_t count)
    {
        return static_cast<const T *>(reach(const_cast<void *>(array), (size_t)count * sizeof(T), true, false));
    }
    template <typename T> T *into(void *array, int64_t count)
    {
        return static_cast<T *>(reach(array, (size_t)count * sizeof(T), true, true));
    }
    template <typename T> T *out(void *array, int64_t count)
    {
        return static_cast<T *>(reach(array, (size_t)count * sizeof(T), false, true));
    }
    template <typename T> T *scratch(int64_t count)
    {
        return static_cast<T *>(ls_cuda_scratch_take(cuda, (size_t)count * sizeof(T)));
    }
    bool ready() const { return cuda->status == LS_OK; }

private:
    struct {
        void *host, *copy;
        size_t bytes;
        bool written;
    } reached[LS_CUDA_ARRAYS];
    int arrays, scratch_current;
    size_t scratch_used;
    void *reach(void *array, size_t bytes, bool read, bool written);
};

/* LS_CUDA_RUN(call, kernel, grid, block, arguments...): a launch on the device's stream, checked. An empty grid is none. */
#define LS_CUDA_RUN(call, kernel, grid, block, ...)                                                                    \
    do {                                                                                                               \
        if ((call).ready() && (grid) > 0) {                                                                            \
            LS_LAUNCH(kernel, dim3((unsigned)(grid)), dim3((unsigned)(block)), 0, (call).stream, __VA_ARGS__);          \
            ls_graph_note((call).cuda, (uint64_t)(uintptr_t)#kernel);                                                   \
            ls_cuda_failed((call).cuda, cudaGetLastError(), #kernel);                                                  \
        }                                                                                                              \
    } while (0)

/* The same for kernels of one argument that take `bytes` of dynamic shared memory. */
#define LS_CUDA_RUN_SHARED(call, kernel, grid, block, bytes, argument)                                                 \
    do {                                                                                                               \
        if ((call).ready() && (grid) > 0 && ls_cuda_shared((call).cuda, (const void *)(kernel), (bytes), #kernel)) {    \
            LS_LAUNCH(kernel, dim3((unsigned)(grid)), dim3((unsigned)(block)), (bytes), (call).stream, argument);       \
            ls_graph_note((call).cuda, (uint64_t)(uintptr_t)#kernel);                                                   \
            ls_cuda_failed((call).cuda, cudaGetLastError(), #kernel);                                                  \
        }                                                                                                              \
    } while (0)

/* f<T>(...) for the element type T that `type` names. */
#define LS_CUDA_TYPED(type, f, ...)                                                                                    \
    do {                                                                                                               \
        if ((type) == LS_F32)                                                                                          \
            f<float>(__VA_ARGS__);                                                                                     \
        else if ((type) == LS_BF16)                                                                                    \
            f<ls_bf16>(__VA_ARGS__);                                                                                   \
        else if ((type) == LS_F16)                                                                                     \
            f<ls_f16>(__VA_ARGS__);                                                                                    \
        else                                                                                                           \
            f<double>(__VA_ARGS__);                                                                                    \
    } while (0)

enum { LS_CUDA_BLOCK = 256 };

/* Blocks that `threads` threads make; the hardware's limit is 2^31 - 1. */
static inline int64_t ls_cuda_blocks(int64_t threads, int64_t block)
{
    return (threads + block - 1) / block;
}

/* Threads for a row of `length`: whole warps, by the length alone, for the order of sums is theirs. */
static inline int ls_cuda_row_block(int64_t length)
{
    return length <= 64 ? 32 : length <= 1024 ? 128 : length <= 16384 ? 256 : 1024;
}

/* This thread's number among all. */
static inline __device__ int64_t ls_thread(void)
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

/* f(i) for i of [0, n), a thread each. */
template <typename F> __global__ void ls_each_kernel(int64_t n, F f)
{
    const int64_t i = ls_thread();
    if (i < n)
        f(i);
}

template <typename F> static inline void ls_each(ls_cuda_call &call, int64_t n, F f)
{
    LS_CUDA_RUN(call, ls_each_kernel, ls_cuda_blocks(n, LS_CUDA_BLOCK), LS_CUDA_BLOCK, n, f);
}

/* f(row) for each row, by a block of threads each; `length` is what a row's loops run over. */
template <typename F> __global__ void ls_rows_kernel(F f)
{
    f((int64_t)blockIdx.x);
}

template <typename F> static inline void ls_rows(ls_cuda_call &call, int64_t rows, int64_t length, F f)
{
    LS_CUDA_RUN(call, ls_rows_kernel, rows, ls_cuda_row_block(length), f);
}

/* ---- the functions of the table ---- */

ls_status ls_cuda_matmul(ls_device *device, const ls_matmul_args *args, ls_arena *scratch);
ls_status ls_cuda_attention(ls_device *device, const ls_attention_args *args, ls_arena *scratch);
ls_status ls_cuda_attention_backward(ls_device *device, const ls_attention_args *args, ls_arena *scratch);
ls_status ls_cuda_cross_entropy(ls_device *device, const ls_cross_entropy_args *args, ls_arena *scratch);
ls_status ls_cuda_conv(ls_device *device, const ls_grid *grid, const void *x, const void *w, const void *bias, ls_type type_bias, ls_activation activation, void *y, void *pre, ls_arena *scratch);
ls_status ls_cuda_conv_input(ls_device *device, const ls_grid *grid, const void *dy, const void *w, bool accumulate, void *dx, ls_arena *scratch);
ls_status ls_cuda_conv_weight(ls_device *device, const ls_grid *grid, const void *x, const void *dy, void *dw, ls_arena *scratch);
void ls_cuda_pool(ls_device *device, const ls_grid *grid, ls_pooling_kind kind, const void *x, void *y, int32_t *which);
void ls_cuda_pool_backward(ls_device *device, const ls_grid *grid, ls_pooling_kind kind, const void *dy, const int32_t *which, void *dx);
ls_status ls_cuda_upsample(ls_device *device, const ls_grid *grid, ls_upsampling_kind kind, const void *x, void *y, ls_arena *scratch);
ls_status ls_cuda_upsample_backward(ls_device *device, const ls_grid *grid, ls_upsampling_kind kind, const void *dy, void *dx, ls_arena *scratch);
ls_status ls_cuda_group_norm(ls_device *device, ls_type type, ls_type gain_type, int64_t outer, int64_t rows, int64_t channels, int64_t groups, double eps, bool given, const void *x, const void *gain, const void *bias, void *y, double *stats, ls_arena *scratch);
ls_status ls_cuda_group_norm_backward(ls_device *device, ls_type type, ls_type gain_type, int64_t outer, int64_t rows, int64_t channels, int64_t groups, double eps, const void *x, const void *gain, const double *stats, const void *dy, void *dx, void *dgain, void *dbias, ls_arena *scratch);
void ls_cuda_unary(ls_device *device, ls_unary op, ls_type type, int64_t n, double a, double b, const void *x, void *y);
void ls_cuda_scale_by(ls_device *device, ls_type type, int64_t n, const void *factor, const void *x, void *y);
void ls_cuda_unary_backward(ls_device *device, ls_unary op, ls_type type, int64_t n, double a, double b, const void *x, const void *y, const void *dy, void *dx);
void ls_cuda_gated(ls_device *device, ls_unary f, ls_type type, int64_t n, const void *gate, const void *x, void *y);
void ls_cuda_gated_backward(ls_device *device, ls_unary f, ls_type type, int64_t n, const void *gate, const void *x, const void *dy, void *dgate, bool add_gate, void *dx, bool add_x);
void ls_cuda_where(ls_device *device, ls_type type, int64_t n, const uint8_t *condition, const void *a, const void *b, void *y);
void ls_cuda_where_backward(ls_device *device, ls_type type, int64_t n, const uint8_t *condition, const void *dy, void *da, void *db);
void ls_cuda_cast(ls_device *device, ls_type from, ls_type to, int64_t n, const void *x, void *y);
void ls_cuda_add_to(ls_device *device, ls_type type, int64_t n, const void *x, void *y);
void ls_cuda_fill(ls_device *device, ls_type type, int64_t n, double value, void *y);
void ls_cuda_gumbel(ls_device *device, ls_type type, int64_t n, double scale, const ls_random *stream, uint64_t first, const void *x, void *y);
void ls_cuda_dropout(ls_device *device, ls_type type, int64_t n, double p, const ls_random *stream, uint64_t first, const void *x, void *y, bool accumulate);
void ls_cuda_sum_losses(ls_device *device, ls_type type, int64_t rows, const int32_t *labels, const float *weights, const void *losses, ls_type sum_type, void *sum);
void ls_cuda_element_loss(ls_device *device, const ls_element_loss_args *args);
void ls_cuda_element_loss_backward(ls_device *device, const ls_element_loss_args *args);
void ls_cuda_row_loss(ls_device *device, const ls_row_loss_args *args);
void ls_cuda_row_loss_backward(ls_device *device, const ls_row_loss_args *args);
void ls_cuda_cosine(ls_device *device, ls_type type, int64_t rows, int64_t width, double eps, const void *a, const void *b, void *y, double *stats);
void ls_cuda_cosine_backward(ls_device *device, ls_type type, int64_t rows, int64_t width, double eps, const void *a, const void *b, const double *stats, const void *dy, void *da, void *db);
ls_status ls_cuda_sort(ls_device *device, ls_type type, int64_t rows, int64_t length, bool descending, const void *x, void *values, int32_t *index, ls_arena *scratch);
void ls_cuda_scatter_add_elements(ls_device *device, ls_type type, int64_t rows, int64_t length, int64_t k, const int32_t *index, const void *y, void *x);
void ls_cuda_cumulative_sum(ls_device *device, ls_type type, int64_t outer, int64_t length, int64_t inner, bool reverse, bool accumulate, const void *x, void *y);
void ls_cuda_binary(ls_device *device, ls_binary op, ls_type type, const ls_strides *shape, const void *a, const void *b, void *y);
void ls_cuda_binary_backward(ls_device *device, ls_binary op, ls_type type, const ls_strides *shape, const void *a, const void *b, const void *dy, void *da, void *db, ls_arena *scratch);
void ls_cuda_reduce(ls_device *device, ls_reduce op, ls_type type, int64_t outer, int64_t length, int64_t inner, const void *x, void *y);
void ls_cuda_reduce_backward(ls_device *device, ls_reduce op, ls_type type, int64_t outer, int64_t length, int64_t inner, const void *x, const void *y, const void *dy, void *dx);
void ls_cuda_top_k(ls_device *device, ls_type type, int64_t rows, int64_t length, int64_t k, const void *x, void *values, int32_t *index);
void ls_cuda_softmax(ls_device *device, ls_type type, bool log, int64_t rows, int64_t length, const void *x, void *y);
void ls_cuda_softmax_backward(ls_device *device, ls_type type, bool log, int64_t rows, int64_t length, const void *y, const void *dy, void *dx);
void ls_cuda_norm(ls_device *device, ls_type type, ls_type gain_type, bool rms, int64_t rows, int64_t width, double eps, const void *x, const void *gain, const void *bias, void *y, void *stats);
void ls_cuda_norm_backward(ls_device *device, ls_type type, ls_type gain_type, bool rms, int64_t rows, int64_t width, const void *x, const void *gain, const void *stats, const void *dy, void *dx, void *dgain, void *dbias, ls_arena *scratch);
void ls_cuda_sum_rows(ls_device *device, ls_type type, int64_t rows, int64_t width, const void *x, void *y, ls_arena *scratch);
void ls_cuda_rotary(ls_device *device, ls_type type, int64_t rows, int64_t heads, int64_t width, const double *frequency, bool interleaved, bool inverse, const int32_t *position, const void *x, void *y, bool accumulate);
void ls_cuda_copy_strided(ls_device *device, ls_type type, const ls_strides *shape, const void *x, void *y);
void ls_cuda_add_strided(ls_device *device, ls_type type, const ls_strides *shape, const void *y, void *x);
void ls_cuda_gather_rows(ls_device *device, ls_type type, int64_t n, int64_t width, const int32_t *index, const void *x, void *y);
void ls_cuda_scatter_add_rows(ls_device *device, ls_type type, ls_type x_type, int64_t n, int64_t width, int64_t x_rows, const int32_t *index, const void *y, void *x, ls_arena *scratch);
void ls_cuda_carry(ls_device *device, int64_t n, const float *x, int levels, const float *const *level, float *dst);
void ls_cuda_chunk_squares(ls_device *device, int64_t n, const float *x, double *sums);
void ls_cuda_optimizer_step(ls_device *device, const ls_optimizer_args *args);
void ls_cuda_average(ls_device *device, int64_t n, double weight, const float *x, float *average);
