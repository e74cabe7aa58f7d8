/* The loss of classifiers. See classifier.h. */
#include "models/classifier.h"

/* t [images, classes] on the tape's arena; NULL: no memory. */
static float *distributions(ls_tape *tape, int64_t images, int64_t classes, const ls_classifier_targets *targets)
{
    const double rest = targets->smoothing / (double)classes, kept = 1 - targets->smoothing;
    float *t = ls_arena_array(ls_tape_arena(tape), float, images *classes);
    for (int64_t b = 0; t && b < images; b++) {
        const bool mixed = targets->mixed_labels != NULL;
        const double share = mixed ? (double)targets->share[b] : 1;
        for (int64_t c = 0; c < classes; c++) {
            const double own = c == targets->labels[b] ? share : 0,
                         other = mixed && c == targets->mixed_labels[b] ? 1 - share : 0;
            t[b * classes + c] = (float)(kept * (own + other) + rest);
        }
    }
    return t;
}

ls_tensor *ls_classifier_loss(ls_tape *tape, ls_tensor *logits, const ls_classifier_targets *targets)
{
    if (ls_tape_status(tape) != LS_OK)
        return logits;
    const int64_t images = logits->shape[0], classes = logits->shape[1];
    const float *t = distributions(tape, images, classes, targets);
    if (!t) {
        ls_tape_raise(tape, LS_EMEM, "the arena has no room for the targets of %lld images", (long long)images);
        return logits;
    }
    ls_tensor *target = ls_constant(tape, LS_F32, LS_SHAPE(images, classes), t);
    return ls_scale(tape, ls_sum(tape, ls_mul(tape, ls_log_softmax(tape, logits), target), LS_ALL), -1, 0);
}
