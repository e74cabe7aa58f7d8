/* Any bytes as a flight record: refused with a sentence that names it, or everything that comes back is within bounds,
 * whatever stands in the file. The same of a good record in which the bytes say what to change: each 4 of them an offset
 * (16 bits), a value, and whether the head is hashed anew, as one who means harm would. Built into
 * tests/base/test_flight.c, and by the preset `fuzz` with clang's libFuzzer. */
#include "base/flight.h"
#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_text(const char *text, size_t room)
{
    require(memchr(text, '\0', room) != NULL);
    for (; *text; text++)
        require((unsigned char)*text >= ' ' && *text != 127);
}

static void check(ls_status status, const ls_flight_record *r)
{
    if (status != LS_OK) {
        require((status == LS_EFORMAT || status == LS_EVERSION || status == LS_ECORRUPT) && strstr(ls_fail_sentence(), "fuzz-record"));
        return;
    }
    require(r->ranks > 0 && r->rank >= 0 && r->rank < r->ranks && r->pid > 0 && r->awaits >= -1 && r->awaits < r->ranks);
    require(r->step >= 0 && r->steps >= 0 && r->saved >= -1 && r->state <= LS_FLIGHT_FAILED);
    require(r->events >= 0 && r->events <= LS_FLIGHT_EVENTS);
    check_text(r->host, sizeof r->host);
    check_text(r->boot, sizeof r->boot);
    check_text(r->sentence, sizeof r->sentence);
    for (int lane = 0; lane < LS_FLIGHT_LANES; lane++)
        check_text(r->place[lane].phase, LS_FLIGHT_NAME);
    for (int e = 0; e < r->events; e++) {
        require(r->event[e].lane < LS_FLIGHT_LANES && r->event[e].time >= 0 && r->event[e].step >= 0 && r->event[e].bucket >= 0);
        check_text(r->event[e].name, LS_FLIGHT_NAME);
    }
    ls_flight_alive(r);
    require(ls_flight_age(r, r->beat) >= 0);
    ls_flight_clock(r, r->beat);
}

/* A record with some of everything in it. */
static const char *good_record(void)
{
    static char bytes[LS_FLIGHT_BYTES];
    char folder[] = "/tmp/lockstep-fuzz-flight-XXXXXX", path[64];
    ls_flight *flight;
    if (bytes[0])
        return bytes;
    require(mkdtemp(folder) && ls_flight_open(&flight, folder, 2, 4, 100) == LS_OK);
    for (int step = 1; step < 60; step++) {
        ls_flight_step(flight, step);
        ls_flight_phase(flight, LS_FLIGHT_MAIN, "forward");
        ls_flight_bucket(flight, LS_FLIGHT_MAIN, step);
        for (int job = 0; job < 4; job++)
            ls_flight_phase(flight, LS_FLIGHT_COMMUNICATION, "gradient exchange");
        ls_flight_awaits(flight, step % 4, 1.5);
        ls_flight_beat(flight);
    }
    ls_flight_end(flight, LS_FLIGHT_FAILED, "the reactor is too hot");
    ls_flight_close(flight);
    snprintf(path, sizeof path, "%s/rank-0002", folder);
    FILE *in = fopen(path, "rb");
    require(in && fread(bytes, 1, sizeof bytes, in) == sizeof bytes);
    fclose(in);
    unlink(path);
    rmdir(folder);
    return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { HASH_AT = 168 }; /* the head's last 8 bytes */
    static ls_flight_record record;
    char bytes[LS_FLIGHT_BYTES];
    bool rehash = false;
    check(ls_flight_parse("fuzz-record", data, size, &record), &record);
    memcpy(bytes, good_record(), sizeof bytes);
    for (size_t at = 0; at + 4 <= size; at += 4) {
        bytes[(size_t)(data[at] << 8 | data[at + 1]) % sizeof bytes] = (char)data[at + 2];
        rehash = rehash || data[at + 3] & 1;
    }
    const uint64_t hash = ls_hash_bytes(bytes, HASH_AT, LS_HASH_SEED);
    if (size == 0)
        require(memcmp(bytes + HASH_AT, &hash, sizeof hash) == 0); /* the place is right */
    if (rehash)
        memcpy(bytes + HASH_AT, &hash, sizeof hash);
    check(ls_flight_parse("fuzz-record", bytes, sizeof bytes, &record), &record);
    return 0;
}
