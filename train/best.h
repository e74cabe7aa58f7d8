/* The best evaluation so far of one held-out number: what `checkpoint.best` keeps, and what `early_stop` waits for.
 *
 * A value is better when it lies beyond the best one by more than min_delta, in the direction of the number (losses
 * fall, ls_measure says the rest); NaN never is. Evaluations before the first step do not count: they are no result of
 * training, and a run that goes on from nothing does them again. The record is state, so a resumed run goes on
 * comparing, and every rank has the same: an evaluation's numbers have the same bits on all of them. */
#pragma once
#include "train/held_out.h"

/* Watches the number `name`; NULL: nothing is watched. `key`: of the recipe, for errors. LS_ERECIPE: no such number, or
 * no data.eval to take it of. */
ls_status ls_best_watch(ls_best *best, const ls_run *run, const char *key, const char *name, double min_delta);
/* Registers PREFIX/metric, value, step, since; also when nothing is watched, since the keys may change on a resume. */
ls_status ls_best_state(ls_best *best, ls_state_tree *tree, const char *prefix);
/* After a load: a record of another number than the one that is watched now begins anew, and says so. */
void ls_best_resumed(ls_best *best, const ls_run *run, const char *key);
/* After an evaluation; true: it is better than all before. */
bool ls_best_update(ls_best *best, const ls_run *run);
/* early_stop: as many evaluations in a row as patience says were not better. */
bool ls_patience_has_ended(const ls_run *run);
