/* Gradients of parameters with sparse rows: row for row the bits of the dense gradient, and no memory for the rest. */
#include "tensor/ops.h"
#include "tests/tensor/numbers.h"

enum { ROWS = 300, WIDTH = 20, PLACES = 170 };

/* ---- a step on one table, dense or sparse ---- */

/* Repeats, the first row, the last, and for gather every tenth absent. */
static int32_t id_at(int64_t i)
{
    return i % 13 == 0 ? ROWS - 1 : (int32_t)(i * i * 7 % 101);
}

static ls_tensor *looked_up(ls_tape *tape, ls_tensor *table, int64_t shift)
{
    int32_t ids[PLACES];
    for (int64_t i = 0; i < PLACES; i++)
        ids[i] = (id_at(i) + 3 * (int32_t)shift) % ROWS; /* other rows for each use, some the same */
    ls_tensor *x = ls_embedding(tape, table, ids, LS_SHAPE(PLACES));
    return ls_mul(tape, ls_square(tape, x), x); /* x^3: the gradient needs x */
}

/* Gives each place a weight, so that each has a gradient of its own. */
static ls_tensor *weighted(ls_tape *tape, ls_tensor *x, uint64_t seed)
{
    void *weights = numbers(x->type, x->count, seed, 1);
    void *kept = ls_arena_take(ls_tape_arena(tape), (size_t)x->count * ls_type_size(x->type));
    memcpy(kept, weights, (size_t)x->count * ls_type_size(x->type));
    free(weights);
    return ls_sum(tape, ls_mul(tape, x, ls_constant(tape, x->type, x->ndim, x->shape, kept)), LS_ALL);
}

static ls_tensor *once(ls_tape *tape, ls_tensor *table)
{
    return weighted(tape, looked_up(tape, table, 0), 5);
}

static ls_tensor *scope(void *context, ls_tape *tape, ls_tensor *x)
{
    return ls_add(tape, x, looked_up(tape, ls_use(tape, *(const ls_parameter **)context), 50));
}

/* Embedding twice, once inside a recompute scope, and a gather that leaves places out. */
static ls_tensor *often(ls_tape *tape, ls_tensor *table)
{
    int32_t some[PLACES];
    for (int64_t i = 0; i < PLACES; i++)
        some[i] = i % 10 == 4 ? -1 : id_at(3 * i);
    const ls_parameter *parameter = table->parameter;
    ls_tensor *x = ls_recompute(tape, scope, &parameter, sizeof parameter, looked_up(tape, table, 7));
    return weighted(tape, ls_mul(tape, x, ls_gather(tape, table, PLACES, some)), 6);
}

typedef struct {
    int64_t count;
    int32_t row[ROWS];
    double vector[ROWS * WIDTH]; /* as they came: f32 is exact in f64 */
    int times;
} taken;

static void take(void *context, const ls_parameter *parameter, void *gradient)
{
    taken *t = context;
    t->times++;
    const ls_row_gradient *rows = gradient;
    const ls_type type = parameter->type == LS_F64 ? LS_F64 : LS_F32;
    t->count = parameter->sparse_rows ? rows->count : ROWS;
    for (int64_t i = 0; i < t->count; i++) {
        t->row[i] = parameter->sparse_rows ? rows->row[i] : (int32_t)i;
        for (int64_t d = 0; d < WIDTH; d++)
            t->vector[i * WIDTH + d] = get(type, parameter->sparse_rows ? rows->vector : gradient, i * WIDTH + d);
    }
}

typedef ls_tensor *(*loss_of)(ls_tape *tape, ls_tensor *table);

static taken *step(ls_device *device, ls_type type, loss_of loss, bool sparse)
{
    ls_tape *tape;
    taken *t = calloc(1, sizeof *t);
    cr_assert_eq(ls_tape_create(&tape, device, 1 << 26), LS_OK);
    ls_parameter table = {.name = "table",
                          .ndim = 2,
                          .shape = {ROWS, WIDTH},
                          .count = ROWS * WIDTH,
                          .type = type,
                          .data = numbers(type, ROWS * WIDTH, 3, 1),
                          .sparse_rows = sparse};
    for (int again = 0; again < 2; again++) {
        ls_tape_reset(tape, 1, 0, 0);
        ls_backward(tape, loss(tape, ls_use(tape, &table)), 1, take, t);
        cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
    }
    cr_assert_eq(t->times, 2);
    ls_tape_free(tape);
    free(table.data);
    return t;
}

/* ---- the properties ---- */

static void same_as_dense(loss_of loss)
{
    ls_device *device = device_of(2), *alone = device_of(1);
    for (ls_type type = LS_F32; type <= LS_F64; type++) {
        taken *dense = step(device, type, loss, false), *sparse = step(device, type, loss, true),
              *single = step(alone, type, loss, true);
        cr_assert_eq(memcmp(sparse, single, sizeof *sparse), 0, "%s: threads show", ls_type_name(type));
        int64_t at = 0;
        for (int64_t row = 0; row < ROWS; row++) {
            const double *want = dense->vector + row * WIDTH;
            if (at < sparse->count && sparse->row[at] == row) {
                cr_expect_eq(memcmp(sparse->vector + at * WIDTH, want, WIDTH * sizeof *want), 0, "%s: row %d",
                             ls_type_name(type), (int)row);
                at++;
                continue;
            }
            for (int64_t d = 0; d < WIDTH; d++)
                cr_assert_eq(want[d], 0, "%s: row %d is missing", ls_type_name(type), (int)row);
        }
        cr_expect_eq(at, sparse->count, "rows must ascend, each once");
        cr_expect_gt(sparse->count, 20);
        cr_expect_lt(sparse->count, ROWS / 2);
        free(dense), free(sparse), free(single);
    }
    device_done(device);
    device_done(alone);
}

Test(row_gradient, of_one_use_has_the_bits_of_the_dense_one)
{
    same_as_dense(once);
}

Test(row_gradient, of_many_uses_has_the_bits_of_the_dense_one)
{
    same_as_dense(often);
}

Test(row_gradient, agrees_with_the_sum_over_places_in_f64)
{
    ls_device *device = device_of(2);
    taken *t = step(device, LS_F32, once, true);
    const float *x = numbers(LS_F32, ROWS * WIDTH, 3, 1), *weight = numbers(LS_F32, PLACES * WIDTH, 5, 1);
    double *want = calloc((size_t)(t->count * WIDTH), sizeof *want);
    for (int64_t k = 0; k < t->count; k++)
        for (int64_t i = 0; i < PLACES; i++)
            for (int64_t d = 0; d < WIDTH && id_at(i) == t->row[k]; d++) {
                double value = (double)x[t->row[k] * WIDTH + d];
                want[k * WIDTH + d] += 3 * value * value * (double)weight[i * WIDTH + d];
            }
    cr_expect_leq(relative_error(LS_F64, t->vector, want, t->count * WIDTH), 1e-6);
    free(want), free((void *)x), free((void *)weight), free(t);
    device_done(device);
}

Test(row_gradient, memory_does_not_follow_the_table)
{
    ls_device *device = device_of(1);
    size_t memory[2];
    for (int large = 0; large < 2; large++) {
        ls_tape *tape;
        taken t = {0};
        const int64_t rows = large ? 1000000 : ROWS;
        ls_parameter table = {.name = "table",
                              .ndim = 2,
                              .shape = {rows, WIDTH},
                              .count = rows * WIDTH,
                              .data = array_of(LS_F32, rows * WIDTH),
                              .sparse_rows = true};
        cr_assert_eq(ls_tape_create(&tape, device, 1 << 26), LS_OK);
        ls_tape_reset(tape, 1, 0, 0);
        ls_backward(tape, once(tape, ls_use(tape, &table)), 1, take, &t);
        cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
        memory[large] = ls_tape_memory(tape);
        ls_tape_free(tape);
        free(table.data);
    }
    cr_expect_eq(memory[1], memory[0]);
    device_done(device);
}

/* ---- mistakes ---- */

static void expect_error(ls_device *device, ls_status code, const char *part, loss_of loss, const ls_parameter *table)
{
    ls_tape *tape;
    cr_assert_eq(ls_tape_create(&tape, device, 1 << 24), LS_OK);
    ls_tape_reset(tape, 1, 0, 0);
    ls_backward(tape, loss(tape, ls_use(tape, table)), 1, NULL, NULL);
    cr_expect_eq(ls_tape_status(tape), code);
    cr_expect(strstr(ls_fail_sentence(), part), "%s", ls_fail_sentence());
    ls_tape_free(tape);
}

static ls_tensor *tied_head(ls_tape *tape, ls_tensor *table)
{
    return ls_sum(tape, ls_linear(tape, looked_up(tape, table, 0), table, NULL, LS_ACT_NONE), LS_ALL);
}

static ls_tensor *handed_on(ls_tape *tape, ls_tensor *table)
{
    return ls_sum(tape, ls_reshape(tape, table, LS_SHAPE(ROWS * WIDTH)), LS_ALL);
}

Test(row_gradient, other_uses_are_refused_by_name)
{
    ls_device *device = device_of(1);
    ls_parameter table = {.name = "embedding",
                          .ndim = 2,
                          .shape = {ROWS, WIDTH},
                          .count = ROWS * WIDTH,
                          .data = numbers(LS_F32, ROWS * WIDTH, 3, 1),
                          .sparse_rows = true};
    expect_error(device, LS_EARG, "operator linear: parameter embedding has sparse rows", tied_head, &table);
    expect_error(device, LS_EARG, "operator reshape: parameter embedding has sparse rows", handed_on, &table);
    table.ndim = 1;
    expect_error(device, LS_ESHAPE, "parameter embedding: sparse rows need [rows, width]", handed_on, &table);
    free(table.data);
    device_done(device);
}
