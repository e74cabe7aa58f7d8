/* Residual convolutional network (He et al. 2016a), basic blocks of two 3 x 3 convolutions:
 *     y = relu(norm(conv(relu(norm(conv(x))))) + shortcut(x))
 * in stages of a width each; the first block of each stage but the first halves the image's sides.
 *
 *                    stem                                    blocks         widths               shortcut
 *     ResNet-20      small: 3 x 3                            [3, 3, 3]      [16, 32, 64]         pad         section 4.2 (6n + 2 layers)
 *     ResNet-18      large: 7 x 7 / 2, max pooling 3 x 3 / 2 [2, 2, 2, 2]   [64, 128, 256, 512]  projection  table 1
 *     ResNet-34      large                                   [3, 4, 6, 3]   [64, 128, 256, 512]  projection
 *
 * Norm: batch norm (Ioffe & Szegedy 2015) over the images of a grain, so the rank count does not show, with running
 * statistics for evaluation that fold in grain order (tensor.h); or group norm (Wu & He 2018), each image alone. */
#pragma once
#include "base/option.h"
#include "models/classifier.h"

typedef struct {
    ls_model_begin begin;
    int stem;             /* "small|large" */
    ls_option_ints blocks, widths;
    int shortcut;         /* "pad|projection": where a block changes the shape */
    int norm;             /* "batch|group" */
    int64_t groups;
    double norm_eps, norm_momentum;
    bool zero_last_gain;  /* each block begins as its shortcut (Goyal et al. 2017, section 5.1) */
} ls_convnet_options;
extern const ls_option ls_convnet_option_rows[];

/* LS_ERECIPE: blocks and widths of different length, a width that groups do not divide, widths that shrink with
 * shortcut: pad. */
extern const ls_classifier ls_classifier_convnet;
