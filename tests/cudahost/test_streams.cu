/* Streams and events: a program that waits for what it needs gets the same bits with every seed; one that does not,
 * does not. */
#include <criterion/criterion.h>
#include <cuda_runtime.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <atomic>
#include <thread>
#include <vector>
#include <cudahost.h>
#include "launch_test.h"

enum { N = 256, SEEDS = 50 };

static __global__ void scale_and_add(float *x, float scale, float add)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    x[i] = x[i] * scale + add;
}

static __global__ void sum_of(float *sum, const float *x, const float *y)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    sum[i] = x[i] + y[i];
}

/* What a trainer does: a copy ahead on one stream, compute on a second, communication on a third, and the host. Each
 * wait can be left out. */
enum wait { wait_for_input, wait_for_compute, wait_for_communication, wait_for_output, wait_before_reuse, n_waits };

struct program {
    cudaStream_t copy, compute, communicate;
    cudaEvent_t copied, computed, communicated;
    float *input, *x, *y, *sum, *output;

    program()
    {
        for (cudaStream_t *s : {&copy, &compute, &communicate})
            OK(cudaStreamCreateWithFlags(s, cudaStreamNonBlocking));
        for (cudaEvent_t *e : {&copied, &computed, &communicated})
            OK(cudaEventCreateWithFlags(e, cudaEventDisableTiming));
        for (float **p : {&x, &y, &sum})
            OK(cudaMalloc(p, N * sizeof(float)));
        OK(cudaMallocHost(&input, N * sizeof(float)));
        OK(cudaMallocHost(&output, N * sizeof(float)));
    }

    std::vector<float> run(int left_out)
    {
        std::vector<float> results;
        for (int step = 0; step < 3; step++) {
            for (int i = 0; i < N; i++)
                input[i] = (float)(i + step);
            OK(cudaMemcpyAsync(x, input, N * sizeof(float), cudaMemcpyHostToDevice, copy));
            OK(cudaMemcpyAsync(y, input, N * sizeof(float), cudaMemcpyHostToDevice, copy));
            OK(cudaEventRecord(copied, copy));
            if (left_out != wait_for_input)
                OK(cudaStreamWaitEvent(compute, copied, 0));
            LAUNCH(scale_and_add, N / 64, 64, 0, compute, x, 2.0f, 1.0f);
            OK(cudaEventRecord(computed, compute));
            if (left_out != wait_for_compute)
                OK(cudaStreamWaitEvent(communicate, computed, 0));
            LAUNCH(scale_and_add, N / 64, 64, 0, communicate, x, 1.0f, 0.5f);
            OK(cudaEventRecord(communicated, communicate));
            if (left_out != wait_for_communication)
                OK(cudaStreamWaitEvent(compute, communicated, 0));
            LAUNCH(sum_of, N / 64, 64, 0, compute, sum, x, y);
            OK(cudaMemcpyAsync(output, sum, N * sizeof(float), cudaMemcpyDeviceToHost, compute));
            if (left_out != wait_for_output)
                OK(cudaStreamSynchronize(compute));
            results.insert(results.end(), output, output + N);
            if (left_out != wait_before_reuse) /* the copy must have read the buffer that the next step fills */
                OK(cudaStreamSynchronize(copy));
            else
                for (int i = 0; i < N; i++)
                    input[i] = -1.0f;
        }
        OK(cudaDeviceSynchronize());
        return results;
    }
};

static std::vector<float> expected()
{
    std::vector<float> want;
    for (int step = 0; step < 3; step++)
        for (int i = 0; i < N; i++)
            want.push_back((float)(i + step) * 2.0f + 1.5f + (float)(i + step));
    return want;
}

Test(streams, a_correct_program_gives_the_same_bits_with_every_seed)
{
    program p;
    std::vector<float> want = expected();
    for (int seed = 0; seed < SEEDS; seed++) {
        cudahost_seed((uint64_t)seed);
        std::vector<float> got = p.run(n_waits);
        cr_assert_eq(memcmp(got.data(), want.data(), want.size() * sizeof(float)), 0, "seed %d", seed);
    }
}

/* The last one is a wait that the others make superfluous: compute waits for the copies, so the output does too. */
Test(streams, each_wait_that_is_left_out_shows_as_wrong_bits)
{
    static const char *const names[] = {"input", "compute", "communication", "output"};
    std::vector<float> want = expected();
    for (int left_out = 0; left_out < wait_before_reuse; left_out++) {
        int wrong = 0;
        for (int seed = 0; seed < SEEDS; seed++) {
            program p; /* fresh memory: nothing right is left from the last run */
            cudahost_seed((uint64_t)seed);
            std::vector<float> got = p.run(left_out);
            wrong += memcmp(got.data(), want.data(), want.size() * sizeof(float)) != 0;
        }
        cr_assert(wrong >= SEEDS / 4, "the wait for %s left out: wrong with %d of %d seeds", names[left_out], wrong,
                  SEEDS);
        printf("the wait for %s left out: wrong with %d of %d seeds\n", names[left_out], wrong, SEEDS);
    }
}

Test(streams, a_buffer_filled_anew_before_its_copy_has_run_is_caught)
{
    float *pinned, *x, got[4];
    cudaStream_t stream;
    OK(cudaMallocHost(&pinned, sizeof got));
    OK(cudaMalloc(&x, sizeof got));
    OK(cudaStreamCreate(&stream));
    pinned[0] = 1.0f;
    OK(cudaMemcpyAsync(x, pinned, sizeof got, cudaMemcpyHostToDevice, stream));
    pinned[0] = 2.0f;
    OK(cudaStreamSynchronize(stream));
    OK(cudaMemcpy(got, x, sizeof got, cudaMemcpyDeviceToHost));
    cr_assert_eq(got[0], 2.0f, "seed 0 copies as late as it may");
    float pageable[4] = {3.0f}; /* this one is read before the call returns */
    OK(cudaMemcpyAsync(x, pageable, sizeof got, cudaMemcpyHostToDevice, stream));
    pageable[0] = 4.0f;
    OK(cudaMemcpyAsync(got, x, sizeof got, cudaMemcpyDeviceToHost, stream));
    cr_assert_eq(got[0], 3.0f);
    OK(cudaMemcpyAsync(x, pinned, sizeof got, cudaMemcpyHostToDevice, stream));
    OK(cudaFreeHost(pinned));
    cr_assert_eq(cudaStreamSynchronize(stream), cudaErrorIllegalAddress);
    cr_assert(strstr(cudahost_report(), "was freed before the stream came to it"), "%s", cudahost_report());
}

Test(streams, an_event_stands_for_its_record_at_the_time_of_the_wait)
{
    cudaStream_t a, b;
    cudaEvent_t event;
    float *x, got;
    OK(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking));
    OK(cudaEventCreate(&event));
    OK(cudaMalloc(&x, sizeof *x));
    OK(cudaStreamWaitEvent(b, event, 0)); /* never recorded: no wait */
    OK(cudaEventSynchronize(event));
    OK(cudaMemsetAsync(x, 0, sizeof *x, a));
    OK(cudaEventRecord(event, a));
    OK(cudaStreamWaitEvent(b, event, 0));
    LAUNCH(scale_and_add, 1, 1, 0, a, x, 1.0f, 8.0f);
    OK(cudaEventRecord(event, a)); /* later: b does not wait for this one */
    OK(cudaMemcpyAsync(&got, x, sizeof *x, cudaMemcpyDeviceToHost, b));
    cr_assert_eq(got, 0.0f);
    cr_assert_eq(cudaEventQuery(event), cudaErrorNotReady);
    while (cudaEventQuery(event) == cudaErrorNotReady)
        continue;
    cr_assert_eq(cudaGetLastError(), cudaSuccess, "not ready is no error");
    OK(cudaMemcpyAsync(&got, x, sizeof *x, cudaMemcpyDeviceToHost, b));
    cr_assert_eq(got, 8.0f);
    float milliseconds;
    cudaEvent_t later;
    OK(cudaEventCreate(&later));
    OK(cudaEventRecord(later, a));
    cr_assert_eq(cudaEventElapsedTime(&milliseconds, event, later), cudaErrorNotReady);
    OK(cudaEventSynchronize(later));
    OK(cudaEventElapsedTime(&milliseconds, event, later));
    cr_assert(milliseconds >= 0.0f);
}

Test(streams, the_default_stream_waits_for_blocking_streams_and_they_for_it)
{
    cudaStream_t blocking, free;
    float *x, *y, got;
    for (int seed = 0; seed < SEEDS; seed++) {
        cudahost_seed((uint64_t)seed);
        OK(cudaStreamCreate(&blocking));
        OK(cudaMalloc(&x, sizeof *x));
        OK(cudaMemsetAsync(x, 0, sizeof *x, blocking));
        LAUNCH(scale_and_add, 1, 1, 0, nullptr, x, 1.0f, 1.0f);
        LAUNCH(scale_and_add, 1, 1, 0, blocking, x, 3.0f, 0.0f);
        OK(cudaMemcpy(&got, x, sizeof got, cudaMemcpyDeviceToHost));
        cr_assert_eq(got, 3.0f, "seed %d", seed);
        OK(cudaStreamDestroy(blocking));
    }
    cudahost_seed(0);
    OK(cudaStreamCreateWithFlags(&free, cudaStreamNonBlocking));
    OK(cudaMalloc(&y, sizeof *y));
    OK(cudaMemsetAsync(y, 0, sizeof *y, free));
    OK(cudaMemcpy(&got, y, sizeof got, cudaMemcpyDeviceToHost));
    cr_assert(got != got, "a non-blocking stream is not waited for");
    OK(cudaStreamDestroy(free));
    cr_assert_eq(cudaStreamSynchronize(free), cudaErrorInvalidResourceHandle);
}

static void call_cuda(void *data)
{
    void *p;
    *static_cast<volatile cudaError_t *>(data) = cudaMalloc(&p, 4);
}

static void set_flag(void *data)
{
    *static_cast<volatile int *>(data) = 1;
}

Test(streams, host_functions_run_in_order_and_may_not_call_cuda)
{
    cudaStream_t stream;
    cudaError_t error = cudaSuccess;
    OK(cudaStreamCreate(&stream));
    OK(cudaLaunchHostFunc(stream, call_cuda, &error));
    OK(cudaStreamSynchronize(stream));
    cr_assert_eq(error, cudaErrorNotPermitted);
    /* A host that waits without a call of CUDA is helped on, as a GPU would go on by itself. */
    volatile int flag = 0;
    OK(cudaLaunchHostFunc(stream, set_flag, const_cast<int *>(&flag)));
    cr_assert_eq(flag, 0);
    while (flag == 0)
        usleep(1000);
}

static void launch_much(cudaStream_t stream, float *x, std::atomic<bool> *done)
{
    for (int i = 0; i < 200; i++)
        LAUNCH(scale_and_add, N / 64, 64, 0, stream, x, 1.0f, 1.0f);
    cudaStreamSynchronize(stream);
    *done = true;
}

/* A loader's thread runs a kernel when the adversary says so; meanwhile the main thread's own code is checked for nothing. */
Test(streams, host_code_beside_a_kernel_is_not_the_kernels)
{
    cudaStream_t stream;
    float *x;
    std::atomic<bool> done(false);
    std::vector<int> own(1000);
    long rounds = 0;
    OK(cudaStreamCreate(&stream));
    OK(cudaMalloc(&x, N * sizeof(float)));
    OK(cudaMemset(x, 0, N * sizeof(float)));
    std::thread other(launch_much, stream, x, &done);
    for (; !done; rounds++)
        for (int &i : own)
            i++;
    other.join();
    OK(cudaGetLastError());
    cr_assert_gt(rounds, 0);
    cr_assert_str_eq(cudahost_report(), "");
}

Test(streams, memory_freed_in_stream_order_is_gone_after_that)
{
    cudaStream_t stream;
    float *x;
    OK(cudaStreamCreate(&stream));
    OK(cudaMallocAsync(&x, 64, stream));
    LAUNCH(scale_and_add, 1, 16, 0, stream, x, 0.0f, 1.0f);
    OK(cudaFreeAsync(x, stream));
    OK(cudaStreamSynchronize(stream));
    LAUNCH(scale_and_add, 1, 16, 0, stream, x, 0.0f, 1.0f);
    cr_assert_eq(cudaStreamSynchronize(stream), cudaErrorIllegalAddress);
    cr_assert(strstr(cudahost_report(), "freed block of 64 bytes"), "%s", cudahost_report());
}
