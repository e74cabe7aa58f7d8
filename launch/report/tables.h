/* The parts of the page that are tables and lists: see page.h. Each writes one section, or nothing where there is
 * nothing to say. */
#pragma once
#include "launch/report/charts.h"

/* The run's name as a heading, with its colour; nothing where it is the only one. */
void ls_report_name(FILE *out, const ls_report_run *runs, int count, int r);
/* Of one run: how far, loss, held-out, speed, time. */
void ls_report_tiles(FILE *out, const ls_report_run *run);
/* The same of several, a row a run. */
void ls_report_comparison(FILE *out, const ls_report_run *runs, int count);
void ls_report_events(FILE *out, const ls_report_run *runs, int count);
void ls_report_times(FILE *out, const ls_report_run *runs, int count);
void ls_report_samples(FILE *out, const ls_report_run *runs, int count);
/* Of lud.jsonl, where a run has one. */
void ls_report_sweep(FILE *out, const ls_report_run *runs, int count);
void ls_report_figures(FILE *out, const ls_report_chart *chart, int charts, const ls_report_run *runs, int count);
void ls_report_machine(FILE *out, const ls_report_run *runs, int count);
void ls_report_recipe(FILE *out, const ls_report_run *runs, int count);
