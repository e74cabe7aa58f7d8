/* Started under mpirun by test_reduce_ranks.c: rank_reduce TRANSPORT SCHEDULE BUCKET [apart]
 *
 * Reduces steps of several sizes and compares this rank's slice with the tree's definition, bit for bit; then gathers
 * the slices in both precisions and takes their norm. Exits 0 when all held on this rank. */
#include "dist/reduce.h"
#include "gradients.h"
#include "plain_device.h"

#include <stdio.h>

enum { ELEMENTS = 37 * LS_CHUNK, PERIOD = 997, GRAINS = 13 };

static ls_world *world;
static int rank, ranks;

static void need(bool held, const char *what, int64_t grains)
{
    char sentence[3072];
    if (held)
        return;
    snprintf(sentence, sizeof sentence, "%s does not hold for %lld grains (%s)", what, (long long)grains,
             ls_fail_sentence());
    ls_world_abort(world, 9, sentence);
}

static float element(int64_t step, int64_t grain, int64_t i)
{
    return gradient_at(step, grain, i % PERIOD);
}

/* Ranges of uneven sizes, the last element of a range inside a chunk; element 5 of every chunk of range 2 is left out.
 */
static void add_grain(ls_reducer *reducer, int64_t step, int64_t grain)
{
    static const int64_t border[] = {0, 3, 4, 11, 30, 37};
    static float gradient[19 * LS_CHUNK];
    for (int k = 4; k >= 0; k--) {
        int64_t begin = border[k] * LS_CHUNK, count = (border[k + 1] - border[k]) * LS_CHUNK - 7;
        if (k == 2 && grain % 2 == 1)
            continue; /* counts as zeros */
        for (int64_t i = 0; i < count; i++)
            gradient[i] = element(step, grain, begin + i);
        need(ls_reducer_add(reducer, begin, count, gradient) == LS_OK, "add", 0);
    }
    need(ls_reducer_grain_end(reducer) == LS_OK, "end of a grain", 0);
}

static float leaf_of(int64_t step, int64_t grain, int64_t i)
{
    static const int64_t border[] = {0, 3, 4, 11, 30, 37};
    for (int k = 0; k < 5; k++)
        if (i >= border[k] * LS_CHUNK && i < border[k + 1] * LS_CHUNK)
            return i >= border[k + 1] * LS_CHUNK - 7 || (k == 2 && grain % 2 == 1) ? 0 : element(step, grain, i);
    return 0;
}

static void check_step(ls_reducer *reducer, ls_schedule schedule, int64_t step, int64_t grains, float **sum)
{
    int64_t begin, count, mine = ls_schedule_grains(schedule, grains, rank, ranks);
    ls_slice(ELEMENTS, rank, ranks, &begin, &count);
    need(ls_reducer_begin(reducer, grains) == LS_OK, "begin", grains);
    for (int64_t k = 0; k < mine; k++)
        add_grain(reducer, step, ls_schedule_grain(schedule, grains, rank, ranks, k));
    if (schedule == LS_SCHEDULE_ROUND && mine < (grains + ranks - 1) / ranks)
        need(ls_reducer_grain_end(reducer) == LS_OK, "a round without a grain", grains);
    need(ls_reducer_finish(reducer, sum) == LS_OK, "finish", grains);
    for (int64_t i = 0; i < count; i++) {
        float leaf[GRAINS], want;
        for (int64_t g = 0; g < grains; g++)
            leaf[g] = leaf_of(step, g, begin + i);
        tree_sum(&want, leaf, 1, grains);
        need(memcmp(&want, &(*sum)[i], sizeof want) == 0, "the tree's sum", grains);
    }
}

static void check_gathers(ls_reducer *reducer, const float *slice)
{
    static float whole[ELEMENTS];
    static uint16_t half[ELEMENTS];
    static double squares[ELEMENTS / LS_CHUNK];
    int64_t begin, count;
    ls_slice(ELEMENTS, rank, ranks, &begin, &count);
    double norm, want;
    need(ls_slices_norm(reducer, slice, &norm) == LS_OK, "norm", 0);
    memcpy(whole + begin, slice, (size_t)count * sizeof *whole);
    for (int64_t i = begin; i < begin + count; i++)
        half[i] = (uint16_t)(i * 31);
    need(ls_all_gather_slices(reducer, LS_F32, whole) == LS_OK, "gather of f32", 0);
    need(ls_all_gather_slices(reducer, LS_BF16, half) == LS_OK, "gather of bf16", 0);
    for (int64_t i = 0; i < ELEMENTS; i++)
        need(half[i] == (uint16_t)(i * 31), "gathered bf16 element", 0);
    plain_chunk_squares(NULL, ELEMENTS, whole, squares);
    want = sqrt(ls_tree_sum_f64(squares, ELEMENTS / LS_CHUNK));
    need(memcmp(&norm, &want, sizeof norm) == 0, "norm of the gathered whole", 0);
}

int main(int count, char **arguments)
{
    if (count < 4) {
        fprintf(stderr, "usage: rank_reduce window|mpi|best block|round BUCKET [apart]\n");
        return 2;
    }
    ls_world_options world_options = {.deadline = 20, .node_per_rank = count > 4};
    if (ls_world_open(&world, &world_options) != LS_OK) {
        fprintf(stderr, "%s\n", ls_fail_sentence());
        return 1;
    }
    rank = ls_world_rank(world);
    ranks = ls_world_ranks(world);
    ls_schedule schedule = strcmp(arguments[2], "round") == 0 ? LS_SCHEDULE_ROUND : LS_SCHEDULE_BLOCK;
    ls_reduce_options options = {.elements = ELEMENTS,
                                 .max_grains = GRAINS,
                                 .schedule = schedule,
                                 .bucket = atoi(arguments[3]),
                                 .transport = strcmp(arguments[1], "best") == 0 ? NULL : arguments[1]};
    ls_device device = plain_device();
    ls_reducer *reducer;
    need(ls_reducer_open(&reducer, world, &device, &options) == LS_OK, "opening", 0);
    float *sum;
    static const int64_t steps[] = {13, 8, 1, 3, 2};
    for (int64_t step = 0; step < 5; step++) {
        check_step(reducer, schedule, step, steps[step], &sum);
        check_gathers(reducer, sum);
    }
    if (rank == 0)
        printf("%s\n", ls_reducer_describe(reducer));
    ls_reducer_close(reducer);
    ls_world_close(world);
    return 0;
}
