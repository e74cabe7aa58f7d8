/* Moving without arithmetic (copies by strides, rows by index), and its gradients. */
#include "tensor/cuda/cuda.cuh"
#include "tensor/cuda/order.cuh"
#include "tensor/cuda/walk.cuh"

template <typename T> static void copy_strided(ls_device *device, const ls_strides *shape, const void *x, void *y)
{
    ls_cuda_call call(device);
    const ls_strides s = ls_strides_collapse(shape);
    const T *from = call.in<T>(x, ls_walk_reach(&s, s.stride_a));
    T *to = call.into<T>(y, ls_walk_reach(&s, s.stride_b));
    ls_each(call, ls_strides_elements(&s), [=] __device__(int64_t i) {
        int64_t at_x, at_y;
        ls_walk_at(s, i, &at_x, &at_y);
        to[at_y] = from[at_x];
    });
}

void ls_cuda_copy_strided(ls_device *device, ls_type type, const ls_strides *shape, const void *x, void *y)
{
    switch (ls_type_size(type)) { /* of any type: nothing is computed */
    case 1: copy_strided<uint8_t>(device, shape, x, y); break;
    case 2: copy_strided<uint16_t>(device, shape, x, y); break;
    case 4: copy_strided<uint32_t>(device, shape, x, y); break;
    default: copy_strided<uint64_t>(device, shape, x, y); break;
    }
}

template <typename T> static void add_strided(ls_device *device, const ls_strides *shape, const void *y, void *x)
{
    ls_cuda_call call(device);
    const ls_strides s = ls_strides_collapse(shape);
    const T *from = call.in<T>(y, ls_walk_reach(&s, s.stride_b));
    T *to = call.into<T>(x, ls_walk_reach(&s, s.stride_a));
    ls_each(call, ls_strides_elements(&s), [=] __device__(int64_t i) {
        int64_t at_x, at_y;
        ls_walk_at(s, i, &at_x, &at_y);
        ls_put(to, at_x, ls_get(to, at_x) + ls_get(from, at_y));
    });
}

void ls_cuda_add_strided(ls_device *device, ls_type type, const ls_strides *shape, const void *y, void *x)
{
    LS_CUDA_TYPED(type, add_strided, device, shape, y, x);
}

/* ---- rows ---- */

/* The host does not know how many rows x has: it is told by the greatest index, where the array is its own. */
static int64_t rows_reached(const ls_cuda *cuda, int64_t n, const int32_t *index, const void *x)
{
    int64_t most = -1;
    for (int64_t i = 0; !ls_cuda_owns(cuda, x) && i < n; i++)
        most = index[i] > most ? index[i] : most;
    return most + 1;
}

template <typename T> static void copy_rows(ls_cuda_call &call, int64_t n, int64_t width, const int32_t *row, const T *from, T *to, T nothing)
{
    ls_rows(call, n, width, [=] __device__(int64_t i) {
        const int64_t at = row[i];
        for (int64_t j = threadIdx.x; j < width; j += blockDim.x)
            to[i * width + j] = at >= 0 ? from[at * width + j] : nothing;
    });
}

template <typename T> static void gather_rows(ls_device *device, int64_t n, int64_t width, const int32_t *index, const void *x, void *y)
{
    ls_cuda_call call(device);
    if (!ls_cuda_owns(call.cuda, x) && ls_cuda_owns(call.cuda, index))
        ls_cuda_wait(call.cuda); /* the indices are read here */
    const T *from = call.in<T>(x, rows_reached(call.cuda, n, index, x) * width);
    const int32_t *row = call.in<int32_t>(index, n);
    T *to = call.out<T>(y, n * width);
    const bool packs = width * (int64_t)sizeof(T) % 16 == 0 && (reinterpret_cast<uintptr_t>(from) | reinterpret_cast<uintptr_t>(to)) % 16 == 0;
    if (packs)
        copy_rows(call, n, width * (int64_t)sizeof(T) / 16, row, reinterpret_cast<const uint4 *>(from), reinterpret_cast<uint4 *>(to), make_uint4(0, 0, 0, 0));
    else
        copy_rows(call, n, width, row, from, to, (T)0);
}

void ls_cuda_gather_rows(ls_device *device, ls_type type, int64_t n, int64_t width, const int32_t *index, const void *x, void *y)
{
    switch (ls_type_size(type)) {
    case 1: gather_rows<uint8_t>(device, n, width, index, x, y); break;
    case 2: gather_rows<uint16_t>(device, n, width, index, x, y); break;
    case 4: gather_rows<uint32_t>(device, n, width, index, x, y); break;
    default: gather_rows<uint64_t>(device, n, width, index, x, y); break;
    }
}

/* Places are sorted by target row and then by place; the block whose place is the first of its row adds them all, a
 * thread for each column, in ascending order. No two threads add to one element. */
template <typename T, typename X> static void scatter_into(ls_cuda_call &call, int64_t n, int64_t width, int64_t x_rows, const int32_t *index, const void *y, void *x)
{
    typedef ls_wide<X> W;
    const T *from = call.in<T>(y, n * width);
    X *to = call.into<X>(x, x_rows * width);
    const int32_t *row = call.in<int32_t>(index, n);
    ls_order order = ls_order_begin(call, 1, n);
    uint64_t *key = order.key;
    int32_t *place = order.place;
    ls_each(call, n, [=] __device__(int64_t i) {
        key[i] = row[i] < 0 ? ~(uint64_t)0 : (uint64_t)row[i];
        place[i] = (int32_t)i;
    });
    ls_order_sort(call, &order);
    ls_rows(call, n, width, [=] __device__(int64_t first) {
        const uint64_t own = key[first];
        if (own == ~(uint64_t)0 || (first > 0 && key[first - 1] == own))
            return;
        for (int64_t i = threadIdx.x; i < width; i += blockDim.x) {
            X *sum = to + (int64_t)own * width + i;
            W value = ls_get(sum, 0);
            for (int64_t k = first; k < n && key[k] == own; k++) { /* rounded each time, as one addition after the other */
                ls_put(sum, 0, value + (W)ls_get(from, place[k] * width + i));
                value = ls_get(sum, 0);
            }
        }
    });
}

void ls_cuda_scatter_add_rows(ls_device *device, ls_type type, ls_type x_type, int64_t n, int64_t width, int64_t x_rows, const int32_t *index, const void *y, void *x, ls_arena *)
{
    ls_cuda_call call(device);
    if (type == LS_BF16 && x_type == LS_BF16)
        scatter_into<ls_bf16, ls_bf16>(call, n, width, x_rows, index, y, x);
    else if (type == LS_BF16)
        scatter_into<ls_bf16, float>(call, n, width, x_rows, index, y, x);
    else if (type == LS_F16 && x_type == LS_F16)
        scatter_into<ls_f16, ls_f16>(call, n, width, x_rows, index, y, x);
    else if (type == LS_F16)
        scatter_into<ls_f16, float>(call, n, width, x_rows, index, y, x);
    else if (type == LS_F32)
        scatter_into<float, float>(call, n, width, x_rows, index, y, x);
    else
        scatter_into<double, double>(call, n, width, x_rows, index, y, x);
}
