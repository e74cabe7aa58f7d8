/* Attention without its matrix of scores (Dao et al. 2022): a block of threads for each tile of queries and head walks
 * over the keys with a running maximum and sum. Four threads share a query. All in f32 (f64). Rows of bf16 and f16 up to 128 wide
 * go to attention_tensor.cu. */
#include "tensor/cuda/attention.cuh"

template <typename J> static __host__ __device__ inline int64_t shared_numbers(const J &job)
{
    return (int64_t)3 * LS_TILE * (job.width + 1) + LS_TILE * (LS_TILE + 1);
}

template <typename J> __global__ void __launch_bounds__(LS_TILE_THREADS) attention_kernel(J job)
{
    typedef typename J::W W;
    LS_DYNAMIC_SHARED(W, room);
    const int stride = job.width + 1, head = (int)(blockIdx.x % (unsigned)job.heads), kv_head = head / (job.heads / job.kv_heads);
    const ls_attention_tile tile = job.tile[blockIdx.x / (unsigned)job.heads];
    W *q = room, *kv = q + LS_TILE * stride, *out = kv + LS_TILE * stride, *p = out + LS_TILE * stride;
    const int r = (int)threadIdx.x / LS_TILE_SHARE, c = (int)threadIdx.x % LS_TILE_SHARE;
    const int64_t i = tile.q_begin + r;
    W greatest = (W)-INFINITY, sum = 0;

    ls_attention_load_q(job, tile, head, job.q, tile.q_begin, tile.q_end, q);
    for (int d = c; d < job.width; d += LS_TILE_SHARE)
        out[r * stride + d] = 0;
    for (int64_t k = tile.k_begin; k < tile.k_end; k += LS_TILE) {
        if (!ls_attention_meets(job, tile, tile.q_begin, tile.q_end, k, ls_lesser(k + LS_TILE, tile.k_end)))
            continue;
        ls_attention_load_k(job, tile, kv_head, job.k, k, tile.k_end, kv);
        __syncthreads();
        W own = (W)-INFINITY, part = 0;
#pragma unroll 1
        for (int j = c; j < LS_TILE; j += LS_TILE_SHARE) {
            const bool seen = i < tile.q_end && k + j < tile.k_end && ls_attention_sees(job, tile, i, k + j);
            const W score = seen ? ls_dot(q + r * stride, kv + j * stride, job.width) * job.scale : (W)-INFINITY;
            p[r * (LS_TILE + 1) + j] = score;
            own = ls_greater()(own, score);
        }
        const W most = ls_greater()(greatest, ls_row_all(own, ls_greater()));
        const W keep = most == greatest ? (W)1 : exp(greatest - most); /* both -infinity while nothing is seen */
#pragma unroll 1
        for (int j = c; j < LS_TILE; j += LS_TILE_SHARE) {
            const W score = p[r * (LS_TILE + 1) + j], share = score == (W)-INFINITY ? (W)0 : exp(score - most);
            p[r * (LS_TILE + 1) + j] = share;
            part += share;
        }
        sum = sum * keep + ls_row_all(part, ls_plus());
        greatest = most;
        __syncthreads(); /* keys have been read, probabilities written */
        ls_attention_load_k(job, tile, kv_head, job.v, k, tile.k_end, kv);
        __syncthreads();
        for (int d = c; d < job.width; d += LS_TILE_SHARE) {
            W value = out[r * stride + d] * keep;
#pragma unroll 4 /* more would not fit into registers */
            for (int j = 0; j < LS_TILE; j++)
                value = ls_fma(p[r * (LS_TILE + 1) + j], kv[j * stride + d], value);
            out[r * stride + d] = value;
        }
        __syncthreads();
    }
    if (i >= tile.q_end)
        return;
    const int64_t at = ls_attention_q_at(job, tile, i, head);
    for (int d = c; d < job.width; d += LS_TILE_SHARE)
        ls_put(job.out, at + d, sum == 0 ? (W)0 : out[r * stride + d] / sum);
    if (c == 0)
        job.lse[(tile.row * job.heads + head) * job.queries + i] = sum == 0 ? (W)-INFINITY : greatest + log(sum);
}

/* Elements of keys in pages that are reached, where they are the host's. */
static int64_t page_extent(const ls_attention_args *a)
{
    int64_t most = -1;
    for (int64_t s = 0; s < a->spans; s++)
        for (int64_t p = 0; p * LS_PAGE < a->span[s].position + a->span[s].queries; p++)
            most = a->span[s].pages[p] > most ? a->span[s].pages[p] : most;
    return (most + 1) * a->kv_heads * LS_PAGE * a->page_row;
}

/* The sequences' pages, one after the other. */
static const int32_t *all_pages(ls_cuda_call &call, const ls_attention_args *a)
{
    int64_t count = 0;
    for (int64_t s = 0; s < a->spans; s++)
        count += (a->span[s].position + a->span[s].queries + LS_PAGE - 1) / LS_PAGE;
    int32_t *pages = call.scratch<int32_t>(count);
    for (int64_t s = 0, at = 0; s < a->spans && pages; s++) {
        const int64_t own = (a->span[s].position + a->span[s].queries + LS_PAGE - 1) / LS_PAGE;
        ls_cuda_copy_in(call.cuda, pages + at, a->span[s].pages, (size_t)own * sizeof *pages);
        at += own;
    }
    return pages;
}

template <typename T> static void run(ls_device *device, const ls_attention_args *a)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    ls_attention_job<T> job = {};
    int64_t tiles;
    job.queries = a->queries, job.keys = a->keys, job.heads = (int)a->heads, job.kv_heads = (int)a->kv_heads, job.width = (int)a->width;
    job.causal = (a->causal || a->spans) && !a->mask, job.window = a->window, job.scale = (W)a->scale;
    const int64_t all_q = a->batch * a->queries * a->heads, all_k = a->spans ? page_extent(a) : a->batch * a->keys * a->kv_heads * a->width;
    job.q = call.in<T>(a->q, all_q * a->width);
    job.k = call.in<T>(a->k, all_k), job.v = call.in<T>(a->v, all_k);
    job.out = call.out<T>(a->out, all_q * a->width);
    job.lse = a->lse ? call.out<W>(a->lse, all_q) : call.scratch<W>(all_q);
    if (a->spans)
        job.pages = all_pages(call, a), job.page_row = a->page_row;
    job.masked = a->mask != NULL;
    if (a->mask)
        job.mask = ls_attention_mask(call, a->mask, &job.mask_shift);
    if (ls_attention_tensor(call, a, job))
        return;
    job.tile = ls_attention_tiles(call, a, false, LS_TILE, &tiles);
    LS_CUDA_RUN_SHARED(call, (attention_kernel<ls_attention_job<T>>), tiles * a->heads, LS_TILE_THREADS, (size_t)shared_numbers(job) * sizeof(W), job);
}

ls_status ls_cuda_attention(ls_device *device, const ls_attention_args *args, ls_arena *)
{
    if (args->type == LS_BF16)
        run<ls_bf16>(device, args);
    else if (args->type == LS_F16)
        run<ls_f16>(device, args);
    else if (args->type == LS_F32)
        run<float>(device, args);
    else
        run<double>(device, args);
    return ls_cuda_status(device);
}
