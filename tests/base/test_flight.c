/* Flight records: what is written is what is read, also by somebody else after the writer was killed; and whatever
 * stands in a file, the reader says so and stays within bounds. */
#include "base/flight.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/lockstep-test-flight-XXXXXX", path[64];
static ls_flight_record record;

static void begin(void)
{
    strcpy(folder, "/tmp/lockstep-test-flight-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/rank-0001", folder);
}

static void end(void)
{
    unlink(path);
    cr_assert_eq(rmdir(folder), 0);
}

TestSuite(flight, .init = begin, .fini = end);

static ls_flight *open_record(void)
{
    ls_flight *flight;
    cr_assert_eq(ls_flight_open(&flight, folder, 1, 3, 40), LS_OK, "%s", ls_fail_sentence());
    return flight;
}

static void read_record(void)
{
    cr_assert_eq(ls_flight_read(path, &record), LS_OK, "%s", ls_fail_sentence());
}

Test(flight, a_record_says_where_its_process_is)
{
    ls_flight *flight = open_record();
    struct timespec now;
    ls_flight_step(flight, 7);
    ls_flight_phase(flight, LS_FLIGHT_MAIN, "reduce");
    ls_flight_phase(flight, LS_FLIGHT_COMMUNICATION, "a phase with a name that is longer than there is room for");
    ls_flight_bucket(flight, LS_FLIGHT_COMMUNICATION, 5);
    ls_flight_waits(flight, true);
    clock_gettime(CLOCK_MONOTONIC, &now);
    ls_flight_awaits(flight, 2, (double)now.tv_sec - 100);
    ls_flight_saved(flight, 4);
    read_record();
    cr_assert_eq(record.rank, 1);
    cr_assert_eq(record.ranks, 3);
    cr_assert_eq(record.pid, getpid());
    cr_assert_eq(record.step, 7);
    cr_assert_eq(record.steps, 40);
    cr_assert_eq(record.saved, 4);
    cr_assert_eq(record.awaits, 2);
    cr_assert_eq(record.state, LS_FLIGHT_RUNNING);
    cr_assert_str_eq(record.place[LS_FLIGHT_MAIN].phase, "reduce");
    cr_assert_str_eq(record.place[LS_FLIGHT_COMMUNICATION].phase, "a phase with a name that is lon");
    cr_assert_eq(record.place[LS_FLIGHT_COMMUNICATION].bucket, 5);
    cr_assert_gt(record.waits_since, 0);
    cr_assert(ls_flight_age(&record, record.awaits_since) > 99 && ls_flight_age(&record, record.awaits_since) < 200);
    const int64_t clock = ls_flight_clock(&record, record.waits_since);
    cr_assert(clock > time(NULL) - 60 && clock < time(NULL) + 2, "the time of day");
    cr_assert_eq(ls_flight_alive(&record), LS_FLIGHT_ALIVE);
    ls_flight_end(flight, LS_FLIGHT_FAILED, "the bits\nare tired");
    ls_flight_close(flight);
    read_record();
    cr_assert_eq(record.state, LS_FLIGHT_FAILED);
    cr_assert_str_eq(record.sentence, "the bits?are tired");
}

Test(flight, the_last_256_events_are_kept_in_their_order)
{
    ls_flight *flight = open_record();
    char name[32];
    for (int i = 0; i < 1000; i++) {
        ls_flight_step(flight, i);
        snprintf(name, sizeof name, "event %d", i);
        ls_flight_phase(flight, i % 3 ? LS_FLIGHT_MAIN : LS_FLIGHT_COMMUNICATION, name);
    }
    ls_flight_close(flight);
    read_record();
    cr_assert_eq(record.events, 256);
    for (int e = 0; e < 256; e++) {
        snprintf(name, sizeof name, "event %d", 744 + e);
        cr_assert_str_eq(record.event[e].name, name);
        cr_assert_eq(record.event[e].step, 744 + e);
        cr_assert_eq(record.event[e].lane, (744 + e) % 3 ? LS_FLIGHT_MAIN : LS_FLIGHT_COMMUNICATION);
    }
}

/* In another process: it writes, and waits to be stopped and killed. */
Test(flight, a_record_outlives_its_process)
{
    int news[2];
    char word;
    cr_assert_eq(pipe(news), 0);
    const pid_t child = fork();
    if (child == 0) {
        ls_flight *flight;
        if (ls_flight_open(&flight, folder, 1, 3, 40) != LS_OK)
            _exit(1);
        ls_flight_step(flight, 12);
        ls_flight_phase(flight, LS_FLIGHT_MAIN, "backward");
        (void)!write(news[1], "x", 1);
        pause();
        _exit(0);
    }
    cr_assert_eq(read(news[0], &word, 1), 1);
    kill(child, SIGSTOP);
    waitpid(child, NULL, WUNTRACED);
    read_record();
    cr_expect_eq(ls_flight_alive(&record), LS_FLIGHT_HELD);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    read_record();
    cr_expect_eq(record.step, 12);
    cr_expect_str_eq(record.place[LS_FLIGHT_MAIN].phase, "backward");
    cr_expect_eq(ls_flight_alive(&record), LS_FLIGHT_DEAD);
}

Test(flight, a_process_of_the_same_number_is_not_taken_for_it)
{
    ls_flight_close(open_record());
    read_record();
    cr_assert_eq(ls_flight_alive(&record), LS_FLIGHT_ALIVE);
    record.pid_started++;
    cr_assert_eq(ls_flight_alive(&record), LS_FLIGHT_DEAD);
    record.pid_started--;
    strcpy(record.boot, "another start of this machine");
    cr_assert_eq(ls_flight_alive(&record), LS_FLIGHT_DEAD);
    strcpy(record.host, "elsewhere");
    cr_assert_eq(ls_flight_alive(&record), LS_FLIGHT_ALIVE, "its heart beat a moment ago");
    record.beat -= 60000000000;
    cr_assert_eq(ls_flight_alive(&record), LS_FLIGHT_SILENT);
}

static void expect_refused(ls_status code, const char *word)
{
    cr_expect_eq(ls_flight_read(path, &record), code, "%s", ls_fail_sentence());
    cr_expect(strstr(ls_fail_sentence(), path) && strstr(ls_fail_sentence(), word), "%s", ls_fail_sentence());
}

static void write_at(off_t at, const char *bytes, size_t size)
{
    const int out = open(path, O_WRONLY | O_CREAT, 0666);
    cr_assert_eq(pwrite(out, bytes, size, at), (ssize_t)size);
    close(out);
}

Test(flight, what_is_no_whole_record_is_named)
{
    expect_refused(LS_ENOTFOUND, "No such file");
    write_at(0, "hello", 5);
    expect_refused(LS_EFORMAT, "no flight record");
    ls_flight_close(open_record());
    cr_assert_eq(truncate(path, LS_FLIGHT_BYTES - 1), 0);
    expect_refused(LS_ECORRUPT, "cut");
    cr_assert_eq(truncate(path, LS_FLIGHT_BYTES + 1), 0);
    expect_refused(LS_ECORRUPT, "cut");
    cr_assert_eq(truncate(path, 100), 0);
    expect_refused(LS_EFORMAT, "no flight record");
    ls_flight_close(open_record());
    write_at(20, "\x7f", 1); /* of how many ranks it is */
    expect_refused(LS_ECORRUPT, "damaged");
    write_at(8, "\x09", 1);
    expect_refused(LS_EVERSION, "schema 9");
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(mkfifo(path, 0600), 0); /* must not wait for a writer */
    expect_refused(LS_EFORMAT, "no flight record");
}

Test(flight, any_damage_stays_within_bounds)
{
    uint8_t edits[4 * 16] = {0};
    uint64_t state = 88172645463325252u;
    LLVMFuzzerTestOneInput(edits, 0);
    for (int turn = 0; turn < 20000; turn++) {
        const size_t size = 4 * (size_t)(1 + turn % 16);
        for (size_t i = 0; i < size; i++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            edits[i] = (uint8_t)(state >> 32);
            if (i % 4 == 0) /* half of them in the head and the living page, where the fields are */
                edits[i] = state & 1 ? edits[i] % 8 : edits[i] % 80;
        }
        LLVMFuzzerTestOneInput(edits, size);
    }
}
