/* Streams in capture and graphs: what is recorded runs when it is launched and not before, with the arguments of its recording; what CUDA
 * forbids meanwhile is refused with CUDA's code; executables take what CUDA's would. */
#include <criterion/criterion.h>
#include <cuda_runtime.h>
#include <string.h>
#include <thread>
#include <cudahost.h>
#include "launch_test.h"

enum { N = 64 };

static __global__ void put(float *x, float value)
{
    x[threadIdx.x] = value;
}

static __global__ void add(float *x, float value)
{
    x[threadIdx.x] += value;
}

static cudaStream_t stream, other;
static cudaEvent_t event;
static float *x, *y, *host;

static void begin(void)
{
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    OK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    OK(cudaMalloc(&x, N * sizeof(float)));
    OK(cudaMalloc(&y, N * sizeof(float)));
    OK(cudaMallocHost(&host, N * sizeof(float)));
}

TestSuite(graphs, .init = begin);

static void record(cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed)
{
    OK(cudaStreamBeginCapture(stream, mode));
}

static cudaGraph_t recorded(void)
{
    cudaGraph_t graph;
    OK(cudaStreamEndCapture(stream, &graph));
    return graph;
}

/* x = value, then += more `times` times, and a copy to the host. */
static cudaGraph_t work(float value, int times, float more)
{
    record();
    LAUNCH(put, 1, N, 0, stream, x, value);
    for (int i = 0; i < times; i++)
        LAUNCH(add, 1, N, 0, stream, x, more);
    OK(cudaMemcpyAsync(host, x, N * sizeof(float), cudaMemcpyDeviceToHost, stream));
    return recorded();
}

static float launched(cudaGraphExec_t executable)
{
    OK(cudaGraphLaunch(executable, stream));
    OK(cudaStreamSynchronize(stream));
    return host[N - 1];
}

Test(graphs, recorded_work_runs_at_its_launch_in_its_order)
{
    for (uint64_t seed = 0; seed < 8; seed++) {
        cudahost_seed(seed);
        for (int i = 0; i < N; i++)
            host[i] = -1;
        cudaGraph_t graph = work(1, 2, 10);
        cudaGraphExec_t executable;
        size_t nodes;
        OK(cudaDeviceSynchronize());
        cr_assert_eq(host[0], -1, "nothing was launched");
        OK(cudaGraphGetNodes(graph, nullptr, &nodes));
        cr_assert_eq(nodes, 4);
        OK(cudaGraphInstantiate(&executable, graph));
        OK(cudaGraphDestroy(graph));
        cr_assert_eq(launched(executable), 21);
        host[N - 1] = 0;
        cr_assert_eq(launched(executable), 21, "again");
        OK(cudaGraphExecDestroy(executable));
    }
}

Test(graphs, what_was_destroyed_is_refused)
{
    cudaGraph_t graph = work(1, 1, 10), spare = work(1, 1, 10);
    cudaGraphExec_t executable, none;
    cudaGraphExecUpdateResultInfo info;
    OK(cudaGraphInstantiate(&executable, graph));
    OK(cudaGraphDestroy(graph));
    cr_expect_eq(cudaGraphDestroy(graph), cudaErrorInvalidValue);
    cr_expect_eq(cudaGraphInstantiate(&none, graph), cudaErrorInvalidValue);
    cr_expect_eq(cudaGraphExecUpdate(executable, graph, &info), cudaErrorInvalidValue);
    OK(cudaGraphExecDestroy(executable));
    cr_expect_eq(cudaGraphExecDestroy(executable), cudaErrorInvalidValue);
    cr_expect_eq(cudaGraphLaunch(executable, stream), cudaErrorInvalidValue);
    cr_expect_eq(cudaGraphExecUpdate(executable, spare, &info), cudaErrorInvalidValue);
}

/* A launch that is queued keeps what it was, also when its executable is updated or gone before it runs. */
Test(graphs, an_update_brings_new_arguments_to_later_launches_only)
{
    cudaGraphExecUpdateResultInfo info;
    cudaGraphExec_t executable;
    float *second;
    OK(cudaMallocHost(&second, N * sizeof(float)));
    OK(cudaGraphInstantiate(&executable, work(1, 1, 10)));
    OK(cudaGraphLaunch(executable, stream));
    OK(cudaMemcpyAsync(second, x, N * sizeof(float), cudaMemcpyDeviceToHost, stream));
    OK(cudaGraphExecUpdate(executable, work(5, 1, 100), &info));
    cr_assert_eq(info.result, cudaGraphExecUpdateSuccess);
    cr_assert_eq(launched(executable), 105);
    cr_assert_eq(second[0], 11);
    OK(cudaGraphLaunch(executable, stream));
    OK(cudaGraphExecDestroy(executable));
    OK(cudaStreamSynchronize(stream));
}

static void refused(cudaGraphExec_t executable, cudaGraph_t graph, cudaGraphExecUpdateResult why)
{
    cudaGraphExecUpdateResultInfo info;
    cr_assert_eq(cudaGraphExecUpdate(executable, graph, &info), cudaErrorGraphExecUpdateFailure);
    cr_assert_eq(cudaGetLastError(), cudaErrorGraphExecUpdateFailure);
    cr_assert_eq(info.result, why, "%d, not %d", (int)info.result, (int)why);
}

Test(graphs, an_update_is_refused_where_the_chain_is_another)
{
    cudaGraphExec_t executable;
    float three = 3; /* a launch with a constant is another instance of the emulation's */
    cudahost_seed(0);
    OK(cudaGraphInstantiate(&executable, work(1, 1, 10)));
    refused(executable, work(1, 2, 10), cudaGraphExecUpdateErrorTopologyChanged);
    record();
    LAUNCH(put, 1, N, 0, stream, x, three);
    OK(cudaMemsetAsync(x, 0, 4, stream));
    OK(cudaMemcpyAsync(host, x, N * sizeof(float), cudaMemcpyDeviceToHost, stream));
    refused(executable, recorded(), cudaGraphExecUpdateErrorNodeTypeChanged);
    record();
    LAUNCH(add, 1, N, 0, stream, x, three);
    LAUNCH(add, 1, N, 0, stream, x, three);
    OK(cudaMemcpyAsync(host, x, N * sizeof(float), cudaMemcpyDeviceToHost, stream));
    refused(executable, recorded(), cudaGraphExecUpdateErrorUnsupportedFunctionChange);
    record();
    LAUNCH(put, 1, N, 0, stream, x, three);
    LAUNCH(add, 1, N, 0, stream, x, three);
    OK(cudaMemcpyAsync(y, x, N * sizeof(float), cudaMemcpyDeviceToDevice, stream));
    refused(executable, recorded(), cudaGraphExecUpdateErrorParametersChanged);
    cr_assert_eq(launched(executable), 11, "it is as it was");
    cudahost_seed(1);
    int failed = 0;
    for (int i = 0; i < 200; i++) {
        cudaGraphExecUpdateResultInfo info;
        failed += cudaGraphExecUpdate(executable, work(1, 1, 1), &info) != cudaSuccess;
    }
    cr_assert(failed > 0 && failed < 100, "%d of 200", failed);
}

/* Each of these spoils the capture: what follows on the stream is refused, and so is the graph. */
static void spoilt(cudaError_t got, cudaError_t want, const char *what)
{
    cudaGraph_t graph;
    cudaStreamCaptureStatus status;
    cr_expect_eq(got, want, "%s: %s", what, cudaGetErrorName(got));
    OK(cudaStreamIsCapturing(stream, &status));
    cr_expect_eq(status, cudaStreamCaptureStatusInvalidated, "%s", what);
    cr_expect_eq(cudaMemsetAsync(x, 0, 4, stream), cudaErrorStreamCaptureInvalidated, "%s", what);
    cr_expect_eq(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated, "%s", what);
    cr_expect_null(graph);
    OK(cudaStreamIsCapturing(stream, &status));
    cr_expect_eq(status, cudaStreamCaptureStatusNone, "%s", what);
    cudaGetLastError();
    OK(cudaMemsetAsync(x, 0, 4, stream));
}

Test(graphs, what_a_capture_forbids_is_refused_and_spoils_it)
{
    float pageable[N];
    cudaGraphExec_t executable;
    OK(cudaGraphInstantiate(&executable, work(1, 1, 10)));
    record();
    spoilt(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported, "cudaStreamSynchronize");
    record();
    spoilt(cudaStreamQuery(stream), cudaErrorStreamCaptureUnsupported, "cudaStreamQuery");
    record();
    spoilt(cudaDeviceSynchronize(), cudaErrorStreamCaptureUnsupported, "cudaDeviceSynchronize");
    record();
    spoilt(cudaMemcpyAsync(x, pageable, sizeof pageable, cudaMemcpyHostToDevice, stream), cudaErrorStreamCaptureUnsupported, "pageable memory");
    record();
    spoilt(cudaGraphLaunch(executable, stream), cudaErrorStreamCaptureUnsupported, "cudaGraphLaunch");
    record();
    OK(cudaEventRecord(event, stream));
    OK(cudaStreamWaitEvent(stream, event, 0)); /* of the stream itself: no harm */
    spoilt(cudaEventQuery(event), cudaErrorCapturedEvent, "cudaEventQuery");
    record();
    OK(cudaEventRecord(event, stream));
    spoilt(cudaEventSynchronize(event), cudaErrorCapturedEvent, "cudaEventSynchronize");
    record();
    OK(cudaEventRecord(event, stream));
    spoilt(cudaStreamWaitEvent(other, event, 0), cudaErrorStreamCaptureIsolation, "another stream behind a captured event");
    record();
    OK(cudaEventRecord(event, other));
    spoilt(cudaStreamWaitEvent(stream, event, 0), cudaErrorStreamCaptureIsolation, "an event from outside");
}

Test(graphs, what_no_stream_sees_is_forbidden_by_the_mode)
{
    void *memory;
    record(cudaStreamCaptureModeGlobal);
    spoilt(cudaMalloc(&memory, 4), cudaErrorStreamCaptureUnsupported, "cudaMalloc, global");
    record(cudaStreamCaptureModeThreadLocal);
    std::thread([] {
        void *there;
        OK(cudaMalloc(&there, 4)); /* another thread */
        OK(cudaMemcpy(there, &there, 4, cudaMemcpyHostToDevice));
        OK(cudaFree(there));
    }).join();
    spoilt(cudaMallocHost(&memory, 4), cudaErrorStreamCaptureUnsupported, "cudaMallocHost, of the thread");
    record(cudaStreamCaptureModeThreadLocal);
    spoilt(cudaFree(y), cudaErrorStreamCaptureUnsupported, "cudaFree, of the thread");
    record(cudaStreamCaptureModeThreadLocal);
    cudaError_t error;
    std::thread([&error] {
        cudaGraph_t graph;
        error = cudaStreamEndCapture(stream, &graph);
    }).join();
    spoilt(error, cudaErrorStreamCaptureWrongThread, "another thread's end");
    record();
    OK(cudaMalloc(&memory, 4)); /* relaxed */
    recorded();
}

Test(graphs, the_legacy_stream_and_blocking_streams_do_not_go_together)
{
    cudaStream_t blocking;
    cudaGraph_t graph;
    OK(cudaStreamCreate(&blocking));
    OK(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeRelaxed));
    cr_expect_eq(cudaMemsetAsync(x, 0, 4, nullptr), cudaErrorStreamCaptureImplicit);
    cr_expect_eq(cudaStreamEndCapture(blocking, &graph), cudaErrorStreamCaptureInvalidated);
    cr_expect_eq(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeRelaxed), cudaErrorStreamCaptureUnsupported);
    cr_expect_eq(cudaStreamEndCapture(stream, &graph), cudaErrorIllegalState, "no capture");
    record();
    cr_expect_eq(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), cudaErrorIllegalState, "twice");
    recorded();
}
