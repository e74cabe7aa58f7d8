/* The table of `prove`: trials one after another, each judged against the first, one row each. Where one parts from the
 * first trial its row is followed by the first step and the first tensor that differ. Rows go to stdout. */
#pragma once
#include "launch/prove/hashes.h"
#include "launch/prove/trial.h"

typedef struct {
    ls_trial_setting setting;
    ls_hashes *reference; /* of the first trial */
    ls_trial first;
    ls_trial_result first_result;
    int trials, different, failed;
} ls_proof;

void ls_proof_heading(void);
/* Runs one trial and prints its row. A trial that fails where the first one worked is a difference and counted; LS_ESTATE
 * only when the first one fails. LS_ESTOPPED: Ctrl-C. */
ls_status ls_proof_try(ls_proof *proof, int ranks, int threads, const char *schedule, int resume_ranks);
void ls_proof_end(ls_proof *proof);
