/* The numbers of an evaluation, by the names they have in metrics.jsonl: eval_loss, then eval_NAME for each of the
 * task's measures, and all of them again with _ema behind where averaged weights are evaluated. `i` counts them from 0.
 */
#pragma once
#include "train/internal.h"

enum { LS_HELD_OUT_NAME = 64 };

int ls_held_out_count(const ls_run *run);
/* "loss", "accuracy": alike for both kinds of weights. */
const char *ls_held_out_label(const ls_run *run, int i);
bool ls_held_out_is_averaged(const ls_run *run, int i);
void ls_held_out_name(const ls_run *run, int i, char name[LS_HELD_OUT_NAME]);
double ls_held_out_value(const ls_run *run, int i); /* in the last evaluation */
bool ls_held_out_higher_is_better(const ls_run *run, int i);
/* By name; "eval_" may be left out. LS_ERECIPE: none of that name; says what there is, for the recipe's key `key`. */
ls_status ls_held_out_find(const ls_run *run, const char *key, const char *name, int *i);
