/* Attention's gradients in bf16 or f16 on tensor cores: the formulas and the two kernels of attention_backward.cu, 64 queries or 64
 * keys a block. Probabilities and slopes of scores are rounded to it for the products they go into. */
#include "tensor/cuda/attention_tensor.cuh"

enum { SQUARE = LS_TENSOR_ROWS * LS_TENSOR_SQUARE /* of a warp */ };

/* p and ds of a pair. */
template <typename T> static __device__ inline void slopes(const ls_tensor_job<T> &job, float score, float lse, float dp, float delta, bool seen, float *p, float *ds)
{
    *p = seen && lse != -INFINITY ? exp(score * job.scale - lse) : 0.0f;
    *ds = seen ? *p * (dp - delta) * job.scale : 0.0f;
}

/* Each query's delta: two lanes a row, over its even and its odd elements. */
template <typename T> static __device__ inline float delta_of(const ls_tensor_job<T> &job, const T *dout, const T *out, bool inside, int side)
{
    float delta = 0;
    for (int d = side; d < job.width && inside; d += 2)
        delta += ls_get(dout, d) * ls_get(out, d);
    return delta + __shfl_xor_sync(0xffffffffu, delta, 1);
}

template <int WIDTH, typename T> __global__ void __launch_bounds__(LS_TENSOR_THREADS, LS_TENSOR_BLOCKS(WIDTH)) attention_tensor_query_kernel(ls_tensor_job<T> job)
{
    enum { STRIDE = WIDTH + 8, PARTS = WIDTH / 16, ROWS = LS_TENSOR_TILE * STRIDE };
    LS_DYNAMIC_SHARED(T, room);
    const int head = (int)(blockIdx.x % (unsigned)job.heads), kv_head = head / (job.heads / job.kv_heads);
    const ls_attention_tile tile = job.tile[blockIdx.x / (unsigned)job.heads];
    const int warp = (int)threadIdx.x / LS_WARP, lane = (int)threadIdx.x % LS_WARP;
    T *q = room, *dout = q + ROWS, *k = dout + ROWS, *v = k + ROWS, *square = v + ROWS + warp * SQUARE;
    float *own = reinterpret_cast<float *>(square), *of_row = reinterpret_cast<float *>(v + ROWS + LS_TENSOR_WARPS * SQUARE) + warp * 2 * LS_TENSOR_ROWS;
    const int64_t first = tile.q_begin + warp * LS_TENSOR_ROWS, lse_at = (tile.row * job.heads + head) * job.queries + first;
    const auto at_q = [&](int64_t n) { return ls_attention_q_at(job, tile, n, head); };
    const auto at_k = [&](int64_t n) { return ls_attention_k_at(job, tile, n, kv_head); };
    ls_sums dq[PARTS], score, dp;

    const uint64_t places = ls_tensor_places(own);
    ls_tensor_load<WIDTH>(job, job.q, at_q, tile.q_begin, tile.q_end, q);
    ls_tensor_load<WIDTH>(job, job.dout, at_q, tile.q_begin, tile.q_end, dout);
    __syncthreads();
    const int r = lane / 2, side = lane % 2;
    const bool inside = first + r < tile.q_end;
    const float own_delta = delta_of(job, dout + (warp * LS_TENSOR_ROWS + r) * STRIDE, job.out + (inside ? at_q(first + r) : 0), inside, side);
    if (side == 0) {
        of_row[r] = inside ? job.lse[lse_at + r] : 0.0f;
        of_row[LS_TENSOR_ROWS + r] = own_delta;
        if (inside)
            job.delta[lse_at + r] = own_delta;
    }
    __syncwarp();
#pragma unroll
    for (int d = 0; d < PARTS; d++)
        nvcuda::wmma::fill_fragment(dq[d], 0.0f);
    for (int64_t key = tile.k_begin; key < tile.k_end; key += LS_TENSOR_TILE) {
        if (!ls_attention_meets(job, tile, tile.q_begin, tile.q_end, key, ls_lesser(key + LS_TENSOR_TILE, tile.k_end)))
            continue;
        __syncthreads(); /* the last step's keys have been read */
        ls_tensor_load<WIDTH>(job, job.k, at_k, key, tile.k_end, k);
        ls_tensor_load<WIDTH>(job, job.v, at_k, key, tile.k_end, v);
        __syncthreads();
        const bool whole = first + LS_TENSOR_ROWS <= tile.q_end && key + LS_TENSOR_TILE <= tile.k_end && ls_tensor_whole(job, tile, first, first + LS_TENSOR_ROWS, key, key + LS_TENSOR_TILE);
#pragma unroll 1
        for (int n = 0; n < LS_TENSOR_TILE; n += 16) {
            ls_tensor_dots<WIDTH>(q + warp * LS_TENSOR_ROWS * STRIDE, k + n * STRIDE, score);
            ls_tensor_dots<WIDTH>(dout + warp * LS_TENSOR_ROWS * STRIDE, v + n * STRIDE, dp);
            const unsigned seen = ls_tensor_seen(LS_HELD, whole, [&](int i) {
                const int64_t at = first + ls_tensor_row(places, i), j = key + n + ls_tensor_column(places, i);
                return at < tile.q_end && j < tile.k_end && ls_attention_sees(job, tile, at, j);
            });
#pragma unroll
            for (int i = 0; i < LS_HELD; i++) {
                const int row = ls_tensor_row(places, i), column = n + ls_tensor_column(places, i);
                float p, ds;
                slopes(job, score.x[i], of_row[row], dp.x[i], of_row[LS_TENSOR_ROWS + row], seen >> i & 1, &p, &ds);
                ls_put(square, row * LS_TENSOR_SQUARE + column, ds);
            }
        }
        __syncwarp();
        ls_tensor_add<WIDTH>(square, k, dq);
        __syncwarp(); /* the square has been read */
    }
    if (!job.dq)
        return;
    ls_tensor_out<WIDTH>(own, dq, [&](int to, int d, float value) {
        if (first + to < tile.q_end && d < job.width)
            ls_put(job.dq, at_q(first + to) + d, ls_get(job.dq, at_q(first + to) + d) + value);
    });
}

/* A warp's results of the key kernel, added to dk or dv. */
template <int WIDTH, typename T> static __device__ inline void add_out(const ls_tensor_job<T> &job, const ls_attention_tile &tile, int kv_head, int64_t first, float *own, const ls_sums *sums, T *to)
{
    if (!to)
        return;
    ls_tensor_out<WIDTH>(own, sums, [&](int r, int d, float value) {
        if (first + r < tile.k_end && d < job.width) {
            const int64_t at = ls_attention_k_at(job, tile, first + r, kv_head) + d;
            ls_put(to, at, ls_get(to, at) + value);
        }
    });
}

template <int WIDTH, typename T> __global__ void __launch_bounds__(LS_TENSOR_THREADS, LS_TENSOR_BLOCKS(WIDTH)) attention_tensor_key_kernel(ls_tensor_job<T> job)
{
    enum { STRIDE = WIDTH + 8, PARTS = WIDTH / 16, ROWS = LS_TENSOR_TILE * STRIDE };
    LS_DYNAMIC_SHARED(T, room);
    const int kv_head = (int)(blockIdx.x % (unsigned)job.kv_heads), group = job.heads / job.kv_heads;
    const ls_attention_tile tile = job.tile[blockIdx.x / (unsigned)job.kv_heads];
    const int warp = (int)threadIdx.x / LS_WARP;
    T *q = room, *dout = q + ROWS, *k = dout + ROWS, *v = k + ROWS, *square_p = v + ROWS + warp * 2 * SQUARE, *square_ds = square_p + SQUARE;
    float *own = reinterpret_cast<float *>(square_p), *lse = reinterpret_cast<float *>(v + ROWS + LS_TENSOR_WARPS * 2 * SQUARE), *delta = lse + LS_TENSOR_TILE;
    const int64_t first = tile.k_begin + warp * LS_TENSOR_ROWS;
    const auto at_k = [&](int64_t n) { return ls_attention_k_at(job, tile, n, kv_head); };
    ls_sums dk[PARTS], dv[PARTS], score, dp;

    const uint64_t places = ls_tensor_places(own);
#pragma unroll
    for (int d = 0; d < PARTS; d++) {
        nvcuda::wmma::fill_fragment(dk[d], 0.0f);
        nvcuda::wmma::fill_fragment(dv[d], 0.0f);
    }
    ls_tensor_load<WIDTH>(job, job.k, at_k, tile.k_begin, tile.k_end, k);
    ls_tensor_load<WIDTH>(job, job.v, at_k, tile.k_begin, tile.k_end, v);
    for (int head = kv_head * group; head < (kv_head + 1) * group; head++)
        for (int64_t query = tile.q_begin; query < tile.q_end; query += LS_TENSOR_TILE) {
            if (!ls_attention_meets(job, tile, query, ls_lesser(query + LS_TENSOR_TILE, tile.q_end), tile.k_begin, tile.k_end))
                continue;
            const auto at_q = [&](int64_t n) { return ls_attention_q_at(job, tile, n, head); };
            __syncthreads(); /* the last step's queries have been read */
            ls_tensor_load<WIDTH>(job, job.q, at_q, query, tile.q_end, q);
            ls_tensor_load<WIDTH>(job, job.dout, at_q, query, tile.q_end, dout);
            if (threadIdx.x < LS_TENSOR_TILE) {
                const bool inside = query + (int)threadIdx.x < tile.q_end;
                const int64_t at = (tile.row * job.heads + head) * job.queries + query + threadIdx.x;
                lse[threadIdx.x] = inside ? job.lse[at] : 0.0f;
                delta[threadIdx.x] = inside ? job.delta[at] : 0.0f;
            }
            __syncthreads();
            const bool whole = first + LS_TENSOR_ROWS <= tile.k_end && query + LS_TENSOR_TILE <= tile.q_end && ls_tensor_whole(job, tile, query, query + LS_TENSOR_TILE, first, first + LS_TENSOR_ROWS);
#pragma unroll 1
            for (int n = 0; n < LS_TENSOR_TILE; n += 16) { /* squares have a row for each key */
                ls_tensor_dots<WIDTH>(k + warp * LS_TENSOR_ROWS * STRIDE, q + n * STRIDE, score);
                ls_tensor_dots<WIDTH>(v + warp * LS_TENSOR_ROWS * STRIDE, dout + n * STRIDE, dp);
                const unsigned seen = ls_tensor_seen(LS_HELD, whole, [&](int i) {
                    const int64_t at = query + n + ls_tensor_column(places, i), j = first + ls_tensor_row(places, i);
                    return at < tile.q_end && j < tile.k_end && ls_attention_sees(job, tile, at, j);
                });
#pragma unroll
                for (int i = 0; i < LS_HELD; i++) {
                    const int row = ls_tensor_row(places, i), column = n + ls_tensor_column(places, i);
                    float p, ds;
                    slopes(job, score.x[i], lse[column], dp.x[i], delta[column], seen >> i & 1, &p, &ds);
                    ls_put(square_p, row * LS_TENSOR_SQUARE + column, p);
                    ls_put(square_ds, row * LS_TENSOR_SQUARE + column, ds);
                }
            }
            __syncwarp();
            ls_tensor_add<WIDTH>(square_p, dout, dv);
            ls_tensor_add<WIDTH>(square_ds, q, dk);
            __syncwarp(); /* the squares have been read */
        }
    add_out<WIDTH>(job, tile, kv_head, first, own, dk, job.dk);
    add_out<WIDTH>(job, tile, kv_head, first, own, dv, job.dv);
}

template <int WIDTH, typename T> static void launch_queries(ls_cuda_call &call, int64_t blocks, const ls_tensor_job<T> &job)
{
    const size_t bytes = ls_tensor_bytes(WIDTH, 4) + LS_TENSOR_WARPS * (SQUARE * sizeof(T) + 2 * LS_TENSOR_ROWS * sizeof(float));
    LS_CUDA_RUN_SHARED(call, (attention_tensor_query_kernel<WIDTH, T>), blocks, LS_TENSOR_THREADS, bytes, job);
}

template <int WIDTH, typename T> static void launch_keys(ls_cuda_call &call, int64_t blocks, const ls_tensor_job<T> &job)
{
    const size_t bytes = ls_tensor_bytes(WIDTH, 4) + LS_TENSOR_WARPS * 2 * SQUARE * sizeof(T) + 2 * LS_TENSOR_TILE * sizeof(float);
    LS_CUDA_RUN_SHARED(call, (attention_tensor_key_kernel<WIDTH, T>), blocks, LS_TENSOR_THREADS, bytes, job);
}

template <typename T> static bool go_back(ls_cuda_call &call, const ls_attention_args *a, ls_tensor_job<T> job)
{
    int64_t query_tiles, key_tiles;
    if (a->width > LS_TENSOR_WIDEST)
        return false;
    job.packs = ls_tensor_packs(job);
    job.tile = ls_attention_tiles(call, a, false, LS_TENSOR_TILE, &query_tiles);
    LS_TENSOR_WIDTHS(a->width, T, launch_queries, call, query_tiles * a->heads, job);
    job.tile = ls_attention_tiles(call, a, true, LS_TENSOR_TILE, &key_tiles);
    LS_TENSOR_WIDTHS(a->width, T, launch_keys, call, key_tiles * a->kv_heads, job);
    return true;
}

bool ls_attention_tensor_backward(ls_cuda_call &call, const ls_attention_args *a, ls_tensor_job<ls_bf16> job)
{
    return go_back(call, a, job);
}

bool ls_attention_tensor_backward(ls_cuda_call &call, const ls_attention_args *a, ls_tensor_job<ls_f16> job)
{
    return go_back(call, a, job);
}
