/* Guards: what a run does about numbers that cannot be right.
 *
 *     a loss or a gradient that is not finite   the step is skipped: weights, moments and running statistics stay as they
 *                                               were, on every rank alike; more than guard.max_skips in a row end the run
 *     a loss far above its running median       back to the last checkpoint, and the rows drawn since are left out
 *                                               (guard.spike, off by default)
 *     replicas that differ                      named, and the run ends before a checkpoint is written
 *                                               (guard.replicas_every, off by default)
 *
 * A skipped step counts as a step: the learning rate, Adam's bias correction and the data go on, so that nothing but the
 * weights themselves need be remembered. What is decided here comes from the step's loss and gradient norm alone, which
 * have the same bits on every rank and any rank count, and so has the decision. */
#pragma once
#include "train/internal.h"

typedef enum { LS_GUARD_GO_ON, LS_GUARD_SKIP, LS_GUARD_GO_BACK } ls_guard_verdict;

ls_status ls_guard_open(ls_run *run);
void ls_guard_close(ls_run *run);
/* Registers the losses that guard.spike compares with; nothing where it is off. */
ls_status ls_guard_state(ls_run *run, ls_state_tree *tree);
/* The k-th grain of this rank in the step: whose samples to name if it goes wrong. */
void ls_guard_note(ls_run *run, int64_t k, const ls_grain *grain);
/* Before the update, with the loss of every grain in run->grain_loss: what is to be done with the step. Says so in the
 * log. LS_ENUMERIC: too many in a row. */
ls_status ls_guard_judge(ls_run *run, int64_t grains, double loss, double grad_norm, ls_guard_verdict *verdict);
/* After LS_GUARD_GO_BACK: the state of the last checkpoint, with the rows that follow `position`. Collective. */
ls_status ls_guard_go_back(ls_run *run, int64_t position);
/* Compares the working weights of all ranks. LS_ECORRUPT: naming tensor and ranks. Collective. */
ls_status ls_guard_replicas(ls_run *run);
