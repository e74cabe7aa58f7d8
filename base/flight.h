/* Flight record: where a process of a run was, kept in a small mapped file that outlives it (SIGKILL included).
 *
 * Writing is a handful of plain stores into a page: no system call, no allocation, no lock. The kernel writes the page
 * back when it likes; it is there for whoever opens the file, from the moment of the store, until the machine itself
 * goes down. RUN/flight/rank-0003, little-endian, of fixed size (LS_FLIGHT_BYTES):
 *
 *     0     who: magic, schema, rank of ranks, host, process, when it was opened; hashed (XXH3), written once
 *     512   now: step, last checkpoint, heartbeat, whom it waits for, a place for each lane, how it ended
 *     4096  the last 256 events, 64 bytes each; event n lies at n % 256 and ends with its own number, written last
 *
 * A lane belongs to one thread. A place is two counters around its text: a reader that finds them unequal has caught it
 * half written, and looks again. Times are nanoseconds of CLOCK_MONOTONIC, which no clock step disturbs; the head has
 * both clocks of one moment, so that a reader on another machine can turn them into the time of day.
 *
 * The reader trusts nothing: files may be cut, damaged, of another version, or no flight record at all. */
#pragma once
#include "base/error.h"
#include "base/type.h"

enum {
    LS_FLIGHT_SCHEMA = 1,
    LS_FLIGHT_EVENTS = 256,
    LS_FLIGHT_BYTES = 4096 + LS_FLIGHT_EVENTS * 64,
    LS_FLIGHT_NAME = 32, /* a longer one is cut */
    LS_FLIGHT_SENTENCE = 512,
};

typedef enum { LS_FLIGHT_MAIN, LS_FLIGHT_COMMUNICATION, LS_FLIGHT_LANES } ls_flight_lane;
typedef enum { LS_FLIGHT_RUNNING, LS_FLIGHT_FINISHED, LS_FLIGHT_STOPPED, LS_FLIGHT_FAILED } ls_flight_state;

/* ---- writing; all but the first take NULL and do nothing ---- */

typedef struct ls_flight ls_flight;

/* FOLDER/rank-0003, made anew with its room taken. LS_EIO, LS_ESPACE: a run can do without. */
ls_status ls_flight_open(ls_flight **flight, const char *folder, int rank, int ranks, int64_t steps);
/* How it ended; `sentence` may be NULL. The last thing that is written. */
void ls_flight_end(ls_flight *flight, ls_flight_state state, const char *sentence);
void ls_flight_close(ls_flight *flight);
/* From now on it works on `step`, counted from 1. */
void ls_flight_step(ls_flight *flight, int64_t step);
/* The lane's thread begins `phase`; "" is idle. Becomes an event. */
void ls_flight_phase(ls_flight *flight, ls_flight_lane lane, const char *phase);
/* The bucket or piece it is at in that phase, from 1; 0: none. */
void ls_flight_bucket(ls_flight *flight, ls_flight_lane lane, int64_t bucket);
/* The main thread waits for the communication thread, or does not any more. */
void ls_flight_waits(ls_flight *flight, bool waits);
/* The communication thread waits for `rank` (-1: for nobody) since that moment of CLOCK_MONOTONIC, in seconds. */
void ls_flight_awaits(ls_flight *flight, int rank, double since);
void ls_flight_saved(ls_flight *flight, int64_t step); /* of the newest checkpoint */
void ls_flight_beat(ls_flight *flight);                /* the process runs */

/* ---- reading ---- */

typedef struct {
    char phase[LS_FLIGHT_NAME];
    int64_t since, bucket;
} ls_flight_place;

typedef struct {
    int64_t time, step, bucket;
    ls_flight_lane lane;
    char name[LS_FLIGHT_NAME];
} ls_flight_event;

typedef struct {
    int rank, ranks, pid;
    uint64_t pid_started, pid_space; /* /proc/PID/stat's start time; the name space in which the number means something */
    char host[64], boot[40];         /* boot: the kernel's boot_id */
    int64_t opened_monotonic, opened_real;
    int64_t step, steps, saved, beat;
    ls_flight_state state;
    int awaits;           /* -1: nobody */
    int64_t awaits_since, waits_since; /* 0: the main thread does not wait */
    ls_flight_place place[LS_FLIGHT_LANES];
    char sentence[LS_FLIGHT_SENTENCE];
    int events;
    ls_flight_event event[LS_FLIGHT_EVENTS]; /* oldest first */
} ls_flight_record;

/* LS_ENOTFOUND, LS_EIO; LS_EFORMAT: no flight record; LS_EVERSION: of a newer lockstep; LS_ECORRUPT: cut or damaged.
 * What comes back is within bounds: texts end and can be printed, ranks exist, lanes are lanes. */
ls_status ls_flight_read(const char *path, ls_flight_record *record);
/* Of the own process. LS_ENOTFOUND: `flight` is NULL. */
ls_status ls_flight_look(const ls_flight *flight, ls_flight_record *record);
/* The record of another rank of the same run, beside the own one. */
ls_status ls_flight_read_rank(const ls_flight *flight, int rank, ls_flight_record *record);
/* "in 'backward' of step 12, bucket 3, for 297 s": the main thread's place. */
const char *ls_flight_say(const ls_flight_record *record, char *text, size_t room);
/* The same of bytes; `name` is for the sentence. */
ls_status ls_flight_parse(const char *name, const void *bytes, size_t size, ls_flight_record *record);

typedef enum { LS_FLIGHT_ALIVE, LS_FLIGHT_HELD, LS_FLIGHT_SILENT, LS_FLIGHT_DEAD } ls_flight_life;
/* Is its process there? HELD: stopped by a signal or a debugger. SILENT: its heart has not beaten for some seconds: it
 * is held up (swapping, a frozen container), or, on another machine, perhaps dead. */
ls_flight_life ls_flight_alive(const ls_flight_record *record);
/* Whether that process of this machine was stopped by a signal or a debugger. */
bool ls_flight_is_stopped(int pid);
/* Seconds from `time` until now, on the record's clock; at least 0. */
double ls_flight_age(const ls_flight_record *record, int64_t time);
/* Seconds since 1970 of a time in the record. */
int64_t ls_flight_clock(const ls_flight_record *record, int64_t time);
