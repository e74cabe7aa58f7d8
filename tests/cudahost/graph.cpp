/* Capture of a stream, and graphs: one stream's work in a chain, as lockstep records it. What may not be called while a stream is
 * captured is refused with the code that CUDA documents, and spoils the capture where CUDA says so. An executable is updated
 * only by a graph with the same chain; stricter than CUDA, a kernel stays the same function, and with a seed other than 0 an update
 * is refused now and then, as the documentation reserves ("the API may add further restrictions").
 * Not here: a second stream in a capture, external events, child graphs, memory nodes. */
#include "graph.h"
#include <stdarg.h>
#include <stdio.h>
#include <set>
#include <thread>

struct capture {
    std::vector<graph_node> nodes;
    enum cudaStreamCaptureMode mode;
    std::thread::id thread;
    bool blocking; /* its stream is bound to the legacy one */
    bool spoilt;
};

typedef std::shared_ptr<const std::vector<graph_node>> chain;
struct CUgraph_st {
    chain nodes;
};
struct CUgraphExec_st {
    chain nodes; /* another one after an update: a launch that is queued keeps its own */
};

static std::vector<std::shared_ptr<capture>> &captures = *new std::vector<std::shared_ptr<capture>>;
static std::set<cudaGraph_t> &graphs = *new std::set<cudaGraph_t>; /* that live: a handle of another is refused */
static std::set<cudaGraphExec_t> &executables = *new std::set<cudaGraphExec_t>;

/* ---- What is refused */

cudaError_t capture_spoil(const std::shared_ptr<capture> &what, cudaError_t error, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    what->spoilt = true;
    return report_refusal(error, "%s", text);
}

cudaError_t capture_check(const std::shared_ptr<queue> &of, const char *function, bool recordable)
{
    if (of->number == 0)
        for (const std::shared_ptr<capture> &c : captures)
            if (c->blocking)
                return capture_spoil(c, cudaErrorStreamCaptureImplicit, "%s: the legacy stream would wait for a stream that is captured", function);
    if (of->captured == nullptr)
        return cudaSuccess;
    if (of->captured->spoilt)
        return report_refusal(cudaErrorStreamCaptureInvalidated, "%s: the capture of this stream was spoilt by an earlier call", function);
    return recordable ? cudaSuccess : capture_spoil(of->captured, cudaErrorStreamCaptureUnsupported, "%s: the stream is captured: nothing of it runs until the graph is launched", function);
}

cudaError_t capture_check_unsafe(const char *function)
{
    for (const std::shared_ptr<capture> &c : captures)
        if (c->mode == cudaStreamCaptureModeGlobal || (c->mode == cudaStreamCaptureModeThreadLocal && c->thread == std::this_thread::get_id()))
            return capture_spoil(c, cudaErrorStreamCaptureUnsupported, "%s: no stream sees it, and one is captured in a mode that forbids it", function);
    return cudaSuccess;
}

cudaError_t capture_check_none(const char *function)
{
    cudaError_t error = cudaSuccess;
    for (const std::shared_ptr<capture> &c : captures)
        error = capture_spoil(c, cudaErrorStreamCaptureUnsupported, "%s: a stream is captured", function);
    return error;
}

cudaError_t capture_or_push(const std::shared_ptr<queue> &of, const char *function, graph_node node)
{
    const cudaError_t error = capture_check(of, function, true);
    if (error != cudaSuccess)
        return error;
    if (of->captured != nullptr)
        of->captured->nodes.push_back(std::move(node));
    else
        stream_push(of, std::move(node.run));
    return cudaSuccess;
}

void capture_forget()
{
    captures.clear();
}

/* ---- Graphs and their executables */

static bool lives(cudaGraph_t graph, const char *function)
{
    if (graphs.count(graph) == 0)
        report_refusal(cudaErrorInvalidValue, "%s: %p is no graph, or was destroyed", function, (void *)graph);
    return graphs.count(graph) != 0;
}

static bool lives(cudaGraphExec_t executable, const char *function)
{
    if (executables.count(executable) == 0)
        report_refusal(cudaErrorInvalidValue, "%s: %p is no executable, or was destroyed", function, (void *)executable);
    return executables.count(executable) != 0;
}

static cudaError_t refuse_update(cudaGraphExecUpdateResultInfo *info, enum cudaGraphExecUpdateResult why)
{
    info->result = why;
    return report_error(cudaErrorGraphExecUpdateFailure);
}

/* Why `now` cannot take the place of `then`. */
static enum cudaGraphExecUpdateResult difference(const std::vector<graph_node> &then, const std::vector<graph_node> &now)
{
    if (then.size() != now.size())
        return cudaGraphExecUpdateErrorTopologyChanged;
    for (size_t i = 0; i < now.size(); i++) {
        if (then[i].kind != now[i].kind)
            return cudaGraphExecUpdateErrorNodeTypeChanged;
        if (then[i].function != now[i].function)
            return cudaGraphExecUpdateErrorUnsupportedFunctionChange;
        if (then[i].memory != now[i].memory)
            return cudaGraphExecUpdateErrorParametersChanged;
    }
    return order_seed() != 0 && order_random() % 16 == 0 ? cudaGraphExecUpdateErrorNotSupported : cudaGraphExecUpdateSuccess;
}

extern "C" {
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    stream_call call;
    std::shared_ptr<queue> q = stream_queue(stream, "cudaStreamBeginCapture");
    if (call.refused != cudaSuccess)
        return call.refused;
    if (q == nullptr || mode < cudaStreamCaptureModeGlobal || mode > cudaStreamCaptureModeRelaxed)
        return report_error(q == nullptr ? cudaErrorInvalidResourceHandle : cudaErrorInvalidValue);
    if (q->number == 0)
        return report_refusal(cudaErrorStreamCaptureUnsupported, "cudaStreamBeginCapture: the legacy stream cannot be captured");
    if (q->captured != nullptr)
        return report_refusal(cudaErrorIllegalState, "cudaStreamBeginCapture: the stream is captured already");
    q->captured = std::make_shared<capture>(capture{{}, mode, std::this_thread::get_id(), q->blocking, false});
    captures.push_back(q->captured);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    stream_call call;
    std::shared_ptr<queue> q = stream_queue(stream, "cudaStreamEndCapture");
    if (call.refused != cudaSuccess)
        return call.refused;
    if (q == nullptr || graph == nullptr)
        return report_error(q == nullptr ? cudaErrorInvalidResourceHandle : cudaErrorInvalidValue);
    *graph = nullptr;
    const std::shared_ptr<capture> c = q->captured;
    if (c == nullptr)
        return report_refusal(cudaErrorIllegalState, "cudaStreamEndCapture: the stream is not captured");
    if (c->mode != cudaStreamCaptureModeRelaxed && c->thread != std::this_thread::get_id())
        return capture_spoil(c, cudaErrorStreamCaptureWrongThread, "cudaStreamEndCapture: another thread began the capture");
    q->captured = nullptr;
    for (size_t i = captures.size(); i-- > 0;)
        if (captures[i] == c)
            captures.erase(captures.begin() + (long)i);
    if (c->spoilt)
        return report_refusal(cudaErrorStreamCaptureInvalidated, "cudaStreamEndCapture: the capture was spoilt by an earlier call");
    *graph = new CUgraph_st{std::make_shared<std::vector<graph_node>>(std::move(c->nodes))};
    graphs.insert(*graph);
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status)
{
    stream_call call;
    std::shared_ptr<queue> q = stream_queue(stream, "cudaStreamIsCapturing");
    if (call.refused != cudaSuccess)
        return call.refused;
    if (q == nullptr || status == nullptr)
        return report_error(q == nullptr ? cudaErrorInvalidResourceHandle : cudaErrorInvalidValue);
    *status = q->captured == nullptr ? cudaStreamCaptureStatusNone : q->captured->spoilt ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

/* Only their number: nodes have no handles here. */
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return call.refused;
    if (!lives(graph, "cudaGraphGetNodes") || count == nullptr || nodes != nullptr)
        return report_error(nodes != nullptr ? cudaErrorNotSupported : cudaErrorInvalidValue);
    *count = graph->nodes->size();
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    stream_call call;
    if (!lives(graph, "cudaGraphDestroy"))
        return report_error(cudaErrorInvalidValue);
    graphs.erase(graph);
    delete graph;
    return call.refused;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return call.refused;
    if (executable == nullptr || !lives(graph, "cudaGraphInstantiate") || flags != 0)
        return report_error(flags != 0 ? cudaErrorNotSupported : cudaErrorInvalidValue);
    *executable = new CUgraphExec_st{graph->nodes};
    executables.insert(*executable);
    return cudaSuccess;
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t executable, cudaGraph_t graph, cudaGraphExecUpdateResultInfo *info)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return call.refused;
    if (!lives(executable, "cudaGraphExecUpdate") || !lives(graph, "cudaGraphExecUpdate") || info == nullptr)
        return report_error(cudaErrorInvalidValue);
    *info = {cudaGraphExecUpdateSuccess, nullptr, nullptr};
    const enum cudaGraphExecUpdateResult why = difference(*executable->nodes, *graph->nodes);
    if (why != cudaGraphExecUpdateSuccess)
        return refuse_update(info, why);
    executable->nodes = graph->nodes;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable)
{
    stream_call call;
    if (!lives(executable, "cudaGraphExecDestroy"))
        return report_error(cudaErrorInvalidValue);
    executables.erase(executable);
    delete executable;
    return call.refused;
}

/* One piece of work of the stream, whose nodes run in their order. */
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream)
{
    stream_call call;
    std::shared_ptr<queue> q = stream_queue(stream, "cudaGraphLaunch");
    if (call.refused != cudaSuccess)
        return call.refused;
    if (q == nullptr || !lives(executable, "cudaGraphLaunch"))
        return report_error(q == nullptr ? cudaErrorInvalidResourceHandle : cudaErrorInvalidValue);
    const cudaError_t error = capture_check(q, "cudaGraphLaunch", false);
    if (error != cudaSuccess)
        return error;
    chain nodes = executable->nodes;
    stream_push(q, [nodes] {
        for (const graph_node &node : *nodes) {
            if (report_sticky() != cudaSuccess)
                return;
            node.run();
        }
    });
    return cudaSuccess;
}
}
