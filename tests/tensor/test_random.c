/* Gumbel-softmax as a way to draw: its hard choices come as often as the softmax says, and the noise is a function of
 * seed, step, slot and the operator's number alone. */
#include "tensor/ops.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 20000, CLASSES = 4 };

static ls_device *device;
static ls_team *team;
static ls_tape *tape;
static float *logits;

static void make_tape(void)
{
    cr_assert_eq(ls_team_create(&team, 2, 1), LS_OK);
    cr_assert_eq(ls_device_create_cpu(&device, team), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_tape_create(&tape, device, 1 << 24), LS_OK);
    logits = malloc(sizeof *logits * ROWS * CLASSES);
    for (int i = 0; i < ROWS * CLASSES; i++)
        logits[i] = (float)(i % CLASSES) - 1;
    ls_tape_reset(tape, 17, 2, 3);
}

static void free_tape(void)
{
    free(logits);
    ls_tape_free(tape);
    device->free(device);
    ls_team_free(team);
}

TestSuite(random_operators, .init = make_tape, .fini = free_tape);

static const float *draw(double temperature, bool hard)
{
    const ls_tensor *y =
        ls_gumbel_softmax(tape, ls_constant(tape, LS_F32, LS_SHAPE(ROWS, CLASSES), logits), temperature, hard);
    cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
    return y->data;
}

/* Within four standard deviations of a binomial count, at any temperature (Maddison et al. 2017, section 3). */
Test(random_operators, hard_choices_come_as_often_as_the_softmax_says)
{
    double total = 0;
    for (int c = 0; c < CLASSES; c++)
        total += exp(c - 1);
    for (int round = 0; round < 2; round++) {
        const float *y = draw(round ? 0.1 : 5, true);
        for (int c = 0; c < CLASSES; c++) {
            double chosen = 0, p = exp(c - 1) / total;
            for (int r = 0; r < ROWS; r++)
                chosen += (double)y[r * CLASSES + c];
            cr_assert_float_eq(chosen, ROWS * p, 4 * sqrt(ROWS * p * (1 - p)),
                               "class %d was chosen %g times, not about %g", c, chosen, ROWS * p);
        }
    }
}

Test(random_operators, noise_belongs_to_its_place)
{
    const size_t bytes = sizeof(float) * ROWS * CLASSES;
    float *first = malloc(bytes);
    memcpy(first, draw(1, false), bytes);
    cr_assert_neq(memcmp(first, draw(1, false), bytes), 0, "the second operator of a pass draws other numbers");
    ls_tape_reset(tape, 17, 2, 3);
    ls_no_grad_begin(tape);
    cr_assert_eq(memcmp(first, draw(1, false), bytes), 0, "a no-grad scope draws the same ones");
    ls_no_grad_end(tape);
    ls_tape_reset(tape, 17, 2, 4);
    cr_assert_neq(memcmp(first, draw(1, false), bytes), 0, "another slot draws others");
    free(first);
}
