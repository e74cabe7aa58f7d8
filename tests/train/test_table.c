/* Tables: the lazy update of rows with a gradient, against plain loops in f64, and the same bits on any number of
 * ranks; then whole runs with a sparse token embedding. */
#include "train/table.h"
#include "tests/train/run_fixture.h"

#include "base/random.h"
#include "checkpoint/checkpoint.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/dist/loopback_ranks.h"

/* ---- steps of one table, fed by hand ---- */

enum { ROWS = 448 /* with WIDTH 7 whole chunks */, WIDTH = 64, GRAINS = 7, STEPS = 4, COUNT = ROWS * WIDTH };

static const double lr = 0.02, decay = 0.1, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, scale = 0.7, momentum = 0.8,
                    lr_scale = 0.5;

/* Rows below 300 alone are ever looked up, about a sixth of them by each grain. */
static bool looked_up(int step, int64_t grain, int64_t row)
{
    return row < 300 && (row * 31 + grain * 17 + step * 7) % 6 == 0;
}

static float gradient_at(int step, int64_t grain, int64_t element)
{
    const ls_random stream = {.seed = 7, .step = (uint32_t)step, .slot = (uint32_t)grain, .purpose = LS_RANDOM_TASK};
    return ls_random_normal(&stream, (uint64_t)element);
}

typedef struct {
    float weight[COUNT], first[COUNT], second[COUNT];
    uint16_t working[2 * COUNT]; /* f32 or bf16 */
} state;

typedef struct {
    ls_schedule schedule;
    ls_optimizer_kind kind;
    ls_type compute;
    state *result; /* rank 0 writes working and its slice, the others their slices */
    double squares;
    _Atomic int wrong;
} trial;

static ls_status add_grain(ls_run *run, const ls_parameter *p, int step, int64_t grain)
{
    static _Thread_local int32_t row[ROWS];
    static _Thread_local float vector[COUNT];
    ls_row_gradient list = {.width = WIDTH, .row = row, .vector = vector};
    for (int64_t r = 0; r < ROWS; r++) {
        if (!looked_up(step, grain, r))
            continue;
        for (int64_t d = 0; d < WIDTH; d++)
            vector[list.count * WIDTH + d] = gradient_at(step, grain, r * WIDTH + d);
        row[list.count++] = (int32_t)r;
    }
    const ls_status status = ls_tables_add(run, p, &list);
    return status == LS_OK ? ls_tables_grain_end(run) : status;
}

static ls_status take_step(ls_run *run, const trial *t, const ls_parameter *p, int step, double *squares)
{
    ls_status status = ls_tables_begin(run, GRAINS);
    for (int64_t k = 0; k < ls_schedule_grains(run->schedule, GRAINS, run->rank, run->ranks) && status == LS_OK; k++)
        status = add_grain(run, p, step, ls_schedule_grain(run->schedule, GRAINS, run->rank, run->ranks, k));
    if (status == LS_OK)
        status = ls_tables_finish(run);
    *squares = 0;
    if (status == LS_OK)
        status = ls_tables_squares(run, squares);
    const ls_optimizer_args args = {.kind = t->kind,
                                    .step = step + 1,
                                    .lr = lr,
                                    .beta1 = beta1,
                                    .beta2 = beta2,
                                    .eps = eps,
                                    .momentum = momentum,
                                    .scale = scale};
    if (status == LS_OK)
        ls_tables_update(run, &args);
    return status == LS_OK ? ls_tables_publish(run) : status;
}

static void keep_slice(const ls_flat *flat, state *to)
{
    const size_t bytes = (size_t)flat->slice_count * sizeof(float);
    memcpy(to->weight + flat->slice_begin, flat->master, bytes);
    memcpy(to->first + flat->slice_begin, flat->first_moment, bytes);
    if (flat->second_moment)
        memcpy(to->second + flat->slice_begin, flat->second_moment, bytes);
}

static void train_table(ls_world *world, void *context)
{
    trial *t = context;
    ls_train_config config = {.run.seed = 3, .batch.grains = GRAINS};
    ls_parameter table = {.name = "table",
                          .ndim = 2,
                          .shape = {ROWS, WIDTH},
                          .count = COUNT,
                          .sparse_rows = true,
                          .lr_scale = lr_scale,
                          .init = {LS_INIT_NORMAL, 1}};
    ls_run run = {.config = &config,
                  .world = world,
                  .rank = ls_world_rank(world),
                  .ranks = ls_world_ranks(world),
                  .schedule = t->schedule};
    double squares = 0, weight_decay = decay;
    run.groups.weight_decay = &weight_decay;
    ls_status status = ls_team_create(&run.team, 2, 1);
    if (status == LS_OK)
        status = ls_device_create_cpu(&run.device, run.team);
    if (status == LS_OK)
        status = ls_tables_open(&run, &table, 1, t->compute, t->kind == LS_OPTIMIZER_ADAMW);
    ls_tables_round(&run);
    if (status == LS_OK)
        status = ls_tables_publish_all(&run);
    for (int step = 0; step < STEPS && status == LS_OK; step++)
        status = take_step(&run, t, &table, step, &squares);
    if (status == LS_OK)
        keep_slice(&run.tables[0].flat, t->result);
    if (status == LS_OK && run.rank == run.ranks - 1) { /* any rank has the whole of it */
        memcpy(t->result->working, run.tables[0].flat.working, COUNT * ls_type_size(t->compute));
        t->squares = squares;
    }
    t->wrong += status != LS_OK;
    ls_tables_close(&run);
    run.device->free(run.device);
    ls_team_free(run.team);
}

static state *train(trial *t, int ranks)
{
    t->result = calloc(1, sizeof *t->result);
    on_every_rank(ranks, &(ls_world_options){.deadline = 20}, train_table, t);
    cr_assert_eq(t->wrong, 0, "%d ranks", ranks);
    return t->result;
}

/* AdamW (Loshchilov & Hutter 2019) or SGD with momentum, for the rows with a gradient alone; steps are counted for the
 * table, not for a row. Returns the last step's sum of squares. */
static double reference(ls_optimizer_kind kind, const float *initial, double *weight, double *first, double *second)
{
    double squares = 0;
    for (int64_t i = 0; i < COUNT; i++)
        weight[i] = (double)initial[i];
    for (int step = 0; step < STEPS; step++) {
        squares = 0;
        for (int64_t i = 0; i < COUNT; i++) {
            double g = 0;
            bool any = false;
            for (int64_t grain = 0; grain < GRAINS; grain++)
                if (looked_up(step, grain, i / WIDTH)) {
                    g += (double)gradient_at(step, grain, i);
                    any = true;
                }
            squares += g * g;
            if (!any)
                continue;
            g *= scale;
            const double rate = lr * lr_scale, old = weight[i];
            if (kind == LS_OPTIMIZER_SGD) {
                first[i] = momentum * first[i] + g + decay * old;
                weight[i] = old - rate * first[i];
                continue;
            }
            first[i] = beta1 * first[i] + (1 - beta1) * g;
            second[i] = beta2 * second[i] + (1 - beta2) * g * g;
            const double m = first[i] / (1 - pow(beta1, step + 1)), v = second[i] / (1 - pow(beta2, step + 1));
            weight[i] = old - rate * (m / (sqrt(v) + eps) + decay * old);
        }
    }
    return squares;
}

static double relative(const float *got, const double *want)
{
    double error = 0, norm = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += want[i] * want[i];
    }
    return norm > 0 ? sqrt(error / norm) : error;
}

static float *initial_weights(void)
{
    float *weight = calloc(COUNT, sizeof *weight);
    const ls_random stream = {.seed = 3, .purpose = LS_RANDOM_INIT};
    ls_random_normals(&stream, 0, COUNT, weight);
    return weight;
}

static void agrees_with_f64(ls_optimizer_kind kind)
{
    trial t = {.schedule = LS_SCHEDULE_BLOCK, .kind = kind};
    state *got = train(&t, 2);
    float *initial = initial_weights();
    double *weight = calloc(3 * COUNT, sizeof *weight), *first = weight + COUNT, *second = first + COUNT;
    const double squares = reference(kind, initial, weight, first, second);
    cr_expect_leq(relative(got->weight, weight), 1e-6);
    cr_expect_leq(relative(got->first, first), 1e-6, "%g", relative(got->first, first));
    cr_expect_leq(relative(got->second, second), 1e-6, "%g", relative(got->second, second));
    cr_expect_float_eq(t.squares, squares, 1e-6 * squares);
    for (int64_t i = 0; i < COUNT; i++) {
        const bool untouched = i / WIDTH >= 300;
        const bool same =
            !memcmp(&got->weight[i], &initial[i], sizeof *initial) && got->first[i] == 0 && got->second[i] == 0;
        cr_assert(same || !untouched, "row %d has no gradient and must stay", (int)(i / WIDTH));
    }
    cr_expect_eq(memcmp(got->working, got->weight, sizeof got->weight), 0, "every rank has the new rows");
    free(got), free(initial), free(weight);
}

Test(table, lazy_adamw_agrees_with_f64_and_leaves_other_rows_alone, .timeout = 60)
{
    agrees_with_f64(LS_OPTIMIZER_ADAMW);
}

Test(table, lazy_sgd_agrees_with_f64_and_leaves_other_rows_alone, .timeout = 60)
{
    agrees_with_f64(LS_OPTIMIZER_SGD);
}

Test(table, neither_ranks_nor_schedule_change_a_bit, .timeout = 60)
{
    for (ls_type compute = LS_F32; compute <= LS_BF16; compute++) {
        trial alone = {.schedule = LS_SCHEDULE_BLOCK, .kind = LS_OPTIMIZER_ADAMW, .compute = compute};
        state *want = train(&alone, 1);
        for (int ranks = 2; ranks <= 7; ranks++) { /* 7 chunks: some own one, some more */
            trial t = {.schedule = ranks % 2 ? LS_SCHEDULE_ROUND : LS_SCHEDULE_BLOCK,
                       .kind = LS_OPTIMIZER_ADAMW,
                       .compute = compute};
            state *got = train(&t, ranks);
            cr_expect_eq(memcmp(got, want, sizeof *got), 0, "%s, %d ranks", ls_type_name(compute), ranks);
            cr_expect_eq(memcmp(&t.squares, &alone.squares, sizeof t.squares), 0, "%d ranks: the norm", ranks);
            free(got);
        }
        free(want);
    }
}

Test(table, must_stand_first)
{
    const ls_parameter parameters[] = {{.name = "a", .sparse_rows = true},
                                       {.name = "b"},
                                       {.name = "c", .sparse_rows = true, .frozen = true},
                                       {.name = "d", .sparse_rows = true}};
    int tables;
    cr_expect_eq(ls_tables_count(parameters, 3, &tables), LS_OK);
    cr_expect_eq(tables, 1);
    cr_expect_eq(ls_tables_count(parameters, 4, &tables), LS_EARG);
    cr_expect(strstr(ls_fail_sentence(), "parameter d has sparse rows but stands behind b"), "%s", ls_fail_sentence());
}

/* ---- whole runs ---- */

static void begin(void)
{
    ls_fixture_begin();
    ls_fixture_data();
}

TestSuite(table_runs, .init = begin, .fini = ls_fixture_end, .timeout = 150);

#define SPARSE "model.tied=false model.vocabulary=1500 model.dropout=0 model.sparse_embedding"

static double first_norm(const char *run)
{
    const ls_answer *answer = ls_shell("grep -om1 '\"grad_norm\": [0-9.e-]*' %s/metrics.jsonl", run);
    const char *colon = strchr(answer->output, ':');
    cr_assert_not_null(colon, "%s", answer->output);
    return strtod(colon + 1, NULL);
}

/* The sums are the dense ones, row for row, so where an update has no memory (no moments, no decay) and no clipping
 * asks for the norm, whose chunks lie elsewhere, the whole run is the same: weights, averaged weights, gradients, and
 * what evaluation makes of either. Tables come first in a list, hence the sorting. */
Test(table_runs, plain_sgd_has_the_bits_of_a_dense_embedding)
{
    const char *plain =
        "max_steps=3 hash_log=true checkpoint.every=0 ema.decay=0.9 'optimizer={name: sgd, momentum: 0, "
        "weight_decay: 0, clip_norm: 0, lr: 0.1}'";
    ls_expect(ls_shell("lockstep train tiny.yaml " SPARSE "=false run=dense %s", plain), 0, NULL);
    ls_expect(ls_shell("mpirun --oversubscribe -n 3 lockstep train tiny.yaml " SPARSE "=true run=sparse %s", plain), 0,
              NULL);
    ls_expect(ls_shell("for run in dense sparse; do\n"
                       "{ cat $run/hashes.jsonl; grep -o '\"eval[a-z_]*\": [0-9.e-]*' $run/metrics.jsonl; } "
                       "| tr '{},' '\\n' | sort > $run.all; done\n"
                       "grep -c gradient/embedding/token dense.all; grep -c ema/embedding/token dense.all; "
                       "grep -c eval_loss_ema dense.all; diff dense.all sparse.all && echo equal"),
              0, "3\n3\n2\n", "equal", NULL);
    const double want = first_norm("dense"), got = first_norm("sparse");
    cr_expect_float_eq(got, want, 1e-6 * want, "the rows are in the norm: %g, %g", got, want);
}

static float *tensor_of(const char *folder, const char *name, int64_t *count)
{
    ls_state_entry entry;
    void *data = NULL;
    cr_assert_eq(ls_checkpoint_read(folder, name, &entry, &data), LS_OK, "%s", ls_fail_sentence());
    *count = entry.shape[0];
    cr_assert_eq(entry.shape[1], 32);
    return data;
}

/* Trained on 2 ranks, then 3: the rows that the data never names keep their first values; the others moved. */
Test(table_runs, rows_without_a_gradient_keep_their_bits_over_resumes)
{
    ls_expect(ls_shell("lockstep train tiny.yaml " SPARSE "=true max_steps=1 optimizer.lr=0 run=still"), 0, NULL);
    ls_expect(ls_shell("mpirun --oversubscribe -n 2 lockstep train tiny.yaml " SPARSE
                       "=true max_steps=2 batch.schedule=round"),
              0, NULL);
    ls_expect(ls_shell("mpirun --oversubscribe -n 3 lockstep train tiny.yaml " SPARSE "=true max_steps=4"), 0,
              "resuming", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml " SPARSE "=true max_steps=4 run=straight"), 0, NULL);
    ls_expect(ls_shell("test \"$(lockstep ckpt hash run)\" = \"$(lockstep ckpt hash straight)\" && echo equal"), 0,
              "equal", NULL);
    int64_t rows, moved = 0;
    float *before = tensor_of("still", "model/embedding/token/weight", &rows),
          *after = tensor_of("run", "model/embedding/token/weight", &rows),
          *moment = tensor_of("run", "optimizer/second_moment/embedding/token/weight", &rows);
    cr_assert_eq(rows, 1500);
    for (int64_t row = 0; row < rows; row++) {
        bool touched = row == 0; /* pads rows: looked up with a gradient of 0, so all it does is decay */
        for (int64_t d = 0; d < 32; d++)
            touched = touched || moment[row * 32 + d] != 0;
        const bool same = !memcmp(before + row * 32, after + row * 32, 32 * sizeof *after);
        cr_assert_eq(same, !touched, "row %d: %s", (int)row,
                     touched ? "it must move" : "it has no gradient and must stay");
        cr_assert(!touched || row < 512, "the tokenizer has 512 words");
        moved += touched;
    }
    cr_expect(moved > 100, "%d rows moved", (int)moved);
    free(before), free(after), free(moment);
}

Test(table_runs, a_tied_head_is_refused)
{
    ls_expect(ls_shell("lockstep train tiny.yaml model.sparse_embedding=true"), 2,
              "model.sparse_embedding needs model.tied: false", NULL);
}
