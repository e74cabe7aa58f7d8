/* The double of cuDNN: convolutions and their gradients against float64, and the calls that the documentation rules out. */
#include <criterion/criterion.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <cudnn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <vector>
#include <cudahost.h>
#include "launch_test.h"

#define FINE(call) cr_assert_eq(call, CUDNN_STATUS_SUCCESS, "%s: %s", #call, cudahost_report())

enum way { FORWARD, DATA, FILTER };

/* The axes come first; unused ones are 1. */
struct kind {
    int axes, in[3], window[3], padding[3], stride[3], dilation[3];
    int batch, channels, outputs, groups;
    cudnnDataType_t type;
};

struct convolution : kind {
    int out[3] = {1, 1, 1};
    std::vector<double> values[3]; /* x, w, y */
    char *on[3], *workspace;
    cudnnHandle_t handle;
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t c;

    char *upload(std::vector<double> *all) const
    {
        std::vector<char> raw(all->size() * (type == CUDNN_DATA_FLOAT ? 4 : 2));
        for (size_t i = 0; i < all->size(); i++) {
            const float f = (float)(*all)[i];
            const __nv_bfloat16 b = f;
            const __half h = f;
            if (type == CUDNN_DATA_FLOAT)
                (*all)[i] = f, memcpy(&raw[i * 4], &f, 4);
            else if (type == CUDNN_DATA_HALF)
                (*all)[i] = (float)h, memcpy(&raw[i * 2], &h, 2);
            else
                (*all)[i] = (float)b, memcpy(&raw[i * 2], &b, 2);
        }
        char *p;
        OK(cudaMalloc(&p, raw.size()));
        OK(cudaMemcpy(p, raw.data(), raw.size(), cudaMemcpyHostToDevice));
        return p;
    }

    std::vector<double> download(int which) const
    {
        const size_t element = type == CUDNN_DATA_FLOAT ? 4 : 2;
        std::vector<char> raw(values[which].size() * element);
        std::vector<double> all(values[which].size());
        OK(cudaMemcpy(raw.data(), on[which], raw.size(), cudaMemcpyDeviceToHost));
        for (size_t i = 0; i < all.size(); i++)
            all[i] = type == CUDNN_DATA_FLOAT  ? *(const float *)&raw[i * 4]
                     : type == CUDNN_DATA_HALF ? (float)*(const __half *)&raw[i * 2]
                                               : (float)*(const __nv_bfloat16 *)&raw[i * 2];
        return all;
    }

    static std::vector<double> numbers(int count, unsigned seed)
    {
        std::vector<double> all((size_t)count);
        for (double &one : all) {
            seed = seed * 1664525u + 1013904223u;
            one = (double)(seed >> 8) / (1 << 23) - 1.0;
        }
        return all;
    }

    cudnnStatus_t set(cudnnTensorDescriptor_t t, int n, int k, const int *axis)
    {
        int size[5] = {n, k, axis[0], axis[1], axis[2]};
        return cudnnSetTensorNdDescriptorEx(t, CUDNN_TENSOR_NHWC, type, axes + 2, size);
    }

    explicit convolution(kind which) : kind(which)
    {
        int all_in = 1, all_out = 1, taps = 1, size[5] = {outputs, channels / groups};
        for (int d = 0; d < axes; d++) {
            out[d] = (in[d] + 2 * padding[d] - ((window[d] - 1) * dilation[d] + 1)) / stride[d] + 1;
            all_in *= in[d], all_out *= out[d], taps *= window[d], size[2 + d] = window[d];
        }
        values[0] = numbers(batch * all_in * channels, 1), values[1] = numbers(outputs * taps * (channels / groups), 2);
        values[2] = numbers(batch * all_out * outputs, 3);
        for (int i = 0; i < 3; i++)
            on[i] = upload(&values[i]);
        OK(cudaMalloc(&workspace, 65536));
        FINE(cudnnCreate(&handle));
        FINE(cudnnCreateTensorDescriptor(&x));
        FINE(cudnnCreateTensorDescriptor(&y));
        FINE(cudnnCreateFilterDescriptor(&w));
        FINE(cudnnCreateConvolutionDescriptor(&c));
        FINE(set(x, batch, channels, in));
        FINE(set(y, batch, outputs, out));
        FINE(cudnnSetFilterNdDescriptor(w, type, CUDNN_TENSOR_NHWC, axes + 2, size));
        FINE(cudnnSetConvolutionNdDescriptor(c, axes, padding, stride, dilation, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
        FINE(cudnnSetConvolutionGroupCount(c, groups));
        FINE(cudnnSetConvolutionMathType(c, CUDNN_FMA_MATH));
    }

    cudnnStatus_t run(way which, int algorithm, float alpha, float beta, size_t room)
    {
        if (which == FORWARD)
            return cudnnConvolutionForward(handle, &alpha, x, on[0], w, on[1], c, (cudnnConvolutionFwdAlgo_t)algorithm, workspace, room, &beta, y, on[2]);
        if (which == DATA)
            return cudnnConvolutionBackwardData(handle, &alpha, w, on[1], y, on[2], c, (cudnnConvolutionBwdDataAlgo_t)algorithm, workspace, room, &beta, x, on[0]);
        return cudnnConvolutionBackwardFilter(handle, &alpha, x, on[0], y, on[2], c, (cudnnConvolutionBwdFilterAlgo_t)algorithm, workspace, room, &beta, w, on[1]);
    }

    /* The definition: for each place of y, output, tap and channel, the places of the three arrays. */
    template <class F> void each(F f) const
    {
        const int depth = channels / groups, breadth = outputs / groups;
        int size[4][3]; /* in, out, window */
        for (int d = 0; d < 3; d++)
            size[0][d] = d < axes ? in[d] : 1, size[1][d] = d < axes ? out[d] : 1, size[2][d] = d < axes ? window[d] : 1;
        for (int n = 0; n < batch; n++)
            for (int o = 0; o < size[1][0] * size[1][1] * size[1][2]; o++)
                for (int t = 0; t < size[2][0] * size[2][1] * size[2][2]; t++) {
                    const int at_o[3] = {o / (size[1][1] * size[1][2]), o / size[1][2] % size[1][1], o % size[1][2]};
                    const int at_t[3] = {t / (size[2][1] * size[2][2]), t / size[2][2] % size[2][1], t % size[2][2]};
                    int position = 0;
                    bool inside = true;
                    for (int d = 0; d < 3; d++) {
                        const int i = d < axes ? at_o[d] * stride[d] + at_t[d] * dilation[d] - padding[d] : 0;
                        inside = inside && i >= 0 && i < size[0][d];
                        position = position * size[0][d] + i;
                    }
                    for (int k = 0; inside && k < outputs; k++)
                        for (int i = 0; i < depth; i++)
                            f((size_t)((n * size[0][0] * size[0][1] * size[0][2] + position) * channels + k / breadth * depth + i),
                              (size_t)((k * size[2][0] * size[2][1] * size[2][2] + t) * depth + i),
                              (size_t)((n * size[1][0] * size[1][1] * size[1][2] + o) * outputs + k));
                }
    }
};

static const int result_of[] = {2, 0, 1};

static void compare(kind which, way direction, int algorithm, float beta)
{
    convolution p(which);
    const int result = result_of[direction];
    std::vector<double> want(p.values[result].size(), 0.0);
    p.each([&](size_t x, size_t w, size_t y) {
        const size_t at[3] = {x, w, y};
        want[at[result]] += 0.5 * p.values[(result + 1) % 3][at[(result + 1) % 3]] * p.values[(result + 2) % 3][at[(result + 2) % 3]];
    });
    FINE(p.run(direction, algorithm, 0.5f, beta, 65536));
    std::vector<double> got = p.download(result);
    const double tolerance = p.type == CUDNN_DATA_FLOAT ? 1e-5 : 1e-2;
    for (size_t i = 0; i < got.size(); i++) {
        want[i] += beta * p.values[result][i];
        cr_assert(fabs(got[i] - want[i]) <= tolerance * (1 + fabs(want[i])), "direction %d: element %zu is %.9g, not %.9g", direction, i, got[i], want[i]);
    }
}

static const kind shapes[] = {
    {2, {5, 7, 1}, {3, 2, 1}, {1, 0, 0}, {2, 1, 1}, {1, 2, 1}, 2, 6, 4, 2, CUDNN_DATA_FLOAT},
    {2, {1, 9, 1}, {1, 4, 1}, {0, 2, 0}, {1, 3, 1}, {1, 1, 1}, 1, 3, 5, 1, CUDNN_DATA_BFLOAT16},
    {2, {1, 9, 1}, {1, 4, 1}, {0, 2, 0}, {1, 3, 1}, {1, 1, 1}, 1, 3, 5, 1, CUDNN_DATA_HALF},
    {3, {3, 4, 5}, {2, 3, 1}, {0, 1, 0}, {1, 2, 2}, {2, 1, 1}, 2, 2, 3, 1, CUDNN_DATA_FLOAT},
};

Test(cudnn, convolutions_agree_with_float64)
{
    for (const kind &shape : shapes)
        for (int direction = FORWARD; direction <= FILTER; direction++)
            for (int beta = 0; beta < 2; beta++)
                compare(shape, (way)direction, 1, (float)beta);
    compare(shapes[0], FORWARD, 0, 0);
}

/* The heuristic's answers: which run, which are named deterministic, and that those that are not are not. */
Test(cudnn, an_algorithm_that_is_not_deterministic_is_named_first_and_depends_on_the_seed)
{
    convolution p(shapes[0]);
    cudnnConvolutionBwdFilterAlgoPerf_t answers[8];
    int count = 0;
    FINE(cudnnGetConvolutionBackwardFilterAlgorithm_v7(p.handle, p.x, p.y, p.c, p.w, 8, &count, answers));
    cr_assert_geq(count, 2);
    cr_expect_eq(answers[0].determinism, CUDNN_NON_DETERMINISTIC);
    cr_expect_eq(answers[1].determinism, CUDNN_DETERMINISTIC);
    cr_expect_eq(answers[count - 1].status, CUDNN_STATUS_NOT_SUPPORTED);
    for (int algorithm = 0; algorithm < 2; algorithm++) {
        std::vector<double> first;
        int others = 0;
        for (unsigned seed = 1; seed <= 6; seed++) {
            cudahost_seed(seed);
            FINE(p.run(FILTER, algorithm, 1, 0, 65536));
            const std::vector<double> got = p.download(1);
            if (seed == 1)
                first = got;
            others += got != first;
        }
        cr_expect_eq(others > 0, algorithm == 0, "algorithm %d: %d of 5 seeds gave other bits", algorithm, others);
    }
}

Test(cudnn, f32_is_tf32_unless_only_multiply_adds_are_allowed)
{
    kind one = {2, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}, {1, 1, 1}, 1, 1, 1, 1, CUDNN_DATA_FLOAT};
    const float x = 1 + 0x1p-12f, w = 1;
    for (cudnnMathType_t math : {CUDNN_FMA_MATH, CUDNN_DEFAULT_MATH, CUDNN_TENSOR_OP_MATH}) {
        convolution p(one);
        float y = 0;
        OK(cudaMemcpy(p.on[0], &x, 4, cudaMemcpyHostToDevice));
        OK(cudaMemcpy(p.on[1], &w, 4, cudaMemcpyHostToDevice));
        FINE(cudnnSetConvolutionMathType(p.c, math));
        FINE(p.run(FORWARD, 1, 1, 0, 65536));
        OK(cudaMemcpy(&y, p.on[2], 4, cudaMemcpyDeviceToHost));
        cr_expect_eq(y, math == CUDNN_FMA_MATH ? x : 1, "kind of arithmetic %d: %.9g", math, y);
    }
}

static void refused(cudnnStatus_t got, cudnnStatus_t want, const char *word)
{
    cr_assert_eq(got, want, "%s, not %s: %s", cudnnGetErrorString(got), cudnnGetErrorString(want), cudahost_report());
    cr_assert(strstr(cudahost_report(), word), "no `%s`: %s", word, cudahost_report());
}

Test(cudnn, wrong_pointers_are_refused)
{
    const cudnnStatus_t bad = CUDNN_STATUS_BAD_PARAM;
    for (int direction = FORWARD; direction <= FILTER; direction++) {
        convolution p(shapes[0]);
        char *large;
        const way which = (way)direction;
        OK(cudaMalloc(&large, 65536));
        FINE(p.run(which, 1, 1, 0, 65536));
        for (int i = 0; i < 3; i++) {
            char *right = p.on[i];
            p.on[i] = nullptr;
            refused(p.run(which, 1, 1, 0, 65536), CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "is null");
            p.on[i] = (char *)malloc(4096);
            refused(p.run(which, 1, 1, 0, 65536), bad, "bytes of device memory");
            free(p.on[i]);
            p.on[i] = right + p.values[i].size() * 4 - 16;
            refused(p.run(which, 1, 1, 0, 65536), bad, "bytes of device memory");
            p.on[i] = large + 8;
            refused(p.run(which, 1, 1, 0, 65536), CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "not a multiple of 16");
            p.on[i] = right;
        }
        refused(p.run(which, 1, 1, 0, 64), CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, "workspace of 64 bytes");
        p.workspace = large, p.on[result_of[direction]] = large + 16; /* has room for either */
        refused(p.run(which, 1, 1, 0, 65536), bad, "overlaps");
        p.workspace = large + 32768, p.on[(result_of[direction] + 1) % 3] = large + 32;
        refused(p.run(which, 1, 1, 0, 65536), bad, "overlaps");
        OK(cudaDeviceSynchronize());
    }
}

Test(cudnn, wrong_descriptions_are_refused)
{
    const cudnnStatus_t bad = CUDNN_STATUS_BAD_PARAM;
    convolution p(shapes[0]);
    cudnnTensorDescriptor_t never;
    int zero[] = {2, 0, 5, 7}, huge[] = {1 << 12, 1 << 12, 1 << 8, 1 << 8}, few[] = {2, 6, 5}, one[] = {1, 1, 1}, minus[] = {-1, 0, 0}, none[] = {0, 1, 1};
    FINE(cudnnCreateTensorDescriptor(&never));
    refused(cudnnSetTensorNdDescriptorEx(never, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, 4, zero), bad, "size 0 of dimension 1");
    refused(cudnnSetTensorNdDescriptorEx(never, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, 3, few), bad, "3 dimensions");
    refused(cudnnSetTensorNdDescriptorEx(never, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, 4, huge), CUDNN_STATUS_NOT_SUPPORTED, "2 Gi elements");
    refused(cudnnSetTensorNdDescriptorEx(never, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 4, huge), CUDNN_STATUS_NOT_SUPPORTED_LAYOUT, "channels are last");
    refused(cudnnSetConvolutionNdDescriptor(p.c, 2, minus, one, one, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT), bad, "padding -1");
    refused(cudnnSetConvolutionNdDescriptor(p.c, 2, p.padding, none, one, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT), bad, "stride 0");
    refused(cudnnSetConvolutionNdDescriptor(p.c, 2, p.padding, one, one, CUDNN_CONVOLUTION, CUDNN_DATA_FLOAT), CUDNN_STATUS_NOT_SUPPORTED, "turns the window");
    refused(cudnnSetConvolutionGroupCount(p.c, 0), bad, "0 groups");
    cudnnTensorDescriptor_t right = p.x;
    p.x = never;
    refused(p.run(FORWARD, 1, 1, 0, 65536), bad, "never set");
    p.x = right;
    FINE(cudnnSetConvolutionGroupCount(p.c, 3));
    refused(p.run(FORWARD, 1, 1, 0, 65536), bad, "in 3 groups");
    FINE(cudnnSetConvolutionGroupCount(p.c, 2));
    FINE(p.set(p.y, p.batch, p.outputs, p.in));
    refused(p.run(FORWARD, 1, 1, 0, 65536), bad, "x and w make it");
    FINE(p.set(p.y, p.batch, p.outputs, p.out));
    refused(p.run(FORWARD, 6, 1, 0, 65536), CUDNN_STATUS_NOT_SUPPORTED, "no kernel with channels last");
    p.type = CUDNN_DATA_BFLOAT16;
    FINE(p.set(p.y, p.batch, p.outputs, p.out));
    refused(p.run(FORWARD, 1, 1, 0, 65536), CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "not a row of the table");
}

/* Queued like any other work on the handle's stream: what is freed before the stream comes to it is missed. */
Test(cudnn, a_convolution_runs_when_its_stream_comes_to_it)
{
    convolution p(shapes[0]);
    cudaStream_t stream, other;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    FINE(cudnnSetStream(p.handle, stream));
    FINE(p.run(FORWARD, 1, 1, 0, 65536));
    OK(cudaFreeAsync(p.on[0], other));
    OK(cudaStreamSynchronize(other));
    cr_assert_eq(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
}
