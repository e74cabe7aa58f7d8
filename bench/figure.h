/* How a benchmark says a figure to bench/run: one JSON object a line on stdout. Equal names of two programs are compared. */
#pragma once
#include <stdio.h>

/* name: what was measured, with shape and type ("gpt2-124m f32 G=1"); unit: "tokens/s", "ms", "GB/s"; lower: smaller is
 * better; note: a further fact for the table, or "". */
static inline void ls_figure(const char *name, double value, const char *unit, int lower, const char *note)
{
    printf("{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"better\": \"%s\", \"note\": \"%s\"}\n", name, value, unit,
           lower ? "lower" : "higher", note);
    fflush(stdout);
}
