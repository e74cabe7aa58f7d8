/* The double of NCCL: four processes, every call against the plain sum, and what NCCL's documentation rules out. */
#include <criterion/criterion.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <nccl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>
#include <cudahost.h>
#include "launch_test.h"

/* In a rank (a child process) a failed check is told and ends it. */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "rank %d, line %d: %s: %s\n", rank, __LINE__, #condition, cudahost_report());              \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)
#define FINE(call) CHECK((call) == ncclSuccess)
#define CUDA(call) CHECK((call) == cudaSuccess)

static char *shared; /* what ranks tell each other beside NCCL */

/* Runs `body` as `ranks` processes with a communicator (null if `own_init`); returns how many ended well. */
static int run_ranks(int ranks, void (*body)(int rank, int ranks, ncclComm_t comm), bool own_init = false)
{
    ncclUniqueId id;
    shared = (char *)mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_eq(ncclGetUniqueId(&id), ncclSuccess);
    memcpy(shared, &id, sizeof id);
    std::vector<pid_t> children;
    for (int rank = 0; rank < ranks; rank++) {
        pid_t child = fork();
        if (child == 0) {
            ncclComm_t comm = nullptr;
            CUDA(cudaSetDevice(rank));
            if (!own_init)
                FINE(ncclCommInitRank(&comm, ranks, id, rank));
            body(rank, ranks, comm);
            _exit(0);
        }
        children.push_back(child);
    }
    int well = 0;
    for (pid_t child : children) {
        int status;
        waitpid(child, &status, 0);
        well += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    return well;
}

enum { N = 1000 };

static float number(int rank, int i)
{
    return (float)((i * 7 + rank * 13) % 101 - 50);
}

static void upload(int rank, float *to, int n)
{
    std::vector<float> x((size_t)n);
    for (int i = 0; i < n; i++)
        x[(size_t)i] = number(rank, i);
    CUDA(cudaMemcpy(to, x.data(), x.size() * sizeof(float), cudaMemcpyHostToDevice));
}

static void collectives(int rank, int ranks, ncclComm_t comm)
{
    float *x, *y, *z;
    std::vector<float> got((size_t)(N * ranks));
    cudaStream_t stream;
    CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    for (float **p : {&x, &y, &z})
        CUDA(cudaMalloc(p, (size_t)(N * ranks) * sizeof(float)));
    for (int seed = 0; seed < 12; seed++) {
        cudahost_seed((uint64_t)seed);
        auto fetch = [&](const float *from, int n) {
            CUDA(cudaMemcpyAsync(got.data(), from, (size_t)n * sizeof(float), cudaMemcpyDeviceToHost, stream));
        };
        auto sum = [&](int i) {
            float s = 0.0f;
            for (int r = 0; r < ranks; r++)
                s += number(r, i);
            return s;
        };
        upload(rank, x, N * ranks);
        FINE(ncclAllReduce(x, y, N, ncclFloat32, ncclSum, comm, stream));
        FINE(ncclAllReduce(y, y, N, ncclFloat32, ncclMax, comm,
                           stream)); /* in place; the same on all ranks: nothing changes */
        fetch(y, N);
        for (int i = 0; i < N; i++)
            CHECK(got[(size_t)i] == sum(i));
        FINE(ncclReduceScatter(x, y, N, ncclFloat32, ncclSum, comm, stream));
        fetch(y, N);
        for (int i = 0; i < N; i++)
            CHECK(got[(size_t)i] == sum(rank * N + i));
        FINE(ncclAllGather(y, z, N, ncclFloat32, comm, stream));
        fetch(z, N * ranks);
        for (int i = 0; i < N * ranks; i++)
            CHECK(got[(size_t)i] == sum(i));
        FINE(ncclReduceScatter(x, x + rank * N, N, ncclFloat32, ncclAvg, comm, stream)); /* in place */
        FINE(ncclAllGather(x + rank * N, x, N, ncclFloat32, comm, stream));
        fetch(x, N * ranks);
        for (int i = 0; i < N * ranks; i++)
            CHECK(got[(size_t)i] == sum(i) / (float)ranks);
        upload(rank, x, N);
        FINE(ncclBroadcast(x, y, N, ncclFloat32, ranks - 1, comm, stream));
        FINE(ncclReduce(x, z, N, ncclFloat32, ncclMin, 0, comm, stream));
        fetch(y, N);
        for (int i = 0; i < N; i++)
            CHECK(got[(size_t)i] == number(ranks - 1, i));
        fetch(z, N);
        for (int i = 0; rank == 0 && i < N; i++) {
            float least = number(0, i);
            for (int r = 1; r < ranks; r++)
                least = min(least, number(r, i));
            CHECK(got[(size_t)i] == least);
        }
    }
    FINE(ncclCommDestroy(comm));
}

Test(nccl, collectives_give_what_they_promise_in_every_order)
{
    for (int ranks = 1; ranks <= 4; ranks++)
        cr_assert_eq(run_ranks(ranks, collectives), ranks, "%d ranks", ranks);
}

/* Everyone to everyone in one group: no order of sends and receives may block; large enough to fill sockets. */
static void exchange(int rank, int ranks, ncclComm_t comm)
{
    const int n = 300000;
    float *x, *y;
    std::vector<float> got((size_t)n);
    CUDA(cudaMalloc(&x, n * sizeof(float)));
    CUDA(cudaMalloc(&y, (size_t)(n * ranks) * sizeof(float)));
    upload(rank, x, n);
    FINE(ncclGroupStart());
    for (int peer = 0; peer < ranks; peer++) {
        FINE(ncclSend(x, n, ncclFloat32, peer, comm, nullptr));
        FINE(ncclRecv(y + (size_t)peer * n, n, ncclFloat32, peer, comm, nullptr));
    }
    FINE(ncclGroupEnd());
    for (int peer = 0; peer < ranks; peer++) {
        CUDA(cudaMemcpy(got.data(), y + (size_t)peer * n, n * sizeof(float), cudaMemcpyDeviceToHost));
        for (int i = 0; i < n; i++)
            CHECK(got[(size_t)i] == number(peer, i));
    }
    FINE(ncclCommDestroy(comm));
}

Test(nccl, grouped_sends_and_receives_cross)
{
    cr_assert_eq(run_ranks(3, exchange), 3);
}

/* bf16 sums depend on their order, and the ring's order on the rank count; all ranks of one count have the same bits.
 */
static void same_bits(int rank, int ranks, ncclComm_t comm)
{
    std::vector<__nv_bfloat16> x(N), got(N);
    __nv_bfloat16 *p;
    for (int i = 0; i < N; i++)
        x[(size_t)i] = number(rank, i) * (float)(1 + i % 9) * 0.37f;
    CUDA(cudaMalloc(&p, N * sizeof *p));
    CUDA(cudaMemcpy(p, x.data(), N * sizeof *p, cudaMemcpyHostToDevice));
    FINE(ncclAllReduce(p, p, N, ncclBfloat16, ncclSum, comm, nullptr));
    CUDA(cudaMemcpy(got.data(), p, N * sizeof *p, cudaMemcpyDeviceToHost));
    FINE(ncclBroadcast(p, p, N, ncclBfloat16, 0, comm, nullptr));
    CUDA(cudaMemcpy(x.data(), p, N * sizeof *p, cudaMemcpyDeviceToHost));
    CHECK(memcmp(x.data(), got.data(), N * sizeof *p) == 0);
    if (rank == 0)
        memcpy(shared + 256 + ranks * 600, got.data(), 600);
}

Test(nccl, the_bits_of_a_sum_depend_on_the_rank_count_only)
{
    char first[600];
    cr_assert_eq(run_ranks(4, same_bits), 4);
    memcpy(first, shared + 256 + 4 * 600, 600);
    cr_assert_eq(run_ranks(4, same_bits), 4);
    cr_assert_eq(memcmp(first, shared + 256 + 4 * 600, 600), 0);
}

static void wrong_calls(int rank, int ranks, ncclComm_t comm)
{
    float *x, *host = (float *)malloc(N * sizeof(float));
    CUDA(cudaMalloc(&x, N * sizeof(float)));
    CHECK(ncclAllReduce(host, x, N, ncclFloat32, ncclSum, comm, nullptr) == ncclInvalidArgument);
    CHECK(ncclAllReduce(x, x, N + 1, ncclFloat32, ncclSum, comm, nullptr) == ncclInvalidArgument);
    CHECK(ncclAllReduce(x, x + 1, N - 1, ncclFloat32, ncclSum, comm, nullptr) == ncclInvalidArgument);
    CHECK(ncclAllReduce((char *)x + 2, x, 2, ncclFloat32, ncclSum, comm, nullptr) == ncclInvalidArgument);
    CHECK(ncclAllGather(x, x, N, ncclFloat32, comm, nullptr) == ncclInvalidArgument);
    CHECK(ncclSend(x, N, ncclFloat32, ranks, comm, nullptr) == ncclInvalidArgument);
    CHECK(ncclAllReduce(x, x, N, (ncclDataType_t)11, ncclSum, comm, nullptr) == ncclInvalidArgument);
    CHECK(ncclAllReduce(x, x, N, ncclFloat32, ncclSum, (ncclComm_t)host, nullptr) == ncclInvalidArgument);
    CHECK(ncclGroupEnd() == ncclInvalidUsage);
    FINE(ncclGroupStart());
    CHECK(ncclSend(host, N, ncclFloat32, 0, comm, nullptr) == ncclInvalidArgument);
    CHECK(ncclGroupEnd() == ncclInvalidArgument);
}

/* A communicator that does not block: the end of each call is asked for, and the next one is refused before. */
static ncclResult_t asked(int rank, ncclComm_t comm)
{
    ncclResult_t result = ncclInProgress;
    while (result == ncclInProgress)
        FINE(ncclCommGetAsyncError(comm, &result));
    return result;
}

static void not_blocking(int rank, int ranks, ncclComm_t comm)
{
    ncclUniqueId id;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    float *x, got;
    memcpy(&id, shared, sizeof id);
    config.blocking = 0;
    CUDA(cudaMalloc(&x, N * sizeof(float)));
    CHECK(ncclCommInitRankConfig(&comm, ranks, id, rank, &config) == ncclInProgress);
    CHECK(asked(rank, comm) == ncclSuccess);
    upload(rank, x, N);
    CHECK(ncclAllReduce(x, x, N, ncclFloat32, ncclSum, comm, nullptr) == ncclInProgress);
    CHECK(ncclAllReduce(x, x, N, ncclFloat32, ncclSum, comm, nullptr) == ncclInvalidUsage);
    CHECK(strstr(cudahost_report(), "nobody has waited for its last call"));
    CHECK(asked(rank, comm) == ncclSuccess);
    CUDA(cudaMemcpy(&got, x + 5, sizeof got, cudaMemcpyDeviceToHost));
    CHECK(got == number(0, 5) + number(1, 5));
    CHECK(ncclCommFinalize(comm) == ncclInProgress);
    CHECK(asked(rank, comm) == ncclSuccess);
    FINE(ncclCommDestroy(comm));
}

Test(nccl, a_communicator_that_does_not_block_is_asked)
{
    cr_assert_eq(run_ranks(2, not_blocking, true), 2);
}

Test(nccl, wrong_arguments_are_refused)
{
    cr_assert_eq(run_ranks(2, wrong_calls), 2);
}

static void disagree(int rank, int ranks, ncclComm_t comm)
{
    float *x;
    (void)ranks;
    CUDA(cudaMalloc(&x, N * sizeof(float)));
    FINE(ncclAllReduce(x, x, (size_t)(N - rank), ncclFloat32, ncclSum, comm, nullptr));
    CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
    CHECK(strstr(cudahost_report(), "ranks disagree"));
    usleep(100000); /* so that the other sees the call, not an end */
}

static void cross_without_a_group(int rank, int ranks, ncclComm_t comm)
{
    float *x;
    (void)ranks;
    setenv("CUDAHOST_NCCL_TIMEOUT", "1", 1);
    CUDA(cudaMalloc(&x, N * sizeof(float)));
    FINE(ncclSend(x, N, ncclFloat32, 1 - rank, comm, nullptr));
    FINE(ncclRecv(x, N, ncclFloat32, 1 - rank, comm, nullptr));
    CHECK(cudaDeviceSynchronize() == cudaErrorLaunchTimeout);
    CHECK(strstr(cudahost_report(), "waits in ncclSend"));
    usleep(500000);
}

static void same_device(int rank, int ranks, ncclComm_t comm)
{
    ncclUniqueId id;
    memcpy(&id, shared, sizeof id);
    CUDA(cudaSetDevice(3));
    CHECK(ncclCommInitRank(&comm, ranks, id, rank) == ncclInvalidUsage);
    CHECK(strstr(cudahost_report(), "duplicate GPU"));
    usleep(100000);
}

Test(nccl, ranks_that_do_not_fit_together_are_told)
{
    cr_assert_eq(run_ranks(2, disagree), 2);
    cr_assert_eq(run_ranks(2, cross_without_a_group), 2);
    cr_assert_eq(run_ranks(2, same_device, true), 2);
}

/* Rank 1 dies; the others see it in the communicator's error while they poll, and abort. */
static void die(int rank, int ranks, ncclComm_t comm)
{
    float *x;
    ncclResult_t error = ncclSuccess;
    (void)ranks;
    CUDA(cudaMalloc(&x, N * sizeof(float)));
    FINE(ncclAllReduce(x, x, N, ncclFloat32, ncclSum, comm, nullptr));
    CUDA(cudaDeviceSynchronize());
    if (rank == 1)
        _exit(7);
    FINE(ncclAllReduce(x, x, N, ncclFloat32, ncclSum, comm, nullptr));
    while (cudaStreamQuery(nullptr) == cudaErrorNotReady && error == ncclSuccess)
        FINE(ncclCommGetAsyncError(comm, &error));
    FINE(ncclCommGetAsyncError(comm, &error));
    CHECK(error == ncclRemoteError);
    CHECK(ncclAllReduce(x, x, N, ncclFloat32, ncclSum, comm, nullptr) == ncclRemoteError);
    FINE(ncclCommAbort(comm));
    usleep(100000);
}

/* Nobody comes: polling does not block, and another thread's abort ends the wait. */
static void lonely(int rank, int ranks, ncclComm_t comm)
{
    float *x;
    (void)ranks;
    if (rank == 0) {
        while (shared[200] == 0)
            usleep(1000);
        return;
    }
    CUDA(cudaMalloc(&x, N * sizeof(float)));
    FINE(ncclAllReduce(x, x, N, ncclFloat32, ncclSum, comm, nullptr));
    for (int i = 0; i < 20; i++)
        CHECK(cudaStreamQuery(nullptr) == cudaErrorNotReady);
    FINE(ncclCommAbort(comm));
    CUDA(cudaDeviceSynchronize());
    shared[200] = 1;
}

/* The host of rank 0 waits for rank 1 by other means, while rank 1 waits for rank 0's device: it must go on by itself.
 */
static void host_waits(int rank, int ranks, ncclComm_t comm)
{
    float *x;
    (void)ranks;
    CUDA(cudaMalloc(&x, N * sizeof(float)));
    upload(rank, x, N);
    FINE(ncclAllReduce(x, x, N, ncclFloat32, ncclSum, comm, nullptr));
    if (rank == 1) {
        CUDA(cudaDeviceSynchronize());
        shared[200] = 1;
    } else {
        while (shared[200] == 0)
            usleep(1000);
    }
    CUDA(cudaDeviceSynchronize());
}

Test(nccl, a_rank_that_is_gone_or_late_is_no_hang)
{
    cr_assert_eq(run_ranks(3, die), 2);
    cr_assert_eq(run_ranks(2, lonely), 2);
    cr_assert_eq(run_ranks(2, host_waits), 2);
}
