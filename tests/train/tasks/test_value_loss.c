/* Advantages, whitening and the values' loss against their definitions, recomputed another way in float64. */
#include "train/tasks/value_loss.h"

#include <criterion/criterion.h>
#include <math.h>

/* A_t = sum_k (gamma lambda)^k delta_{t+k}, forwards. */
Test(value_loss, advantages_are_the_sum_of_discounted_surprises)
{
    enum { N = 9 };
    static const double ways[][2] = {{1, 0.95}, {0.9, 0.8}, {1, 1}, {1, 0}, {0, 0.5}};
    double reward[N], value[N], advantage[N], target[N];
    for (int t = 0; t < N; t++) {
        reward[t] = 0.1 * sin(2.0 * t) + (t == N - 1);
        value[t] = 0.5 * cos(1.3 * t);
    }
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        const double gamma = ways[w][0], lambda = ways[w][1];
        ls_gae(N, gamma, lambda, reward, value, advantage, target);
        for (int t = 0; t < N; t++) {
            double want = 0;
            for (int k = 0; t + k < N; k++)
                want += pow(gamma * lambda, k) *
                        (reward[t + k] + (t + k + 1 < N ? gamma * value[t + k + 1] : 0) - value[t + k]);
            cr_expect_leq(fabs(advantage[t] - want), 1e-12, "gamma %g, lambda %g, token %d: %g, not %g", gamma, lambda,
                          t, advantage[t], want);
            cr_expect_leq(fabs(target[t] - want - value[t]), 1e-12);
        }
    }
    ls_gae(N, 1, 1, reward, value, advantage, target);
    double rest = 0;
    for (int t = N - 1; t >= 0; t--)
        cr_expect_leq(fabs(target[t] - (rest += reward[t])), 1e-12, "lambda 1: the target is what is still to come");
}

Test(value_loss, whitened_numbers_have_mean_0_and_deviation_1)
{
    double x[50], sum = 0, squares = 0;
    for (int i = 0; i < 50; i++)
        x[i] = 3 + 7 * sin(1.7 * i);
    ls_whiten(50, x);
    for (int i = 0; i < 50; i++)
        sum += x[i], squares += x[i] * x[i];
    cr_expect_leq(fabs(sum), 1e-12);
    cr_expect_leq(fabs(squares / 49 - 1), 1e-6, "n - 1, as TRL's masked_whiten");
    double one[] = {5}, same[] = {2, 2, 2};
    ls_whiten(1, one);
    ls_whiten(3, same);
    cr_expect(one[0] == 0 && same[0] == 0 && same[2] == 0);
    ls_whiten(0, x);
}

Test(value_loss, the_clipped_loss_and_its_slope)
{
    enum { N = 30 };
    ls_team *team;
    ls_device *device;
    ls_tape *tape;
    cr_assert_eq(ls_team_create(&team, 1, 1), LS_OK);
    cr_assert_eq(ls_device_create_cpu(&device, team), LS_OK);
    cr_assert_eq(ls_tape_create(&tape, device, (size_t)1 << 26), LS_OK);
    double value[N], old[N], target[N], weight[N], want = 0, slope[N];
    const double clip = 0.2;
    for (int i = 0; i < N; i++) {
        value[i] = sin(1.1 * i), old[i] = value[i] + 0.4 * sin(2.3 * i), target[i] = cos(0.7 * i),
        weight[i] = i % 5 ? 1 : 0;
        const double moved = value[i] - old[i], near = old[i] + fmin(fmax(moved, -clip), clip);
        const double a = value[i] - target[i], b = near - target[i];
        want += weight[i] * 0.5 * fmax(a * a, b * b);
        slope[i] = weight[i] * (a * a >= b * b ? a : fabs(moved) <= clip ? b : 0);
    }
    ls_tensor *x = ls_variable(tape, LS_F64, LS_SHAPE(N), value);
    ls_tensor *loss = ls_value_loss_sum(tape, x, &(ls_value_terms){old, target, weight, clip});
    ls_backward(tape, loss, 1, NULL, NULL);
    cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
    cr_expect_leq(fabs(*(const double *)loss->data - want), 1e-12);
    for (int i = 0; i < N; i++)
        cr_expect_leq(fabs(((const double *)x->grad)[i] - slope[i]), 1e-12, "token %d: %g, not %g", i,
                      ((const double *)x->grad)[i], slope[i]);
    ls_tape_free(tape);
    device->free(device);
    ls_team_free(team);
}
