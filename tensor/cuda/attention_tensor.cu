/* Attention's forward pass in bf16 or f16 on tensor cores: the walk of attention.cu, 64 queries a block, 64 keys a step. Sums of
 * results stay in registers; a step's scores go through shared memory, where two lanes hold a query's row. Probabilities are
 * rounded to it for their product with the values, their sum is of what they were before. */
#include "tensor/cuda/attention_tensor.cuh"

enum { WARP_FLOATS = LS_TENSOR_ROWS * LS_TENSOR_SCORES, FACTORS = WARP_FLOATS - LS_TENSOR_ROWS };
enum { PAIRS = LS_TENSOR_TILE / 4 /* a lane's part of a row: two keys of every four */ };

template <typename T> struct alignas(4) two {
    T v[2];
};

/* A lane's part of the scores of row r, from shared memory; -infinity where the key is not seen. */
template <typename T> static __device__ inline void own_scores(const ls_tensor_job<T> &job, const ls_attention_tile &tile, const float *scores, int64_t i, int64_t key, int r, int side, float *s)
{
    const int64_t first = i - r; /* the warp's first query */
    const bool whole = key + LS_TENSOR_TILE <= tile.k_end && ls_tensor_whole(job, tile, first, first + LS_TENSOR_ROWS, key, key + LS_TENSOR_TILE);
    const unsigned seen = ls_tensor_seen(2 * PAIRS, whole, [&](int n) {
        const int64_t j = key + 4 * (n / 2) + 2 * side + n % 2;
        return i < tile.q_end && j < tile.k_end && ls_attention_sees(job, tile, i, j);
    });
#pragma unroll
    for (int n = 0; n < PAIRS; n++) {
        const float2 pair = *reinterpret_cast<const float2 *>(scores + r * LS_TENSOR_SCORES + 4 * n + 2 * side);
        s[2 * n] = seen >> 2 * n & 1 ? pair.x * job.scale : -INFINITY;
        s[2 * n + 1] = seen >> (2 * n + 1) & 1 ? pair.y * job.scale : -INFINITY;
    }
}

/* Turns s into probabilities against the greatest score so far, in `square` and rounded. Returns what sums so far are worth
 * now. */
template <typename T> static __device__ inline float own_probabilities(float *s, int r, int side, float *greatest, float *sum, T *square)
{
    float own = -INFINITY, part = 0;
#pragma unroll
    for (int n = 0; n < 2 * PAIRS; n++)
        own = ls_greater()(own, s[n]);
    own = ls_greater()(own, __shfl_xor_sync(0xffffffffu, own, 1));
    const float most = ls_greater()(*greatest, own), base = most == -INFINITY ? 0.0f : most;
    const float keep = most == *greatest ? 1.0f : exp(*greatest - most); /* both -infinity while nothing is seen */
#pragma unroll
    for (int n = 0; n < PAIRS; n++) {
        two<T> pair;
        for (int e = 0; e < 2; e++) {
            const float share = exp(s[2 * n + e] - base);
            part += share;
            ls_put(pair.v, e, share);
        }
        *reinterpret_cast<two<T> *>(square + r * LS_TENSOR_SQUARE + 4 * n + 2 * side) = pair;
    }
    part += __shfl_xor_sync(0xffffffffu, part, 1);
    *sum = *sum * keep + part;
    *greatest = most;
    return keep;
}

template <int PARTS> static __device__ inline void scale_rows(const float *factor, uint64_t places, ls_sums *sums)
{
    float by[LS_HELD];
#pragma unroll
    for (int i = 0; i < LS_HELD; i++)
        by[i] = factor[ls_tensor_row(places, i)];
#pragma unroll
    for (int d = 0; d < PARTS; d++)
#pragma unroll
        for (int i = 0; i < LS_HELD; i++)
            sums[d].x[i] *= by[i];
}

template <int WIDTH, typename T> __global__ void __launch_bounds__(LS_TENSOR_THREADS, LS_TENSOR_BLOCKS(WIDTH)) attention_tensor_kernel(ls_tensor_job<T> job)
{
    enum { STRIDE = WIDTH + 8, PARTS = WIDTH / 16 };
    LS_DYNAMIC_SHARED(T, room);
    const int head = (int)(blockIdx.x % (unsigned)job.heads), kv_head = head / (job.heads / job.kv_heads);
    const ls_attention_tile tile = job.tile[blockIdx.x / (unsigned)job.heads];
    const int warp = (int)threadIdx.x / LS_WARP, lane = (int)threadIdx.x % LS_WARP, r = lane / 2, side = lane % 2;
    T *q = room, *k = q + LS_TENSOR_TILE * STRIDE, *v = k + LS_TENSOR_TILE * STRIDE;
    float *own = reinterpret_cast<float *>(v + LS_TENSOR_TILE * STRIDE) + warp * WARP_FLOATS;
    T *square = reinterpret_cast<T *>(own); /* probabilities take the scores' place, factors of rows its end */
    const int64_t first = tile.q_begin + warp * LS_TENSOR_ROWS, i = first + r;
    float greatest = -INFINITY, sum = 0, s[2 * PAIRS];
    ls_sums out[PARTS], scores;
    const auto at_q = [&](int64_t n) { return ls_attention_q_at(job, tile, n, head); };
    const auto at_k = [&](int64_t n) { return ls_attention_k_at(job, tile, n, kv_head); };

    const uint64_t places = ls_tensor_places(own);
#pragma unroll
    for (int d = 0; d < PARTS; d++)
        nvcuda::wmma::fill_fragment(out[d], 0.0f);
    ls_tensor_load<WIDTH>(job, job.q, at_q, tile.q_begin, tile.q_end, q);
    for (int64_t key = tile.k_begin; key < tile.k_end; key += LS_TENSOR_TILE) {
        if (!ls_attention_meets(job, tile, tile.q_begin, tile.q_end, key, ls_lesser(key + LS_TENSOR_TILE, tile.k_end)))
            continue;
        __syncthreads(); /* the last step's keys and values have been read */
        ls_tensor_load<WIDTH>(job, job.k, at_k, key, tile.k_end, k);
        ls_tensor_load<WIDTH>(job, job.v, at_k, key, tile.k_end, v);
        __syncthreads();
#pragma unroll 2
        for (int n = 0; n < LS_TENSOR_TILE; n += 16) {
            ls_tensor_dots<WIDTH>(q + warp * LS_TENSOR_ROWS * STRIDE, k + n * STRIDE, scores);
            nvcuda::wmma::store_matrix_sync(own + n, scores, LS_TENSOR_SCORES, nvcuda::wmma::mem_row_major);
        }
        __syncwarp();
        own_scores(job, tile, own, i, key, r, side, s);
        __syncwarp();
        const float keep = own_probabilities(s, r, side, &greatest, &sum, square);
        if (side == 0)
            own[FACTORS + r] = keep;
        __syncwarp();
        scale_rows<PARTS>(own + FACTORS, places, out);
        ls_tensor_add<WIDTH>(square, v, out);
    }
    __syncwarp();
    if (side == 0)
        own[FACTORS + r] = sum == 0 ? 0 : 1 / sum; /* a NaN stays one */
    __syncwarp();
    scale_rows<PARTS>(own + FACTORS, places, out);
    ls_tensor_out<WIDTH>(own, out, [&](int to, int d, float value) {
        if (first + to < tile.q_end && d < job.width)
            ls_put(job.out, at_q(first + to) + d, value);
    });
    if (side == 0 && i < tile.q_end)
        job.lse[(tile.row * job.heads + head) * job.queries + i] = sum == 0 ? -INFINITY : greatest + log(sum);
}

template <int WIDTH, typename T> static void launch(ls_cuda_call &call, int64_t blocks, const ls_tensor_job<T> &job)
{
    const size_t bytes = ls_tensor_bytes(WIDTH, 3) + LS_TENSOR_WARPS * WARP_FLOATS * sizeof(float);
    LS_CUDA_RUN_SHARED(call, (attention_tensor_kernel<WIDTH, T>), blocks, LS_TENSOR_THREADS, bytes, job);
}

template <typename T> static bool attend(ls_cuda_call &call, const ls_attention_args *a, ls_tensor_job<T> job)
{
    int64_t tiles;
    if (a->width > LS_TENSOR_WIDEST)
        return false;
    job.packs = ls_tensor_packs(job);
    job.tile = ls_attention_tiles(call, a, false, LS_TENSOR_TILE, &tiles);
    LS_TENSOR_WIDTHS(a->width, T, launch, call, tiles * a->heads, job);
    return true;
}

bool ls_attention_tensor(ls_cuda_call &call, const ls_attention_args *a, ls_tensor_job<ls_bf16> job)
{
    return attend(call, a, job);
}

bool ls_attention_tensor(ls_cuda_call &call, const ls_attention_args *a, ls_tensor_job<ls_f16> job)
{
    return attend(call, a, job);
}
