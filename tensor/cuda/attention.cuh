/* How attention is cut into tiles, for its forward and backward kernels.
 *
 * A tile of queries belongs to one segment, and its keys are walked in tiles that start at the segment's first key: so a
 * packed row gives the bits of its parts alone. The host makes the list of tiles, for it holds the segments. Keys that a
 * query does not see take part with a probability of exactly 0, which changes no bit of a sum. */
#pragma once
#include "tensor/cuda/cuda.cuh"

enum { LS_TILE = 32, LS_TILE_THREADS = 128, LS_TILE_SHARE = LS_TILE_THREADS / LS_TILE }; /* queries, and keys; threads of a row */

/* Queries [q_begin, q_end) of row `row` against keys [k_begin, k_end), or the other way round in a list of key tiles. */
typedef struct {
    int64_t row, q_begin, q_end, k_begin, k_end;
    int64_t position; /* of query i is i + position */
    int64_t page;     /* the first of this sequence's in the list of pages */
} ls_attention_tile;

template <typename T> struct ls_attention_job {
    typedef ls_wide<T> W;
    int64_t queries, keys;
    int heads, kv_heads, width;
    bool causal;
    int64_t window;
    W scale;
    const ls_attention_tile *tile;
    const T *q, *k, *v;
    T *out;
    W *lse;
    /* pages */
    const int32_t *pages; /* NULL: rows */
    int64_t page_row;
    /* mask */
    bool masked;
    ls_block_mask mask; /* its arrays on the device */
    int mask_shift;     /* its block is 2 to that: a division of 64 bits is a call, around which registers spill */
    /* backward */
    const T *dout;
    T *dq, *dk, *dv;
    W *delta; /* [B, H, Tq]: sum over the width of dout out */
    bool packs; /* attention_tensor.cuh: rows are read 16 bytes at a time */
};

/* The same job in bf16 or f16 on tensor cores; false: not done, for other types and heads wider than 128. */
bool ls_attention_tensor(ls_cuda_call &call, const ls_attention_args *args, ls_attention_job<ls_bf16> job);
bool ls_attention_tensor(ls_cuda_call &call, const ls_attention_args *args, ls_attention_job<ls_f16> job);
bool ls_attention_tensor_backward(ls_cuda_call &call, const ls_attention_args *args, ls_attention_job<ls_bf16> job);
bool ls_attention_tensor_backward(ls_cuda_call &call, const ls_attention_args *args, ls_attention_job<ls_f16> job);
template <typename J> static inline bool ls_attention_tensor(ls_cuda_call &, const ls_attention_args *, const J &) { return false; }
template <typename J> static inline bool ls_attention_tensor_backward(ls_cuda_call &, const ls_attention_args *, const J &) { return false; }

/* The tiles of `size` queries (of keys, with by_keys) of a call, on the device; their number. NULL: out of memory. */
const ls_attention_tile *ls_attention_tiles(ls_cuda_call &call, const ls_attention_args *args, bool by_keys, int64_t size, int64_t *tiles);
/* The mask with its arrays on the device, and the logarithm of its block. */
ls_block_mask ls_attention_mask(ls_cuda_call &call, const ls_block_mask *mask, int *shift);

/* The blocks of query block `at` from key block `wanted` on; *left: how many. */
template <typename J> static __device__ inline const ls_mask_block *ls_attention_blocks(const J &job, const ls_attention_tile &tile, int at, int wanted, int *left)
{
    const ls_block_mask &m = job.mask;
    const int64_t *first = m.first + (m.rows == 1 ? 0 : tile.row) * ((m.queries + m.block - 1) >> job.mask_shift) + at;
    const ls_mask_block *blocks = m.blocks + first[0];
    int low = 0, high = (int)(first[1] - first[0]);
    const int all = high;
    while (low < high) { /* they ascend */
        const int middle = (low + high) / 2;
        if (blocks[middle].key_block < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    *left = all - low;
    return blocks + low;
}

/* Does query i (its row is `row`) see key j? Both are inside their tile. */
template <typename J> static __device__ inline bool ls_attention_sees(const J &job, const ls_attention_tile &tile, int64_t i, int64_t j)
{
    if (!job.masked)
        return !(job.causal && j > i + tile.position) && !(job.window && j <= i + tile.position - job.window);
    const ls_block_mask &m = job.mask;
    const int words = (int)(m.block + 63) / 64, wanted = (int)(j >> job.mask_shift);
    int left;
    const ls_mask_block *found = ls_attention_blocks(job, tile, (int)(i >> job.mask_shift), wanted, &left);
    if (left == 0 || found->key_block != wanted)
        return false;
    const int32_t kind = found->kind;
    const int64_t rest = m.block - 1, bit = j & rest;
    return kind == LS_MASK_WHOLE || (kind == LS_MASK_CAUSAL && j <= i + tile.position) ||
           (kind >= 0 && (m.bits[(kind * m.block + (i & rest)) * words + (bit >> 6)] >> (bit & 63) & 1));
}

/* Has the mask a block for queries [q, q_end) and keys [k, k_end)? Where it has none, nothing is loaded or computed. Without a
 * mask the list of tiles has left out what nobody sees. */
template <typename J> static __device__ inline bool ls_attention_meets(const J &job, const ls_attention_tile &tile, int64_t q, int64_t q_end, int64_t k, int64_t k_end)
{
    if (!job.masked)
        return true;
    const int last = (int)((q_end - 1) >> job.mask_shift), last_key = (int)((k_end - 1) >> job.mask_shift);
#pragma unroll 1
    for (int at = (int)(q >> job.mask_shift); at <= last; at++) {
        int left;
        const ls_mask_block *found = ls_attention_blocks(job, tile, at, (int)(k >> job.mask_shift), &left);
        if (left > 0 && found->key_block <= last_key)
            return true;
    }
    return false;
}

static __device__ inline int64_t ls_lesser(int64_t a, int64_t b) { return a < b ? a : b; }

/* The first element of query i's head, of an array like q; of key j's head, of an array like k. */
template <typename J> static __device__ inline int64_t ls_attention_q_at(const J &job, const ls_attention_tile &tile, int64_t i, int head)
{
    return ((tile.row * job.queries + i) * job.heads + head) * job.width;
}

template <typename J> static __device__ inline int64_t ls_attention_k_at(const J &job, const ls_attention_tile &tile, int64_t j, int kv_head)
{
    if (job.pages)
        return ((job.pages[tile.page + j / LS_PAGE] * job.kv_heads + kv_head) * LS_PAGE + j % LS_PAGE) * job.page_row;
    return ((tile.row * job.keys + j) * job.kv_heads + kv_head) * job.width;
}

/* Rows [begin, end) of an array like q into shared rows of width + 1; rows past the end are zeros. */
template <typename J, typename T, typename W> static __device__ inline void ls_attention_load_q(const J &job, const ls_attention_tile &tile, int head, const T *from, int64_t begin, int64_t end, W *to)
{
    for (int at = (int)threadIdx.x; at < LS_TILE * job.width; at += LS_TILE_THREADS) {
        const int r = at / job.width, d = at % job.width;
        const int64_t i = begin + r;
        to[r * (job.width + 1) + d] = i < end ? ls_get(from, ls_attention_q_at(job, tile, i, head) + d) : (W)0;
    }
}

template <typename J, typename T, typename W> static __device__ inline void ls_attention_load_k(const J &job, const ls_attention_tile &tile, int kv_head, const T *from, int64_t begin, int64_t end, W *to)
{
    for (int at = (int)threadIdx.x; at < LS_TILE * job.width; at += LS_TILE_THREADS) {
        const int r = at / job.width, d = at % job.width;
        const int64_t j = begin + r;
        to[r * (job.width + 1) + d] = j < end ? (W)ls_get(from, ls_attention_k_at(job, tile, j, kv_head) + d) : (W)0;
    }
}

static __device__ inline float ls_fma(float a, float b, float c) { return fmaf(a, b, c); }
static __device__ inline double ls_fma(double a, double b, double c) { return fma(a, b, c); }

/* One chain in ascending order. */
template <typename W> static __device__ inline W ls_dot(const W *a, const W *b, int n)
{
    W sum = 0;
#pragma unroll 4
    for (int i = 0; i < n; i++)
        sum = ls_fma(a[i], b[i], sum);
    return sum;
}

/* The row's four threads' values joined, in each of them. */
template <typename W, typename Op> static __device__ inline W ls_row_all(W value, Op op)
{
    for (int distance = LS_TILE_SHARE / 2; distance > 0; distance /= 2)
        value = op(value, __shfl_xor_sync(0xffffffffu, value, distance));
    return value;
}
