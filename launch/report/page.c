/* See page.h. The page's parts in their order; text from outside goes through html.h, always. */
#include "launch/report/page.h"

#include "launch/report/charts.h"
#include "launch/report/embedded.h"
#include "launch/report/findings.h"
#include "launch/report/html.h"
#include "launch/report/tables.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    FILE *out;
    const ls_report_run *runs;
    int count;
    const ls_report_chart *chart;
    int charts;
} page;

/* Nothing is loaded from anywhere, whatever a name or a sample says. */
static void write_head(const page *p)
{
    fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
          "script-src 'unsafe-inline'; img-src data:\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" "
          "content=\"light dark\">\n"
          "<meta name=\"generator\" content=\"lockstep " LS_VERSION "\">\n<title>",
          p->out);
    for (int r = 0; r < p->count; r++) {
        fputs(r ? ", " : "", p->out);
        ls_html_text(p->out, p->runs[r].name);
    }
    fprintf(p->out,
            " - lockstep report</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n%s%s</style>\n</head>\n<body>\n",
            ls_dygraphs_css, ls_report_css);
}

static void write_state(const page *p, const ls_report_run *run, int number)
{
    static const char *const level[] = {"good", "look", "bad"};
    FILE *out = p->out;
    fprintf(out, "<section class=\"state %s\"><h2>", level[ls_report_state_level(run)]);
    if (p->count > 1) {
        fprintf(out, "<span class=\"key c%d\" aria-hidden=\"true\"></span>", number % LS_REPORT_COLOURS);
        ls_html_text(out, run->name);
    } else {
        fputs("State", out);
    }
    fprintf(out, " <span class=\"badge\">%s</span></h2>\n<p class=\"sentence\">", ls_report_state_word(run));
    ls_report_state_sentence(out, run);
    fputs("</p>\n<ul class=\"findings\">\n", out);
    if (!ls_report_findings(out, run) && run->series_count)
        fputs("<li class=\"good\"><b>good</b> No fault, no warning, no number that is not finite, no jump of the "
              "gradient norm, no time lost in waiting.</li>\n",
              out);
    fputs("</ul>\n", out);
    if (p->count == 1)
        ls_report_tiles(out, run);
    fputs("</section>\n", out);
}

static void write_top(const page *p, int64_t now)
{
    char when[64] = "";
    const time_t at = (time_t)now;
    struct tm local;
    if (localtime_r(&at, &local))
        strftime(when, sizeof when, "%Y-%m-%d %H:%M %Z", &local);
    fputs("<header><p class=\"brand\">lockstep report</p><h1>", p->out);
    if (p->count == 1)
        ls_html_text(p->out, p->runs[0].name);
    else
        fprintf(p->out, "%d runs", p->count);
    fprintf(p->out, "</h1><p class=\"where\">written %s", when);
    if (p->count == 1) {
        fputs(" of <code>", p->out);
        ls_html_text(p->out, p->runs[0].path);
        fputs("</code>", p->out);
    }
    fputs("</p>\n<nav aria-label=\"parts of this page\"><a href=\"#curves\">curves</a> ", p->out);
    for (int r = 0; r < p->count; r++)
        if (json_array_size(p->runs[r].sweep)) {
            fputs("<a href=\"#lud\">lexical units</a> ", p->out);
            break;
        }
    fputs("<a href=\"#events\">events</a> <a href=\"#time\">time</a> <a href=\"#figures\">figures</a> ", p->out);
    for (int r = 0; r < p->count; r++)
        if (p->runs[r].samples) {
            fputs("<a href=\"#samples\">samples</a> ", p->out);
            break;
        }
    fputs("<a href=\"#machine\">machine</a> <a href=\"#recipe\">recipe</a></nav></header>\n<main>\n", p->out);
}

/* Which colour and dash is which: the same for the SVG and for dygraphs. */
static void write_legend(const page *p, const ls_report_chart *chart)
{
    char label[256];
    fputs("<ul class=\"legend\">", p->out);
    for (int r = 0; r < p->count; r++)
        for (int k = 0; k < chart->keys; k++) {
            if (!ls_report_find(&p->runs[r], chart->key[k]))
                continue;
            ls_report_label(label, chart, p->runs, p->count, r, k);
            fprintf(p->out,
                    "<li><svg class=\"stroke\" viewBox=\"0 0 28 8\" aria-hidden=\"true\"><path class=\"line c%d d%d\" "
                    "d=\"M0 4H28\"/></svg>",
                    ls_report_colour(p->count, r, k), ls_report_dash(p->count, r, k));
            ls_html_text(p->out, label);
            fputs("</li>", p->out);
        }
    fputs("</ul>\n", p->out);
}

static void write_chart(const page *p, int number)
{
    const ls_report_chart *chart = &p->chart[number];
    fprintf(p->out, "<figure class=\"chart\" data-chart=\"%d\"><figcaption><b>", number);
    ls_html_text(p->out, chart->title);
    fputs("</b>", p->out);
    if (chart->note) {
        fputs(" <span class=\"note\">", p->out);
        ls_html_text(p->out, chart->note);
        fputs("</span>", p->out);
    }
    fputs("</figcaption>\n", p->out);
    write_legend(p, chart);
    ls_report_svg(p->out, chart, p->runs, p->count);
    fputs("</figure>\n", p->out);
}

static void write_charts(const page *p)
{
    fputs("<section id=\"curves\"><h2>Curves</h2>\n<div class=\"controls\" hidden>"
          "<label>smoothing <input type=\"range\" id=\"smoothing\" min=\"0\" max=\"0.98\" step=\"0.02\" "
          "value=\"0\"></label>"
          "<label>across <select id=\"across\"><option value=\"step\">step</option><option value=\"time\">time in "
          "steps</option></select></label>"
          "<label><input type=\"checkbox\" id=\"log\"> logarithmic</label>"
          "<button type=\"button\" id=\"reset\">show all</button>"
          "<span class=\"note\">drag over a curve to zoom all of them; double-click to go back</span></div>\n",
          p->out);
    for (int i = 0; i < p->charts; i++) {
        if (i == 0 || strcmp(p->chart[i].section, p->chart[i - 1].section)) {
            fputs(i ? "</div>\n<h3>" : "<h3>", p->out);
            ls_html_text(p->out, p->chart[i].section);
            fputs("</h3><div class=\"grid\">\n", p->out);
        }
        write_chart(p, i);
    }
    fputs(p->charts ? "</div>\n</section>\n" : "<p>No numbers yet: metrics.jsonl is empty or missing.</p></section>\n",
          p->out);
}

/* Seconds spent in steps by then, at up to 300 steps, for the curves across time. */
static void write_clock(FILE *out, const ls_report_run *run)
{
    enum { POINTS = 300 };
    const ls_report_series *seconds = ls_report_find(run, "seconds");
    const int64_t every = seconds ? seconds->count / POINTS + 1 : 1;
    double sum = 0;
    fputs("[[0,0]", out);
    for (int64_t i = 0; seconds && i < seconds->count; i++) {
        sum += isnan(seconds->value[i]) ? 0 : seconds->value[i];
        if (i % every == 0 || i + 1 == seconds->count)
            fprintf(out, ",[%lld,%.6g]", (long long)seconds->step[i], sum);
    }
    putc(']', out);
}

static void write_scripts(const page *p)
{
    FILE *out = p->out;
    fputs("<script type=\"application/json\" id=\"data\">{\"clocks\":[", out);
    for (int r = 0; r < p->count; r++) {
        fputs(r ? "," : "", out);
        write_clock(out, &p->runs[r]);
    }
    fputs("],\"charts\":[", out);
    for (int i = 0; i < p->charts; i++) {
        fputs(i ? ",\n" : "", out);
        ls_report_chart_json(out, &p->chart[i], p->runs, p->count);
    }
    fprintf(out, "]}</script>\n<script>\n%s%s</script>\n<script>\n%s</script>\n", ls_dygraphs_notice, ls_dygraphs_js,
            ls_report_js);
}

ls_status ls_report_page(FILE *out, const ls_report_run *runs, int count, int64_t now)
{
    page p = {.out = out, .runs = runs, .count = count};
    ls_report_chart *charts = ls_report_charts(runs, count, &p.charts);
    if (!charts)
        return ls_fail(LS_EMEM, "no memory for the curves");
    p.chart = charts;
    write_head(&p);
    write_top(&p, now);
    if (count > 1)
        ls_report_comparison(out, runs, count);
    for (int r = 0; r < count; r++)
        write_state(&p, &runs[r], r);
    write_charts(&p);
    ls_report_sweep(out, runs, count);
    ls_report_events(out, runs, count);
    ls_report_times(out, runs, count);
    ls_report_samples(out, runs, count);
    ls_report_figures(out, &p.chart[0], p.charts, runs, count);
    ls_report_machine(out, runs, count);
    ls_report_recipe(out, runs, count);
    fputs("</main>\n<footer><p>Curves by dygraphs (MIT), drawn from metrics.jsonl; of long runs the least and the "
          "greatest value of each stretch are drawn. "
          "All numbers are in metrics.jsonl and in the TensorBoard events of the run folder.</p></footer>\n",
          out);
    write_scripts(&p);
    fputs("</body></html>\n", out);
    free(charts);
    return ferror(out) ? ls_fail(LS_EIO, "the page could not be written") : LS_OK;
}
