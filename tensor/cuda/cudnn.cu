/* Convolutions by cuDNN. What decides the bits:
 *   - the algorithm is the first of the library's heuristic answers for a shape that it calls deterministic and that works in
 *     WORKSPACE bytes, never timed, kept for the device's life: a function of the shape, the library's version and the kind of
 *     GPU, which are all in the numerics id; ranks compare their answers nevertheless (train/choices.c);
 *   - pointers take no part in it: an array that begins elsewhere than tensor cores want it is copied to where it does;
 *   - f32 is multiplied as f32 (CUDNN_FMA_MATH, whatever the answer calls its kind of arithmetic); tf32 only where use_tf32 of
 *     the table asked for it. Sums are f32.
 * The library names a grid's sizes in the order N, C, D, H, W and is told that memory has C last, as the table's arrays have it.
 *
 * These are cuDNN's older functions, one for each direction; its graphs would do the same by a dozen descriptors. Two things they
 * cannot: f64 with channels last, and a weight's gradient in f32 from bf16 or f16, which they would round to these. For the second x and dy
 * are widened to f32, some samples at a time, and multiplied as tf32: it holds every number of both, so no operand changes. */
#include "tensor/cuda/cudnn.cuh"
#include "tensor/cuda/products.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef LS_CUDNN
#include <cudnn.h>

/* Bytes: workspace, at most; x and dy in f32 at a time, about. Shapes alone decide. */
#ifdef LS_CUDAHOST
enum { WORKSPACE = 1 << 20, WIDENED = 768 }; /* small, so that tests reach them */
#else
enum { WORKSPACE = 256 << 20, WIDENED = 256 << 20 };
#endif
enum { BUCKETS = 64, ANSWERS = 32, AXES = 3 };

/* All that an algorithm is chosen by. Whole numbers of one size: compared and hashed as bytes. */
typedef struct {
    ls_grid grid;
    int64_t direction, tf32;
} shape;

typedef struct plan {
    shape key;
    bool refused;
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t convolution;
    int algorithm;
    size_t workspace;
    ls_device_choice choice;
    struct plan *next;
} plan;

struct ls_cuda_convolutions {
    cudnnHandle_t handle;
    plan *bucket[BUCKETS];
};

static bool worked(ls_cuda *cuda, cudnnStatus_t status, const char *what)
{
    char text[sizeof cuda->sentence];
    if (status == CUDNN_STATUS_SUCCESS)
        return true;
    snprintf(text, sizeof text, "cuda: device %d: cuDNN: %.200s: %s; CUDNN_LOGLEVEL_DBG=1 CUDNN_LOGDEST_DBG=stderr say more, a build with -DLS_CUDNN=OFF does without it", cuda->number, what, cudnnGetErrorString(status));
    ls_cuda_raise(cuda, status == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED || status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ? LS_EMEM : LS_EIO, text);
    return false;
}

/* Opened at the first convolution: a device that does none loads none of the library's kernels. */
static ls_cuda_convolutions *library_of(ls_cuda *cuda)
{
    if (cuda->convolutions || cuda->status != LS_OK)
        return cuda->convolutions;
    ls_cuda_convolutions *library = static_cast<ls_cuda_convolutions *>(calloc(1, sizeof *library));
    if (!library) {
        ls_cuda_raise(cuda, LS_EMEM, "cuda: no memory for the list of convolutions");
        return NULL;
    }
    cuda->convolutions = library;
    ls_graph_submit(cuda);
    if (worked(cuda, cudnnCreate(&library->handle), "opening it"))
        worked(cuda, cudnnSetStream(library->handle, cuda->stream), "giving it a stream");
    return cuda->status == LS_OK ? library : NULL;
}

static void plan_free(plan *p)
{
    if (p->x)
        cudnnDestroyTensorDescriptor(p->x);
    if (p->y)
        cudnnDestroyTensorDescriptor(p->y);
    if (p->w)
        cudnnDestroyFilterDescriptor(p->w);
    if (p->convolution)
        cudnnDestroyConvolutionDescriptor(p->convolution);
    free(p);
}

void ls_cuda_cudnn_free(ls_cuda *cuda)
{
    ls_cuda_convolutions *library = cuda->convolutions;
    if (!library)
        return;
    for (int i = 0; i < BUCKETS; i++)
        for (plan *p = library->bucket[i], *next; p; p = next) {
            next = p->next;
            plan_free(p);
        }
    if (library->handle)
        cudnnDestroy(library->handle);
    free(library);
    cuda->convolutions = NULL;
}

/* ---- plans ---- */

/* Grids of two axes (or one, as 1 x n) are tensors of four, for which the library has more kernels than for five. */
static int first_axis(const ls_grid *g)
{
    return g->in[0] == 1 && g->out[0] == 1 && g->window[0] == 1 && g->padding[0] == 0 ? 1 : 0;
}

static int64_t volume(const int64_t size[AXES])
{
    return size[0] * size[1] * size[2];
}

/* What the library may be asked about: something to do, arrays of less than 2 Gi elements, a result as large as its own formula
 * says, and types for which it keeps what the table promises. */
static bool describable(const shape *s)
{
    const ls_grid *g = &s->grid;
    const int64_t most = INT32_MAX;
    if (g->type == LS_F64 || g->batch <= 0 || g->channels <= 0 || g->outputs <= 0)
        return false;
    for (int d = 0; d < AXES; d++) {
        if (g->in[d] <= 0 || g->out[d] <= 0 || g->window[d] <= 0 || g->padding[d] < 0 || g->stride[d] <= 0 || g->dilation[d] <= 0 || g->padding[d] > most || g->stride[d] > most ||
            g->dilation[d] > most)
            return false;
        if (g->out[d] != (g->in[d] + 2 * g->padding[d] - ((g->window[d] - 1) * g->dilation[d] + 1)) / g->stride[d] + 1)
            return false;
    }
    return g->batch * volume(g->in) * g->channels <= most && g->batch * volume(g->out) * g->outputs <= most && g->outputs * volume(g->window) * (g->channels / g->groups) <= most;
}

static cudnnDataType_t type_of(const ls_grid *g)
{
    return g->type == LS_BF16 ? CUDNN_DATA_BFLOAT16 : g->type == LS_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_FLOAT;
}

static void describe_tensor(ls_cuda *cuda, cudnnTensorDescriptor_t *tensor, const ls_grid *g, const int64_t size[AXES], int64_t channels)
{
    const int first = first_axis(g);
    int sizes[2 + AXES] = {(int)g->batch, (int)channels};
    for (int d = first; d < AXES; d++)
        sizes[2 + d - first] = (int)size[d];
    if (worked(cuda, cudnnCreateTensorDescriptor(tensor), "describing a tensor"))
        worked(cuda, cudnnSetTensorNdDescriptorEx(*tensor, CUDNN_TENSOR_NHWC, type_of(g), 2 + AXES - first, sizes), "describing a tensor");
}

static void describe_weight(ls_cuda *cuda, cudnnFilterDescriptor_t *weight, const ls_grid *g)
{
    const int first = first_axis(g);
    int sizes[2 + AXES] = {(int)g->outputs, (int)(g->channels / g->groups)};
    for (int d = first; d < AXES; d++)
        sizes[2 + d - first] = (int)g->window[d];
    if (worked(cuda, cudnnCreateFilterDescriptor(weight), "describing a weight"))
        worked(cuda, cudnnSetFilterNdDescriptor(*weight, type_of(g), CUDNN_TENSOR_NHWC, 2 + AXES - first, sizes), "describing a weight");
}

static bool strict(const shape *s)
{
    return s->grid.type == LS_F32 && !s->tf32;
}

static void describe(ls_cuda *cuda, plan *p)
{
    const ls_grid *g = &p->key.grid;
    const int first = first_axis(g);
    int padding[AXES], stride[AXES], dilation[AXES];
    for (int d = first; d < AXES; d++)
        padding[d - first] = (int)g->padding[d], stride[d - first] = (int)g->stride[d], dilation[d - first] = (int)g->dilation[d];
    describe_tensor(cuda, &p->x, g, g->in, g->channels);
    describe_tensor(cuda, &p->y, g, g->out, g->outputs);
    describe_weight(cuda, &p->w, g);
    if (!worked(cuda, cudnnCreateConvolutionDescriptor(&p->convolution), "describing a convolution"))
        return;
    worked(cuda, cudnnSetConvolutionNdDescriptor(p->convolution, AXES - first, padding, stride, dilation, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT), "describing a convolution");
    worked(cuda, cudnnSetConvolutionGroupCount(p->convolution, (int)g->groups), "describing a convolution");
    worked(cuda, cudnnSetConvolutionMathType(p->convolution, strict(&p->key) ? CUDNN_FMA_MATH : CUDNN_DEFAULT_MATH), "describing a convolution");
}

typedef struct { /* what the three directions' answers have in common */
    int algorithm;
    bool usable;
    cudnnMathType_t math;
} answer;

template <typename A> static int answers_of(const A *from, int count, answer *to)
{
    for (int i = 0; i < count; i++)
        to[i] = {(int)from[i].algo, from[i].status == CUDNN_STATUS_SUCCESS && from[i].determinism == CUDNN_DETERMINISTIC && from[i].mathType != CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION,
                 from[i].mathType};
    return count;
}

/* The library's answers, best first as it thinks. */
static cudnnStatus_t ask(cudnnHandle_t handle, const plan *p, answer *answers, int *count)
{
    cudnnConvolutionFwdAlgoPerf_t forward[ANSWERS];
    cudnnConvolutionBwdDataAlgoPerf_t input[ANSWERS];
    cudnnConvolutionBwdFilterAlgoPerf_t weight[ANSWERS];
    cudnnStatus_t status;
    int found = 0;
    switch (p->key.direction) {
    case LS_CUDNN_FORWARD:
        status = cudnnGetConvolutionForwardAlgorithm_v7(handle, p->x, p->w, p->convolution, p->y, ANSWERS, &found, forward);
        *count = answers_of(forward, found, answers);
        break;
    case LS_CUDNN_INPUT:
        status = cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, p->w, p->y, p->convolution, p->x, ANSWERS, &found, input);
        *count = answers_of(input, found, answers);
        break;
    default:
        status = cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, p->x, p->y, p->convolution, p->w, ANSWERS, &found, weight);
        *count = answers_of(weight, found, answers);
    }
    return status;
}

static cudnnStatus_t ask_workspace(cudnnHandle_t handle, const plan *p, int algorithm, size_t *bytes)
{
    switch (p->key.direction) {
    case LS_CUDNN_FORWARD:
        return cudnnGetConvolutionForwardWorkspaceSize(handle, p->x, p->w, p->convolution, p->y, (cudnnConvolutionFwdAlgo_t)algorithm, bytes);
    case LS_CUDNN_INPUT:
        return cudnnGetConvolutionBackwardDataWorkspaceSize(handle, p->w, p->y, p->convolution, p->x, (cudnnConvolutionBwdDataAlgo_t)algorithm, bytes);
    default:
        return cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, p->x, p->y, p->convolution, p->w, (cudnnConvolutionBwdFilterAlgo_t)algorithm, bytes);
    }
}

static bool refused(cudnnStatus_t status)
{
    return CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_NOT_SUPPORTED;
}

/* The first answer that will do; none: the plan is refused. */
static void choose(ls_cuda *cuda, plan *p)
{
    answer answers[ANSWERS];
    int count = 0;
    const cudnnStatus_t status = ask(cuda->convolutions->handle, p, answers, &count);
    p->refused = true;
    if (refused(status) || !worked(cuda, status, "choosing an algorithm"))
        return;
    for (int i = 0; i < count && p->refused; i++) {
        size_t bytes = 0;
        if (!answers[i].usable)
            continue;
        /* An answer belongs to a kind of arithmetic, and is asked for with it; a strict one is asked whether it can do without. */
        if (!strict(&p->key) && !worked(cuda, cudnnSetConvolutionMathType(p->convolution, answers[i].math), "describing a convolution"))
            return;
        const cudnnStatus_t fits = ask_workspace(cuda->convolutions->handle, p, answers[i].algorithm, &bytes);
        if (refused(fits) || (fits == CUDNN_STATUS_SUCCESS && bytes > WORKSPACE))
            continue;
        if (!worked(cuda, fits, "asking for an algorithm's workspace"))
            return;
        p->refused = false, p->algorithm = answers[i].algorithm, p->workspace = bytes;
        const uint64_t name[] = {(uint64_t)answers[i].algorithm, strict(&p->key) ? (uint64_t)CUDNN_FMA_MATH : (uint64_t)answers[i].math, bytes};
        p->choice.algorithm = ls_cuda_hash(LS_CUDA_HASH, name, sizeof name);
    }
}

/* tf32: whether f32 may be multiplied so. NULL: refused, or the device has failed. */
static const plan *plan_of(ls_cuda *cuda, const ls_grid *grid, ls_cudnn_direction direction, bool tf32)
{
    shape key;
    memset(&key, 0, sizeof key); /* with what lies between its members */
    key.grid.type = grid->type, key.grid.batch = grid->batch, key.grid.channels = grid->channels, key.grid.outputs = grid->outputs, key.grid.groups = grid->groups;
    for (int d = 0; d < AXES; d++) {
        key.grid.in[d] = grid->in[d], key.grid.out[d] = grid->out[d], key.grid.window[d] = grid->window[d];
        key.grid.stride[d] = grid->stride[d], key.grid.padding[d] = grid->padding[d], key.grid.dilation[d] = grid->dilation[d];
    }
    key.direction = direction, key.tf32 = grid->type == LS_F32 && tf32;
    if (cuda->products == LS_CUDA_PRODUCTS_OWN || !describable(&key) || !library_of(cuda))
        return NULL;
    const uint64_t hash = ls_cuda_hash(LS_CUDA_HASH, &key, sizeof key);
    plan **first = &cuda->convolutions->bucket[hash % BUCKETS];
    for (plan *p = *first; p; p = p->next)
        if (memcmp(&p->key, &key, sizeof key) == 0)
            return p->refused ? NULL : p;
    plan *p = static_cast<plan *>(calloc(1, sizeof *p));
    if (!p) {
        ls_cuda_raise(cuda, LS_EMEM, "cuda: no memory for the list of convolutions");
        return NULL;
    }
    memcpy(&p->key, &key, sizeof key);
    describe(cuda, p);
    if (cuda->status == LS_OK)
        choose(cuda, p);
    if (cuda->status != LS_OK) {
        plan_free(p);
        return NULL;
    }
    p->choice.shape = hash;
    p->next = *first;
    *first = p;
    return p->refused ? NULL : p;
}

/* ---- the convolution ---- */

static void convolve(ls_cuda_call &call, const plan *p, const void *a, const void *b, bool accumulate, void *to)
{
    cudnnHandle_t handle = call.cuda->convolutions->handle;
    const float one = 1, keep = accumulate;
    void *workspace = p->workspace ? call.scratch<char>((int64_t)p->workspace) : NULL;
    if (!call.ready())
        return;
    ls_graph_note(call.cuda, p->choice.shape);
    switch (p->key.direction) {
    case LS_CUDNN_FORWARD:
        worked(call.cuda, cudnnConvolutionForward(handle, &one, p->x, a, p->w, b, p->convolution, (cudnnConvolutionFwdAlgo_t)p->algorithm, workspace, p->workspace, &keep, p->y, to), "a convolution");
        return;
    case LS_CUDNN_INPUT:
        worked(call.cuda, cudnnConvolutionBackwardData(handle, &one, p->w, b, p->y, a, p->convolution, (cudnnConvolutionBwdDataAlgo_t)p->algorithm, workspace, p->workspace, &keep, p->x, to),
               "a convolution's gradient in x");
        return;
    default:
        worked(call.cuda, cudnnConvolutionBackwardFilter(handle, &one, p->x, a, p->y, b, p->convolution, (cudnnConvolutionBwdFilterAlgo_t)p->algorithm, workspace, p->workspace, &keep, p->w, to),
               "a convolution's gradient in w");
    }
}

/* The same where every array begins where it should, or a copy of it does. */
static void convolve_anywhere(ls_cuda_call &call, const plan *p, const void *a, const void *b, bool accumulate, void *to)
{
    const ls_grid *grid = &p->key.grid;
    const int64_t direction = p->key.direction;
    const size_t element = ls_type_size(grid->type);
    const size_t x = (size_t)(grid->batch * volume(grid->in) * grid->channels) * element, y = (size_t)(grid->batch * volume(grid->out) * grid->outputs) * element;
    const size_t w = (size_t)(grid->outputs * volume(grid->window) * (grid->channels / grid->groups)) * element;
    const size_t written = direction == LS_CUDNN_FORWARD ? y : direction == LS_CUDNN_INPUT ? x : w;
    const void *from = ls_cuda_aligned(call, a, direction == LS_CUDNN_INPUT ? y : x), *with = ls_cuda_aligned(call, b, direction == LS_CUDNN_WEIGHT ? y : w);
    void *into = const_cast<void *>(ls_cuda_aligned(call, to, written));
    convolve(call, p, from, with, accumulate, into);
    if (call.ready() && into != to)
        ls_cuda_failed(call.cuda, cudaMemcpyAsync(to, into, written, cudaMemcpyDeviceToDevice, call.stream), "putting a result in its place");
}

template <typename T> static void widen(ls_cuda_call &call, int64_t n, const T *from, float *to)
{
    ls_each(call, n, [=] __device__(int64_t i) { to[i] = ls_get(from, i); });
}

/* dw += from x and dy in bf16 or f16. */
template <typename T> static bool weight_of_narrow(ls_cuda_call &call, const ls_grid *grid, const void *x_, const void *dy_, void *dw)
{
    ls_grid piece = *grid, last = *grid;
    const T *x = static_cast<const T *>(x_), *dy = static_cast<const T *>(dy_);
    const int64_t of_x = volume(grid->in) * grid->channels, of_y = volume(grid->out) * grid->outputs, each = 4 * (of_x + of_y), fit = each ? WIDENED / each : 1;
    piece.type = last.type = LS_F32;
    piece.batch = fit < 1 ? 1 : fit < grid->batch ? fit : grid->batch;
    last.batch = piece.batch ? (grid->batch - 1) % piece.batch + 1 : 0;
    const plan *p = plan_of(call.cuda, &piece, LS_CUDNN_WEIGHT, true), *end = plan_of(call.cuda, &last, LS_CUDNN_WEIGHT, true);
    if (!p || !end)
        return false;
    float *wide_x = call.scratch<float>(piece.batch * of_x), *wide_y = call.scratch<float>(piece.batch * of_y);
    for (int64_t first = 0; first < grid->batch && call.ready(); first += piece.batch) {
        const plan *now = grid->batch - first < piece.batch ? end : p;
        widen(call, now->key.grid.batch * of_x, x + first * of_x, wide_x);
        widen(call, now->key.grid.batch * of_y, dy + first * of_y, wide_y);
        convolve_anywhere(call, now, wide_x, wide_y, true, dw);
    }
    return true;
}

bool ls_cuda_cudnn(ls_cuda_call &call, const ls_grid *grid, ls_cudnn_direction direction, const void *a, const void *b, bool accumulate, void *to)
{
    if (grid->type == LS_BF16 && direction == LS_CUDNN_WEIGHT)
        return weight_of_narrow<ls_bf16>(call, grid, a, b, to);
    if (grid->type == LS_F16 && direction == LS_CUDNN_WEIGHT)
        return weight_of_narrow<ls_f16>(call, grid, a, b, to);
    const plan *p = plan_of(call.cuda, grid, direction, call.cuda->tf32);
    if (p)
        convolve_anywhere(call, p, a, b, accumulate, to);
    return p != NULL;
}

int64_t ls_cuda_cudnn_choices(const ls_cuda *cuda, ls_device_choice *choice, int64_t most)
{
    int64_t count = 0;
    for (int i = 0; cuda->convolutions && i < BUCKETS; i++)
        for (const plan *p = cuda->convolutions->bucket[i]; p && count < most; p = p->next)
            choice[count++] = p->choice;
    return count;
}

void ls_cuda_cudnn_name(char *text, size_t room)
{
    const size_t version = cudnnGetVersion(); /* 9.19.0 is 91900 */
    snprintf(text, room, " cudnn-%d.%d.%d", (int)(version / 10000), (int)(version / 100 % 100), (int)(version % 100));
}

#else /* without the library */

bool ls_cuda_cudnn(ls_cuda_call &, const ls_grid *, ls_cudnn_direction, const void *, const void *, bool, void *) { return false; }
void ls_cuda_cudnn_free(ls_cuda *) {}
int64_t ls_cuda_cudnn_choices(const ls_cuda *, ls_device_choice *, int64_t) { return 0; }
void ls_cuda_cudnn_name(char *text, size_t room) { snprintf(text, room, "%s", ""); }

#endif
