/* Head figures, events, time, figures by key: see tables.h. */
#include "launch/report/tables.h"

#include "launch/report/findings.h"
#include "launch/report/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- head figures ---- */

enum { PROGRESS, LOSS, HELD_OUT, RATE, STEP_TIME, MFU, MEMORY, FIGURES };
static const char *const figure_name[FIGURES] = {
    "steps",         "loss, last tenth", "held-out loss, best", "per second, median",
    "time in steps", "MFU, median",      "memory, most"};

typedef struct {
    char value[64], note[96];
} figure;

/* Of the last tenth of the steps: one step's loss says little. */
static double late_mean(const ls_report_series *series)
{
    const int64_t from = series ? series->count - (series->count + 9) / 10 : 0;
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = from; series && i < series->count; i++)
        if (!isnan(series->value[i])) {
            sum += series->value[i];
            count++;
        }
    return count ? sum / (double)count : NAN;
}

static void fill_figures(const ls_report_run *run, figure all[FIGURES])
{
    char number[32];
    const ls_report_series *loss = ls_report_find(run, "loss"), *held = ls_report_held_out(run),
                           *rate = ls_report_rate(run);
    int64_t at = 0;
    memset(all, 0, FIGURES * sizeof *all);
    snprintf(all[PROGRESS].value, sizeof all->value, "%lld", (long long)ls_report_last_step(run));
    if (run->goal)
        snprintf(all[PROGRESS].note, sizeof all->note, "of %lld", (long long)run->goal);
    ls_html_number(late_mean(loss), all[LOSS].value);
    if (loss && loss->count) {
        ls_html_number(loss->value[0], number);
        snprintf(all[LOSS].note, sizeof all->note, "began at %s", number);
    }
    ls_html_number(ls_report_least(held, &at), all[HELD_OUT].value);
    if (held) {
        ls_html_number(ls_report_last(held), number);
        snprintf(all[HELD_OUT].note, sizeof all->note, "at step %lld; last %s", (long long)at, number);
    }
    ls_html_number(ls_report_median(rate), all[RATE].value);
    if (rate)
        snprintf(all[RATE].note, sizeof all->note, "%.*s", (int)strcspn(rate->name, "_"), rate->name);
    ls_html_duration(ls_report_sum(ls_report_find(run, "seconds")), all[STEP_TIME].value);
    ls_html_duration(ls_report_median(ls_report_find(run, "seconds")), number);
    snprintf(all[STEP_TIME].note, sizeof all->note, "%s a step, median", number);
    const double mfu = ls_report_median(ls_report_find(run, "mfu"));
    if (!isnan(mfu))
        snprintf(all[MFU].value, sizeof all->value, "%.0f%%", 100 * mfu);
    const double memory = ls_report_greatest(ls_report_find(run, "memory_mib"), NULL);
    if (!isnan(memory)) {
        ls_html_number(memory, number);
        snprintf(all[MEMORY].value, sizeof all->value, "%s MiB", number);
        snprintf(all[MEMORY].note, sizeof all->note, "of the largest rank");
    }
}

void ls_report_tiles(FILE *out, const ls_report_run *run)
{
    figure all[FIGURES];
    fill_figures(run, all);
    fputs("<dl class=\"tiles\">\n", out);
    for (int i = 0; i < FIGURES; i++)
        if (*all[i].value && strcmp(all[i].value, "-"))
            fprintf(out, "<div><dt>%s</dt><dd>%s <small>%s</small></dd></div>\n", figure_name[i], all[i].value,
                    all[i].note);
    fputs("</dl>\n", out);
}

void ls_report_name(FILE *out, const ls_report_run *runs, int count, int r)
{
    if (count == 1)
        return;
    fprintf(out, "<h3><span class=\"key c%d\" aria-hidden=\"true\"></span>", r % LS_REPORT_COLOURS);
    ls_html_text(out, runs[r].name);
    fputs("</h3>\n", out);
}

void ls_report_comparison(FILE *out, const ls_report_run *runs, int count)
{
    figure all[FIGURES];
    fputs("<section id=\"comparison\"><h2>Side by side</h2><div class=\"scroll\" "
          "tabindex=\"0\"><table><thead><tr><th>run</th><th>state</th>",
          out);
    for (int i = 0; i < FIGURES; i++)
        fprintf(out, "<th class=\"n\">%s</th>", figure_name[i]);
    fputs("</tr></thead><tbody>\n", out);
    for (int r = 0; r < count; r++) {
        fill_figures(&runs[r], all);
        fprintf(out, "<tr><th scope=\"row\"><span class=\"key c%d\" aria-hidden=\"true\"></span>",
                r % LS_REPORT_COLOURS);
        ls_html_text(out, runs[r].name);
        fprintf(out, "</th><td>%s</td>", ls_report_state_word(&runs[r]));
        for (int i = 0; i < FIGURES; i++)
            fprintf(out, "<td class=\"n\">%s<small>%s</small></td>", *all[i].value ? all[i].value : "-", all[i].note);
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div></section>\n", out);
}

/* ---- events ---- */

/* A row between starts and between days: "start 2, 2026-11-25". */
static void write_break(FILE *out, const ls_report_event *event, const ls_report_event *before)
{
    char day[32] = "";
    const time_t at = (time_t)(event->day * 86400);
    struct tm calendar;
    if (before && before->start == event->start && before->day == event->day)
        return;
    if (event->dated && gmtime_r(&at, &calendar))
        strftime(day, sizeof day, "%Y-%m-%d", &calendar);
    else if (before && before->start == event->start)
        snprintf(day, sizeof day, "a day later");
    fprintf(out, "<tr class=\"start\"><th colspan=\"5\" scope=\"rowgroup\">start %d%s%s</th></tr>\n", event->start,
            *day ? ", " : "", day);
}

static void write_event(FILE *out, const ls_report_event *event)
{
    static const char *const level[] = {"info", "warning", "error"}, *const class[] = {"", "look", "bad"};
    char ranks[64];
    if (event->alike > 1)
        snprintf(ranks, sizeof ranks, "%d of %d", event->alike, event->ranks);
    else
        snprintf(ranks, sizeof ranks, "%d", event->rank);
    fprintf(out, "<tr class=\"%s\"><td class=\"when\">%02d:%02d:%02d</td><td class=\"n\">", class[event->level],
            (int)(event->second / 3600), (int)(event->second / 60 % 60), (int)(event->second % 60));
    if (event->step >= 0)
        fprintf(out, "%lld", (long long)event->step);
    fprintf(out, "</td><td>%s <small>", ranks);
    ls_html_text(out, event->host);
    fprintf(out, "</small></td><td>%s</td><td class=\"text\">", level[event->level]);
    ls_html_text(out, event->part);
    fputs(": ", out);
    ls_html_text(out, event->text);
    fputs("</td></tr>\n", out);
}

void ls_report_events(FILE *out, const ls_report_run *runs, int count)
{
    fputs("<section id=\"events\"><h2>Events</h2><p class=\"note\">Starts, resumes, warnings and faults, from "
          "log/rank-*.log.</p>\n",
          out);
    for (int r = 0; r < count; r++) {
        const ls_report_run *run = &runs[r];
        ls_report_name(out, runs, count, r);
        if (!run->events) {
            fputs("<p>The run folder has no logs.</p>\n", out);
            continue;
        }
        fputs("<div class=\"scroll\" tabindex=\"0\"><table class=\"events\"><thead><tr><th>time</th><th "
              "class=\"n\">step</th><th>rank</th><th>level</th><th>what</th></tr></thead><tbody>\n",
              out);
        for (int64_t i = 0; i < run->events; i++) {
            write_break(out, &run->event[i], i ? &run->event[i - 1] : NULL);
            write_event(out, &run->event[i]);
        }
        fputs("</tbody></table></div>\n", out);
        if (run->events_left_out)
            fprintf(out, "<p class=\"note\">%lld more between them are in the logs.</p>\n",
                    (long long)run->events_left_out);
    }
    fputs("</section>\n", out);
}

/* ---- where the time went ---- */

enum { SLOWEST = 5 };

static double value_at(const ls_report_run *run, const char *name, int64_t step)
{
    const ls_report_series *series = ls_report_find(run, name);
    for (int64_t i = 0; series && i < series->count; i++)
        if (series->step[i] == step)
            return series->value[i];
    return NAN;
}

static void write_slowest(FILE *out, const ls_report_run *run, const ls_report_series *seconds)
{
    int64_t slow[SLOWEST], found = 0;
    char number[3][32];
    for (int64_t i = 0; i < seconds->count; i++) {
        if (found == SLOWEST && !(seconds->value[i] > seconds->value[slow[SLOWEST - 1]]))
            continue;
        int64_t at = found < SLOWEST ? found++ : SLOWEST - 1;
        for (; at > 0 && seconds->value[i] > seconds->value[slow[at - 1]]; at--)
            slow[at] = slow[at - 1];
        slow[at] = i;
    }
    const double median = ls_report_median(seconds);
    fputs("<div class=\"scroll\" tabindex=\"0\"><table><caption>The slowest steps</caption><thead><tr><th "
          "class=\"n\">step</th><th class=\"n\">seconds</th><th class=\"n\">of the median</th>"
          "<th class=\"n\">waiting for data</th><th class=\"n\">for other ranks</th></tr></thead><tbody>\n",
          out);
    for (int64_t i = 0; i < found; i++) {
        const int64_t step = seconds->step[slow[i]];
        ls_html_duration(seconds->value[slow[i]], number[0]);
        ls_html_duration(value_at(run, "data_stall_seconds", step), number[1]);
        ls_html_duration(value_at(run, "communication_seconds", step), number[2]);
        fprintf(out,
                "<tr><td class=\"n\">%lld</td><td class=\"n\">%s</td><td class=\"n\">%.1f times</td><td "
                "class=\"n\">%s</td><td class=\"n\">%s</td></tr>\n",
                (long long)step, number[0], median > 0 ? seconds->value[slow[i]] / median : NAN, number[1], number[2]);
    }
    fputs("</tbody></table></div>\n", out);
}

/* Every key that ends in _seconds is a part of the step, a rollout's too. */
static void write_parts(FILE *out, const ls_report_run *run, double all)
{
    char number[2][32];
    fputs("<div class=\"scroll\" tabindex=\"0\"><table><caption>Parts of it, each of the rank that spent "
          "most</caption><thead><tr><th>key</th><th class=\"n\">in all</th><th class=\"n\">share of the steps</th>"
          "<th class=\"n\">most in one step</th></tr></thead><tbody>\n",
          out);
    for (int i = 0; i < run->series_count; i++) {
        const ls_report_series *series = &run->series[i];
        const char *end = strstr(series->name, "_seconds");
        if (!end || end[8])
            continue;
        const double sum = ls_report_sum(series);
        ls_html_duration(sum, number[0]);
        ls_html_duration(ls_report_greatest(series, NULL), number[1]);
        fputs("<tr><th scope=\"row\"><code>", out);
        ls_html_text(out, series->name);
        fprintf(out, "</code></th><td class=\"n\">%s</td><td class=\"n\">%.1f%%</td><td class=\"n\">%s</td></tr>\n",
                number[0], all > 0 ? 100 * sum / all : 0, number[1]);
    }
    fputs("</tbody></table></div>\n", out);
}

void ls_report_times(FILE *out, const ls_report_run *runs, int count)
{
    char number[2][32];
    fputs("<section id=\"time\"><h2>Where the time went</h2>\n", out);
    for (int r = 0; r < count; r++) {
        const ls_report_series *seconds = ls_report_find(&runs[r], "seconds");
        ls_report_name(out, runs, count, r);
        if (!seconds || !seconds->count) {
            fputs("<p>No step has been timed.</p>\n", out);
            continue;
        }
        const double all = ls_report_sum(seconds);
        ls_html_duration(all, number[0]);
        ls_html_duration(ls_report_median(seconds), number[1]);
        fprintf(out, "<p>%s in %lld steps, %s in the median; evaluations, saves and starts are not in it.</p>\n",
                number[0], (long long)seconds->count, number[1]);
        write_parts(out, &runs[r], all);
        write_slowest(out, &runs[r], seconds);
        if (runs[r].profile) {
            fputs("<details class=\"long\" open><summary>Profile of some steps (profile/table.txt)</summary><pre>",
                  out);
            ls_html_text(out, runs[r].profile);
            fputs("</pre></details>\n", out);
        }
    }
    fputs("</section>\n", out);
}
