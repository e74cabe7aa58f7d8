/* cuDNN's convolutions on the host. It refuses what the documentation of cudnnConvolutionForward, ...BackwardData and
 * ...BackwardFilter rules out, and where the documentation leaves a choice it takes the unkind one:
 *   - tensors and weights with channels last, of four or five dimensions, of the rows FLOAT_CONFIG and
 *     PSEUDO_BFLOAT16_CONFIG and PSEUDO_HALF_CONFIG of its tables: x, w and y of one type, sums in f32;
 *   - the algorithms that its tables have for that layout alone: implicit products forward, ALGO_0 and ALGO_1 backward;
 *   - sizes that fit each other, the result's by the formula of cudnnGetConvolutionNdForwardOutputDim, less than 2 Gi
 *     elements a tensor;
 *   - pointers to whole arrays in device memory at multiples of 16 bytes, as tensor cores want them; a result that
 *     overlaps no operand; a workspace of the size that the algorithm asks for, which it fills with NaN;
 *   - the heuristic names an algorithm first that is not deterministic, where the documentation knows one. Its sums begin
 *     at a place chosen by the seed;
 *   - f32 is rounded to tf32 wherever its kind of arithmetic allows that (all but CUDNN_FMA_MATH, as on an A100).
 * Other sums go in ascending order of taps, channels and positions, in f32. */
#include "stream.h"
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cudahost.h>
#include <cudnn.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

enum { AXES = 3, ALIGN = 16 };

struct cudnnContext {
    cudaStream_t stream;
};

/* Sizes in the order N, C, then the axes (of a weight: results, channels of a group, axes). 0 dimensions: never set. */
struct cudnnTensorStruct {
    cudnnDataType_t type;
    int dimensions;
    int64_t size[CUDNN_DIM_MAX];
};

struct cudnnFilterStruct : cudnnTensorStruct {
};

struct cudnnConvolutionStruct {
    int axes;
    int64_t padding[CUDNN_DIM_MAX], stride[CUDNN_DIM_MAX], dilation[CUDNN_DIM_MAX], groups;
    cudnnDataType_t compute;
    cudnnMathType_t math;
};

typedef cudnnTensorStruct tensor;
typedef cudnnConvolutionStruct convolution;

static cudnnStatus_t refuse(cudnnStatus_t status, const char *format, ...) __attribute__((format(printf, 2, 3)));

static cudnnStatus_t refuse(cudnnStatus_t status, const char *format, ...)
{
    char text[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    report_sentence(cudnnGetErrorString(status), text);
    return status;
}

extern "C" {
const char *cudnnGetErrorString(cudnnStatus_t status)
{
    switch (status) {
#define NAME(name, value)                                                                                              \
    case name: return #name;
        CUDNN_STATUSES(NAME)
#undef NAME
    }
    return "an unknown status";
}

size_t cudnnGetVersion(void)
{
    return 91900;
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    if (handle == nullptr)
        return refuse(CUDNN_STATUS_BAD_PARAM, "cudnnCreate: the handle is null");
    *handle = new cudnnContext{nullptr};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    delete handle;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    if (handle == nullptr || stream_queue(stream, "cudnnSetStream") == nullptr)
        return refuse(CUDNN_STATUS_BAD_PARAM, "cudnnSetStream: no handle, or no stream");
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}
}

/* ---- Descriptors */

static size_t type_bytes(cudnnDataType_t type)
{
    return type == CUDNN_DATA_FLOAT ? 4 : type == CUDNN_DATA_DOUBLE ? 8 : 2;
}

static size_t count_of(const tensor &t)
{
    size_t count = 1;
    for (int d = 0; d < t.dimensions; d++)
        count *= (size_t)t.size[d];
    return count;
}

static cudnnStatus_t set_sizes(const char *function, tensor *t, cudnnTensorFormat_t format, cudnnDataType_t type,
                               int dimensions, const int size[])
{
    if (t == nullptr || size == nullptr || dimensions < 4 || dimensions > CUDNN_DIM_MAX)
        return refuse(dimensions > CUDNN_DIM_MAX ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_BAD_PARAM,
                      "%s: %d dimensions; 4 to %d are known, unused ones are 1", function,
                      dimensions, CUDNN_DIM_MAX);
    if (format != CUDNN_TENSOR_NHWC)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED_LAYOUT, "%s: format %d; here channels are last", function, format);
    tensor made = {type, dimensions, {0}};
    int64_t count = 1;
    for (int d = 0; d < dimensions; d++) {
        if (size[d] <= 0)
            return refuse(CUDNN_STATUS_BAD_PARAM, "%s: size %d of dimension %d", function, size[d], d);
        if ((count *= size[d]) > INT32_MAX)
            return refuse(CUDNN_STATUS_NOT_SUPPORTED, "%s: more than 2 Gi elements", function);
        made.size[d] = size[d];
    }
    *t = made;
    return CUDNN_STATUS_SUCCESS;
}

extern "C" {
cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t *t)
{
    *t = new cudnnTensorStruct{};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t t)
{
    delete t;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetTensorNdDescriptorEx(cudnnTensorDescriptor_t t, cudnnTensorFormat_t format, cudnnDataType_t type,
                                           int dimensions, const int size[])
{
    return set_sizes(__func__, t, format, type, dimensions, size);
}

cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t *w)
{
    *w = new cudnnFilterStruct{};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t w)
{
    delete w;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetFilterNdDescriptor(cudnnFilterDescriptor_t w, cudnnDataType_t type, cudnnTensorFormat_t format,
                                         int dimensions, const int size[])
{
    return set_sizes(__func__, w, format, type, dimensions, size);
}

cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t *c)
{
    *c = new cudnnConvolutionStruct{};
    (*c)->groups = 1;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t c)
{
    delete c;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionNdDescriptor(cudnnConvolutionDescriptor_t c, int axes, const int padding[],
                                              const int stride[], const int dilation[], cudnnConvolutionMode_t mode,
                                              cudnnDataType_t compute)
{
    if (c == nullptr || axes < 2 || axes > AXES)
        return refuse(axes > AXES ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_BAD_PARAM, "%s: %d axes", __func__, axes);
    if (mode != CUDNN_CROSS_CORRELATION)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "%s: mode %d turns the window around", __func__, mode);
    for (int d = 0; d < axes; d++) {
        if (padding[d] < 0 || stride[d] <= 0 || dilation[d] <= 0)
            return refuse(CUDNN_STATUS_BAD_PARAM, "%s: padding %d, stride %d, dilation %d on axis %d", __func__,
                          padding[d], stride[d], dilation[d], d);
        c->padding[d] = padding[d], c->stride[d] = stride[d], c->dilation[d] = dilation[d];
    }
    c->axes = axes;
    c->compute = compute;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t c, int groups)
{
    if (c == nullptr || groups <= 0)
        return refuse(CUDNN_STATUS_BAD_PARAM, "%s: %d groups", __func__, groups);
    c->groups = groups;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t c, cudnnMathType_t math)
{
    if (c == nullptr || math < CUDNN_DEFAULT_MATH || math > CUDNN_FMA_MATH)
        return refuse(CUDNN_STATUS_BAD_PARAM, "%s: kind %d", __func__, math);
    c->math = math;
    return CUDNN_STATUS_SUCCESS;
}
}

/* ---- Checks */

enum direction { FORWARD, DATA, FILTER };

/* Axes that are not there have size 1 in front. */
struct problem {
    direction way;
    cudnnDataType_t type;
    cudnnMathType_t math;
    int64_t batch, in[AXES], out[AXES], window[AXES], padding[AXES], stride[AXES], dilation[AXES];
    int64_t channels, outputs, groups;
    size_t count_x, count_w, count_y;
};

static int64_t volume(const int64_t size[AXES])
{
    return size[0] * size[1] * size[2];
}

static cudnnStatus_t check_kind(const char *function, const tensor &x, const tensor &w, const convolution &c,
                                const tensor &y)
{
    if (x.dimensions == 0 || w.dimensions == 0 || y.dimensions == 0 || c.axes == 0)
        return refuse(CUDNN_STATUS_BAD_PARAM, "%s: a descriptor was never set", function);
    if (x.dimensions != w.dimensions || x.dimensions != y.dimensions || x.dimensions != c.axes + 2)
        return refuse(CUDNN_STATUS_BAD_PARAM, "%s: x has %d dimensions, w %d, y %d, the convolution %d axes", function,
                      x.dimensions, w.dimensions, y.dimensions, c.axes);
    if (x.type != w.type || x.type != y.type || c.compute != CUDNN_DATA_FLOAT ||
        (x.type != CUDNN_DATA_FLOAT && x.type != CUDNN_DATA_BFLOAT16 && x.type != CUDNN_DATA_HALF))
        return refuse(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE,
                      "%s: x of type %d, w %d, y %d, sums %d are not a row of the table with channels last", function,
                      x.type, w.type, y.type, c.compute);
    return CUDNN_STATUS_SUCCESS;
}

/* Everything that does not need the pointers. */
static cudnnStatus_t describe(const char *function, problem *p, direction way, const tensor *x, const tensor *w,
                              const convolution *c, const tensor *y)
{
    if (x == nullptr || w == nullptr || c == nullptr || y == nullptr)
        return refuse(CUDNN_STATUS_BAD_PARAM, "%s: a descriptor is null", function);
    cudnnStatus_t s = check_kind(function, *x, *w, *c, *y);
    if (s != CUDNN_STATUS_SUCCESS)
        return s;
    if (x->size[0] != y->size[0] || x->size[1] != w->size[1] * c->groups || y->size[1] != w->size[0] ||
        w->size[0] % c->groups != 0)
        return refuse(CUDNN_STATUS_BAD_PARAM,
                      "%s: x is %ld samples of %ld channels, y %ld of %ld; w is %ld x %ld, in %ld groups", function,
                      x->size[0], x->size[1], y->size[0], y->size[1], w->size[0], w->size[1], c->groups);
    *p = {way, x->type, c->math, x->size[0], {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}, {1, 1, 1},
          x->size[1], y->size[1], c->groups, count_of(*x), count_of(*w), count_of(*y)};
    for (int d = 0; d < c->axes; d++) {
        const int at = AXES - c->axes + d;
        p->in[at] = x->size[2 + d], p->out[at] = y->size[2 + d], p->window[at] = w->size[2 + d];
        p->padding[at] = c->padding[d], p->stride[at] = c->stride[d], p->dilation[at] = c->dilation[d];
        const int64_t room = p->in[at] + 2 * p->padding[at] - ((p->window[at] - 1) * p->dilation[at] + 1);
        if (room < 0 || p->out[at] != room / p->stride[at] + 1)
            return refuse(CUDNN_STATUS_BAD_PARAM, "%s: axis %d of y has %ld positions; x and w make it %ld", function, d,
                          p->out[at], room < 0 ? 0 : room / p->stride[at] + 1);
    }
    return CUDNN_STATUS_SUCCESS;
}

/* ---- Algorithms, by their numbers. Forward: implicit product 0, with its places worked out before 1. Backward: 0 is not
 * deterministic, 1 is. */

static bool known(const problem &p, int algorithm)
{
    return algorithm == 1 || (algorithm == 0 && (p.way != FORWARD || p.type == CUDNN_DATA_FLOAT));
}

static bool deterministic(const problem &p, int algorithm)
{
    return p.way == FORWARD || algorithm == 1;
}

static size_t workspace_of(const problem &p, int algorithm)
{
    return algorithm == 0 ? 0 : p.way == FORWARD ? 4 * (size_t)volume(p.window) * 64 : 4 * p.count_w;
}

static bool refusing;

extern "C" void cudahost_cudnn_refuse(int refuse)
{
    refusing = refuse != 0;
}

template <class Perf, class Algorithm>
static cudnnStatus_t answer(const char *function, cudnnHandle_t handle, direction way, const tensor *x, const tensor *w,
                            const convolution *c, const tensor *y, int requested, int *returned, Perf *results)
{
    problem p = {};
    if (handle == nullptr || requested < 1 || returned == nullptr || results == nullptr)
        return refuse(CUDNN_STATUS_BAD_PARAM, "%s: %d algorithms asked for", function, requested);
    *returned = 0;
    cudnnStatus_t s = describe(function, &p, way, x, w, c, y);
    if (s != CUDNN_STATUS_SUCCESS)
        return s;
    if (refusing)
        return CUDNN_STATUS_NOT_SUPPORTED;
    const int order[] = {way == FORWARD ? 1 : 0, way == FORWARD ? 0 : 1, 4, 5};
    for (int i = 0; i < 4 && i < requested; i++) {
        Perf *r = &results[(*returned)++];
        memset(r, 0, sizeof *r);
        r->algo = (Algorithm)order[i];
        r->status = known(p, order[i]) ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
        r->time = -1;
        r->memory = known(p, order[i]) ? workspace_of(p, order[i]) : 0;
        r->determinism = deterministic(p, order[i]) ? CUDNN_DETERMINISTIC : CUDNN_NON_DETERMINISTIC;
        r->mathType = p.math;
    }
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t size_of(const char *function, direction way, const tensor *x, const tensor *w,
                             const convolution *c, const tensor *y, int algorithm, size_t *bytes)
{
    problem p = {};
    cudnnStatus_t s = describe(function, &p, way, x, w, c, y);
    if (s != CUDNN_STATUS_SUCCESS)
        return s;
    if (!known(p, algorithm))
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "%s: algorithm %d has no kernel with channels last", function,
                      algorithm);
    *bytes = workspace_of(p, algorithm);
    return CUDNN_STATUS_SUCCESS;
}

extern "C" {
cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t handle, const cudnnTensorDescriptor_t x,
                                                     const cudnnFilterDescriptor_t w,
                                                     const cudnnConvolutionDescriptor_t c,
                                                     const cudnnTensorDescriptor_t y, const int requested,
                                                     int *returned, cudnnConvolutionFwdAlgoPerf_t *results)
{
    return answer<cudnnConvolutionFwdAlgoPerf_t, cudnnConvolutionFwdAlgo_t>(__func__, handle, FORWARD, x, w, c, y,
                                                                            requested, returned, results);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t handle, const cudnnFilterDescriptor_t w,
                                                          const cudnnTensorDescriptor_t dy,
                                                          const cudnnConvolutionDescriptor_t c,
                                                          const cudnnTensorDescriptor_t dx, const int requested,
                                                          int *returned, cudnnConvolutionBwdDataAlgoPerf_t *results)
{
    return answer<cudnnConvolutionBwdDataAlgoPerf_t, cudnnConvolutionBwdDataAlgo_t>(__func__, handle, DATA, dx, w, c,
                                                                                    dy, requested, returned, results);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnnHandle_t handle, const cudnnTensorDescriptor_t x,
                                                            const cudnnTensorDescriptor_t dy,
                                                            const cudnnConvolutionDescriptor_t c,
                                                            const cudnnFilterDescriptor_t dw, const int requested,
                                                            int *returned, cudnnConvolutionBwdFilterAlgoPerf_t *results)
{
    return answer<cudnnConvolutionBwdFilterAlgoPerf_t, cudnnConvolutionBwdFilterAlgo_t>(
        __func__, handle, FILTER, x, dw, c, dy, requested, returned, results);
}

cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t, const cudnnTensorDescriptor_t x,
                                                      const cudnnFilterDescriptor_t w,
                                                      const cudnnConvolutionDescriptor_t c,
                                                      const cudnnTensorDescriptor_t y,
                                                      cudnnConvolutionFwdAlgo_t algorithm, size_t *bytes)
{
    return size_of(__func__, FORWARD, x, w, c, y, algorithm, bytes);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(cudnnHandle_t, const cudnnFilterDescriptor_t w,
                                                           const cudnnTensorDescriptor_t dy,
                                                           const cudnnConvolutionDescriptor_t c,
                                                           const cudnnTensorDescriptor_t dx,
                                                           cudnnConvolutionBwdDataAlgo_t algorithm, size_t *bytes)
{
    return size_of(__func__, DATA, dx, w, c, dy, algorithm, bytes);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(cudnnHandle_t, const cudnnTensorDescriptor_t x,
                                                             const cudnnTensorDescriptor_t dy,
                                                             const cudnnConvolutionDescriptor_t c,
                                                             const cudnnFilterDescriptor_t dw,
                                                             cudnnConvolutionBwdFilterAlgo_t algorithm, size_t *bytes)
{
    return size_of(__func__, FILTER, x, dw, c, dy, algorithm, bytes);
}
}

/* ---- The sums */

static float tf32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7f800000) != 0x7f800000)
        bits = (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static std::vector<float> operand(const problem &p, const void *array, size_t count)
{
    std::vector<float> values(count);
    if (p.type == CUDNN_DATA_BFLOAT16)
        for (size_t i = 0; i < count; i++)
            values[i] = (float)static_cast<const __nv_bfloat16 *>(array)[i];
    else if (p.type == CUDNN_DATA_HALF)
        for (size_t i = 0; i < count; i++)
            values[i] = (float)static_cast<const __half *>(array)[i];
    else
        memcpy(values.data(), array, count * sizeof(float));
    for (size_t i = 0; p.type == CUDNN_DATA_FLOAT && p.math != CUDNN_FMA_MATH && i < count; i++)
        values[i] = tf32(values[i]);
    return values;
}

/* to = alpha sums + beta to, rounded once. */
static void store(const problem &p, float alpha, const std::vector<float> &sums, float beta, void *to)
{
    for (size_t i = 0; i < sums.size(); i++) {
        float x = alpha * sums[i];
        if (p.type == CUDNN_DATA_BFLOAT16) {
            __nv_bfloat16 *at = static_cast<__nv_bfloat16 *>(to) + i;
            *at = __nv_bfloat16(beta != 0 ? x + beta * (float)*at : x);
        } else if (p.type == CUDNN_DATA_HALF) {
            __half *at = static_cast<__half *>(to) + i;
            *at = __half(beta != 0 ? x + beta * (float)*at : x);
        } else {
            float *at = static_cast<float *>(to) + i;
            *at = beta != 0 ? x + beta * *at : x;
        }
    }
}

/* The position of x that position `out` of y sees with tap `tap`; -1: it lies outside. */
static int64_t seen(const problem &p, int64_t out, int64_t tap)
{
    int64_t position = 0, scale = 1;
    for (int d = AXES - 1; d >= 0; d--) {
        const int64_t i = out % p.out[d] * p.stride[d] + tap % p.window[d] * p.dilation[d] - p.padding[d];
        if (i < 0 || i >= p.in[d])
            return -1;
        position += i * scale;
        scale *= p.in[d], out /= p.out[d], tap /= p.window[d];
    }
    return position;
}

/* Calls f(x's row, y's row, tap) for each pair that meets: samples from `first` on and around, positions, taps. */
template <class F> static void each_meeting(const problem &p, int64_t first, F f)
{
    const int64_t in = volume(p.in), out = volume(p.out), taps = volume(p.window);
    for (int64_t n = 0; n < p.batch; n++)
        for (int64_t o = 0; o < out; o++)
            for (int64_t tap = 0; tap < taps; tap++) {
                const int64_t sample = (first + n) % p.batch, position = seen(p, o, (first + tap) % taps);
                if (position >= 0)
                    f(sample * in + position, sample * out + o, (first + tap) % taps);
            }
}

/* a and b as the direction has them: x and w, dy and w, x and dy. Weights lie as [outputs][taps][channels of a group]. */
static std::vector<float> convolve(const problem &p, int64_t first, const std::vector<float> &a,
                                   const std::vector<float> &b)
{
    const int64_t depth = p.channels / p.groups, breadth = p.outputs / p.groups, taps = volume(p.window);
    std::vector<float> sums(p.way == FORWARD ? p.count_y : p.way == DATA ? p.count_x : p.count_w), turned;
    if (p.way == FORWARD) { /* [taps][channels of a group][outputs]: the inner loop runs over outputs */
        turned.resize(p.count_w);
        for (int64_t o = 0; o < p.outputs; o++)
            for (int64_t i = 0; i < taps * depth; i++)
                turned[(size_t)(i * p.outputs + o)] = b[(size_t)(o * taps * depth + i)];
    }
    each_meeting(p, first, [&](int64_t row_x, int64_t row_y, int64_t tap) {
        for (int64_t g = 0; g < p.groups; g++)
            for (int64_t i = 0; i < (p.way == FORWARD ? depth : breadth); i++) {
                const int64_t o = g * breadth + i, at_w = (o * taps + tap) * depth;
                float *to = p.way == FORWARD ? &sums[(size_t)(row_y * p.outputs + g * breadth)]
                            : p.way == DATA  ? &sums[(size_t)(row_x * p.channels + g * depth)]
                                             : &sums[(size_t)at_w];
                const float factor = p.way == FORWARD ? a[(size_t)(row_x * p.channels + g * depth + i)]
                                     : p.way == DATA  ? a[(size_t)(row_y * p.outputs + o)]
                                                      : b[(size_t)(row_y * p.outputs + o)];
                const float *by = p.way == FORWARD ? &turned[(size_t)((tap * depth + i) * p.outputs + g * breadth)]
                                  : p.way == DATA  ? &b[(size_t)at_w]
                                                   : &a[(size_t)(row_x * p.channels + g * depth)];
                const int64_t length = p.way == FORWARD ? breadth : depth;
                for (int64_t k = 0; k < length; k++)
                    to[k] += factor * by[k];
            }
    });
    return sums;
}

/* ---- Calls */

struct array {
    const char *name;
    const void *pointer;
    size_t bytes;
};

static cudnnStatus_t check_array(const char *function, const array &a)
{
    if (a.pointer == nullptr)
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "%s: %s is null", function, a.name);
    if (!memory_is_device(a.pointer, a.bytes))
        return refuse(CUDNN_STATUS_BAD_PARAM, "%s: %s needs %zu bytes of device memory; %s", function, a.name, a.bytes,
                      memory_describe(a.pointer).c_str());
    if ((uintptr_t)a.pointer % ALIGN != 0)
        return refuse(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "%s: %s at %p, not a multiple of %d", function, a.name,
                      a.pointer, ALIGN);
    return CUDNN_STATUS_SUCCESS;
}

static bool overlap(const array &a, const array &b)
{
    const char *begin_a = static_cast<const char *>(a.pointer), *begin_b = static_cast<const char *>(b.pointer);
    return begin_a < begin_b + b.bytes && begin_b < begin_a + a.bytes;
}

/* One call: operands a and b, the result `to`, each named as the caller knows it. */
static cudnnStatus_t call(const char *function, cudnnHandle_t handle, const problem &p, int algorithm,
                          const void *alpha, array a, array b, const void *beta, array to, void *workspace,
                          size_t workspace_bytes)
{
    if (!known(p, algorithm))
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "%s: algorithm %d has no kernel with channels last", function,
                      algorithm);
    if (alpha == nullptr || beta == nullptr)
        return refuse(CUDNN_STATUS_BAD_PARAM, "%s: alpha or beta is null", function);
    const size_t needed = workspace_of(p, algorithm);
    const array room = {"the workspace", workspace, needed};
    if (workspace_bytes < needed)
        return refuse(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, "%s: workspace of %zu bytes; the algorithm needs %zu",
                      function, workspace_bytes, needed);
    for (const array &checked : {a, b, to, room}) {
        const cudnnStatus_t s = checked.bytes > 0 ? check_array(function, checked) : CUDNN_STATUS_SUCCESS;
        if (s != CUDNN_STATUS_SUCCESS)
            return s;
    }
    if (overlap(a, to) || overlap(b, to) || (needed > 0 && (overlap(room, to) || overlap(room, a) || overlap(room, b))))
        return refuse(CUDNN_STATUS_BAD_PARAM, "%s: %s or the workspace overlaps another array", function, to.name);
    const float scale = *static_cast<const float *>(alpha), keep = *static_cast<const float *>(beta);
    const int64_t first = deterministic(p, algorithm) ? 0 : (int64_t)(order_random() % 1009);
    const cudaError_t error = stream_enqueue(handle->stream, [=] {
        memory_settle();
        /* Looked at again: it may have been freed meanwhile. */
        if (!memory_is_device(a.pointer, a.bytes) || !memory_is_device(b.pointer, b.bytes) ||
            !memory_is_device(to.pointer, to.bytes) || (needed > 0 && !memory_is_device(workspace, needed)))
            return report_fault(cudaErrorIllegalAddress, "%s: memory was freed before the stream came to it", function);
        if (needed > 0)
            memset(workspace, 0xff, needed);
        const size_t element = type_bytes(p.type);
        store(p, scale, convolve(p, first, operand(p, a.pointer, a.bytes / element), operand(p, b.pointer, b.bytes / element)),
              keep, const_cast<void *>(to.pointer));
    }, (uint64_t)p.way << 32 | (uint32_t)algorithm);
    return error == cudaSuccess ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}

/* What each of the three begins with. */
static cudnnStatus_t begin(const char *function, const stream_call &entered, cudnnHandle_t handle, problem *p,
                           direction way, const tensor *x, const tensor *w, const convolution *c, const tensor *y)
{
    if (entered.refused != cudaSuccess)
        return CUDNN_STATUS_EXECUTION_FAILED;
    if (handle == nullptr)
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "%s: the handle is null", function);
    return describe(function, p, way, x, w, c, y);
}

extern "C" {
cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void *alpha, const cudnnTensorDescriptor_t x_of,
                                      const void *x, const cudnnFilterDescriptor_t w_of, const void *w,
                                      const cudnnConvolutionDescriptor_t c, cudnnConvolutionFwdAlgo_t algorithm,
                                      void *workspace, size_t workspace_bytes, const void *beta,
                                      const cudnnTensorDescriptor_t y_of, void *y)
{
    problem p = {};
    stream_call entered;
    const cudnnStatus_t s = begin(__func__, entered, handle, &p, FORWARD, x_of, w_of, c, y_of);
    if (s != CUDNN_STATUS_SUCCESS)
        return s;
    const size_t element = type_bytes(p.type);
    return call(__func__, handle, p, algorithm, alpha, {"x", x, p.count_x * element}, {"w", w, p.count_w * element},
                beta, {"y", y, p.count_y * element}, workspace, workspace_bytes);
}

cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void *alpha, const cudnnFilterDescriptor_t w_of,
                                           const void *w, const cudnnTensorDescriptor_t dy_of, const void *dy,
                                           const cudnnConvolutionDescriptor_t c,
                                           cudnnConvolutionBwdDataAlgo_t algorithm, void *workspace,
                                           size_t workspace_bytes, const void *beta,
                                           const cudnnTensorDescriptor_t dx_of, void *dx)
{
    problem p = {};
    stream_call entered;
    const cudnnStatus_t s = begin(__func__, entered, handle, &p, DATA, dx_of, w_of, c, dy_of);
    if (s != CUDNN_STATUS_SUCCESS)
        return s;
    const size_t element = type_bytes(p.type);
    return call(__func__, handle, p, algorithm, alpha, {"dy", dy, p.count_y * element}, {"w", w, p.count_w * element},
                beta, {"dx", dx, p.count_x * element}, workspace, workspace_bytes);
}

cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void *alpha,
                                             const cudnnTensorDescriptor_t x_of, const void *x,
                                             const cudnnTensorDescriptor_t dy_of, const void *dy,
                                             const cudnnConvolutionDescriptor_t c,
                                             cudnnConvolutionBwdFilterAlgo_t algorithm, void *workspace,
                                             size_t workspace_bytes, const void *beta,
                                             const cudnnFilterDescriptor_t dw_of, void *dw)
{
    problem p = {};
    stream_call entered;
    const cudnnStatus_t s = begin(__func__, entered, handle, &p, FILTER, x_of, dw_of, c, dy_of);
    if (s != CUDNN_STATUS_SUCCESS)
        return s;
    const size_t element = type_bytes(p.type);
    return call(__func__, handle, p, algorithm, alpha, {"x", x, p.count_x * element}, {"dy", dy, p.count_y * element},
                beta, {"dw", dw, p.count_w * element}, workspace, workspace_bytes);
}
}
