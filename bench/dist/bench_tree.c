/* The tree against MPI_Allreduce: seconds until every rank has the sum of one gradient a rank.
 *
 *     mpirun --bind-to core -n 2 build/release/bench/dist_bench_tree [MiB [block|round [window|mpi]]]
 *
 * Ours, in the parts that a training step has:
 *
 *     copy      backward hands the gradient over, range by range, into a buffer; any trainer that accumulates has this
 *               pass, so it is measured by itself, on all ranks at once, and taken off
 *     reduce    from the first range to the sum of its slice on each rank, less the copy: much of it runs beside
 *     gather    until each rank has all of the sum, in memory of its own
 *
 * MPI's is one MPI_Allreduce of the same buffers, on the communication thread as well. Its best setting is a matter of the command line, e.g.
 *     --mca coll_tuned_use_dynamic_rules 1 --mca coll_tuned_allreduce_algorithm 4
 * Turns are taken in alternation, so that both meet the same machine; medians, with least and most. The memory rate is
 * of y += x over two arrays of 64 MiB (12 bytes an element), on all ranks at once. */
#include "bench/figure.h"
#include "dist/comm.h"
#include "dist/reduce.h"
#include "tensor/rate.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TURNS = 7 };
enum { COPY, REDUCE, GATHER, TREE, THEIRS, ROWS };

static ls_world *world;
static int64_t elements;
static float *gradient, *sum;

static ls_status allreduce(ls_world *on, void *argument)
{
    (void)on, (void)argument;
    MPI_Allreduce(gradient, sum, (int)elements, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    return LS_OK;
}

static void need(ls_status status)
{
    if (status != LS_OK)
        ls_world_abort(world, ls_status_exit_code(status), ls_fail_sentence());
}

/* The time since *from, which becomes now. */
static double lap(double *from)
{
    const double now = ls_now(), seconds = now - *from;
    *from = now;
    return seconds;
}

static void reduce(ls_reducer *reducer, ls_device *device, double row[ROWS])
{
    float *slice;
    int64_t begin, count, bucket = 256 * 1024;
    double from = ls_now();
    for (int64_t end = elements; end > 0; end -= bucket) {
        int64_t at = end > bucket ? end - bucket : 0;
        device->carry(device, end - at, gradient + at, 0, NULL, sum + at);
    }
    row[COPY] = lap(&from);
    need(ls_barrier(world, "bench"));
    lap(&from);
    need(ls_reducer_begin(reducer, ls_world_ranks(world)));
    for (int64_t end = elements; end > 0; end -= bucket) {
        int64_t at = end > bucket ? end - bucket : 0;
        need(ls_reducer_add(reducer, at, end - at, gradient + at));
    }
    need(ls_reducer_grain_end(reducer));
    need(ls_reducer_finish(reducer, &slice));
    row[REDUCE] = lap(&from) - row[COPY];
    ls_slice(elements, ls_world_rank(world), ls_world_ranks(world), &begin, &count);
    memcpy(sum + begin, slice, (size_t)count * sizeof *sum);
    need(ls_all_gather_slices(reducer, LS_F32, sum));
    row[GATHER] = lap(&from);
    row[TREE] = row[REDUCE] + row[GATHER];
}

static int by_value(const void *a, const void *b)
{
    return *(const double *)a < *(const double *)b ? -1 : 1;
}

static void print_row(const char *name, double turn[TURNS], double mebibytes)
{
    qsort(turn, TURNS, sizeof *turn, by_value);
    printf("  %-15s %7.1f ms  (%.1f to %.1f)  %6.2f GB/s\n", name, turn[TURNS / 2] * 1e3, turn[0] * 1e3, turn[TURNS - 1] * 1e3,
           mebibytes * 1.048576e-3 / turn[TURNS / 2]);
}

/* For bench/run. */
static void tell(double row[ROWS][TURNS], const char *what, int which, double mebibytes)
{
    char name[96], note[96];
    snprintf(name, sizeof name, "%s %.0f MiB over %d ranks against MPI_Allreduce", what, mebibytes, ls_world_ranks(world));
    snprintf(note, sizeof note, "%.1f ms against %.1f ms", row[which][TURNS / 2] * 1e3, row[THEIRS][TURNS / 2] * 1e3);
    ls_figure(name, row[THEIRS][TURNS / 2] / row[which][TURNS / 2], "x", 0, note);
}

static void print(const ls_reducer *reducer, double row[ROWS][TURNS], double mebibytes, double memory)
{
    printf("%d ranks, %.0f MiB, %s\n", ls_world_ranks(world), mebibytes, ls_reducer_describe(reducer));
    print_row("copy", row[COPY], mebibytes);
    print_row("reduce", row[REDUCE], mebibytes);
    print_row("gather", row[GATHER], mebibytes);
    print_row("reduce + gather", row[TREE], mebibytes);
    print_row("MPI_Allreduce", row[THEIRS], mebibytes);
    printf("  MPI_Allreduce / reduce            %5.2f\n  MPI_Allreduce / (reduce + gather) %5.2f\n"
           "  memory rate of all ranks         %6.2f GB/s\n",
           row[THEIRS][TURNS / 2] / row[REDUCE][TURNS / 2], row[THEIRS][TURNS / 2] / row[TREE][TURNS / 2], memory);
    tell(row, "reduce", REDUCE, mebibytes);
    tell(row, "reduce and gather", TREE, mebibytes);
}

int main(int count, char **arguments)
{
    const double mebibytes = count > 1 ? atof(arguments[1]) : 256;
    const bool round = count > 2 && strcmp(arguments[2], "round") == 0;
    elements = (int64_t)(mebibytes * 1048576 / sizeof(float)) / LS_CHUNK * LS_CHUNK;
    if (ls_world_open(&world, NULL) != LS_OK) {
        fprintf(stderr, "%s\n", ls_fail_sentence());
        return 1;
    }
    ls_team *team;
    ls_device *device;
    ls_reducer *reducer;
    ls_reduce_options options = {.elements = elements,
                                 .max_grains = ls_world_ranks(world),
                                 .schedule = round ? LS_SCHEDULE_ROUND : LS_SCHEDULE_BLOCK,
                                 .transport = count > 3 ? arguments[3] : NULL};
    need(ls_team_create(&team, 0, ls_world_node_ranks(world)));
    need(ls_device_create_cpu(&device, team));
    need(ls_reducer_open(&reducer, world, device, &options));
    gradient = aligned_alloc(64, (size_t)elements * sizeof *gradient);
    sum = aligned_alloc(64, (size_t)elements * sizeof *sum);
    for (int64_t i = 0; i < elements; i++)
        gradient[i] = (float)(i % 1000) * 0.001f, sum[i] = 0;
    double row[ROWS][TURNS], memory[256] = {0}, mine = ls_device_memory_rate(device);
    if (ls_world_ranks(world) <= 256)
        need(ls_all_gather_bytes(world, &mine, sizeof mine, memory, "bench"));
    for (int turn = -1; turn < TURNS; turn++) { /* one to warm up */
        double now[ROWS];
        need(ls_barrier(world, "bench"));
        reduce(reducer, device, now);
        need(ls_barrier(world, "bench"));
        double from = ls_now();
        need(ls_comm_call(world, "all-reduce", allreduce, NULL));
        now[THEIRS] = lap(&from);
        for (int k = 0; k < ROWS && turn >= 0; k++)
            row[k][turn] = now[k];
    }
    for (int rank = 1; rank < 256; rank++)
        memory[0] += memory[rank];
    if (ls_world_rank(world) == 0)
        print(reducer, row, mebibytes, memory[0]);
    ls_reducer_close(reducer);
    device->free(device);
    ls_team_free(team);
    free(gradient);
    free(sum);
    ls_world_close(world);
    return 0;
}
