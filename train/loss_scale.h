/* Dynamic loss scaling for `precision: fp16` (Micikevicius et al. 2018, section 3.2; the rule is that of PyTorch's GradScaler).
 *
 * The smallest f16 number is 2^-24, and gradients of activations are often below it. So backward begins with the loss's gradient
 * times a scale, and the optimiser's factor on the gradient sums (clipping's) is divided by it: the scale is a power of two, so
 * both are exact, and no pass over memory is added.
 *
 *     the gradient norm is not finite   the step is skipped, the scale is halved
 *     growth_interval good steps        the scale is doubled, up to 2^32
 *     the scale cannot be halved        the step is the guard's (train/guard.h), as one whose loss is not finite always is
 *
 * Unlike a step that the guard skips, a step skipped here is not one of the optimiser's: Adam's bias correction does not count it.
 * Learning rate and data go on. All is decided from the global norm, which has the same bits on every rank and rank count. */
#pragma once
#include "train/internal.h"

/* LS_ERECIPE: start and min are no powers of two, min is above start, or something is set that this precision does not read. */
ls_status ls_loss_scale_open(ls_run *run);
/* Registers the scale and its counts; nothing where nothing is scaled. */
ls_status ls_loss_scale_state(ls_run *run, ls_state_tree *tree);
/* What backward begins with: the scale (1 in other precisions) over the step's count. */
double ls_loss_scale_seed(const ls_run *run, double denominator);
/* Before the update: whether the step overflowed under its scale and is skipped for it. Then the scale is halved, which the log says. */
bool ls_loss_scale_overflows(ls_run *run, double loss, double grad_norm);
/* After ls_loss_scale_overflows said no, of a step that is done: one more good one. */
void ls_loss_scale_advance(ls_run *run);
