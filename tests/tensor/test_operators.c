/* Every operator described in operators/: values against its formula, and gradients against central differences, on
 * the real device in f64; values and gradients in f32 and bf16 against the f64 ones of the naive device. */
#include "tests/tensor/operators.h"
#include "tests/tensor/reference_device.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

TestSuite(operators, .init = make_device, .fini = free_device);

/* ---- one run of a case: result and gradients in f64 ---- */

typedef struct {
    double *value, *gradient[OPERATOR_INPUTS];
    int64_t count;
} outcome;

static double *to_f64(ls_type type, const void *data, int64_t n)
{
    double *out = calloc((size_t)n, sizeof *out);
    for (int64_t i = 0; i < n && data; i++)
        out[i] = reference_get(type, data, i);
    return out;
}

static void free_outcome(outcome *o)
{
    free(o->value);
    for (int i = 0; i < OPERATOR_INPUTS; i++)
        free(o->gradient[i]);
}

/* Sum of result times fixed weights, so that each element of the result gets a gradient of its own. */
static ls_tensor *weighted_sum(ls_tape *tape, ls_tensor *y)
{
    void *weights = ls_arena_take(ls_tape_arena(tape), (size_t)y->count * ls_type_size(y->type));
    for (int64_t i = 0; i < y->count; i++)
        reference_put(y->type, weights, i, (double)((i * 37 + 11) % 64 * 2 - 63) / 64);
    return ls_sum(tape, ls_mul(tape, y, ls_constant(tape, y->type, y->ndim, y->shape, weights)), LS_ALL);
}

static ls_tensor *record(const operator_description *d, const operator_case *c, ls_tape *tape, const ls_type *type,
                         void *const *data, ls_tensor **in)
{
    ls_tape_reset(tape, 5, 2, 3);
    for (int i = 0; i < d->inputs; i++)
        in[i] = ls_variable(tape, type[i], c->in[i].ndim, c->in[i].shape, data[i]);
    return operator_build(d, c, tape, in);
}

static void input_types(const operator_description *d, ls_type type, ls_type *types)
{
    for (int i = 0; i < d->inputs; i++)
        types[i] = type == LS_BF16 && d->gains & 1u << i ? LS_F32 : type;
}

static outcome run(const operator_description *d, const operator_case *c, ls_device *on, ls_type type)
{
    ls_tape *tape;
    cr_assert_eq(ls_tape_create(&tape, on, 1 << 24), LS_OK);
    ls_type types[OPERATOR_INPUTS];
    void *data[OPERATOR_INPUTS] = {0};
    ls_tensor *in[OPERATOR_INPUTS];
    input_types(d, type, types);
    for (int i = 0; i < d->inputs; i++) {
        data[i] = malloc((size_t)operator_input_count(c, i) * 8);
        operator_fill(d, c, i, types[i], data[i]);
    }
    ls_tensor *y = record(d, c, tape, types, data, in);
    ls_backward(tape, weighted_sum(tape, y), 1, NULL, NULL);
    cr_assert_eq(ls_tape_status(tape), LS_OK, "%s, %s: %s", d->name, c->what, ls_fail_sentence());
    outcome o = {.value = to_f64(y->type, y->data, y->count), .count = y->count};
    for (int i = 0; i < d->inputs; i++) {
        o.gradient[i] = to_f64(in[i]->grad_type, in[i]->grad, in[i]->count);
        free(data[i]);
    }
    ls_tape_free(tape);
    return o;
}

/* ---- comparing ---- */

/* Norm of the difference over the norm; results are of order 1, so one below 1e-3 counts as that. */
static double relative_difference(const double *got, const double *want, int64_t n)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += (got[i] - want[i]) * (got[i] - want[i]);
        norm += want[i] * want[i];
    }
    return difference == 0 ? 0 : sqrt(difference / (norm + 1e-6 * (double)n)); /* NaN stays NaN and fails */
}

static void check(const operator_description *d, const operator_case *c, const char *what, const double *got,
                  const double *want, int64_t n, double bound)
{
    double difference = relative_difference(got, want, n);
    cr_expect(difference <= bound, "%s, %s: %s is off by %.3g, allowed %.3g", d->name, c->what, what, difference,
              bound);
}

static void for_each_case(void (*f)(const operator_description *d, const operator_case *c))
{
    for (const operator_description *const *family = operator_families; *family; family++)
        for (const operator_description *d = *family; d->name; d++)
            for (const operator_case *c = d->cases; c->what; c++)
                f(d, c);
}

/* ---- the properties ---- */

static void value_is_the_formula(const operator_description *d, const operator_case *c)
{
    double *in[OPERATOR_INPUTS] = {0};
    for (int i = 0; i < d->inputs; i++) {
        in[i] = malloc((size_t)operator_input_count(c, i) * sizeof(double));
        operator_fill(d, c, i, LS_F64, in[i]);
    }
    ls_tape *tape;
    cr_assert_eq(ls_tape_create(&tape, device, 1 << 24), LS_OK);
    ls_type types[OPERATOR_INPUTS];
    ls_tensor *tensors[OPERATOR_INPUTS];
    input_types(d, LS_F64, types);
    const ls_tensor *y = record(d, c, tape, types, (void *const *)in, tensors);
    cr_assert_eq(ls_tape_status(tape), LS_OK, "%s, %s: %s", d->name, c->what, ls_fail_sentence());
    double *want = calloc((size_t)y->count, sizeof *want);
    operator_value(d, c, (const double *const *)in, y, want);
    check(d, c, "value", y->data, want, y->count, 1e-12);
    free(want);
    ls_tape_free(tape);
    for (int i = 0; i < d->inputs; i++)
        free(in[i]);
}

Test(operators, values_in_f64_are_their_formulas)
{
    for_each_case(value_is_the_formula);
}

static void agrees_in(const operator_description *d, const operator_case *c, ls_type type, double bound)
{
    outcome want = run(d, c, reference_device(), LS_F64), got = run(d, c, device, type);
    check(d, c, type == LS_BF16 ? "bf16 value" : "f32 value", got.value, want.value, want.count, bound);
    for (int i = 0; i < d->inputs; i++)
        check(d, c, type == LS_BF16 ? "bf16 gradient" : "f32 gradient", got.gradient[i], want.gradient[i],
              operator_input_count(c, i), bound);
    free_outcome(&want);
    free_outcome(&got);
}

static void agrees_in_f32(const operator_description *d, const operator_case *c)
{
    agrees_in(d, c, LS_F32, d->rounds ? 2e-2 : 3e-6);
}

static void agrees_in_bf16(const operator_description *d, const operator_case *c)
{
    agrees_in(d, c, LS_BF16, 2e-2);
}

Test(operators, values_and_gradients_in_f32_agree_with_f64)
{
    for_each_case(agrees_in_f32);
}

Test(operators, values_and_gradients_in_bf16_agree_with_f64)
{
    for_each_case(agrees_in_bf16);
}

/* (L(x + h) - L(x - h)) / 2h for each element of each input, L the weighted sum. */
static void gradient_is_the_difference_quotient(const operator_description *d, const operator_case *c)
{
    const double h = 1e-5;
    outcome got = run(d, c, device, LS_F64);
    ls_tape *tape;
    cr_assert_eq(ls_tape_create(&tape, device, 1 << 24), LS_OK);
    void *data[OPERATOR_INPUTS] = {0};
    ls_type types[OPERATOR_INPUTS];
    ls_tensor *in[OPERATOR_INPUTS];
    input_types(d, LS_F64, types);
    for (int i = 0; i < d->inputs; i++) {
        data[i] = malloc((size_t)operator_input_count(c, i) * sizeof(double));
        operator_fill(d, c, i, LS_F64, data[i]);
    }
    for (int i = 0; i < d->inputs; i++) {
        int64_t n = operator_input_count(c, i);
        double *quotient = malloc((size_t)n * sizeof *quotient);
        for (int64_t k = 0; k < n; k++) {
            double *x = (double *)data[i] + k, middle = *x, loss[2];
            for (int side = 0; side < 2; side++) {
                *x = middle + (side ? h : -h);
                loss[side] = *(double *)weighted_sum(tape, record(d, c, tape, types, data, in))->data;
            }
            *x = middle;
            quotient[k] = (loss[1] - loss[0]) / (2 * h);
        }
        check(d, c, "gradient", got.gradient[i], quotient, n, 1e-6);
        free(quotient);
    }
    for (int i = 0; i < d->inputs; i++)
        free(data[i]);
    ls_tape_free(tape);
    free_outcome(&got);
}

Test(operators, gradients_in_f64_are_difference_quotients)
{
    for_each_case(gradient_is_the_difference_quotient);
}

static char *read_text(const char *name)
{
    char path[4096];
    const char *source = getenv("LS_SOURCE");
    snprintf(path, sizeof path, "%s/%s", source ? source : ".", name);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    char *text = calloc(1, 1 << 16);
    cr_assert_gt(fread(text, 1, (1 << 16) - 1, file), 0);
    fclose(file);
    return text;
}

Test(operators, the_page_on_adding_one_quotes_the_example_checked_here)
{
    char *page = read_text("docs/adding-an-operator.md"), *example = read_text("tests/tensor/operators/example.c");
    cr_assert_not_null(strstr(page, example), "copy tests/tensor/operators/example.c into the page");
    free(page);
    free(example);
}
