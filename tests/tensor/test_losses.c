/* Losses where formulas taken as they stand give up: far logits, probabilities of 0, elements that are left out. */
#include "tensor/ops.h"

#include <criterion/criterion.h>
#include <math.h>

static ls_device *device;
static ls_team *team;
static ls_tape *tape;

static void make_tape(void)
{
    cr_assert_eq(ls_team_create(&team, 1, 1), LS_OK);
    cr_assert_eq(ls_device_create_cpu(&device, team), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_tape_create(&tape, device, 1 << 20), LS_OK);
    ls_tape_reset(tape, 1, 1, 1);
}

static void free_tape(void)
{
    ls_tape_free(tape);
    device->free(device);
    ls_team_free(team);
}

TestSuite(losses, .init = make_tape, .fini = free_tape);

static double number(const ls_tensor *y)
{
    cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
    return (double)*(const float *)y->data;
}

static const float *gradient(const ls_tensor *x)
{
    cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
    return x->grad;
}

/* softplus(-20) = 2.06e-9: the textbook form x - x t + softplus(-x) has no digit of it in f32, but 0. */
Test(losses, binary_cross_entropy_of_far_logits_keeps_its_digits)
{
    static const float far[] = {-20, 20, -3e38f, 3e38f}, targets[] = {0, 1, 0, 1}, wrong[] = {1, 0};
    for (int i = 0; i < 4; i++) {
        ls_tensor *x = ls_variable(tape, LS_F32, LS_SHAPE(1), (void *)(uintptr_t)&far[i]);
        ls_tensor *loss =
            ls_bce_with_logits_sum(tape, x, ls_constant(tape, LS_F32, LS_SHAPE(1), &targets[i]), 0, NULL, NULL);
        const double want = log1p(exp(-fabs((double)far[i])));
        cr_assert_float_eq(number(loss), want, 1e-6 * want, "logit %g: %g, not %g", (double)far[i], number(loss), want);
        ls_backward(tape, loss, 1, NULL, NULL);
        const double slope = (i % 2 ? -1 : 1) * exp(-fabs((double)far[i]));
        cr_assert_float_eq((double)*gradient(x), slope, 1e-5 * fabs(slope), "logit %g: slope %g", (double)far[i],
                           (double)*gradient(x));
    }
    ls_tensor *loss = ls_bce_with_logits_sum(tape, ls_constant(tape, LS_F32, LS_SHAPE(2), far),
                                             ls_constant(tape, LS_F32, LS_SHAPE(2), wrong), 0, NULL, NULL);
    cr_assert_float_eq(number(loss), 40, 1e-5);
}

/* p = (0, 1/4, 3/4), q = (1/2, 1/4, 1/4) */
Test(losses, an_impossible_class_adds_nothing_to_a_divergence)
{
    float log_p[] = {-INFINITY, logf(0.25f), logf(0.75f)}, log_q[] = {logf(0.5f), logf(0.25f), logf(0.25f)};
    ls_tensor *q = ls_variable(tape, LS_F32, LS_SHAPE(3), log_q), *p = ls_variable(tape, LS_F32, LS_SHAPE(3), log_p);
    ls_tensor *plain = ls_kl_sum(tape, q, p, 0, NULL), *of_logits = ls_kl_of_logits_sum(tape, q, p, NULL, NULL);
    const double want = 0.75 * log(3);
    cr_assert_float_eq(number(plain), want, 1e-6);
    cr_assert_float_eq(number(of_logits), want, 1e-6);
    ls_backward(tape, ls_add(tape, plain, of_logits), 1, NULL, NULL);
    cr_assert_eq(gradient(p)[0], 0);
    for (int i = 0; i < 3; i++)
        cr_assert(isfinite(gradient(q)[i]) && isfinite(gradient(p)[i]), "gradient %d", i);
    log_q[1] = -INFINITY; /* what happens is held impossible */
    cr_assert_eq(number(ls_kl_sum(tape, q, p, 0, NULL)), INFINITY);
}

Test(losses, a_masked_class_without_target_costs_nothing)
{
    static const float logits[] = {1, -INFINITY, 2, 0}, targets[] = {0.5f, 0, 0.5f, 0};
    ls_tensor *x = ls_variable(tape, LS_F32, LS_SHAPE(1, 4), (void *)(uintptr_t)logits);
    float row;
    ls_tensor *loss =
        ls_soft_cross_entropy_sum(tape, x, ls_constant(tape, LS_F32, LS_SHAPE(1, 4), targets), 0, NULL, &row);
    const double want = log(exp(1) + exp(2) + 1) - 1.5;
    cr_assert_float_eq(number(loss), want, 1e-6);
    cr_assert_float_eq((double)row, want, 1e-6);
    ls_backward(tape, loss, 1, NULL, NULL);
    cr_assert_eq(gradient(x)[1], 0);
    cr_assert_float_eq((double)gradient(x)[0], exp(1) / (exp(1) + exp(2) + 1) - 0.5, 1e-6);
}

/* Padding holds a NaN: with weight 0 neither the sum nor a gradient sees it. */
Test(losses, weight_0_leaves_out_whatever_is_there)
{
    static const float weights[] = {2, 0};
    float values[] = {0.5f, 0.25f, NAN, INFINITY}, targets[] = {0.25f, 0.75f, NAN, 1};
    ls_tensor *x = ls_variable(tape, LS_F32, LS_SHAPE(2, 2), values),
              *t = ls_variable(tape, LS_F32, LS_SHAPE(2, 2), targets);
    ls_tensor *sums[] = {
        ls_mse_sum(tape, x, t, 2, weights),
        ls_bce_with_logits_sum(tape, x, t, 2, weights, NULL),
        ls_kl_sum(tape, x, t, 2, weights),
        ls_soft_cross_entropy_sum(tape, x, t, 0.1, weights, NULL),
        ls_kl_of_logits_sum(tape, x, t, weights, NULL),
    };
    ls_tensor *total = sums[0];
    cr_assert_float_eq(number(total), 2 * (0.0625 + 0.25), 1e-6);
    for (int i = 1; i < 5; i++)
        total = ls_add(tape, total, sums[i]);
    cr_assert(isfinite(number(total)));
    ls_backward(tape, total, 1, NULL, NULL);
    for (int i = 0; i < 4; i++)
        cr_assert(i < 2 ? gradient(x)[i] != 0 && isfinite(gradient(t)[i]) : gradient(x)[i] == 0 && gradient(t)[i] == 0,
                  "element %d", i);
}

Test(losses, weights_that_do_not_divide_the_elements_are_refused)
{
    static const float three[3] = {1, 1, 1};
    float values[4] = {0};
    ls_tensor *x = ls_variable(tape, LS_F32, LS_SHAPE(2, 2), values);
    ls_mse_sum(tape, x, x, 3, three);
    cr_assert_eq(ls_tape_status(tape), LS_ESHAPE);
    cr_assert_str_eq(
        ls_fail_sentence(),
        "operator mse_sum: 3 weights for the elements of f32 [2, 2]: their number must divide that of the elements");
}
