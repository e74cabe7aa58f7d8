/* CUDA graphs: what calls queue is recorded, piece by piece, and launched a piece at a time, so that kernels follow each other on the
 * device without the host's launch between two of them.
 *
 *     calls      norm matmul matmul rotary ...      | event for the other stream |  matmul add ...       | the host waits
 *     stream     <---- recorded: a segment -------> launch, record the event     <---- recorded ----->  launch, wait
 *
 * Nothing is replayed. Each segment is recorded anew, with the numbers and addresses of this grain, and an executable that an
 * older segment left is brought up to date with it (cudaGraphExecUpdate) instead of being made again: so a segment is the same work
 * in the same order as without graphs, and no bit can differ. A segment begins with the first call after the last one ended, and ends
 * where its work must be the stream's: before an event is recorded or waited for, before the host waits, before memory is taken, and
 * after CALLS calls, so that the device begins while the host records what follows.
 *
 * Executables are kept by a number for what was recorded (the names of calls and kernels, the shapes of products). One that was launched
 * since the host last waited may still run: another of its kind is taken, or made. The mode of the recording is relaxed: a library
 * may take memory or load a kernel at a first call, which the other modes forbid and the graph does not have to know. */
#include "tensor/cuda/products.cuh"

#include <stdio.h>
#include <stdlib.h>

/* Not measured: a launch should be long enough to hide the recording of the next, and short enough to begin soon. */
enum { CALLS = 64, EXECUTABLES = 256 };

typedef struct {
    cudaGraphExec_t exec;
    uint64_t key, launched; /* how-many-th launch its last was */
    size_t nodes;
} executable;

struct ls_cuda_graphs {
    executable kept[EXECUTABLES];
    int count;
    uint64_t launches, seen; /* so many launches are known to be done */
    bool recording;
    const char *caller; /* the call that the segment began with */
    uint64_t key;
    int calls;
};

void ls_graph_begin(ls_cuda *cuda, const char *caller)
{
    ls_cuda_graphs *g = cuda->graphs;
    if (!g)
        return;
    if (g->recording && g->calls >= CALLS)
        ls_graph_submit(cuda);
    if (!g->recording && cuda->status == LS_OK) {
        const cudaError_t error = cudaStreamBeginCapture(cuda->stream, cudaStreamCaptureModeRelaxed);
        ls_cuda_failed(cuda, error, "beginning a graph");
        g->recording = error == cudaSuccess, g->caller = caller, g->key = LS_CUDA_HASH, g->calls = 0;
    }
    g->calls++;
    ls_graph_note(cuda, (uint64_t)(uintptr_t)caller);
}

void ls_graph_note(ls_cuda *cuda, uint64_t what)
{
    ls_cuda_graphs *g = cuda->graphs;
    if (g && g->recording)
        g->key = ls_cuda_hash(g->key, &what, sizeof what);
}

void ls_graph_waited(ls_cuda *cuda)
{
    if (cuda->graphs)
        cuda->graphs->seen = cuda->graphs->launches;
}

/* ---- executables ---- */

#if CUDART_VERSION >= 12000
static bool update(executable *k, cudaGraph_t graph)
{
    cudaGraphExecUpdateResultInfo info;
    const bool done = cudaGraphExecUpdate(k->exec, graph, &info) == cudaSuccess;
    if (!done)
        cudaGetLastError(); /* it is no failure: one is made anew */
    return done;
}

static cudaError_t instantiate(executable *k, cudaGraph_t graph)
{
    return cudaGraphInstantiate(&k->exec, graph, 0);
}
#else /* these two had other arguments, and ls_cuda_use_graphs refuses */
static bool update(executable *, cudaGraph_t) { return false; }
static cudaError_t instantiate(executable *, cudaGraph_t) { return cudaErrorNotSupported; }
#endif

/* One that does the same, is done with its last launch, and takes the new graph. */
static executable *updated(ls_cuda_graphs *g, cudaGraph_t graph, size_t nodes)
{
    for (int i = 0; i < g->count; i++) {
        executable *k = &g->kept[i];
        if (k->key == g->key && k->nodes == nodes && k->launched <= g->seen && update(k, graph))
            return k;
    }
    return NULL;
}

/* A free place; else the one that was not used for longest, whose executable may still be at work: CUDA keeps a launch as it was. */
static executable *made(ls_cuda *cuda, cudaGraph_t graph, size_t nodes, const char *what)
{
    ls_cuda_graphs *g = cuda->graphs;
    executable *k = &g->kept[0];
    for (int i = 1; i < g->count; i++)
        if (g->kept[i].launched < k->launched)
            k = &g->kept[i];
    if (g->count < EXECUTABLES)
        k = &g->kept[g->count];
    else if (k->key == g->key && k->nodes == nodes && update(k, graph))
        return k;
    else
        cudaGraphExecDestroy(k->exec);
    k->exec = NULL;
    const cudaError_t error = instantiate(k, graph);
    ls_cuda_failed(cuda, error, what);
    if (error != cudaSuccess) {
        if (k < &g->kept[g->count])
            *k = g->kept[--g->count]; /* its own is gone */
        return NULL;
    }
    g->count += k == &g->kept[g->count];
    k->key = g->key, k->nodes = nodes;
    return k;
}

/* ---- the end of a segment ---- */

static void launch(ls_cuda *cuda, cudaGraph_t graph, size_t nodes)
{
    ls_cuda_graphs *g = cuda->graphs;
    char what[128];
    snprintf(what, sizeof what, "launching a graph of %zu nodes that %.60s began", nodes, g->caller);
    executable *k = updated(g, graph, nodes);
    if (!k)
        k = made(cuda, graph, nodes, what);
    if (!k)
        return;
    k->launched = ++g->launches;
    ls_cuda_failed(cuda, cudaGraphLaunch(k->exec, cuda->stream), what);
}

/* Also after an error of the device's: what was called before it is done, as without graphs. */
void ls_graph_submit(ls_cuda *cuda)
{
    ls_cuda_graphs *g = cuda->graphs;
    cudaGraph_t graph = NULL;
    size_t nodes = 0;
    char what[128];
    if (!g || !g->recording)
        return;
    g->recording = false;
    snprintf(what, sizeof what, "recording a graph that %.60s began", g->caller);
    cudaError_t error = cudaStreamEndCapture(cuda->stream, &graph);
    if (error == cudaSuccess)
        error = cudaGraphGetNodes(graph, NULL, &nodes);
    ls_cuda_failed(cuda, error, what);
    if (error == cudaSuccess && nodes > 0)
        launch(cuda, graph, nodes);
    if (error != cudaSuccess)
        cudaGetLastError(); /* forgets it: it is told here */
    if (graph)
        cudaGraphDestroy(graph);
}

/* ---- the table's ---- */

ls_status ls_cuda_submit(ls_device *device)
{
    ls_graph_submit(static_cast<ls_cuda *>(device->self));
    return ls_cuda_status(device);
}

void ls_graphs_free(ls_cuda *cuda)
{
    ls_cuda_graphs *g = cuda->graphs;
    for (int i = 0; g && i < g->count; i++)
        cudaGraphExecDestroy(g->kept[i].exec);
    free(g);
    cuda->graphs = NULL;
}

ls_status ls_cuda_use_graphs(ls_device *device, bool graphs)
{
    ls_cuda *cuda = static_cast<ls_cuda *>(device->self);
    if (graphs && CUDART_VERSION < 12000)
        return ls_fail(LS_ENOTFOUND, "cuda: graphs need CUDA 12 or newer, and this lockstep was built with %d.%d", CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    if (graphs == (cuda->graphs != NULL))
        return LS_OK;
    if (!graphs) {
        const ls_status status = ls_cuda_synchronize(device);
        ls_graphs_free(cuda);
        return status;
    }
    cuda->graphs = static_cast<ls_cuda_graphs *>(calloc(1, sizeof *cuda->graphs));
    return cuda->graphs ? LS_OK : ls_fail(LS_EMEM, "cuda: no memory for the list of graphs");
}
