/* Between begin and finish nothing comes from the heap, on any thread. Counted by standing in for malloc. */
#include "dist/reduce.h"
#include "gradients.h"

#include <criterion/criterion.h>
#include <stdatomic.h>

#include "loopback_ranks.h"
#include "row_gradients.h"

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *block, size_t size);

static _Atomic int ranks_in_step, allocations;

void *malloc(size_t size)
{
    allocations += ranks_in_step > 0;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations += ranks_in_step > 0;
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    allocations += ranks_in_step > 0;
    return __libc_realloc(block, size);
}

enum { ELEMENTS = 9 * LS_CHUNK, GRAINS = 11 };

static void take_step(ls_reducer *reducer, ls_schedule schedule, const ls_world *world, float *gradient)
{
    int rank = ls_world_rank(world), ranks = ls_world_ranks(world);
    float *sum;
    ls_reducer_begin(reducer, GRAINS);
    for (int64_t k = 0; k < ls_schedule_grains(schedule, GRAINS, rank, ranks); k++) {
        for (int64_t begin = 0; begin < ELEMENTS; begin += LS_CHUNK)
            ls_reducer_add(reducer, begin, LS_CHUNK, gradient);
        ls_reducer_grain_end(reducer);
    }
    cr_assert_eq(ls_reducer_finish(reducer, &sum), LS_OK);
}

static void run(ls_world *world, void *context)
{
    ls_schedule schedule = *(ls_schedule *)context;
    ls_device device = plain_device();
    ls_reduce_options options = {.elements = ELEMENTS, .max_grains = GRAINS, .schedule = schedule, .bucket = LS_CHUNK};
    ls_reducer *reducer;
    cr_assert_eq(ls_reducer_open(&reducer, world, &device, &options), LS_OK);
    float *gradient = calloc(LS_CHUNK, sizeof *gradient);
    ls_barrier(world, "before the step");
    ranks_in_step++;
    take_step(reducer, schedule, world, gradient);
    ls_barrier(world, "after the step"); /* the others have ended theirs too */
    ranks_in_step--;
    free(gradient);
    ls_barrier(world, "before closing");
    ls_reducer_close(reducer);
}

/* The first step finds out how many rows there are; the second has others. */
static void run_rows(ls_world *world, void *context)
{
    const ls_schedule schedule = *(ls_schedule *)context;
    const int rank = ls_world_rank(world), ranks = ls_world_ranks(world);
    const ls_row_options options = {.rows = 900, .width = 64, .max_grains = GRAINS, .schedule = schedule};
    ls_device device = plain_device();
    row_step s = row_step_open((row_table){900, 64});
    ls_row_reducer *reducer;
    ls_row_gradient sum;
    double squares;
    cr_assert_eq(ls_row_reducer_open(&reducer, world, &options), LS_OK);
    ls_barrier(world, "before the step");
    ranks_in_step++;
    for (int step = 0; step < 2; step++) {
        const char *wrong = row_step_run(&s, reducer, schedule, step, GRAINS, rank, ranks, &sum);
        cr_assert_null(wrong, "%s", wrong);
        cr_assert_gt(sum.count, 0);
        cr_assert_eq(ls_row_squares(reducer, &device, &squares), LS_OK);
        cr_assert_eq(ls_row_gather(reducer, LS_F32, s.new_rows), LS_OK);
    }
    ls_barrier(world, "after the step");
    ranks_in_step--;
    row_step_close(&s);
    ls_barrier(world, "before closing");
    ls_row_reducer_close(reducer);
}

static void count_in(ls_schedule schedule, rank_function function)
{
    on_every_rank(3, NULL, function, &schedule);
    cr_expect_eq(allocations, 0, "%d allocations", allocations);
    ranks_in_step++;
    void *volatile block = malloc(1);
    ranks_in_step--;
    free(block);
    cr_expect_eq(allocations, 1, "the count itself does not work");
}

Test(reduce_heap, block_allocates_nothing_in_a_step)
{
    count_in(LS_SCHEDULE_BLOCK, run);
}

Test(reduce_heap, round_allocates_nothing_in_a_step)
{
    count_in(LS_SCHEDULE_ROUND, run);
}

Test(reduce_heap, rows_allocate_nothing_in_a_step)
{
    count_in(LS_SCHEDULE_BLOCK, run_rows);
}

Test(reduce_heap, rows_allocate_nothing_in_a_step_of_rounds)
{
    count_in(LS_SCHEDULE_ROUND, run_rows);
}
