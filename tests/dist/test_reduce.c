/* The reducer on 1 to 16 ranks, as threads of one process (dist/loopback.h): no rank count, schedule, bucket size or order
 * of arrival changes a bit of the sum, which is that of the tree's definition. */
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
    int64_t bucket, stride; /* steps of 1, 1 + stride, .. MOST grains */
    _Atomic int wrong;
} plan;

/* One grain, its ranges in an order that differs by grain and rank, as in a model that is not the same twice. */
static ls_status add_grain(ls_reducer *reducer, int64_t grain, int rank)
{
    static const int order[3][5] = {{4, 3, 2, 1, 0}, {2, 4, 0, 1, 3}, {0, 1, 2, 3, 4}};
    const int *chunk = order[(grain + rank) % 3];
    for (int k = 0; k < 5; k++) {
        float copy[LS_CHUNK];
        memcpy(copy, leaves + grain * ELEMENTS + chunk[k] * LS_CHUNK, sizeof copy);
        ls_status status = ls_reducer_add(reducer, chunk[k] * LS_CHUNK, LS_CHUNK, copy);
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
    ls_reduce_options options = {.elements = ELEMENTS, .max_grains = MOST, .schedule = p->schedule, .bucket = p->bucket};
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
            fprintf(stderr, "rank %d of %d, %lld grains, schedule %d, bucket %lld: differs at %lld of its slice\n", rank, ranks,
                    (long long)grains, (int)p->schedule, (long long)p->bucket,
                    (long long)first_difference(sum, want + grains * ELEMENTS + begin, count));
        }
    }
    if (status != LS_OK) {
        atomic_fetch_add(&p->wrong, 1);
        fprintf(stderr, "rank %d of %d: %s\n", rank, ranks, ls_fail_sentence());
    }
    ls_reducer_close(reducer);
}

static void check_schedule(ls_schedule schedule)
{
    static const int64_t buckets[] = {LS_CHUNK, 2 * LS_CHUNK, 0}; /* 5, 3 and 1 of them */
    make_sums();
    for (int ranks = 1; ranks <= LOOPBACK_RANKS; ranks++)
        for (int k = 0; k < 3; k++) {
            plan p = {.schedule = schedule, .bucket = buckets[k], .stride = k == 0 ? 1 : 9};
            on_every_rank(ranks, NULL, check_steps, &p);
            cr_assert_eq(p.wrong, 0);
        }
}

Test(reduce, block_gives_the_tree_on_1_to_16_ranks_and_1_to_64_grains)
{
    check_schedule(LS_SCHEDULE_BLOCK);
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

Test(reduce, round_gives_the_tree_on_1_to_16_ranks_and_1_to_64_grains)
{
    check_schedule(LS_SCHEDULE_ROUND);
}
