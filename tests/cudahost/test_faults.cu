/* Every fault the emulation promises to report, planted: it is reported, with its thread and its line. */
#include <criterion/criterion.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <mma.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <cudahost.h>
#include "launch_test.h"

using namespace nvcuda;

/* "test_faults.cu:12" of the line of this file that is marked with that name. */
static const char *place_of(const char *name)
{
    static char place[2][64];
    static int next;
    char path[1024], mark[64], line[1024];
    snprintf(path, sizeof path, "%s/tests/cudahost/test_faults.cu", getenv("LS_SOURCE"));
    snprintf(mark, sizeof mark, "/* here: %s */", name);
    FILE *source = fopen(path, "r");
    cr_assert(source != nullptr, "set LS_SOURCE: cannot read %s", path);
    int number = 1;
    while (fgets(line, sizeof line, source) != nullptr && strstr(line, mark) == nullptr)
        number++;
    fclose(source);
    snprintf(place[next ^= 1], sizeof place[0], "test_faults.cu:%d", number);
    return place[next];
}

static float *floats(size_t n)
{
    float *p;
    OK(cudaMalloc(&p, n * sizeof *p));
    OK(cudaMemset(p, 0, n * sizeof *p));
    return p;
}

/* The work ends with `error`, whose sentence has all the words and the line; the error sticks. */
static void expect(cudaError_t error, const char *name, const char *word, const char *thread)
{
    const char *place = place_of(name);
    cudaError_t got = cudaDeviceSynchronize();
    cr_assert_eq(got, error, "%s, not %s: %s", cudaGetErrorName(got), cudaGetErrorName(error), cudahost_report());
    cr_assert(strstr(cudahost_report(), word), "no `%s`: %s", word, cudahost_report());
    cr_assert(strstr(cudahost_report(), place), "no `%s`: %s", place, cudahost_report());
    cr_assert(strstr(cudahost_report(), thread), "no `%s`: %s", thread, cudahost_report());
    void *p;
    cr_assert_eq(cudaMalloc(&p, 4), error, "the error does not stick");
    cudahost_forget();
    cr_assert_eq(cudaMalloc(&p, 4), cudaSuccess);
}

/* ---- Bounds */

static __global__ void add_one(float *x, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        x[i] += 1.0f; /* here: add one */
}

Test(faults, a_global_access_past_the_end)
{
    float *x = floats(100);
    LAUNCH(add_one, 1, 128, 0, nullptr, x, 100);
    OK(cudaDeviceSynchronize());
    LAUNCH(add_one, 1, 128, 0, nullptr, x, 101);
    expect(cudaErrorIllegalAddress, "add one", "0 bytes past the end of a block of 400 bytes",
           "thread (100,0,0) of block (0,0,0)");
    LAUNCH(add_one, 1, 128, 0, nullptr, x - 1, 1);
    expect(cudaErrorIllegalAddress, "add one", "out-of-bounds global", "thread (0,0,0)");
}

Test(faults, memory_that_was_freed)
{
    float *x = floats(100), *y = floats(5000);
    OK(cudaFree(x));
    OK(cudaFree(y));
    LAUNCH(add_one, 1, 32, 0, nullptr, x, 2);
    expect(cudaErrorIllegalAddress, "add one", "byte 0 of a freed block of 400 bytes", "thread (0,0,0)");
    LAUNCH(add_one, 1, 32, 0, nullptr, y + 3, 2);
    expect(cudaErrorIllegalAddress, "add one", "byte 12 of a freed block of 20000 bytes", "thread (0,0,0)");
    cr_assert_eq(cudaFree(x), cudaErrorInvalidValue);
}

Test(faults, a_part_of_an_arena_that_is_poisoned)
{
    float *x = floats(256);
    OK(cudaDeviceSynchronize());
    cudahost_poison(x + 64, 512);
    LAUNCH(add_one, 1, 256, 0, nullptr, x, 64);
    OK(cudaDeviceSynchronize());
    LAUNCH(add_one, 1, 256, 0, nullptr, x, 65);
    expect(cudaErrorIllegalAddress, "add one", "out-of-bounds global", "thread (64,0,0)");
    cudahost_unpoison(x + 64, 512);
    LAUNCH(add_one, 1, 256, 0, nullptr, x, 256);
    OK(cudaDeviceSynchronize());
}

Test(faults, host_memory_that_is_not_pinned)
{
    float *pageable = static_cast<float *>(malloc(64)), *pinned;
    OK(cudaMallocHost(&pinned, 64));
    memset(pinned, 0, 64);
    LAUNCH(add_one, 1, 16, 0, nullptr, pinned, 16);
    OK(cudaDeviceSynchronize());
    cr_assert_eq(pinned[15], 1.0f);
    LAUNCH(add_one, 1, 16, 0, nullptr, pageable, 16);
    expect(cudaErrorIllegalAddress, "add one", "host memory touched by a kernel", "thread (0,0,0)");
}

static __global__ void index_too_far(float *x, int i)
{
    __shared__ float tile[4][8];
    tile[0][threadIdx.x] = 1.0f;
    __syncthreads();
    x[threadIdx.x] = tile[threadIdx.x / 8][i]; /* here: index */
}

Test(faults, an_index_beyond_a_shared_array)
{
    float *x = floats(8);
    LAUNCH(index_too_far, 1, 8, 0, nullptr, x, 7);
    OK(cudaDeviceSynchronize());
    LAUNCH(index_too_far, 1, 8, 0, nullptr, x, 8);
    expect(cudaErrorIllegalAddress, "index", "out-of-bounds index 8 of an array of type 'float", "thread (7,0,0)");
}

static __global__ void fill_dynamic(int n)
{
    float *tile = cudahost::dynamic_shared();
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        tile[i] = 0.0f; /* here: dynamic */
}

Test(faults, a_dynamic_shared_array_of_fewer_bytes)
{
    LAUNCH(fill_dynamic, 1, 32, 400, nullptr, 100);
    OK(cudaDeviceSynchronize());
    LAUNCH(fill_dynamic, 1, 32, 400, nullptr, 101);
    expect(cudaErrorIllegalAddress, "dynamic", "offset 400 of 400 bytes of dynamic shared memory", "thread (4,0,0)");
}

static __global__ void read_neighbours_stack(float **where, float *out)
{
    float own[2] = {1.0f, (float)threadIdx.x};
    where[threadIdx.x] = own;
    __syncthreads();
    out[threadIdx.x] = where[threadIdx.x ^ 1][1]; /* here: neighbour */
    __syncthreads();
}

Test(faults, another_threads_local_memory)
{
    float **where;
    OK(cudaMalloc(&where, 8 * sizeof *where));
    LAUNCH(read_neighbours_stack, 1, 8, 0, nullptr, where, floats(8));
    expect(cudaErrorIllegalAddress, "neighbour", "another thread's local memory", "thread (7,0,0)");
}

/* ---- Alignment */

static __global__ void copy_four(const float *x, float *y)
{
    float4 v = *reinterpret_cast<const float4 *>(x + threadIdx.x * 4); /* here: load four */
    reinterpret_cast<float4 *>(y)[threadIdx.x] = v;                    /* here: store four */
}

Test(faults, a_misaligned_vector)
{
    float *x = floats(64), *y = floats(64);
    LAUNCH(copy_four, 1, 8, 0, nullptr, x + 4, y);
    OK(cudaDeviceSynchronize());
    LAUNCH(copy_four, 1, 8, 0, nullptr, x + 1, y);
    expect(cudaErrorMisalignedAddress, "load four", "needs a multiple of 16", "thread (0,0,0)");
    LAUNCH(copy_four, 1, 8, 0, nullptr, x, y + 2);
    expect(cudaErrorMisalignedAddress, "store four", "needs a multiple of 16", "thread (0,0,0)");
}

static __global__ void load_tile(const __nv_bfloat16 *x, unsigned leading)
{
    wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major> a;
    wmma::load_matrix_sync(a, x, leading); /* here: load tile */
}

Test(faults, a_misaligned_wmma_tile)
{
    __nv_bfloat16 *x = reinterpret_cast<__nv_bfloat16 *>(floats(512));
    LAUNCH(load_tile, 1, 32, 0, nullptr, x + 16, 24u);
    OK(cudaDeviceSynchronize());
    LAUNCH(load_tile, 1, 32, 0, nullptr, x + 8, 24u);
    expect(cudaErrorMisalignedAddress, "load tile", "multiple of 32", "thread (0,0,0)");
    LAUNCH(load_tile, 1, 32, 0, nullptr, x, 20u);
    expect(cudaErrorMisalignedAddress, "load tile", "leading dimension 20", "thread (0,0,0)");
    LAUNCH(load_tile, 1, 48, 0, nullptr, x, 16u);
    expect(cudaErrorLaunchFailure, "load tile", "incomplete warp", "thread (32,0,0)");
}

/* ---- Races */

static __global__ void rotate(float *x, bool barrier)
{
    __shared__ float all[64];
    all[threadIdx.x] = x[threadIdx.x];
    if (barrier)
        __syncthreads();
    x[threadIdx.x] = all[(threadIdx.x + 33) % 64]; /* here: rotate read */
}

Test(faults, a_shared_race_of_two_warps)
{
    float *x = floats(64);
    LAUNCH(rotate, 1, 64, 0, nullptr, x, true);
    OK(cudaDeviceSynchronize());
    LAUNCH(rotate, 1, 64, 0, nullptr, x, false);
    expect(cudaErrorLaunchFailure, "rotate read", "data race",
           "thread (31,0,0) of block (0,0,0) of kernel rotate reads");
    for (uint64_t seed = 1; seed < 20; seed++) {
        cudahost_seed(seed);
        LAUNCH(rotate, 1, 64, 0, nullptr, x, false);
        cr_assert_eq(cudaDeviceSynchronize(), cudaErrorLaunchFailure, "seed %d", (int)seed);
        cudahost_forget();
    }
}

static __global__ void rotate_in_warp(float *x, bool sync)
{
    __shared__ float all[32];
    all[threadIdx.x] = x[threadIdx.x];
    x[threadIdx.x] = __shfl_sync(0xffffffffu, x[threadIdx.x], 0);
    if (sync)
        __syncwarp();
    x[threadIdx.x] = all[(threadIdx.x + 1) % 32]; /* here: lane read */
}

Test(faults, a_shared_race_within_a_warp_which_a_shuffle_does_not_order)
{
    float *x = floats(32);
    LAUNCH(rotate_in_warp, 1, 32, 0, nullptr, x, true);
    OK(cudaDeviceSynchronize());
    LAUNCH(rotate_in_warp, 1, 32, 0, nullptr, x, false);
    expect(cudaErrorLaunchFailure, "lane read", "data race", "reads 4 bytes of shared memory that thread (0,0,0)");
}

static __global__ void warps_with_syncwarp(float *x)
{
    __shared__ float all[64];
    all[threadIdx.x] = x[threadIdx.x]; /* here: second warp */
    __syncwarp();
    x[threadIdx.x] = all[63 - threadIdx.x];
}

Test(faults, a_syncwarp_orders_no_other_warp)
{
    LAUNCH(warps_with_syncwarp, 1, 64, 0, nullptr, floats(64));
    expect(cudaErrorLaunchFailure, "second warp", "data race",
           "thread (32,0,0) of block (0,0,0) of kernel warps_with_syncwarp writes");
}

static __global__ void all_to_one(float *x, int stride)
{
    __syncthreads();
    x[blockIdx.x * stride] = (float)blockIdx.x; /* here: all to one */
}

Test(faults, a_global_race_of_blocks_which_no_barrier_orders)
{
    float *x = floats(8);
    LAUNCH(all_to_one, 8, 1, 0, nullptr, x, 1);
    OK(cudaDeviceSynchronize());
    LAUNCH(all_to_one, 8, 1, 0, nullptr, x, 0);
    expect(cudaErrorLaunchFailure, "all to one", "data race", "thread (0,0,0) of block (1,0,0)");
}

static __global__ void many_read_one_writes(float *x, float *out)
{
    out[blockIdx.x * blockDim.x + threadIdx.x] = x[0];
    if (blockIdx.x == gridDim.x - 1 && threadIdx.x == 0) {
        x[0] = 1.0f; /* here: one writes */
    }
}

Test(faults, a_write_to_what_others_have_read)
{
    float *x = floats(1), *out = floats(96);
    LAUNCH(many_read_one_writes, 1, 1, 0, nullptr, x, out);
    OK(cudaDeviceSynchronize());
    LAUNCH(many_read_one_writes, 1, 96, 0, nullptr, x, out);
    cr_assert_eq(cudaDeviceSynchronize(), cudaErrorLaunchFailure); /* either side of the race may be seen first */
    cudahost_forget();
    LAUNCH(many_read_one_writes, 3, 32, 0, nullptr, x, out);
    expect(cudaErrorLaunchFailure, "one writes", "data race", "of block (2,0,0)");
}

static __global__ void bytes_of_a_word(unsigned char *x, __nv_bfloat16 *y)
{
    x[threadIdx.x] = (unsigned char)threadIdx.x;
    y[threadIdx.x] = (float)threadIdx.x;
}

Test(faults, neighbouring_bytes_are_no_race)
{
    LAUNCH(bytes_of_a_word, 1, 64, 0, nullptr, (unsigned char *)floats(64), (__nv_bfloat16 *)floats(64));
    OK(cudaDeviceSynchronize());
}

static __global__ void count_and_read(unsigned *count, bool atomic)
{
    if (atomic)
        atomicAdd(count, 1u);
    else
        *count += 1; /* here: plain count */
}

Test(faults, atomics_race_with_plain_accesses_only)
{
    unsigned *count = (unsigned *)floats(1);
    LAUNCH(count_and_read, 4, 64, 0, nullptr, count, true);
    OK(cudaDeviceSynchronize());
    LAUNCH(count_and_read, 4, 64, 0, nullptr, count, false);
    expect(cudaErrorLaunchFailure, "plain count", "data race", "thread (1,0,0) of block (0,0,0)");
}

/* ---- Barriers and warps */

static __global__ void barrier_for_some(int n)
{
    if ((int)threadIdx.x < n)
        __syncthreads(); /* here: barrier for some */
}

static __global__ void two_barriers(bool apart)
{
    if (apart && threadIdx.x >= 32)
        __syncthreads(); /* here: first barrier */
    else
        __syncthreads(); /* here: second barrier */
}

Test(faults, a_divergent_barrier)
{
    LAUNCH(barrier_for_some, 1, 64, 0, nullptr, 64);
    OK(cudaDeviceSynchronize());
    LAUNCH(barrier_for_some, 1, 64, 0, nullptr, 63);
    expect(cudaErrorLaunchFailure, "barrier for some", "divergent barrier",
           "thread (63,0,0) of block (0,0,0) of kernel barrier_for_some");
    LAUNCH(two_barriers, 1, 64, 0, nullptr, false);
    OK(cudaDeviceSynchronize());
    LAUNCH(two_barriers, 1, 64, 0, nullptr, true);
    expect(cudaErrorLaunchFailure, "first barrier", "divergent barrier", place_of("second barrier"));
}

static __global__ void shuffle_with(unsigned mask, int lanes, int source, int *out)
{
    if ((int)threadIdx.x < lanes)
        out[threadIdx.x] = __shfl_sync(mask, (int)threadIdx.x, source); /* here: shuffle */
}

static __global__ void shuffle_and_barrier()
{
    if (threadIdx.x < 16)
        __syncwarp(); /* here: waits in warp */
    else
        __syncthreads(); /* here: waits in block */
}

Test(faults, shuffles_whose_lanes_do_not_come)
{
    int *out = (int *)floats(32);
    LAUNCH(shuffle_with, 1, 32, 0, nullptr, 0xffffu, 16, 3, out);
    OK(cudaDeviceSynchronize());
    LAUNCH(shuffle_with, 1, 32, 0, nullptr, 0xffffu, 17, 3, out);
    expect(cudaErrorLaunchFailure, "shuffle", "wrong mask", "leaves out its own lane 16");
    LAUNCH(shuffle_with, 1, 32, 0, nullptr, 0xffffu, 16, 20, out);
    expect(cudaErrorLaunchFailure, "shuffle", "reads from lane 20, which is not in its mask", "thread (0,0,0)");
    LAUNCH(shuffle_with, 1, 32, 0, nullptr, 0xffffffffu, 16, 20, out);
    expect(cudaErrorLaunchFailure, "shuffle", "reads from lane 20, which has ended", "thread (0,0,0)");
    LAUNCH(shuffle_and_barrier, 1, 32, 0, nullptr);
    expect(cudaErrorLaunchTimeout, "waits in warp", "deadlock", place_of("waits in block"));
}

static __global__ void give_up(int n)
{
    if ((int)threadIdx.x == n)
        __trap(); /* here: trap */
}

Test(faults, a_trap)
{
    LAUNCH(give_up, 1, 32, 0, nullptr, 5);
    expect(cudaErrorLaunchFailure, "trap", "__trap", "thread (5,0,0)");
}

/* ---- Host */

Test(faults, launches_that_cuda_refuses)
{
    cr_assert_eq(LAUNCH(give_up, 1, 1025, 0, nullptr, -1), cudaErrorInvalidConfiguration);
    cr_assert_eq(LAUNCH(give_up, dim3(1, 65536), 32, 0, nullptr, -1), cudaErrorInvalidConfiguration);
    cr_assert_eq(LAUNCH(give_up, 0, 32, 0, nullptr, -1), cudaErrorInvalidConfiguration);
    cr_assert_eq(LAUNCH(give_up, 1, 32, 64 << 10, nullptr, -1), cudaErrorInvalidValue);
    cr_assert_eq(cudaGetLastError(), cudaErrorInvalidValue);
    cr_assert_eq(cudaGetLastError(), cudaSuccess, "these errors do not stick");
    OK(cudaFuncSetAttribute(give_up, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10));
    cr_assert_eq(LAUNCH(give_up, 1, 32, 64 << 10, nullptr, -1), cudaSuccess);
    OK(cudaDeviceSynchronize());
}

Test(faults, copies_that_cuda_refuses)
{
    float *x = floats(16), host[16] = {};
    cr_assert_eq(cudaMemcpy(host, x, 64, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    cr_assert_eq(cudaMemcpy(host, x, 68, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    cr_assert_eq(cudaMemcpy(x + 1, host, 64, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    cr_assert_eq(cudaMemset(x, 0, 65), cudaErrorInvalidValue);
    OK(cudaMemcpy(host, x, 64, cudaMemcpyDefault));
}

Test(faults, memory_runs_out)
{
    void *all, *more;
    size_t available, total;
    OK(cudaMemGetInfo(&available, &total));
    cr_assert_eq(available, total);
    cr_assert_eq(cudaMalloc(&more, total + 1), cudaErrorMemoryAllocation);
    OK(cudaMalloc(&all, total - 256));
    cr_assert_eq(cudaMalloc(&more, 512), cudaErrorMemoryAllocation);
    cr_assert_eq(cudaGetLastError(), cudaErrorMemoryAllocation);
    OK(cudaFree(all));
    OK(cudaMalloc(&more, 512));
}

Test(faults, device_memory_read_by_the_host, .signal = SIGSEGV)
{
    volatile float *x = floats(16);
    OK(cudaDeviceSynchronize());
    printf("%g\n", x[3]);
}
