/* From events to the table. An event's own time is its length without the events inside it, so that an operator that
 * runs others (recompute) is not counted twice; phases keep their whole length, as they are read as parts of a step.
 *
 * The roofline (Williams, Waterman & Patterson 2009): a call of F flops over B bytes takes at least
 *     max(F / matmul rate, B / memory rate)
 * and its share of the roofline is that over what it took. Above 100 %: its bytes came from a cache. */
#include "train/profile.h"

#include <stdlib.h>
#include <string.h>

/* Outer events first: earlier beginning, then later end. */
static int by_begin(const void *a, const void *b)
{
    const ls_trace_event *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end > y->end ? -1 : x->end < y->end;
}

static ls_profile_row *row_of(ls_profile_table *table, const char *name, int32_t kind)
{
    for (int k = 0; k < table->rows; k++)
        if (table->row[k].kind == kind && strcmp(table->row[k].name, name) == 0)
            return &table->row[k];
    if (table->rows == LS_PROFILE_ROWS)
        return NULL;
    ls_profile_row *row = &table->row[table->rows++];
    *row = (ls_profile_row){.kind = kind};
    memcpy(row->name, name, sizeof row->name);
    return row;
}

static bool is_operator(int32_t kind)
{
    return kind == LS_TRACE_FORWARD || kind == LS_TRACE_BACKWARD;
}

/* `at` and all that lies inside it; returns the first event after it. */
static int64_t add_event(ls_profile_table *table, const ls_trace_lane *lane, int64_t count, int64_t at)
{
    const ls_trace_event *event = &lane->event[at];
    double seconds = 1e-9 * (double)(event->end - event->begin), flops = event->flops;
    int64_t next = at + 1;
    while (next < count && lane->event[next].begin < event->end) {
        const ls_trace_event *inside = &lane->event[next];
        if (is_operator(event->kind) && is_operator(inside->kind)) {
            seconds -= 1e-9 * (double)(inside->end - inside->begin);
            flops -= inside->flops;
        }
        next = add_event(table, lane, count, next);
    }
    ls_profile_row *row = row_of(table, event->name, (int32_t)event->kind);
    if (!row) {
        table->dropped++;
        return next;
    }
    const double compute = table->matmul > 0 ? 1e-9 * flops / table->matmul : 0;
    const double move = table->memory > 0 ? 1e-9 * event->bytes / table->memory : 0;
    row->calls++;
    row->seconds += seconds;
    row->flops += flops;
    row->bytes += event->bytes;
    row->least += compute > move ? compute : move;
    return next;
}

void ls_profile_add_up(ls_profile_table *table, ls_trace *trace)
{
    for (int k = 0; k < LS_TRACE_LANES; k++) {
        ls_trace_lane *lane = &trace->lane[k];
        const int64_t count = atomic_load_explicit(&lane->count, memory_order_acquire);
        qsort(lane->event, (size_t)count, sizeof *lane->event, by_begin);
        for (int64_t at = 0; at < count;)
            at = add_event(table, lane, count, at);
        table->events += count;
        table->dropped += atomic_load(&lane->dropped);
    }
}

void ls_profile_merge(ls_profile_table *table, const ls_profile_table *other)
{
    table->events += other->events;
    table->dropped += other->dropped;
    table->matmul += other->matmul;
    table->memory += other->memory;
    for (int k = 0; k < other->rows; k++) {
        const ls_profile_row *theirs = &other->row[k];
        ls_profile_row *row = row_of(table, theirs->name, theirs->kind);
        if (!row) {
            table->dropped += theirs->calls;
            continue;
        }
        row->calls += theirs->calls;
        row->seconds += theirs->seconds;
        row->flops += theirs->flops;
        row->bytes += theirs->bytes;
        row->least += theirs->least;
    }
}

/* Longest first. */
static int by_seconds(const void *a, const void *b)
{
    const ls_profile_row *x = a, *y = b;
    return x->seconds > y->seconds ? -1 : x->seconds < y->seconds;
}

static double kind_seconds(const ls_profile_table *table, bool operators)
{
    double sum = 0;
    for (int k = 0; k < table->rows; k++)
        if (operators ? is_operator(table->row[k].kind)
                      : table->row[k].kind == LS_TRACE_PHASE && strcmp(table->row[k].name, "step") == 0)
            sum += table->row[k].seconds;
    return sum;
}

static const char *const pass_of[LS_TRACE_KINDS] = {
    [LS_TRACE_PHASE] = "phase", [LS_TRACE_FORWARD] = "forward", [LS_TRACE_BACKWARD] = "backward",
    [LS_TRACE_JOB] = "exchange", [LS_TRACE_LOAD] = "loader"};

static void print_operator(const ls_profile_row *row, double per_step, double all, FILE *out)
{
    char gflops[32] = "-", gigabytes[32] = "-", roofline[32] = "-";
    if (row->flops > 0)
        snprintf(gflops, sizeof gflops, "%.1f", 1e-9 * row->flops / row->seconds);
    if (row->bytes > 0)
        snprintf(gigabytes, sizeof gigabytes, "%.2f", 1e-9 * row->bytes / row->seconds);
    if (row->least > 0)
        snprintf(roofline, sizeof roofline, "%.0f%%", 100 * row->least / row->seconds);
    fprintf(out, "%-22s %-9s %8lld %10.3f %6.1f%% %9s %8s %9s\n", row->name, pass_of[row->kind], (long long)row->calls,
            1e3 * row->seconds * per_step, 100 * row->seconds / all, gflops, gigabytes, roofline);
}

void ls_profile_print(const ls_profile_table *table, int ranks, const char *precision, FILE *out)
{
    static ls_profile_table sorted; /* the main thread's alone */
    sorted = *table;
    qsort(sorted.row, (size_t)sorted.rows, sizeof *sorted.row, by_seconds);
    const double per_step = 1.0 / ((double)table->steps * ranks);
    const double operators = kind_seconds(table, true), steps = kind_seconds(table, false);
    fprintf(out, "%lld steps, %d rank(s); calls are of all of them, times of one step of one rank.\n"
                 "Roofline: %.1f GFLOP/s (%s matrix product) and %.2f GB/s (y += x) a rank, all ranks at once.\n"
                 "%lld events, %lld dropped%s.\n\n",
            (long long)table->steps, ranks, table->matmul / ranks, precision, table->memory / ranks,
            (long long)table->events, (long long)table->dropped,
            table->dropped ? ": calls and times are too low; profile fewer steps or raise profile.events" : "");
    fprintf(out, "%-22s %-9s %8s %10s %7s %9s %8s %9s\n", "operator", "pass", "calls", "ms", "share", "GFLOP/s", "GB/s", "roofline");
    for (int k = 0; k < sorted.rows; k++)
        if (is_operator(sorted.row[k].kind))
            print_operator(&sorted.row[k], per_step, operators, out);
    fprintf(out, "%-22s %-9s %8s %10.3f\n\n", "all operators", "", "", 1e3 * operators * per_step);
    fprintf(out, "%-32s %-9s %8s %10s %7s\n", "part of the step", "thread", "calls", "ms", "step");
    for (int k = 0; k < sorted.rows; k++)
        if (!is_operator(sorted.row[k].kind))
            fprintf(out, "%-32s %-9s %8lld %10.3f %6.1f%%\n", sorted.row[k].name, pass_of[sorted.row[k].kind],
                    (long long)sorted.row[k].calls, 1e3 * sorted.row[k].seconds * per_step,
                    steps > 0 ? 100 * sorted.row[k].seconds / steps : 0);
}
