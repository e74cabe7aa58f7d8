/* metrics.jsonl into series. The last line of a run that goes on, or that was killed, may be half a line; and C prints
 * a value that is no number as `nan` or `inf`, which JSON does not have: just the lines that matter most when a run
 * went wrong, so they are read all the same. */
#include "launch/report/run.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SERIES = 1024 }; /* keys; a file of other making could have one a line */

static ls_status no_memory(const ls_report_run *run)
{
    return ls_fail(LS_EMEM, "%s: no memory for its metrics", run->path);
}

const ls_report_series *ls_report_find(const ls_report_run *run, const char *name)
{
    for (int i = 0; i < run->series_count; i++)
        if (strcmp(run->series[i].name, name) == 0)
            return &run->series[i];
    return NULL;
}

static ls_report_series *series_of(ls_report_run *run, const char *name)
{
    ls_report_series *found = (ls_report_series *)ls_report_find(run, name);
    if (found || run->series_count == MOST_SERIES)
        return found;
    ls_report_series *more = realloc(run->series, (size_t)(run->series_count + 1) * sizeof *more);
    if (!more)
        return NULL;
    run->series = more;
    ls_report_series *series = &more[run->series_count];
    *series = (ls_report_series){.name = strdup(name), .first_not_finite = -1};
    run->series_count += series->name != NULL;
    return series->name ? series : NULL;
}

static ls_status append(ls_report_run *run, ls_report_series *series, int64_t step, double value)
{
    if (series->count == series->room) {
        const int64_t room = series->room ? 2 * series->room : 64;
        int64_t *steps = realloc(series->step, (size_t)room * sizeof *steps);
        if (!steps)
            return no_memory(run);
        series->step = steps;
        double *values = realloc(series->value, (size_t)room * sizeof *values);
        if (!values)
            return no_memory(run);
        series->value = values;
        series->room = room;
    }
    series->step[series->count] = step;
    series->value[series->count++] = isfinite(value) ? value : NAN;
    if (!isfinite(value) && series->not_finite++ == 0)
        series->first_not_finite = step;
    return LS_OK;
}

/* A line as JSON: `nan`, `-nan`, `inf`, `-inf` behind a colon become strings of the same length. */
static void quote_no_numbers(char *line)
{
    for (char *at = line; (at = strchr(at, ':')); at++) {
        char *word = at + 1 + strspn(at + 1, " ");
        char *bare = word + (*word == '-');
        if (strncmp(bare, "nan", 3) && strncmp(bare, "inf", 3))
            continue;
        *word = ' ';
        memcpy(bare, "\"-\"", 3);
    }
}

static ls_status read_object(ls_report_run *run, json_t *object)
{
    const json_t *step = json_object_get(object, "step");
    const char *name;
    json_t *value;
    if (!json_is_integer(step) || json_integer_value(step) < 0) {
        run->bad_lines++;
        return LS_OK;
    }
    json_object_foreach(object, name, value)
    {
        const bool number = json_is_number(value),
                   no_number = json_is_string(value) && !strcmp(json_string_value(value), "-");
        if ((!number && !no_number && !json_is_null(value)) || strcmp(name, "step") == 0)
            continue;
        ls_report_series *series = series_of(run, name);
        if (!series)
            return run->series_count == MOST_SERIES ? LS_OK : no_memory(run);
        const ls_status status = append(run, series, json_integer_value(step), number ? json_number_value(value) : NAN);
        if (status != LS_OK)
            return status;
    }
    return LS_OK;
}

static ls_status read_line(ls_report_run *run, char *line, size_t bytes)
{
    json_t *object = memchr(line, '\0', bytes) ? NULL : json_loadb(line, bytes, 0, NULL);
    if (!object && strlen(line) == bytes) {
        quote_no_numbers(line);
        object = json_loadb(line, bytes, 0, NULL);
    }
    run->lines++;
    const int64_t bad = run->bad_lines;
    const ls_status status = json_is_object(object) ? read_object(run, object) : LS_OK;
    if (!json_is_object(object))
        run->bad_lines++;
    if (bad == 0 && run->bad_lines)
        run->first_bad_line = run->lines;
    json_decref(object);
    return status;
}

static bool equal(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

/* The place of `step` among ascending ones, or -1. */
static int64_t place_of(const ls_report_series *series, int64_t step)
{
    int64_t low = 0, high = series->count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (series->step[middle] < step)
            low = middle + 1;
        else
            high = middle;
    }
    return low < series->count && series->step[low] == step ? low : -1;
}

/* What was dropped is held against what replaced it: equal bits are the promise. */
static void compare_dropped(ls_report_run *run, const ls_report_series *kept, const ls_report_series *all)
{
    for (int64_t i = 0; i < all->count; i++) {
        const int64_t at = all->step[i] < 0 ? place_of(kept, -1 - all->step[i]) : -1;
        if (at < 0)
            continue;
        run->redone += strcmp(kept->name, "loss") == 0;
        if (equal(kept->value[at], all->value[i]))
            continue;
        run->parted++;
        if (run->first_parted_step < 0 || kept->step[at] < run->first_parted_step)
            run->first_parted_step = kept->step[at];
    }
}

/* Only the last pass over the steps: a step is kept if no later line of the file has it or one before it. */
static ls_status keep_last_pass(ls_report_run *run, ls_report_series *series)
{
    const bool loss = strcmp(series->name, "loss") == 0, compared = loss || strcmp(series->name, "grad_norm") == 0;
    int64_t next = INT64_MAX, dropped = 0;
    for (int64_t i = series->count - 1; i >= 0; i--) {
        run->rewinds += loss && i > 0 && series->step[i - 1] >= series->step[i];
        if (series->step[i] < next) {
            next = series->step[i];
        } else {
            series->step[i] = -1 - series->step[i]; /* marked: steps are not negative */
            dropped++;
        }
    }
    if (!dropped)
        return LS_OK;
    ls_report_series kept = {.name = series->name};
    ls_status status = LS_OK;
    for (int64_t i = 0; i < series->count && status == LS_OK; i++)
        if (series->step[i] >= 0)
            status = append(run, &kept, series->step[i], series->value[i]);
    if (status == LS_OK && compared)
        compare_dropped(run, &kept, series);
    free(series->step);
    free(series->value);
    *series = kept;
    return status;
}

ls_status ls_report_read_metrics(ls_report_run *run)
{
    char path[4096], *line = NULL;
    size_t room = 0;
    snprintf(path, sizeof path, "%s/metrics.jsonl", run->path);
    run->first_parted_step = -1;
    FILE *in = fopen(path, "rb");
    if (!in)
        return errno == ENOENT ? LS_OK : ls_fail(LS_EIO, "%s: cannot read (%s)", path, strerror(errno));
    ls_status status = LS_OK;
    for (ssize_t got; status == LS_OK && (got = getline(&line, &room, in)) > 0;) {
        run->cut_line = line[got - 1] != '\n';
        status = read_line(run, line, (size_t)got);
    }
    if (status == LS_OK && ferror(in))
        status = ls_fail(LS_EIO, "%s: cannot read (%s)", path, strerror(errno));
    fclose(in);
    free(line);
    for (int i = 0; i < run->series_count && status == LS_OK; i++)
        status = keep_last_pass(run, &run->series[i]);
    return status;
}

/* ---- of one series ---- */

double ls_report_least(const ls_report_series *series, int64_t *at)
{
    double least = NAN;
    for (int64_t i = 0; series && i < series->count; i++)
        if (series->value[i] < least || (isnan(least) && !isnan(series->value[i]))) {
            least = series->value[i];
            if (at)
                *at = series->step[i];
        }
    return least;
}

double ls_report_greatest(const ls_report_series *series, int64_t *at)
{
    double most = NAN;
    for (int64_t i = 0; series && i < series->count; i++)
        if (series->value[i] > most || (isnan(most) && !isnan(series->value[i]))) {
            most = series->value[i];
            if (at)
                *at = series->step[i];
        }
    return most;
}

double ls_report_last(const ls_report_series *series)
{
    return series && series->count ? series->value[series->count - 1] : NAN;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double ls_report_median(const ls_report_series *series)
{
    double *sorted = series && series->count ? malloc((size_t)series->count * sizeof *sorted) : NULL, median = NAN;
    int64_t count = 0;
    for (int64_t i = 0; sorted && i < series->count; i++)
        if (!isnan(series->value[i]))
            sorted[count++] = series->value[i];
    if (count) {
        qsort(sorted, (size_t)count, sizeof *sorted, ascending);
        median = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
    }
    free(sorted);
    return median;
}

double ls_report_sum(const ls_report_series *series)
{
    double sum = 0;
    for (int64_t i = 0; series && i < series->count; i++)
        if (!isnan(series->value[i]))
            sum += series->value[i];
    return sum;
}

int64_t ls_report_last_step(const ls_report_run *run)
{
    const ls_report_series *loss = ls_report_find(run, "loss");
    return loss && loss->count ? loss->step[loss->count - 1] : 0;
}
