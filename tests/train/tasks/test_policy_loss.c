/* The loss of GRPO and its relatives against TRL's own code in float64 (tests/golden/make_policy_golden.py), values and
 * gradients, against a recomputation here, and the estimators of KL against brute force. */
#include "train/tasks/policy_loss.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 64 };
static ls_team *team;
static ls_device *device;
static ls_tape *tape;

static void begin(void)
{
    cr_assert_eq(ls_team_create(&team, 1, 1), LS_OK);
    cr_assert_eq(ls_device_create_cpu(&device, team), LS_OK);
    cr_assert_eq(ls_tape_create(&tape, device, (size_t)1 << 26), LS_OK);
}

static void end(void)
{
    ls_tape_free(tape);
    device->free(device);
    ls_team_free(team);
}

TestSuite(policy_loss, .init = begin, .fini = end);

static json_t *golden(void)
{
    char path[4096];
    json_error_t error;
    snprintf(path, sizeof path, "%s/tests/golden/policy.json", getenv("LS_SOURCE"));
    json_t *file = json_load_file(path, 0, &error);
    cr_assert_not_null(file, "%s: line %d: %s", path, error.line, error.text);
    return file;
}

static int numbers(const json_t *object, const char *key, double out[MOST])
{
    const json_t *array = json_object_get(object, key);
    const int count = (int)json_array_size(array);
    cr_assert(count > 0 && count <= MOST, "%s", key);
    for (int i = 0; i < count; i++)
        out[i] = json_number_value(json_array_get(array, (size_t)i));
    return count;
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* What each token weighs over the step's count, as task grpo has them (grpo.c). */
static double weights(const char *kind, int rows, int tokens, const double *length, double *weight)
{
    double all = 0;
    for (int i = 0; i < rows; i++)
        for (int t = 0; t < tokens; t++) {
            weight[i * tokens + t] = t >= length[i] ? 0 : strcmp(kind, "grpo") ? 1 : 1 / length[i];
            all += t < length[i];
        }
    return !strcmp(kind, "grpo") ? rows : !strcmp(kind, "dapo") ? all : rows * tokens;
}

Test(policy_loss, agrees_with_trl_in_value_and_gradient)
{
    json_t *file = golden(), *c;
    size_t at;
    cr_assert_eq(json_array_size(json_object_get(file, "cases")), (size_t)6);
    json_array_foreach(json_object_get(file, "cases"), at, c)
    {
        const char *kind = json_string_value(json_object_get(c, "loss"));
        double cost[MOST], old[MOST], reference[MOST], reward[MOST], length[MOST], want[MOST], weight[MOST], gain[MOST],
            advantages[MOST];
        const int n = numbers(c, "now", cost), rows = numbers(c, "rewards", reward), tokens = n / rows;
        numbers(c, "old", old), numbers(c, "reference", reference), numbers(c, "lengths", length),
            numbers(c, "gradient", want);
        numbers(c, "advantages", advantages);
        float rewards[MOST], advantage[MOST], flat[MOST];
        for (int i = 0; i < rows; i++)
            rewards[i] = (float)reward[i];
        ls_group_advantages(rows, (int64_t)number(c, "group"), strcmp(kind, "dr_grpo") != 0, rewards, advantage, flat);
        const double count = weights(kind, rows, tokens, length, weight);
        for (int i = 0; i < n; i++) {
            cost[i] = -cost[i];
            gain[i] = weight[i] > 0 ? advantages[i / tokens] : 0;
            cr_expect_leq(fabs((double)advantage[i / tokens] - advantages[i / tokens]),
                          1e-7 * (1 + fabs(advantages[i / tokens])), "%s row %d", kind, i / tokens);
        }
        const ls_policy_terms terms = {.old = old,
                                       .reference = reference,
                                       .advantage = gain,
                                       .weight = weight,
                                       .clip_low = number(c, "clip_low"),
                                       .clip_high = number(c, "clip_high"),
                                       .beta = number(c, "beta"),
                                       .kl = LS_KL_K3};
        ls_tape_reset(tape, 0, 0, 0);
        ls_tensor *x = ls_variable(tape, LS_F64, LS_SHAPE(n), cost), *loss = ls_policy_loss_sum(tape, x, &terms);
        ls_backward(tape, loss, 1 / count, NULL, NULL);
        cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
        const double value = *(const double *)loss->data / count;
        cr_expect_leq(fabs(value - number(c, "value")), 1e-12, "%s case %zu: %.15g, TRL %.15g", kind, at, value,
                      number(c, "value"));
        for (int i = 0; i < n; i++) /* the gradient in the cost is minus that in the log-probability */
            cr_expect_leq(fabs(-((const double *)x->grad)[i] - want[i]), 1e-12,
                          "%s case %zu, token %d: %.15g, TRL %.15g", kind, at, i, -((const double *)x->grad)[i],
                          want[i]);
    }
    json_decref(file);
}

/* min(rho A, clip(rho) A) by cases, and its slope: A where the ratio is inside or leads back, 0 where it was clipped.
 */
Test(policy_loss, in_f32_a_float64_recomputation_agrees)
{
    enum { N = 40 };
    float cost[N], old[N], reference[N], gain[N], weight[N];
    for (ls_kl_estimator kl = LS_KL_K1; kl <= LS_KL_K3; kl++) {
        double want = 0, slope[N];
        const double low = 0.1, high = 0.3, beta = 0.07;
        for (int i = 0; i < N; i++) {
            cost[i] = 0.2f + 0.11f * (float)(i % 13), old[i] = -cost[i] + 0.05f * (float)(i % 17 - 8),
            reference[i] = -cost[i] + 0.04f * (float)(i % 5 - 2);
            gain[i] = (float)(i % 7 - 3) * 0.5f, weight[i] = i % 11 ? 1.0f / (float)(1 + i % 4) : 0;
            const double rho = exp(-(double)cost[i] - (double)old[i]), A = (double)gain[i],
                         d = -(double)cost[i] - (double)reference[i], w = (double)weight[i];
            const double clipped = rho < 1 - low ? 1 - low : rho > 1 + high ? 1 + high : rho;
            const double k = kl == LS_KL_K1 ? d : kl == LS_KL_K2 ? d * d / 2 : exp(-d) - 1 + d;
            const double dk = kl == LS_KL_K1 ? 1 : kl == LS_KL_K2 ? d : 1 - exp(-d);
            cr_expect_leq(fabs(ls_kl_estimate(kl, d) - k), 1e-12);
            want += w * (-fmin(rho * A, clipped * A) + beta * k);
            const bool passes = rho * A <= clipped * A;
            slope[i] = -w * (-(passes ? rho * A : 0) + beta * dk);
        }
        const ls_policy_terms terms = {.old = old,
                                       .reference = reference,
                                       .advantage = gain,
                                       .weight = weight,
                                       .clip_low = low,
                                       .clip_high = high,
                                       .beta = beta,
                                       .kl = kl};
        ls_tape_reset(tape, 0, 0, 0);
        ls_tensor *x = ls_variable(tape, LS_F32, LS_SHAPE(N), cost), *loss = ls_policy_loss_sum(tape, x, &terms);
        ls_backward(tape, loss, 1, NULL, NULL);
        cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
        cr_expect_leq(fabs((double)*(const float *)loss->data - want), 1e-5 * (1 + fabs(want)), "k%d: %g, not %g",
                      kl + 1, (double)*(const float *)loss->data, want);
        for (int i = 0; i < N; i++)
            cr_expect_leq(fabs((double)((const float *)x->grad)[i] - slope[i]), 1e-6 * (1 + fabs(slope[i])),
                          "k%d, token %d: %g, not %g", kl + 1, i, (double)((const float *)x->grad)[i], slope[i]);
    }
}

Test(policy_loss, a_ratio_of_one_is_exact_and_a_flat_group_teaches_nothing)
{
    float cost[] = {1.7f, 0.3f, 2.2f, 0.9f}, old[4], gain[] = {1, -1, 0.5f, 0}, weight[] = {1, 1, 1, 1};
    for (int i = 0; i < 4; i++)
        old[i] = -cost[i];
    ls_tape_reset(tape, 0, 0, 0);
    ls_tensor *x = ls_variable(tape, LS_F32, LS_SHAPE(4), cost);
    ls_tensor *loss = ls_policy_loss_sum(
        tape, x,
        &(ls_policy_terms){.old = old, .advantage = gain, .weight = weight, .clip_low = 0.2, .clip_high = 0.2});
    ls_backward(tape, loss, 1, NULL, NULL);
    cr_expect_eq(*(const float *)loss->data, -0.5f);
    for (int i = 0; i < 4; i++)
        cr_expect_eq(((const float *)x->grad)[i], gain[i], "d(-A lp)/d(-lp) = A, exactly");
    float reward[] = {0.1f, 0.1f, 0.1f, 1, 0, 0}, advantage[6], flat[6];
    ls_group_advantages(6, 3, true, reward, advantage, flat);
    for (int i = 0; i < 3; i++)
        cr_expect(advantage[i] == 0 && flat[i] == 1 && flat[3 + i] == 0, "0.1 has no exact mean in f32, and still");
    cr_expect_leq(fabs((double)advantage[3] - 2.0 / 3 / (sqrt(1.0 / 3) + 1e-4)), 1e-6);
}

/* On a model of 20 tokens all three estimators are means over draws from the policy; k1 and k3 are those of KL itself
 * (spec 5.3). */
Test(policy_loss, the_estimators_agree_with_brute_force)
{
    enum { V = 20, DRAWS = 40000 };
    double p[V], q[V], sp = 0, sq = 0, kl = 0, mean[3] = {0}, squares[3] = {0}, k2 = 0;
    for (int i = 0; i < V; i++) {
        sp += p[i] = exp(0.7 * sin(3.1 * i));
        sq += q[i] = exp(0.7 * sin(3.1 * i) + 0.3 * cos(1.7 * i));
    }
    for (int i = 0; i < V; i++) {
        const double d = log(p[i] / sp / (q[i] / sq));
        kl += p[i] / sp * d;
        k2 += p[i] / sp * d * d / 2;
    }
    const ls_random stream = {.seed = 5, .purpose = LS_RANDOM_TASK};
    for (int n = 0; n < DRAWS; n++) {
        double left = (double)ls_random_uniform(&stream, (uint64_t)n) * sp;
        int i = 0;
        while (i < V - 1 && (left -= p[i]) >= 0)
            i++;
        for (ls_kl_estimator e = LS_KL_K1; e <= LS_KL_K3; e++) {
            const double value = ls_kl_estimate(e, log(p[i] / sp / (q[i] / sq)));
            mean[e] += value / DRAWS;
            squares[e] += value * value / DRAWS;
        }
    }
    const double truth[] = {kl, k2, kl};
    for (int e = 0; e < 3; e++) {
        const double error = sqrt((squares[e] - mean[e] * mean[e]) / DRAWS);
        cr_expect_leq(fabs(mean[e] - truth[e]), 4 * error, "k%d: %g, not %g within 4 x %g", e + 1, mean[e], truth[e],
                      error);
    }
    cr_expect_gt(kl, 0.01);
}
