/* Every operator on drawn shapes: odd sizes, ones, one long axis, an empty axis; inputs as they are, and as results of
 * permute and narrow. Values against the formula and gradients against difference quotients in f64, values and
 * gradients in f32 against those of the naive device. And what an operator cannot do without an element is refused by
 * name. */
#include "tests/tensor/operator_checks.h"
#include "tensor/ops_image.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { DRAWS = 8 * FUZZ_KINDS };

static ls_device *device;
static ls_team *team;

static void make_device(void)
{
    cr_assert_eq(ls_team_create(&team, 2, 1), LS_OK);
    cr_assert_eq(ls_device_create_cpu(&device, team), LS_OK, "%s", ls_fail_sentence());
}

static void free_device(void)
{
    device->free(device);
    ls_team_free(team);
}

TestSuite(fuzz, .init = make_device, .fini = free_device);

static void for_each_drawn(void (*f)(const operator_description *d, const operator_case *c))
{
    for (const operator_description *const *family = operator_families; *family; family++)
        for (const operator_description *d = *family; d->name; d++) {
            cr_assert_not_null(d->draw, "%s has no .draw: say which shapes it takes (tests/tensor/fuzz.h)", d->name);
            for (int number = 0; number < DRAWS; number++) {
                const operator_case c = fuzz_case(d->name, d->draw, number);
                f(d, &c);
            }
        }
}

static bool is_empty(const operator_description *d, const operator_case *c)
{
    for (int i = 0; i < d->inputs; i++)
        if (operator_input_count(c, i) == 0)
            return true;
    return false;
}

Test(fuzz, every_operator_gets_an_empty_input_and_only_where_it_should)
{
    for (const operator_description *const *family = operator_families; *family; family++)
        for (const operator_description *d = *family; d->name && d->draw; d++) {
            int empty = 0, other = 0;
            for (int number = 0; number < DRAWS; number++) {
                const operator_case c = fuzz_case(d->name, d->draw, number);
                *(number % FUZZ_KINDS == FUZZ_EMPTY ? &empty : &other) += is_empty(d, &c);
            }
            cr_expect_gt(empty, 0, "%s is never drawn with an empty input", d->name);
            cr_expect_eq(other, 0, "%s: %d cases are empty that should not be", d->name, other);
        }
}

static void value_is_the_formula(const operator_description *d, const operator_case *c)
{
    check_value(d, c, device);
}

Test(fuzz, values_in_f64_are_their_formulas)
{
    for_each_drawn(value_is_the_formula);
}

static void gradient_is_the_difference_quotient(const operator_description *d, const operator_case *c)
{
    check_gradient(d, c, device);
}

Test(fuzz, gradients_in_f64_are_difference_quotients)
{
    for_each_drawn(gradient_is_the_difference_quotient);
}

/* Wide, as norms over two or three numbers keep few digits in f32: what is looked for is a wrong tail, off by 1. */
static void agrees_in_f32(const operator_description *d, const operator_case *c)
{
    check_agreement(d, c, device, LS_F32, 2e-2);
}

Test(fuzz, values_and_gradients_in_f32_agree_with_f64)
{
    for_each_drawn(agrees_in_f32);
}

/* The numbers are rounded to bf16 first, on both sides. */
static void agrees_in_bf16(const operator_description *d, const operator_case *c)
{
    operator_case rounded = *c;
    rounded.argument[CASE_SEED] *= -1;
    check_agreement(d, &rounded, device, LS_BF16, 0.1);
}

Test(fuzz, values_and_gradients_in_bf16_agree_with_f64)
{
    for_each_drawn(agrees_in_bf16);
}

/* ---- inputs that are pieces of something larger, in another order ---- */

/* A larger array with the axes of an input in another order: axis i of the input is axis place[i] of the array, from
 * begin on. */
typedef struct {
    int ndim, place[LS_MAX_DIMS], wide;
    int64_t shape[LS_MAX_DIMS], begin, count;
} storage;

static storage storage_of(const operator_case *c, int input)
{
    storage s = {.ndim = c->in[input].ndim, .count = 1};
    const int64_t turn = s.ndim ? c->argument[CASE_SEED] % s.ndim : 0;
    s.wide = s.ndim ? (int)((c->argument[CASE_SEED] / 7 + input) % s.ndim) : 0;
    s.begin = 1 + input;
    for (int i = 0; i < s.ndim; i++) {
        s.place[i] = (int)((i + turn) % s.ndim);
        s.shape[s.place[i]] = c->in[input].shape[i] + (i == s.wide ? s.begin + 2 : 0);
    }
    for (int i = 0; i < s.ndim; i++)
        s.count *= s.shape[i];
    return s;
}

/* Where element `i` of the input lies in the array. */
static int64_t place_in(const storage *s, const operator_case *c, int input, int64_t i)
{
    int64_t stride[LS_MAX_DIMS], product = 1, at = 0;
    for (int axis = s->ndim - 1; axis >= 0; axis--) {
        stride[axis] = product;
        product *= s->shape[axis];
    }
    for (int axis = s->ndim - 1; axis >= 0; axis--) {
        const int64_t size = c->in[input].shape[axis];
        at += (i % size + (axis == s->wide ? s->begin : 0)) * stride[s->place[axis]];
        i /= size;
    }
    return at;
}

static void pieces_give_the_same_bits(const operator_description *d, const operator_case *c)
{
    operator_outcome want = operator_run(d, c, device, LS_F64);
    ls_tape *tape;
    cr_assert_eq(ls_tape_create(&tape, device, 1 << 24), LS_OK);
    ls_tape_reset(tape, 5, 2, 3);
    double *data[OPERATOR_INPUTS] = {0};
    ls_tensor *variable[OPERATOR_INPUTS], *in[OPERATOR_INPUTS];
    storage s[OPERATOR_INPUTS];
    for (int i = 0; i < d->inputs; i++) {
        const int64_t n = operator_input_count(c, i);
        double *dense = calloc((size_t)n + 1, sizeof *dense);
        operator_fill(d, c, i, LS_F64, dense);
        s[i] = storage_of(c, i);
        data[i] = malloc((size_t)(s[i].count + 1) * sizeof(double));
        for (int64_t k = 0; k < s[i].count; k++)
            data[i][k] = 1e30; /* an operator that looks beyond the piece shows it */
        for (int64_t k = 0; k < n; k++)
            data[i][s[i].ndim ? place_in(&s[i], c, i, k) : 0] = dense[k];
        free(dense);
        variable[i] = ls_variable(tape, LS_F64, s[i].ndim, s[i].shape, data[i]);
        in[i] = s[i].ndim ? ls_narrow(tape, ls_permute(tape, variable[i], s[i].place), s[i].wide, s[i].begin,
                                      c->in[i].shape[s[i].wide])
                          : variable[i];
    }
    const ls_tensor *y = operator_build(d, c, tape, in);
    ls_backward(tape, check_weighted_sum(tape, (ls_tensor *)(uintptr_t)y), 1, NULL, NULL);
    cr_assert_eq(ls_tape_status(tape), LS_OK, "%s, %s: %s", d->name, c->what, ls_fail_sentence());
    cr_expect_eq(memcmp(y->data, want.value, (size_t)want.count * sizeof(double)), 0,
                 "%s, %s: the value of pieces differs", d->name, c->what);
    for (int i = 0; i < d->inputs; i++) {
        const double *gradient = variable[i]->grad;
        double *expected = calloc((size_t)s[i].count + 1, sizeof *expected);
        for (int64_t k = 0; k < operator_input_count(c, i); k++)
            expected[s[i].ndim ? place_in(&s[i], c, i, k) : 0] = want.gradient[i][k];
        for (int64_t k = 0; k < s[i].count; k++)
            cr_assert((gradient ? gradient[k] : 0) == expected[k],
                      "%s, %s: element %d of input %d's array has gradient %g, not %g", d->name, c->what, (int)k, i,
                      gradient ? gradient[k] : 0, expected[k]);
        free(expected);
        free(data[i]);
    }
    ls_tape_free(tape);
    operator_outcome_free(&want);
}

Test(fuzz, pieces_in_another_order_give_the_bits_of_dense_inputs)
{
    for_each_drawn(pieces_give_the_same_bits);
}

/* ---- what needs an element ---- */

static ls_tensor *empty(ls_tape *tape, int ndim, const int64_t *shape)
{
    return ls_variable(tape, LS_F32, ndim, shape, NULL);
}

static void refused(ls_tape *tape, const char *sentence)
{
    cr_expect_eq(ls_tape_status(tape), LS_ESHAPE, "%s: not refused", sentence);
    cr_expect_not_null(strstr(ls_fail_sentence(), sentence), "\"%s\" does not say \"%s\"", ls_fail_sentence(),
                       sentence);
    ls_tape_reset(tape, 5, 2, 3);
}

Test(fuzz, what_is_not_defined_without_an_element_is_refused_by_name)
{
    ls_tape *tape;
    cr_assert_eq(ls_tape_create(&tape, device, 1 << 24), LS_OK);
    int32_t *index;
    float statistics[3] = {0};
    ls_parameter mean = {
        .name = "mean", .ndim = 1, .shape = {3}, .data = statistics, .statistic = true, .momentum = 0.1};

    ls_reduce_max(tape, empty(tape, LS_SHAPE(2, 0)), 1);
    refused(tape, "operator reduce_max: f32 [2, 0] has no element along the axis");
    ls_reduce_min(tape, empty(tape, LS_SHAPE(0, 3)), LS_ALL);
    refused(tape, "operator reduce_min: f32 [0, 3] has no element along the axis");
    ls_top_k(tape, empty(tape, LS_SHAPE(2, 0)), 1, &index);
    refused(tape, "operator top_k: the greatest 1 along the last axis of f32 [2, 0]");
    ls_arg_max(tape, empty(tape, LS_SHAPE(2, 0)));
    refused(tape, "operator arg_max: the greatest 1 along the last axis of f32 [2, 0]");
    ls_upsampling(tape, empty(tape, LS_SHAPE(2, 0, 4, 3)), LS_UPSAMPLE_NEAREST, (int64_t[]){4, 4});
    refused(tape, "operator upsampling: x f32 [2, 0, 4, 3]: only the batch of a grid may be empty");
    ls_global_pooling(tape, empty(tape, LS_SHAPE(2, 4, 0)), LS_POOL_AVERAGE);
    refused(tape, "operator pool: x f32 [2, 4, 0]: only the batch of a grid may be empty");
    ls_conv(tape, empty(tape, LS_SHAPE(2, 4, 0)), empty(tape, LS_SHAPE(5, 1, 0)), NULL, NULL, LS_ACT_NONE);
    refused(tape, "operator conv: x f32 [2, 4, 0]: only the batch of a grid may be empty");
    ls_batch_norm(tape, empty(tape, LS_SHAPE(0, 3)), NULL, NULL, ls_use(tape, &mean), ls_use(tape, &mean), 1e-5);
    refused(tape, "operator batch_norm: x f32 [0, 3]: there are no rows to take statistics of");
    ls_soft_cross_entropy_sum(tape, empty(tape, LS_SHAPE(2, 0)), empty(tape, LS_SHAPE(2, 0)), 0, NULL, NULL);
    refused(tape, "operator soft_cross_entropy_sum: f32 [2, 0]: rows without a class are no distributions");
    ls_constant(tape, LS_F32, LS_SHAPE(3, -1), statistics);
    refused(tape, "axis 1 has size -1; sizes are not negative");
    ls_tape_free(tape);
}

/* A parameter that meets nothing but empty tensors has gradient 0, and is handed over. */
static void remember(void *context, const ls_parameter *parameter, void *gradient)
{
    for (int64_t i = 0; i < parameter->count; i++)
        *(double *)context += 1 + ((const float *)gradient)[i];
}

Test(fuzz, a_parameter_of_an_empty_branch_gets_zeros)
{
    ls_tape *tape;
    cr_assert_eq(ls_tape_create(&tape, device, 1 << 24), LS_OK);
    ls_tape_reset(tape, 5, 2, 3);
    float weights[6] = {1, 2, 3, 4, 5, 6};
    const ls_parameter w = {.name = "w", .ndim = 2, .shape = {2, 3}, .count = 6, .data = weights};
    ls_tensor *none = ls_gather(tape, ls_use(tape, &w), 0, NULL);
    ls_tensor *sum = ls_sum(tape, ls_linear(tape, none, ls_use(tape, &w), NULL, LS_ACT_GELU), LS_ALL);
    double seen = 0;
    ls_backward(tape, sum, 1, remember, &seen);
    cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(*(float *)sum->data, 0);
    cr_assert_eq(seen, 6, "6 zeros, each counted as 1");
    ls_tape_free(tape);
}

/* Absent is absent, not 0: a table with sparse rows of which none was looked up is not handed over. */
Test(fuzz, a_sparse_table_of_an_empty_branch_gets_no_rows)
{
    ls_tape *tape;
    cr_assert_eq(ls_tape_create(&tape, device, 1 << 24), LS_OK);
    ls_tape_reset(tape, 5, 2, 3);
    float rows[6] = {1, 2, 3, 4, 5, 6}, bias[1] = {2};
    const ls_parameter w = {.name = "w", .ndim = 2, .shape = {2, 3}, .count = 6, .data = rows, .sparse_rows = true};
    const ls_parameter b = {.name = "b", .ndim = 1, .shape = {1}, .count = 1, .data = bias};
    ls_tensor *none = ls_embedding(tape, ls_use(tape, &w), NULL, LS_SHAPE(0));
    ls_tensor *sum = ls_add(tape, ls_sum(tape, none, LS_ALL), ls_sum(tape, ls_use(tape, &b), LS_ALL));
    double seen = 0;
    ls_backward(tape, sum, 1, remember, &seen);
    cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(seen, 2, "one gradient of 1, that of b, counted as 2");
    ls_tape_free(tape);
}
