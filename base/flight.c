/* See flight.h. */
#include "base/flight.h"

#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Ten beats a second; a process without one for so long does not run. */
#define SILENT_SECONDS 3.0

static const char magic[8] = "lsflight";

typedef struct {
    char magic[8];
    uint32_t schema, bytes;
    int32_t rank, ranks, pid, unused;
    uint64_t pid_started, pid_space;
    int64_t opened_monotonic, opened_real;
    char host[64], boot[40];
    uint64_t hash; /* of all before it */
} head;

typedef struct {
    _Atomic uint32_t begun;
    _Atomic uint32_t ended;
    int64_t since;
    _Atomic int64_t bucket;
    char phase[LS_FLIGHT_NAME];
} place;

typedef struct {
    _Atomic int64_t step;
    int64_t steps;
    _Atomic int64_t saved, beat;
    _Atomic int32_t awaits, state;
    _Atomic int64_t awaits_since, waits_since;
    _Atomic uint64_t events;
    place place[LS_FLIGHT_LANES];
    char sentence[LS_FLIGHT_SENTENCE];
} living;

typedef struct {
    int64_t time, step;
    int32_t bucket;
    uint32_t lane;
    char name[LS_FLIGHT_NAME];
    _Atomic uint64_t number; /* from 1, written last; 0: being written */
} event;

typedef union {
    struct {
        head head;
        char pad_head[512 - sizeof(head)];
        living living;
        char pad_living[4096 - 512 - sizeof(living)];
        event event[LS_FLIGHT_EVENTS];
    };
    char bytes[LS_FLIGHT_BYTES];
} file;
_Static_assert(sizeof(event) == 64 && sizeof(file) == LS_FLIGHT_BYTES, "the format is fixed");

struct ls_flight {
    file *file;
    char folder[4000];
};

/* ---- who and when ---- */

static int64_t clock_of(clockid_t which)
{
    struct timespec now;
    clock_gettime(which, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void read_boot(char boot[40])
{
    memset(boot, 0, 40);
    const int in = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return;
    if (read(in, boot, 36) != 36)
        boot[0] = '\0';
    close(in);
}

static uint64_t own_pid_space(void)
{
    struct stat space;
    return stat("/proc/self/ns/pid", &space) == 0 ? (uint64_t)space.st_ino : 0;
}

/* The state letter and start time of a process: fields 3 and 22 of /proc/PID/stat, behind a name that may hold anything.
 * False: it is not there. */
static bool process_of(int pid, char *letter, uint64_t *started)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    const int in = open(path, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return false;
    const ssize_t got = read(in, text, sizeof text - 1);
    close(in);
    text[got > 0 ? got : 0] = '\0';
    char *at = strrchr(text, ')');
    unsigned long long start = 0;
    if (!at || sscanf(at + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", letter, &start) != 2)
        return false;
    *started = start;
    return true;
}

bool ls_flight_is_stopped(int pid)
{
    char letter = 'X';
    uint64_t started;
    return process_of(pid, &letter, &started) && (letter == 'T' || letter == 't');
}

/* ---- writing ---- */

static void fill_head(head *h, int rank, int ranks)
{
    char letter;
    memcpy(h->magic, magic, sizeof h->magic);
    h->schema = LS_FLIGHT_SCHEMA;
    h->bytes = LS_FLIGHT_BYTES;
    h->rank = rank;
    h->ranks = ranks;
    h->pid = getpid();
    h->pid_space = own_pid_space();
    process_of(h->pid, &letter, &h->pid_started);
    h->opened_monotonic = clock_of(CLOCK_MONOTONIC);
    h->opened_real = clock_of(CLOCK_REALTIME);
    if (gethostname(h->host, sizeof h->host - 1))
        h->host[0] = '\0';
    read_boot(h->boot);
    h->hash = ls_hash_bytes(h, offsetof(head, hash), LS_HASH_SEED);
}

/* Room is taken before the file is mapped: a store to a page that a full disk cannot hold would end the process. */
static ls_status map_file(const char *path, file **mapped)
{
    const int out = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (out < 0)
        return ls_fail(LS_EIO, "%s: cannot make the flight record (%s)", path, strerror(errno));
    const int error = posix_fallocate(out, 0, LS_FLIGHT_BYTES);
    void *memory = error ? MAP_FAILED : mmap(NULL, LS_FLIGHT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, out, 0);
    const int why = error ? error : errno;
    close(out);
    if (memory != MAP_FAILED) {
        *mapped = memory;
        return LS_OK;
    }
    unlink(path);
    return ls_fail(why == ENOSPC ? LS_ESPACE : LS_EIO, "%s: cannot make the flight record (%s)", path, strerror(why));
}

ls_status ls_flight_open(ls_flight **out, const char *folder, int rank, int ranks, int64_t steps)
{
    char path[4096];
    *out = NULL;
    if (strlen(folder) >= sizeof((ls_flight *)0)->folder)
        return ls_fail(LS_EIO, "%.64s...: the path is too long for a flight record", folder);
    ls_flight *flight = calloc(1, sizeof *flight);
    if (!flight)
        return ls_fail(LS_EMEM, "no memory for a flight record");
    snprintf(flight->folder, sizeof flight->folder, "%s", folder);
    snprintf(path, sizeof path, "%s/rank-%04d", folder, rank);
    const ls_status status = map_file(path, &flight->file);
    if (status != LS_OK) {
        free(flight);
        return status;
    }
    living *now = &flight->file->living;
    now->steps = steps;
    now->saved = -1;
    now->awaits = -1;
    now->beat = clock_of(CLOCK_MONOTONIC);
    fill_head(&flight->file->head, rank, ranks);
    ls_flight_phase(flight, LS_FLIGHT_MAIN, "start");
    *out = flight;
    return LS_OK;
}

void ls_flight_end(ls_flight *flight, ls_flight_state state, const char *sentence)
{
    if (!flight)
        return;
    snprintf(flight->file->living.sentence, LS_FLIGHT_SENTENCE, "%s", sentence ? sentence : "");
    atomic_store(&flight->file->living.state, (int32_t)state);
}

void ls_flight_close(ls_flight *flight)
{
    if (!flight)
        return;
    munmap(flight->file, LS_FLIGHT_BYTES);
    free(flight);
}

static void copy_name(char to[LS_FLIGHT_NAME], const char *from)
{
    const size_t length = strnlen(from, LS_FLIGHT_NAME - 1);
    memcpy(to, from, length);
    memset(to + length, 0, LS_FLIGHT_NAME - length);
}

void ls_flight_step(ls_flight *flight, int64_t step)
{
    if (flight)
        atomic_store_explicit(&flight->file->living.step, step, memory_order_relaxed);
}

static void add_event(file *f, ls_flight_lane lane, const char *name, int64_t time)
{
    const uint64_t number = atomic_fetch_add_explicit(&f->living.events, 1, memory_order_relaxed);
    event *e = &f->event[number % LS_FLIGHT_EVENTS];
    atomic_store_explicit(&e->number, 0, memory_order_release);
    e->time = time;
    e->step = atomic_load_explicit(&f->living.step, memory_order_relaxed);
    e->lane = (uint32_t)lane;
    e->bucket = 0;
    copy_name(e->name, name);
    atomic_store_explicit(&e->number, number + 1, memory_order_release);
}

void ls_flight_phase(ls_flight *flight, ls_flight_lane lane, const char *phase)
{
    if (!flight)
        return;
    const int64_t now = clock_of(CLOCK_MONOTONIC);
    place *p = &flight->file->living.place[lane];
    const uint32_t turn = atomic_load_explicit(&p->begun, memory_order_relaxed) + 1;
    atomic_store_explicit(&p->begun, turn, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    p->since = now;
    atomic_store_explicit(&p->bucket, 0, memory_order_relaxed);
    copy_name(p->phase, phase);
    atomic_store_explicit(&p->ended, turn, memory_order_release);
    if (phase[0])
        add_event(flight->file, lane, phase, now);
}

void ls_flight_bucket(ls_flight *flight, ls_flight_lane lane, int64_t bucket)
{
    if (flight)
        atomic_store_explicit(&flight->file->living.place[lane].bucket, bucket, memory_order_relaxed);
}

void ls_flight_waits(ls_flight *flight, bool waits)
{
    if (flight)
        atomic_store_explicit(&flight->file->living.waits_since, waits ? clock_of(CLOCK_MONOTONIC) : 0, memory_order_relaxed);
}

void ls_flight_awaits(ls_flight *flight, int rank, double since)
{
    if (!flight)
        return;
    atomic_store_explicit(&flight->file->living.awaits_since, (int64_t)(since * 1e9), memory_order_relaxed);
    atomic_store_explicit(&flight->file->living.awaits, (int32_t)rank, memory_order_relaxed);
}

void ls_flight_saved(ls_flight *flight, int64_t step)
{
    if (flight)
        atomic_store_explicit(&flight->file->living.saved, step, memory_order_relaxed);
}

void ls_flight_beat(ls_flight *flight)
{
    if (flight)
        atomic_store_explicit(&flight->file->living.beat, clock_of(CLOCK_MONOTONIC), memory_order_relaxed);
}

/* ---- reading ---- */

/* A text from outside: it ends, and a terminal survives it. */
static void take_text(char *to, const char *from, size_t room)
{
    size_t length = strnlen(from, room - 1);
    for (size_t i = 0; i < length; i++)
        to[i] = (unsigned char)from[i] >= ' ' && from[i] != 127 ? from[i] : '?';
    memset(to + length, 0, room - length);
}

static ls_status check_head(const char *name, const head *h, size_t size)
{
    if (size < sizeof *h || memcmp(h->magic, magic, sizeof h->magic) != 0)
        return ls_fail(LS_EFORMAT, "%s: no flight record", name);
    if (h->schema > LS_FLIGHT_SCHEMA)
        return ls_fail(LS_EVERSION, "%s: a flight record of schema %u, this lockstep reads up to %d; use the newer one", name, h->schema,
                       LS_FLIGHT_SCHEMA);
    if (h->hash != ls_hash_bytes(h, offsetof(head, hash), LS_HASH_SEED))
        return ls_fail(LS_ECORRUPT, "%s: the head of the flight record is damaged", name);
    if (size != LS_FLIGHT_BYTES || h->bytes != LS_FLIGHT_BYTES)
        return ls_fail(LS_ECORRUPT, "%s: the flight record has %zu bytes, not %d; it was cut", name, size, LS_FLIGHT_BYTES);
    if (h->ranks < 1 || h->rank < 0 || h->rank >= h->ranks || h->pid < 1)
        return ls_fail(LS_ECORRUPT, "%s: the flight record is of rank %d of %d, process %d: there is none", name, h->rank, h->ranks, h->pid);
    return LS_OK;
}

static int64_t at_least_0(int64_t value)
{
    return value > 0 ? value : 0;
}

/* The ring from its oldest event on; what is half written, or from elsewhere, is left out. */
static void take_events(ls_flight_record *record, const file *f)
{
    const uint64_t count = f->living.events, first = count > LS_FLIGHT_EVENTS ? count - LS_FLIGHT_EVENTS : 0;
    record->events = 0;
    for (uint64_t n = first, left = count - first; left > 0; n++, left--) {
        const event *e = &f->event[n % LS_FLIGHT_EVENTS];
        if (e->number != n + 1 || e->lane >= LS_FLIGHT_LANES)
            continue;
        ls_flight_event *to = &record->event[record->events++];
        *to = (ls_flight_event){.time = at_least_0(e->time), .step = at_least_0(e->step), .bucket = at_least_0(e->bucket),
                                .lane = (ls_flight_lane)e->lane};
        take_text(to->name, e->name, sizeof to->name);
    }
}

static void take_living(ls_flight_record *record, const living *now)
{
    record->step = at_least_0(now->step);
    record->steps = at_least_0(now->steps);
    record->saved = now->saved < 0 ? -1 : now->saved;
    record->beat = at_least_0(now->beat);
    record->state = now->state >= LS_FLIGHT_RUNNING && now->state <= LS_FLIGHT_FAILED ? (ls_flight_state)now->state : LS_FLIGHT_RUNNING;
    record->awaits = now->awaits >= 0 && now->awaits < record->ranks ? now->awaits : -1;
    record->awaits_since = at_least_0(now->awaits_since);
    record->waits_since = at_least_0(now->waits_since);
    for (int lane = 0; lane < LS_FLIGHT_LANES; lane++) {
        record->place[lane].since = at_least_0(now->place[lane].since);
        record->place[lane].bucket = at_least_0(now->place[lane].bucket);
        take_text(record->place[lane].phase, now->place[lane].phase, LS_FLIGHT_NAME);
    }
    take_text(record->sentence, now->sentence, LS_FLIGHT_SENTENCE);
}

ls_status ls_flight_parse(const char *name, const void *bytes, size_t size, ls_flight_record *record)
{
    memset(record, 0, sizeof *record);
    _Alignas(64) char copy[LS_FLIGHT_BYTES] = {0};
    memcpy(copy, bytes, size < sizeof copy ? size : sizeof copy);
    const file *f = (const file *)(const void *)copy;
    const ls_status status = check_head(name, &f->head, size);
    if (status != LS_OK)
        return status;
    const head *h = &f->head;
    record->rank = h->rank;
    record->ranks = h->ranks;
    record->pid = h->pid;
    record->pid_started = h->pid_started;
    record->pid_space = h->pid_space;
    record->opened_monotonic = h->opened_monotonic;
    record->opened_real = h->opened_real;
    take_text(record->host, h->host, sizeof record->host);
    take_text(record->boot, h->boot, sizeof record->boot);
    take_living(record, &f->living);
    take_events(record, f);
    return LS_OK;
}

/* Whether a place was being written while the bytes were read. */
static bool is_torn(const char *bytes)
{
    const living *now = &((const file *)(const void *)bytes)->living;
    for (int lane = 0; lane < LS_FLIGHT_LANES; lane++)
        if (now->place[lane].begun != now->place[lane].ended)
            return true;
    return false;
}

static ls_status read_bytes(const char *path, char *bytes, size_t *size)
{
    const int in = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat about;
    if (in < 0)
        return ls_fail(errno == ENOENT ? LS_ENOTFOUND : LS_EIO, "%s: %s", path, strerror(errno));
    ls_status status = LS_OK;
    ssize_t got = 0;
    if (fstat(in, &about) != 0 || !S_ISREG(about.st_mode))
        status = ls_fail(LS_EFORMAT, "%s: no flight record", path);
    else if ((got = pread(in, bytes, LS_FLIGHT_BYTES, 0)) < 0)
        status = ls_fail(LS_EIO, "%s: %s", path, strerror(errno));
    else if (about.st_size > LS_FLIGHT_BYTES)
        *size = (size_t)about.st_size;
    else
        *size = (size_t)got;
    close(in);
    return status;
}

ls_status ls_flight_read(const char *path, ls_flight_record *record)
{
    _Alignas(64) char bytes[LS_FLIGHT_BYTES];
    size_t size = 0;
    ls_status status = LS_OK;
    memset(record, 0, sizeof *record);
    for (int look = 0; look < 5; look++) {
        memset(bytes, 0, sizeof bytes);
        status = read_bytes(path, bytes, &size);
        if (status != LS_OK || !is_torn(bytes))
            break;
        usleep(1000);
    }
    return status == LS_OK ? ls_flight_parse(path, bytes, size, record) : status;
}

ls_status ls_flight_look(const ls_flight *flight, ls_flight_record *record)
{
    memset(record, 0, sizeof *record);
    return flight ? ls_flight_parse("this process", flight->file, LS_FLIGHT_BYTES, record)
                  : ls_fail(LS_ENOTFOUND, "this process keeps no flight record");
}

ls_status ls_flight_read_rank(const ls_flight *flight, int rank, ls_flight_record *record)
{
    char path[4096];
    memset(record, 0, sizeof *record);
    if (!flight)
        return ls_fail(LS_ENOTFOUND, "this run keeps no flight records");
    snprintf(path, sizeof path, "%s/rank-%04d", flight->folder, rank);
    return ls_flight_read(path, record);
}

const char *ls_flight_say(const ls_flight_record *record, char *text, size_t room)
{
    const ls_flight_place *here = &record->place[LS_FLIGHT_MAIN];
    int used = snprintf(text, room, "in '%s' of step %lld", here->phase, (long long)record->step);
    if (here->bucket > 0 && used < (int)room)
        used += snprintf(text + used, room - (size_t)used, ", bucket %lld", (long long)here->bucket);
    if (used < (int)room)
        snprintf(text + used, room - (size_t)used, ", for %.3g s", ls_flight_age(record, here->since));
    return text;
}

static bool same_boot(const ls_flight_record *record)
{
    char boot[40];
    read_boot(boot);
    return boot[0] && !strcmp(boot, record->boot);
}

/* Now, on the clock of the record's machine. */
static int64_t now_there(const ls_flight_record *record)
{
    if (same_boot(record))
        return clock_of(CLOCK_MONOTONIC);
    return (int64_t)((uint64_t)clock_of(CLOCK_REALTIME) - (uint64_t)record->opened_real + (uint64_t)record->opened_monotonic);
}

double ls_flight_age(const ls_flight_record *record, int64_t time)
{
    const double age = 1e-9 * ((double)now_there(record) - (double)time);
    return age > 0 ? age : 0;
}

int64_t ls_flight_clock(const ls_flight_record *record, int64_t time)
{
    return (int64_t)((uint64_t)time - (uint64_t)record->opened_monotonic + (uint64_t)record->opened_real) / 1000000000;
}

ls_flight_life ls_flight_alive(const ls_flight_record *record)
{
    char host[64] = "", letter = 'X';
    uint64_t started = 0;
    const bool silent = ls_flight_age(record, record->beat) > SILENT_SECONDS;
    if (gethostname(host, sizeof host - 1) || strcmp(host, record->host) || own_pid_space() != record->pid_space)
        return silent ? LS_FLIGHT_SILENT : LS_FLIGHT_ALIVE;
    if (!same_boot(record) || !process_of(record->pid, &letter, &started) || started != record->pid_started || letter == 'Z' || letter == 'X')
        return LS_FLIGHT_DEAD;
    return letter == 'T' || letter == 't' ? LS_FLIGHT_HELD : silent ? LS_FLIGHT_SILENT : LS_FLIGHT_ALIVE;
}
