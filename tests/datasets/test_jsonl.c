#include "datasets/jsonl.h"
#include "datasets/utf8.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file that holds `bytes` of `text`; the caller unlinks it. */
static void write_file(char path[64], const char *text, size_t bytes)
{
    strcpy(path, "/tmp/ls_jsonl_XXXXXX");
    int file = mkstemp(path);
    cr_assert_geq(file, 0);
    cr_assert_eq(write(file, text, bytes), (ssize_t)bytes);
    close(file);
}

/* Reads until the end or the first error. */
static ls_status read_all(const char *text, size_t bytes, int *objects)
{
    char path[64];
    write_file(path, text, bytes);
    ls_jsonl *reader;
    cr_assert_eq(ls_jsonl_open(&reader, path), LS_OK);
    json_t *object;
    ls_status status;
    *objects = 0;
    while ((status = ls_jsonl_next(reader, &object)) == LS_OK && object)
        ++*objects;
    ls_jsonl_close(reader);
    unlink(path);
    return status;
}

/* As a model that draws bytes may have written it. */
Test(jsonl, a_text_may_hold_the_character_0)
{
    char path[64];
    static const char line[] = "{\"a\": \"one\\u0000two\"}\n";
    write_file(path, line, sizeof line - 1);
    ls_jsonl *reader;
    json_t *object;
    const char *text = NULL;
    size_t bytes = 0;
    cr_assert_eq(ls_jsonl_open(&reader, path), LS_OK);
    cr_assert_eq(ls_jsonl_next(reader, &object), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_jsonl_text(reader, "a", &text, &bytes), LS_OK);
    cr_assert(bytes == 7 && !memcmp(text, "one\0two", 7));
    ls_jsonl_close(reader);
    unlink(path);
}

Test(jsonl, reads_objects_and_counts_lines)
{
    char path[64];
    static const char text[] = "\xef\xbb\xbf{\"a\": \"one\"}\r\n\n  \n{\"a\": \"zw\xc3\xb6lf\", \"b\": 2}";
    write_file(path, text, sizeof text - 1);
    ls_jsonl *reader;
    json_t *object;
    const char *value;
    size_t bytes;
    cr_assert_eq(ls_jsonl_open(&reader, path), LS_OK);
    cr_assert_eq(ls_jsonl_next(reader, &object), LS_OK, "%s", ls_fail_sentence());
    cr_assert_not_null(object);
    cr_assert_eq(ls_jsonl_line(reader), 1);
    cr_assert_eq(ls_jsonl_next(reader, &object), LS_OK);
    cr_assert_eq(ls_jsonl_line(reader), 4, "blank lines count");
    cr_assert_eq(ls_jsonl_text(reader, "a", &value, &bytes), LS_OK);
    cr_assert_str_eq(value, "zw\xc3\xb6lf");
    cr_assert_eq(bytes, 6);
    cr_assert_eq(ls_jsonl_text(reader, "b", &value, &bytes), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), ":4: \"b\" is a number"), "%s", ls_fail_sentence());
    cr_assert_eq(ls_jsonl_text(reader, "question", &value, &bytes), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), "the keys are: a, b"), "%s", ls_fail_sentence());
    cr_assert_eq(ls_jsonl_next(reader, &object), LS_OK);
    cr_assert_null(object);
    ls_jsonl_close(reader);
    unlink(path);
}

Test(jsonl, each_bad_line_is_named)
{
    static const struct {
        const char *text;
        size_t bytes;
        const char *says;
        int objects; /* good ones before it */
    } cases[] = {
#define LINE(text, says, objects) {text, sizeof text - 1, says, objects}
        LINE("{\"a\": 1}\n{\"a\": \n", ":2: column", 1),
        LINE("{\"a\": 1} {\"a\": 2}\n", ":1: column", 0),
        LINE("{}\n\n[1, 2]\n", ":3: the line is JSON, but not an object", 1),
        LINE("{\"a\": 1, \"a\": 2}\n", "duplicate", 0),
        LINE("{}\n{\"a\": \"b\xff\"}\n", ":2: byte 9 of the line (0xff) is not UTF-8", 1),
        LINE("{\"a\": \"\xed\xa0\x80\"}\n", "is not UTF-8", 0), /* a surrogate */
        LINE("{\"a\\u0000\": 1}\n", ":1: column", 0), /* a key may not; a text may */
        LINE("{\"a\": \"x\0y\"}\n", ":1: column", 0),
#undef LINE
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int objects;
        cr_assert_eq(read_all(cases[i].text, cases[i].bytes, &objects), LS_EFORMAT, "case %zu", i);
        cr_assert(strstr(ls_fail_sentence(), cases[i].says), "case %zu: %s", i, ls_fail_sentence());
        cr_assert_eq(objects, cases[i].objects, "case %zu", i);
    }
    int objects;
    cr_assert_eq(read_all("", 0, &objects), LS_OK);
    cr_assert_eq(objects, 0);
}

Test(jsonl, a_missing_file_and_a_folder_are_named)
{
    ls_jsonl *reader;
    cr_assert_eq(ls_jsonl_open(&reader, "/nowhere/train.jsonl"), LS_ENOTFOUND);
    cr_assert_null(reader);
    cr_assert(strstr(ls_fail_sentence(), "/nowhere/train.jsonl"));
    cr_assert_eq(ls_jsonl_open(&reader, "/tmp"), LS_EIO);
}

Test(utf8, every_scalar_value_round_trips_and_neighbours_are_refused)
{
    for (uint32_t code = 0; code < 0x110000; code++) {
        if (code >= 0xd800 && code < 0xe000)
            continue;
        char bytes[4];
        size_t length = ls_utf8_encode(code, bytes), read;
        cr_assert_eq(ls_utf8_prefix(bytes, length), length, "U+%04X", code);
        cr_assert_eq(ls_utf8_decode(bytes, &read), code);
        cr_assert_eq(read, length);
        cr_assert_eq(ls_utf8_prefix(bytes, length - 1), 0, "a cut sequence is not valid");
    }
    static const char *const bad[] = {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe4\xb8\x41"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[32] = "twelve bytes"; /* past the eight that are looked at together */
        memcpy(text + 12, bad[i], strlen(bad[i]));
        cr_assert_eq(ls_utf8_prefix(text, 12 + strlen(bad[i])), 12, "case %zu", i);
    }
}
