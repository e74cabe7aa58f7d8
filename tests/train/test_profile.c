/* profile: {steps: ...}: the trace is what a viewer expects, the table says the same as the trace, and no bit changes. */
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANKS = 2, LANES = 3, KEY_ROOM = 96 };
static const char mpirun[] = "mpirun --oversubscribe --bind-to none -n 2";

static void begin(void)
{
    ls_fixture_begin();
    ls_fixture_data();
}

TestSuite(profile, .init = begin, .fini = ls_fixture_end, .timeout = 100);

static json_t *read_trace(const char *path)
{
    json_error_t error;
    json_t *trace = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    cr_assert_not_null(trace, "%s:%d: %s", path, error.line, error.text);
    json_t *events = json_object_get(trace, "traceEvents");
    cr_assert(json_is_array(events));
    return trace;
}

static bool is(const json_t *event, const char *key, const char *value)
{
    const char *text = json_string_value(json_object_get(event, key));
    return text && strcmp(text, value) == 0;
}

static double number(const json_t *event, const char *key)
{
    const json_t *value = json_object_get(event, key);
    cr_assert(json_is_number(value), "%s", key);
    return json_number_value(value);
}

/* Events of one lane in the order of the file, which is that of their beginnings: each either lies inside the one
 * before it that has not ended, or begins after its end. */
static void expect_nesting(const json_t *events, int rank, int lane)
{
    enum { DEEPEST = 64 };
    double end[DEEPEST], last = -1;
    int depth = 0;
    size_t at;
    json_t *event;
    json_array_foreach(events, at, event) {
        if (!is(event, "ph", "X") || number(event, "pid") != rank || number(event, "tid") != lane)
            continue;
        const double from = number(event, "ts"), to = from + number(event, "dur");
        cr_assert_geq(from, last);
        last = from;
        while (depth > 0 && from >= end[depth - 1] - 1e-3)
            depth--;
        cr_assert(depth == 0 || to <= end[depth - 1] + 2e-3, "rank %d lane %d: an event ends %f us after the one around it", rank,
                  lane, to - end[depth - 1]);
        cr_assert_lt(depth, DEEPEST);
        end[depth++] = to;
    }
}

static int64_t count(const json_t *events, const char *name, const char *category, int rank, int lane)
{
    int64_t found = 0;
    size_t at;
    json_t *event;
    json_array_foreach(events, at, event)
        found += is(event, "ph", "X") && (!name || is(event, "name", name)) && (!category || is(event, "cat", category)) &&
                 (rank < 0 || number(event, "pid") == rank) && (lane < 0 || number(event, "tid") == lane);
    return found;
}

/* Turns of the exchange that began while the same rank was inside a backward pass. */
static int64_t overlapping(const json_t *events)
{
    int64_t found = 0;
    size_t at, other;
    json_t *event, *phase;
    json_array_foreach(events, at, event) {
        if (!is(event, "name", "gradient exchange"))
            continue;
        json_array_foreach(events, other, phase)
            if (is(phase, "name", "backward") && number(phase, "pid") == number(event, "pid") &&
                number(phase, "ts") <= number(event, "ts") && number(event, "ts") < number(phase, "ts") + number(phase, "dur"))
                found++;
    }
    return found;
}

/* Rows of the table end their name with two spaces or more; then come the pass and the calls. */
static int expect_same_calls(const json_t *events)
{
    char line[512], pass[KEY_ROOM];
    int rows = 0;
    FILE *table = fopen("run/profile/table.txt", "r");
    cr_assert_not_null(table);
    while (fgets(line, sizeof line, table)) {
        static const char *const passes[] = {" forward ", " backward ", " phase ", " exchange ", " loader "};
        for (size_t k = 0; k < sizeof passes / sizeof *passes; k++) {
            char *name_end = strstr(line + 16, passes[k]);
            long long calls;
            if (!name_end || sscanf(name_end, "%90s %lld", pass, &calls) != 2)
                continue;
            while (name_end > line && name_end[-1] == ' ')
                name_end--;
            *name_end = '\0';
            cr_expect_eq(count(events, line, pass, -1, -1), calls, "%s %s: %lld calls", line, pass, calls);
            rows++;
            break;
        }
    }
    fclose(table);
    return rows;
}

Test(profile, the_trace_nests_and_says_what_the_table_says)
{
    for (int k = 0; k < 2; k++) { /* one rank deals grains in turn: communication while backward goes on */
        ls_expect(ls_shell("rm -rf run && %s lockstep train tiny.yaml profile.steps=2..4 batch.schedule=%s", mpirun, k ? "round" : "block"), 0,
                  "table.txt", NULL);
        json_t *trace = read_trace("run/profile/trace.json"), *events = json_object_get(trace, "traceEvents");
        for (int rank = 0; rank < RANKS; rank++) {
            for (int lane = 0; lane < LANES; lane++) {
                expect_nesting(events, rank, lane);
                cr_expect_gt(count(events, NULL, NULL, rank, lane), 0, "rank %d has no events in lane %d", rank, lane);
            }
            cr_expect_eq(count(events, "step", "phase", rank, 0), 3);
            cr_expect_eq(count(events, "backward", "phase", rank, 0), 3 * 4 / RANKS);
            cr_expect_eq(count(events, "attention", "backward", rank, 0), 3 * 4 / RANKS * 2, "two layers, two grains, three steps");
            cr_expect_eq(count(events, "read grain", NULL, rank, 0) + count(events, "linear", NULL, rank, 1), 0);
        }
        cr_expect(k == 0 || overlapping(events) > 0, "no exchange goes on beside backward");
        cr_expect_geq(expect_same_calls(events), 20);
        ls_expect(ls_shell("cat run/profile/table.txt"), 0, "3 steps, 2 rank(s)", " 0 dropped", "Roofline", NULL);
        json_decref(trace);
        json_decref(read_trace("run/profile/rank-0001.json"));
    }
}

Test(profile, a_profile_changes_no_bit)
{
    ls_expect(ls_shell("lockstep train tiny.yaml eval_every=2 && lockstep train tiny.yaml run=other eval_every=2 profile.steps=1..6"), 0, NULL);
    ls_expect(ls_shell("test -s other/profile/trace.json && test ! -e run/profile && lockstep ckpt hash run > a && lockstep ckpt hash other > b;"
                       "cut -d' ' -f1 a b | sort -u | wc -l"), 0, "1\n", NULL);
}

Test(profile, what_does_not_fit_is_counted)
{
    ls_expect(ls_shell("lockstep train tiny.yaml profile.steps=3 profile.events=40 && cat run/profile/table.txt"), 0, "1 steps",
              "profile fewer steps or raise profile.events", NULL);
    json_t *trace = read_trace("run/profile/trace.json");
    cr_expect_eq(count(json_object_get(trace, "traceEvents"), NULL, NULL, 0, 0), 40);
    json_decref(trace);
}

Test(profile, a_window_that_is_none_is_refused)
{
    static const char *const bad[] = {"10..", "0..3", "9..3", "ten", "3-5"};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
        ls_expect(ls_shell("lockstep train tiny.yaml profile.steps=%s", bad[k]), 2, "profile.steps", bad[k], "10..20", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml profile.steps=100..200"), 0, "nothing will be recorded", NULL);
}
