/* Classifier of images: what a task needs of a net, whatever is inside. A new net is one file that ends in such a
 * table. */
#pragma once
#include "models/parameters.h"
#include "tensor/ops.h"

typedef struct {
    int64_t height, width, channels, classes;
} ls_classifier_shape;

typedef struct {
    /* Describes the parameters; data is given later by ls_parameters_bind. `options` is the family's struct.
     * LS_ERECIPE: what does not fit together, or does not fit the images. */
    ls_status (*create)(void **model, const void *options, const ls_classifier_shape *shape);
    void (*free)(void *model);
    int (*parameters)(void *model, ls_parameter **parameters); /* array owned by the model */
    /* pixels [images, height, width, channels], normalised, read in place until the tape's reset -> logits
     * [images, classes] f32. */
    ls_tensor *(*logits)(void *model, ls_tape *tape, int64_t images, const float *pixels);
} ls_classifier;

/* What the images of a grain should be found to be: row b is share[b] of labels[b] and 1 - share[b] of mixed_labels[b]
 * (mixup, Zhang et al. 2018), with mixed_labels NULL all of labels[b]; of that, `smoothing` goes to all classes alike
 * (Szegedy et al. 2016, section 7). Labels are below the number of classes. */
typedef struct {
    const int32_t *labels, *mixed_labels;
    const float *share;
    double smoothing;
} ls_classifier_targets;

/* - sum_b sum_c t_bc log softmax(logits_b)_c, a sum over the images and no mean: [] f32. */
ls_tensor *ls_classifier_loss(ls_tape *tape, ls_tensor *logits, const ls_classifier_targets *targets);
