/* Against Hugging Face's `tokenizers`: ids, trained vocabularies, character classes, normal forms, added tokens, as
 * tests/golden/make_tokenizer_golden.py wrote them down in tests/golden/tokenizer.json. */
#include "datasets/jsonl.h"
#include "datasets/tokenizer/nfc.h"
#include "datasets/tokenizer/split.h"
#include "datasets/utf8.h"
#include "tests/datasets/tokenizer_fixture.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a over 32-bit numbers, a mark behind each text: the script's class Hash. */
static const uint64_t HASH_START = UINT64_C(0xcbf29ce484222325);
static void hash_add(uint64_t *hash, uint32_t number)
{
    *hash = (*hash ^ number) * UINT64_C(0x100000001b3);
}
static void hash_ids(uint64_t *hash, const ls_ids *ids)
{
    for (int64_t i = 0; i < ids->count; i++)
        hash_add(hash, (uint32_t)ids->id[i]);
    hash_add(hash, UINT32_MAX);
}
static void hash_characters(uint64_t *hash, const char *text, size_t bytes)
{
    for (size_t at = 0, length; at < bytes; at += length)
        hash_add(hash, ls_utf8_decode(text + at, &length));
    hash_add(hash, UINT32_MAX);
}
static void check_hash(uint64_t hash, const json_t *want, const char *what, size_t number)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    cr_assert_str_eq(text, json_string_value(want), "%s %zu differs", what, number);
}

static json_t *load_golden(void)
{
    json_error_t error;
    json_t *golden = json_load_file(source_path("tests/golden/tokenizer.json"), JSON_ALLOW_NUL, &error);
    cr_assert_not_null(golden, "%s:%d: %s", error.source, error.line, error.text);
    return golden;
}

/* Each line of the page has its hash. */
static void check_page(ls_tokenizer *tokenizer, const json_t *golden, const json_t *hashes)
{
    const json_t *page = json_object_get(golden, "page");
    cr_assert_gt(json_array_size(page), 150, "scripts");
    cr_assert_eq(json_array_size(page), json_array_size(hashes));
    for (size_t i = 0; i < json_array_size(page); i++) {
        const json_t *line = json_array_get(page, i);
        ls_ids ids = encode(tokenizer, json_string_value(line), json_string_length(line), false);
        uint64_t hash = HASH_START;
        hash_ids(&hash, &ids);
        check_hash(hash, json_array_get(hashes, i), json_string_value(line), i);
        free(ids.id);
        ls_tokenizer_forget_words(tokenizer); /* so that the next line is merged anew */
    }
}

/* All questions and answers, a hash for each thousand. */
static void check_gsm8k(ls_tokenizer *tokenizer, const json_t *hashes)
{
    static const char *const fields[] = {"question", "answer"};
    ls_jsonl *reader;
    json_t *row;
    size_t texts = 0;
    uint64_t hash = HASH_START;
    ls_ids ids = {0};
    cr_assert_eq(ls_jsonl_open(&reader, source_path("data-sets/gsm8k/train.jsonl")), LS_OK);
    while (ls_jsonl_next(reader, &row) == LS_OK && row)
        for (int field = 0; field < 2; field++) {
            const char *text;
            size_t bytes;
            ids.count = 0;
            cr_assert_eq(ls_jsonl_text(reader, fields[field], &text, &bytes), LS_OK);
            cr_assert_eq(ls_tokenizer_encode(tokenizer, text, bytes, false, &ids), LS_OK, "%s", ls_fail_sentence());
            hash_ids(&hash, &ids);
            if (++texts % 1000 == 0) {
                check_hash(hash, json_array_get(hashes, texts / 1000 - 1), "thousand texts", texts / 1000 - 1);
                hash = HASH_START;
            }
        }
    check_hash(hash, json_array_get(hashes, texts / 1000), "the last texts", texts / 1000);
    cr_assert_eq(texts, 2 * 7473);
    ls_jsonl_close(reader);
    free(ids.id);
}

Test(tokenizer_peer, gpt2_on_gsm8k_and_every_script)
{
    json_t *golden = load_golden();
    const json_t *gpt2 = json_object_get(golden, "gpt2"), *rows = json_object_get(gpt2, "page_ids");
    ls_tokenizer *tokenizer = open_tokenizer(source_path("tests/data/gpt2-tokenizer"));
    for (size_t i = 0; i < json_array_size(rows); i++) { /* ids, not only hashes: a failure shows where */
        const json_t *line = json_array_get(json_object_get(golden, "page"), i), *want = json_array_get(rows, i);
        ls_ids ids = encode(tokenizer, json_string_value(line), json_string_length(line), false);
        for (int64_t k = 0; k < ids.count; k++)
            cr_assert_eq(ids.id[k], json_integer_value(json_array_get(want, (size_t)k)), "%s: id %lld",
                         json_string_value(line), (long long)k);
        cr_assert_eq(ids.count, (int64_t)json_array_size(want));
        free(ids.id);
    }
    check_page(tokenizer, golden, json_object_get(gpt2, "page"));
    check_gsm8k(tokenizer, json_object_get(gpt2, "gsm8k"));
    ls_tokenizer_free(tokenizer);
    json_decref(golden);
}

Test(tokenizer_peer, llama3_style_on_gsm8k_and_every_script)
{
    json_t *golden = load_golden();
    const json_t *want = json_object_get(golden, "llama3_style");
    ls_tokenizer *tokenizer = open_tokenizer(source_path("tests/data/tiny-tokenizers/llama3-style/tokenizer.json"));
    check_page(tokenizer, golden, json_object_get(want, "page"));
    check_gsm8k(tokenizer, json_object_get(want, "gsm8k"));
    ls_tokenizer_free(tokenizer);
    json_decref(golden);
}

/* The written tokenizer.json, as jansson sees it: keys in the order of their ids, then merges. */
static uint64_t vocabulary_hash(const char *path)
{
    json_t *file = json_load_file(path, 0, NULL);
    const json_t *model = json_object_get(file, "model"), *merges = json_object_get(model, "merges");
    json_t *vocabulary = json_object_get(model, "vocab"), *id;
    const size_t size = json_object_size(vocabulary);
    const char **keys = calloc(size, sizeof *keys), *key;
    uint64_t hash = HASH_START;
    json_object_foreach(vocabulary, key, id) keys[json_integer_value(id)] = key;
    for (size_t i = 0; i < size; i++)
        hash_characters(&hash, keys[i], strlen(keys[i]));
    for (size_t i = 0; i < json_array_size(merges); i++)
        hash_characters(&hash, json_string_value(json_array_get(merges, i)),
                        json_string_length(json_array_get(merges, i)));
    free(keys);
    json_decref(file);
    return hash;
}

/* Trained here, written, read again: Hugging Face's trainer found this vocabulary, and these ids. */
static void check_trained(const char *pattern)
{
    json_t *golden = load_golden();
    const json_t *want = json_object_get(json_object_get(golden, "trained"), pattern);
    ls_tokenizer *trained = train_on_gsm8k(4096, pattern, 0);
    cr_assert_eq(ls_tokenizer_size(trained), 4096);
    cr_assert_eq(ls_tokenizer_eot(trained), 0);
    const char *folder = scratch_folder();
    char path[64];
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    cr_assert_eq(ls_tokenizer_write(trained, path), LS_OK, "%s", ls_fail_sentence());
    check_hash(vocabulary_hash(path), json_object_get(want, "vocabulary"), "vocabulary", 0);

    ls_tokenizer *read = open_tokenizer(folder);
    cr_assert_eq(ls_tokenizer_hash(read), ls_tokenizer_hash(trained), "what is read is what was written");
    check_gsm8k(read, json_object_get(want, "gsm8k"));
    check_page(read, golden, json_object_get(want, "page"));
    check_page(trained, golden, json_object_get(want, "page"));
    ls_tokenizer_free(read);
    ls_tokenizer_free(trained);
    json_decref(golden);
}

Test(tokenizer_peer, trained_with_the_pattern_of_gpt2)
{
    check_trained("gpt2");
}

Test(tokenizer_peer, trained_with_the_pattern_of_llama3)
{
    check_trained("llama3");
}

Test(tokenizer_peer, trained_with_the_pattern_of_qwen2)
{
    check_trained("qwen2");
}

static bool in_ranges(const json_t *ranges, uint32_t code)
{
    size_t low = 0, high = json_array_size(ranges);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (json_integer_value(json_array_get(json_array_get(ranges, middle), 1)) < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < json_array_size(ranges) && json_integer_value(json_array_get(json_array_get(ranges, low), 0)) <= code;
}

static ls_status count_piece(void *context, const char *at, size_t bytes)
{
    (void)at;
    (void)bytes;
    ++*(int *)context;
    return LS_OK;
}

/* A class of characters, asked through the pattern: is it cut out from between two signs? Characters that Unicode had
 * not assigned when the golden file was made may be either, since PCRE2's Unicode goes on. */
static void check_class(const char *pattern, const char *name)
{
    json_t *golden = load_golden();
    const json_t *want = json_object_get(golden, name), *unassigned = json_object_get(golden, "unassigned");
    ls_split *split;
    int64_t members = 0;
    cr_assert_eq(ls_split_create(&split), LS_OK);
    cr_assert_eq(ls_split_add(split, pattern, strlen(pattern)), LS_OK, "%s", ls_fail_sentence());
    for (uint32_t code = 0; code < 0x110000; code++) {
        if ((code >= 0xd800 && code < 0xe000) || in_ranges(unassigned, code))
            continue;
        char text[16] = "\xef\xbf\xbc"; /* U+FFFC: neither letter, number nor blank */
        size_t length = 3 + ls_utf8_encode(code, text + 3);
        memcpy(text + length, "\xef\xbf\xbc", 3);
        int pieces = 0;
        cr_assert_eq(ls_split_text(split, text, length + 3, count_piece, &pieces), LS_OK);
        cr_assert_eq(pieces == 3, in_ranges(want, code), "U+%04X is %sof the class %s here", code,
                     pieces == 3 ? "" : "not ", name);
        members += pieces == 3;
    }
    cr_assert_gt(members, 20);
    ls_split_free(split);
    json_decref(golden);
}

Test(tokenizer_peer, every_character_is_a_letter_a_number_or_a_blank_to_both)
{
    check_class("\\p{L}", "letters");
    check_class("\\p{N}", "numbers");
    check_class("\\s", "blanks");
}

Test(tokenizer_peer, every_character_has_the_same_normal_form)
{
    json_t *golden = load_golden();
    const json_t *want = json_object_get(golden, "normal_forms"), *unassigned = json_object_get(golden, "unassigned");
    ls_nfc_space space = {0};
    int64_t changed = 0;
    for (uint32_t block = 0; block < 0x110000 / 4096; block++) {
        uint64_t hash = HASH_START;
        bool any = false;
        for (uint32_t code = 4096 * block; code < 4096 * (block + 1); code++) {
            if ((code >= 0xd800 && code < 0xe000) || in_ranges(unassigned, code))
                continue;
            char text[32], character[4];
            const char *normal;
            size_t length = ls_utf8_encode(code, character), bytes;
            int all = snprintf(text, sizeof text, "%.*sa\xcd\x85%.*s\xcc\xb4\xcc\x81", (int)length, character,
                               (int)length, character);
            if (!code) { /* snprintf takes NUL for the end */
                memcpy(text, "\0a\xcd\x85\0\xcc\xb4\xcc\x81", 9);
                all = 9;
            }
            cr_assert_eq(ls_nfc(&space, text, (size_t)all, &normal, &bytes), LS_OK);
            hash_characters(&hash, normal, bytes);
            changed += bytes != (size_t)all || memcmp(normal, text, bytes) != 0;
            any = true;
        }
        char name[8];
        snprintf(name, sizeof name, "%u", block);
        if (any)
            check_hash(hash, json_object_get(want, name), "block of 4096", block);
    }
    cr_assert_gt(changed, 1000);
    ls_nfc_space_free(&space);
    json_decref(golden);
}

Test(tokenizer_peer, added_tokens_special_and_not_before_and_after_normalisation)
{
    json_t *golden = load_golden();
    const json_t *added = json_object_get(golden, "added"), *file = json_object_get(added, "tokenizer");
    const json_t *rows = json_object_get(added, "rows");
    ls_tokenizer *tokenizer;
    cr_assert_eq(ls_tokenizer_open_bytes(&tokenizer, "golden", json_string_value(file), json_string_length(file)),
                 LS_OK, "%s", ls_fail_sentence());
    cr_assert_geq(json_array_size(rows), 20);
    for (size_t row = 0; row < json_array_size(rows); row++) {
        const json_t *text = json_object_get(json_array_get(rows, row), "text");
        const json_t *want = json_object_get(json_array_get(rows, row), "ids");
        bool specials = json_is_true(json_object_get(json_array_get(rows, row), "specials"));
        ls_ids ids = encode(tokenizer, json_string_value(text), json_string_length(text), specials);
        cr_assert_eq(ids.count, (int64_t)json_array_size(want), "row %zu: \"%s\": %lld ids", row,
                     json_string_value(text), (long long)ids.count);
        for (int64_t i = 0; i < ids.count; i++)
            cr_assert_eq(ids.id[i], json_integer_value(json_array_get(want, (size_t)i)),
                         "row %zu: \"%s\": id %lld is %d", row, json_string_value(text), (long long)i, ids.id[i]);
        free(ids.id);
    }
    ls_tokenizer_free(tokenizer);
    json_decref(golden);
}
