/* NCCL between processes of one host. Calls are queued on their streams and run there like any work; within a process
 * the calls of all communicators run in the order in which they were made, as NCCL asks of its users on every rank.
 *
 * It refuses wrong arguments, buffers that are not wholly inside one block of device memory, buffers that overlap other
 * than in place, and two ranks on one device. Ranks whose calls differ (another call, count, type, operation or root),
 * which NCCL answers with a hang or with nonsense, are told apart and reported. A send ends when its receive has taken
 * it: unless grouped, two ranks that send first and receive later wait for ever, and are reported after
 * CUDAHOST_NCCL_TIMEOUT (60) seconds.
 *
 * A communicator that does not block (ncclCommInitRankConfig) says ncclInProgress after some calls, by seed, and refuses the
 * next one until ncclCommGetAsyncError has said that it is done; its ranks join in a thread.
 *
 * Sums go around a ring as in NCCL's, each step rounded to the type, starting at another rank for each part of the
 * array and at another rank by seed: the bits depend on the number of ranks, and only on the same number of ranks and
 * the same seed are they the same again. ncclSend and ncclRecv carry bits as they are. */
#include "graph.h"
#include "mesh.h"
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cudahost.h>
#include <nccl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

struct ncclComm {
    mesh net;
    int device = 0;
    std::atomic<bool> aborted{false};
    std::atomic<int> error{ncclSuccess}; /* ncclCommGetAsyncError's */
    bool blocking = true;
    std::atomic<bool> joining{false}; /* a thread does */
    uint64_t busy = 0;                /* how many times more it says that its last call goes on */
    uint64_t sequence = 0;               /* of collectives */
    ticket last;                         /* its last call's place */
};

enum call_kind {
    call_all_reduce,
    call_reduce,
    call_broadcast,
    call_reduce_scatter,
    call_all_gather,
    call_send,
    call_recv
};

static const char *const call_names[] = {"ncclAllReduce", "ncclReduce", "ncclBroadcast", "ncclReduceScatter",
                                         "ncclAllGather", "ncclSend",   "ncclRecv"};

struct nccl_call {
    call_kind kind;
    const char *from;
    char *to;
    size_t count; /* as the caller gives it: of one rank's part for ncclReduceScatter and ncclAllGather */
    ncclDataType_t type;
    ncclRedOp_t op;
    int root; /* or the peer */
    std::shared_ptr<ncclComm> comm;
    cudaStream_t stream;
    uint64_t sequence;
    std::vector<std::string> parts; /* what each rank sent */
};

static std::set<ncclComm_t> &live = *new std::set<ncclComm_t>;
static std::vector<std::shared_ptr<ncclComm>> &comms = *new std::vector<std::shared_ptr<ncclComm>>;
static ticket &last_of_all = *new ticket;
static thread_local int group_depth;
static thread_local std::vector<nccl_call> *group;
static thread_local ncclResult_t group_error;

static ncclResult_t refuse(ncclResult_t result, const char *format, ...) __attribute__((format(printf, 2, 3)));

static ncclResult_t refuse(ncclResult_t result, const char *format, ...)
{
    char text[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    report_sentence(ncclGetErrorString(result), text);
    if (group_depth > 0 && group_error == ncclSuccess)
        group_error = result;
    return result;
}

static size_t size_of(int type)
{
    static const size_t sizes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2};
    return sizes[type];
}

/* ---- Reduction */

template <class T> static T combine(T a, T b, int op)
{
    switch (op) {
    case ncclProd: return (T)(a * b);
    case ncclMax: return a < b ? b : a;
    case ncclMin: return b < a ? b : a;
    default: return (T)(a + b);
    }
}

/* Element i of the result, from the parts in the ring's order, which begins at rank `first`. */
template <class T>
static void reduce_as(const std::vector<std::string> &parts, char *to, size_t begin, size_t end, int op, size_t first)
{
    size_t n = parts.size();
    for (size_t i = begin; i < end; i++) {
        T sum, next;
        memcpy(&sum, parts[first % n].data() + i * sizeof(T), sizeof(T));
        for (size_t step = 1; step < n; step++) {
            memcpy(&next, parts[(first + step) % n].data() + i * sizeof(T), sizeof(T));
            sum = combine(sum, next, op);
        }
        if (op == ncclAvg)
            sum = (T)(sum / (T)(int)n);
        memcpy(to + i * sizeof(T), &sum, sizeof(T));
    }
}

static void reduce(const std::vector<std::string> &parts, char *to, size_t count, int type, int op)
{
    static void (*const by_type[])(const std::vector<std::string> &, char *, size_t, size_t, int, size_t) = {
        reduce_as<int8_t>,   reduce_as<uint8_t>, reduce_as<int32_t>, reduce_as<uint32_t>, reduce_as<int64_t>,
        reduce_as<uint64_t>, reduce_as<__half>,  reduce_as<float>,   reduce_as<double>,   reduce_as<__nv_bfloat16>};
    size_t n = parts.size();
    for (size_t part = 0; part < n; part++)
        by_type[type](parts, to, count * part / n, count * (part + 1) / n, op, part + 1 + order_seed() % n);
}

/* ---- One group of calls as it runs */

struct group_run {
    std::vector<nccl_call> calls;
    bool begun = false;
    double moved_at = 0; /* seconds */
    /* For each peer: the calls whose messages are still to come, in their order; receipts still to come. */
    std::vector<std::deque<std::pair<size_t, bool>>> coming[mesh_lanes];
    std::vector<uint64_t> receipts_due;
};

static double seconds_now()
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool is_pair(const nccl_call &c)
{
    return c.kind == call_send || c.kind == call_recv;
}

/* What this rank sends to `to` in a collective. */
static void contribution(const nccl_call &c, int to, const char **data, size_t *bytes)
{
    size_t each = c.count * size_of(c.type);
    int rank = c.comm->net.rank;
    *data = c.from;
    *bytes = each;
    if (c.kind == call_reduce_scatter)
        *data = c.from + (size_t)to * each;
    if ((c.kind == call_reduce && to != c.root) || (c.kind == call_broadcast && rank != c.root))
        *bytes = 0; /* an empty message, by which the ranks see that they make the same call */
}

static void begin(group_run *run)
{
    memory_settle();
    run->begun = true;
    run->moved_at = seconds_now();
    int ranks = run->calls[0].comm->net.ranks;
    for (auto &lane : run->coming)
        lane.resize((size_t)ranks);
    run->receipts_due.resize((size_t)ranks);
    for (size_t i = 0; i < run->calls.size(); i++) {
        nccl_call &c = run->calls[i];
        mesh *net = &c.comm->net;
        c.parts.resize((size_t)ranks);
        for (int peer = 0; peer < ranks; peer++) {
            if (is_pair(c) && peer != c.root)
                continue;
            if (c.kind != call_send)
                run->coming[is_pair(c)][(size_t)peer].push_back({i, false});
            if (c.kind == call_recv)
                continue;
            const char *data;
            size_t bytes;
            contribution(c, peer, &data, &bytes);
            mesh_header h = {is_pair(c) ? (uint32_t)mesh_pair : (uint32_t)mesh_collective,
                             c.kind,
                             c.type,
                             c.op,
                             is_pair(c) ? 0 : c.root,
                             c.count,
                             c.sequence,
                             bytes};
            mesh_send(net, peer, h, data);
            run->receipts_due[(size_t)peer] += is_pair(c);
        }
    }
}

/* The two ends must mean the same call. */
static bool agree(const nccl_call &c, const mesh_header &h, int peer)
{
    bool same = is_pair(c) ? h.type == c.type && h.count == c.count
                           : h.call == c.kind && h.type == c.type && h.op == c.op && h.root == c.root &&
                                 h.count == c.count && h.sequence == c.sequence;
    if (!same) {
        c.comm->error = ncclInvalidUsage;
        report_fault(
            cudaErrorLaunchFailure,
            "ranks disagree: rank %d calls %s number %lu (count %zu, type %d, operation %d, root %d), rank %d calls "
            "%s number %lu (count %lu, type %d, operation %d, root %d)",
            c.comm->net.rank, call_names[c.kind], c.sequence, c.count, c.type, c.op, c.root, peer, call_names[h.call],
            h.sequence, h.count, h.type, h.op, h.root);
    }
    return same;
}

/* Takes the messages that have come; false if a rank means something else. */
static bool take(group_run *run, mesh *net)
{
    for (int lane = 0; lane < mesh_lanes; lane++)
        for (size_t peer = 0; peer < net->peers.size(); peer++) {
            auto &coming = run->coming[lane][peer];
            auto &messages = net->peers[peer].messages[lane];
            while (!coming.empty() && !messages.empty()) {
                nccl_call &c = run->calls[coming.front().first];
                if (!agree(c, messages.front().header, (int)peer))
                    return false;
                c.parts[peer] = std::move(messages.front().data);
                messages.pop_front();
                coming.pop_front();
                if (lane == mesh_pair) {
                    mesh_header receipt = {mesh_receipt, 0, 0, 0, 0, 0, 0, 0};
                    mesh_send(net, (int)peer, receipt, nullptr);
                }
            }
        }
    return true;
}

/* A rank that is still needed; -1 if there is none. Messages to it must be on their way too. */
static int needed(const group_run &run, const mesh &net)
{
    for (size_t peer = 0; peer < net.peers.size(); peer++)
        if (!run.coming[0][peer].empty() || !run.coming[1][peer].empty() ||
            net.peers[peer].receipts < run.receipts_due[peer] ||
            (!net.peers[peer].out.empty() && !net.peers[peer].gone))
            return (int)peer;
    return -1;
}

static bool writes_result(const nccl_call &c)
{
    return c.kind != call_send && (c.kind != call_reduce || c.comm->net.rank == c.root);
}

static size_t result_count(const nccl_call &c)
{
    return c.kind == call_all_gather ? c.count * (size_t)c.comm->net.ranks : c.count;
}

static void finish(nccl_call &c)
{
    size_t bytes = c.count * size_of(c.type);
    switch (c.kind) {
    case call_all_reduce:
    case call_reduce_scatter: reduce(c.parts, c.to, c.count, c.type, c.op); break;
    case call_reduce:
        if (c.comm->net.rank == c.root)
            reduce(c.parts, c.to, c.count, c.type, c.op);
        break;
    case call_all_gather:
        for (size_t i = 0; i < c.parts.size(); i++)
            memcpy(c.to + i * bytes, c.parts[i].data(), bytes);
        break;
    case call_broadcast:
    case call_recv: memcpy(c.to, c.parts[(size_t)c.root].data(), bytes); break;
    case call_send: break;
    }
}

/* The results are lost: NaN, and the communicator can only be aborted. */
static bool fail(group_run *run, ncclResult_t error)
{
    for (nccl_call &c : run->calls) {
        if (c.comm->error == ncclSuccess)
            c.comm->error = error;
        if (writes_result(c) && memory_is_device(c.to, result_count(c) * size_of(c.type)))
            memset(c.to, 0xff, result_count(c) * size_of(c.type));
    }
    return true;
}

static bool buffers_live(const group_run &run)
{
    for (const nccl_call &c : run.calls) {
        size_t each = c.count * size_of(c.type), all = each * (size_t)c.comm->net.ranks;
        bool reads = c.kind != call_recv && (c.kind != call_broadcast || c.comm->net.rank == c.root);
        if ((reads && !memory_is_device(c.from, c.kind == call_reduce_scatter ? all : each)) ||
            (writes_result(c) && !memory_is_device(c.to, c.kind == call_all_gather ? all : each)))
            return false;
    }
    return true;
}

/* The stream's turn: sends once, then looks for what has come. True when the group is done. */
static bool progress(group_run *run)
{
    ncclComm *comm = run->calls[0].comm.get();
    mesh *net = &comm->net;
    if (comm->aborted || comm->error != ncclSuccess)
        return fail(run, (ncclResult_t)(int)comm->error);
    if (!run->begun) {
        if (!buffers_live(*run)) {
            report_fault(cudaErrorIllegalAddress, "%s: its memory was freed before the stream came to it",
                         call_names[run->calls[0].kind]);
            return true;
        }
        begin(run);
    }
    double now = seconds_now();
    if (mesh_pump(net))
        run->moved_at = now;
    if (!take(run, net))
        return true;
    mesh_pump(net);
    int peer = needed(*run, *net);
    if (peer < 0) {
        for (size_t i = 0; i < net->peers.size(); i++)
            net->peers[i].receipts -= run->receipts_due[i];
        for (nccl_call &c : run->calls)
            finish(c);
        return true;
    }
    if (net->peers[(size_t)peer].gone && peer != net->rank) {
        char text[200];
        snprintf(text, sizeof text, "rank %d: rank %d is gone while %s needs it", net->rank, peer,
                 call_names[run->calls[0].kind]);
        report_sentence("ncclRemoteError", text);
        return fail(run, ncclRemoteError);
    }
    if (now - run->moved_at > (double)order_environment("CUDAHOST_NCCL_TIMEOUT", 60)) {
        comm->error = ncclSystemError;
        report_fault(cudaErrorLaunchTimeout, "rank %d waits in %s for rank %d, which does not come to its part",
                     net->rank, call_names[run->calls[0].kind], peer);
        return fail(run, ncclSystemError);
    }
    return false;
}

/* ---- Queueing */

/* What a call that was taken returns. */
static ncclResult_t go_on(ncclComm *comm)
{
    if (!comm->blocking)
        comm->busy = order_seed() == 0 ? 1 : order_random() % 3;
    return comm->busy > 0 ? ncclInProgress : ncclSuccess;
}

/* A group of one communicator runs on the first of its streams; the others wait for it, and it for them. */
static ncclResult_t enqueue_group(std::vector<nccl_call> calls)
{
    stream_call call;
    if (call.refused != cudaSuccess)
        return ncclUnhandledCudaError;
    std::vector<std::shared_ptr<queue>> queues;
    for (nccl_call &c : calls) {
        std::shared_ptr<queue> q = stream_queue(c.stream, call_names[c.kind]);
        if (q == nullptr)
            return ncclInvalidArgument;
        if (capture_check(q, call_names[c.kind], false) != cudaSuccess) /* NVIDIA's can be captured: this double cannot */
            return ncclUnhandledCudaError;
        if (std::find(queues.begin(), queues.end(), q) == queues.end())
            queues.push_back(q);
        if (!is_pair(c))
            c.sequence = c.comm->sequence++;
    }
    std::vector<ticket> after;
    for (size_t i = 1; i < queues.size(); i++)
        after.push_back(ticket{queues[i], queues[i]->queued});
    if (last_of_all.of != nullptr)
        after.push_back(last_of_all);
    std::shared_ptr<group_run> run = std::make_shared<group_run>();
    std::shared_ptr<ncclComm> comm = calls[0].comm;
    run->calls = std::move(calls);
    comm->last = last_of_all = stream_push_waiting(
        queues[0], [run] { return progress(run.get()); }, std::move(after));
    for (size_t i = 1; i < queues.size(); i++)
        stream_push(queues[i], nullptr, {last_of_all});
    return go_on(comm.get());
}

static ncclResult_t submit(const nccl_call &c)
{
    if (group_depth > 0) {
        group->push_back(c);
        return ncclSuccess;
    }
    return enqueue_group({c});
}

extern "C" {
ncclResult_t ncclGroupStart(void)
{
    if (group == nullptr)
        group = new std::vector<nccl_call>;
    if (group_depth++ == 0)
        group_error = ncclSuccess;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    if (group_depth == 0)
        return refuse(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
    if (--group_depth > 0)
        return ncclSuccess;
    std::vector<nccl_call> calls = std::move(*group);
    group->clear();
    ncclResult_t result = group_error; /* one wrong call, and the group does nothing */
    while ((result == ncclSuccess || result == ncclInProgress) && !calls.empty()) {
        std::vector<nccl_call> of_one, rest;
        for (nccl_call &c : calls)
            (c.comm == calls[0].comm ? of_one : rest).push_back(c);
        result = enqueue_group(std::move(of_one));
        calls = std::move(rest);
    }
    return result;
}
}

/* ---- Checks */

static bool overlap(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    return a < b + b_bytes && b < a + a_bytes;
}

static ncclResult_t check_buffer(const char *name, const char *what, const void *p, size_t bytes, size_t element)
{
    if (bytes > 0 && !memory_is_device(p, bytes))
        return refuse(ncclInvalidArgument, "%s: the buffer it %s has %zu bytes: %s", name, what, bytes,
                      memory_describe(p).c_str());
    if ((uintptr_t)p % element != 0)
        return refuse(ncclInvalidArgument, "%s: the buffer it %s is at %p, its numbers have %zu bytes", name, what, p,
                      element);
    return ncclSuccess;
}

static ncclResult_t check_buffers(const nccl_call &c)
{
    const char *name = call_names[c.kind];
    size_t element = size_of(c.type), each = c.count * element, all = each * (size_t)c.comm->net.ranks;
    size_t from_bytes = c.kind == call_reduce_scatter ? all : each, to_bytes = c.kind == call_all_gather ? all : each;
    int rank = c.comm->net.rank;
    bool reads = c.kind != call_recv && (c.kind != call_broadcast || rank == c.root);
    ncclResult_t result = reads ? check_buffer(name, "reads", c.from, from_bytes, element) : ncclSuccess;
    if (result == ncclSuccess && writes_result(c))
        result = check_buffer(name, "writes", c.to, to_bytes, element);
    if (result != ncclSuccess || !reads || !writes_result(c) || !overlap(c.from, from_bytes, c.to, to_bytes))
        return result;
    const char *in_place = c.kind == call_all_gather ? c.to + (size_t)rank * each : c.to;
    const char *from = c.kind == call_reduce_scatter ? c.from + (size_t)rank * each : c.from;
    if (from != in_place)
        return refuse(ncclInvalidArgument, "%s: its buffers overlap, but not in place", name);
    return ncclSuccess;
}

static ncclResult_t call(call_kind kind, const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                         int root, ncclComm_t comm, cudaStream_t stream)
{
    stream_call guard;
    if (guard.refused != cudaSuccess)
        return ncclUnhandledCudaError;
    if (live.count(comm) == 0)
        return refuse(ncclInvalidArgument, "%s: no communicator, or one that was destroyed", call_names[kind]);
    if (comm->joining || comm->busy > 0)
        return refuse(ncclInvalidUsage, "%s: the communicator does not block, and nobody has waited for its last call (ncclCommGetAsyncError)",
                      call_names[kind]);
    if (comm->aborted || comm->error != ncclSuccess)
        return refuse((ncclResult_t)(comm->aborted ? (int)ncclInvalidUsage : (int)comm->error),
                      "%s: the communicator has failed or was aborted", call_names[kind]);
    if (type < 0 || type >= ncclNumTypes || op < 0 || op >= ncclNumOps)
        return refuse(ncclInvalidArgument, "%s: type %d, operation %d", call_names[kind], type, op);
    if (root < 0 || root >= comm->net.ranks)
        return refuse(ncclInvalidArgument, "%s: root or peer %d of %d ranks", call_names[kind], root, comm->net.ranks);
    std::shared_ptr<ncclComm> kept;
    for (const std::shared_ptr<ncclComm> &c : comms)
        if (c.get() == comm)
            kept = c;
    nccl_call c = {
        kind, static_cast<const char *>(from), static_cast<char *>(to), count, type, op, root, kept, stream, 0, {}};
    ncclResult_t result = check_buffers(c);
    return result != ncclSuccess ? result : submit(c);
}

extern "C" {
ncclResult_t ncclReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op, int root,
                        ncclComm_t comm, cudaStream_t stream)
{
    return call(call_reduce, from, to, count, type, op, root, comm, stream);
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream)
{
    return call(call_broadcast, from, to, count, type, ncclSum, root, comm, stream);
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream)
{
    return call(call_all_reduce, from, to, count, type, op, 0, comm, stream);
}

ncclResult_t ncclReduceScatter(const void *from, void *to, size_t to_count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream)
{
    return call(call_reduce_scatter, from, to, to_count, type, op, 0, comm, stream);
}

ncclResult_t ncclAllGather(const void *from, void *to, size_t from_count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream)
{
    return call(call_all_gather, from, to, from_count, type, ncclSum, 0, comm, stream);
}

ncclResult_t ncclSend(const void *from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream)
{
    return call(call_send, from, nullptr, count, type, ncclSum, peer, comm, stream);
}

ncclResult_t ncclRecv(void *to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream)
{
    return call(call_recv, nullptr, to, count, type, ncclSum, peer, comm, stream);
}

/* ---- Communicators */

const char *ncclGetErrorString(ncclResult_t result)
{
    static const char *const names[] = {"no error",
                                        "unhandled cuda error",
                                        "unhandled system error",
                                        "internal error",
                                        "invalid argument",
                                        "invalid usage",
                                        "remote process exited or there was a network error",
                                        "operation in progress"};
    return result >= 0 && result < ncclNumResults ? names[result] : "unknown result code";
}

const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return cudahost_report();
}

ncclResult_t ncclGetVersion(int *version)
{
    *version = (int)order_environment("CUDAHOST_NCCL_VERSION", NCCL_VERSION_CODE);
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    static int number;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "cudahost-nccl-%d-%d-%ld%09ld", (int)getpid(), number++, (long)t.tv_sec,
             t.tv_nsec);
    return ncclSuccess;
}

static ncclResult_t join(ncclComm *c, int ranks, ncclUniqueId id, int rank, const char *card)
{
    id.internal[sizeof id.internal - 1] = 0;
    std::string why =
        mesh_join(&c->net, id.internal, rank, ranks, card, (int)order_environment("CUDAHOST_NCCL_TIMEOUT", 60));
    if (!why.empty())
        return refuse(ncclSystemError, "ncclCommInitRank: rank %d: %s", rank, why.c_str());
    for (int other = 0; other < ranks; other++)
        if (other != rank && c->net.cards[(size_t)other] == card) {
            mesh_close(&c->net);
            return refuse(ncclInvalidUsage, "ncclCommInitRank: duplicate GPU: rank %d and rank %d both on %s", rank,
                          other, card);
        }
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t *config)
{
    char card[32];
    if (comm == nullptr || ranks < 1 || rank < 0 || rank >= ranks)
        return refuse(ncclInvalidArgument, "ncclCommInitRank: rank %d of %d", rank, ranks);
    if (config != nullptr && (config->size != sizeof *config || config->magic != NCCL_API_MAGIC))
        return refuse(ncclInvalidArgument, "ncclCommInitRankConfig: the configuration is not NCCL_CONFIG_INITIALIZER's");
    std::shared_ptr<ncclComm> c = std::make_shared<ncclComm>();
    c->blocking = config == nullptr || config->blocking != 0;
    c->net.rank = rank;
    c->net.ranks = ranks;
    cudaGetDevice(&c->device);
    if (cudaDeviceGetPCIBusId(card, sizeof card, c->device) != cudaSuccess)
        return ncclUnhandledCudaError;
    ncclResult_t result = c->blocking ? join(c.get(), ranks, id, rank, card) : ncclInProgress;
    if (result != ncclSuccess && result != ncclInProgress)
        return result;
    stream_call guard;
    live.insert(c.get());
    comms.push_back(c);
    *comm = c.get();
    c->joining = !c->blocking;
    if (!c->blocking)
        std::thread([=] {
            c->error = join(c.get(), ranks, id, rank, card);
            c->joining = false;
        }).detach();
    return result;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank)
{
    return ncclCommInitRankConfig(comm, ranks, id, rank, nullptr);
}

static ncclResult_t leave(ncclComm_t comm, const char *name, bool wait)
{
    stream_call guard;
    if (live.count(comm) == 0)
        return refuse(ncclInvalidArgument, "%s: no communicator, or one that was destroyed", name);
    if (wait && comm->last.of != nullptr)
        stream_run_until(comm->last);
    else
        comm->aborted = true;
    if (!comm->joining) /* or its thread still uses it */
        mesh_close(&comm->net);
    live.erase(comm);
    for (size_t i = 0; i < comms.size(); i++)
        if (comms[i].get() == comm) {
            comms.erase(comms.begin() + (long)i); /* queued calls keep what they need of it */
            break;
        }
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    stream_call guard;
    if (live.count(comm) == 0)
        return refuse(ncclInvalidArgument, "ncclCommFinalize: no communicator");
    if (comm->last.of != nullptr)
        stream_run_until(comm->last);
    return go_on(comm);
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    return leave(comm, "ncclCommDestroy", true);
}

ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    return leave(comm, "ncclCommAbort", false);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error)
{
    stream_call guard;
    if (live.count(comm) == 0 || error == nullptr)
        return refuse(ncclInvalidArgument, "ncclCommGetAsyncError: no communicator");
    *error = (ncclResult_t)(int)comm->error;
    if (comm->joining || (*error == ncclSuccess && comm->busy > 0))
        *error = ncclInProgress;
    comm->busy -= comm->busy > 0;
    return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count)
{
    *count = comm->net.ranks;
    return ncclSuccess;
}

ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device)
{
    *device = comm->device;
    return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank)
{
    *rank = comm->net.rank;
    return ncclSuccess;
}
}
