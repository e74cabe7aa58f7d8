/* Frequencies of rotary positions (Su et al. 2021), pair j of d/2:
 *     f_j = base^(-2j/d)
 * and, where a model was trained on for longer rows than it began with (model.rope_scaling):
 *     linear   f_j / factor                                                        (Chen et al. 2023)
 *     llama3   by the wave length w = 2 pi / f_j, with L = rope_original_context    (Llama 3.1, 2024)
 *              w < L / high:   f_j
 *              w > L / low:    f_j / factor
 *              between them    (1 - s) f_j / factor + s f_j,   s = (L / w - low) / (high - low)  */
#pragma once
#include "models/transformer.h"

/* Factors that are 0 (options made by hand) become the recipe's defaults. */
void ls_rope_resolve(ls_transformer_options *options);
/* LS_ERECIPE: factors that contradict each other. */
ls_status ls_rope_check(const ls_transformer_options *options);
/* *frequency [head_width / 2], radians a position, malloc'ed. LS_EMEM. */
ls_status ls_rope_frequencies(const ls_transformer_options *options, double **frequency);
