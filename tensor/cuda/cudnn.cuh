/* Convolutions by cuDNN: what tensor/cuda/conv.cu asks for, and what the device keeps for it. */
#pragma once
#include "tensor/cuda/cuda.cuh"

/* forward: y from x and w; input: dx from dy and w; weight: dw from x and dy. */
typedef enum { LS_CUDNN_FORWARD, LS_CUDNN_INPUT, LS_CUDNN_WEIGHT } ls_cudnn_direction;

/* to (+)= the convolution, every array on the device and dense, of the grid's type, but dw in f32: a is x (forward, weight) or dy
 * (input), b is w (forward, input) or dy (weight); a weight's gradient is always added. Queues it; false: the library has no kernel for these shapes and types that gives the
 * same bits each time (or is not there), and nothing was done. That answer, and every bit, depend on shapes and types alone. */
bool ls_cuda_cudnn(ls_cuda_call &call, const ls_grid *grid, ls_cudnn_direction direction, const void *a, const void *b, bool accumulate, void *to);
void ls_cuda_cudnn_free(ls_cuda *cuda);
/* Appends the algorithms chosen so far to `choice`, `most` at most; the count. */
int64_t ls_cuda_cudnn_choices(const ls_cuda *cuda, ls_device_choice *choice, int64_t most);
/* " cudnn-9.19.0" for the numerics id; "" without the library. */
void ls_cuda_cudnn_name(char *text, size_t room);
