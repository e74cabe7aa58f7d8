/* What a tired reader should look at first: the state of a run in a sentence, and what its numbers say by themselves.
 */
#pragma once
#include "launch/report/run.h"

#include <stdio.h>

typedef enum { LS_FINDING_GOOD, LS_FINDING_LOOK, LS_FINDING_BAD } ls_finding_level;

const char *ls_report_state_word(const ls_report_run *run); /* "finished", "running", "failed", ... */
ls_finding_level ls_report_state_level(const ls_report_run *run);
/* One sentence, escaped: what state, how far, and what to do next. */
void ls_report_state_sentence(FILE *out, const ls_report_run *run);
/* A list item each, worst first; returns how many. */
int ls_report_findings(FILE *out, const ls_report_run *run);
/* The key of this run's throughput: tokens_per_second or images_per_second; NULL: none. */
const ls_report_series *ls_report_rate(const ls_report_run *run);
/* The held-out loss, or NULL. */
const ls_report_series *ls_report_held_out(const ls_report_run *run);
