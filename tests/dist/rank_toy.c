/* Started under mpirun by test_toy.c: rank_toy block|round [apart]
 *
 * Trains a linear regression, written by hand, as the training loop trains its models: grains, one count over the step,
 * sums in the tree, clipping by the norm, an optimiser on slices, and a gather. Rank 0 prints the loss of each step and
 * a hash of the weights, bit by bit; nothing that it prints may depend on ranks, schedule or transport. */
#include "base/hash.h"
#include "dist/reduce.h"
#include "gradients.h"
#include "plain_device.h"

#include <stdio.h>

enum { FEATURES = 6 * LS_CHUNK, GRAIN = 2, GRAINS = 7, STEPS = 6, LAST_GRAINS = 3 };

static ls_world *world;
static int rank, ranks;
static float weights[FEATURES], gradient[FEATURES];

static void need(ls_status status)
{
    if (status != LS_OK)
        ls_world_abort(world, 9, ls_fail_sentence());
}

/* Feature i of a sample, and what it should give: a few features carry all of the truth. */
static float feature(int64_t sample, int64_t i)
{
    uint32_t counter[4] = {(uint32_t)i, (uint32_t)sample, 0, 0}, key[2] = {5, 6}, bits[4];
    ls_philox4x32(counter, key, bits);
    return (float)bits[0] / 4294967296.f - 0.5f;
}

static float truth(int64_t sample)
{
    return 3 * feature(sample, 0) - 2 * feature(sample, 4097) + feature(sample, 20000);
}

/* Squared error of a grain (the same samples in every step), and its gradient with the step's count in the denominator.
 */
static double grain_loss(int64_t grain, int64_t count)
{
    double loss = 0;
    memset(gradient, 0, sizeof gradient);
    for (int64_t k = 0; k < GRAIN; k++) {
        int64_t sample = grain * GRAIN + k;
        static float x[FEATURES];
        float prediction = 0;
        for (int64_t i = 0; i < FEATURES; i++) {
            x[i] = feature(sample, i);
            prediction += weights[i] * x[i];
        }
        float error = prediction - truth(sample);
        loss += 0.5 * (double)error * (double)error;
        for (int64_t i = 0; i < FEATURES; i++)
            gradient[i] += error * x[i] / (float)count;
    }
    return loss;
}

static void take_step(ls_reducer *reducer, ls_schedule schedule, int64_t step)
{
    int64_t grains = step == STEPS - 1 ? LAST_GRAINS : GRAINS, begin, count; /* the last step may leave ranks idle */
    double losses[GRAINS], all[GRAINS], norm;
    float *sum;
    need(ls_reducer_begin(reducer, grains));
    for (int64_t k = 0; k < ls_schedule_grains(schedule, grains, rank, ranks); k++) {
        losses[k] = grain_loss(ls_schedule_grain(schedule, grains, rank, ranks, k), grains * GRAIN);
        for (int64_t at = FEATURES - LS_CHUNK; at >= 0; at -= LS_CHUNK)
            need(ls_reducer_add(reducer, at, LS_CHUNK, gradient + at));
        need(ls_reducer_grain_end(reducer));
    }
    need(ls_grain_values(world, schedule, grains, losses, sizeof *losses, all));
    need(ls_reducer_finish(reducer, &sum));
    need(ls_slices_norm(reducer, sum, &norm));
    ls_slice(FEATURES, rank, ranks, &begin, &count);
    float scale = norm > 1 ? (float)(1 / norm) : 1;
    for (int64_t i = 0; i < count; i++)
        weights[begin + i] -= 0.01f * (scale * sum[i]);
    need(ls_all_gather_slices(reducer, LS_F32, weights));
    if (rank == 0)
        printf("step %lld loss %a norm %a weights %016llx\n", (long long)step,
               ls_tree_sum_f64(all, grains) / (double)(grains * GRAIN), norm,
               (unsigned long long)ls_hash_bytes(weights, sizeof weights, LS_HASH_SEED));
}

int main(int count, char **arguments)
{
    ls_world_options options = {.deadline = 20, .node_per_rank = count > 2};
    if (count < 2 || ls_world_open(&world, &options) != LS_OK) {
        fprintf(stderr, "usage: rank_toy block|round [apart]\n%s\n", ls_fail_sentence());
        return 2;
    }
    rank = ls_world_rank(world);
    ranks = ls_world_ranks(world);
    ls_schedule schedule = strcmp(arguments[1], "round") == 0 ? LS_SCHEDULE_ROUND : LS_SCHEDULE_BLOCK;
    ls_reduce_options reduce = {
        .elements = FEATURES, .max_grains = GRAINS, .schedule = schedule, .bucket = 2 * LS_CHUNK};
    ls_device device = plain_device();
    ls_reducer *reducer;
    need(ls_reducer_open(&reducer, world, &device, &reduce));
    for (int64_t step = 0; step < STEPS; step++)
        take_step(reducer, schedule, step);
    ls_reducer_close(reducer);
    ls_world_close(world);
    return 0;
}
