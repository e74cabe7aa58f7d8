/* The page in a real browser, at the sizes of a desk, a telephone and a sheet of paper. Needs chromium. It is 400 MB,
 * so scripts/packages.txt does not ask for it: where there is none the tests say so and are skipped. `apt-get install
 * chromium` turns them on. */
#include "tests/launch/report/folder_fixture.h"

#include "datasets/picture.h"
#include "tests/shell.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(browser, .init = run_begin, .fini = run_end, .timeout = 280);

/* One browser at a time: several that start together on few cores have been seen to wait for each other for ever. */
#define CHROMIUM                                                                                                       \
    "cd '%s' && flock /tmp/lockstep-test-browser.lock timeout 60 chromium --headless --no-sandbox --disable-gpu "      \
    "--disable-dev-shm-usage --hide-scrollbars --user-data-dir='%s/profile' --virtual-time-budget=4000 "
enum { HUNG = 124 }; /* what `timeout` answers: then it is tried once more */

static void needs_browser(void)
{
    char text[256];
    if (ls_run_shell("command -v chromium", text, sizeof text) != 0)
        cr_skip_test("no chromium: the page was not looked at in a browser");
}

/* A run with everything that could be too wide: a path, a fault and a recipe line without a place to break. */
static void make_run(void)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    for (int step = 1; step <= 300; step++) {
        fprintf(out,
                "{\"step\": %d, \"loss\": %.6f, \"lr\": 0.001, \"grad_norm\": 1.5, \"seconds\": 0.25, "
                "\"tokens_per_second\": 123456, "
                "\"train_reward_of_a_measure_with_a_long_name\": 0.5, \"memory_mib\": 99.5}\n",
                step, 2 + 3.0 / step);
        if (step % 50 == 0)
            fprintf(out, "{\"step\": %d, \"eval_loss\": %.6f}\n", step, 2.5 + 2.0 / step);
    }
    fclose(out);
    run_file("metrics.jsonl", text);
    free(text);
    char wide[512], log[2048];
    memset(wide, 'w', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    snprintf(log, sizeof log,
             "10:00:00 rank 0/1 node07 step 3 ERROR world: %s\n10:00:01 rank 0/1 node07 step 4 WARN data: %s\n", wide,
             wide);
    run_file("log/rank-0000.log", log);
    snprintf(log, sizeof log, "task: sft\nrun: %s\n", wide);
    run_file("recipe.yaml", log);
    snprintf(log, sizeof log, "{\"step\": 1, \"text\": \"%s\", \"reward\": 1}\n", wide);
    run_file("samples.jsonl", log);
    run_file("lud.jsonl", "{\"prompts\": \"dev.jsonl\", \"rows\": 40, \"window\": 1, \"threshold\": null, \"verify\": false, \"tokens\": 500, \"passes\": 500, \"same\": 40, \"seconds\": 2}\n"
                          "{\"prompts\": \"dev.jsonl\", \"rows\": 40, \"window\": 4, \"threshold\": 0.5, \"verify\": false, \"tokens\": 500, \"passes\": 250, \"same\": 20, \"seconds\": 1}\n"
                          "{\"prompts\": \"dev.jsonl\", \"rows\": 40, \"window\": 4, \"threshold\": 0.9, \"verify\": false, \"tokens\": 500, \"passes\": 400, \"same\": 36, \"seconds\": 1}\n");
}

/* Goes into a copy of the page: tries the controls, then tells what came of it. Contrast as WCAG 2.1 defines it. */
static const char measure[] =
    "<script>window.addEventListener('load', function () { setTimeout(function () {\n"
    "  function rgb(text) { return text.match(/[\\d.]+/g).map(Number); }\n"
    "  function light(c) { var l = c.slice(0, 3).map(function (v) { v /= 255; return v <= 0.03928 ? v / 12.92 : "
    "Math.pow((v + 0.055) / 1.055, 2.4); });\n"
    "    return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2]; }\n"
    "  function ground(e) { for (; e; e = e.parentElement) { var c = rgb(getComputedStyle(e).backgroundColor); if "
    "(c.length === 3 || c[3] === 1) return c; }\n"
    "    return [255, 255, 255]; }\n"
    "  var least = 99, which = '';\n"
    "  document.querySelectorAll('body *').forEach(function (e) {\n"
    "    var own = Array.from(e.childNodes).some(function (n) { return n.nodeType === 3 && n.textContent.trim(); });\n"
    "    if (!own || !e.getClientRects().length || /SCRIPT|OPTION/.test(e.tagName)) return;\n"
    "    var style = getComputedStyle(e), a = light(rgb(e.namespaceURI.indexOf('svg') >= 0 ? style.fill : "
    "style.color)), b = light(ground(e));\n"
    "    var ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);\n"
    "    if (ratio < least) { least = ratio; which = e.tagName + '.' + e.className; } });\n"
    "  var said = {errors: failures, curves: document.querySelectorAll('figure.chart[data-chart]').length,\n"
    "    live: document.querySelectorAll('.live canvas:first-child').length, over: "
    "document.documentElement.scrollWidth - innerWidth, contrast: least, which: which};\n"
    "  var slider = document.getElementById('smoothing'); slider.value = 0.9; slider.dispatchEvent(new "
    "Event('input'));\n"
    "  var across = document.getElementById('across'); across.value = 'time'; across.dispatchEvent(new "
    "Event('change'));\n"
    "  document.getElementById('log').click(); document.getElementById('reset').click();\n"
    "  said.open = document.querySelectorAll('details.long[open]').length; window.dispatchEvent(new "
    "Event('beforeprint'));\n"
    "  said.printed = document.querySelectorAll('details:not([open])').length; window.dispatchEvent(new "
    "Event('afterprint'));\n"
    "  var p = document.createElement('p'); p.hidden = true; p.textContent = 'MEASURED' + JSON.stringify(said) + "
    "'END'; document.body.appendChild(p);\n"
    "}, 200); });</script>\n";

static void write_copy(const char *name, const char *page, bool dark)
{
    char *text = NULL;
    size_t bytes;
    const char *head = strstr(page, "<meta"), *end = strstr(page, "</body></html>");
    static const char query[] = "(prefers-color-scheme: dark)";
    FILE *out = open_memstream(&text, &bytes);
    fprintf(out,
            "%.*s<script>window.failures = []; window.onerror = function (what) { failures.push(String(what)); "
            "};</script>\n",
            (int)(head - page), page);
    const char *scheme = dark ? strstr(head, query) : NULL;
    if (scheme) {
        fprintf(out, "%.*s(min-width: 1px)", (int)(scheme - head), head);
        head = scheme + strlen(query);
    }
    fprintf(out, "%.*s%s%s", (int)(end - head), head, measure, end);
    fclose(out);
    run_file(name, text);
    free(text);
}

enum { WIDE = 1180, PHONE = 390, TALL = 2400 };

static json_t *measured(const char *answer)
{
    const char *begin = strstr(answer, "MEASURED{"), *end = begin ? strstr(begin, "END<") : NULL;
    return end ? json_loadb(begin + 8, (size_t)(end - begin - 8), 0, NULL) : NULL;
}

static void expect_good(const char *answer, const char *name)
{
    json_t *said = measured(answer);
    cr_assert_not_null(said, "%s said nothing: %.2000s", name, answer);
    char *text = json_dumps(said, JSON_COMPACT);
    const json_int_t curves = json_integer_value(json_object_get(said, "curves"));
    cr_expect_eq(json_array_size(json_object_get(said, "errors")), 0, "%s: %s", name, text);
    cr_expect_eq(curves, 7, "%s: %s", name, text);
    cr_expect_eq(json_integer_value(json_object_get(said, "live")), curves, "%s: %s", name, text);
    cr_expect(json_number_value(json_object_get(said, "over")) <= 0, "%s is wider than its window: %s", name, text);
    cr_expect(json_number_value(json_object_get(said, "contrast")) >= 4.5, "%s: %s", name, text);
    cr_expect_eq(json_integer_value(json_object_get(said, "open")), 0, "%s: %s", name, text);
    cr_expect_eq(json_integer_value(json_object_get(said, "printed")), 0, "%s: %s", name, text);
    free(text);
    json_decref(said);
}

static int64_t pixels_of(const uint8_t *pixels, int width, int rgb)
{
    int64_t count = 0;
    for (const uint8_t *p = pixels; p < pixels + 3 * (int64_t)width * TALL; p += 3)
        count += p[0] == (rgb >> 16 & 255) && p[1] == (rgb >> 8 & 255) && p[2] == (rgb & 255);
    return count;
}

/* The ground is there, and so is the first curve, in the colours of page.css. */
static void look_at(const char *name, int width, int ground_colour, int line_colour)
{
    char path[4200];
    ls_picture_reader *reader;
    const ls_picture_options options = {.height = TALL, .width = width, .channels = 3, .fit = LS_FIT_STRETCH};
    uint8_t *pixels = malloc((size_t)3 * TALL * (size_t)width);
    snprintf(path, sizeof path, "%s/picture.png", run_folder);
    cr_assert_eq(ls_picture_reader_open(&reader, &options), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_picture_read(reader, path, pixels), LS_OK, "%s", ls_fail_sentence());
    const int64_t ground = pixels_of(pixels, width, ground_colour), line = pixels_of(pixels, width, line_colour),
                  all = (int64_t)TALL * width;
    cr_expect(ground > all / 2 && ground < all * 99 / 100, "%s: %lld of %lld pixels are ground", name,
              (long long)ground, (long long)all);
    cr_expect(line > 100, "%s: %lld pixels of the first curve's colour", name, (long long)line);
    ls_picture_reader_free(reader);
    free(pixels);
}

static const char *open_page(const char *name, int width)
{
    static char answer[1 << 20];
    char line[9000];
    snprintf(line, sizeof line, CHROMIUM "--window-size=%d,%d --dump-dom --screenshot=picture.png %s 2>chromium.log",
             run_folder, run_folder, width, TALL, name);
    int code = ls_run_shell(line, answer, sizeof answer);
    if (code == HUNG)
        code = ls_run_shell(line, answer, sizeof answer);
    cr_assert_eq(code, 0, "%d: %.2000s", code, answer);
    return answer;
}

/* The page of a run with everything in it; ends the test where there is no browser. */
static char *begin(void)
{
    ls_report_run run;
    needs_browser();
    make_run();
    run_read(&run);
    char *page = run_page(&run, 1);
    ls_report_free(&run);
    return page;
}

Test(browser, at_a_desk)
{
    char *page = begin();
    write_copy("light.html", page, false);
    expect_good(open_page("light.html", WIDE), "desk");
    look_at("desk", WIDE, 0xffffff, 0x1b5fc1);
    free(page);
}

Test(browser, on_a_phone_in_the_dark)
{
    char *page = begin();
    write_copy("dark.html", page, true);
    expect_good(open_page("dark.html", PHONE), "phone");
    look_at("phone", PHONE, 0x14171b, 0x7db1ff);
    free(page);
}

Test(browser, without_scripts)
{
    char *page = begin();
    *strstr(page, "<script>") = '\0'; /* the browser closes what is open */
    run_file("still.html", page);
    cr_assert_null(measured(open_page("still.html", PHONE)));
    look_at("still", PHONE, 0xffffff, 0x1b5fc1);
    free(page);
}

Test(browser, on_paper)
{
    char line[9000], text[4096], *page = begin();
    run_file("page.html", page);
    free(page);
    snprintf(line, sizeof line,
             CHROMIUM "--print-to-pdf=page.pdf --no-pdf-header-footer page.html >chromium.log 2>&1; grep -aoE '/Count "
                      "[0-9]+' page.pdf | head -n 1",
             run_folder, run_folder);
    if (ls_run_shell(line, text, sizeof text) != 0)
        ls_run_shell(line, text, sizeof text);
    int pages = 0;
    cr_assert_eq(sscanf(text, "/Count %d", &pages), 1, "%s", text);
    cr_assert(pages >= 2 && pages <= 9, "%d pages", pages);
}
