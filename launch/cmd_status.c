/* `lockstep status`: where each rank of a run is, whether the run lives, hangs or is dead, and who waits for whom; from
 * the flight records that the ranks leave in the run folder (base/flight.h). Reads, and touches nothing. */
#include "checkpoint/checkpoint.h"
#include "launch/command.h"
#include "launch/status/ranks.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    const char *run;
    int events; /* of each rank to be shown */
} arguments;

static const struct argp_option options[] = {
    {"events", 'e', "N", 0, "Show the last N things that each rank began as well (at most 256)", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    char *end;
    switch (key) {
    case 'e':
        given->events = (int)strtol(value, &end, 10);
        if (end == value || *end || given->events < 1 || given->events > LS_FLIGHT_EVENTS)
            argp_error(state, "--events=%s: expected a number from 1 to %d", value, LS_FLIGHT_EVENTS);
        return 0;
    case ARGP_KEY_ARG:
        if (given->run)
            argp_error(state, "one run at a time: %s", value);
        given->run = value;
        return 0;
    case ARGP_KEY_END:
        if (!given->run)
            argp_error(state, "which run? Name the folder that `run:` names in the recipe");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "RUN",
    .doc = "Says where each rank of the run in folder RUN is: host, process, alive or not, step, what it is doing and since "
           "when, whom it waits for; and the last checkpoint. Works on a run that goes on, hangs, was killed, or is over: "
           "the ranks' flight records outlive them.\v"
           "Examples:\n"
           "  lockstep status runs/first\n"
           "  lockstep status --events 20 runs/first\n",
};

/* "0.4 s", "41 s", "12 min", "3 h 07 min" */
static const char *duration(double seconds, char text[32])
{
    if (seconds < 10)
        snprintf(text, 32, "%.1f s", seconds);
    else if (seconds < 120)
        snprintf(text, 32, "%.0f s", seconds);
    else if (seconds < 7200)
        snprintf(text, 32, "%.0f min", seconds / 60);
    else
        snprintf(text, 32, "%.0f h %02.0f min", (double)(int64_t)(seconds / 3600), (double)((int64_t)(seconds / 60) % 60));
    return text;
}

static const char *time_of_day(int64_t seconds, char text[32])
{
    const time_t when = (time_t)seconds;
    struct tm local;
    if (!localtime_r(&when, &local) || !strftime(text, 32, "%H:%M:%S", &local))
        snprintf(text, 32, "?");
    return text;
}

/* "backward, bucket 3"; of a rank that waits, what it waits in. */
static const char *where(const ls_rank_view *rank, char text[96])
{
    const ls_flight_place *here = &rank->record->place[LS_FLIGHT_MAIN], *there = &rank->record->place[LS_FLIGHT_COMMUNICATION];
    const bool waits = rank->state == LS_RANK_WAITS && there->phase[0];
    const int64_t bucket = waits ? there->bucket : here->bucket;
    int used = snprintf(text, 96, "%s", here->phase);
    if (waits && strcmp(here->phase, there->phase))
        used += snprintf(text + used, 96 - (size_t)used, ": %s", there->phase);
    if (bucket > 0)
        snprintf(text + used, 96 - (size_t)used, ", bucket %lld", (long long)bucket);
    return text;
}

static void print_rank(const ls_run_view *view, int number)
{
    const ls_rank_view *rank = &view->rank[number];
    const ls_flight_record *r = rank->record;
    char place[96], since[32], clock[32], who[32] = "";
    if (!r) {
        printf("%4d  %s\n", number, rank->why);
        return;
    }
    if (rank->waits_for >= 0)
        snprintf(who, sizeof who, "rank %d", rank->waits_for);
    const int64_t begun = rank->state == LS_RANK_WAITS ? r->waits_since : r->place[LS_FLIGHT_MAIN].since;
    printf("%4d  %-12.20s %8d  %-13s %7lld  %-40s %8s (%s)  %s\n", number, r->host, r->pid, ls_rank_state_word(rank->state),
           (long long)r->step, where(rank, place), time_of_day(ls_flight_clock(r, begun), clock), duration(rank->since, since), who);
}

static void print_headline(const ls_run_view *view, const char *run)
{
    static const char *const words[] = {"nothing is known of its ranks",
                                        "running",
                                        "hangs",
                                        "dead",
                                        "a rank is dead, the others will end soon",
                                        "finished",
                                        "stopped early with a checkpoint; run it again to go on",
                                        "failed"};
    char time[32];
    printf("%s: %s", run, words[view->state]);
    if (view->steps > 0)
        printf(", step %lld of %lld", (long long)view->step, (long long)view->steps);
    if (view->state == LS_RUN_HANGS)
        printf(", for %s now", duration(view->hangs_for, time));
    printf("\n\n");
}

/* The sentence with which the run ended, once, however many ranks heard it. */
static void print_failure(const ls_run_view *view)
{
    const char *told = "";
    for (int rank = 0; rank < view->ranks; rank++) {
        const ls_rank_view *one = &view->rank[rank];
        if (one->state != LS_RANK_FAILED || strcmp(told, one->record->sentence) == 0)
            continue;
        told = one->record->sentence;
        printf("rank %d said: %s\n", rank, told);
    }
}

static void print_advice(const ls_run_view *view)
{
    const ls_rank_view *rank = view->culprit >= 0 ? &view->rank[view->culprit] : NULL;
    const ls_flight_record *r = rank ? rank->record : NULL;
    char place[96], time[32];
    if (view->state == LS_RUN_HANGS && !r)
        printf("All wait, and no rank alone holds them up; `--events 20` shows how they came there.\n");
    if (view->state == LS_RUN_HANGS && r && rank->state == LS_RANK_HELD)
        printf("rank %d holds the others up: its process %d on %s was stopped by a signal or a debugger; there, `kill -CONT %d` lets it go on.\n",
               view->culprit, r->pid, r->host, r->pid);
    else if (view->state == LS_RUN_HANGS && r && rank->state == LS_RANK_SILENT)
        printf("rank %d holds the others up: process %d on %s has not run for %s (swapping, a frozen container, or a dead node).\n",
               view->culprit, r->pid, r->host, duration(view->hangs_for, time));
    else if (view->state == LS_RUN_HANGS && r)
        printf("rank %d holds the others up: process %d on %s has been in '%s' of step %lld for %s. `gdb -p %d` there shows where.\n",
               view->culprit, r->pid, r->host, where(rank, place), (long long)r->step, duration(rank->since, time), r->pid);
    if (view->state == LS_RUN_IS_DYING && r)
        printf("rank %d died in '%s' of step %lld (process %d on %s; killed, or out of memory: see `dmesg` there).\n", view->culprit,
               where(rank, place), (long long)r->step, r->pid, r->host);
    if (view->state == LS_RUN_IS_DEAD)
        printf("No rank came to its end: they were killed, or their machine went down. The same `lockstep train` goes on from the last checkpoint.\n");
}

static void print_checkpoint(const ls_run_view *view, const char *run)
{
    ls_checkpoint_info info;
    if (ls_checkpoint_about(run, &info) == LS_OK)
        printf("last checkpoint: step %lld, %lld steps behind\n", (long long)info.step,
               (long long)(view->step > info.step ? view->step - info.step : 0));
    else
        printf("last checkpoint: none that can be read\n");
}

static void print_events(const ls_run_view *view, int events)
{
    static const char *const lanes[] = {"", "exchange: "};
    char clock[32];
    for (int rank = 0; rank < view->ranks; rank++) {
        const ls_flight_record *r = view->rank[rank].record;
        for (int e = r && r->events > events ? r->events - events : 0; r && e < r->events; e++)
            printf("%srank %d  %s  step %lld  %s%s\n", e == 0 || e == r->events - events ? "\n" : "", rank,
                   time_of_day(ls_flight_clock(r, r->event[e].time), clock), (long long)r->event[e].step, lanes[r->event[e].lane],
                   r->event[e].name);
    }
}

static int run(int argc, char **argv)
{
    arguments given = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    ls_run_view view;
    const ls_status status = ls_run_view_read(&view, given.run);
    if (status != LS_OK)
        return ls_command_failed("status", status);
    print_headline(&view, given.run);
    printf("%4s  %-12s %8s  %-13s %7s  %-40s %s\n", "rank", "host", "process", "state", "step", "where", "since           waits for");
    for (int rank = 0; rank < view.ranks; rank++)
        print_rank(&view, rank);
    printf("\n");
    print_checkpoint(&view, given.run);
    print_failure(&view);
    print_advice(&view);
    if (given.events)
        print_events(&view, given.events);
    ls_run_view_free(&view);
    return 0;
}

const ls_command ls_command_status = {"status", "say where each rank of a run is, and who waits for whom", run};
