/* Streams in capture, and the graphs that come of them. */
#ifndef CUDAHOST_GRAPH_H
#define CUDAHOST_GRAPH_H

#include "stream.h"

/* A piece of work as a graph knows it: what an update of an executable may not change, and what it does when it runs. */
struct graph_node {
    enum kind { kernel, copy, fill, host } kind;
    const void *function; /* of a kernel: the instance of the template, or the library's algorithm; else NULL */
    int memory;           /* of a copy: whose its two ends are */
    std::function<void()> run;
};

/* What stands in the way of a call on a stream that is captured: cudaSuccess, if nothing does. A call that capture does not know
 * (`recordable` false), a stream whose capture is spoilt, and the legacy stream beside a blocking one that is captured. */
cudaError_t capture_check(const std::shared_ptr<queue> &of, const char *function, bool recordable);
/* Of calls that no stream sees (cudaMalloc): what cudaThreadExchangeStreamCaptureMode calls potentially unsafe. */
cudaError_t capture_check_unsafe(const char *function);
/* Of calls that wait for all of the device, which no mode allows. */
cudaError_t capture_check_none(const char *function);
/* Queues the work, or records it where the stream is captured. */
cudaError_t capture_or_push(const std::shared_ptr<queue> &of, const char *function, graph_node node);
/* Spoils a capture: all that follows on its stream is refused until it ends. */
cudaError_t capture_spoil(const std::shared_ptr<capture> &what, cudaError_t error, const char *format, ...) __attribute__((format(printf, 3, 4)));
void capture_forget();

#endif
