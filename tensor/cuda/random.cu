/* Random numbers where they are used: Philox4x32-10 as base/random.h has it, four elements from each block of words. */
#include "tensor/cuda/cuda.cuh"

static __device__ inline uint4 philox(ls_random stream, uint64_t block)
{
    uint32_t x0 = (uint32_t)block, x1 = stream.slot, x2 = stream.step, x3 = stream.purpose << 16 | (stream.op & 0xffff);
    uint32_t k0 = (uint32_t)stream.seed, k1 = (uint32_t)(stream.seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)x0 * 0xd2511f53u, b = (uint64_t)x2 * 0xcd9e8d57u;
        x0 = (uint32_t)(b >> 32) ^ x1 ^ k0;
        x2 = (uint32_t)(a >> 32) ^ x3 ^ k1;
        x1 = (uint32_t)b;
        x3 = (uint32_t)a;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    return make_uint4(x0, x1, x2, x3);
}

/* f(i, word) for i of [0, n), element first + i of the stream; a thread for each block of four words. */
template <typename F> __global__ void words_kernel(ls_random stream, uint64_t first, int64_t n, F f)
{
    const uint64_t block = first / 4 + (uint64_t)ls_thread();
    if (block * 4 >= first + (uint64_t)n)
        return;
    const uint4 made = philox(stream, block);
    const uint32_t word[4] = {made.x, made.y, made.z, made.w};
    for (int j = 0; j < 4; j++) {
        const int64_t i = (int64_t)(block * 4 + (uint64_t)j - first); /* below 0 before the first */
        if (i >= 0 && i < n)
            f(i, word[j]);
    }
}

template <typename F> static void each_word(ls_cuda_call &call, const ls_random *stream, uint64_t first, int64_t n, F f)
{
    const int64_t blocks = n ? (int64_t)((first + (uint64_t)n + 3) / 4 - first / 4) : 0;
    LS_CUDA_RUN(call, words_kernel, ls_cuda_blocks(blocks, LS_CUDA_BLOCK), LS_CUDA_BLOCK, *stream, first, n, f);
}

template <typename T> static void dropout(ls_device *device, int64_t n, double p, const ls_random *stream, uint64_t first, const void *x, void *y, bool accumulate)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const T *from = call.in<T>(x, n);
    T *to = accumulate ? call.into<T>(y, n) : call.out<T>(y, n);
    const W scale = (W)(1 / (1 - p));
    each_word(call, stream, first, n, [=] __device__(int64_t i, uint32_t word) {
        const bool kept = (double)(word >> 8) * 0x1p-24 >= p;
        const W value = kept ? ls_get(from, i) * scale : 0;
        ls_put(to, i, accumulate ? ls_get(to, i) + value : value);
    });
}

void ls_cuda_dropout(ls_device *device, ls_type type, int64_t n, double p, const ls_random *stream, uint64_t first, const void *x, void *y, bool accumulate)
{
    LS_CUDA_TYPED(type, dropout, device, n, p, stream, first, x, y, accumulate);
}

template <typename T> static void gumbel(ls_device *device, int64_t n, double scale, const ls_random *stream, uint64_t first, const void *x, void *y)
{
    typedef ls_wide<T> W;
    ls_cuda_call call(device);
    const T *from = call.in<T>(x, n);
    T *to = call.out<T>(y, n);
    const W times = (W)scale;
    each_word(call, stream, first, n, [=] __device__(int64_t i, uint32_t word) {
        const W u = (W)(2 * (word >> 9) + 1) * (W)0x1p-24;
        ls_put(to, i, (ls_get(from, i) - log(-log(u))) * times);
    });
}

void ls_cuda_gumbel(ls_device *device, ls_type type, int64_t n, double scale, const ls_random *stream, uint64_t first, const void *x, void *y)
{
    LS_CUDA_TYPED(type, gumbel, device, n, scale, stream, first, x, y);
}
