/* See operator_checks.h. */
#include "tests/tensor/operator_checks.h"

#include "tests/tensor/reference_device.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- one run of a case ---- */

static double *to_f64(ls_type type, const void *data, int64_t n)
{
    double *out = calloc((size_t)n + 1, sizeof *out);
    for (int64_t i = 0; i < n && data; i++)
        out[i] = reference_get(type, data, i);
    return out;
}

void operator_outcome_free(operator_outcome *o)
{
    free(o->value);
    for (int i = 0; i < OPERATOR_INPUTS; i++)
        free(o->gradient[i]);
}

static double result_weight(int64_t i)
{
    return (double)((i * 37 + 11) % 64 * 2 - 63) / 64;
}

ls_tensor *check_weighted_sum(ls_tape *tape, ls_tensor *y)
{
    void *weights = ls_arena_take(ls_tape_arena(tape), (size_t)y->count * ls_type_size(y->type));
    for (int64_t i = 0; i < y->count; i++)
        reference_put(y->type, weights, i, result_weight(i));
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

void operator_input_types(const operator_description *d, ls_type type, ls_type *types)
{
    for (int i = 0; i < d->inputs; i++)
        types[i] = ls_type_is_narrow(type) && d->gains & 1u << i ? LS_F32 : type;
}

/* Inputs of the case, filled; freed by free_inputs. */
static void fill_inputs(const operator_description *d, const operator_case *c, const ls_type *types, void **data)
{
    for (int i = 0; i < d->inputs; i++) {
        data[i] = calloc((size_t)operator_input_count(c, i) + 1, 8);
        operator_fill(d, c, i, types[i], data[i]);
    }
}

static void free_inputs(const operator_description *d, void **data)
{
    for (int i = 0; i < d->inputs; i++)
        free(data[i]);
}

static ls_tape *make_tape(ls_device *device)
{
    ls_tape *tape;
    cr_assert_eq(ls_tape_create(&tape, device, 1 << 24), LS_OK);
    return tape;
}

operator_outcome operator_run(const operator_description *d, const operator_case *c, ls_device *on, ls_type type)
{
    ls_tape *tape = make_tape(on);
    ls_type types[OPERATOR_INPUTS];
    void *data[OPERATOR_INPUTS] = {0};
    ls_tensor *in[OPERATOR_INPUTS];
    operator_input_types(d, type, types);
    fill_inputs(d, c, types, data);
    ls_tensor *y = record(d, c, tape, types, data, in);
    ls_backward(tape, check_weighted_sum(tape, y), 1, NULL, NULL);
    cr_assert_eq(ls_tape_wait(tape), LS_OK, "%s, %s: %s", d->name, c->what, ls_fail_sentence());
    operator_outcome o = {.value = to_f64(y->type, ls_tape_read(tape, y), y->count), .count = y->count};
    for (int i = 0; i < d->inputs; i++)
        o.gradient[i] = to_f64(in[i]->grad_type, in[i]->grad ? ls_tape_read_bytes(tape, in[i]->grad, (size_t)in[i]->count * ls_type_size(in[i]->grad_type)) : NULL, in[i]->count);
    free_inputs(d, data);
    ls_tape_free(tape);
    return o;
}

/* ---- comparing ---- */

/* Norm of the difference over the norm; results are of order 1, so one below 1e-3 counts as that. A NaN agrees with a
 * NaN alone: the mean of nothing. */
static double relative_difference(const double *got, const double *want, int64_t n)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(got[i]) && isnan(want[i]))
            continue;
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

/* ---- the properties ---- */

void check_value(const operator_description *d, const operator_case *c, ls_device *device)
{
    ls_tape *tape = make_tape(device);
    ls_type types[OPERATOR_INPUTS];
    void *in[OPERATOR_INPUTS] = {0};
    ls_tensor *tensors[OPERATOR_INPUTS];
    operator_input_types(d, LS_F64, types);
    fill_inputs(d, c, types, in);
    const ls_tensor *y = record(d, c, tape, types, in, tensors);
    cr_assert_eq(ls_tape_wait(tape), LS_OK, "%s, %s: %s", d->name, c->what, ls_fail_sentence());
    double *want = calloc((size_t)y->count + 1, sizeof *want);
    operator_value(d, c, (const double *const *)in, y, want);
    check(d, c, "value", ls_tape_read(tape, y), want, y->count, 1e-12);
    free(want);
    ls_tape_free(tape);
    free_inputs(d, in);
}

void check_agreement(const operator_description *d, const operator_case *c, ls_device *device, ls_type type,
                     double bound)
{
    operator_outcome want = operator_run(d, c, reference_device(), LS_F64), got = operator_run(d, c, device, type);
    char value[16], gradient[16];
    snprintf(value, sizeof value, "%s value", ls_type_name(type));
    snprintf(gradient, sizeof gradient, "%s gradient", ls_type_name(type));
    check(d, c, value, got.value, want.value, want.count, bound);
    for (int i = 0; i < d->inputs; i++)
        check(d, c, gradient, got.gradient[i], want.gradient[i], operator_input_count(c, i), bound);
    operator_outcome_free(&want);
    operator_outcome_free(&got);
}

/* What the gradient is that of: the weighted sum of the result, or of what the description names in its place. */
static double loss_at(const operator_description *d, const operator_case *c, bool own, ls_tape *tape,
                      const ls_type *types, void *const *data)
{
    ls_tensor *in[OPERATOR_INPUTS];
    ls_tensor *y = record(d, c, tape, types, data, in);
    if (own || !d->gradient_of)
        return ls_tape_number(tape, check_weighted_sum(tape, y));
    double *stand_in = calloc((size_t)y->count + 1, sizeof *stand_in), sum = 0;
    d->gradient_of(c, (const double *const *)data, stand_in);
    for (int64_t i = 0; i < y->count; i++)
        sum += stand_in[i] * result_weight(i);
    free(stand_in);
    return sum;
}

/* (L(x + h) - L(x - h)) / 2h for each element of each input. */
static void quotients(const operator_description *d, const operator_case *c, bool own, ls_device *device,
                      double *quotient[OPERATOR_INPUTS])
{
    const double h = 1e-5;
    ls_tape *tape = make_tape(device);
    void *data[OPERATOR_INPUTS] = {0};
    ls_type types[OPERATOR_INPUTS];
    operator_input_types(d, LS_F64, types);
    fill_inputs(d, c, types, data);
    for (int i = 0; i < d->inputs; i++) {
        int64_t n = operator_input_count(c, i);
        quotient[i] = calloc((size_t)n + 1, sizeof *quotient[i]);
        for (int64_t k = 0; k < n; k++) {
            double *x = (double *)data[i] + k, middle = *x, loss[2];
            for (int side = 0; side < 2; side++) {
                *x = middle + (side ? h : -h);
                loss[side] = loss_at(d, c, own, tape, types, data);
            }
            *x = middle;
            quotient[i][k] = (loss[1] - loss[0]) / (2 * h);
        }
    }
    free_inputs(d, data);
    ls_tape_free(tape);
}

void check_gradient(const operator_description *d, const operator_case *c, ls_device *device)
{
    operator_outcome got = operator_run(d, c, device, LS_F64);
    double *quotient[OPERATOR_INPUTS];
    quotients(d, c, false, device, quotient);
    for (int i = 0; i < d->inputs; i++) {
        check(d, c, "gradient", got.gradient[i], quotient[i], operator_input_count(c, i), 1e-6);
        free(quotient[i]);
    }
    operator_outcome_free(&got);
}

double distance_from_own_gradient(const operator_description *d, const operator_case *c, ls_device *device)
{
    operator_outcome got = operator_run(d, c, device, LS_F64);
    double *quotient[OPERATOR_INPUTS], most = 0;
    quotients(d, c, true, device, quotient);
    for (int i = 0; i < d->inputs; i++) {
        most = fmax(most, relative_difference(got.gradient[i], quotient[i], operator_input_count(c, i)));
        free(quotient[i]);
    }
    operator_outcome_free(&got);
    return most;
}

void operator_for_each_case(void (*f)(const operator_description *d, const operator_case *c))
{
    for (const operator_description *const *family = operator_families; *family; family++)
        for (const operator_description *d = *family; d->name; d++)
            for (const operator_case *c = d->cases; c->what; c++)
                f(d, c);
}
