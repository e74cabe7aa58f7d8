/* Broadcasting arithmetic and its gradients. A repeated operand's gradient is a sum over the results made from it: by one
 * thread in ascending order where they are few, else by a block, thread t taking those at t, t + threads, ... and the
 * threads joined by a butterfly. Which of both depends on the shape alone. */
#include "tensor/cuda/map.cuh"
#include "tensor/cuda/walk.cuh"

template <typename W> static __device__ inline W value_of(int op, W a, W b)
{
    switch (op) {
    case LS_BINARY_ADD: return a + b;
    case LS_BINARY_SUB: return a - b;
    case LS_BINARY_MUL: return a * b;
    case LS_BINARY_DIV: return a / b;
    case LS_BINARY_MIN: return a < b || a != a ? a : b; /* a NaN on either side stays */
    default: return a > b || a != a ? a : b;            /* LS_BINARY_MAX */
    }
}

template <typename W> static __device__ inline W slope_of(int op, bool of_b, W a, W b)
{
    switch (op) {
    case LS_BINARY_ADD: return 1;
    case LS_BINARY_SUB: return of_b ? -1 : 1;
    case LS_BINARY_MUL: return of_b ? a : b;
    case LS_BINARY_DIV: return of_b ? -(a / b) / b : 1 / b;
    default: { /* half to each where both are equal */
        const W own = of_b ? b : a, other = of_b ? a : b;
        return own == other ? (W)0.5 : (W)(op == LS_BINARY_MIN ? own < other : own > other);
    }
    }
}

static bool dense(const ls_strides *s)
{
    return s->ndim == 1 && s->stride_a[0] == 1 && s->stride_b[0] == 1;
}

template <typename T> static void binary(ls_device *device, int op, const ls_strides *shape, const void *a, const void *b, void *y)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const ls_strides s = ls_strides_collapse(shape);
    const int64_t n = ls_strides_elements(&s);
    const T *from_a = call.in<T>(a, ls_walk_reach(&s, s.stride_a)), *from_b = call.in<T>(b, ls_walk_reach(&s, s.stride_b));
    T *to = call.out<T>(y, n);
    if (dense(&s)) {
        ls_inputs<T, 2> in = {{from_a, from_b}};
        ls_map(call, n, in, to, [=] __device__(int64_t, const W *v) { return value_of(op, v[0], v[1]); });
        return;
    }
    ls_each(call, n, [=] __device__(int64_t i) {
        int64_t at_a, at_b;
        ls_walk_at(s, i, &at_a, &at_b);
        ls_put(to, i, value_of(op, ls_get(from_a, at_a), ls_get(from_b, at_b)));
    });
}

void ls_cuda_binary(ls_device *device, ls_binary op, ls_type type, const ls_strides *shape, const void *a, const void *b, void *y)
{
    LS_CUDA_TYPED(type, binary, device, (int)op, shape, a, b, y);
}

/* The loop as two: over the operand's own elements, and over the results made from each. */
struct repeats {
    int own_dims, other_dims;
    int64_t own_shape[LS_MAX_DIMS], own_stride[LS_MAX_DIMS], own_place[LS_MAX_DIMS];       /* in the operand, in the result */
    int64_t other_shape[LS_MAX_DIMS], other_place[LS_MAX_DIMS];
    int64_t own, others; /* elements, and results of each */
};

static repeats repeats_of(const ls_strides *s, const int64_t *stride)
{
    repeats r = {};
    int64_t place = 1;
    r.own = r.others = 1;
    for (int d = s->ndim - 1; d >= 0; d--) { /* fastest first */
        if (stride[d] != 0) {
            r.own_shape[r.own_dims] = s->shape[d], r.own_stride[r.own_dims] = stride[d], r.own_place[r.own_dims++] = place;
            r.own *= s->shape[d];
        } else {
            r.other_shape[r.other_dims] = s->shape[d], r.other_place[r.other_dims++] = place;
            r.others *= s->shape[d];
        }
        place *= s->shape[d];
    }
    return r;
}

static __device__ inline void own_at(const repeats &r, int64_t i, int64_t *place, int64_t *result)
{
    *place = *result = 0;
    for (int d = 0; d < r.own_dims; d++) {
        const int64_t rest = i / r.own_shape[d], at = i - rest * r.own_shape[d];
        *place += at * r.own_stride[d];
        *result += at * r.own_place[d];
        i = rest;
    }
}

static __device__ inline int64_t other_at(const repeats &r, int64_t i)
{
    int64_t result = 0;
    for (int d = 0; d < r.other_dims; d++) {
        const int64_t rest = i / r.other_shape[d];
        result += (i - rest * r.other_shape[d]) * r.other_place[d];
        i = rest;
    }
    return result;
}

enum { FEW = 64 }; /* results that one thread adds up */

template <typename T> static void side_backward(ls_cuda_call &call, int op, bool of_b, const ls_strides &s, const T *a, const T *b, const T *dy, T *to)
{
    typedef ls_wide<T> W;
    const repeats r = repeats_of(&s, of_b ? s.stride_b : s.stride_a);
    if (!to || r.others == 0)
        return;
    if (dense(&s)) {
        ls_inputs<T, 4> in = {{a, b, dy, to}};
        ls_map(call, r.own, in, to, [=] __device__(int64_t, const W *v) { return v[3] + v[2] * slope_of(op, of_b, v[0], v[1]); });
        return;
    }
    if (r.others <= FEW) {
        ls_each(call, r.own, [=] __device__(int64_t i) {
            int64_t place, first, at_a, at_b;
            W sum = 0;
            own_at(r, i, &place, &first);
            for (int64_t k = 0; k < r.others; k++) {
                const int64_t result = first + other_at(r, k);
                ls_walk_at(s, result, &at_a, &at_b);
                sum += ls_get(dy, result) * slope_of(op, of_b, ls_get(a, at_a), ls_get(b, at_b));
            }
            ls_put(to, place, ls_get(to, place) + sum);
        });
        return;
    }
    ls_rows(call, r.own, r.others, [=] __device__(int64_t i) {
        int64_t place, first, at_a, at_b;
        W sum = 0;
        own_at(r, i, &place, &first);
        for (int64_t k = threadIdx.x; k < r.others; k += blockDim.x) {
            const int64_t result = first + other_at(r, k);
            ls_walk_at(s, result, &at_a, &at_b);
            sum += ls_get(dy, result) * slope_of(op, of_b, ls_get(a, at_a), ls_get(b, at_b));
        }
        sum = ls_block_sum(sum);
        if (threadIdx.x == 0)
            ls_put(to, place, ls_get(to, place) + sum);
    });
}

template <typename T> static void binary_backward(ls_device *device, int op, const ls_strides *shape, const void *a, const void *b, const void *dy, void *da, void *db)
{
    ls_cuda_call call(device);
    const ls_strides s = ls_strides_collapse(shape);
    const int64_t in_a = ls_walk_reach(&s, s.stride_a), in_b = ls_walk_reach(&s, s.stride_b);
    const T *from_a = call.in<T>(a, in_a), *from_b = call.in<T>(b, in_b), *from = call.in<T>(dy, ls_strides_elements(&s));
    side_backward(call, op, false, s, from_a, from_b, from, call.into<T>(da, in_a));
    side_backward(call, op, true, s, from_a, from_b, from, call.into<T>(db, in_b));
}

void ls_cuda_binary_backward(ls_device *device, ls_binary op, ls_type type, const ls_strides *shape, const void *a, const void *b, const void *dy, void *da, void *db, ls_arena *)
{
    LS_CUDA_TYPED(type, binary_backward, device, (int)op, shape, a, b, dy, da, db);
}
