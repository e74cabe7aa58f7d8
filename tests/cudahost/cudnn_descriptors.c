/* Says what cuDNN answers to descriptions, right and wrong: linked with the double and with NVIDIA's library, which needs no device
 * for it, this must say the same (cudahost/cudnn_descriptors). A line a call: what is described, and the status's category. */
#include <cudnn.h>
#include <stdio.h>

static cudnnTensorDescriptor_t tensor;
static cudnnFilterDescriptor_t weight;
static cudnnConvolutionDescriptor_t convolution;

static void say(const char *what, cudnnStatus_t status)
{
    printf("%s: %d\n", what, (int)CUDNN_STATUS_CATEGORY(status));
}

static void shapes(const char *what, int dimensions, const int size[])
{
    printf("%s, %d dimensions\n", what, dimensions);
    say("  f32 tensor", cudnnSetTensorNdDescriptorEx(tensor, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, dimensions, size));
    say("  bf16 tensor", cudnnSetTensorNdDescriptorEx(tensor, CUDNN_TENSOR_NHWC, CUDNN_DATA_BFLOAT16, dimensions, size));
    say("  f16 tensor", cudnnSetTensorNdDescriptorEx(tensor, CUDNN_TENSOR_NHWC, CUDNN_DATA_HALF, dimensions, size));
    say("  f32 weight", cudnnSetFilterNdDescriptor(weight, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NHWC, dimensions, size));
    say("  bf16 weight", cudnnSetFilterNdDescriptor(weight, CUDNN_DATA_BFLOAT16, CUDNN_TENSOR_NHWC, dimensions, size));
    say("  f16 weight", cudnnSetFilterNdDescriptor(weight, CUDNN_DATA_HALF, CUDNN_TENSOR_NHWC, dimensions, size));
}

static void geometry(const char *what, int axes, const int padding[], const int stride[], const int dilation[])
{
    say(what, cudnnSetConvolutionNdDescriptor(convolution, axes, padding, stride, dilation, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
}

int main(void)
{
    const int small[] = {2, 6, 5, 7, 4}, empty[] = {2, 6, 0, 7, 4}, minus[] = {2, -6, 5, 7, 4}, large[] = {1 << 10, 1 << 10, 1 << 10, 2, 1},
              many[] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    const int none[] = {0, 0, 0}, one[] = {1, 1, 1}, two[] = {2, 2, 2}, below[] = {0, -1, 0};
    say("handles of descriptors", cudnnCreateTensorDescriptor(&tensor));
    say("of weights", cudnnCreateFilterDescriptor(&weight));
    say("of convolutions", cudnnCreateConvolutionDescriptor(&convolution));
    for (int dimensions = 4; dimensions <= 5; dimensions++) {
        shapes("small", dimensions, small);
        shapes("empty", dimensions, empty);
        shapes("a negative size", dimensions, minus);
        say("2 Gi elements", cudnnSetTensorNdDescriptorEx(tensor, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, dimensions, large));
    }
    say("tensor of 9 dimensions", cudnnSetTensorNdDescriptorEx(tensor, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, CUDNN_DIM_MAX + 1, many));
    say("weight of 9 dimensions", cudnnSetFilterNdDescriptor(weight, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NHWC, CUDNN_DIM_MAX + 1, many));
    for (int axes = 2; axes <= 3; axes++) {
        geometry("plain", axes, none, one, one);
        geometry("padded, strided, dilated", axes, two, two, two);
        geometry("negative padding", axes, below, one, one);
        geometry("no stride", axes, none, none, one);
        geometry("no dilation", axes, none, one, none);
    }
    for (int groups = -1; groups <= 2; groups++)
        say("groups", cudnnSetConvolutionGroupCount(convolution, groups));
    for (int math = CUDNN_DEFAULT_MATH; math <= CUDNN_FMA_MATH; math++)
        say("kind of arithmetic", cudnnSetConvolutionMathType(convolution, (cudnnMathType_t)math));
    say("tensor's end", cudnnDestroyTensorDescriptor(tensor));
    say("weight's end", cudnnDestroyFilterDescriptor(weight));
    say("convolution's end", cudnnDestroyConvolutionDescriptor(convolution));
    return 0;
}
