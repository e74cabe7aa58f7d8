/* The reducer on 1 to 16 ranks, as threads of one process (dist/loopback.h): no rank count, schedule, bucket size or
 * order of arrival changes a bit of the sum, which is that of the tree's definition. */
#include "dist/reduce.h"
#include "gradients.h"
#include "plain_device.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdio.h>

#include "loopback_ranks.h"

enum { ELEMENTS = 5 * LS_CHUNK, MOST = 64 };

static float *leaves; /* [MOST][ELEMENTS] */
static float *want;   /* [MOST + 1][ELEMENTS]: the sum of so many grains */

/* Sums by the definition are costly, so elements repeat with a period of one chunk and a bit. */
static void make_sums(void)
{
    enum { PERIOD = LS_CHUNK / 8 + 3 };
    leaves = malloc(sizeof(float) * MOST * ELEMENTS);
    want = malloc(sizeof(float) * (MOST + 1) * ELEMENTS);
    static float leaf[MOST * PERIOD], sum[PERIOD];
    for (int64_t g = 0; g < MOST; g++) {
        fill_gradient(leaf + g * PERIOD, 0, g, PERIOD);
        for (int64_t i = 0; i < ELEMENTS; i++)
            leaves[g * ELEMENTS + i] = leaf[g * PERIOD + i % PERIOD];
    }
    for (int64_t grains = 1; grains <= MOST; grains++) {
        tree_sum(sum, leaf, PERIOD, grains);
        for (int64_t i = 0; i < ELEMENTS; i++)
            want[grains * ELEMENTS + i] = sum[i % PERIOD];
    }
}

typedef struct {
    ls_schedule schedule;
    const char *transport;
    int64_t bucket, stride; /* steps of 1, 1 + stride, .. MOST grains */
    _Atomic int wrong;
} plan;

static _Atomic int placed; /* ranges that were made where the tree wants them */

/* One grain, its ranges in an order that differs by grain and rank, as in a model that is not the same twice. */
static ls_status add_grain(ls_reducer *reducer, int64_t grain, int rank)
{
    static const int order[3][5] = {{4, 3, 2, 1, 0}, {2, 4, 0, 1, 3}, {0, 1, 2, 3, 4}};
    const int *chunk = order[(grain + rank) % 3];
    for (int k = 0; k < 5; k++) {
        float copy[LS_CHUNK];
        float *place = k % 2 ? ls_reducer_place(reducer, chunk[k] * LS_CHUNK, LS_CHUNK) : NULL, *gradient = place ? place : copy;
        atomic_fetch_add(&placed, place != NULL);
        memcpy(gradient, leaves + grain * ELEMENTS + chunk[k] * LS_CHUNK, sizeof copy);
        ls_status status = ls_reducer_add(reducer, chunk[k] * LS_CHUNK, LS_CHUNK, gradient);
        if (status != LS_OK)
            return status;
    }
    return ls_reducer_grain_end(reducer);
}

static void check_steps(ls_world *world, void *context)
{
    plan *p = context;
    ls_device device = plain_device();
    int rank = ls_world_rank(world), ranks = ls_world_ranks(world);
    ls_reduce_options options = {
        .elements = ELEMENTS, .max_grains = MOST, .schedule = p->schedule, .bucket = p->bucket, .transport = p->transport};
    ls_reducer *reducer;
    ls_status status = ls_reducer_open(&reducer, world, &device, &options);
    int64_t begin, count;
    ls_slice(ELEMENTS, rank, ranks, &begin, &count);
    for (int64_t grains = 1; grains <= MOST && status == LS_OK; grains += p->stride) {
        status = ls_reducer_begin(reducer, grains);
        for (int64_t k = 0; k < ls_schedule_grains(p->schedule, grains, rank, ranks) && status == LS_OK; k++)
            status = add_grain(reducer, ls_schedule_grain(p->schedule, grains, rank, ranks, k), rank);
        float *sum;
        if (status == LS_OK)
            status = ls_reducer_finish(reducer, &sum);
        if (status == LS_OK && memcmp(sum, want + grains * ELEMENTS + begin, (size_t)count * sizeof *sum) != 0) {
            atomic_fetch_add(&p->wrong, 1);
            fprintf(stderr, "rank %d of %d, %lld grains, schedule %d, bucket %lld: differs at %lld of its slice\n",
                    rank, ranks, (long long)grains, (int)p->schedule, (long long)p->bucket,
                    (long long)first_difference(sum, want + grains * ELEMENTS + begin, count));
        }
    }
    if (status != LS_OK) {
        atomic_fetch_add(&p->wrong, 1);
        fprintf(stderr, "rank %d of %d: %s\n", rank, ranks, ls_fail_sentence());
    }
    ls_reducer_close(reducer);
}

static void check_schedule(ls_schedule schedule, const char *transport)
{
    static const int64_t buckets[] = {LS_CHUNK, 2 * LS_CHUNK, 0}; /* 5, 3 and 1 of them */
    make_sums();
    for (int ranks = 1; ranks <= LOOPBACK_RANKS; ranks++)
        for (int k = 0; k < 3; k++) {
            plan p = {.schedule = schedule, .bucket = buckets[k], .stride = k == 0 ? 1 : 9, .transport = transport};
            on_every_rank(ranks, NULL, check_steps, &p);
            cr_assert_eq(p.wrong, 0);
        }
}

Test(reduce, block_gives_the_tree_on_1_to_16_ranks_and_1_to_64_grains)
{
    check_schedule(LS_SCHEDULE_BLOCK, NULL);
    cr_assert_gt(placed, 0);
}

/* ---- order of arrival ---- */

enum { LONG = 40, LONG_GRAINS = 7 };

/* Forty buckets and eight slots: odd ranks hand theirs over first to last, which is the wrong end for the exchange. */
typedef struct {
    ls_schedule schedule;
    const float *sums;
} arrival;

static void add_from_both_ends(ls_world *world, void *context)
{
    const arrival *a = context;
    const float *sums = a->sums;
    ls_device device = plain_device();
    int rank = ls_world_rank(world), ranks = ls_world_ranks(world);
    ls_reduce_options options = {
        .elements = LONG * LS_CHUNK, .max_grains = LONG_GRAINS, .schedule = a->schedule, .bucket = LS_CHUNK};
    ls_reducer *reducer;
    cr_assert_eq(ls_reducer_open(&reducer, world, &device, &options), LS_OK);
    for (int step = 0; step < 3; step++) {
        cr_assert_eq(ls_reducer_begin(reducer, LONG_GRAINS), LS_OK);
        for (int64_t k = 0; k < ls_schedule_grains(a->schedule, LONG_GRAINS, rank, ranks); k++) {
            for (int64_t at = 0; at < LONG; at++) {
                int64_t chunk = (rank + step) % 2 ? at : LONG - 1 - at, grain = ls_schedule_grain(a->schedule, LONG_GRAINS, rank, ranks, k);
                float copy[LS_CHUNK];
                memcpy(copy, leaves + grain * ELEMENTS, sizeof copy);
                cr_assert_eq(ls_reducer_add(reducer, chunk * LS_CHUNK, LS_CHUNK, copy), LS_OK, "%s",
                             ls_fail_sentence());
            }
            ls_reducer_grain_end(reducer);
        }
        float *sum;
        cr_assert_eq(ls_reducer_finish(reducer, &sum), LS_OK);
        int64_t begin, count;
        ls_slice(LONG * LS_CHUNK, rank, ranks, &begin, &count);
        for (int64_t at = 0; at < count; at += LS_CHUNK)
            cr_assert_eq(memcmp(sum + at, sums, LS_CHUNK * sizeof *sum), 0, "rank %d, step %d, chunk %lld", rank, step,
                         (long long)(at / LS_CHUNK));
    }
    ls_reducer_close(reducer);
}

Test(reduce, buckets_that_finish_in_the_wrong_order_neither_lock_nor_change_the_sum, .timeout = 30)
{
    make_sums();
    for (int k = 0; k < 2; k++) {
        arrival a = {k ? LS_SCHEDULE_ROUND : LS_SCHEDULE_BLOCK, want + LONG_GRAINS * ELEMENTS};
        on_every_rank(3, NULL, add_from_both_ends, &a);
    }
}

/* ---- mistakes ---- */

static void expect_failure(ls_status status, ls_status code, const char *words)
{
    cr_expect_eq(status, code, "%s", ls_status_name(status));
    cr_expect(strstr(ls_fail_sentence(), words), "%s", ls_fail_sentence());
}

static void make_mistakes(ls_world *world, void *context)
{
    (void)context;
    ls_device device = plain_device();
    ls_reduce_options options = {.elements = 4 * LS_CHUNK, .max_grains = 2, .schedule = LS_SCHEDULE_BLOCK};
    ls_reducer *reducer;
    float *sum, gradient[LS_CHUNK] = {0};
    expect_failure(ls_reducer_open(&reducer, world, &device, &options), LS_ERECIPE, "3 ranks for 2 grains");
    options.max_grains = 3;
    options.bucket = 100;
    expect_failure(ls_reducer_open(&reducer, world, &device, &options), LS_ERECIPE, "buckets of 100 elements");
    options.bucket = 0;
    options.transport = "pigeon";
    expect_failure(ls_reducer_open(&reducer, world, &device, &options), LS_ERECIPE, "transport 'pigeon'");
    options.transport = NULL;
    cr_assert_eq(ls_reducer_open(&reducer, world, &device, &options), LS_OK);
    expect_failure(ls_reducer_begin(reducer, 4), LS_EARG, "1 to 3");
    expect_failure(ls_reducer_add(reducer, 0, LS_CHUNK, gradient), LS_EARG, "no grain left");
    cr_assert_eq(ls_reducer_begin(reducer, 3), LS_OK);
    expect_failure(ls_reducer_begin(reducer, 3), LS_EARG, "before the last one");
    expect_failure(ls_reducer_add(reducer, 7, 1, gradient), LS_EARG, "range 7 + 1");
    expect_failure(ls_reducer_add(reducer, 3 * LS_CHUNK, LS_CHUNK + 1, gradient), LS_EARG, "does not lie");
    cr_assert_eq(ls_reducer_add(reducer, 0, LS_CHUNK, gradient), LS_OK);
    expect_failure(ls_reducer_add(reducer, 0, LS_CHUNK, gradient), LS_EARG, "added twice");
    expect_failure(ls_reducer_finish(reducer, &sum), LS_EARG, "0 of this rank's 1 grains");
    cr_assert_eq(ls_reducer_grain_end(reducer), LS_OK);
    cr_assert_eq(ls_reducer_finish(reducer, &sum), LS_OK);
    ls_reducer_close(reducer);
}

Test(reduce, mistakes_are_named_before_anything_changes)
{
    on_every_rank(3, NULL, make_mistakes, NULL);
}

static void give_up(ls_world *world, void *context)
{
    ls_device device = plain_device();
    ls_reduce_options options = {.elements = 4 * LS_CHUNK, .max_grains = 8, .schedule = *(ls_schedule *)context};
    ls_reducer *reducer;
    cr_assert_eq(ls_reducer_open(&reducer, world, &device, &options), LS_OK);
    cr_assert_eq(ls_reducer_begin(reducer, 8), LS_OK);
    ls_reducer_close(reducer);
    cr_expect_eq(ls_barrier(world, "the world goes on"), LS_OK);
}

Test(reduce, a_step_can_be_given_up, .timeout = 20)
{
    ls_schedule schedules[] = {LS_SCHEDULE_ROUND, LS_SCHEDULE_BLOCK};
    for (int k = 0; k < 2; k++)
        on_every_rank(2, NULL, give_up, &schedules[k]);
}

Test(reduce, halving_between_nodes_gives_the_tree)
{
    make_sums();
    ls_world_options apart = {.node_per_rank = true};
    for (int ranks = 2; ranks <= LOOPBACK_RANKS; ranks *= 2) {
        plan p = {.schedule = LS_SCHEDULE_BLOCK, .bucket = LS_CHUNK, .stride = 1};
        on_every_rank(ranks, &apart, check_steps, &p);
        cr_assert_eq(p.wrong, 0);
    }
}

Test(reduce, block_through_slots_gives_the_tree_on_1_to_16_ranks_and_1_to_64_grains)
{
    check_schedule(LS_SCHEDULE_BLOCK, "window");
}

Test(reduce, round_gives_the_tree_on_1_to_16_ranks_and_1_to_64_grains)
{
    check_schedule(LS_SCHEDULE_ROUND, NULL);
}
