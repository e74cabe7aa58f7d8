/* Elementwise entries: each thread computes 16 bytes of the result, by one load of each operand where all are aligned.
 * An element is computed alone, so its bits do not depend on that. */
#include "tensor/cuda/functions.cuh"
#include "tensor/cuda/map.cuh"

template <typename T> static void unary(ls_device *device, int op, int64_t n, double a, double b, const void *x, void *y)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const W wa = (W)a, wb = (W)b;
    ls_inputs<T, 1> in = {{call.in<T>(x, n)}};
    ls_map(call, n, in, call.out<T>(y, n), [=] __device__(int64_t, const W *v) { return ls_unary_value(op, wa, wb, v[0]); });
}

void ls_cuda_unary(ls_device *device, ls_unary op, ls_type type, int64_t n, double a, double b, const void *x, void *y)
{
    LS_CUDA_TYPED(type, unary, device, (int)op, n, a, b, x, y);
}

template <typename T> static void scale_by(ls_device *device, int64_t n, const void *factor, const void *x, void *y)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const W *by = call.in<W>(factor, 1);
    ls_inputs<T, 1> in = {{call.in<T>(x, n)}};
    ls_map(call, n, in, call.out<T>(y, n), [=] __device__(int64_t, const W *v) { return ls_unary_value(LS_UNARY_SCALE, *by, (W)0, v[0]); });
}

void ls_cuda_scale_by(ls_device *device, ls_type type, int64_t n, const void *factor, const void *x, void *y)
{
    LS_CUDA_TYPED(type, scale_by, device, n, factor, x, y);
}

template <typename T> static void unary_backward(ls_device *device, int op, int64_t n, double a, double b, const void *x, const void *y, const void *dy, void *dx)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const W wa = (W)a, wb = (W)b;
    T *to = call.into<T>(dx, n);
    ls_inputs<T, 4> in = {{call.in<T>(x, n), call.in<T>(y, n), call.in<T>(dy, n), to}};
    ls_map(call, n, in, to, [=] __device__(int64_t, const W *v) { return v[3] + v[2] * ls_unary_slope(op, wa, wb, v[0], v[1]); });
}

void ls_cuda_unary_backward(ls_device *device, ls_unary op, ls_type type, int64_t n, double a, double b, const void *x, const void *y, const void *dy, void *dx)
{
    LS_CUDA_TYPED(type, unary_backward, device, (int)op, n, a, b, x, y, dy, dx);
}

/* ---- gated ---- */

template <typename T> static void gated(ls_device *device, int op, int64_t n, const void *gate, const void *x, void *y)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    ls_inputs<T, 2> in = {{call.in<T>(gate, n), call.in<T>(x, n)}};
    ls_map(call, n, in, call.out<T>(y, n),
           [=] __device__(int64_t, const W *v) { return ls_rounded<T>(ls_unary_value(op, (W)0, (W)0, v[0])) * v[1]; });
}

void ls_cuda_gated(ls_device *device, ls_unary f, ls_type type, int64_t n, const void *gate, const void *x, void *y)
{
    LS_CUDA_TYPED(type, gated, device, (int)f, n, gate, x, y);
}

template <typename T> static void gated_backward(ls_device *device, int op, int64_t n, const void *gate, const void *x, const void *dy, void *dgate, bool add_gate, void *dx, bool add_x)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const T *g = call.in<T>(gate, n), *factor = call.in<T>(x, n), *slope = call.in<T>(dy, n);
    T *to_gate = add_gate ? call.into<T>(dgate, n) : call.out<T>(dgate, n), *to_x = add_x ? call.into<T>(dx, n) : call.out<T>(dx, n);
    if (to_gate) {
        ls_inputs<T, 4> in = {{g, factor, slope, add_gate ? to_gate : g}};
        ls_map(call, n, in, to_gate, [=] __device__(int64_t, const W *v) {
            const W of_product = ls_rounded<T>(v[2] * v[1]) * ls_unary_slope(op, (W)0, (W)0, v[0], ls_unary_value(op, (W)0, (W)0, v[0]));
            return (add_gate ? v[3] : (W)0) + of_product;
        });
    }
    if (to_x) {
        ls_inputs<T, 3> in = {{g, slope, add_x ? to_x : g}};
        ls_map(call, n, in, to_x, [=] __device__(int64_t, const W *v) {
            const W of_product = v[1] * ls_rounded<T>(ls_unary_value(op, (W)0, (W)0, v[0]));
            return add_x ? v[2] + of_product : of_product;
        });
    }
}

void ls_cuda_gated_backward(ls_device *device, ls_unary f, ls_type type, int64_t n, const void *gate, const void *x, const void *dy, void *dgate, bool add_gate, void *dx, bool add_x)
{
    LS_CUDA_TYPED(type, gated_backward, device, (int)f, n, gate, x, dy, dgate, add_gate, dx, add_x);
}

/* ---- choosing, casting, adding, filling ---- */

template <typename T> static void where(ls_device *device, int64_t n, const uint8_t *condition, const void *a, const void *b, void *y)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const uint8_t *first = call.in<uint8_t>(condition, n);
    ls_inputs<T, 2> in = {{call.in<T>(a, n), call.in<T>(b, n)}};
    ls_map(call, n, in, call.out<T>(y, n), [=] __device__(int64_t i, const W *v) { return first[i] ? v[0] : v[1]; });
}

void ls_cuda_where(ls_device *device, ls_type type, int64_t n, const uint8_t *condition, const void *a, const void *b, void *y)
{
    LS_CUDA_TYPED(type, where, device, n, condition, a, b, y);
}

/* to += dy where the condition is `side` */
template <typename T> static void where_side(ls_cuda_call &call, int64_t n, bool side, const uint8_t *condition, const T *dy, T *to)
{
    typedef ls_wide<T> W;
    if (!to)
        return;
    ls_inputs<T, 2> in = {{dy, to}};
    ls_map(call, n, in, to, [=] __device__(int64_t i, const W *v) { return (condition[i] != 0) == side ? v[1] + v[0] : v[1]; });
}

template <typename T> static void where_backward(ls_device *device, int64_t n, const uint8_t *condition, const void *dy, void *da, void *db)
{
    ls_cuda_call call(device);
    const uint8_t *first = call.in<uint8_t>(condition, n);
    const T *from = call.in<T>(dy, n);
    where_side(call, n, true, first, from, call.into<T>(da, n));
    where_side(call, n, false, first, from, call.into<T>(db, n));
}

void ls_cuda_where_backward(ls_device *device, ls_type type, int64_t n, const uint8_t *condition, const void *dy, void *da, void *db)
{
    LS_CUDA_TYPED(type, where_backward, device, n, condition, dy, da, db);
}

/* f64 to bf16 or f16 goes by f32, as on the CPU. */
template <typename T, typename U> static void cast_to(ls_cuda_call &call, int64_t n, const T *x, U *y)
{
    ls_each(call, n, [=] __device__(int64_t i) { ls_put(y, i, (ls_wide<U>)ls_get(x, i)); });
}

template <typename T> static void cast(ls_device *device, ls_type to, int64_t n, const void *x, void *y)
{
    ls_cuda_call call(device);
    const T *from = call.in<T>(x, n);
    if (to == LS_F32)
        cast_to(call, n, from, call.out<float>(y, n));
    else if (to == LS_BF16)
        cast_to(call, n, from, call.out<ls_bf16>(y, n));
    else if (to == LS_F16)
        cast_to(call, n, from, call.out<ls_f16>(y, n));
    else
        cast_to(call, n, from, call.out<double>(y, n));
}

void ls_cuda_cast(ls_device *device, ls_type from, ls_type to, int64_t n, const void *x, void *y)
{
    if (from != to) {
        LS_CUDA_TYPED(from, cast, device, to, n, x, y);
        return;
    }
    ls_cuda_call call(device);
    const size_t bytes = (size_t)n * ls_type_size(from);
    const char *source = call.in<char>(x, (int64_t)bytes);
    char *target = call.out<char>(y, (int64_t)bytes);
    if (call.ready() && bytes)
        ls_cuda_failed(call.cuda, cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToDevice, call.stream), "copying");
}

template <typename T> static void add_to(ls_device *device, int64_t n, const void *x, void *y)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    T *to = call.into<T>(y, n);
    ls_inputs<T, 2> in = {{call.in<T>(x, n), to}};
    ls_map(call, n, in, to, [=] __device__(int64_t, const W *v) { return v[1] + v[0]; });
}

void ls_cuda_add_to(ls_device *device, ls_type type, int64_t n, const void *x, void *y)
{
    LS_CUDA_TYPED(type, add_to, device, n, x, y);
}

template <typename T> static void fill(ls_device *device, int64_t n, double value, void *y)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const W number = (W)value;
    ls_inputs<T, 0> in = {};
    ls_map(call, n, in, call.out<T>(y, n), [=] __device__(int64_t, const W *) { return number; });
}

void ls_cuda_fill(ls_device *device, ls_type type, int64_t n, double value, void *y)
{
    LS_CUDA_TYPED(type, fill, device, n, value, y);
}
