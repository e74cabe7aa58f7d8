/* See trace.h. */
#include "base/trace.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

ls_status ls_trace_create(ls_trace **out, int64_t events)
{
    *out = NULL;
    ls_trace *trace = calloc(1, sizeof *trace);
    if (!trace)
        return ls_fail(LS_EMEM, "trace: no memory");
    for (int k = 0; k < LS_TRACE_LANES; k++) {
        const size_t bytes = (size_t)events * sizeof(ls_trace_event);
        trace->lane[k].event = malloc(bytes);
        if (!trace->lane[k].event) {
            ls_trace_free(trace);
            return ls_fail(LS_EMEM, "trace: no memory for %lld events (%zu MiB a thread); lower profile.events",
                           (long long)events, bytes >> 20);
        }
        memset(trace->lane[k].event, 0, bytes); /* no page fault while recording */
        trace->lane[k].room = events;
    }
    *out = trace;
    return LS_OK;
}

void ls_trace_free(ls_trace *trace)
{
    if (!trace)
        return;
    for (int k = 0; k < LS_TRACE_LANES; k++)
        free(trace->lane[k].event);
    free(trace);
}

void ls_trace_switch(ls_trace *trace, bool on)
{
    if (trace)
        atomic_store(&trace->on, on);
}

int64_t ls_trace_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec + 1;
}

void ls_trace_end(ls_trace *trace, ls_trace_lane_name lane_name, ls_trace_kind kind, const char *name, int64_t begin,
                  double flops, double bytes)
{
    if (begin == 0)
        return;
    ls_trace_lane *lane = &trace->lane[lane_name];
    const int64_t at = atomic_load_explicit(&lane->count, memory_order_relaxed);
    if (at == lane->room) {
        atomic_fetch_add_explicit(&lane->dropped, 1, memory_order_relaxed);
        return;
    }
    ls_trace_event *event = &lane->event[at];
    const size_t length = strnlen(name, LS_TRACE_NAME_SIZE - 1);
    memcpy(event->name, name, length);
    event->name[length] = '\0';
    event->kind = kind;
    event->begin = begin;
    event->end = ls_trace_clock();
    event->flops = flops;
    event->bytes = bytes;
    atomic_store_explicit(&lane->count, at + 1, memory_order_release); /* the reader of a thread that still runs */
}
