/* Ids against those that other programs gave: golden files of tests/data (see each SOURCE.md). */
#include "tests/datasets/tokenizer_fixture.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Every row of the golden file: text to ids, and ids to text. */
static void check_golden(ls_tokenizer *tokenizer, const char *golden_name, const char *text_key, const char *ids_key)
{
    json_t *golden = json_load_file(source_path(golden_name), 0, NULL);
    cr_assert_not_null(golden, "%s", golden_name);
    if (json_is_object(golden)) { /* one row only */
        json_t *rows = json_array();
        json_array_append_new(rows, golden);
        golden = rows;
    }
    cr_assert_gt(json_array_size(golden), 0);
    for (size_t row = 0; row < json_array_size(golden); row++) {
        const json_t *text = json_object_get(json_array_get(golden, row), text_key);
        const json_t *want = json_object_get(json_array_get(golden, row), ids_key);
        const char *bytes = json_string_value(text);
        cr_assert(bytes && json_is_array(want));
        ls_ids got = encode(tokenizer, bytes, json_string_length(text), false);
        cr_assert_eq(got.count, (int64_t)json_array_size(want), "row %zu: \"%s\": %lld ids, not %zu", row, bytes,
                     (long long)got.count, json_array_size(want));
        for (int64_t i = 0; i < got.count; i++)
            cr_assert_eq(got.id[i], json_integer_value(json_array_get(want, (size_t)i)),
                         "row %zu: \"%s\": id %lld is %d", row, bytes, (long long)i, got.id[i]);
        free(got.id);
        check_round_trip(tokenizer, bytes, json_string_length(text));
    }
    json_decref(golden);
}

Test(tokenizer_golden, gpt2_from_encoder_json_and_vocab_bpe)
{
    ls_tokenizer *tokenizer = open_tokenizer(source_path("tests/data/gpt2-tokenizer"));
    cr_assert_eq(ls_tokenizer_size(tokenizer), 50257);
    cr_assert_eq(ls_tokenizer_eot(tokenizer), 50256);
    check_golden(tokenizer, "tests/data/gpt2-tokenizer/golden.json", "text", "ids");
    check_golden(tokenizer, "tests/data/gpt2-tokenizer/golden-swift-transformers.json", "text", "token_ids");
    ls_tokenizer_free(tokenizer);
}

Test(tokenizer_golden, tiktoken_with_the_pattern_of_gpt2)
{
    ls_tokenizer *tokenizer = open_tokenizer(source_path("tests/data/gpt2-tokenizer/multilingual.tiktoken"));
    cr_assert_eq(ls_tokenizer_eot(tokenizer), 50257);
    check_golden(tokenizer, "tests/data/gpt2-tokenizer/golden-multilingual.json", "text", "ids");
    ls_tokenizer_free(tokenizer);
}

Test(tokenizer_golden, llama3_style_json_and_tiktoken)
{
    static const char golden[] = "tests/data/tiny-tokenizers/llama3-style/golden.json";
    ls_tokenizer *json = open_tokenizer(source_path("tests/data/tiny-tokenizers/llama3-style/tokenizer.json"));
    ls_tokenizer *tiktoken =
        open_tokenizer(source_path("tests/data/tiny-tokenizers/llama3-style/tiktoken_small.model"));
    check_golden(json, golden, "text", "ids_tokenizer.json");
    check_golden(tiktoken, golden, "text", "ids_tiktoken_small.model");
    cr_assert_eq(ls_tokenizer_size(tiktoken), 2000 + 256);
    cr_assert_eq(ls_tokenizer_bos(tiktoken), 2000);
    cr_assert_eq(ls_tokenizer_eot(tiktoken), 2001);
    cr_assert_eq(ls_tokenizer_id(tiktoken, "<|start_header_id|>"), 2006);
    cr_assert_eq(ls_tokenizer_id(tiktoken, "<|eot_id|>"), 2009);
    cr_assert_eq(ls_tokenizer_id(tiktoken, "<|reserved_special_token_250|>"), 2255);
    ls_tokenizer_free(json);
    ls_tokenizer_free(tiktoken);
}

Test(tokenizer_golden, qwen2_style_json_and_pair_of_files)
{
    static const char golden[] = "tests/data/tiny-tokenizers/qwen2-style/golden.json";
    ls_tokenizer *json = open_tokenizer(source_path("tests/data/tiny-tokenizers/qwen2-style/tiny_bpe_tokenizer.json"));
    check_golden(json, golden, "text", "ids");
    cr_assert_eq(ls_tokenizer_size(json), 2003);
    cr_assert_eq(ls_tokenizer_eot(json), 2000);

    const char *folder = scratch_folder();
    static const char config[] =
        "{\"eos_token\": \"<|im_end|>\", \"bos_token\": null, \"tokenizer_class\": \"Qwen2Tokenizer\",\n"
        " \"added_tokens_decoder\": {\"2000\": {\"content\": \"<|endoftext|>\", \"special\": true},\n"
        " \"2002\": {\"content\": \"<|im_end|>\", \"special\": true}}}";
    scratch_copy(folder, "vocab.json", "tests/data/tiny-tokenizers/qwen2-style/tiny_bpe_vocab.json");
    scratch_copy(folder, "merges.txt", "tests/data/tiny-tokenizers/qwen2-style/tiny_bpe_merges.txt");
    scratch_file(folder, "tokenizer_config.json", config, sizeof config - 1);
    ls_tokenizer *pair = open_tokenizer(folder);
    check_golden(pair, golden, "text", "ids");
    cr_assert_eq(ls_tokenizer_eot(pair), 2002, "tokenizer_config.json names it");
    cr_assert_eq(ls_tokenizer_id(pair, "<|endoftext|>"), 2000);
    ls_tokenizer_free(json);
    ls_tokenizer_free(pair);
}

/* torchtitan's test tokenizer: plain-text keys, no merges, special tokens in tokenizer_config.json only. */
Test(tokenizer_golden, plain_text_keys_without_merges)
{
    static const char text[] = "Hello world\n";
    static const int32_t want[] = {72, 101, 108, 108, 111, 32, 119, 111, 114, 108, 100, 10};
    ls_tokenizer *tokenizer = open_tokenizer(source_path("tests/data/tiny-tokenizers/bytelevel-2000"));
    cr_assert_eq(ls_tokenizer_size(tokenizer), 2020);
    cr_assert_eq(ls_tokenizer_eot(tokenizer), 2003);
    cr_assert_eq(ls_tokenizer_bos(tokenizer), 2002);
    ls_ids ids = encode(tokenizer, text, sizeof text - 1, false);
    cr_assert_eq(ids.count, 12);
    cr_assert_eq(memcmp(ids.id, want, sizeof want), 0);
    free(ids.id);
    ids = encode(tokenizer, "a<|im_start|>b", 14, true);
    cr_assert_eq(ids.count, 3);
    cr_assert_eq(ids.id[1], 2009);
    ls_status status = ls_tokenizer_encode(tokenizer, "abc\xc3\xa9", 5, false, &ids);
    cr_assert_eq(status, LS_EFORMAT, "no key stands for the byte 0xc3");
    cr_assert(strstr(ls_fail_sentence(), "byte 3, 0xc3"), "%s", ls_fail_sentence());
    cr_assert_eq(ids.count, 3, "nothing is appended on failure");
    free(ids.id);
    ls_tokenizer_free(tokenizer);
}

/* stories260K: the ids of a story that an independent program decoded from the model, and its text, which llama2.c's
 * documentation prints. */
Test(tokenizer_golden, llama2c_scores)
{
    ls_tokenizer *tokenizer = open_tokenizer(source_path("tests/data/stories260K/tok512.bin"));
    cr_assert_eq(ls_tokenizer_size(tokenizer), 512);
    cr_assert_eq(ls_tokenizer_bos(tokenizer), 1);
    cr_assert_eq(ls_tokenizer_eot(tokenizer), 2);
    json_t *golden = json_load_file(source_path("tests/data/stories260K/greedy.json"), 0, NULL);
    const json_t *want = json_object_get(golden, "ids"), *text = json_object_get(golden, "text");
    ls_ids ids = encode(tokenizer, json_string_value(text), json_string_length(text), false);
    cr_assert_eq(ids.count, (int64_t)json_array_size(want));
    for (int64_t i = 0; i < ids.count; i++)
        cr_assert_eq(ids.id[i], json_integer_value(json_array_get(want, (size_t)i)), "id %lld is %d", (long long)i,
                     ids.id[i]);

    int32_t begun[512] = {1}; /* the blank in front of the text is taken away behind <s> */
    char *back;
    size_t bytes, length;
    memcpy(begun + 1, ids.id, (size_t)ids.count * sizeof *begun);
    cr_assert_eq(ls_tokenizer_decode(tokenizer, begun, ids.count + 1, &back, &bytes), LS_OK);
    length = strlen("\n<s>\n");
    cr_assert_eq(bytes, length + json_string_length(text));
    cr_assert_str_eq(back + length, json_string_value(text));
    free(back);
    free(ids.id);
    json_decref(golden);
    ls_tokenizer_free(tokenizer);
}

/* Characters without a piece become bytes, whatever stands beside them. */
Test(tokenizer_golden, llama2c_falls_back_to_bytes)
{
    static const int32_t want[] = {0xe6 + 3, 0x98 + 3, 0xa5 + 3, 0xff + 3};
    ls_tokenizer *tokenizer = open_tokenizer(source_path("tests/data/stories260K/tok512.bin"));
    ls_ids ids = encode(tokenizer, "\xe6\x98\xa5\xff", 4, false);
    cr_assert_eq(ids.count, 5); /* and the blank */
    cr_assert_eq(memcmp(ids.id + 1, want, sizeof want), 0);
    free(ids.id);
    ls_tokenizer_free(tokenizer);
}
