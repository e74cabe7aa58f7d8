/* Which keys of metrics.jsonl share a chart, and the charts themselves: drawn as SVG for paper and for a browser
 * without scripts, and as numbers for dygraphs. Nothing here knows the keys of a task: train_X and eval_X share the
 * chart X, with what ends in _ema, _low, _high, _chosen, _rejected, _k1.._k3; a key that is not known stands under its
 * prefix. */
#pragma once
#include "launch/report/run.h"

#include <stdio.h>

enum { LS_CHART_KEYS = 16, LS_REPORT_COLOURS = 8 }; /* colours: c0..c7 of page.css */

typedef struct {
    char name[80];    /* "accuracy" */
    char title[96];   /* "Accuracy" */
    char section[64]; /* "Measures of the task" */
    const char *note; /* what the numbers are, for keys every run has; NULL: none */
    int order;        /* of the section */
    int keys;
    const char *key[LS_CHART_KEYS]; /* of the runs */
} ls_report_chart;

/* Charts of all runs by section, in the order in which the runs name their keys; malloc'ed, NULL: no memory. */
ls_report_chart *ls_report_charts(const ls_report_run *runs, int count, int *charts);
/* Fills `at` with at most `limit` places of the series: the first, the last, and of each bucket of points the least,
 * the greatest and the first that is no number, so that no spike is lost. Returns how many. limit >= 8. */
int64_t ls_report_thin(const ls_report_series *series, int64_t limit, int64_t *at);
void ls_report_svg(FILE *out, const ls_report_chart *chart, const ls_report_run *runs, int count);
/* A still chart of points whose x is no step, one line after the other: a sweep. Nothing but axes are drawn of no points. */
typedef struct {
    const double *x, *y; /* x ascends; y NaN: a gap */
    int count, colour, dash;
} ls_report_line;
void ls_report_plot(FILE *out, const ls_report_line *lines, int count, const char *words);
/* One object: title and series, each with label, colour, dash, steps and values. */
void ls_report_chart_json(FILE *out, const ls_report_chart *chart, const ls_report_run *runs, int count);
/* "loss", or "run: loss" where there are several runs. */
void ls_report_label(char label[256], const ls_report_chart *chart, const ls_report_run *runs, int count, int run,
                     int key);
/* With one run a colour says which key, with several which run, and the dash says which key. */
int ls_report_colour(int count, int run, int key);
int ls_report_dash(int count, int run, int key);
/* A chart's keys that some run has, told in words. */
void ls_report_chart_words(FILE *out, const ls_report_chart *chart, const ls_report_run *runs, int count);
