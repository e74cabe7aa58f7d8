/* Softmax along the last axis: a block for each row, three walks over it. */
#include "tensor/cuda/cuda.cuh"

template <typename T> static void softmax(ls_device *device, bool log_form, int64_t rows, int64_t length, const void *x, void *y)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const T *from = call.in<T>(x, rows * length);
    T *to = call.out<T>(y, rows * length);
    ls_rows(call, rows, length, [=] __device__(int64_t row) {
        const T *own = from + row * length;
        W greatest = (W)-INFINITY, sum = 0;
        for (int64_t i = threadIdx.x; i < length; i += blockDim.x)
            greatest = ls_greater()(greatest, ls_get(own, i));
        greatest = ls_block_all(greatest, (W)-INFINITY, ls_greater());
        for (int64_t i = threadIdx.x; i < length; i += blockDim.x)
            sum += exp(ls_get(own, i) - greatest);
        sum = ls_block_sum(sum);
        const W log_sum = log(sum), share = 1 / sum;
        for (int64_t i = threadIdx.x; i < length; i += blockDim.x) {
            const W shifted = ls_get(own, i) - greatest;
            ls_put(to + row * length, i, log_form ? shifted - log_sum : exp(shifted) * share);
        }
    });
}

void ls_cuda_softmax(ls_device *device, ls_type type, bool log, int64_t rows, int64_t length, const void *x, void *y)
{
    LS_CUDA_TYPED(type, softmax, device, log, rows, length, x, y);
}

/* dx += y (dy - sum(y dy)); of the logarithm: dy - e^y sum(dy) */
template <typename T> static void softmax_backward(ls_device *device, bool log_form, int64_t rows, int64_t length, const void *y, const void *dy, void *dx)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const T *result = call.in<T>(y, rows * length), *slope = call.in<T>(dy, rows * length);
    T *to = call.into<T>(dx, rows * length);
    ls_rows(call, rows, length, [=] __device__(int64_t row) {
        const int64_t at = row * length;
        W sum = 0;
        for (int64_t i = threadIdx.x; i < length; i += blockDim.x)
            sum += log_form ? ls_get(slope, at + i) : ls_get(slope, at + i) * ls_get(result, at + i);
        sum = ls_block_sum(sum);
        for (int64_t i = threadIdx.x; i < length; i += blockDim.x) {
            const W v = ls_get(result, at + i), d = ls_get(slope, at + i);
            ls_put(to, at + i, ls_get(to, at + i) + (log_form ? d - exp(v) * sum : v * (d - sum)));
        }
    });
}

void ls_cuda_softmax_backward(ls_device *device, ls_type type, bool log, int64_t rows, int64_t length, const void *y, const void *dy, void *dx)
{
    LS_CUDA_TYPED(type, softmax_backward, device, log, rows, length, y, dy, dx);
}
