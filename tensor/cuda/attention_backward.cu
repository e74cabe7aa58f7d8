/* Attention's gradients, with the probabilities computed again from the log-sum-exp that forward kept:
 *     p = exp(s - lse); dv_j = sum_i p_ij dout_i; dp_ij = dout_i . v_j; ds = p (dp - delta_i) scale;
 *     dq_i = sum_j ds_ij k_j; dk_j = sum_i ds_ij q_i; delta_i = dout_i . out_i
 * One kernel goes over tiles of queries, one over tiles of keys: each result is added to by one block alone, its terms in
 * ascending order of heads, queries or keys. */
#include "tensor/cuda/attention.cuh"

/* p and ds of a pair that is seen, else 0. */
template <typename W> static __device__ inline void slopes(W score, W lse, W dp, W delta, W scale, bool seen, W *p, W *ds)
{
    *p = seen && lse != (W)-INFINITY ? exp(score - lse) : (W)0;
    *ds = seen ? *p * (dp - delta) * scale : (W)0;
}

enum { QUERY_ROWS = 5, KEY_ROWS = 6 }; /* arrays of LS_TILE rows in shared memory */

template <typename J> static int64_t shared_numbers(const J &job, int rows, int squares)
{
    return (int64_t)rows * LS_TILE * (job.width + 1) + squares * LS_TILE * (LS_TILE + 1);
}

template <typename J> __global__ void __launch_bounds__(LS_TILE_THREADS) query_kernel(J job)
{
    typedef typename J::W W;
    LS_DYNAMIC_SHARED(W, room);
    const int stride = job.width + 1, head = (int)(blockIdx.x % (unsigned)job.heads), kv_head = head / (job.heads / job.kv_heads);
    const ls_attention_tile tile = job.tile[blockIdx.x / (unsigned)job.heads];
    W *q = room, *dout = q + LS_TILE * stride, *key = dout + LS_TILE * stride, *value = key + LS_TILE * stride;
    W *dq = value + LS_TILE * stride, *square = dq + LS_TILE * stride;
    const int r = (int)threadIdx.x / LS_TILE_SHARE, c = (int)threadIdx.x % LS_TILE_SHARE;
    const int64_t i = tile.q_begin + r, at = ls_attention_q_at(job, tile, i, head), row = (tile.row * job.heads + head) * job.queries + i;
    const bool inside = i < tile.q_end;

    ls_attention_load_q(job, tile, head, job.q, tile.q_begin, tile.q_end, q);
    ls_attention_load_q(job, tile, head, job.dout, tile.q_begin, tile.q_end, dout);
    __syncthreads();
    W delta = 0;
    for (int d = c; d < job.width; d += LS_TILE_SHARE) {
        delta += inside ? dout[r * stride + d] * (W)ls_get(job.out, at + d) : (W)0;
        dq[r * stride + d] = 0;
    }
    delta = ls_row_all(delta, ls_plus());
    const W lse = inside ? job.lse[row] : (W)0;
    if (inside && c == 0)
        job.delta[row] = delta;
    for (int64_t k = tile.k_begin; k < tile.k_end; k += LS_TILE) {
        if (!ls_attention_meets(job, tile, tile.q_begin, tile.q_end, k, ls_lesser(k + LS_TILE, tile.k_end)))
            continue;
        ls_attention_load_k(job, tile, kv_head, job.k, k, tile.k_end, key);
        ls_attention_load_k(job, tile, kv_head, job.v, k, tile.k_end, value);
        __syncthreads();
#pragma unroll 1
        for (int j = c; j < LS_TILE; j += LS_TILE_SHARE) {
            const bool seen = inside && k + j < tile.k_end && ls_attention_sees(job, tile, i, k + j);
            W p, ds;
            slopes(ls_dot(q + r * stride, key + j * stride, job.width) * job.scale, lse, ls_dot(dout + r * stride, value + j * stride, job.width), delta, job.scale, seen, &p, &ds);
            square[r * (LS_TILE + 1) + j] = ds;
        }
        __syncthreads();
        for (int d = c; d < job.width; d += LS_TILE_SHARE) {
            W sum = dq[r * stride + d];
#pragma unroll 4
            for (int j = 0; j < LS_TILE; j++)
                sum = ls_fma(square[r * (LS_TILE + 1) + j], key[j * stride + d], sum);
            dq[r * stride + d] = sum;
        }
        __syncthreads();
    }
    for (int d = c; d < job.width && inside && job.dq; d += LS_TILE_SHARE)
        ls_put(job.dq, at + d, (W)ls_get(job.dq, at + d) + dq[r * stride + d]);
}

template <typename J> __global__ void __launch_bounds__(LS_TILE_THREADS) key_kernel(J job)
{
    typedef typename J::W W;
    LS_DYNAMIC_SHARED(W, room);
    const int stride = job.width + 1, kv_head = (int)(blockIdx.x % (unsigned)job.kv_heads), group = job.heads / job.kv_heads;
    const ls_attention_tile tile = job.tile[blockIdx.x / (unsigned)job.kv_heads];
    W *q = room, *dout = q + LS_TILE * stride, *key = dout + LS_TILE * stride, *value = key + LS_TILE * stride;
    W *dk = value + LS_TILE * stride, *dv = dk + LS_TILE * stride, *square_p = dv + LS_TILE * stride, *square_ds = square_p + LS_TILE * (LS_TILE + 1);
    const int r = (int)threadIdx.x / LS_TILE_SHARE, c = (int)threadIdx.x % LS_TILE_SHARE;
    const int64_t j = tile.k_begin + r;

    ls_attention_load_k(job, tile, kv_head, job.k, tile.k_begin, tile.k_end, key);
    ls_attention_load_k(job, tile, kv_head, job.v, tile.k_begin, tile.k_end, value);
    for (int d = c; d < job.width; d += LS_TILE_SHARE)
        dk[r * stride + d] = dv[r * stride + d] = 0;
    for (int head = kv_head * group; head < (kv_head + 1) * group; head++)
        for (int64_t first = tile.q_begin; first < tile.q_end; first += LS_TILE) {
            if (!ls_attention_meets(job, tile, first, ls_lesser(first + LS_TILE, tile.q_end), tile.k_begin, tile.k_end))
                continue;
            ls_attention_load_q(job, tile, head, job.q, first, tile.q_end, q);
            ls_attention_load_q(job, tile, head, job.dout, first, tile.q_end, dout);
            __syncthreads();
#pragma unroll 1
            for (int n = c; n < LS_TILE; n += LS_TILE_SHARE) { /* row r of the square: key j's pair with each query */
                const int64_t i = first + n, row = (tile.row * job.heads + head) * job.queries + i;
                const bool inside = i < tile.q_end && j < tile.k_end, seen = inside && ls_attention_sees(job, tile, i, j);
                W p, ds;
                slopes(ls_dot(q + n * stride, key + r * stride, job.width) * job.scale, inside ? job.lse[row] : (W)0, ls_dot(dout + n * stride, value + r * stride, job.width),
                       inside ? job.delta[row] : (W)0, job.scale, seen, &p, &ds);
                square_p[r * (LS_TILE + 1) + n] = p;
                square_ds[r * (LS_TILE + 1) + n] = ds;
            }
            __syncthreads();
            for (int d = c; d < job.width; d += LS_TILE_SHARE) {
                W sum_k = dk[r * stride + d], sum_v = dv[r * stride + d];
#pragma unroll 4 /* more would not fit into registers */
                for (int n = 0; n < LS_TILE; n++) {
                    sum_k = ls_fma(square_ds[r * (LS_TILE + 1) + n], q[n * stride + d], sum_k);
                    sum_v = ls_fma(square_p[r * (LS_TILE + 1) + n], dout[n * stride + d], sum_v);
                }
                dk[r * stride + d] = sum_k;
                dv[r * stride + d] = sum_v;
            }
            __syncthreads();
        }
    if (j >= tile.k_end)
        return;
    const int64_t at = ls_attention_k_at(job, tile, j, kv_head);
    for (int d = c; d < job.width; d += LS_TILE_SHARE) {
        if (job.dk)
            ls_put(job.dk, at + d, (W)ls_get(job.dk, at + d) + dk[r * stride + d]);
        if (job.dv)
            ls_put(job.dv, at + d, (W)ls_get(job.dv, at + d) + dv[r * stride + d]);
    }
}

template <typename T> static void run(ls_device *device, const ls_attention_args *a)
{
    typedef ls_wide<T> W;
    typedef ls_attention_job<T> J;
    ls_cuda_call call(device);
    J job = {};
    int64_t query_tiles, key_tiles;
    job.queries = a->queries, job.keys = a->keys, job.heads = (int)a->heads, job.kv_heads = (int)a->kv_heads, job.width = (int)a->width;
    job.causal = a->causal && !a->mask, job.window = a->window, job.scale = (W)a->scale;
    const int64_t rows = a->batch * a->queries * a->heads, all_q = rows * a->width, all_k = a->batch * a->keys * a->kv_heads * a->width;
    job.q = call.in<T>(a->q, all_q), job.k = call.in<T>(a->k, all_k), job.v = call.in<T>(a->v, all_k);
    job.out = const_cast<T *>(call.in<T>(a->out, all_q)), job.lse = const_cast<W *>(call.in<W>(a->lse, rows)), job.dout = call.in<T>(a->dout, all_q);
    job.dq = call.into<T>(a->dq, all_q), job.dk = call.into<T>(a->dk, all_k), job.dv = call.into<T>(a->dv, all_k);
    job.delta = call.scratch<W>(rows);
    job.masked = a->mask != NULL;
    if (a->mask)
        job.mask = ls_attention_mask(call, a->mask, &job.mask_shift);
    if (ls_attention_tensor_backward(call, a, job))
        return;
    job.tile = ls_attention_tiles(call, a, false, LS_TILE, &query_tiles);
    LS_CUDA_RUN_SHARED(call, query_kernel<J>, query_tiles * a->heads, LS_TILE_THREADS, (size_t)shared_numbers(job, QUERY_ROWS, 1) * sizeof(W), job);
    job.tile = ls_attention_tiles(call, a, true, LS_TILE, &key_tiles);
    LS_CUDA_RUN_SHARED(call, key_kernel<J>, key_tiles * a->kv_heads, LS_TILE_THREADS, (size_t)shared_numbers(job, KEY_ROWS, 2) * sizeof(W), job);
}

ls_status ls_cuda_attention_backward(ls_device *device, const ls_attention_args *args, ls_arena *)
{
    LS_CUDA_TYPED(args->type, run, device, args);
    return ls_cuda_status(device);
}
