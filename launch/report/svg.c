/* A chart as SVG: axes with round numbers, one path a series. Colours come from the page's style (light, dark, paper).
 */
#include "launch/report/charts.h"
#include "launch/report/html.h"

#include <math.h>

enum {
    WIDTH = 440,
    HEIGHT = 200,
    LEFT = 60,
    RIGHT = 10,
    TOP = 8,
    BOTTOM = 24,
    POINTS = 400,
    TICKS = 5,
    MOST_TICKS = 16
};

typedef struct {
    double x0, x1, y0, y1; /* of the data */
} window;

static double place_x(const window *w, double step)
{
    return LEFT + (step - w->x0) / (w->x1 - w->x0) * (WIDTH - LEFT - RIGHT);
}

static double place_y(const window *w, double value)
{
    return HEIGHT - BOTTOM - (value - w->y0) / (w->y1 - w->y0) * (HEIGHT - TOP - BOTTOM);
}

/* 1, 2 or 5 times a power of ten: about `ticks` of them in `range`. */
static double round_distance(double range, int ticks)
{
    const double raw = range / ticks, power = pow(10, floor(log10(raw))), times = raw / power;
    return power * (times < 1.5 ? 1 : times < 3.5 ? 2 : times < 7.5 ? 5 : 10);
}

static void tick_text(double value, double distance, char text[32])
{
    const double size = fabs(value);
    if (size < distance * 1e-6)
        snprintf(text, 32, "0");
    else if (size >= 1e9 || distance < 1e-5)
        snprintf(text, 32, "%.3g", value);
    else if (size >= 1e6)
        snprintf(text, 32, "%gM", 1e-6 * round(value / distance) * distance);
    else if (size >= 1e4)
        snprintf(text, 32, "%gk", 1e-3 * round(value / distance) * distance);
    else
        snprintf(text, 32, "%.*f", distance >= 1 ? 0 : (int)ceil(-log10(distance) - 1e-9), value);
}

/* Of all runs' training, so that every chart of a page has the same steps below each other. */
static void find_steps(window *w, const ls_report_run *runs, int count)
{
    w->x0 = 0;
    w->x1 = 1;
    for (int r = 0; r < count; r++)
        for (int i = 0; i < runs[r].series_count; i++) {
            const ls_report_series *series = &runs[r].series[i];
            if (series->count && (double)series->step[series->count - 1] > w->x1)
                w->x1 = (double)series->step[series->count - 1];
        }
}

/* Room above and below the values; false: there is none that is finite. */
static bool widen(window *w)
{
    if (w->y0 > w->y1)
        return false;
    const double range = w->y1 - w->y0, least = 1e-300; /* below it quotients are no longer exact */
    const double room = range > least ? 0.06 * range : fabs(w->y0) > least ? 0.1 * fabs(w->y0) : 1;
    const bool above = w->y0 >= 0 && w->y0 - room < 0, below = w->y1 <= 0 && w->y1 + room > 0;
    w->y0 = above ? 0 : w->y0 - room; /* what is never negative has its axis at 0 */
    w->y1 = below && w->y0 < 0 ? 0 : w->y1 + room;
    return isfinite(w->y1 - w->y0);
}

static bool find_values(window *w, const ls_report_chart *chart, const ls_report_run *runs, int count)
{
    w->y0 = INFINITY;
    w->y1 = -INFINITY;
    for (int r = 0; r < count; r++)
        for (int k = 0; k < chart->keys; k++) {
            const ls_report_series *series = ls_report_find(&runs[r], chart->key[k]);
            w->y0 = fmin(w->y0, ls_report_least(series, NULL)); /* fmin and fmax pass by NaN */
            w->y1 = fmax(w->y1, ls_report_greatest(series, NULL));
        }
    return widen(w);
}

/* x in whole steps at least, or in what fits. */
static void draw_axes(FILE *out, const window *w, bool steps)
{
    char text[32];
    double distance = round_distance(w->y1 - w->y0, TICKS);
    for (int i = 0; i < MOST_TICKS; i++) {
        const double y = (ceil(w->y0 / distance - 1e-9) + i) * distance;
        if (!(y <= w->y1 + 1e-9 * distance))
            break;
        tick_text(y, distance, text);
        fprintf(out, "<path class=\"rule\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
                LEFT, place_y(w, y), WIDTH - RIGHT, LEFT - 6, place_y(w, y) + 4, text);
    }
    distance = fmax(steps ? 1 : 0, round_distance(w->x1 - w->x0, TICKS));
    for (int i = 0; i < MOST_TICKS; i++) {
        const double x = (ceil(w->x0 / distance - 1e-9) + i) * distance;
        if (!(x <= w->x1 * (1 + 1e-9)))
            break;
        tick_text(x, distance, text);
        fprintf(out, "<path class=\"rule\" d=\"M%.1f %dV%d\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"%s\">%s</text>",
                place_x(w, x), HEIGHT - BOTTOM, HEIGHT - BOTTOM + 4, place_x(w, x), HEIGHT - 6,
                place_x(w, x) > WIDTH - RIGHT - 12 ? "end" : "middle", text);
    }
    fprintf(out, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>", LEFT, TOP, HEIGHT - BOTTOM, WIDTH - RIGHT);
}

static void draw_series(FILE *out, const window *w, const ls_report_series *series, int colour, int dash)
{
    static int64_t at[POINTS];
    const int64_t points = ls_report_thin(series, POINTS, at);
    bool pen_up = true;
    fprintf(out, "<path class=\"line c%d d%d\" d=\"", colour, dash);
    for (int64_t i = 0; i < points; i++) {
        const double value = series->value[at[i]];
        if (!isnan(value))
            fprintf(out, "%c%.1f %.1f", pen_up ? 'M' : 'L', place_x(w, (double)series->step[at[i]]), place_y(w, value));
        pen_up = isnan(value);
    }
    fputs("\"/>", out);
    for (int64_t i = 0; i < points && points <= 40; i++) {
        const double value = series->value[at[i]];
        if (!isnan(value))
            fprintf(out, "<circle class=\"dot c%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.2\"/>", colour,
                    place_x(w, (double)series->step[at[i]]), place_y(w, value));
    }
}

void ls_report_svg(FILE *out, const ls_report_chart *chart, const ls_report_run *runs, int count)
{
    window w;
    find_steps(&w, runs, count);
    fprintf(out, "<svg class=\"still\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    ls_report_chart_words(out, chart, runs, count);
    fputs("\">", out);
    if (find_values(&w, chart, runs, count)) {
        draw_axes(out, &w, true);
        for (int r = 0; r < count; r++)
            for (int k = 0; k < chart->keys; k++) {
                const ls_report_series *series = ls_report_find(&runs[r], chart->key[k]);
                if (series)
                    draw_series(out, &w, series, ls_report_colour(count, r, k), ls_report_dash(count, r, k));
            }
    } else {
        fprintf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">no finite value</text>", WIDTH / 2, HEIGHT / 2);
    }
    fputs("</svg>\n", out);
}

void ls_report_plot(FILE *out, const ls_report_line *lines, int count, const char *words)
{
    window w = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    for (int i = 0; i < count; i++)
        for (int k = 0; k < lines[i].count; k++) {
            w.x0 = fmin(w.x0, lines[i].x[k]);
            w.x1 = fmax(w.x1, lines[i].x[k]);
            w.y0 = fmin(w.y0, lines[i].y[k]);
            w.y1 = fmax(w.y1, lines[i].y[k]);
        }
    if (!(w.x1 > w.x0))
        w.x0 -= 0.5, w.x1 += 0.5; /* one place: in the middle */
    fprintf(out, "<svg class=\"still\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    ls_html_text(out, words);
    fputs("\">", out);
    if (widen(&w)) {
        draw_axes(out, &w, false);
        for (int i = 0; i < count; i++) {
            const ls_report_line *line = &lines[i];
            bool pen_up = true;
            fprintf(out, "<path class=\"line c%d d%d\" d=\"", line->colour, line->dash);
            for (int k = 0; k < line->count; k++) {
                if (!isnan(line->y[k]))
                    fprintf(out, "%c%.1f %.1f", pen_up ? 'M' : 'L', place_x(&w, line->x[k]), place_y(&w, line->y[k]));
                pen_up = isnan(line->y[k]);
            }
            fputs("\"/>", out);
            for (int k = 0; k < line->count; k++)
                if (!isnan(line->y[k]))
                    fprintf(out, "<circle class=\"dot c%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.2\"/>", line->colour, place_x(&w, line->x[k]),
                            place_y(&w, line->y[k]));
        }
    }
    fputs("</svg>\n", out);
}
