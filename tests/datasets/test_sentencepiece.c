/* SentencePiece's BPE in a tokenizer.json, in each of the ways in which such files put blanks: the ids that Hugging Face's library
 * gives (tests/golden/make_sentencepiece_golden.py), and the text again. */
#include "tests/datasets/tokenizer_fixture.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static json_t *golden_file(void)
{
    json_error_t error;
    json_t *golden = json_load_file(source_path("tests/golden/sentencepiece.json"), 0, &error);
    cr_assert_not_null(golden, "line %d: %s", error.line, error.text);
    return golden;
}

/* tokenizer.json of a form; `model` NULL: the golden file's. */
static char *file_of(const json_t *golden, const json_t *form, json_t *model)
{
    json_t *file = json_pack("{s:O, s:O, s:O, s:O, s:O}", "added_tokens", json_object_get(golden, "added_tokens"), "normalizer", json_object_get(form, "normalizer"),
                             "pre_tokenizer", json_object_get(form, "pre_tokenizer"), "decoder", json_object_get(form, "decoder"), "model",
                             model ? model : json_object_get(golden, "model"));
    char *text = json_dumps(file, JSON_COMPACT);
    json_decref(file);
    cr_assert_not_null(text);
    return text;
}

static ls_tokenizer *open_form(const json_t *golden, const json_t *form)
{
    ls_tokenizer *tokenizer;
    char *file = file_of(golden, form, NULL);
    cr_assert_eq(ls_tokenizer_open_bytes(&tokenizer, json_string_value(json_object_get(form, "name")), file, strlen(file)), LS_OK, "%s", ls_fail_sentence());
    free(file);
    return tokenizer;
}

/* A text as decoding gives it back behind <s>: without the blank in front where one is put there or stood there, and blanks for their
 * marks. */
static void expect_text(ls_tokenizer *tokenizer, const char *form, const char *text, const ls_ids *ids)
{
    char *got, want[256];
    size_t bytes, length = 0;
    const bool put = strcmp(form, "never"), prepended = !strcmp(form, "llama-2");
    if (strstr(text, "s>"))
        return; /* several texts, with a blank in front of each */
    for (const char *at = text; *at;) {
        const bool mark = !strncmp(at, "\xe2\x96\x81", 3);
        want[length++] = mark ? ' ' : *at;
        at += mark ? 3 : 1;
    }
    want[length] = '\0';
    int32_t with_begin[300] = {1};
    if (ids->count > 0) /* an empty text has no array */
        memcpy(with_begin + 1, ids->id, (size_t)ids->count * sizeof *with_begin);
    cr_assert_eq(ls_tokenizer_decode(tokenizer, with_begin, ids->count + 1, &got, &bytes), LS_OK, "%s", ls_fail_sentence());
    const char *begin = strncmp(got, "<s>", 3) ? got : got + 3;
    cr_expect_str_eq(begin, want + (put && !prepended && *want == ' '), "%s", form);
    free(got);
}

static void expect_row(ls_tokenizer *tokenizer, const char *form, const json_t *row)
{
    const char *text = json_string_value(json_object_get(row, "text"));
    const json_t *want = json_object_get(row, "ids");
    ls_ids ids = {0};
    cr_assert_eq(ls_tokenizer_encode(tokenizer, text, strlen(text), true, &ids), LS_OK, "%s: '%s': %s", form, text, ls_fail_sentence());
    cr_expect_eq(ids.count, (int64_t)json_array_size(want), "%s: '%s' is %d tokens, not %d", form, text, (int)ids.count, (int)json_array_size(want));
    for (size_t i = 0; i < json_array_size(want) && (int64_t)i < ids.count; i++)
        cr_expect_eq(ids.id[i], json_integer_value(json_array_get(want, i)), "%s: '%s': token %zu is %d, not %d", form, text, i, ids.id[i],
                     (int)json_integer_value(json_array_get(want, i)));
    expect_text(tokenizer, form, text, &ids);
    free(ids.id);
}

Test(sentencepiece, ids_are_hugging_faces_however_blanks_are_put)
{
    json_t *golden = golden_file(), *form, *row;
    size_t f, r;
    uint64_t hash[16] = {0};
    json_array_foreach(json_object_get(golden, "forms"), f, form)
    {
        const char *name = json_string_value(json_object_get(form, "name"));
        ls_tokenizer *tokenizer = open_form(golden, form);
        cr_expect(ls_tokenizer_bos(tokenizer) == 1 && ls_tokenizer_eot(tokenizer) == 2, "%s: <s> and </s>", name);
        json_array_foreach(json_object_get(form, "rows"), r, row)
            expect_row(tokenizer, name, row);
        hash[f] = ls_tokenizer_hash(tokenizer);
        ls_tokenizer_free(tokenizer);
    }
    cr_assert_eq(f, 6);
    cr_expect(hash[0] != hash[1] && hash[1] != hash[2] && hash[2] != hash[3] && hash[1] != hash[4], "forms that give other ids have other hashes");
    cr_expect_eq(hash[4], hash[5], "the same form by its old key");
    json_decref(golden);
}

static void refused(const json_t *golden, const char *form, const char *says)
{
    ls_tokenizer *tokenizer;
    json_t *parts = json_loads(form, 0, NULL);
    cr_assert_not_null(parts, "%s", form);
    char *file = file_of(golden, parts, NULL);
    cr_expect_eq(ls_tokenizer_open_bytes(&tokenizer, "x.json", file, strlen(file)), LS_EFORMAT, "%s", form);
    cr_expect(strstr(ls_fail_sentence(), says), "%s: %s", form, ls_fail_sentence());
    free(file);
    json_decref(parts);
}

Test(sentencepiece, what_would_change_ids_is_refused_by_name)
{
    json_t *golden = golden_file();
    refused(golden, "{\"normalizer\": {\"type\": \"NFKC\"}, \"pre_tokenizer\": null, \"decoder\": null}", "normalizer \"NFKC\" beside byte_fallback");
    refused(golden, "{\"normalizer\": {\"type\": \"Prepend\", \"prepend\": \"x\"}, \"pre_tokenizer\": null, \"decoder\": null}", "\"prepend\": \"x\"");
    refused(golden, "{\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \" \"}, \"content\": \"_\"}, \"pre_tokenizer\": null, \"decoder\": null}",
            "a pattern of kind \"Regex\"");
    refused(golden, "{\"normalizer\": null, \"pre_tokenizer\": {\"type\": \"ByteLevel\"}, \"decoder\": null}", "pre-tokenizer \"ByteLevel\" beside byte_fallback");
    refused(golden, "{\"normalizer\": null, \"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"_\"}, \"decoder\": null}", "\"replacement\": \"_\"");
    refused(golden, "{\"normalizer\": null, \"pre_tokenizer\": {\"type\": \"Metaspace\", \"prepend_scheme\": \"last\"}, \"decoder\": null}", "\"prepend_scheme\": \"last\"");
    refused(golden, "{\"normalizer\": null, \"pre_tokenizer\": null, \"decoder\": {\"type\": \"WordPiece\"}}", "decoder \"WordPiece\"");
    json_decref(golden);
}

/* A character that is no piece needs its bytes' tokens. */
Test(sentencepiece, without_bytes_a_strange_character_cannot_be_expressed)
{
    json_t *golden = golden_file(), *model = json_deep_copy(json_object_get(golden, "model"));
    ls_tokenizer *tokenizer;
    ls_ids ids = {0};
    json_object_del(json_object_get(model, "vocab"), "<0xF0>");
    char *file = file_of(golden, json_array_get(json_object_get(golden, "forms"), 0), model);
    cr_assert_eq(ls_tokenizer_open_bytes(&tokenizer, "x.json", file, strlen(file)), LS_OK, "%s", ls_fail_sentence());
    cr_expect_eq(ls_tokenizer_encode(tokenizer, "ab\xf0\x9f\x98\x80", 6, false, &ids), LS_EFORMAT);
    cr_expect(strstr(ls_fail_sentence(), "byte 2, 0xf0, cannot be expressed"), "%s", ls_fail_sentence());
    free(file);
    free(ids.id);
    ls_tokenizer_free(tokenizer);
    json_decref(model);
    json_decref(golden);
}
