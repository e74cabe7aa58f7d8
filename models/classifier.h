/* Classifier of images: what a task needs of a net, whatever is inside. A new net is one file that ends in such a table. */
#pragma once
#include "models/parameters.h"

typedef struct {
    int64_t height, width, channels, classes;
} ls_classifier_shape;

typedef struct {
    /* Describes the parameters; data is given later by ls_parameters_bind. `options` is the family's struct. LS_ERECIPE:
     * what does not fit together, or does not fit the images. */
    ls_status (*create)(void **model, const void *options, const ls_classifier_shape *shape);
    void (*free)(void *model);
    int (*parameters)(void *model, ls_parameter **parameters); /* array owned by the model */
    /* pixels [images, height, width, channels], normalised, read in place until the tape's reset -> logits
     * [images, classes] f32. */
    ls_tensor *(*logits)(void *model, ls_tape *tape, int64_t images, const float *pixels);
} ls_classifier;
