/* The tree against MPI_Allreduce: seconds until every rank has the sum of one gradient a rank.
 *
 *     mpirun --bind-to none -n 2 build/release/bench/dist_bench_tree [MiB] [block|round]
 *
 * Ours is the whole step of the reducer: the gradient is added in bucket-sized ranges, summed in tree order into
 * slices, and the slices are gathered. MPI's is one MPI_Allreduce of the same buffer, on the communication thread as
 * well. The best of a few turns of each, taken in alternation, so that both meet the same machine. */
#include "dist/comm.h"
#include "dist/reduce.h"
#include "tensor/device.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TURNS = 5 };

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

static void reduce(ls_reducer *reducer)
{
    float *slice;
    int64_t begin, count, bucket = 256 * 1024;
    need(ls_reducer_begin(reducer, ls_world_ranks(world)));
    for (int64_t end = elements; end > 0; end -= bucket) {
        int64_t from = end > bucket ? end - bucket : 0;
        need(ls_reducer_add(reducer, from, end - from, gradient + from));
    }
    need(ls_reducer_grain_end(reducer));
    need(ls_reducer_finish(reducer, &slice));
    ls_slice(elements, ls_world_rank(world), ls_world_ranks(world), &begin, &count);
    memcpy(sum + begin, slice, (size_t)count * sizeof *sum);
    need(ls_all_gather_slices(reducer, LS_F32, sum));
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

int main(int count, char **arguments)
{
    double mebibytes = count > 1 ? atof(arguments[1]) : 64, ours = 1e9, theirs = 1e9;
    bool round = count > 2 && strcmp(arguments[2], "round") == 0;
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
                                 .schedule = round ? LS_SCHEDULE_ROUND : LS_SCHEDULE_BLOCK};
    need(ls_team_create(&team, 0, ls_world_node_ranks(world)));
    need(ls_device_create_cpu(&device, team));
    need(ls_reducer_open(&reducer, world, device, &options));
    gradient = aligned_alloc(64, (size_t)elements * sizeof *gradient);
    sum = aligned_alloc(64, (size_t)elements * sizeof *sum);
    for (int64_t i = 0; i < elements; i++)
        gradient[i] = (float)(i % 1000) * 0.001f, sum[i] = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        need(ls_barrier(world, "bench"));
        double begin = ls_now();
        reduce(reducer);
        ours = least(ours, ls_now() - begin);
        need(ls_barrier(world, "bench"));
        begin = ls_now();
        need(ls_comm_call(world, allreduce, NULL));
        theirs = least(theirs, ls_now() - begin);
    }
    if (ls_world_rank(world) == 0)
        printf("%d ranks, %.0f MiB, %s\n  tree           %7.1f ms  %5.2f GB/s\n  MPI_Allreduce  %7.1f ms  %5.2f GB/s\n "
               " ratio          %7.2f\n",
               ls_world_ranks(world), mebibytes, ls_reducer_describe(reducer), ours * 1e3,
               mebibytes * 1.048576e-3 / ours, theirs * 1e3, mebibytes * 1.048576e-3 / theirs, theirs / ours);
    ls_reducer_close(reducer);
    device->free(device);
    ls_team_free(team);
    free(gradient);
    free(sum);
    ls_world_close(world);
    return 0;
}
