/* What a table's gradient costs after backward, as rows and as a dense gradient: sum over grains and ranks, norm,
 * AdamW, and new weights for every rank.
 *
 *     mpirun --bind-to core -n 2 build/release/bench/dist_bench_rows [rows [width [rows a grain [grains a rank]]]]
 *
 * Dense has one pass more in each grain, which is measured with it: zeros for the whole table, then the rows that were
 * looked up. Turns are taken in alternation; medians, with least and most. */
#include "dist/comm.h"
#include "dist/rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TURNS = 7 };

static ls_world *world;
static int rank, ranks;
static ls_device *device;
static ls_row_gradient list; /* one grain's, for all grains */
static int64_t elements, grains;
static float *dense, *weight, *first, *second; /* [elements]; used are the parts that this rank owns */
static int64_t step;

static void need(ls_status status)
{
    if (status != LS_OK)
        ls_world_abort(world, ls_status_exit_code(status), ls_fail_sentence());
}

static void update(int64_t at, int64_t count, const float *gradient)
{
    const ls_optimizer_args args = {.kind = LS_OPTIMIZER_ADAMW,
                                    .count = count,
                                    .step = step,
                                    .lr = 1e-3,
                                    .beta1 = 0.9,
                                    .beta2 = 0.95,
                                    .eps = 1e-8,
                                    .weight_decay = 0.1,
                                    .scale = 1,
                                    .gradient = gradient,
                                    .master = weight + at,
                                    .first_moment = first + at,
                                    .second_moment = second + at};
    device->optimizer_step(device, &args);
}

static double step_of_rows(ls_row_reducer *reducer)
{
    ls_row_gradient sum;
    double squares, from = ls_now();
    step++;
    need(ls_row_reducer_begin(reducer, grains));
    for (int64_t k = 0; k < ls_schedule_grains(LS_SCHEDULE_BLOCK, grains, rank, ranks); k++) {
        need(ls_row_reducer_add(reducer, &list));
        need(ls_row_reducer_grain_end(reducer));
    }
    need(ls_row_reducer_finish(reducer, &sum));
    need(ls_row_squares(reducer, device, &squares));
    for (int64_t i = 0; i < sum.count; i++)
        update(sum.row[i] * sum.width, sum.width, (const float *)sum.vector + i * sum.width);
    need(ls_row_gather(reducer, LS_F32, weight));
    return ls_now() - from;
}

static double step_of_dense(ls_reducer *reducer)
{
    const int64_t bucket = 256 * 1024;
    float *slice;
    double norm, from = ls_now();
    step++;
    need(ls_reducer_begin(reducer, grains));
    for (int64_t k = 0; k < ls_schedule_grains(LS_SCHEDULE_BLOCK, grains, rank, ranks); k++) {
        device->fill(device, LS_F32, elements, 0, dense);
        for (int64_t i = 0; i < list.count; i++)
            memcpy(dense + list.row[i] * list.width, (const float *)list.vector + i * list.width,
                   (size_t)list.width * sizeof *dense);
        for (int64_t end = elements; end > 0; end -= bucket) {
            const int64_t at = end > bucket ? end - bucket : 0;
            need(ls_reducer_add(reducer, at, end - at, dense + at));
        }
        need(ls_reducer_grain_end(reducer));
    }
    need(ls_reducer_finish(reducer, &slice));
    need(ls_slices_norm(reducer, slice, &norm));
    int64_t begin, count;
    ls_slice(elements, rank, ranks, &begin, &count);
    update(begin, count, slice);
    need(ls_all_gather_slices(reducer, LS_F32, weight));
    return ls_now() - from;
}

static int by_value(const void *a, const void *b)
{
    return *(const double *)a < *(const double *)b ? -1 : 1;
}

static double print_row(const char *name, double turn[TURNS])
{
    qsort(turn, TURNS, sizeof *turn, by_value);
    printf("  %-6s %8.1f ms  (%.1f to %.1f)\n", name, turn[TURNS / 2] * 1e3, turn[0] * 1e3, turn[TURNS - 1] * 1e3);
    return turn[TURNS / 2];
}

static void make_buffers(int64_t rows, int64_t width, int64_t looked_up)
{
    elements = (rows * width + LS_CHUNK - 1) / LS_CHUNK * LS_CHUNK;
    float **all[] = {&dense, &weight, &first, &second};
    for (int k = 0; k < 4; k++)
        *all[k] = calloc((size_t)elements, sizeof(float));
    list = (ls_row_gradient){.width = width,
                             .row = calloc((size_t)looked_up, sizeof(int32_t)),
                             .vector = calloc((size_t)(looked_up * width), sizeof(float))};
    for (int64_t i = 0; i < looked_up; i++) /* evenly over the table, so all owners get some */
        list.row[list.count++] = (int32_t)(i * rows / looked_up);
    for (int64_t i = 0; i < looked_up * width; i++)
        ((float *)list.vector)[i] = (float)(i % 1000) * 0.001f;
}

int main(int count, char **arguments)
{
    const int64_t rows = count > 1 ? atoll(arguments[1]) : 50257, width = count > 2 ? atoll(arguments[2]) : 256;
    const int64_t looked_up = count > 3 ? atoll(arguments[3]) : 2000, each = count > 4 ? atoll(arguments[4]) : 2;
    if (ls_world_open(&world, NULL) != LS_OK) {
        fprintf(stderr, "%s\n", ls_fail_sentence());
        return 1;
    }
    rank = ls_world_rank(world), ranks = ls_world_ranks(world), grains = each * ranks;
    ls_team *team;
    ls_reducer *whole;
    ls_row_reducer *sparse;
    need(ls_team_create(&team, 0, ls_world_node_ranks(world)));
    need(ls_device_create_cpu(&device, team));
    make_buffers(rows, width, looked_up);
    need(ls_reducer_open(
        &whole, world, device,
        &(ls_reduce_options){.elements = elements, .max_grains = grains, .schedule = LS_SCHEDULE_BLOCK}));
    need(ls_row_reducer_open(
        &sparse, world,
        &(ls_row_options){.rows = rows, .width = width, .max_grains = grains, .schedule = LS_SCHEDULE_BLOCK}));
    double turn[2][TURNS];
    for (int k = -1; k < TURNS; k++) { /* one to warm up */
        need(ls_barrier(world, "bench"));
        const double a = step_of_rows(sparse);
        need(ls_barrier(world, "bench"));
        const double b = step_of_dense(whole);
        if (k >= 0)
            turn[0][k] = a, turn[1][k] = b;
    }
    if (rank == 0) {
        printf("%d ranks, %lld grains, table of %lld x %lld (%.0f MiB), %lld rows a grain\n", ranks, (long long)grains,
               (long long)rows, (long long)width, (double)elements * 4 / 1048576, (long long)looked_up);
        const double a = print_row("rows", turn[0]), b = print_row("dense", turn[1]);
        printf("  dense / rows %.1f\n", b / a);
    }
    ls_row_reducer_close(sparse);
    ls_reducer_close(whole);
    device->free(device);
    ls_team_free(team);
    ls_world_close(world);
    return 0;
}
