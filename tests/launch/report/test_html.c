#include "launch/report/html.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static char *written(void (*write)(FILE *, const char *), const char *text)
{
    char *result = NULL;
    size_t bytes;
    FILE *out = open_memstream(&result, &bytes);
    write(out, text);
    fclose(out);
    return result;
}

static void expect_text(const char *text, const char *want)
{
    char *got = written(ls_html_text, text);
    cr_assert_str_eq(got, want);
    free(got);
}

Test(html, markup_becomes_text)
{
    expect_text("<a href=\"x\">&'\n\t", "&lt;a href=&quot;x&quot;&gt;&amp;&#39;\n\t");
    expect_text("grüße 漢字 \xf0\x9f\x98\x80", "grüße 漢字 \xf0\x9f\x98\x80");
}

Test(html, what_is_not_utf8_or_a_control_becomes_a_mark)
{
#define MARK "\xef\xbf\xbd"
    expect_text("a\x1b[31m", "a" MARK "[31m");
    expect_text("\xff|\xc3|\xe2\x82|\xc0\xaf|\xed\xa0\x80|\xf4\x90\x80\x80|\xc2\x85",
                MARK "|" MARK "|" MARK MARK "|" MARK MARK "|" MARK MARK MARK "|" MARK MARK MARK MARK "|" MARK MARK);
    expect_text("cut \xf0\x9f\x98", "cut " MARK MARK MARK);
}

Test(html, json_is_read_back_and_cannot_end_a_script)
{
    const char *const text = "</script>\\\"\n\t\xc3\xa9 \x01";
    char *got = written(ls_html_json, text);
    cr_assert_null(strchr(got, '<'));
    json_t *value = json_loads(got, JSON_DECODE_ANY, NULL);
    cr_assert_str_eq(json_string_value(value), "</script>\\\"\n\t\xc3\xa9 " MARK);
    json_decref(value);
    free(got);
}

Test(html, numbers_for_people)
{
    static const struct {
        double value;
        const char *want;
    } cases[] = {{0, "0"},
                 {2.30214, "2.302"},
                 {-0.07151, "-0.07151"},
                 {6242.4, "6242"},
                 {18981.2, "18,981"},
                 {-1234567, "-1,234,567"},
                 {0.0003, "3.00e-04"},
                 {1e21, "1e+21"},
                 {NAN, "-"}};
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ls_html_number(cases[i].value, text);
        cr_assert_str_eq(text, cases[i].want);
    }
}

Test(html, durations_for_people)
{
    static const struct {
        double value;
        const char *want;
    } cases[] = {{0.1084, "0.108 s"}, {59, "59 s"}, {75.6, "1 min 16 s"}, {11220, "3 h 07 min"}, {200000, "2 d 07 h"},
                 {-1, "-"},           {NAN, "-"}};
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ls_html_duration(cases[i].value, text);
        cr_assert_str_eq(text, cases[i].want);
    }
}
