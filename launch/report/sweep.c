/* What `lockstep generate --decode lud --sweep` left: tokens a pass, quality and speed by threshold, a line a window. See tables.h. */
#include "launch/report/tables.h"

#include "launch/report/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_POINTS = 64, MOST_LINES = 64 };

/* A line of lud.jsonl; numbers that are missing or out of any sense are NaN. */
typedef struct {
    int64_t window;
    double threshold, a_pass, same, rate; /* tokens a pass, share of rows as plain decoding's, tokens/s */
    bool plain, verify;
} decoding;

enum { A_PASS, SAME, RATE, CHARTS };
static const struct {
    const char *title, *note;
} chart[CHARTS] = {
    {"Tokens a pass", "by threshold, a line a window; plain decoding gives 1"},
    {"Answers as plain decoding's", "%, to the last token, by threshold"},
    {"Tokens a second", "over plain decoding's, by threshold; timings of one decoding each"},
};

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static decoding read_decoding(const json_t *object)
{
    const double rows = number_of(object, "rows"), tokens = number_of(object, "tokens"), passes = number_of(object, "passes"),
                 same = number_of(object, "same"), seconds = number_of(object, "seconds");
    decoding d = {.window = json_integer_value(json_object_get(object, "window")), .threshold = number_of(object, "threshold")};
    d.a_pass = passes > 0 && tokens >= 0 ? tokens / passes : NAN;
    d.same = rows > 0 && same >= 0 && same <= rows ? same / rows : NAN;
    d.rate = seconds > 0 && tokens >= 0 ? tokens / seconds : NAN;
    d.plain = d.window == 1;
    d.verify = json_is_true(json_object_get(object, "verify"));
    return d;
}

static double plain_rate(const json_t *sweep)
{
    size_t i;
    json_t *object;
    json_array_foreach(sweep, i, object)
    {
        const decoding d = read_decoding(object);
        if (d.plain)
            return d.rate;
    }
    return NAN;
}

typedef struct {
    int run;
    int64_t window;
    double x[MOST_POINTS], y[CHARTS][MOST_POINTS];
    int count;
} curve;

/* Points of one window follow each other with the threshold ascending, as they were measured; others begin a new curve. */
static int collect(curve *curves, const ls_report_run *runs, int count)
{
    int used = 0;
    for (int r = 0; r < count; r++) {
        const double plain = plain_rate(runs[r].sweep);
        size_t i;
        json_t *object;
        json_array_foreach(runs[r].sweep, i, object)
        {
            const decoding d = read_decoding(object);
            curve *c = used ? &curves[used - 1] : NULL;
            if (d.plain || !(d.threshold >= 0 && d.threshold <= 2))
                continue;
            if (!c || c->run != r || c->window != d.window || c->count == MOST_POINTS || d.threshold <= c->x[c->count - 1]) {
                if (used == MOST_LINES)
                    return used;
                c = &curves[used++];
                *c = (curve){.run = r, .window = d.window};
            }
            c->x[c->count] = d.threshold;
            c->y[A_PASS][c->count] = d.a_pass;
            c->y[SAME][c->count] = 100 * d.same;
            c->y[RATE][c->count++] = d.rate / plain;
        }
    }
    return used;
}

/* With one run a colour says which window, with several which run, and the dash which window. */
static int place(const curve *curves, int number, int runs, bool dash)
{
    int before = 0;
    for (int i = 0; i < number; i++)
        before += curves[i].run == curves[number].run;
    if (runs == 1)
        return dash ? before / LS_REPORT_COLOURS % 4 : before % LS_REPORT_COLOURS;
    return dash ? before % 4 : curves[number].run % LS_REPORT_COLOURS;
}

static void write_legend(FILE *out, const curve *curves, int used, const ls_report_run *runs, int count)
{
    fputs("<ul class=\"legend\">", out);
    for (int i = 0; i < used; i++) {
        fprintf(out, "<li><svg class=\"stroke\" viewBox=\"0 0 28 8\" aria-hidden=\"true\"><path class=\"line c%d d%d\" d=\"M0 4H28\"/></svg>",
                place(curves, i, count, false), place(curves, i, count, true));
        if (count > 1) {
            ls_html_text(out, runs[curves[i].run].name);
            fputs(", ", out);
        }
        fprintf(out, "window %lld</li>", (long long)curves[i].window);
    }
    fputs("</ul>\n", out);
}

static void write_chart(FILE *out, int number, const curve *curves, int used, const ls_report_run *runs, int count)
{
    ls_report_line line[MOST_LINES];
    for (int i = 0; i < used; i++)
        line[i] = (ls_report_line){curves[i].x, curves[i].y[number], curves[i].count, place(curves, i, count, false), place(curves, i, count, true)};
    fprintf(out, "<figure class=\"chart\"><figcaption><b>%s</b> <span class=\"note\">%s</span></figcaption>\n", chart[number].title, chart[number].note);
    write_legend(out, curves, used, runs, count);
    ls_report_plot(out, line, used, chart[number].title);
    fputs("</figure>\n", out);
}

static void write_number(FILE *out, double value)
{
    char text[32];
    ls_html_number(value, text);
    fprintf(out, "<td>%s</td>", text);
}

static void write_table(FILE *out, const json_t *sweep)
{
    const double plain = plain_rate(sweep);
    size_t i;
    json_t *object;
    fputs("<div class=\"scroll\"><table><thead><tr><th>window</th><th>threshold</th><th>tokens a pass</th><th>as plain decoding's, %</th><th>tokens a second</th>"
          "<th>over plain</th><th>verified</th></tr></thead><tbody>\n", out);
    json_array_foreach(sweep, i, object)
    {
        const decoding d = read_decoding(object);
        fprintf(out, "<tr><td>%lld</td>", (long long)d.window);
        write_number(out, d.threshold);
        write_number(out, d.a_pass);
        write_number(out, 100 * d.same);
        write_number(out, d.rate);
        write_number(out, d.rate / plain);
        fprintf(out, "<td>%s</td></tr>\n", d.verify ? "yes" : "no");
    }
    fputs("</tbody></table></div>\n", out);
}

static void write_origin(FILE *out, const json_t *sweep)
{
    const json_t *first = json_array_get(sweep, 0), *prompts = json_object_get(first, "prompts");
    char rows[32];
    ls_html_number(number_of(first, "rows"), rows);
    fprintf(out, "<p class=\"note\">%s answers to ", rows);
    ls_html_text(out, json_is_string(prompts) ? json_string_value(prompts) : "prompts that the file does not name");
    fputs(". Choose a threshold here, and report it on other prompts.</p>\n", out);
}

void ls_report_sweep(FILE *out, const ls_report_run *runs, int count)
{
    curve *curves = calloc(MOST_LINES, sizeof *curves);
    const int used = curves ? collect(curves, runs, count) : 0;
    if (used) {
        fputs("<section id=\"lud\"><h2>Lexical unit decoding</h2>\n<div class=\"grid\">\n", out);
        for (int i = 0; i < CHARTS; i++)
            write_chart(out, i, curves, used, runs, count);
        fputs("</div>\n", out);
        for (int r = 0; r < count; r++)
            if (json_array_size(runs[r].sweep)) {
                ls_report_name(out, runs, count, r);
                write_origin(out, runs[r].sweep);
                write_table(out, runs[r].sweep);
            }
        fputs("</section>\n", out);
    }
    free(curves);
}
