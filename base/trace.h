/* Trace: what each thread of a process did when, in buffers of fixed size.
 *
 * A lane belongs to one thread, which alone writes to it; nothing is shared, locked or allocated while events are
 * recorded. An event is written when it ends, so events of a lane nest but do not stand in the order of their
 * beginnings. When a lane is full further events are counted and left out: the count is part of the report.
 *
 * Recording is guarded by one test of a pointer and one of a flag, which is all it costs when nobody asked for it:
 *
 *     int64_t begin = ls_trace_begin(trace);                       // trace may be NULL
 *     work();
 *     ls_trace_end(trace, LS_TRACE_MAIN, LS_TRACE_PHASE, "backward", begin, 0, 0);
 *
 * What is recorded never reaches a result. */
#pragma once
#include "base/error.h"
#include "base/type.h"

#include <stdatomic.h>

typedef enum { LS_TRACE_MAIN, LS_TRACE_COMMUNICATION, LS_TRACE_LOADER, LS_TRACE_LANES } ls_trace_lane_name;

typedef enum {
    LS_TRACE_PHASE,    /* a part of the step: forward, backward, reduce, optimiser, gather */
    LS_TRACE_FORWARD,  /* an operator */
    LS_TRACE_BACKWARD, /* an operator's backward */
    LS_TRACE_JOB,      /* what the communication thread did for an exchange, without its waiting */
    LS_TRACE_LOAD,     /* a grain read */
    LS_TRACE_KINDS
} ls_trace_kind;

enum { LS_TRACE_NAME_SIZE = 32 };

typedef struct {
    char name[LS_TRACE_NAME_SIZE];
    int64_t begin, end; /* ns of the monotonic clock */
    double flops; /* with those of the events inside it; 0: none, or not known */
    double bytes; /* its own; 0: not known */
    ls_trace_kind kind;
} ls_trace_event;

typedef struct {
    ls_trace_event *event;
    int64_t room;
    _Atomic int64_t count, dropped;
} ls_trace_lane;

typedef struct {
    _Atomic bool on;
    ls_trace_lane lane[LS_TRACE_LANES];
} ls_trace;

/* Room for `events` events on each lane, touched at once. LS_EMEM. */
ls_status ls_trace_create(ls_trace **trace, int64_t events);
void ls_trace_free(ls_trace *trace);
/* From here on events are recorded, or not any more. An event that has begun before is not; one that has begun while
 * recording was on is still written. */
void ls_trace_switch(ls_trace *trace, bool on);

int64_t ls_trace_clock(void); /* ns, never 0 */
/* 0: nothing is recorded. */
static inline int64_t ls_trace_begin(const ls_trace *trace)
{
    return trace && atomic_load_explicit(&trace->on, memory_order_relaxed) ? ls_trace_clock() : 0;
}
/* Does nothing when `begin` is 0. A name that is too long is cut. */
void ls_trace_end(ls_trace *trace, ls_trace_lane_name lane, ls_trace_kind kind, const char *name, int64_t begin,
                  double flops, double bytes);
