/* What the language-model tasks share: one transformer and the masked cross-entropy of its next tokens. */
#pragma once
#include "train/run.h"

/* The transformer of the recipe's `model` section, as the data wants it; errors as below. */
ls_status ls_lm_options(ls_run *run, ls_transformer_options *options);
/* Makes the transformer of the recipe's `model` section. vocabulary 0 takes the data's, context 0 batch.tokens.
 * LS_ERECIPE: the model's vocabulary is smaller than the data's, or its context shorter than batch.tokens. */
ls_status ls_lm_init(ls_run *run, const void *options, void **self);
void ls_lm_free(void *self);
int ls_lm_parameters(void *self, ls_parameter **parameters);
/* Sum over counted labels of -log p(label): the loop divides by the step's count. */
ls_tensor *ls_lm_loss(void *self, ls_tape *tape, const ls_grain *grain);
