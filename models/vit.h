/* Vision transformer (Dosovitskiy et al. 2021): the image is cut into squares, each becomes a token, and a pre-norm
 * transformer without a mask looks at all of them.
 *     tokens  squares of patch x patch pixels, each times a matrix, plus bias; before them, with pool: class, one that is
 *             learnt (section 3.1); plus a learnt vector for each place; dropout
 *     blocks  x += attention(norm(x));  x += mlp(norm(x))     LayerNorm with bias, GELU in its exact form, biases
 *     head    norm of the class token, or the mean of all tokens' norms, times a matrix, plus bias
 * ViT-S/16: {patch: 16, layers: 12, width: 384, heads: 6} on 224 x 224 pixels. */
#pragma once
#include "base/option.h"
#include "models/classifier.h"

typedef struct {
    ls_model_begin begin;
    int64_t patch, layers, width, heads, hidden /* 0: 4 width */;
    int pool; /* "class|mean" */
    double dropout, norm_eps, init_std /* 0: by the inputs */;
    bool recompute; /* one recompute scope a block */
} ls_vit_options;
extern const ls_option ls_vit_option_rows[];

/* LS_ERECIPE: the image's sides are not multiples of patch; width is not one of heads. */
extern const ls_classifier ls_classifier_vit;
