/* What tensor/cuda/launch.cuh has for the kernels of lockstep, for the emulation's own tests. */
#ifndef CUDAHOST_LAUNCH_TEST_H
#define CUDAHOST_LAUNCH_TEST_H

#include <cuda_runtime.h>

#define LAUNCH(kernel, grid, block, shared, stream, ...)                                                               \
    cudahost::launch_call(grid, block, shared, stream, #kernel, __FILE__, __LINE__, kernel __VA_OPT__(, ) __VA_ARGS__)

#define OK(call) cr_assert_eq(call, cudaSuccess, "%s: %s", #call, cudahost_report())

#endif
