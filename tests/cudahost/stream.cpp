/* The device's work queues. Work runs only when a call demands it, or when the adversary says so: as late as possible
 * with seed 0, else earlier by chance, stream against stream in any order that waits and events allow. So a missing
 * wait shows as wrong bits, and a program that asks for enough gets the same bits with every seed.
 *
 * A GPU also makes progress while the host waits for something else (a barrier of MPI, another thread). A helper
 * thread does so here when no CUDA function has been called for CUDAHOST_IDLE_MS (100) milliseconds. */
#include "graph.h"
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <atomic>
#include <mutex>
#include <set>
#include <thread>

/* Never destroyed: the helper thread may use them until the process is gone. */
static std::recursive_mutex &lock = *new std::recursive_mutex;
static std::vector<std::shared_ptr<queue>> &queues = *new std::vector<std::shared_ptr<queue>>;
static std::set<cudaStream_t> &streams = *new std::set<cudaStream_t>;
static std::shared_ptr<queue> &legacy = *new std::shared_ptr<queue>;
static std::atomic<uint64_t> calls;
static thread_local bool in_host_function;
static int depth; /* of runs within runs */

/* ---- Running */

/* Lets other host threads go on while this one waits for another thread or process. */
static void let_others_run()
{
    int held = depth;
    depth = 0;
    memory_open(false);
    lock.unlock();
    usleep(200);
    lock.lock();
    depth = held;
}

static bool reached(const ticket &t)
{
    return t.of->done >= t.number;
}

static bool run_first(const std::shared_ptr<queue> &q, bool patient);

/* What must come before a piece of work; false if it would have to wait and may not. */
static bool run_before(const std::vector<ticket> &after, bool patient)
{
    for (const ticket &t : after) {
        if (patient)
            stream_run_until(t);
        while (!reached(t))
            if (!run_first(t.of, false))
                return false;
    }
    return true;
}

static bool run_piece(const std::shared_ptr<queue> &q, const work &w, bool patient)
{
    bool finished = true;
    if (report_sticky() != cudaSuccess || (!w.run && !w.progress))
        return true;
    q->running = true;
    for (;;) {
        depth++;
        memory_open(true);
        if (w.run)
            w.run();
        else
            finished = w.progress();
        if (--depth == 0)
            memory_open(false);
        if (finished || !patient || report_sticky() != cudaSuccess)
            break;
        let_others_run();
    }
    q->running = false;
    return finished || report_sticky() != cudaSuccess;
}

/* Runs the first piece of work of a queue. An impatient caller gets false instead of a wait for another process. */
static bool run_first(const std::shared_ptr<queue> &q, bool patient)
{
    uint64_t number = q->done;
    if (q->running) { /* by another thread, which waits */
        if (patient)
            let_others_run();
        return patient;
    }
    /* Copied: running what comes first may run this queue's work too. */
    work w = q->waiting.front();
    if (!run_before(w.after, patient))
        return false;
    if (q->done != number || q->running)
        return true;
    if (!run_piece(q, w, patient))
        return false;
    if (q->done == number) { /* or the work was forgotten meanwhile */
        q->waiting.pop_front();
        q->done++;
    }
    return true;
}

void stream_run_until(const ticket &place)
{
    while (!reached(place)) {
        if (order_seed() != 0 && order_random() % 4 == 0)
            stream_step();
        if (!reached(place))
            run_first(place.of, true);
    }
}

static uint64_t rank_of(const queue &q)
{
    return (order_seed() ^ q.number) * 0x9e3779b97f4a7c15u >> 32;
}

/* The adversary's choice among the queues with work; null if there is none. Mostly the one the seed likes best: so some
 * streams run far ahead of others, which an even choice would hardly ever let happen. */
static std::shared_ptr<queue> some_queue()
{
    std::shared_ptr<queue> chosen;
    uint64_t seen = 0;
    bool favourite = order_random() % 4 != 0;
    for (const std::shared_ptr<queue> &q : queues) {
        if (q->waiting.empty())
            continue;
        seen++;
        if (chosen == nullptr || (favourite ? rank_of(*q) > rank_of(*chosen) : order_random() % seen == 0))
            chosen = q;
    }
    return chosen;
}

bool stream_step()
{
    std::shared_ptr<queue> q = some_queue();
    return q != nullptr && run_first(q, false);
}

void stream_run_all()
{
    while (some_queue() != nullptr)
        if (!stream_step())
            let_others_run();
}

/* What the adversary runs early: nothing, a little or a lot, by the seed's temper. */
static void run_early()
{
    uint64_t seed = order_seed();
    if (seed == 0 || depth > 0)
        return;
    uint64_t dice = order_random() % 8;
    bool run = seed % 3 == 0 ? dice == 0 : seed % 3 == 1 ? dice != 0 : dice < 4;
    for (uint64_t i = 0; run && i < 1 + dice % 3; i++)
        stream_step();
}

static void make_progress()
{
    long idle = order_environment("CUDAHOST_IDLE_MS", 100);
    uint64_t seen = calls;
    while (idle > 0) {
        usleep((useconds_t)idle * 1000);
        for (uint64_t now = calls; now == seen; now = calls) {
            std::unique_lock<std::recursive_mutex> hold(lock, std::try_to_lock);
            if (!hold.owns_lock() || !stream_step())
                break;
        }
        seen = calls;
    }
}

static void init()
{
    if (legacy != nullptr)
        return;
    memory_init();
    legacy = std::make_shared<queue>();
    queues.push_back(legacy);
    std::thread(make_progress).detach();
}

stream_call::stream_call()
{
    lock.lock();
    calls++;
    init();
    refused = in_host_function ? cudaErrorNotPermitted : report_sticky();
    if (refused == cudaSuccess)
        run_early();
    else
        report_error(refused);
}

stream_call::~stream_call()
{
    lock.unlock();
}

/* ---- Queueing */

std::shared_ptr<queue> stream_queue(cudaStream_t stream, const char *function)
{
    if (stream == nullptr || stream == cudaStreamLegacy)
        return legacy;
    if (streams.count(stream) == 0) {
        report_refusal(cudaErrorInvalidResourceHandle, "%s: %p is no stream, or was destroyed", function,
                       (void *)stream);
        return nullptr;
    }
    return stream->of;
}

ticket stream_push(const std::shared_ptr<queue> &q, std::function<void()> run, std::vector<ticket> after)
{
    /* The legacy default stream waits for all blocking streams, and they wait for it (CUDA runtime, "Stream
     * synchronization behavior"). */
    if (q == legacy) {
        for (const std::shared_ptr<queue> &other : queues)
            if (other != legacy && other->blocking && other->queued > other->done)
                after.push_back(ticket{other, other->queued});
    } else if (q->blocking && legacy->queued > legacy->done) {
        after.push_back(ticket{legacy, legacy->queued});
    }
    q->waiting.push_back(work{std::move(run), std::move(after), nullptr});
    return ticket{q, ++q->queued};
}

ticket stream_push_waiting(const std::shared_ptr<queue> &q, std::function<bool()> progress, std::vector<ticket> after)
{
    ticket place = stream_push(q, nullptr, std::move(after));
    q->waiting.back().progress = std::move(progress);
    return place;
}

cudaError_t stream_enqueue(cudaStream_t stream, std::function<void()> run, uint64_t kernel)
{
    std::shared_ptr<queue> q = stream_queue(stream, "a library's call");
    if (q == nullptr)
        return cudaErrorInvalidResourceHandle;
    return capture_or_push(q, "a library's call", {graph_node::kernel, reinterpret_cast<const void *>(kernel), 0, std::move(run)});
}

void stream_forget()
{
    for (const std::shared_ptr<queue> &q : queues) {
        q->waiting.clear();
        q->done = q->queued;
        q->captured = nullptr;
    }
    capture_forget();
}

/* ---- Kernels and host functions */

static cudaError_t check_configuration(dim3 grid, dim3 block, size_t shared_bytes, const char *name, const char *file,
                                       int line)
{
    size_t threads = (size_t)block.x * block.y * block.z, blocks = (size_t)grid.x * grid.y * grid.z;
    if (threads == 0 || blocks == 0)
        return report_refusal(cudaErrorInvalidConfiguration,
                              "kernel %s at %s:%d: grid (%u,%u,%u) or block (%u,%u,%u) is "
                              "empty",
                              name, file, line, grid.x, grid.y, grid.z, block.x, block.y, block.z);
    if (block.x > 1024 || block.y > 1024 || block.z > 64 || threads > 1024)
        return report_refusal(cudaErrorInvalidConfiguration,
                              "kernel %s at %s:%d: block (%u,%u,%u); limits are 1024, 1024, "
                              "64 and 1024 threads in all",
                              name, file, line, block.x, block.y, block.z);
    if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
        return report_refusal(cudaErrorInvalidConfiguration,
                              "kernel %s at %s:%d: grid (%u,%u,%u); limits are 2^31 - 1, "
                              "65535, 65535",
                              name, file, line, grid.x, grid.y, grid.z);
    if (shared_bytes > 48 * 1024 && shared_bytes > block_shared_allowed())
        return report_refusal(cudaErrorInvalidValue,
                              "kernel %s at %s:%d: %zu bytes of dynamic shared memory; above 49152 "
                              "they must be allowed by cudaFuncSetAttribute",
                              name, file, line, shared_bytes);
    return cudaSuccess;
}

cudaError_t cudahost::enqueue_launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, closure body,
                                     const char *name, const char *file, int line)
{
    stream_call call;
    std::shared_ptr<closure> kept(new closure(body), [](closure *c) {
        c->drop(c->object);
        delete c;
    });
    if (call.refused != cudaSuccess)
        return call.refused;
    std::shared_ptr<queue> q = stream_queue(stream, name);
    if (q == nullptr)
        return cudaErrorInvalidResourceHandle;
    cudaError_t error = check_configuration(grid, block, shared_bytes, name, file, line);
    if (error != cudaSuccess)
        return error;
    /* The closure's type tells instances of a template apart, the name two kernels with equal parameters. */
    const uint64_t function = (uint64_t)(uintptr_t)body.call ^ std::hash<std::string>()(name);
    return capture_or_push(q, name, {graph_node::kernel, reinterpret_cast<const void *>(function), 0,
                                     [=] { block_run(kernel_launch{grid, block, shared_bytes, *kept, name, file, line}); }});
}

extern "C" cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data)
{
    stream_call call;
    std::shared_ptr<queue> q = stream_queue(stream, "cudaLaunchHostFunc");
    if (call.refused != cudaSuccess)
        return call.refused;
    if (q == nullptr || function == nullptr)
        return report_error(q == nullptr ? cudaErrorInvalidResourceHandle : cudaErrorInvalidValue);
    return capture_or_push(q, "cudaLaunchHostFunc", {graph_node::host, nullptr, 0, [=] {
                               memory_open(false);
                               in_host_function = true;
                               function(data);
                               in_host_function = false;
                               memory_open(true);
                           }});
}

/* ---- Streams and events */

static cudaError_t create(cudaStream_t *stream, bool blocking)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return call.refused;
    if (stream == nullptr)
        return report_error(cudaErrorInvalidValue);
    static uint64_t number;
    std::shared_ptr<queue> q = std::make_shared<queue>();
    q->blocking = blocking;
    q->number = ++number;
    queues.push_back(q);
    *stream = new CUstream_st{q};
    streams.insert(*stream);
    return cudaSuccess;
}

static double now_milliseconds()
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

extern "C" {
cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return create(stream, true);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags)
{
    return flags > cudaStreamNonBlocking ? report_error(cudaErrorInvalidValue) : create(stream, flags == 0);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned int flags, int priority)
{
    (void)priority;
    return cudaStreamCreateWithFlags(stream, flags);
}

/* The handle is dead at once; what was queued is still done. */
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    stream_call call;
    if (stream == nullptr || stream_queue(stream, "cudaStreamDestroy") == nullptr)
        return report_error(cudaErrorInvalidResourceHandle);
    const cudaError_t error = capture_check(stream->of, "cudaStreamDestroy", false);
    if (error != cudaSuccess)
        return error;
    streams.erase(stream);
    stream_run_until(ticket{stream->of, stream->of->queued});
    for (size_t i = 0; i < queues.size(); i++)
        if (queues[i] == stream->of)
            queues.erase(queues.begin() + (long)i);
    delete stream;
    return call.refused;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    stream_call call;
    std::shared_ptr<queue> q = stream_queue(stream, "cudaStreamSynchronize");
    if (call.refused != cudaSuccess)
        return call.refused;
    if (q == nullptr)
        return cudaErrorInvalidResourceHandle;
    const cudaError_t error = capture_check(q, "cudaStreamSynchronize", false);
    if (error != cudaSuccess)
        return error;
    stream_run_until(ticket{q, q->queued});
    return report_error(cudaSuccess);
}

/* Asking makes some progress: who polls must come to an end. */
cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    stream_call call;
    std::shared_ptr<queue> q = stream_queue(stream, "cudaStreamQuery");
    if (call.refused != cudaSuccess)
        return call.refused;
    if (q == nullptr)
        return cudaErrorInvalidResourceHandle;
    const cudaError_t error = capture_check(q, "cudaStreamQuery", false);
    if (error != cudaSuccess)
        return error;
    if (!q->waiting.empty()) {
        run_first(q, false);
        return report_error(cudaErrorNotReady);
    }
    return report_error(cudaSuccess);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags)
{
    stream_call call;
    std::shared_ptr<queue> q = stream_queue(stream, "cudaStreamWaitEvent");
    if (call.refused != cudaSuccess)
        return call.refused;
    if (q == nullptr || event == nullptr)
        return report_error(cudaErrorInvalidResourceHandle);
    if (flags != 0)
        return report_error(cudaErrorInvalidValue);
    const cudaError_t error = capture_check(q, "cudaStreamWaitEvent", true);
    if (error != cudaSuccess || event->last == nullptr || (q->captured != nullptr && event->last->inside == q->captured))
        return error;
    if (q->captured != nullptr)
        return capture_spoil(q->captured, cudaErrorStreamCaptureIsolation, "cudaStreamWaitEvent: the stream is captured, and the event was recorded outside of that");
    if (event->last->inside != nullptr)
        return capture_spoil(event->last->inside, cudaErrorStreamCaptureIsolation, "cudaStreamWaitEvent: the event was recorded in a stream that was captured: no launch of the graph records it, and this emulation takes no second stream into a capture");
    stream_push(q, nullptr, {event->last->place});
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return call.refused;
    if (event == nullptr || (flags & ~3u) != 0)
        return report_error(cudaErrorInvalidValue);
    *event = new CUevent_st{flags, nullptr};
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    stream_call call;
    if (event == nullptr)
        return report_error(cudaErrorInvalidResourceHandle);
    delete event;
    return call.refused;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    stream_call call;
    std::shared_ptr<queue> q = stream_queue(stream, "cudaEventRecord");
    if (call.refused != cudaSuccess)
        return call.refused;
    if (event == nullptr || q == nullptr)
        return report_error(cudaErrorInvalidResourceHandle);
    const cudaError_t error = capture_check(q, "cudaEventRecord", true);
    if (error != cudaSuccess)
        return error;
    std::shared_ptr<event_record> record = std::make_shared<event_record>();
    event->last = record;
    record->inside = q->captured;
    if (q->captured != nullptr)
        return cudaSuccess;
    record->place = stream_push(q, [record] { record->milliseconds = now_milliseconds(); });
    return cudaSuccess;
}

/* Asking after an event that was recorded while its stream was captured: it stands for a place in a graph. */
static cudaError_t check_captured(cudaEvent_t event, const char *function)
{
    if (event->last == nullptr || event->last->inside == nullptr)
        return cudaSuccess;
    return capture_spoil(event->last->inside, cudaErrorCapturedEvent, "%s: the event was last recorded in a stream that was captured", function);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return call.refused;
    if (event == nullptr)
        return report_error(cudaErrorInvalidResourceHandle);
    const cudaError_t error = check_captured(event, "cudaEventSynchronize");
    if (error != cudaSuccess)
        return error;
    if (event->last != nullptr)
        stream_run_until(event->last->place);
    return report_error(cudaSuccess);
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return call.refused;
    if (event == nullptr)
        return report_error(cudaErrorInvalidResourceHandle);
    const cudaError_t error = check_captured(event, "cudaEventQuery");
    if (error != cudaSuccess)
        return error;
    if (event->last == nullptr || event->last->place.of->done >= event->last->place.number)
        return cudaSuccess;
    run_first(event->last->place.of, false);
    return report_error(cudaErrorNotReady);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return call.refused;
    if (milliseconds == nullptr || start == nullptr || end == nullptr || start->last == nullptr ||
        end->last == nullptr || ((start->flags | end->flags) & cudaEventDisableTiming) != 0)
        return report_error(cudaErrorInvalidResourceHandle);
    for (cudaEvent_t e : {start, end}) {
        const cudaError_t error = check_captured(e, "cudaEventElapsedTime");
        if (error != cudaSuccess)
            return error;
    }
    for (cudaEvent_t e : {start, end})
        if (e->last->place.of->done < e->last->place.number)
            return report_error(cudaErrorNotReady);
    *milliseconds = (float)(end->last->milliseconds - start->last->milliseconds);
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return call.refused;
    const cudaError_t error = capture_check_none("cudaDeviceSynchronize");
    if (error != cudaSuccess)
        return error;
    stream_run_all();
    return report_error(cudaSuccess);
}
}
