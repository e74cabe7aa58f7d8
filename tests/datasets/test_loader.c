#include "tests/datasets/fixture.h"

#include <criterion/criterion.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

TestSuite(loader, .fini = fixture_clean);

enum { SAMPLES = 500, T = 64, GRAIN = 3, CELLS = T * GRAIN };

static ls_data *open_data(void)
{
    int64_t lengths[SAMPLES];
    for (int i = 0; i < SAMPLES; i++)
        lengths[i] = 1 + i * 7919 % T;
    fixture_pack("set", lengths, SAMPLES, 100, true);
    const ls_data_options options = fixture_options("set", T, GRAIN);
    ls_data *data;
    cr_assert_eq(ls_data_open(&data, &options), LS_OK, "%s", ls_fail_sentence());
    return data;
}

static ls_grain_request request_of(const ls_data *data, int64_t number)
{
    int64_t left = ls_data_rows(data) - number * GRAIN;
    return (ls_grain_request){.step = number / 4, .number = number % 4, .position = number * GRAIN, .rows = left < GRAIN ? left : GRAIN,
                              .slot = (uint32_t)(number % 4 * GRAIN)};
}

static void check_grain(const ls_data *data, const ls_grain *grain, const ls_grain_request *asked)
{
    ls_grain_memory m;
    ls_grain own;
    size_t bytes = (size_t)(asked->rows * T) * sizeof *m.ids;
    cr_assert_eq(ls_grain_memory_make(&m, data), LS_OK);
    cr_assert_eq(ls_data_fill_grain(data, asked, &m, &own), LS_OK);
    cr_assert(grain->step == asked->step && grain->number == asked->number && grain->rows == asked->rows && grain->slot == asked->slot);
    cr_assert_eq(grain->tokens, T);
    cr_assert_eq(grain->counted, own.counted);
    cr_assert_eq(memcmp(grain->ids, m.ids, bytes), 0);
    cr_assert_eq(memcmp(grain->labels, m.labels, bytes), 0);
    cr_assert_eq(memcmp(grain->positions, m.positions, bytes), 0);
    cr_assert_eq(memcmp(grain->segments, m.segments, bytes), 0);
    cr_assert_eq(memcmp(grain->samples, m.samples, (size_t)asked->rows * sizeof *m.samples), 0);
    ls_grain_memory_free(&m);
}

Test(loader, prefetched_grains_are_those_of_direct_filling)
{
    ls_data *data = open_data();
    const int64_t grains = (ls_data_rows(data) + GRAIN - 1) / GRAIN;
    for (int ahead = 1; ahead <= 5; ahead += 2) {
        ls_loader *loader;
        cr_assert_eq(ls_loader_open(&loader, data, ahead), LS_OK);
        int64_t asked = 0;
        for (int64_t taken = 0; taken < grains; taken++) {
            for (; asked < grains && asked <= taken + ahead; asked++) {
                const ls_grain_request request = request_of(data, asked);
                ls_loader_ask(loader, &request);
            }
            const ls_grain *grain;
            const ls_grain_request expected = request_of(data, taken);
            cr_assert_eq(ls_loader_next(loader, &grain), LS_OK, "%s", ls_fail_sentence());
            check_grain(data, grain, &expected);
            ls_loader_done(loader, grain);
        }
        ls_loader_free(loader);
    }
    ls_data_free(data);
}

/* Memory that is handed in, as a device's: told of each grain by the filling thread, in order. */
typedef struct {
    int taken, given, filled, fails_at;
    const void *last;
} staging_log;

static ls_status log_allocate(void *context, size_t bytes, void **block)
{
    ((staging_log *)context)->taken++;
    *block = calloc(1, bytes);
    return *block ? LS_OK : LS_EMEM;
}

static void log_release(void *context, void *block, size_t bytes)
{
    (void)bytes;
    ((staging_log *)context)->given++;
    free(block);
}

static ls_status log_filled(void *context, const void *block)
{
    staging_log *log = context;
    log->last = block;
    return ++log->filled == log->fails_at ? ls_fail(LS_EIO, "a copy that failed") : LS_OK;
}

Test(loader, grains_lie_where_they_are_wanted)
{
    ls_data *data = open_data();
    ls_loader *loader;
    const ls_grain *grain;
    staging_log log = {.fails_at = 3};
    const ls_grain_staging staging = {&log, log_allocate, log_release, log_filled};
    cr_assert_eq(ls_loader_open_staged(&loader, data, 2, &staging), LS_OK);
    cr_expect_eq(log.taken, 3);
    for (int i = 0; i < 3; i++) {
        const ls_grain_request request = request_of(data, i);
        ls_loader_ask(loader, &request);
        const ls_status status = ls_loader_next(loader, &grain);
        cr_assert_eq(log.filled, i + 1, "it is told before the grain is handed out");
        cr_assert_eq(status, i < 2 ? LS_OK : LS_EIO);
        if (status != LS_OK) {
            cr_expect_str_eq(ls_fail_sentence(), "a copy that failed");
            break;
        }
        cr_expect_eq(grain->block, log.last);
        cr_expect((const char *)grain->ids > (const char *)grain->block && (const char *)grain->segments > (const char *)grain->block);
        check_grain(data, grain, &request);
        ls_loader_done(loader, grain);
    }
    ls_loader_free(loader);
    cr_expect_eq(log.given, 3);
    ls_data_free(data);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

Test(loader, stall_is_the_time_that_next_waited)
{
    ls_data *data = open_data();
    ls_loader *loader;
    cr_assert_eq(ls_loader_open(&loader, data, 2), LS_OK);
    cr_assert_eq(ls_loader_stall(loader), 0);
    double waited = 0;
    for (int i = 0; i < 200; i++) { /* asked and taken at once: the step waits each time */
        const ls_grain_request request = request_of(data, i % 50);
        const ls_grain *grain;
        ls_loader_ask(loader, &request);
        double from = seconds();
        cr_assert_eq(ls_loader_next(loader, &grain), LS_OK);
        waited += seconds() - from;
        ls_loader_done(loader, grain);
    }
    double stall = ls_loader_stall(loader);
    cr_assert(stall > 0.5 * waited && stall <= waited, "counted %g s of %g s", stall, waited);
    for (int i = 0; i < 3; i++) {
        const ls_grain_request request = request_of(data, i);
        ls_loader_ask(loader, &request);
    }
    const struct timespec nap = {.tv_nsec = 100000000};
    nanosleep(&nap, NULL); /* the work of a step: meanwhile the grains are filled */
    for (int i = 0; i < 3; i++) {
        const ls_grain *grain;
        cr_assert_eq(ls_loader_next(loader, &grain), LS_OK);
        ls_loader_done(loader, grain);
    }
    cr_assert_lt(ls_loader_stall(loader) - stall, 0.05, "grains that are ready cost nothing");
    ls_loader_free(loader);
    ls_data_free(data);
}

Test(loader, nothing_is_allocated_after_open)
{
    ls_data *data = open_data();
    ls_loader *loader;
    cr_assert_eq(ls_loader_open(&loader, data, 2), LS_OK);
    size_t before = 0;
    for (int i = 0; i < 60; i++) {
        if (i == 10) /* the first grains pay for stdio and thread start */
            before = mallinfo2().uordblks;
        const ls_grain_request request = request_of(data, i % 50);
        const ls_grain *grain;
        ls_loader_ask(loader, &request);
        cr_assert_eq(ls_loader_next(loader, &grain), LS_OK);
        ls_loader_done(loader, grain);
    }
    cr_assert_eq(mallinfo2().uordblks, before);
    ls_loader_free(loader);
    ls_data_free(data);
}

Test(loader, damage_reaches_the_training_thread_as_a_sentence)
{
    ls_data_free(open_data());
    size_t bytes;
    uint8_t *content = fixture_read(fixture_path("set/shard-00002.h5"), &bytes);
    const int32_t wanted = fixture_token(250, 5);
    for (size_t i = 0; i + 4 <= bytes; i += 4)
        if (memcmp(content + i, &wanted, 4) == 0)
            content[i] ^= 1;
    fixture_write(fixture_path("set/shard-00002.h5"), content, bytes);
    free(content);
    const ls_data_options options = fixture_options("set", T, GRAIN);
    ls_data *data;
    ls_loader *loader;
    cr_assert_eq(ls_data_open(&data, &options), LS_OK, "tokens are checked when they are touched: %s", ls_fail_sentence());
    cr_assert_eq(ls_loader_open(&loader, data, 1), LS_OK);
    ls_status status = LS_OK;
    for (int i = 0; i * GRAIN < ls_data_rows(data) && status == LS_OK; i++) {
        const ls_grain_request request = request_of(data, i);
        const ls_grain *grain;
        ls_loader_ask(loader, &request);
        status = ls_loader_next(loader, &grain);
        if (status == LS_OK)
            ls_loader_done(loader, grain);
    }
    cr_assert_eq(status, LS_ECORRUPT);
    cr_assert(strstr(ls_fail_sentence(), "shard-00002.h5") && strstr(ls_fail_sentence(), "sum"), "%s", ls_fail_sentence());
    ls_loader_free(loader);
    ls_data_free(data);
}

Test(loader, taking_what_was_not_asked_for_is_an_error)
{
    ls_data *data = open_data();
    ls_loader *loader;
    const ls_grain *grain;
    cr_assert_eq(ls_loader_open(&loader, data, 0), LS_EARG);
    cr_assert_eq(ls_loader_open(&loader, data, 1), LS_OK);
    cr_assert_eq(ls_loader_next(loader, &grain), LS_EARG);
    const ls_grain_request request = {.rows = GRAIN + 1};
    ls_loader_ask(loader, &request);
    cr_assert_eq(ls_loader_next(loader, &grain), LS_EARG);
    cr_assert(strstr(ls_fail_sentence(), "4 rows"));
    ls_loader_free(loader); /* also with grains still waiting */
    ls_data_free(data);
}
