/* log/rank-*.log into events: starts, resumes, warnings, faults. A line is
 *     HH:MM:SS rank R/N host[ step S] LEVEL part: text
 * (base/log.h). The clock has no date: a time earlier than the line's before is the next day. */
#include "launch/report/run.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_EVENTS = 4096, MOST_TOLD = 200, LONGEST_TEXT = 2000 };

typedef struct {
    ls_report_run *run;
    int64_t day, second; /* of the line before */
    bool dated;
    int start;
    int64_t goal;
} reader;

static ls_status no_memory(const ls_report_run *run)
{
    return ls_fail(LS_EMEM, "%s: no memory for its logs", run->path);
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Days from 1970-01-01 to a day of the Gregorian calendar (Hinnant 2013, days_from_civil). */
static int64_t day_number(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    const int64_t era = year / 400, of_era = year - era * 400;
    const int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* The head of a line; false: it has none, so it goes on with the line before. Sets `text` to what follows. */
static bool read_head(reader *r, const char *line, ls_report_event *event, const char **text)
{
    int hour, minute, second, used = 0;
    char level[8] = "";
    *event = (ls_report_event){.step = -1, .alike = 1};
    if (sscanf(line, "%2d:%2d:%2d rank %d/%d %63s%n", &hour, &minute, &second, &event->rank, &event->ranks, event->host,
               &used) != 6 ||
        !used)
        return false;
    line += used;
    long long step;
    if (sscanf(line, " step %lld%n", &step, &used) == 1) {
        event->step = step;
        line += used;
    }
    used = 0;
    if (sscanf(line, " %7s %31[^: ]:%n", level, event->part, &used) != 2 || !used)
        return false;
    *text = line + used + (line[used] == ' ');
    event->level = !strcmp(level, "ERROR") ? LS_EVENT_ERROR : !strcmp(level, "WARN") ? LS_EVENT_WARN : LS_EVENT_INFO;
    event->second = hour * 3600 + minute * 60 + second;
    if (event->second + 60 < r->second) /* a minute back is a clock being set */
        r->day++;
    r->second = event->second;
    int year, month, day;
    if (!strcmp(event->part, "log") && sscanf(*text, "opened on %d-%d-%d", &year, &month, &day) == 3) {
        r->day = day_number(year, month, day);
        r->dated = true;
        r->start++;
    }
    event->day = r->day;
    event->dated = r->dated;
    return true;
}

static ls_status keep_text(const ls_report_run *run, char **kept, const char *text)
{
    free(*kept);
    *kept = strdup(text);
    return *kept ? LS_OK : no_memory(run);
}

static ls_status add_event(ls_report_run *run, const ls_report_event *event, const char *text)
{
    if (run->events == MOST_EVENTS) {
        run->events_left_out++;
        return LS_OK;
    }
    ls_report_event *more = realloc(run->event, (size_t)(run->events + 1) * sizeof *more);
    if (!more)
        return no_memory(run);
    run->event = more;
    more[run->events] = *event;
    more[run->events].order = run->events;
    more[run->events].text = strndup(text, LONGEST_TEXT);
    return more[run->events++].text ? LS_OK : no_memory(run);
}

/* The machine of this line's host, if no rank has told it yet. */
static ls_status note_machine(ls_report_run *run, const ls_report_event *event, const char *text)
{
    const char *machine = strstr(text, "; ");
    const char *const before = run->machines ? run->machines : "";
    char line[512], *joined = NULL;
    if (strcmp(event->part, "log") || !begins(text, "opened on ") || !machine)
        return LS_OK;
    snprintf(line, sizeof line, "%.63s: %.300s\n", event->host, machine + 2);
    if (strstr(before, line) || strlen(before) > 64 * sizeof line)
        return LS_OK;
    if (asprintf(&joined, "%s%s", before, line) < 0)
        return no_memory(run);
    free(run->machines);
    run->machines = joined;
    return LS_OK;
}

/* What a start says of itself, and how far it means to go. */
static ls_status note_start(reader *r, ls_report_event *event, const char *text)
{
    ls_report_run *run = r->run;
    long long at, goal;
    if (event->rank != 0 || strcmp(event->part, "train"))
        return LS_OK;
    if (begins(text, "task ")) {
        event->is_start = true;
        if (!r->dated)
            r->start++;
        run->starts++;
        run->ended_early = false;
        snprintf(run->host, sizeof run->host, "%s", event->host);
        return keep_text(run, &run->task_line, text);
    }
    const char *steps = strstr(text, " rows a step, ");
    if (steps && sscanf(steps, " rows a step, %lld steps", &goal) == 1) {
        run->goal = goal;
        return keep_text(run, &run->data_line, text);
    }
    if (sscanf(text, "step %lld/%lld ", &at, &goal) == 2)
        run->goal = goal;
    event->is_resume = begins(text, "resuming from ");
    run->ended_early |= begins(text, "stopped early ");
    return LS_OK;
}

/* A step's or an evaluation's line is in metrics.jsonl, with more digits; the data's line stands under the machine. */
static bool is_told(const ls_report_event *event, const char *text)
{
    if (event->level != LS_EVENT_INFO)
        return true;
    if (!strcmp(event->part, "eval") || !strcmp(event->part, "log") || event->rank != 0)
        return false;
    return strcmp(event->part, "train") || !(begins(text, "step ") || strstr(text, " rows a step, "));
}

/* Text of the last event and a line without a head. */
static ls_status go_on(ls_report_run *run, ls_report_event *event, const char *line)
{
    char *joined = NULL;
    if (strlen(event->text) >= LONGEST_TEXT)
        return LS_OK;
    if (asprintf(&joined, "%s %.*s", event->text, LONGEST_TEXT, line + strspn(line, " \t")) < 0)
        return no_memory(run);
    free(event->text);
    event->text = joined;
    return LS_OK;
}

static ls_status read_line(reader *r, const char *line, bool *open)
{
    ls_report_run *run = r->run;
    ls_report_event event;
    const char *text;
    if (!read_head(r, line, &event, &text))
        return *open && *line ? go_on(run, &run->event[run->events - 1], line) : LS_OK;
    ls_status status = note_start(r, &event, text);
    if (status == LS_OK)
        status = note_machine(run, &event, text);
    /* a log without dates does not say which start it is in before the start says so itself */
    event.start = r->start ? r->start : run->starts ? (int)run->starts : 1;
    run->warnings += event.level == LS_EVENT_WARN;
    run->errors += event.level == LS_EVENT_ERROR;
    *open = status == LS_OK && is_told(&event, text);
    if (!*open)
        return status;
    const int64_t before = run->events;
    status = add_event(run, &event, text);
    *open = run->events > before;
    return status;
}

static ls_status read_log(ls_report_run *run, const char *path)
{
    FILE *in = fopen(path, "rb");
    if (!in)
        return ls_fail(LS_EIO, "%s: cannot read (%s)", path, strerror(errno));
    reader r = {.run = run};
    char *line = NULL;
    size_t room = 0;
    bool open = false;
    ls_status status = LS_OK;
    while (status == LS_OK && getline(&line, &room, in) > 0) {
        line[strcspn(line, "\r\n")] = '\0';
        status = read_line(&r, line, &open);
    }
    fclose(in);
    free(line);
    return status;
}

/* By start, then the clock, then the rank and its own order. */
static int in_time(const void *a, const void *b)
{
    const ls_report_event *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    const int64_t one = x->day * 86400 + x->second, other = y->day * 86400 + y->second;
    if (one != other)
        return one < other ? -1 : 1;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* The same sentence from several ranks in one start is one event; then only the first and the last ones are kept. */
static void join_alike(ls_report_run *run)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < run->events; i++) {
        ls_report_event *event = &run->event[i], *same = NULL;
        for (int64_t k = kept - 1; k >= 0 && !same && run->event[k].start == event->start; k--)
            if (run->event[k].rank != event->rank && run->event[k].level == event->level &&
                !strcmp(run->event[k].text, event->text))
                same = &run->event[k];
        if (same) {
            same->alike++;
            free(event->text);
        } else {
            run->event[kept++] = *event;
        }
    }
    run->events = kept;
    if (kept <= MOST_TOLD)
        return;
    const int64_t first = MOST_TOLD / 4, gone = kept - MOST_TOLD;
    for (int64_t i = first; i < first + gone; i++)
        free(run->event[i].text);
    memmove(run->event + first, run->event + first + gone, (size_t)(kept - first - gone) * sizeof *run->event);
    run->events = MOST_TOLD;
    run->events_left_out += gone;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_log(const struct dirent *entry)
{
    const size_t length = strlen(entry->d_name);
    return begins(entry->d_name, "rank-") && length > 4 && !strcmp(entry->d_name + length - 4, ".log");
}

ls_status ls_report_read_logs(ls_report_run *run)
{
    char path[4096];
    struct dirent **names = NULL;
    snprintf(path, sizeof path, "%s/log", run->path);
    const int count = scandir(path, &names, is_log, by_name);
    if (count < 0)
        return errno == ENOENT ? LS_OK : ls_fail(LS_EIO, "%s: cannot read (%s)", path, strerror(errno));
    ls_status status = LS_OK;
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%.2000s/log/%.255s", run->path, names[i]->d_name);
        if (status == LS_OK)
            status = read_log(run, path);
        free(names[i]);
    }
    free(names);
    if (status != LS_OK || !run->events)
        return status;
    qsort(run->event, (size_t)run->events, sizeof *run->event, in_time);
    join_alike(run);
    return LS_OK;
}
