/* Audit: does every processor compute what it should? A grain's bits depend neither on the rank that computes it nor on
 * what that rank computed before, so another rank that computes the same grain must come to the same gradient, bit for
 * bit. Every guard.audit_every steps one grain is computed again, by another rank, and the hashes are compared:
 *
 *     audit n     owner     rank n mod P, with its grain n / P mod (its grains): each rank's turn comes, and each grain's
 *                 auditor   the n / P-th other rank, so that in time each rank audits each
 *                 voter     a third rank, which computes the grain too when the two differ: who stands alone is wrong.
 *                           With two ranks both compute again: who differs from itself is wrong. With one rank the
 *                           grain is computed twice by it.
 *
 * What is found out is which rank and node computes wrongly. With guard.on_fault: stop the run then ends with exit code
 * 75 and without a checkpoint, because weights since the last one may be wrong. With repeat the whole step is computed
 * again, and all grains of that rank by another as well: none of its bits is taken on trust, and only a rank that is wrong
 * again ends the run.
 *
 * The audited grain's second gradient is hashed and thrown away: audits do not change a result. The price is one grain
 * every guard.audit_every steps, and the hashing of one. */
#pragma once
#include "train/internal.h"

ls_status ls_audit_open(ls_run *run);
void ls_audit_close(ls_run *run);
/* Before the grains of a step of `grains` grains: sets who is audited by whom in it, if anybody is. */
void ls_audit_begin(ls_run *run, int64_t grains);
/* Before grain `number` of the step's is computed: should its gradients be hashed? Then they go to ls_audit_hash, and the loss to
 * ls_audit_loss. */
void ls_audit_grain(ls_run *run, int64_t number, int64_t grains);
void ls_audit_hash(ls_run *run, const ls_parameter *parameter, const void *gradient);
void ls_audit_loss(ls_run *run, double loss);
/* After the step's sums, before they are used. *again: a rank was found wrong, and the step is to be computed again.
 * LS_ESTOPPED: one was, and the run ends. `rows`, `denominator`: of the step. Collective. */
ls_status ls_audit_end(ls_run *run, int64_t rows, int64_t grains, double denominator, bool *again);
