/* Chrome's trace event format (the JSON object form), which Perfetto and chrome://tracing open: complete events ("X"),
 * ts and dur in microseconds; a rank is a process, a lane a thread.
 *
 * One event a line, so that files of ranks are joined without being parsed: a file's first line opens the object, its
 * last closes it, and every line between but the first begins with a comma. */
#include "train/profile.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

static const char head[] = "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n", tail[] = "]}\n";
static const char *const lane_name[LS_TRACE_LANES] = {"main", "communication", "loader"};
static const char *const category[LS_TRACE_KINDS] = {
    [LS_TRACE_PHASE] = "phase", [LS_TRACE_FORWARD] = "forward", [LS_TRACE_BACKWARD] = "backward",
    [LS_TRACE_JOB] = "exchange", [LS_TRACE_LOAD] = "loader"};

/* A user's operator may be named anything. */
static const char *plain(const char *name, char text[LS_TRACE_NAME_SIZE])
{
    int k = 0;
    for (; name[k] && k < LS_TRACE_NAME_SIZE - 1; k++) {
        const unsigned char letter = (unsigned char)name[k];
        text[k] = letter < 128 && isprint(letter) && letter != '"' && letter != '\\' ? name[k] : '_';
    }
    text[k] = '\0';
    return text;
}

static void write_event(const ls_trace_event *event, int rank, int lane, int64_t zero, FILE *out)
{
    char name[LS_TRACE_NAME_SIZE];
    fprintf(out, ",{\"ph\": \"X\", \"name\": \"%s\", \"cat\": \"%s\", \"pid\": %d, \"tid\": %d, \"ts\": %.3f, \"dur\": %.3f",
            plain(event->name, name), category[event->kind], rank, lane, 1e-3 * (double)(event->begin - zero),
            1e-3 * (double)(event->end - event->begin));
    if (event->bytes > 0)
        fprintf(out, ", \"args\": {\"flops\": %.0f, \"bytes\": %.0f}", event->flops, event->bytes);
    fputs("}\n", out);
}

void ls_profile_write_events(const ls_trace *trace, int rank, const char *host, int64_t zero, FILE *out)
{
    char name[LS_TRACE_NAME_SIZE];
    fprintf(out, "%s{\"ph\": \"M\", \"name\": \"process_name\", \"pid\": %d, \"args\": {\"name\": \"rank %d (%s)\"}}\n", head, rank,
            rank, plain(host, name));
    fprintf(out, ",{\"ph\": \"M\", \"name\": \"process_sort_index\", \"pid\": %d, \"args\": {\"sort_index\": %d}}\n", rank, rank);
    for (int k = 0; k < LS_TRACE_LANES; k++) {
        const ls_trace_lane *lane = &trace->lane[k];
        fprintf(out, ",{\"ph\": \"M\", \"name\": \"thread_name\", \"pid\": %d, \"tid\": %d, \"args\": {\"name\": \"%s\"}}\n", rank, k,
                lane_name[k]);
        for (int64_t at = 0; at < lane->count; at++)
            write_event(&lane->event[at], rank, k, zero, out);
    }
    fputs(tail, out);
}

ls_status ls_profile_join(const char *const *paths, int count, FILE *out)
{
    char line[512];
    fputs(head, out);
    for (int k = 0; k < count; k++) {
        FILE *in = fopen(paths[k], "r");
        if (!in)
            return ls_fail(LS_EIO, "%s: cannot open (%s)", paths[k], strerror(errno));
        while (fgets(line, sizeof line, in))
            if (strcmp(line, head) != 0 && strcmp(line, tail) != 0) {
                if (k > 0 && line[0] == '{')
                    fputc(',', out);
                fputs(line, out);
            }
        fclose(in);
    }
    fputs(tail, out);
    return LS_OK;
}
