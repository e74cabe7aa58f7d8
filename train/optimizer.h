/* From a step's reduced gradient to new weights: learning rate, clipping by global norm, the update itself. */
#pragma once
#include "train/run.h"

/* Learning rate of optimiser step `step` (the first is 0) of `steps` in all; a pure function, so a resumed run needs
 * nothing but its step. Warm-up is linear over `warmup` steps, reaching lr at the last of them. */
double ls_learning_rate(const ls_optimizer_options *options, int64_t step, int64_t steps);
/* Factor on the gradient so that its norm is at most clip_norm: min(1, clip_norm / (norm + 1e-6)), as PyTorch's
 * clip_grad_norm_. clip_norm 0: 1. */
double ls_clip_scale(double norm, double clip_norm);
