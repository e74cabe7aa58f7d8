/* Reductions over the middle of [outer, length, inner]: by a block for each result where length is great enough, else by
 * a thread in ascending order. */
#include "tensor/cuda/cuda.cuh"

enum { FEW = 64 };

/* Element number of the first of result r's elements; the next ones are `inner` apart. */
static __device__ inline int64_t first_of(int64_t r, int64_t length, int64_t inner)
{
    return r / inner * length * inner + r % inner;
}

template <typename W> struct joining { /* by the reduction's own rule */
    int op;
    __device__ W operator()(W a, W b) const
    {
        return op == LS_REDUCE_MAX ? ls_greater()(a, b) : op == LS_REDUCE_MIN ? ls_less()(a, b) : a + b;
    }
    __device__ W nothing() const
    {
        return op == LS_REDUCE_MAX ? (W)-INFINITY : op == LS_REDUCE_MIN ? (W)INFINITY : (W)0;
    }
};

template <typename W> static __device__ inline W term(int op, W x)
{
    return op == LS_REDUCE_NORM ? x * x : x;
}

template <typename W> static __device__ inline W finished(int op, W joined, int64_t length)
{
    return op == LS_REDUCE_MEAN ? joined / (W)length : op == LS_REDUCE_NORM ? sqrt(joined) : joined;
}

template <typename T> static void reduce(ls_device *device, int op, int64_t outer, int64_t length, int64_t inner, const void *x, void *y)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const T *from = call.in<T>(x, outer * length * inner);
    T *to = call.out<T>(y, outer * inner);
    const joining<W> join = {op};
    if (length <= FEW) {
        ls_each(call, outer * inner, [=] __device__(int64_t r) {
            W all = join.nothing();
            for (int64_t i = 0, at = first_of(r, length, inner); i < length; i++, at += inner)
                all = join(all, term(op, ls_get(from, at)));
            ls_put(to, r, finished(op, all, length));
        });
        return;
    }
    ls_rows(call, outer * inner, length, [=] __device__(int64_t r) {
        const int64_t first = first_of(r, length, inner);
        W all = join.nothing();
        for (int64_t i = threadIdx.x; i < length; i += blockDim.x)
            all = join(all, term(op, ls_get(from, first + i * inner)));
        all = ls_block_all(all, join.nothing(), join);
        if (threadIdx.x == 0)
            ls_put(to, r, finished(op, all, length));
    });
}

void ls_cuda_reduce(ls_device *device, ls_reduce op, ls_type type, int64_t outer, int64_t length, int64_t inner, const void *x, void *y)
{
    LS_CUDA_TYPED(type, reduce, device, (int)op, outer, length, inner, x, y);
}

/* The gradient of an extreme goes to the first element that is it. */
template <typename T> static void extreme_backward(ls_cuda_call &call, int64_t results, int64_t length, int64_t inner, const T *x, const T *y, const T *dy, T *dx)
{
    typedef ls_wide<T> W;
    ls_rows(call, results, length, [=] __device__(int64_t r) {
        const int64_t first = first_of(r, length, inner);
        const W found = ls_get(y, r);
        double place = (double)length; /* exact, and what a block can join */
        for (int64_t i = threadIdx.x; i < length; i += blockDim.x) {
            const W v = ls_get(x, first + i * inner);
            if (v == found || (v != v && found != found)) {
                place = (double)i;
                break;
            }
        }
        place = ls_block_all(place, (double)length, ls_less());
        const int64_t at = first + (int64_t)place * inner;
        if (threadIdx.x == 0 && place < (double)length)
            ls_put(dx, at, ls_get(dx, at) + ls_get(dy, r));
    });
}

template <typename T> static void reduce_backward(ls_device *device, int op, int64_t outer, int64_t length, int64_t inner, const void *x, const void *y, const void *dy, void *dx)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const int64_t n = outer * length * inner, results = outer * inner;
    const T *from = call.in<T>(x, n), *result = call.in<T>(y, results), *slope = call.in<T>(dy, results);
    T *to = call.into<T>(dx, n);
    if (n == 0)
        return;
    if (op == LS_REDUCE_MAX || op == LS_REDUCE_MIN) {
        extreme_backward(call, results, length, inner, from, result, slope, to);
        return;
    }
    const W share = op == LS_REDUCE_MEAN ? 1 / (W)length : (W)1;
    ls_each(call, n, [=] __device__(int64_t i) {
        const int64_t r = i / (length * inner) * inner + i % inner;
        W d = ls_get(slope, r) * share;
        if (op == LS_REDUCE_NORM) {
            const W norm = ls_get(result, r);
            d = norm != 0 ? ls_get(from, i) * (d / norm) : 0;
        }
        ls_put(to, i, ls_get(to, i) + d);
    });
}

void ls_cuda_reduce_backward(ls_device *device, ls_reduce op, ls_type type, int64_t outer, int64_t length, int64_t inner, const void *x, const void *y, const void *dy, void *dx)
{
    LS_CUDA_TYPED(type, reduce_backward, device, (int)op, outer, length, inner, x, y, dy, dx);
}
