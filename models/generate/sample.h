/* Draws one token from a row of logits: temperature, then top-k, then top-p on what is left (as Hugging Face). */
#pragma once
#include "models/generate/generate.h"

/* Room for the candidates of one row; sized for the vocabulary by its owner. */
typedef struct {
    float logit;
    int32_t id;
    double p;
} ls_candidate;

/* `uniform` in [0, 1) decides; temperature 0: the greatest logit, the lower id where two are equal. NaN logits are
 * never drawn. The result depends on logits, options and uniform alone. */
int32_t ls_sample(const ls_generate_options *options, int64_t vocabulary, const float *logits, float uniform,
                  ls_candidate *room);
