/* The numbers behind the curves, samples, machine and recipe: see tables.h. */
#include "launch/report/tables.h"

#include "launch/report/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_STEPS = 24, TABLE_EVALUATIONS = 40, TABLE_COLUMNS = 9 };

/* ---- figures ---- */

static void write_key(FILE *out, const ls_report_series *series)
{
    char number[5][32];
    int64_t least = 0, most = 0;
    ls_html_number(series->value[0], number[0]);
    ls_html_number(ls_report_last(series), number[1]);
    ls_html_number(ls_report_least(series, &least), number[2]);
    ls_html_number(ls_report_greatest(series, &most), number[3]);
    ls_html_number(ls_report_median(series), number[4]);
    fputs("<tr><th scope=\"row\"><code>", out);
    ls_html_text(out, series->name);
    fprintf(
        out,
        "</code></th><td class=\"n\">%lld</td><td class=\"n\">%s</td><td class=\"n\">%s</td><td class=\"n\">%s</td><td "
        "class=\"n\">%s <small>step %lld</small></td><td class=\"n\">%s <small>step %lld</small></td></tr>\n",
        (long long)series->count, number[0], number[1], number[4], number[2], (long long)least, number[3],
        (long long)most);
}

/* Rows of steps, columns of the keys that have values at them: `lead` is the key whose steps are shown. */
static void write_steps(FILE *out, const ls_report_run *run, const char *lead, const char *begins, int64_t limit,
                        const char *caption)
{
    const ls_report_series *first = ls_report_find(run, lead), *column[TABLE_COLUMNS];
    int columns = 0;
    char number[32];
    if (!first || !first->count)
        return;
    for (int i = 0; i < run->series_count && columns < TABLE_COLUMNS; i++) {
        const ls_report_series *series = &run->series[i];
        const bool evaluation = !strncmp(series->name, "eval_", 5);
        if (*begins ? evaluation
                    : !evaluation && strncmp(series->name, "best_", 5) && strncmp(series->name, "patience_", 9))
            column[columns++] = series;
    }
    fprintf(out,
            "<details class=\"long\" open><summary>%s</summary><div class=\"scroll\" "
            "tabindex=\"0\"><table><thead><tr><th class=\"n\">step</th>",
            caption);
    for (int c = 0; c < columns; c++) {
        fputs("<th class=\"n\">", out);
        ls_html_text(out, column[c]->name);
        fputs("</th>", out);
    }
    fputs("</tr></thead><tbody>\n", out);
    const int64_t rows = first->count < limit ? first->count : limit;
    int64_t place[TABLE_COLUMNS] = {0};
    for (int64_t i = 0; i < rows; i++) {
        const int64_t at = rows > 1 ? i * (first->count - 1) / (rows - 1) : 0, step = first->step[at];
        fprintf(out, "<tr><th scope=\"row\" class=\"n\">%lld</th>", (long long)step);
        for (int c = 0; c < columns; c++) {
            while (place[c] < column[c]->count && column[c]->step[place[c]] < step)
                place[c]++;
            const bool there = place[c] < column[c]->count && column[c]->step[place[c]] == step;
            ls_html_number(there ? column[c]->value[place[c]] : NAN, number);
            fprintf(out, "<td class=\"n\">%s</td>", number);
        }
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div></details>\n", out);
}

void ls_report_figures(FILE *out, const ls_report_chart *chart, int charts, const ls_report_run *runs, int count)
{
    fputs("<section id=\"figures\"><h2>Figures</h2>\n", out);
    for (int r = 0; r < count; r++) {
        ls_report_name(out, runs, count, r);
        fputs("<details class=\"long\" open><summary>Every key of metrics.jsonl</summary><div class=\"scroll\" "
              "tabindex=\"0\"><table><thead><tr><th>key</th><th class=\"n\">values</th><th class=\"n\">first</th><th "
              "class=\"n\">last</th>"
              "<th class=\"n\">median</th><th class=\"n\">least</th><th class=\"n\">most</th></tr></thead><tbody>\n",
              out);
        for (int c = 0; c < charts; c++)
            for (int k = 0; k < chart[c].keys; k++) {
                const ls_report_series *series = ls_report_find(&runs[r], chart[c].key[k]);
                if (series && series->count)
                    write_key(out, series);
            }
        fputs("</tbody></table></div></details>\n", out);
        write_steps(out, &runs[r], "eval_loss", "eval_", TABLE_EVALUATIONS, "Evaluations");
        write_steps(out, &runs[r], "loss", "", TABLE_STEPS, "Some steps");
        if (runs[r].confusion) {
            fputs("<details class=\"long\" open><summary>Classes of the last evaluation (confusion.txt)</summary><pre>",
                  out);
            ls_html_text(out, runs[r].confusion);
            fputs("</pre></details>\n", out);
        }
    }
    fputs("</section>\n", out);
}

/* ---- samples ---- */

static void write_value(FILE *out, const json_t *value)
{
    char number[32];
    if (json_is_string(value)) {
        ls_html_bytes(out, json_string_value(value), json_string_length(value));
    } else if (json_is_number(value)) {
        ls_html_number(json_number_value(value), number);
        fputs(number, out);
    } else {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        ls_html_text(out, text ? text : "");
        free(text);
    }
}

static void write_sample(FILE *out, json_t *sample)
{
    const char *key;
    json_t *value;
    fputs("<dl class=\"sample\">", out);
    json_object_foreach(sample, key, value)
    {
        if (!strcmp(key, "step"))
            continue;
        fputs(json_is_string(value) ? "<div><dt>" : "<div class=\"short\"><dt>", out);
        ls_html_text(out, key);
        fputs("</dt><dd>", out);
        write_value(out, value);
        fputs("</dd></div>", out);
    }
    fputs("</dl>\n", out);
}

void ls_report_samples(FILE *out, const ls_report_run *runs, int count)
{
    bool any = false;
    for (int r = 0; r < count; r++) {
        size_t i;
        json_t *sample;
        int64_t before = -1;
        if (!runs[r].samples || !json_array_size(runs[r].samples))
            continue;
        if (!any)
            fputs("<section id=\"samples\"><h2>Samples over time</h2>\n", out);
        any = true;
        ls_report_name(out, runs, count, r);
        json_array_foreach(runs[r].samples, i, sample)
        {
            const int64_t step = json_integer_value(json_object_get(sample, "step"));
            if (step != before)
                fprintf(out, "%s<details class=\"samples\" open><summary>step %lld</summary>\n",
                        before >= 0 ? "</details>\n" : "", (long long)step);
            before = step;
            write_sample(out, sample);
        }
        fputs("</details>\n", out);
        if (runs[r].samples_left_out)
            fprintf(out, "<p class=\"note\">%lld more are in samples.jsonl.</p>\n",
                    (long long)runs[r].samples_left_out);
    }
    if (any)
        fputs("</section>\n", out);
}

/* ---- machine ---- */

static void write_row(FILE *out, const char *name, const char *text)
{
    if (!text || !*text)
        return;
    fprintf(out, "<tr><th scope=\"row\">%s</th><td>", name);
    ls_html_text(out, text);
    fputs("</td></tr>\n", out);
}

void ls_report_machine(FILE *out, const ls_report_run *runs, int count)
{
    char text[160];
    fputs("<section id=\"machine\"><h2>Machine</h2>\n", out);
    for (int r = 0; r < count; r++) {
        const ls_report_run *run = &runs[r];
        ls_report_name(out, runs, count, r);
        fputs("<table class=\"facts\"><tbody>\n", out);
        write_row(out, "host of rank 0", run->host);
        write_row(out, "machines", run->machines);
        write_row(out, "run", run->task_line);
        write_row(out, "data", run->data_line);
        snprintf(text, sizeof text, "%lld", (long long)run->starts);
        write_row(out, "starts", run->starts ? text : "");
        snprintf(text, sizeof text, "%d kept, newest %s%s%s", run->checkpoints, run->last_checkpoint,
                 *run->best_checkpoint ? ", best " : "", run->best_checkpoint);
        write_row(out, "checkpoints", run->checkpoints ? text : "none");
        fputs("</tbody></table>\n", out);
    }
    fputs("</section>\n", out);
}

/* ---- recipe ---- */

static const char *setting_of(const ls_report_run *run, const char *key)
{
    for (int i = 0; i < run->settings; i++)
        if (!strcmp(run->setting[i].key, key))
            return run->setting[i].value;
    return "";
}

/* Whether the runs part in this key, and no run before `r` has it (then it was told there). */
static bool is_first_difference(const ls_report_run *runs, int count, int r, const char *key)
{
    bool differs = false;
    if (!strcmp(key, "run"))
        return false;
    for (int other = 0; other < r; other++)
        if (*setting_of(&runs[other], key))
            return false;
    for (int other = 0; other < count; other++)
        differs |= strcmp(setting_of(&runs[other], key), setting_of(&runs[r], key)) != 0;
    return differs;
}

static void write_differences(FILE *out, const ls_report_run *runs, int count)
{
    int told = 0;
    for (int r = 0; r < count; r++)
        for (int i = 0; i < runs[r].settings; i++) {
            const char *key = runs[r].setting[i].key;
            if (!is_first_difference(runs, count, r, key))
                continue;
            if (!told++) {
                fputs("<div class=\"scroll\" tabindex=\"0\"><table><caption>Keys in which the recipes "
                      "differ</caption><thead><tr><th>key</th>",
                      out);
                for (int c = 0; c < count; c++) {
                    fprintf(out, "<th><span class=\"key c%d\" aria-hidden=\"true\"></span>", c % LS_REPORT_COLOURS);
                    ls_html_text(out, runs[c].name);
                    fputs("</th>", out);
                }
                fputs("</tr></thead><tbody>\n", out);
            }
            fputs("<tr><th scope=\"row\"><code>", out);
            ls_html_text(out, key);
            fputs("</code></th>", out);
            for (int c = 0; c < count; c++) {
                fputs("<td><code>", out);
                ls_html_text(out, setting_of(&runs[c], key));
                fputs("</code></td>", out);
            }
            fputs("</tr>\n", out);
        }
    fputs(told ? "</tbody></table></div>\n" : "<p>The recipes are equal, but for the run folder.</p>\n", out);
}

void ls_report_recipe(FILE *out, const ls_report_run *runs, int count)
{
    fputs("<section id=\"recipe\"><h2>Recipe</h2>\n", out);
    if (count > 1)
        write_differences(out, runs, count);
    for (int r = 0; r < count; r++) {
        ls_report_name(out, runs, count, r);
        if (!runs[r].recipe) {
            fputs("<p>The run folder has no recipe.yaml.</p>\n", out);
            continue;
        }
        fputs("<details class=\"long\" open><summary>recipe.yaml, resolved</summary><pre>", out);
        ls_html_text(out, runs[r].recipe);
        fputs("</pre></details>\n", out);
    }
    fputs("</section>\n", out);
}
