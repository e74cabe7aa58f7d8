/* Sums of row gradients on 1 to 16 ranks, as threads of one process: no rank count, schedule or transport changes a row
 * or a bit, and a grain that did not look a row up has no part in it. */
#include "row_gradients.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdio.h>

#include "dist/row_counter.h"
#include "loopback_ranks.h"

typedef struct {
    row_table table;
    ls_schedule schedule;
    const char *transport;
    int64_t grains[6]; /* of each step, 0 ends */
    ls_row_gradient want[6];
    _Atomic int wrong;
} plan;

static void take_steps(ls_world *world, void *context)
{
    plan *p = context;
    const int rank = ls_world_rank(world), ranks = ls_world_ranks(world);
    const ls_row_options options = {.rows = p->table.rows,
                                    .width = p->table.width,
                                    .max_grains = 64,
                                    .schedule = p->schedule,
                                    .transport = p->transport};
    ls_row_reducer *reducer;
    row_step s = row_step_open(p->table);
    const char *wrong = ls_row_reducer_open(&reducer, world, &options) == LS_OK ? NULL : "opening";
    for (int step = 0; step < 6 && p->grains[step] && !wrong; step++) {
        ls_row_gradient sum;
        wrong = row_step_run(&s, reducer, p->schedule, step, p->grains[step], rank, ranks, &sum);
        if (!wrong)
            wrong = row_step_check(&s, &sum, &p->want[step], rank, ranks);
        if (!wrong)
            wrong = row_step_gather(&s, reducer, &sum, &p->want[step]);
        if (wrong)
            fprintf(stderr, "rank %d of %d, schedule %d, %lld grains: %s does not hold (%s)\n", rank, ranks,
                    (int)p->schedule, (long long)p->grains[step], wrong, ls_fail_sentence());
    }
    p->wrong += wrong != NULL;
    ls_row_reducer_close(reducer);
    row_step_close(&s);
}

static void want_sums(plan *p)
{
    for (int step = 0; step < 6 && p->grains[step]; step++) {
        int32_t *row = calloc((size_t)p->table.rows, sizeof *row);
        float *vector = calloc((size_t)(p->table.rows * p->table.width), sizeof *vector);
        p->want[step] = rows_wanted(&p->table, step, p->grains[step], row, vector);
    }
}

static void check(plan p, int most_ranks)
{
    want_sums(&p);
    for (int ranks = 1; ranks <= most_ranks; ranks++) {
        on_every_rank(ranks, &(ls_world_options){.deadline = 20}, take_steps, &p);
        cr_assert_eq(p.wrong, 0, "%d ranks", ranks);
    }
    for (int step = 0; step < 6 && p.grains[step]; step++)
        free(p.want[step].row), free(p.want[step].vector);
}

Test(rows, block_gives_the_tree_on_1_to_16_ranks, .timeout = 60)
{
    check((plan){.table = {700, 64}, .schedule = LS_SCHEDULE_BLOCK, .grains = {64, 5, 1, 37, 16, 4}}, LOOPBACK_RANKS);
}

Test(rows, round_gives_the_tree_on_1_to_16_ranks, .timeout = 60)
{
    check((plan){.table = {700, 64}, .schedule = LS_SCHEDULE_ROUND, .grains = {64, 5, 1, 37, 16, 4}}, LOOPBACK_RANKS);
}

/* Owners without rows, rows over a chunk's border, rows longer than a chunk. */
Test(rows, of_any_width_are_dealt_whole, .timeout = 60)
{
    static const int64_t widths[] = {1, 3, 48, 256, LS_CHUNK + 100};
    for (int k = 0; k < 5; k++) {
        int64_t next = 0;
        for (int rank = 0; rank < 5; rank++) {
            int64_t begin, end, first, count;
            ls_row_slice(9000, widths[k], rank, 5, &begin, &end);
            ls_slice_units(9000 * widths[k], ls_row_unit(widths[k]), rank, 5, &first, &count);
            cr_expect_eq(begin, next);
            cr_expect(begin == end || first % LS_CHUNK == 0, "slices are whole chunks");
            cr_expect_eq(first, begin * widths[k]);
            cr_expect_eq(count, (end - begin) * widths[k]);
            next = end;
        }
        cr_expect_eq(next, 9000);
        check((plan){.table = {90, widths[k]},
                     .schedule = k % 2 ? LS_SCHEDULE_ROUND : LS_SCHEDULE_BLOCK,
                     .grains = {9, 2}},
              3);
    }
}

/* 3 ranks, 2000 rows of 250 wide: a rank's rows are many times what a slot carries. */
Test(rows, more_than_a_slot_travel_in_pieces, .timeout = 60)
{
    for (int k = 0; k < 2; k++)
        check((plan){.table = {2000, 250},
                     .schedule = k ? LS_SCHEDULE_ROUND : LS_SCHEDULE_BLOCK,
                     .transport = "window",
                     .grains = {5}},
              3);
}

/* ---- absent is absent ---- */

Test(rows, a_row_of_one_grain_is_taken_as_it_is, .timeout = 60)
{
    ls_row_counter counter;
    float minus_zero[2] = {-0.0f, 1}, other[2] = {5, 6};
    int32_t seven = 7, nine = 9;
    ls_row_gradient a = {1, 2, &seven, minus_zero}, b = {1, 2, &nine, other}, none = {.width = 2};
    cr_assert_eq(ls_row_counter_open(&counter, 100, 2, ls_counter_places(5, true)), LS_OK);
    ls_row_counter_reset(&counter, 5);
    const ls_row_gradient *list[] = {&none, &a, &b, &none, &b};
    for (int64_t g = 0; g < 5; g++)
        cr_assert_eq(ls_row_counter_push(&counter, (ls_tree_node){0, g}, list[g]), LS_OK);
    const ls_row_gradient *sum = &counter.list[0];
    const float *vector = sum->vector;
    cr_assert_eq(counter.counter.depth, 1);
    cr_assert_eq(sum->count, 2);
    cr_expect(sum->row[0] == 7 && sum->row[1] == 9);
    cr_expect(signbit(vector[0]), "-0 and a grain without the row is -0");
    cr_expect_eq(vector[3], 12);
    ls_row_counter_close(&counter);
}

/* ---- mistakes ---- */

static void expect_failure(ls_status status, ls_status code, const char *words)
{
    cr_expect_eq(status, code, "%s", ls_status_name(status));
    cr_expect(strstr(ls_fail_sentence(), words), "%s", ls_fail_sentence());
}

static void make_mistakes(ls_world *world, void *context)
{
    ls_row_options options = {.rows = 50, .width = 4, .max_grains = 2, .schedule = *(ls_schedule *)context};
    ls_row_reducer *reducer;
    ls_row_gradient sum;
    float vector[8] = {0};
    int32_t falling[] = {4, 3}, beyond[] = {4, 50}, good[] = {4, 49};
    expect_failure(ls_row_reducer_open(&reducer, world, &options), LS_ERECIPE, "3 ranks for 2 grains");
    options.max_grains = 3;
    options.rows = 0;
    expect_failure(ls_row_reducer_open(&reducer, world, &options), LS_EARG, "a table of 0 rows");
    options.rows = 50;
    cr_assert_eq(ls_row_reducer_open(&reducer, world, &options), LS_OK);
    expect_failure(ls_row_reducer_begin(reducer, 4), LS_EARG, "1 to 3");
    expect_failure(ls_row_reducer_add(reducer, &(ls_row_gradient){2, 4, good, vector}), LS_EARG, "no grain left");
    cr_assert_eq(ls_row_reducer_begin(reducer, 3), LS_OK);
    expect_failure(ls_row_reducer_add(reducer, &(ls_row_gradient){2, 4, falling, vector}), LS_EARG, "row 3 at place 1");
    expect_failure(ls_row_reducer_add(reducer, &(ls_row_gradient){2, 4, beyond, vector}), LS_EARG, "from 0 to 49");
    expect_failure(ls_row_reducer_add(reducer, &(ls_row_gradient){2, 5, good, vector}), LS_EARG, "vectors of 5");
    cr_assert_eq(ls_row_reducer_add(reducer, &(ls_row_gradient){2, 4, good, vector}), LS_OK);
    expect_failure(ls_row_reducer_add(reducer, &(ls_row_gradient){2, 4, good, vector}), LS_EARG, "has some already");
    expect_failure(ls_row_reducer_finish(reducer, &sum), LS_EARG, "0 of this rank's 1 grains");
    cr_assert_eq(ls_row_reducer_grain_end(reducer), LS_OK);
    cr_assert_eq(ls_row_reducer_finish(reducer, &sum), LS_OK);
    cr_assert_eq(ls_row_reducer_begin(reducer, 3), LS_OK);
    ls_row_reducer_close(reducer); /* a step can be given up */
    cr_expect_eq(ls_barrier(world, "the world goes on"), LS_OK);
}

Test(rows, mistakes_are_named_before_anything_changes, .timeout = 20)
{
    ls_schedule schedules[] = {LS_SCHEDULE_ROUND, LS_SCHEDULE_BLOCK};
    for (int k = 0; k < 2; k++)
        on_every_rank(3, NULL, make_mistakes, &schedules[k]);
}
