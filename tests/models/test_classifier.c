#include "models/classifier.h"
#include "tests/models/workbench.h"

enum { IMAGES = 6, CLASSES = 5 };
static float logits[IMAGES * CLASSES];
static const int32_t labels[IMAGES] = {0, 4, 2, 1, 3, 3}, mixed_labels[IMAGES] = {1, 4, 0, 2, 3, 0};
static const float share[IMAGES] = {0.25f, 0.5f, 1, 0, 0.75f, 0.125f};

/* The sum of the definition, in double: cross-entropy against each label apart, and against all classes alike. */
static double expected(bool mixed, double smoothing)
{
    double sum = 0;
    for (int b = 0; b < IMAGES; b++) {
        const float *z = logits + b * CLASSES;
        double total = 0, all = 0;
        for (int c = 0; c < CLASSES; c++)
            total += exp((double)z[c]);
        for (int c = 0; c < CLASSES; c++)
            all += log(total) - (double)z[c];
        const double own = log(total) - (double)z[labels[b]], other = log(total) - (double)z[mixed_labels[b]];
        const double l = mixed ? (double)share[b] : 1;
        sum += (1 - smoothing) * (l * own + (1 - l) * other) + smoothing * all / CLASSES;
    }
    return sum;
}

Test(classifier, the_loss_is_the_cross_entropy_with_smoothed_and_mixed_labels)
{
    workbench w = workbench_without_model(LS_F32, 1);
    for (int i = 0; i < IMAGES * CLASSES; i++)
        logits[i] = (float)(i * 29 % 31) / 4 - 3;
    for (int mixed = 0; mixed < 2; mixed++)
        for (double smoothing = 0; smoothing < 0.9; smoothing += 0.4) {
            const ls_classifier_targets targets = {labels, mixed ? mixed_labels : NULL, mixed ? share : NULL,
                                                   smoothing};
            ls_tape_reset(w.tape, 1, 0, 0);
            ls_tensor *z = ls_variable(w.tape, LS_F32, LS_SHAPE(IMAGES, CLASSES), logits);
            ls_tensor *loss = ls_classifier_loss(w.tape, z, &targets);
            cr_assert_eq(ls_tape_status(w.tape), LS_OK, "%s", ls_fail_sentence());
            cr_expect_leq(fabs(*(const float *)loss->data / expected(mixed, smoothing) - 1), 1e-6,
                          "mixed %d, smoothing %g: %.9g, not %.9g", mixed, smoothing, *(const float *)loss->data,
                          expected(mixed, smoothing));
            ls_backward(w.tape, loss, 1, NULL, NULL);
            for (int b = 0; b < IMAGES; b++) { /* probabilities and targets both add up to 1 */
                double sum = 0;
                for (int c = 0; c < CLASSES; c++)
                    sum += (double)((const float *)z->grad)[b * CLASSES + c];
                cr_expect_leq(fabs(sum), 1e-6, "image %d: the gradient adds up to %g", b, sum);
            }
        }
    workbench_done(&w);
}
