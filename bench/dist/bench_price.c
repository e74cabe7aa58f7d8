/* The price of equal bits: a training step with fixed grains and the fixed tree against the same step as it is usually
 * done, gradients accumulated in one buffer in whatever order and summed over the ranks by MPI_Allreduce.
 *
 *     mpirun --bind-to core -n 2 build/release/bench/dist_bench_price [GRAINS [ROWS [bf16]]]
 *
 * One Llama-style model (6 blocks of 384, vocabulary 4096, rows of 256 random tokens), the same kernels, threads, loss
 * and optimiser (AdamW, clipped by the global norm) in both:
 *
 *     tree    each finished gradient into the tree (schedule block), slices summed, norm, update of the slice, gather
 *     free    each finished gradient added in place to one buffer, MPI_Allreduce in place after the last grain, norm and
 *             update of everything on every rank (nothing to gather)
 *
 * Steps are taken in alternation; medians of the slowest rank's seconds. The peer gets its best: Open MPI's faster
 * algorithm is a matter of the command line, as bench_tree.c says. */
#include "bench/figure.h"
#include "dist/comm.h"
#include "dist/reduce.h"
#include "models/transformer.h"

#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 7, TOKENS = 256, VOCABULARY = 4096 };

typedef struct {
    ls_device *device;
    ls_tape *tape;
    ls_transformer *model;
    ls_parameter *parameters;
    int count;
    int64_t elements, rows, grains, step;
    ls_type compute;
    int32_t *ids, *labels;
    float *master, *first_moment, *second_moment, *sum;
    void *working;
    ls_reducer *reducer;
    bool first_grain;
} trainer;

static ls_world *world;

static void need(ls_status status)
{
    if (status != LS_OK)
        ls_world_abort(world, ls_status_exit_code(status), ls_fail_sentence());
}

static void *take(size_t bytes)
{
    void *block = aligned_alloc(64, (bytes + 63) / 64 * 64);
    need(block ? LS_OK : ls_fail(LS_EMEM, "no memory for %zu bytes", bytes));
    return memset(block, 0, bytes);
}

/* ---- the two ways of summing ---- */

static void into_tree(void *context, const ls_parameter *parameter, void *gradient)
{
    trainer *t = context;
    need(ls_reducer_add(t->reducer, parameter->offset, parameter->count, gradient));
}

static void into_buffer(void *context, const ls_parameter *parameter, void *gradient)
{
    trainer *t = context;
    float *to = t->sum + parameter->offset;
    if (t->first_grain)
        t->device->cast(t->device, LS_F32, LS_F32, parameter->count, gradient, to);
    else
        t->device->add_to(t->device, LS_F32, parameter->count, gradient, to);
}

static ls_status allreduce(ls_world *on, void *argument)
{
    const trainer *t = argument;
    (void)on;
    MPI_Allreduce(MPI_IN_PLACE, t->sum, (int)t->elements, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    return LS_OK;
}

/* ---- the step ---- */

static void run_grain(trainer *t, int64_t grain, ls_gradient_ready ready)
{
    const ls_token_rows rows = {.rows = t->rows, .tokens = TOKENS, .ids = t->ids, .positions = NULL, .segments = NULL};
    ls_tape_reset(t->tape, 1, (uint32_t)t->step, (uint32_t)(grain * t->rows));
    ls_tensor *loss = ls_cross_entropy_sum(t->tape, ls_transformer_hidden(t->model, t->tape, &rows),
                                           ls_transformer_head(t->model, t->tape), t->labels, NULL, NULL);
    ls_backward(t->tape, loss, 1.0 / (double)(t->grains * t->rows * TOKENS), ready, t);
    need(ls_tape_status(t->tape));
}

static void update(trainer *t, int64_t begin, int64_t count, const float *gradient, double norm)
{
    ls_optimizer_args args = {.kind = LS_OPTIMIZER_ADAMW, .count = count, .step = t->step + 1, .lr = 1e-4, .beta1 = 0.9, .beta2 = 0.95,
                              .eps = 1e-8, .weight_decay = 0.1, .scale = norm > 1 ? 1 / norm : 1, .gradient = gradient,
                              .master = t->master + begin, .first_moment = t->first_moment + begin,
                              .second_moment = t->second_moment + begin, .working_type = t->compute,
                              .working = t->compute == LS_F32 ? NULL : (char *)t->working + (size_t)begin * ls_type_size(t->compute)};
    t->device->optimizer_step(t->device, &args);
}

static void tree_step(trainer *t)
{
    const int rank = ls_world_rank(world), ranks = ls_world_ranks(world);
    int64_t begin, count;
    float *slice;
    double norm;
    need(ls_reducer_begin(t->reducer, t->grains));
    for (int64_t k = 0; k < ls_schedule_grains(LS_SCHEDULE_BLOCK, t->grains, rank, ranks); k++) {
        run_grain(t, ls_schedule_grain(LS_SCHEDULE_BLOCK, t->grains, rank, ranks, k), into_tree);
        need(ls_reducer_grain_end(t->reducer));
    }
    need(ls_reducer_finish(t->reducer, &slice));
    need(ls_slices_norm(t->reducer, slice, &norm));
    ls_slice(t->elements, rank, ranks, &begin, &count);
    update(t, begin, count, slice, norm);
    need(ls_all_gather_slices(t->reducer, t->compute, t->working));
}

static void free_step(trainer *t)
{
    const int rank = ls_world_rank(world), ranks = ls_world_ranks(world);
    static double squares[1 << 16];
    double norm = 0;
    for (int64_t k = 0; k < ls_schedule_grains(LS_SCHEDULE_BLOCK, t->grains, rank, ranks); k++) {
        t->first_grain = k == 0;
        run_grain(t, ls_schedule_grain(LS_SCHEDULE_BLOCK, t->grains, rank, ranks, k), into_buffer);
    }
    if (ranks > 1)
        need(ls_comm_call(world, "all-reduce", allreduce, t));
    t->device->chunk_squares(t->device, t->elements, t->sum, squares);
    for (int64_t chunk = 0; chunk < t->elements / LS_CHUNK; chunk++)
        norm += squares[chunk];
    update(t, 0, t->elements, t->sum, sqrt(norm));
}

/* ---- bench ---- */

static int by_value(const void *a, const void *b)
{
    return *(const double *)a < *(const double *)b ? -1 : 1;
}

/* Seconds of the slowest rank. */
static double timed(trainer *t, void (*step)(trainer *t))
{
    double mine, all[256], slowest = 0;
    need(ls_barrier(world, "bench"));
    const double begin = ls_now();
    step(t);
    mine = ls_now() - begin;
    need(ls_all_gather_bytes(world, &mine, sizeof mine, all, "bench"));
    for (int rank = 0; rank < ls_world_ranks(world); rank++)
        slowest = fmax(slowest, all[rank]);
    t->step++;
    return slowest;
}

static void open_trainer(trainer *t, ls_team *team)
{
    const ls_transformer_options model = {.style = 1, .vocabulary = VOCABULARY, .layers = 6, .width = 384, .heads = 6, .context = TOKENS,
                                          .tied = true, .rope_base = 10000, .norm_eps = 1e-5, .init_std = 0.02};
    need(ls_device_create_cpu(&t->device, team));
    need(ls_tape_create(&t->tape, t->device, (size_t)1 << 36));
    need(ls_transformer_create(&t->model, &model));
    t->count = ls_transformer_parameters(t->model, &t->parameters);
    t->elements = ls_parameters_layout(t->parameters, t->count);
    const size_t bytes = (size_t)t->elements * sizeof(float);
    t->master = take(bytes);
    t->first_moment = take(bytes);
    t->second_moment = take(bytes);
    t->sum = take(bytes);
    t->working = t->compute == LS_F32 ? t->master : take((size_t)t->elements * ls_type_size(t->compute));
    ls_parameters_bind(t->parameters, t->count, t->compute, t->working, t->master);
    ls_parameters_init(t->parameters, t->count, 1, 0, t->elements, t->master);
    if (t->compute != LS_F32)
        t->device->cast(t->device, LS_F32, t->compute, t->elements, t->master, t->working);
    const ls_reduce_options options = {.elements = t->elements, .max_grains = t->grains, .schedule = LS_SCHEDULE_BLOCK};
    need(ls_reducer_open(&t->reducer, world, t->device, &options));
    const int64_t cells = t->rows * TOKENS;
    t->ids = take((size_t)cells * sizeof *t->ids);
    t->labels = take((size_t)cells * sizeof *t->labels);
    for (int64_t i = 0; i < cells; i++) {
        t->ids[i] = (int32_t)(i * 7919 % VOCABULARY);
        t->labels[i] = (int32_t)(i * 104729 % VOCABULARY);
    }
}

static void close_trainer(trainer *t)
{
    ls_reducer_close(t->reducer);
    if (t->working != t->master)
        free(t->working);
    free(t->master);
    free(t->first_moment);
    free(t->second_moment);
    free(t->sum);
    free(t->ids);
    free(t->labels);
    ls_transformer_free(t->model);
    ls_tape_free(t->tape);
    t->device->free(t->device);
}

int main(int count, char **arguments)
{
    trainer t = {.grains = count > 1 ? atoll(arguments[1]) : 4, .rows = count > 2 ? atoll(arguments[2]) : 2,
                 .compute = count > 3 && strcmp(arguments[3], "bf16") == 0 ? LS_BF16 : LS_F32};
    double tree[STEPS], plain[STEPS];
    ls_team *team;
    if (ls_world_open(&world, NULL) != LS_OK) {
        fprintf(stderr, "%s\n", ls_fail_sentence());
        return 1;
    }
    need(ls_team_create(&team, 0, ls_world_node_ranks(world)));
    open_trainer(&t, team);
    for (int turn = -1; turn < STEPS; turn++) { /* one to warm up */
        const double a = timed(&t, tree_step), b = timed(&t, free_step);
        if (turn >= 0)
            tree[turn] = a, plain[turn] = b;
    }
    qsort(tree, STEPS, sizeof *tree, by_value);
    qsort(plain, STEPS, sizeof *plain, by_value);
    if (ls_world_rank(world) == 0) {
        char name[128], note[96];
        snprintf(name, sizeof name, "price of determinism, %d ranks x %d threads, %s, %lld grains of %lld x %d", ls_world_ranks(world), ls_team_threads(team),
                 ls_type_name(t.compute), (long long)t.grains, (long long)t.rows, TOKENS);
        snprintf(note, sizeof note, "%.3f s against %.3f s", tree[STEPS / 2], plain[STEPS / 2]);
        ls_figure(name, tree[STEPS / 2] / plain[STEPS / 2], "x", 1, note);
        printf("%d ranks x %d threads, %.1fM parameters, %s, %lld grains of %lld x %d tokens\n"
               "  tree   %.3f s a step (%.3f to %.3f)\n  free   %.3f s a step (%.3f to %.3f)\n  price  %.3f\n",
               ls_world_ranks(world), ls_team_threads(team), 1e-6 * (double)t.elements, ls_type_name(t.compute), (long long)t.grains,
               (long long)t.rows, TOKENS, tree[STEPS / 2], tree[0], tree[STEPS - 1], plain[STEPS / 2], plain[0], plain[STEPS - 1],
               tree[STEPS / 2] / plain[STEPS / 2]);
    }
    close_trainer(&t);
    ls_team_free(team);
    ls_world_close(world);
    return 0;
}
