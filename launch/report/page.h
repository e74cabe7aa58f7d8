/* The report as one HTML page that loads nothing: style, scripts, curves and numbers are inside, and a content policy
 * forbids the rest. Without scripts, and on paper, curves are drawn as SVG and every table stands open. */
#pragma once
#include "launch/report/run.h"

#include <stdio.h>

/* `count` of at least 1; more are compared. LS_EMEM; LS_EIO: `out` could not be written. `now`: seconds since 1970,
 * printed. */
ls_status ls_report_page(FILE *out, const ls_report_run *runs, int count, int64_t now);
