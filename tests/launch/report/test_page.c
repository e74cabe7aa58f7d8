/* The page: that all of metrics.jsonl is in it, that nothing from outside gets into its markup, that it loads nothing,
 * and how large it may be. */
#include "tests/launch/report/folder_fixture.h"

#include "launch/report/charts.h"
#include "launch/report/html.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

TestSuite(page, .init = run_begin, .fini = run_end, .timeout = 60);

/* A key of each kind that tasks write, and others that nobody has thought of. */
static const char *const keys[] = {"loss",
                                   "lr",
                                   "grad_norm",
                                   "seconds",
                                   "tokens_per_second",
                                   "mfu",
                                   "data_stall_seconds",
                                   "communication_seconds",
                                   "memory_mib",
                                   "counted_tokens",
                                   "train_kl_k1",
                                   "train_kl_k2",
                                   "train_kl_k3",
                                   "train_entropy",
                                   "train_clip_fraction",
                                   "train_reward",
                                   "train_rollout_seconds",
                                   "train_explained_variance",
                                   "eval_loss",
                                   "eval_loss_ema",
                                   "eval_accuracy",
                                   "eval_accuracy_low",
                                   "eval_accuracy_high",
                                   "best_eval_loss",
                                   "patience_used",
                                   "rollout/length",
                                   "rollout/tokens",
                                   "plain",
                                   "_",
                                   "x_seconds"};
enum { KEYS = sizeof keys / sizeof *keys };

static double value_at(int64_t step, int key)
{
    return (double)(key + 1) * (1 + sin((double)step * 0.01 + key));
}

static void write_metrics(int64_t steps)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    for (int64_t step = 1; step <= steps; step++) {
        fprintf(out, "{\"step\": %lld", (long long)step);
        for (int k = 0; k < KEYS; k++)
            fprintf(out, ", \"%s\": %.9g", keys[k], value_at(step, k));
        fputs("}\n", out);
    }
    fclose(out);
    run_file("metrics.jsonl", text);
    free(text);
}

/* The page's own data, parsed as a browser would. */
static json_t *data_of(const char *page)
{
    const char *begin = strstr(page, "<script type=\"application/json\" id=\"data\">");
    cr_assert_not_null(begin);
    begin = strchr(begin, '>') + 1;
    const char *end = strstr(begin, "</script>");
    json_error_t error;
    json_t *data = json_loadb(begin, (size_t)(end - begin), 0, &error);
    cr_assert_not_null(data, "%s at %d", error.text, error.position);
    return data;
}

static json_t *series_of(json_t *data, const char *label)
{
    size_t c, s;
    json_t *chart, *series;
    json_array_foreach(json_object_get(data, "charts"), c, chart) json_array_foreach(
        json_object_get(chart, "series"), s,
        series) if (!strcmp(json_string_value(json_object_get(series, "label")), label)) return series;
    return NULL;
}

static int count_of(const char *text, const char *word)
{
    int count = 0;
    for (; (text = strstr(text, word)); text++)
        count++;
    return count;
}

Test(page, every_key_has_a_curve_with_its_numbers)
{
    ls_report_run run;
    write_metrics(50);
    run_read(&run);
    char *page = run_page(&run, 1), cell[128];
    json_t *data = data_of(page);
    for (int k = 0; k < KEYS; k++) {
        const json_t *series = series_of(data, keys[k]);
        cr_assert_not_null(series, "%s", keys[k]);
        const json_t *x = json_object_get(series, "x"), *y = json_object_get(series, "y");
        cr_assert_eq(json_array_size(x), 50);
        for (size_t i = 0; i < 50; i++) {
            cr_assert_eq(json_integer_value(json_array_get(x, i)), (json_int_t)i + 1);
            cr_assert_float_eq(json_number_value(json_array_get(y, i)), value_at((int64_t)i + 1, k), 1e-5 * (k + 1));
        }
        snprintf(cell, sizeof cell, "<th scope=\"row\"><code>%s</code></th>",
                 keys[k]); /* the table for where scripts are off */
        cr_assert(strstr(page, cell), "%s", keys[k]);
    }
    const int charts = (int)json_array_size(json_object_get(data, "charts"));
    cr_assert_eq(count_of(page, "<svg class=\"still\""), charts);
    cr_assert_eq(charts, KEYS - 6, "%d",
                 charts); /* kl_k1..3, loss with the two held-out ones, accuracy with its interval share theirs */
    json_decref(data);
    free(page);
    ls_report_free(&run);
}

/* Two windows of three thresholds: a line each in every chart, and each number in the table. */
Test(page, a_sweep_of_lexical_unit_decoding_is_drawn)
{
    ls_report_run run;
    write_metrics(3);
    run_read(&run);
    char *without = run_page(&run, 1);
    ls_report_free(&run);
    run_file("lud.jsonl", "{\"prompts\": \"d<ev>.jsonl\", \"rows\": 40, \"window\": 1, \"threshold\": null, \"tokens\": 500, \"passes\": 500, \"same\": 40, \"seconds\": 2}\n"
                          "{\"window\": 2, \"threshold\": 0.5, \"rows\": 40, \"tokens\": 500, \"passes\": 400, \"same\": 10, \"seconds\": 1.6}\n"
                          "{\"window\": 2, \"threshold\": 0.7, \"rows\": 40, \"tokens\": 500, \"passes\": 420, \"same\": 30, \"seconds\": 1.7}\n"
                          "{\"window\": 2, \"threshold\": 0.9, \"rows\": 40, \"tokens\": 500, \"passes\": 450, \"same\": 39, \"seconds\": 1.8}\n"
                          "{\"window\": 4, \"threshold\": 0.5, \"rows\": 40, \"tokens\": 500, \"passes\": 200, \"same\": 5, \"seconds\": 0}\n"
                          "{\"window\": \"4\", \"threshold\": [], \"rows\": -1, \"tokens\": 1e999}\nno JSON\n"
                          "{\"window\": 4, \"threshold\": 0.9, \"rows\": 40, \"tokens\": 500, \"passes\": 250, \"same\": 50, \"seconds\": 1}\n");
    run_read(&run);
    char *page = run_page(&run, 1);
    cr_expect_null(strstr(without, "id=\"lud\""));
    char *lud = strstr(page, "<section id=\"lud\">");
    cr_assert_not_null(lud);
    *strstr(lud, "</section>") = '\0';
    cr_expect(strstr(page, "href=\"#lud\""));
    cr_expect_eq(count_of(lud, "<svg class=\"still\""), 3);
    cr_expect(strstr(lud, "40 answers to d&lt;ev&gt;.jsonl"), "prompts are text from outside");
    cr_expect(strstr(lud, "<tr><td>2</td><td>0.5</td><td>1.25</td><td>25</td><td>312.5</td><td>1.25</td><td>no</td></tr>"), "%.3000s", lud);
    cr_expect(strstr(lud, "<tr><td>4</td><td>0.5</td><td>2.5</td><td>12.5</td><td>-</td><td>-</td>"), "no time, no rate");
    cr_expect(strstr(lud, "<tr><td>4</td><td>0.9</td><td>2</td><td>-</td><td>500</td><td>2</td>"), "more rows as plain than there are: no share");
    const char *first = strstr(lud, "<path class=\"line c0 d0\" d=\"M");
    cr_assert_not_null(first);
    cr_expect(strstr(lud, "class=\"line c1 d0\""));
    cr_expect(!strstr(lud, "nan") && !strstr(lud, "inf"));
    free(page);
    free(without);
    ls_report_free(&run);
}

Test(page, nothing_from_outside_gets_into_the_markup)
{
    static const char evil[] = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&";
    char text[2048], plain[4096], *page;
    ls_report_run runs[2];
    snprintf(plain, sizeof plain, "%s", run_folder);
    snprintf(text, sizeof text, "10:00:00 rank 0/1 <b>host WARN <i>: %s\n", evil);
    strcat(run_folder, "/a\"'<&>\n<script>alert(3)<"); /* the run's own name; a slash cannot be in it */
    run_file("log/rank-0000.log", text);
    snprintf(text, sizeof text, "{\"step\": 1, \"loss\": 1, \"<script>alert(4)</script>\": 2, \"]]><!--\": 3}\n");
    run_file("metrics.jsonl", text);
    snprintf(text, sizeof text, "task: sft\nrun: %s\ndata:\n  <u>: %s\n", evil, evil);
    run_file("recipe.yaml", text);
    run_file("samples.jsonl",
             "{\"step\": 1, \"<b>\": \"</script><script>alert(5)</script>\", \"o\": {\"<\": [\"<script>\"]}}\n");
    run_file("confusion.txt", evil);
    run_file("profile/table.txt", evil);
    run_read(&runs[0]);
    run_read(&runs[1]);
    cr_assert_eq(ls_report_names(runs, 2), LS_OK);
    for (int count = 1; count <= 2; count++) {
        page = run_page(runs, count);
        cr_assert_eq(count_of(page, "<script"), 3, "%d", count_of(page, "<script")); /* data, dygraphs, ours */
        cr_assert_eq(count_of(page, "</script"), 3);
        cr_assert_eq(count_of(page, "<img"), 0);
        cr_assert_eq(count_of(page, "<i>") + count_of(page, "<u>") + count_of(page, "<!--"), 0);
        cr_assert(
            strstr(page, "&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(2)&gt;&quot;&#39;&amp;"));
        json_t *data = data_of(page);
        cr_assert(count > 1 || series_of(data, "<script>alert(4)</script>"));
        json_decref(data);
        free(page);
    }
    ls_report_free(&runs[0]);
    ls_report_free(&runs[1]);
    strcpy(run_folder, plain);
}

/* `what` does not occur with anything but a fragment or a data: address behind it. */
static void expect_no_load(const char *page, const char *what)
{
    for (const char *at = page; (at = strstr(at, what)); at++) {
        const char *value = at + strlen(what) + strspn(at + strlen(what), "\"' ");
        cr_assert(*value == '#' || !strncmp(value, "data:", 5), "%.80s", at);
    }
}

Test(page, it_loads_nothing)
{
    ls_report_run run;
    write_metrics(3);
    run_read(&run);
    char *page = run_page(&run, 1);
    char *scripts = strstr(page, "<script>"); /* dygraphs and ours: JavaScript, in which "src=" means something else */
    cr_assert_not_null(scripts);
    cr_assert_null(strstr(scripts, "sourceMappingURL"));
    cr_assert(strstr(scripts, "Dan Vanderkam") && strstr(scripts, "Permission is hereby granted"),
              "dygraphs travels with its licence");
    cr_assert_null(strstr(scripts, "XMLHttpRequest(\"http"));
    cr_assert_null(strstr(page, "@import"));
    *scripts = '\0';
    expect_no_load(page, " src=");
    expect_no_load(page, " href=");
    expect_no_load(page, "url(");
    cr_assert_null(strstr(page, "http:"));
    cr_assert_null(strstr(page, "https:"));
    cr_assert(strstr(page, "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';"));
    free(page);
    ls_report_free(&run);
}

Test(page, a_long_run_stays_small_and_keeps_its_spikes)
{
    enum { RUNS = 3, STEPS = 8000 };
    ls_report_run runs[RUNS];
    write_metrics(STEPS);
    for (int r = 0; r < RUNS; r++)
        run_read(&runs[r]);
    ls_report_series *spiked = (ls_report_series *)ls_report_find(&runs[1], "grad_norm");
    spiked->value[4123] = 98765;
    spiked->value[4124] = NAN;
    cr_assert_eq(ls_report_names(runs, RUNS), LS_OK);
    char *page = run_page(runs, RUNS), *alone = run_page(runs, 1);
    cr_assert_lt(strlen(page), 3 << 20, "%zu bytes", strlen(page));
    cr_assert_lt(strlen(alone), 2 << 20, "%zu bytes", strlen(alone));
    const char *spike = strstr(page, ",98765,null");
    cr_assert_not_null(spike, "one step in 8,000 is still drawn, and the gap behind it");
    free(page);
    free(alone);
    for (int r = 0; r < RUNS; r++)
        ls_report_free(&runs[r]);
}

Test(page, thinned_series_keep_first_last_and_extremes)
{
    enum { COUNT = 5000, LIMIT = 100 };
    int64_t step[COUNT], at[LIMIT];
    double value[COUNT];
    for (int i = 0; i < COUNT; i++) {
        step[i] = 2 * i;
        value[i] = (i * 7919) % 1009;
    }
    value[1234] = 5000;
    value[4321] = -5000;
    const ls_report_series series = {.step = step, .value = value, .count = COUNT};
    const int64_t points = ls_report_thin(&series, LIMIT, at);
    bool least = false, most = false;
    cr_assert(points <= LIMIT && points > LIMIT / 2, "%d", (int)points);
    for (int64_t i = 0; i < points; i++) {
        cr_assert(i == 0 || at[i] > at[i - 1]);
        least |= at[i] == 4321;
        most |= at[i] == 1234;
    }
    cr_assert(least && most && at[0] == 0 && at[points - 1] == COUNT - 1);
    const ls_report_series few = {.step = step, .value = value, .count = 42};
    cr_assert_eq(ls_report_thin(&few, LIMIT, at), 42);
}

Test(page, values_at_the_edge_draw_a_finite_picture)
{
    ls_report_run run;
    run_file("metrics.jsonl", "{\"step\": 1, \"a\": 1e308, \"b\": 1e20, \"c\": 0, \"d\": nan, \"e\": 5e-324}\n"
                              "{\"step\": 9007199254740993, \"a\": -1e308, \"b\": 100000000000000000001.0, \"c\": 0, "
                              "\"d\": inf, \"e\": -5e-324}\n");
    run_read(&run);
    char *page = run_page(&run, 1);
    char *scripts = strstr(page, "<script");
    *scripts = '\0';
    cr_assert_null(strstr(page, "nan"));
    cr_assert_null(strstr(page, "inf "));
    cr_assert_eq(count_of(page, "no finite value"), 2, "%d",
                 count_of(page, "no finite value")); /* a: its range is not; d */
    free(page);
    ls_report_free(&run);
}

Test(page, runs_of_one_name_are_told_apart_and_recipes_compared)
{
    ls_report_run runs[2];
    char whole[8192];
    run_file("a/x/recipe.yaml", "task: sft\nrun: a/x\noptimizer:\n  lr: 0.001\n  eps: 1e-08\n");
    run_file("b/x/recipe.yaml", "task: sft\nrun: b/x\noptimizer:\n  lr: 0.002\n  eps: 1e-08\nema:\n  decay: 0.9\n");
    for (int r = 0; r < 2; r++) {
        snprintf(whole, sizeof whole, "%s/%c/x/", run_folder, 'a' + r);
        cr_assert_eq(ls_report_read(&runs[r], whole), LS_OK, "%s", ls_fail_sentence());
        cr_assert_str_eq(runs[r].name, "x");
    }
    cr_assert_eq(ls_report_names(runs, 2), LS_OK);
    cr_assert_str_neq(runs[0].name, runs[1].name);
    char *page = run_page(runs, 2);
    cr_assert(strstr(page, "<code>optimizer.lr</code></th><td><code>0.001</code></td><td><code>0.002</code></td>"));
    cr_assert(strstr(page, "<code>ema.decay</code></th><td><code></code></td><td><code>0.9</code></td>"));
    cr_assert_null(strstr(page, "<code>optimizer.eps</code>"));
    cr_assert_null(strstr(page, "<code>run</code>"));
    free(page);
    ls_report_free(&runs[0]);
    ls_report_free(&runs[1]);
}

Test(page, samples_are_spread_over_the_run)
{
    ls_report_run run;
    char *text = NULL, word[64];
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    for (int step = 0; step < 1000; step++)
        for (int i = 0; i < 2; i++)
            fprintf(out, "{\"step\": %d, \"prompt\": \"p%d\", \"text\": \"text %d of step %d\", \"reward\": 0.5}\n",
                    step, i, i, step);
    fclose(out);
    run_file("samples.jsonl", text);
    run_file("metrics.jsonl", "");
    free(text);
    run_read(&run);
    char *page = run_page(&run, 1);
    int shown = 0, late = 0;
    for (int step = 0; step < 1000; step++) {
        snprintf(word, sizeof word, "text 1 of step %d<", step);
        const bool there = strstr(page, word) != NULL;
        shown += there;
        late += there && step >= 900;
    }
    cr_assert(shown >= 24 && shown <= 48, "%d", shown);
    cr_assert(late >= 2 && strstr(page, "text 0 of step 0<"));
    free(page);
    ls_report_free(&run);
}

Test(page, a_text_with_zeros_is_a_sample_like_others)
{
    ls_report_run run;
    run_file("samples.jsonl", "{\"step\": 1, \"prompt\": \"1+1=\", \"text\": \"before\\u0000behind\", \"reward\": 0}\n"
                              "{\"step\": 1, \"prompt\": \"no line\n"
                              "{\"step\": 2, \"prompt\": \"2+2=\", \"text\": \"the next one\", \"reward\": 1}\n"
                              "{\"step\": 3, \"prompt\": \"cut off by a ki");
    run_file("metrics.jsonl", "");
    run_read(&run);
    char *page = run_page(&run, 1);
    cr_expect(strstr(page, "before\xef\xbf\xbd" "behind<"), "all of the text is there");
    cr_expect(strstr(page, "the next one<"), "and what stands behind a line that is none");
    cr_expect_null(strstr(page, "cut off by"));
    free(page);
    ls_report_free(&run);
}
