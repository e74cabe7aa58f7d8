/* Spikes as a spiking network uses them: the threshold itself fires, and backpropagation through time over a leaky
 * integrate-and-fire neuron made of operators is its recursion by hand. */
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

TestSuite(spiking, .init = make_tape, .fini = free_tape);

Test(spiking, the_threshold_fires_and_what_lies_below_does_not)
{
    static const float h[] = {1, 0.99999994f, 1.0000001f, -INFINITY, INFINITY, NAN}, want[] = {1, 0, 1, 0, 1, 0};
    const ls_tensor *y = ls_spike(tape, ls_constant(tape, LS_F32, LS_SHAPE(6), h), 1, LS_SURROGATE_ARCTAN, 2);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(((const float *)y->data)[i], want[i], "%g", (double)h[i]);
}

enum { STEPS = 5, NEURONS = 4 };
static const double tau = 2, threshold = 1;

/* Fang et al. 2021, with hard reset to 0 and the reset detached:
 *     h_t = v_(t-1) + (I_t - v_(t-1)) / tau,   o_t = [h_t >= 1],   v_t = h_t (1 - o_t)
 * and backwards, with s(h) = 1 / (1 + (pi (h - 1))^2), which is arctan with slope 2:
 *     dh_t = do_t s(h_t) + dv_t (1 - o_t),   dI_t = dh_t / tau,   dv_(t-1) = dh_t (1 - 1 / tau) */
Test(spiking, backpropagation_through_time_is_the_recursion_by_hand)
{
    static double current[STEPS][NEURONS], weight[STEPS][NEURONS], h[STEPS][NEURONS], fired[STEPS][NEURONS];
    ls_tensor *in[STEPS], *v = NULL, *loss = NULL;
    int spikes = 0;
    for (int t = 0; t < STEPS; t++)
        for (int i = 0; i < NEURONS; i++) {
            current[t][i] = 0.4 + 0.5 * ((7 * t + 3 * i) % 5);
            weight[t][i] = 0.25 * ((3 * t + 5 * i) % 7) - 0.6;
        }
    for (int t = 0; t < STEPS; t++) {
        in[t] = ls_variable(tape, LS_F64, LS_SHAPE(NEURONS), current[t]);
        ls_tensor *charged = ls_scale(tape, in[t], 1 / tau, 0);
        charged = v ? ls_add(tape, ls_scale(tape, v, 1 - 1 / tau, 0), charged) : charged;
        ls_tensor *o = ls_spike(tape, charged, threshold, LS_SURROGATE_ARCTAN, 2);
        v = ls_mul(tape, charged, ls_scale(tape, ls_stop_gradient(tape, o), -1, 1));
        ls_tensor *term =
            ls_sum(tape, ls_mul(tape, o, ls_constant(tape, LS_F64, LS_SHAPE(NEURONS), weight[t])), LS_ALL);
        loss = loss ? ls_add(tape, loss, term) : term;
        for (int i = 0; i < NEURONS; i++) {
            h[t][i] = ((double *)charged->data)[i];
            fired[t][i] = ((double *)o->data)[i];
            spikes += fired[t][i] != 0;
        }
    }
    ls_backward(tape, loss, 1, NULL, NULL);
    cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
    cr_assert(spikes > 3 && spikes < STEPS * NEURONS - 3, "%d spikes: both sides of the reset must be seen", spikes);
    for (int i = 0; i < NEURONS; i++) {
        double dv = 0;
        for (int t = STEPS - 1; t >= 0; t--) {
            const double dh = weight[t][i] / (1 + pow(acos(-1) * (h[t][i] - threshold), 2)) + dv * (1 - fired[t][i]);
            const double got = ((const double *)in[t]->grad)[i];
            cr_assert_float_eq(got, dh / tau, 1e-12, "neuron %d, step %d: %.15g, not %.15g", i, t, got, dh / tau);
            dv = dh * (1 - 1 / tau);
        }
    }
}

Test(spiking, a_slope_that_is_not_positive_is_refused)
{
    static const float h[1] = {1};
    ls_spike(tape, ls_constant(tape, LS_F32, LS_SHAPE(1), h), 1, LS_SURROGATE_SIGMOID, 0);
    cr_assert_eq(ls_tape_status(tape), LS_EARG);
    cr_assert_str_eq(ls_fail_sentence(),
                     "operator spike: threshold 1 and slope 0: both must be finite, the slope above 0");
}
