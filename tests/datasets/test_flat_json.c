#include "datasets/flat_json.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Quick or not at all, and what is quick is jansson's. Says whether it was quick. */
static bool agrees(const char *text, size_t bytes)
{
    char *scratch = malloc(bytes + 1);
    json_t *quick = ls_flat_json(text, bytes, scratch);
    memset(scratch, '?', bytes); /* the object keeps nothing of it */
    json_t *want = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
    if (quick) {
        cr_expect(want, "accepted what jansson refuses: %.*s", (int)bytes, text);
        cr_expect(json_equal(quick, want), "another object than jansson's: %.*s", (int)bytes, text);
    }
    const bool was_quick = quick != NULL;
    json_decref(quick);
    json_decref(want);
    free(scratch);
    return was_quick;
}

Test(flat_json, text_fields_are_read_as_jansson_reads_them)
{
    static const char *const lines[] = {
        "{\"a\": \"b\"}", " { \"a\" : \"\" , \"\" : \"b\" } ", "{\"q\":\"one\\ntwo\\t\\\"three\\\" \\\\ \\/ \\b\\f\\r\"}",
        "{\"q\": \"\\u0041\\u00e9\\u2019\\uffff\\u007F\\u0080\\u07ff\\u0800\"}", "{\"\\u0061b\": \"x\", \"ab\\\"\": \"\\\\\"}",
        "{\"q\": \"caf\xc3\xa9 \xf0\x9f\x98\x80\"}",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        cr_expect(agrees(lines[i], strlen(lines[i])), "not quick: %s", lines[i]);
}

Test(flat_json, everything_else_is_left_to_jansson)
{
    static const char *const lines[] = {
        "", "{", "{}", "[]", "{\"a\": 1}", "{\"a\": null}", "{\"a\": [\"b\"]}", "{\"a\": \"b\",}", "{\"a\": \"b\"} x", "{\"a\" \"b\"}",
        "{\"a\": \"b\", \"a\": \"c\"}", "{\"a\": \"\\u0000\"}", "{\"a\": \"\\ud83d\\ude00\"}", "{\"a\": \"\\udc00\"}", "{\"a\": \"\\x\"}",
        "{\"a\": \"\\u12\"}", "{\"a\": \"\\", "{\"a\": \"tab\there\"}", "{'a': 'b'}", "\"a\"",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        cr_expect_not(agrees(lines[i], strlen(lines[i])), "quick: %s", lines[i]);
}

/* A real file, whole and with a byte changed in each line. */
Test(flat_json, gsm8k_is_quick_and_damaged_lines_are_never_another_object)
{
    char path[4096], *line = NULL;
    size_t room = 0;
    snprintf(path, sizeof path, "%s/data-sets/gsm8k/test.jsonl", getenv("LS_SOURCE"));
    FILE *in = fopen(path, "rb");
    cr_assert(in);
    uint32_t dice = 1;
    for (ssize_t got; (got = getline(&line, &room, in)) > 0;) {
        cr_expect(agrees(line, (size_t)got) || strstr(line, "\\ud"), "not quick: %s", line);
        dice = dice * 1664525 + 1013904223;
        line[dice % (uint32_t)got] = (char)("\"\\{}:,u0x \x01"[(dice >> 16) % 11]);
        agrees(line, (size_t)got);
    }
    free(line);
    fclose(in);
}
