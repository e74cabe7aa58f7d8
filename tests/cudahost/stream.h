/* Streams, events and the order in which queued work runs. */
#ifndef CUDAHOST_STREAM_H
#define CUDAHOST_STREAM_H

#include "runtime.h"
#include <deque>
#include <memory>
#include <vector>

struct queue;
struct capture; /* graph.h */

/* A place in a queue: reached when the queue has done that many pieces of work. */
struct ticket {
    std::shared_ptr<queue> of;
    uint64_t number;
};

struct work {
    std::function<void()> run;
    std::vector<ticket> after; /* other queues' work that comes first */
    /* Instead of run, for work that waits for other processes: does what it can without waiting; true once done. */
    std::function<bool()> progress;
};

struct queue {
    std::deque<work> waiting;
    uint64_t queued = 0, done = 0, number = 0; /* the how-many-th stream */
    bool blocking = true;                      /* waits for the legacy default stream, and it waits for this one */
    std::shared_ptr<capture> captured;         /* what is queued is recorded instead */
    bool running = false; /* a thread is in the first piece of work, and may have let go of the lock */
};

struct CUstream_st {
    std::shared_ptr<queue> of;
};

struct event_record {
    ticket place;
    std::shared_ptr<capture> inside; /* recorded while its stream was captured: no place */
    double milliseconds = 0;
};

struct CUevent_st {
    unsigned flags;
    std::shared_ptr<event_record> last; /* null: never recorded */
};

/* The queue of a stream's handle, or null with the refusal told. */
std::shared_ptr<queue> stream_queue(cudaStream_t stream, const char *function);
ticket stream_push(const std::shared_ptr<queue> &of, std::function<void()> run, std::vector<ticket> after = {});
ticket stream_push_waiting(const std::shared_ptr<queue> &of, std::function<bool()> progress, std::vector<ticket> after);
void stream_run_until(const ticket &place); /* no further than it takes, and what the adversary adds */
void stream_run_all();
bool stream_step(); /* one piece of work of some queue, if one can be done without waiting */

#endif
