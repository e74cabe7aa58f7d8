/* Orders: sorting, the k greatest, running sums, and additions to chosen elements of rows. */
#include "tensor/cuda/order.cuh"

/* ---- bitonic sorting ---- */

enum { TILE = 1024, TILE_THREADS = TILE / 2 }; /* pairs that a block sorts in shared memory */

static __device__ inline bool comes_after(uint64_t key_a, int32_t place_a, uint64_t key_b, int32_t place_b)
{
    return key_a > key_b || (key_a == key_b && place_a > place_b);
}

/* Steps of merges `from` to `to` (sizes, powers of two) whose distance is below TILE. */
__global__ void sort_tile_kernel(int64_t padded, int64_t from, int64_t to, uint64_t *key, int32_t *place)
{
    __shared__ uint64_t keys[TILE];
    __shared__ int32_t places[TILE];
    const int64_t tile = TILE, size = padded < tile ? padded : tile, first = (int64_t)blockIdx.x * size;
    for (int64_t i = threadIdx.x; i < size; i += TILE_THREADS) {
        keys[i] = key[first + i];
        places[i] = place[first + i];
    }
    for (int64_t merge = from; merge <= to; merge *= 2)
        for (int64_t distance = merge < TILE ? merge / 2 : TILE / 2; distance > 0; distance /= 2) {
            __syncthreads();
            const int64_t i = 2 * threadIdx.x - (threadIdx.x & (distance - 1)), j = i + distance;
            if (j >= size)
                continue;
            const bool up = ((first + i) % padded & merge) == 0;
            if (comes_after(keys[i], places[i], keys[j], places[j]) == up) {
                const uint64_t kept_key = keys[i];
                const int32_t kept_place = places[i];
                keys[i] = keys[j], places[i] = places[j];
                keys[j] = kept_key, places[j] = kept_place;
            }
        }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < size; i += TILE_THREADS) {
        key[first + i] = keys[i];
        place[first + i] = places[i];
    }
}

static void sort_step(ls_cuda_call &call, const ls_order *order, int64_t merge, int64_t distance)
{
    uint64_t *key = order->key;
    int32_t *place = order->place;
    const int64_t padded = order->padded;
    ls_each(call, order->rows * padded / 2, [=] __device__(int64_t pair) {
        const int64_t i = 2 * pair - (pair & (distance - 1)), j = i + distance;
        const bool up = (i % padded & merge) == 0;
        if (comes_after(key[i], place[i], key[j], place[j]) == up) {
            const uint64_t kept_key = key[i];
            const int32_t kept_place = place[i];
            key[i] = key[j], place[i] = place[j];
            key[j] = kept_key, place[j] = kept_place;
        }
    });
}

ls_order ls_order_begin(ls_cuda_call &call, int64_t rows, int64_t length)
{
    ls_order order = {rows, length, 1, NULL, NULL};
    while (order.padded < length)
        order.padded *= 2;
    order.key = call.scratch<uint64_t>(rows * order.padded);
    order.place = call.scratch<int32_t>(rows * order.padded);
    return order;
}

void ls_order_sort(ls_cuda_call &call, const ls_order *order)
{
    uint64_t *key = order->key;
    int32_t *place = order->place;
    const int64_t length = order->length, padded = order->padded, rest = padded - length;
    ls_each(call, order->rows * rest, [=] __device__(int64_t i) {
        const int64_t at = i / rest * padded + length + i % rest;
        key[at] = ~(uint64_t)0;
        place[at] = INT32_MAX;
    });
    const int64_t tile = TILE, within = padded < tile ? padded : tile, tiles = order->rows * padded / within;
    if (length < 2)
        return;
    LS_CUDA_RUN(call, sort_tile_kernel, tiles, TILE_THREADS, padded, (int64_t)2, within, key, place);
    for (int64_t merge = 2 * TILE; merge <= padded; merge *= 2) {
        for (int64_t distance = merge / 2; distance >= TILE; distance /= 2)
            sort_step(call, order, merge, distance);
        LS_CUDA_RUN(call, sort_tile_kernel, tiles, TILE_THREADS, padded, merge, merge, key, place);
    }
}

/* ---- sorting rows of numbers ---- */

/* Unsigned numbers in the order of the doubles: a NaN above all, -0 with 0. (Every f32, bf16 and f16 is a double.) */
static __device__ inline uint64_t key_of(double x, bool descending)
{
    const uint64_t sign = (uint64_t)1 << 63, bits = (uint64_t)__double_as_longlong(x + 0.0); /* -0 + 0 = 0 */
    uint64_t key = x != x ? ~(uint64_t)1 : bits & sign ? ~bits : bits | sign;
    if (descending)
        key = ~(uint64_t)1 - key; /* below ~0, which is padding's */
    return key;
}

template <typename T> static void sort(ls_device *device, int64_t rows, int64_t length, bool descending, const void *x, void *values, int32_t *index)
{
    ls_cuda_call call(device);
    const T *from = call.in<T>(x, rows * length);
    T *to = call.out<T>(values, rows * length);
    int32_t *to_index = call.out<int32_t>(index, rows * length);
    ls_order order = ls_order_begin(call, rows, length);
    const int64_t padded = order.padded;
    uint64_t *key = order.key;
    int32_t *place = order.place;
    ls_each(call, rows * length, [=] __device__(int64_t i) {
        const int64_t at = i / length * padded + i % length;
        key[at] = key_of((double)ls_get(from, i), descending);
        place[at] = (int32_t)(i % length);
    });
    ls_order_sort(call, &order);
    ls_each(call, rows * length, [=] __device__(int64_t i) {
        const int64_t row = i / length;
        const int32_t at = place[row * padded + i % length];
        to_index[i] = at;
        to[i] = from[row * length + at];
    });
}

ls_status ls_cuda_sort(ls_device *device, ls_type type, int64_t rows, int64_t length, bool descending, const void *x, void *values, int32_t *index, ls_arena *)
{
    LS_CUDA_TYPED(type, sort, device, rows, length, descending, x, values, index);
    return ls_cuda_status(device);
}

/* ---- the k greatest ---- */

/* Among the elements that come after (key, place) in descending order, the first; a block finds one after the other. */
struct candidate {
    uint64_t key; /* ascending in the order of the result */
    int32_t place;
};

static __device__ inline candidate first_of_block(candidate own)
{
    __shared__ uint64_t keys[LS_WARPS_MOST];
    __shared__ int32_t places[LS_WARPS_MOST];
    const int warps = (int)blockDim.x / LS_WARP;
    for (int round = 0; round < 2; round++) {
        for (int distance = LS_WARP / 2; distance > 0; distance /= 2) {
            candidate other;
            other.key = __shfl_xor_sync(0xffffffffu, own.key, distance);
            other.place = __shfl_xor_sync(0xffffffffu, own.place, distance);
            if (comes_after(own.key, own.place, other.key, other.place))
                own = other;
        }
        if (round == 1)
            break;
        __syncthreads();
        if (threadIdx.x % LS_WARP == 0) {
            keys[threadIdx.x / LS_WARP] = own.key;
            places[threadIdx.x / LS_WARP] = own.place;
        }
        __syncthreads();
        const int lane = (int)threadIdx.x % LS_WARP;
        own.key = lane < warps ? keys[lane] : ~(uint64_t)0;
        own.place = lane < warps ? places[lane] : INT32_MAX;
    }
    return own;
}

template <typename T> static void top_k(ls_device *device, int64_t rows, int64_t length, int64_t k, const void *x, void *values, int32_t *index)
{
    ls_cuda_call call(device);
    const T *from = call.in<T>(x, rows * length);
    T *to = call.out<T>(values, rows * k);
    int32_t *to_index = call.out<int32_t>(index, rows * k);
    ls_rows(call, rows, length, [=] __device__(int64_t row) {
        candidate last = {0, -1};
        for (int64_t j = 0; j < k; j++) {
            candidate best = {~(uint64_t)0, INT32_MAX};
            for (int64_t i = threadIdx.x; i < length; i += blockDim.x) {
                const uint64_t key = key_of((double)ls_get(from, row * length + i), true);
                if ((j == 0 || comes_after(key, (int32_t)i, last.key, last.place)) && comes_after(best.key, best.place, key, (int32_t)i))
                    best.key = key, best.place = (int32_t)i;
            }
            last = first_of_block(best);
            if (threadIdx.x == 0) {
                to_index[row * k + j] = last.place;
                if (to)
                    to[row * k + j] = from[row * length + last.place];
            }
        }
    });
}

void ls_cuda_top_k(ls_device *device, ls_type type, int64_t rows, int64_t length, int64_t k, const void *x, void *values, int32_t *index)
{
    LS_CUDA_TYPED(type, top_k, device, rows, length, k, x, values, index);
}

/* ---- chosen elements, running sums ---- */

/* A thread for each target looks through its row's choices in ascending order: no two threads add to one element. */
template <typename T> static void scatter_add_elements(ls_device *device, int64_t rows, int64_t length, int64_t k, const int32_t *index, const void *y, void *x)
{
    ls_cuda_call call(device);
    const int32_t *chosen = call.in<int32_t>(index, rows * k);
    const T *from = call.in<T>(y, rows * k);
    T *to = call.into<T>(x, rows * length);
    ls_each(call, rows * length, [=] __device__(int64_t i) {
        const int64_t row = i / length, target = i % length;
        for (int64_t j = row * k; j < (row + 1) * k; j++)
            if (chosen[j] == target)
                ls_put(to, i, ls_get(to, i) + ls_get(from, j));
    });
}

void ls_cuda_scatter_add_elements(ls_device *device, ls_type type, int64_t rows, int64_t length, int64_t k, const int32_t *index, const void *y, void *x)
{
    LS_CUDA_TYPED(type, scatter_add_elements, device, rows, length, k, index, y, x);
}

template <typename T> static void cumulative_sum(ls_device *device, int64_t outer, int64_t length, int64_t inner, bool reverse, bool accumulate, const void *x, void *y)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const int64_t n = outer * length * inner;
    const T *from = call.in<T>(x, n);
    T *to = accumulate ? call.into<T>(y, n) : call.out<T>(y, n);
    ls_each(call, outer * inner, [=] __device__(int64_t line) {
        const int64_t first = line / inner * length * inner + line % inner;
        double sum = 0;
        for (int64_t i = 0; i < length; i++) {
            const int64_t at = first + (reverse ? length - 1 - i : i) * inner;
            sum += (double)ls_get(from, at);
            ls_put(to, at, accumulate ? ls_get(to, at) + (W)sum : (W)sum);
        }
    });
}

void ls_cuda_cumulative_sum(ls_device *device, ls_type type, int64_t outer, int64_t length, int64_t inner, bool reverse, bool accumulate, const void *x, void *y)
{
    LS_CUDA_TYPED(type, cumulative_sum, device, outer, length, inner, reverse, accumulate, x, y);
}
