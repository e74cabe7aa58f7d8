#include "datasets/tokenizer.h"
#include "tests/datasets/tokenizer_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint32_t state = 99;
static uint32_t draw(uint32_t below)
{
    state = state * 1664525 + 1013904223;
    return (state >> 8) % below;
}

/* Random bytes, of all values or mostly text-like. */
static size_t random_text(char *text, size_t room)
{
    static const char likely[] = "eeaotin  shr\n'0129.,\t\xc3\xa9\xe6\x98\xa5";
    size_t length = draw((uint32_t)room);
    bool wild = draw(2);
    for (size_t i = 0; i < length; i++)
        text[i] = wild ? (char)draw(256) : likely[draw(sizeof likely - 1)];
    return length;
}

static void check_same(const ls_ids *a, const ls_ids *b)
{
    cr_assert_eq(a->count, b->count);
    for (int64_t i = 0; i < a->count; i++)
        cr_assert_eq(a->id[i], b->id[i]);
}

static void check_random_round_trips(ls_tokenizer *tokenizer)
{
    char text[300];
    for (int round = 0; round < 1500; round++)
        check_round_trip(tokenizer, text, random_text(text, sizeof text));
    check_round_trip(tokenizer, "", 0);
    check_round_trip(tokenizer, "\0\0a\0", 4);
}

Test(tokenizer, any_bytes_come_back)
{
    static const char *const names[] = {"tests/data/gpt2-tokenizer", "tests/data/gpt2-tokenizer/multilingual.tiktoken",
                                        "tests/data/tiny-tokenizers/llama3-style/tokenizer.json",
                                        "tests/data/tiny-tokenizers/llama3-style/tiktoken_small.model"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ls_tokenizer *tokenizer = open_tokenizer(source_path(names[i]));
        check_random_round_trips(tokenizer);
        ls_tokenizer_free(tokenizer);
    }
    ls_tokenizer *tokenizer = train_on_gsm8k(600, "llama3", 100);
    check_random_round_trips(tokenizer);
    ls_tokenizer_free(tokenizer);
}

Test(tokenizer, the_cache_changes_no_id)
{
    ls_tokenizer *warm = train_on_gsm8k(600, "gpt2", 100), *cold = train_on_gsm8k(600, "gpt2", 100);
    char text[300];
    for (int round = 0; round < 1000; round++) {
        size_t bytes = random_text(text, sizeof text);
        ls_ids a = encode(warm, text, bytes, false);
        ls_tokenizer_forget_words(cold);
        ls_ids b = encode(cold, text, bytes, false);
        check_same(&a, &b);
        free(a.id);
        free(b.id);
    }
    ls_tokenizer_free(warm);
    ls_tokenizer_free(cold);
}

Test(tokenizer, ids_are_appended)
{
    ls_tokenizer *tokenizer = open_tokenizer(source_path("tests/data/gpt2-tokenizer"));
    ls_ids ids = {0};
    cr_assert_eq(ls_tokenizer_encode(tokenizer, "Hello", 5, false, &ids), LS_OK);
    cr_assert_eq(ls_tokenizer_encode(tokenizer, " world", 6, false, &ids), LS_OK);
    cr_assert_eq(ids.count, 2);
    cr_assert_eq(ids.id[0], 15496);
    cr_assert_eq(ids.id[1], 995);
    free(ids.id);
    ls_tokenizer_free(tokenizer);
}

Test(tokenizer, special_tokens_only_when_asked_for)
{
    static const char text[] = "a<|endoftext|>b";
    ls_tokenizer *tokenizer = open_tokenizer(source_path("tests/data/gpt2-tokenizer"));
    ls_ids asked = encode(tokenizer, text, sizeof text - 1, true),
           plain = encode(tokenizer, text, sizeof text - 1, false);
    cr_assert_eq(asked.count, 3);
    cr_assert_eq(asked.id[1], 50256);
    cr_assert_gt(plain.count, 5);
    for (int64_t i = 0; i < plain.count; i++)
        cr_assert_neq(plain.id[i], 50256);
    free(asked.id);
    free(plain.id);
    check_round_trip(tokenizer, text, sizeof text - 1);
    cr_assert_eq(ls_tokenizer_id(tokenizer, " the"), 262);
    cr_assert_eq(ls_tokenizer_id(tokenizer, "<|nothing|>"), -1);
    cr_assert_eq(ls_tokenizer_bos(tokenizer), -1);
    ls_tokenizer_free(tokenizer);
}

Test(tokenizer, unknown_ids_cannot_be_decoded)
{
    static const int32_t bad[][2] = {{5, 50257}, {5, -1}, {5, INT32_MAX}, {5, INT32_MIN}};
    ls_tokenizer *tokenizer = open_tokenizer(source_path("tests/data/gpt2-tokenizer"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *text;
        size_t bytes;
        cr_assert_eq(ls_tokenizer_decode(tokenizer, bad[i], 2, &text, &bytes), LS_EARG);
        cr_assert_null(text);
        cr_assert(strstr(ls_fail_sentence(), "number 1 of those"), "%s", ls_fail_sentence());
    }
    ls_tokenizer_free(tokenizer);
}

/* n log n, not n^2: a megabyte without a place to cut would take minutes. */
Test(tokenizer, a_word_of_a_megabyte, .timeout = 20)
{
    enum { BYTES = 1 << 20 };
    char *text = malloc(BYTES);
    for (int i = 0; i < BYTES; i++)
        text[i] = (char)('a' + draw(3));
    ls_tokenizer *tokenizer = open_tokenizer(source_path("tests/data/gpt2-tokenizer"));
    check_round_trip(tokenizer, text, BYTES);
    memset(text, ' ', BYTES);
    check_round_trip(tokenizer, text, BYTES);
    memset(text, '\n', BYTES);
    check_round_trip(tokenizer, text, BYTES);
    free(text);
    ls_tokenizer_free(tokenizer);
}

/* What is written is read as the same tokenizer, whatever form it came in. */
Test(tokenizer, written_and_read_again)
{
    static const char *const names[] = {
        "tests/data/gpt2-tokenizer", "tests/data/tiny-tokenizers/llama3-style/tokenizer.json",
        "tests/data/tiny-tokenizers/qwen2-style/tiny_bpe_tokenizer.json", "tests/data/tiny-tokenizers/bytelevel-2000"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ls_tokenizer *first = open_tokenizer(source_path(names[i]));
        char path[64];
        snprintf(path, sizeof path, "%s/tokenizer.json", scratch_folder());
        cr_assert_eq(ls_tokenizer_write(first, path), LS_OK, "%s", ls_fail_sentence());
        ls_tokenizer *second = open_tokenizer(path);
        cr_assert_eq(ls_tokenizer_hash(first), ls_tokenizer_hash(second), "%s", names[i]);
        ls_tokenizer_free(first);
        ls_tokenizer_free(second);
    }
    /* tiktoken's merges of equal rank become an order, so the hash is another, the ids are not. */
    ls_tokenizer *first = open_tokenizer(source_path("tests/data/tiny-tokenizers/llama3-style/tiktoken_small.model"));
    char path[64], text[300];
    snprintf(path, sizeof path, "%s/tokenizer.json", scratch_folder());
    cr_assert_eq(ls_tokenizer_write(first, path), LS_OK, "%s", ls_fail_sentence());
    ls_tokenizer *second = open_tokenizer(path);
    for (int round = 0; round < 1000; round++) {
        size_t bytes = random_text(text, sizeof text);
        ls_ids a = encode(first, text, bytes, true), b = encode(second, text, bytes, true);
        check_same(&a, &b);
        free(a.id);
        free(b.id);
    }
    ls_tokenizer_free(first);
    ls_tokenizer_free(second);
}

Test(tokenizer, a_failed_write_leaves_nothing)
{
    ls_tokenizer *tokenizer = train_on_gsm8k(300, "gpt2", 5);
    const char *folder = scratch_folder();
    char path[96];
    snprintf(path, sizeof path, "%s/no-such-folder/tokenizer.json", folder);
    cr_assert_eq(ls_tokenizer_write(tokenizer, path), LS_EIO);
    cr_assert(strstr(ls_fail_sentence(), "no-such-folder"), "%s", ls_fail_sentence());
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    mkdir(path, 0777); /* a folder cannot be replaced by a file */
    cr_assert_eq(ls_tokenizer_write(tokenizer, path), LS_EIO);
    snprintf(path, sizeof path, "%s/tokenizer.json.partial", folder);
    cr_assert_neq(access(path, F_OK), 0, "no half-written file is left");
    ls_tokenizer_free(tokenizer);
    tokenizer = open_tokenizer(source_path("tests/data/stories260K/tok512.bin"));
    cr_assert_eq(ls_tokenizer_write(tokenizer, path), LS_EARG);
    ls_tokenizer_free(tokenizer);
}

/* Each thing that changes ids changes the hash: shards packed with one tokenizer are refused with another. */
Test(tokenizer, the_hash_tells_tokenizers_apart)
{
    static const char text[] = "{\"added_tokens\": [%s], \"normalizer\": %s, \"pre_tokenizer\": {\"type\": "
                               "\"ByteLevel\", \"add_prefix_space\": %s, "
                               "\"use_regex\": %s}, \"model\": {\"ignore_merges\": %s, \"vocab\": {\"a\": 0, \"b\": 1, "
                               "\"ab\": 2, \"ba\": %s}, "
                               "\"merges\": [%s]}}";
    static const char *const arguments[][7] = {
        {"", "null", "false", "true", "false", "3", "\"a b\", \"b a\""},
        {"{\"id\": 5, \"content\": \"x\"}", "null", "false", "true", "false", "3", "\"a b\", \"b a\""},
        {"{\"id\": 5, \"content\": \"x\", \"special\": true}", "null", "false", "true", "false", "3",
         "\"a b\", \"b a\""},
        {"", "{\"type\": \"NFC\"}", "false", "true", "false", "3", "\"a b\", \"b a\""},
        {"", "null", "true", "true", "false", "3", "\"a b\", \"b a\""},
        {"", "null", "false", "false", "false", "3", "\"a b\", \"b a\""},
        {"", "null", "false", "true", "true", "3", "\"a b\", \"b a\""},
        {"", "null", "false", "true", "false", "4", "\"a b\", \"b a\""},
        {"", "null", "false", "true", "false", "3", "\"b a\", \"a b\""},
        {"", "null", "false", "true", "false", "3", "\"a b\""},
    };
    enum { CASES = sizeof arguments / sizeof *arguments };
    uint64_t hash[CASES];
    for (int i = 0; i < CASES; i++) {
        char file[1024];
        const char *const *a = arguments[i];
        ls_tokenizer *tokenizer;
        int size = snprintf(file, sizeof file, text, a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
        cr_assert_eq(ls_tokenizer_open_bytes(&tokenizer, "variant", file, (size_t)size), LS_OK, "%s",
                     ls_fail_sentence());
        hash[i] = ls_tokenizer_hash(tokenizer);
        for (int k = 0; k < i; k++)
            cr_assert_neq(hash[i], hash[k], "variants %d and %d", i, k);
        ls_tokenizer_free(tokenizer);
    }
}

Test(tokenizer, a_blank_in_front_where_the_file_asks_for_it)
{
    static const char file[] =
        "{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true}, \"model\": {\"vocab\": "
        "{\"a\": 0, \"\xc4\xa0\": 1}, \"merges\": []}}";
    ls_tokenizer *tokenizer;
    cr_assert_eq(ls_tokenizer_open_bytes(&tokenizer, "prefix", file, sizeof file - 1), LS_OK, "%s", ls_fail_sentence());
    ls_ids ids = encode(tokenizer, "a a", 3, false);
    cr_assert_eq(ids.count, 4);
    cr_assert_eq(ids.id[0], 1);
    free(ids.id);
    ids = encode(tokenizer, " a", 2, false);
    cr_assert_eq(ids.count, 2, "there is one already");
    free(ids.id);
    cr_assert_eq(ls_tokenizer_encode(tokenizer, "ab", 2, false, &(ls_ids){0}), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), "byte 1, 0x62"), "an offset in the caller's text: %s", ls_fail_sentence());
    ls_tokenizer_free(tokenizer);
}
