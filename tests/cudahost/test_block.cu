/* Kernels run as CUDA runs them: grids, blocks, barriers, shuffles, votes, shared memory, WMMA. */
#include <criterion/criterion.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <mma.h>
#include <string.h>
#include <vector>
#include <cudahost.h>
#include "launch_test.h"

using namespace nvcuda;

template <class T> static T *on_device(const std::vector<T> &values)
{
    T *p;
    OK(cudaMalloc(&p, values.size() * sizeof(T)));
    OK(cudaMemcpy(p, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
    return p;
}

template <class T> static std::vector<T> on_host(const T *p, size_t n)
{
    std::vector<T> values(n);
    OK(cudaMemcpy(values.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
}

static __global__ void write_place(uint4 *out)
{
    unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    unsigned t = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    out[block * blockDim.x * blockDim.y * blockDim.z + t] = make_uint4(block, threadIdx.x, threadIdx.y, threadIdx.z);
}

Test(block, every_thread_of_every_block_runs_once_and_knows_its_place)
{
    uint4 *out;
    OK(cudaMalloc(&out, 24 * 30 * sizeof(uint4)));
    LAUNCH(write_place, dim3(4, 3, 2), dim3(5, 3, 2), 0, nullptr, out);
    std::vector<uint4> got = on_host(out, 24 * 30);
    for (unsigned i = 0; i < 24 * 30; i++) {
        unsigned t = i % 30;
        cr_assert(got[i].x == i / 30 && got[i].y == t % 5 && got[i].z == t / 5 % 3 && got[i].w == t / 15, "thread %u",
                  i);
    }
}

/* Sum of a row by warp shuffles, then shared memory, in two barriers. */
static __global__ void __launch_bounds__(256) row_sums(const float *x, float *sums, int n)
{
    __shared__ float part[8];
    float sum = 0.0f;
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        sum += x[(size_t)blockIdx.x * n + i];
    for (int lanes = 16; lanes > 0; lanes /= 2)
        sum += __shfl_down_sync(0xffffffffu, sum, lanes);
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = threadIdx.x < 8 ? part[threadIdx.x] : 0.0f;
        for (int lanes = 4; lanes > 0; lanes /= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, lanes);
        if (threadIdx.x == 0)
            sums[blockIdx.x] = sum;
    }
}

Test(block, a_reduction_by_shuffles_and_shared_memory_adds_every_number)
{
    const int rows = 5, n = 777;
    std::vector<float> x(rows * n);
    for (int i = 0; i < rows * n; i++)
        x[i] = (float)(i % 31 - 15);
    float *sums, *device_x = on_device(x);
    OK(cudaMalloc(&sums, rows * sizeof(float)));
    for (unsigned seed = 0; seed < 8; seed++) {
        cudahost_seed(seed);
        LAUNCH(row_sums, rows, 256, 0, nullptr, device_x, sums, n);
        std::vector<float> got = on_host(sums, rows);
        for (int row = 0; row < rows; row++) {
            float want = 0.0f;
            for (int i = 0; i < n; i++)
                want += x[row * n + i];
            cr_assert_eq(got[row], want, "row %d, seed %u: %g, not %g", row, seed, got[row], want);
        }
    }
}

static __global__ void transpose(const float *x, float *y, int n)
{
    __shared__ float tile[32][33];
    for (int row = threadIdx.y; row < 32; row += blockDim.y)
        tile[row][threadIdx.x] = x[(blockIdx.y * 32 + row) * n + blockIdx.x * 32 + threadIdx.x];
    __syncthreads();
    for (int row = threadIdx.y; row < 32; row += blockDim.y)
        y[(blockIdx.x * 32 + row) * n + blockIdx.y * 32 + threadIdx.x] = tile[threadIdx.x][row];
}

Test(block, tiles_pass_through_shared_memory)
{
    const int n = 64;
    std::vector<float> x(n * n);
    for (int i = 0; i < n * n; i++)
        x[i] = (float)i;
    float *y, *device_x = on_device(x);
    OK(cudaMalloc(&y, n * n * sizeof(float)));
    LAUNCH(transpose, dim3(2, 2), dim3(32, 8), 0, nullptr, device_x, y, n);
    std::vector<float> got = on_host(y, n * n);
    for (int i = 0; i < n * n; i++)
        cr_assert_eq(got[i], x[i % n * n + i / n]);
}

static __global__ void reverse(int *x)
{
    int *all = cudahost::dynamic_shared();
    all[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = all[blockDim.x - 1 - threadIdx.x];
}

Test(block, dynamic_shared_memory_has_the_size_of_the_launch)
{
    std::vector<int> x(1000);
    for (int i = 0; i < 1000; i++)
        x[i] = i;
    int *device_x = on_device(x);
    LAUNCH(reverse, 1, 1000, 1000 * sizeof(int), nullptr, device_x);
    std::vector<int> got = on_host(device_x, 1000);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(got[i], 999 - i);
}

static __global__ void warp_calls(int *out)
{
    int lane = threadIdx.x % 32, *o = out + threadIdx.x * 10;
    unsigned all = 0xffffffffu;
    o[0] = __shfl_sync(all, lane * 3, 5);
    o[1] = __shfl_sync(all, lane, 9, 8);
    o[2] = __shfl_up_sync(all, lane, 3);
    o[3] = __shfl_down_sync(all, lane, 3, 16);
    o[4] = __shfl_xor_sync(all, lane, 6);
    o[5] = (int)__ballot_sync(all, lane % 3 == 0);
    o[6] = __any_sync(all, lane == 31) + 2 * __any_sync(all, lane > 31);
    o[7] = __all_sync(all, lane < 32) + 2 * __all_sync(all, lane < 31);
    o[8] = lane < 8 ? __shfl_xor_sync(0xffu, lane, 1) : __shfl_xor_sync(0xffffff00u, lane, 4);
    o[9] = (int)(__shfl_sync(all, (long long)lane << 33, 2) >> 32);
}

Test(block, shuffles_and_votes_follow_the_programming_guide)
{
    int *out;
    OK(cudaMalloc(&out, 64 * 10 * sizeof(int)));
    LAUNCH(warp_calls, 1, 64, 0, nullptr, out);
    std::vector<int> got = on_host(out, 64 * 10);
    for (int t = 0; t < 64; t++) {
        int lane = t % 32;
        int want[10] = {15,
                        (lane & ~7) + 1,
                        lane < 3 ? lane : lane - 3,
                        lane % 16 > 12 ? lane : lane + 3,
                        lane ^ 6,
                        0x49249249,
                        1,
                        1,
                        lane < 8 ? lane ^ 1 : lane ^ 4,
                        4};
        for (int i = 0; i < 10; i++)
            cr_assert_eq(got[t * 10 + i], want[i], "thread %d, call %d: %d, not %d", t, i, got[t * 10 + i], want[i]);
    }
}

static __global__ void multiply(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c, int k)
{
    wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major> fa;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, wmma::col_major> fb;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum;
    wmma::fill_fragment(sum, 1.0f);
    for (int i = 0; i < k; i += 16) {
        wmma::load_matrix_sync(fa, a + i, k);
        wmma::load_matrix_sync(fb, b + i, k);
        wmma::mma_sync(sum, fa, fb, sum);
    }
    wmma::store_matrix_sync(c, sum, 16, wmma::mem_row_major);
}

Test(block, wmma_multiplies_tiles)
{
    const int k = 48;
    std::vector<__nv_bfloat16> a(16 * k), b(16 * k);
    for (int i = 0; i < 16 * k; i++) {
        a[i] = (float)(i % 7 - 3);
        b[i] = (float)(i % 5 - 2);
    }
    float *c;
    __nv_bfloat16 *device_a = on_device(a), *device_b = on_device(b);
    OK(cudaMalloc(&c, 256 * sizeof(float)));
    LAUNCH(multiply, 1, 32, 0, nullptr, device_a, device_b, c, k);
    std::vector<float> got = on_host(c, 256);
    for (int row = 0; row < 16; row++)
        for (int column = 0; column < 16; column++) {
            float want = 1.0f;
            for (int i = 0; i < k; i++)
                want += (float)a[row * k + i] * (float)b[column * k + i];
            cr_assert_eq(got[row * 16 + column], want);
        }
}

static __global__ void count_up(unsigned *total)
{
    atomicAdd(total, 1u);
}

Test(block, a_million_threads_without_barriers_need_no_stack_each)
{
    unsigned *total = on_device(std::vector<unsigned>(1, 0));
    LAUNCH(count_up, 1024, 1024, 0, nullptr, total);
    cr_assert_eq(on_host(total, 1)[0], 1024u * 1024u);
}

Test(block, fresh_memory_is_nan_in_every_float_type)
{
    float *x;
    OK(cudaMalloc(&x, 64));
    std::vector<float> got = on_host(x, 16);
    __nv_bfloat16 halves[32];
    memcpy(halves, got.data(), sizeof halves);
    for (int i = 0; i < 32; i++)
        cr_assert(got[i / 2] != got[i / 2] && (float)halves[i] != (float)halves[i]);
}

Test(block, large_blocks_are_nan_and_cleared_ones_zero)
{
    const size_t n = 8 << 20;
    float *x, *y;
    OK(cudaMalloc(&x, n * sizeof *x));
    OK(cudaMalloc(&y, n * sizeof *y));
    OK(cudaMemset(y, 0, n * sizeof *y));
    cr_assert(on_host(x, n)[n - 1] != on_host(x, n)[n - 1]);
    std::vector<float> zeros = on_host(y, n);
    for (size_t i = 0; i < n; i++)
        cr_assert(zeros[i] == 0.0f);
}

Test(block, managed_memory_is_the_hosts_too)
{
    unsigned *total;
    OK(cudaMallocManaged(&total, sizeof *total));
    *total = 5;
    LAUNCH(count_up, 4, 100, 0, nullptr, total);
    OK(cudaDeviceSynchronize());
    cr_assert_eq(*total, 405);
    OK(cudaFree(total));
}
