/* Checkpoints of a running training: when one is due, and how it is written while training goes on
 * (checkpoint/checkpoint.h, ls_saver).
 *
 * The state is constant from the end of one step to the optimiser of the next, so it is copied during forward and
 * backward. At each step's border the ranks' votes say how far the save in flight is; there, and nowhere else, it moves
 * on. The last save of a run, the one that a signal asks for, and that of a new best are waited for. Which step a save
 * falls on never changes a result; a clock may choose it, and then it is rank 0's. */
#pragma once
#include "train/internal.h"

ls_status ls_saving_open(ls_run *run);
void ls_saving_close(ls_run *run);
/* Before weights, moments or averages change: what is saved of them must have been copied. */
void ls_saving_wait_taken(ls_run *run);
/* Of this rank's byte in the votes at a step's border: bits 1 to 3. */
uint8_t ls_saving_vote(ls_run *run);
/* Collective. What all ranks' bytes say. */
ls_status ls_saving_hear(ls_run *run, const uint8_t *votes);
/* After ls_saving_hear; the same on all ranks. */
bool ls_saving_is_due(const ls_run *run);
/* Collective. Saves this step; a save in flight is waited for. `last`: its failure is the run's. Other failures are
 * told, and training goes on. */
ls_status ls_saving_save(ls_run *run, bool last);
/* Collective. The save in flight, if there is one, is waited for: then run->saved_step is the newest that there will be. */
ls_status ls_saving_settle(ls_run *run);
/* For measurements. */
const ls_saver *ls_saving_saver(const ls_run *run);
