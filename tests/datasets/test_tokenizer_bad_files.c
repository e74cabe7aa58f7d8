/* Files that lie: each is refused with its place and what is wrong, and none brings the program down. The second half
 * replays the seeds of tests/fuzz/fuzz_tokenizer.c, cut short and with bits turned over. */
#include "tests/datasets/tokenizer_fixture.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    const char *text, *says;
} bad_file;

static void check_refused(const bad_file *cases, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        ls_tokenizer *tokenizer;
        ls_status status = ls_tokenizer_open_bytes(&tokenizer, name, cases[i].text, strlen(cases[i].text));
        cr_assert_eq(status, LS_EFORMAT, "case %zu: %s", i, cases[i].text);
        cr_assert_null(tokenizer);
        cr_assert_eq(strncmp(ls_fail_sentence(), name, strlen(name)), 0, "case %zu: %s", i, ls_fail_sentence());
        cr_assert(strstr(ls_fail_sentence(), cases[i].says), "case %zu: %s", i, ls_fail_sentence());
    }
}

#define BYTE_LEVEL                "\"pre_tokenizer\": {\"type\": \"ByteLevel\"}"
#define MODEL(vocabulary, merges) "{" BYTE_LEVEL ", \"model\": {\"vocab\": {" vocabulary "}, \"merges\": [" merges "]}}"
#define WITH(member)              "{" member ", \"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}}"
#define AND(member)               "{" BYTE_LEVEL ", " member ", \"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}}"

Test(tokenizer_bad_files, json_that_is_broken)
{
    static const bad_file cases[] = {
        {"{", "x.json:1:2: a string expected, found the end of the file"},
        {"{\"model\": {\"vocab\": {\"a\": 0,\n\n \"b\" 1}}}", "x.json:3:6: a colon"},
        {"{\"a\": [1 2]}", "a comma or ]"},
        {"{\"a\": 1 \"b\": 2}", "a comma or }"},
        {"{\"a\": \"x", "ends inside a string"},
        {"{\"a\": \"x\ny\"}", "control character 0x0a"},
        {"{\"a\": \"\\q\"}", "unknown escape"},
        {"{\"a\": \"\\u12g4\"}", "four hexadecimal"},
        {"{\"a\": \"\\ud800\"}", "half of a surrogate"},
        {"{\"a\": \"\\udc00\"}", "half of a surrogate"},
        {"{\"a\": \"\xff\"}", "x.json:1:8: byte 0xff is not UTF-8"},
        {"{\"a\": tru}", "true expected"},
        {"{\"a\": 1.}", "not a number"},
        {"{\"a\": -}", "not a number"},
        {"{\"a\": }", "a value expected"},
        {"{\"a\": 1} {", "behind the end"},
        {"{\"a\": 1,}", "a string expected"},
        {"{}", "no \"vocab\" in its \"model\""},
        {"{\"model\": {\"vocab\": {}}}", "no \"merges\""},
        {"{\"model\": []}", "an object expected"},
    };
    check_refused(cases, sizeof cases / sizeof *cases, "x.json");
    char deep[4096] = "{\"a\": ";
    memset(deep + 6, '[', 3000);
    cr_assert_eq(ls_tokenizer_open_bytes(&(ls_tokenizer *){NULL}, "x.json", deep, 3006), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), "nested deeper"), "%s", ls_fail_sentence());
}

Test(tokenizer_bad_files, json_that_contradicts_itself)
{
    static const bad_file cases[] = {
        {MODEL("\"a\": 0, \"b\": 0", ""), "id 0 stands twice: for \"a\" and for \"b\""},
        {MODEL("\"a\": 0, \"a\": 1", ""), "token \"a\" stands twice"},
        {MODEL("\"a\": -1", ""), "id -1 is outside"},
        {MODEL("\"a\": 99999999", ""), "id 99999999 is outside"},
        {MODEL("\"a\": 1e3", ""), "a whole number"},
        {MODEL("\"a\": \"0\"", ""), "a whole number"},
        {MODEL("\"a\": 1234567890123456789012", ""), "more than 18 digits"},
        {MODEL("\"a\": 0", "\"a b\""), "part \"b\" is not in the vocabulary"},
        {MODEL("\"a\": 0", "\"a a\""), "makes \"aa\", which is not in the vocabulary"},
        {MODEL("\"a\": 0", "\"a\""), "not two tokens"},
        {MODEL("\"a\": 0", "\"a a a\""), "not two tokens"},
        {MODEL("\"a\": 0", "[\"a\"]"), "fewer than two"},
        {MODEL("\"a\": 0, \"aa\": 1", "[\"a\", \"a\", \"a\"]"), "more than two"},
        {MODEL("", ""), "no tokens"},
        {AND("\"added_tokens\": [{\"id\": 7}]"), "without \"id\" or \"content\""},
        {AND("\"added_tokens\": [{\"content\": \"x\"}]"), "without \"id\" or \"content\""},
        {AND("\"added_tokens\": [{\"id\": 7, \"content\": \"\"}]"), "is empty"},
        {AND("\"added_tokens\": [{\"id\": 7, \"content\": \"a\"}]"), "the vocabulary gives it 0"},
        {AND("\"added_tokens\": [{\"id\": 0, \"content\": \"x\"}]"), "id 0 stands twice"},
        {AND("\"added_tokens\": [{\"id\": 7, \"content\": \"x\"}, {\"id\": 8, \"content\": \"x\"}]"),
         "the vocabulary gives it 7"},
    };
    check_refused(cases, sizeof cases / sizeof *cases, "x.json");
}

Test(tokenizer_bad_files, json_that_asks_for_what_lockstep_does_not_do)
{
    static const bad_file cases[] = {
        {"{\"model\": {\"type\": \"Unigram\"}}", "type \"Unigram\""},
        {"{\"model\": {\"type\": \"BPE\", \"byte_fallback\": 1}}", "1:"},
        {"{\"model\": {\"dropout\": 0.1}}", "dropout"},
        {"{\"model\": {\"end_of_word_suffix\": \"</w>\"}}", "end_of_word_suffix"},
        {WITH("\"pre_tokenizer\": null"), "no ByteLevel"},
        {WITH("\"pre_tokenizer\": {\"type\": \"Metaspace\"}"), "pre-tokenizer \"Metaspace\""},
        {WITH("\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"ByteLevel\"}, {\"type\": "
              "\"Digits\"}]}"),
         "behind ByteLevel"},
        {WITH("\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"String\": \" \"}}"), "kind \"String\""},
        {WITH("\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"\\\\w\"}}"), "may not mean"},
        {WITH("\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(a\"}}"),
         "not a regular expression"},
        {WITH("\"pre_tokenizer\": {\"type\": \"Split\", \"behavior\": \"MergedWithNext\"}"), "MergedWithNext"},
        {WITH("\"pre_tokenizer\": {\"type\": \"Split\", \"invert\": true}"), "invert"},
        {AND("\"normalizer\": {\"type\": \"NFKC\"}"), "normalizer \"NFKC\""},
        {AND("\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Lowercase\"}]}"),
         "\"Lowercase\""},
        {AND("\"decoder\": {\"type\": \"Metaspace\"}"), "decoder \"Metaspace\""},
        {AND("\"added_tokens\": [{\"id\": 7, \"content\": \"x\", \"lstrip\": true}]"), "lstrip"},
        {AND("\"added_tokens\": [{\"id\": 7, \"content\": \"x\", \"single_word\": true}]"), "single_word"},
    };
    check_refused(cases, sizeof cases / sizeof *cases, "x.json");
}

Test(tokenizer_bad_files, tiktoken_lines)
{
    static const bad_file cases[] = {
        {"YQ== 0\nYg== x\n", "x.model:2: not \"base64 rank\""},
        {"YQ== 0\nYg==\n", "x.model:2: not"},
        {"YQ== 0\nYg=== 1\n", "x.model:2: \"Yg===\" is not base64"},
        {"YQ== 0\nY*== 1\n", "is not base64"},
        {"YQ== 0\nYg== 0\n", "x.model:2: id 0 stands twice"},
        {"YQ== 0\nYQ== 1\n", "x.model:2: token \"a\" stands twice"},
        {"YQ== 99999999\n", "a rank below"},
        {"YQ== 0\n== 1\n", "is not base64"},
        {"YQ== 4194303\n", "outside"}, /* no place for the special tokens behind it */
    };
    check_refused(cases, sizeof cases / sizeof *cases, "x.model");
}

static ls_status open_bytes(const void *bytes, size_t size)
{
    ls_tokenizer *tokenizer;
    ls_status status = ls_tokenizer_open_bytes(&tokenizer, "tok.bin", bytes, size);
    ls_tokenizer_free(tokenizer);
    return status;
}

Test(tokenizer_bad_files, llama2c_sizes)
{
    size_t size;
    char *bytes = read_whole(source_path("tests/data/stories260K/tok512.bin"), &size);
    cr_assert_eq(open_bytes(bytes, size), LS_OK);
    cr_assert_eq(open_bytes(bytes, size - 1), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), "token 511 has 3 bytes"), "%s", ls_fail_sentence());
    cr_assert_eq(open_bytes(bytes, 3000), LS_EFORMAT);
    cr_assert_eq(open_bytes("hello, world", 12), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), "neither JSON nor tiktoken"), "%s", ls_fail_sentence());
    cr_assert_eq(open_bytes("", 0), LS_EFORMAT);
    static const int32_t lengths[] = {-1, 8, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memcpy(bytes + 8, &lengths[i], 4); /* of token 0 */
        cr_assert_eq(open_bytes(bytes, size), LS_EFORMAT);
        cr_assert(strstr(ls_fail_sentence(), "byte 8: token 0 has"), "%s", ls_fail_sentence());
    }
    free(bytes);
}

Test(tokenizer_bad_files, folders_and_files_that_are_not_there)
{
    ls_tokenizer *tokenizer;
    cr_assert_eq(ls_tokenizer_open(&tokenizer, "/nowhere/tokenizer.json"), LS_ENOTFOUND);
    cr_assert(strstr(ls_fail_sentence(), "/nowhere/tokenizer.json"));
    const char *folder = scratch_folder();
    cr_assert_eq(ls_tokenizer_open(&tokenizer, folder), LS_ENOTFOUND);
    cr_assert(strstr(ls_fail_sentence(), "looked for tokenizer.json"), "%s", ls_fail_sentence());
    scratch_file(folder, "vocab.json", "{\"a\": 0, \"b\": 1}", 16);
    cr_assert_eq(ls_tokenizer_open(&tokenizer, folder), LS_ENOTFOUND);
    cr_assert(strstr(ls_fail_sentence(), "vocab.bpe"), "%s", ls_fail_sentence());
    scratch_file(folder, "merges.txt", "#version: 0.2\na b\n", 18);
    cr_assert_eq(ls_tokenizer_open(&tokenizer, folder), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), "merges.txt:2: merge 0 makes \"ab\""), "%s", ls_fail_sentence());
    scratch_file(folder, "merges.txt", "a c\n", 4);
    cr_assert_eq(ls_tokenizer_open(&tokenizer, folder), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), "merges.txt:1: a token of the merge \"a c\""), "%s", ls_fail_sentence());
    scratch_file(folder, "merges.txt", "", 0);
    scratch_file(folder, "tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": {}}}", 35);
    cr_assert_eq(ls_tokenizer_open(&tokenizer, folder), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), "tokenizer_config.json:1:"), "%s", ls_fail_sentence());
    cr_assert_null(tokenizer);
}

/* ---- damage ---- */

static uint32_t state = 3;
static uint32_t draw(size_t below)
{
    state = state * 1664525 + 1013904223;
    return (uint32_t)((state >> 4) % below);
}

/* The target aborts when a property does not hold. It gets a copy of exactly `size` bytes, so that ASan sees one too
 * far. */
static void run(const char *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, bytes, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

/* Whole, cut at many places, and with bits turned over. */
static void damage(const char *path, int times)
{
    size_t size;
    char *bytes = read_whole(path, &size);
    run(bytes, size);
    for (int i = 0; i < times; i++)
        run(bytes, draw(size + 1));
    for (int i = 0; i < times; i++) {
        char *copy = malloc(size + 1);
        memcpy(copy, bytes, size);
        for (uint32_t flips = 1 + draw(4); flips; flips--)
            copy[draw(size)] ^= (char)(1 << draw(8));
        run(copy, size);
        free(copy);
    }
    free(bytes);
}

Test(tokenizer_bad_files, seeds_whole_cut_and_damaged, .timeout = 100)
{
    const char *folder = source_path("tests/fuzz/seeds/tokenizer");
    DIR *seeds = opendir(folder);
    int count = 0;
    cr_assert_not_null(seeds, "%s", folder);
    static const char *const good[] = {"gpt2.json", "qwen2.json", "small.tiktoken", "llama2c.bin", "sentencepiece.json", "sentencepiece.model"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) { /* a seed that is refused at once would reach little */
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, good[i]);
        ls_tokenizer_free(open_tokenizer(path));
    }
    for (struct dirent *entry; (entry = readdir(seeds));) {
        char path[1024];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        damage(path, 150);
        count++;
    }
    cr_assert_geq(count, 6);
    closedir(seeds);
}

Test(tokenizer_bad_files, real_files_cut_and_damaged, .timeout = 100)
{
    damage(source_path("tests/data/tiny-tokenizers/qwen2-style/tiny_bpe_tokenizer.json"), 20);
    damage(source_path("tests/data/stories260K/tok512.bin"), 50);
    damage(source_path("tests/data/tiny-tokenizers/llama3-style/tiktoken_small.model"), 20);
}
