/* Packing: which tokens come of a text, which of them are learnt, and that threads do not show. */
#include "datasets/pack.h"
#include "tests/datasets/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

TestSuite(pack, .fini = fixture_clean);

static bool one_text(void *context, const char **text, size_t *bytes)
{
    int *calls = context;
    *text = "What is 6 times 7? It is 42. What is it? It is what it is.";
    *bytes = strlen(*text);
    return (*calls)++ == 0;
}

/* A tokenizer with few merges and these special tokens, as folder/tokenizer.json. */
static const char *make_tokenizer(const char *const *specials)
{
    ls_tokenizer *tokenizer;
    int calls = 0;
    const ls_tokenizer_training how = {.vocabulary = 280, .pattern = "gpt2", .specials = specials};
    cr_assert_eq(ls_tokenizer_train(&tokenizer, &how, one_text, &calls), LS_OK, "%s", ls_fail_sentence());
    const char *path = fixture_path("tokenizer.json");
    cr_assert_eq(ls_tokenizer_write(tokenizer, path), LS_OK, "%s", ls_fail_sentence());
    ls_tokenizer_free(tokenizer);
    return path;
}

static const char *const chat_specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>", NULL};
static const char *const end_only[] = {"<|endoftext|>", NULL};

static void write_file(const char *name, const char *text)
{
    fixture_write(fixture_path(name), (const uint8_t *)text, strlen(text));
}

static ls_status pack(ls_pack_options options, const char *input, ls_pack_report *report)
{
    const char *const inputs[] = {fixture_path(input)};
    options.inputs = 1;
    options.input = inputs;
    options.tokenizer = options.tokenizer ? options.tokenizer : fixture_path("tokenizer.json");
    options.out = fixture_path("set");
    options.threads = options.threads ? options.threads : 1;
    return ls_pack(&options, report);
}

/* A sample as text, what is learnt in [brackets]. */
static void render(const char *set, int64_t sample, char out[1024])
{
    ls_shards *shards;
    ls_tokenizer *tokenizer;
    const int32_t *ids;
    const uint8_t *mask;
    int64_t count;
    size_t used = 0;
    cr_assert_eq(ls_shards_open(&shards, fixture_path(set), true), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_tokenizer_open(&tokenizer, ls_shards_tokenizer_path(shards)), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_tokenizer_hash(tokenizer), ls_shards_tokenizer_hash(shards));
    cr_assert_eq(ls_shards_text(shards, sample, &ids, &mask, &count), LS_OK);
    for (int64_t t = 0, end; t < count; t = end) {
        char *text;
        size_t bytes;
        for (end = t + 1; end < count && mask[end] == mask[t];)
            end++;
        cr_assert_eq(ls_tokenizer_decode(tokenizer, ids + t, end - t, &text, &bytes), LS_OK);
        used += (size_t)snprintf(out + used, 1024 - used, mask[t] ? "[%s]" : "%s", text);
        free(text);
    }
    ls_tokenizer_free(tokenizer);
    ls_shards_free(shards);
}

static void expect_sample(const char *set, int64_t sample, const char *expected)
{
    char got[1024];
    render(set, sample, got);
    cr_assert_str_eq(got, expected, "sample %d:\n%s\nwanted:\n%s", (int)sample, got, expected);
}

Test(pack, a_response_and_its_end_are_learnt_and_its_prompt_is_not)
{
    make_tokenizer(end_only);
    write_file("in.jsonl", "{\"q\": \"What is 6 times 7?\", \"a\": \"It is 42.\", \"other\": [1]}\n"
                           "{\"q\": \"\", \"a\": \"No question\"}\n"
                           "{\"q\": \"No answer\", \"a\": \"\"}\n"
                           "{\"q\": \"<|endoftext|> is text\", \"a\": \"\\u00e9\\ud83d\\ude00\"}\n");
    ls_pack_report report;
    cr_assert_eq(pack((ls_pack_options){.prompt = "q", .response = "a"}, "in.jsonl", &report), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(report.kept.samples, 3);
    cr_assert_eq(report.empty, 1);
    expect_sample("set", 0, "What is 6 times 7?\n[It is 42.<|endoftext|>]");
    expect_sample("set", 1, "\n[No question<|endoftext|>]");
    expect_sample("set", 2, "<|endoftext|> is text\n[\u00e9\U0001f600<|endoftext|>]");
    ls_shards *shards;
    ls_tokenizer *tokenizer;
    cr_assert_eq(ls_shards_open(&shards, fixture_path("set"), false), LS_OK);
    cr_assert_eq(ls_tokenizer_open(&tokenizer, fixture_path("tokenizer.json")), LS_OK);
    const int32_t *ids;
    const uint8_t *mask;
    int64_t count, ends = 0;
    cr_assert_eq(ls_shards_text(shards, 2, &ids, &mask, &count), LS_OK);
    for (int64_t t = 0; t < count; t++)
        ends += ids[t] == ls_tokenizer_eot(tokenizer);
    cr_assert_eq(ends, 1, "a special token's text inside a field is text");
    ls_tokenizer_free(tokenizer);
    ls_shards_free(shards);
}

/* As Llama 2's folder: what has no form that is written here goes into the set as the file it is. */
Test(pack, a_folder_with_sentencepieces_model_alone)
{
    const char *source = getenv("LS_SOURCE");
    char command[8192], folder[1024];
    snprintf(folder, sizeof folder, "%s", fixture_path("hf"));
    snprintf(command, sizeof command, "mkdir -p '%s' && cp '%s/tests/fuzz/seeds/tokenizer/sentencepiece.model' '%s/tokenizer.model'", folder, source ? source : ".", folder);
    cr_assert_eq(system(command), 0);
    write_file("hf/tokenizer_config.json", "{\"tokenizer_class\": \"LlamaTokenizer\", \"eos_token\": \"</s>\"}");
    write_file("in.jsonl", "{\"q\": \"What is 6 times 7?\", \"a\": \"It is 42.\"}\n");
    ls_pack_report report;
    cr_assert_eq(pack((ls_pack_options){.prompt = "q", .response = "a", .tokenizer = folder}, "in.jsonl", &report), LS_OK, "%s", ls_fail_sentence());
    expect_sample("set", 0, "<s>What is 6 times 7?\n[ It is 42.</s>]");
    snprintf(command, sizeof command, "rm -r '%s'", fixture_path("set"));
    cr_assert_eq(system(command), 0);
    write_file("hf/tokenizer_config.json", "{\"added_tokens_decoder\": {\"440\": {\"content\": \"<more>\", \"special\": true}}}");
    cr_assert_eq(pack((ls_pack_options){.prompt = "q", .response = "a", .tokenizer = folder}, "in.jsonl", &report), LS_EFORMAT);
    cr_expect(strstr(ls_fail_sentence(), "a set keeps one file only"), "%s", ls_fail_sentence());
}

Test(pack, chatml_learns_every_turn_of_the_assistant)
{
    make_tokenizer(chat_specials);
    write_file("in.jsonl", "{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": \"Hi\"}, "
                           "{\"role\": \"assistant\", \"content\": \"Hello\"}, {\"role\": \"user\", \"content\": \"6*7?\"}, "
                           "{\"role\": \"assistant\", \"content\": \"42\"}]}\n"
                           "{\"messages\": [{\"from\": \"human\", \"value\": \"Hi\"}, {\"from\": \"gpt\", \"value\": \" Hello \"}]}\n");
    ls_pack_report report;
    cr_assert_eq(pack((ls_pack_options){.template_name = "chatml"}, "in.jsonl", &report), LS_OK, "%s", ls_fail_sentence());
    expect_sample("set", 0, "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[Hello<|im_end|>]\n"
                            "<|im_start|>user\n6*7?<|im_end|>\n<|im_start|>assistant\n[42<|im_end|>]\n");
    expect_sample("set", 1, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[ Hello <|im_end|>]\n");
}

Test(pack, llama3_marks_turns_and_trims_them)
{
    char tokenizer[512];
    snprintf(tokenizer, sizeof tokenizer, "%s/tests/data/tiny-tokenizers/llama3-style/tiktoken_small.model", getenv("LS_SOURCE"));
    write_file("in.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \" Hi\\n\"}, {\"role\": \"assistant\", \"content\": \"Hello \"}]}\n");
    ls_pack_report report;
    cr_assert_eq(pack((ls_pack_options){.template_name = "llama3", .tokenizer = tokenizer}, "in.jsonl", &report), LS_OK, "%s", ls_fail_sentence());
    expect_sample("set", 0, "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
                            "<|start_header_id|>assistant<|end_header_id|>\n\n[Hello<|eot_id|>]");
}

Test(pack, an_open_prompt_is_a_prefix_of_the_sample)
{
    make_tokenizer(chat_specials);
    ls_tokenizer *tokenizer;
    cr_assert_eq(ls_tokenizer_open(&tokenizer, fixture_path("tokenizer.json")), LS_OK);
    const ls_message messages[] = {{"user", "What is it?", 11, false}, {"assistant", " \n It is", 8, false}};
    static const char *const names[] = {"plain", "chatml"};
    for (int i = 0; i < 2; i++) {
        ls_template template;
        ls_masked_ids whole = {0}, open = {0};
        cr_assert_eq(ls_template_open(&template, names[i], tokenizer, NULL), LS_OK, "%s", ls_fail_sentence());
        cr_assert_eq(ls_template_encode(&template, tokenizer, messages, 2, false, &whole), LS_OK);
        cr_assert_eq(ls_template_encode(&template, tokenizer, messages, 1, true, &open), LS_OK);
        cr_assert_lt(open.ids.count, whole.ids.count);
        cr_assert_eq(memcmp(open.ids.id, whole.ids.id, (size_t)open.ids.count * sizeof(int32_t)), 0, "%s", names[i]);
        cr_assert_eq(whole.mask[open.ids.count], 1, "%s: the answer begins where the prompt ends", names[i]);
        cr_assert_eq(whole.mask[open.ids.count - 1], 0);
        ls_masked_ids_free(&whole);
        ls_masked_ids_free(&open);
    }
    ls_tokenizer_free(tokenizer);
}

Test(pack, a_template_whose_tokens_are_missing_is_refused)
{
    make_tokenizer(end_only);
    write_file("in.jsonl", "{\"messages\": []}\n");
    ls_pack_report report;
    cr_assert_eq(pack((ls_pack_options){.template_name = "chatml"}, "in.jsonl", &report), LS_ERECIPE);
    cr_assert(strstr(ls_fail_sentence(), "<|im_end|>") || strstr(ls_fail_sentence(), "<|im_start|>"), "%s", ls_fail_sentence());
    cr_assert_eq(pack((ls_pack_options){.template_name = "alpaca"}, "in.jsonl", &report), LS_EARG);
    cr_assert_eq(pack((ls_pack_options){.end = "<eos>"}, "in.jsonl", &report), LS_ERECIPE);
    struct stat about;
    cr_assert_neq(stat(fixture_path("set"), &about), 0);
}

Test(pack, documents_are_files_paragraphs_lines_or_fields)
{
    make_tokenizer(end_only);
    write_file("in.txt", "\nOne\ntwo.\n\n \t\n\nThree.\r\n\r\nFour.");
    ls_pack_report report;
    cr_assert_eq(pack((ls_pack_options){.documents = LS_DOCUMENT_FILE}, "in.txt", &report), LS_OK, "%s", ls_fail_sentence());
    expect_sample("set", 0, "[\nOne\ntwo.\n\n \t\n\nThree.\r\n\r\nFour.<|endoftext|>]");
    cr_assert_eq(report.kept.samples, 1);
    cr_assert_eq(pack((ls_pack_options){.documents = LS_DOCUMENT_PARAGRAPH, .replace = true}, "in.txt", &report), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(report.kept.samples, 3);
    expect_sample("set", 0, "[One\ntwo.<|endoftext|>]");
    expect_sample("set", 1, "[Three.<|endoftext|>]");
    expect_sample("set", 2, "[Four.<|endoftext|>]");
    cr_assert_eq(pack((ls_pack_options){.documents = LS_DOCUMENT_LINE, .replace = true}, "in.txt", &report), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(report.kept.samples, 4);
    expect_sample("set", 1, "[two.<|endoftext|>]");
    write_file("in.jsonl", "{\"a\": \"x\", \"b\": \"y\"}\n{\"a\": \"\", \"b\": \"z\"}\n{\"a\": \"\", \"b\": \"\"}\n");
    cr_assert_eq(pack((ls_pack_options){.text = "b,a", .replace = true}, "in.jsonl", &report), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(report.kept.samples, 2);
    expect_sample("set", 0, "[y\nx<|endoftext|>]");
}

Test(pack, a_whole_text_is_held_out_from_its_end_at_a_line)
{
    make_tokenizer(end_only);
    write_file("in.txt", "line one\nline two\nline three\nline four\n");
    ls_pack_report report;
    cr_assert_eq(pack((ls_pack_options){.holdout = 0.4}, "in.txt", &report), LS_OK, "%s", ls_fail_sentence());
    expect_sample("set", 0, "[line one\nline two\nline three\n<|endoftext|>]");
    expect_sample("set-holdout", 0, "[line four\n<|endoftext|>]");
}

static void expect_same_file(const char *a, const char *b, const char *name)
{
    char a_path[64], b_path[64];
    size_t a_bytes, b_bytes;
    snprintf(a_path, sizeof a_path, "%s/%s", a, name);
    snprintf(b_path, sizeof b_path, "%s/%s", b, name);
    uint8_t *a_content = fixture_read(fixture_path(a_path), &a_bytes), *b_content = fixture_read(fixture_path(b_path), &b_bytes);
    cr_assert(a_bytes == b_bytes && memcmp(a_content, b_content, a_bytes) == 0, "%s and %s differ", a_path, b_path);
    free(a_content);
    free(b_content);
}

Test(pack, the_number_of_threads_does_not_show_in_any_byte)
{
    make_tokenizer(end_only);
    char input[512];
    snprintf(input, sizeof input, "%s/data-sets/gsm8k/test.jsonl", getenv("LS_SOURCE"));
    const char *const inputs[] = {input};
    static const char *const outs[] = {"one", "three"};
    ls_pack_report report[2];
    for (int i = 0; i < 2; i++) {
        const ls_pack_options options = {.inputs = 1, .input = inputs, .prompt = "question", .response = "answer", .holdout = 0.1, .seed = 3,
                                         .tokenizer = fixture_path("tokenizer.json"), .out = fixture_path(outs[i]), .threads = i ? 3 : 1,
                                         .samples_per_shard = 500};
        cr_assert_eq(ls_pack(&options, &report[i]), LS_OK, "%s", ls_fail_sentence());
    }
    cr_assert_eq(report[1].threads, 3);
    cr_assert_eq(report[0].kept.samples + report[0].held.samples, 1319);
    cr_assert(report[0].held.samples > 132 - 55 && report[0].held.samples < 132 + 55, "%d of 1319 held out", (int)report[0].held.samples);
    static const char *const files[] = {"dataset.h5", "shard-00000.h5", "shard-00001.h5", "shard-00002.h5", "tokenizer.json"};
    for (size_t f = 0; f < sizeof files / sizeof *files; f++)
        expect_same_file("one", "three", files[f]);
    expect_same_file("one-holdout", "three-holdout", "dataset.h5");
    expect_same_file("one-holdout", "three-holdout", "shard-00000.h5");
}

Test(pack, what_is_wrong_is_told_with_its_line_and_leaves_nothing)
{
    make_tokenizer(end_only);
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"{\"q\": \"x\"}", "in.jsonl:2: no \"a\"; the line has \"q\""},
        {"{\"q\": \"x\", \"a\": 7}", "in.jsonl:2: \"a\" is not a string"},
        {"{\"q\": \"x\", ", "in.jsonl:2"},
        {"[1, 2]", "in.jsonl:2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        struct stat about;
        ls_pack_report report;
        snprintf(text, sizeof text, "{\"q\": \"x\", \"a\": \"y\"}\n%s\n{\"q\": \"no\"}\n", cases[i].line);
        write_file("in.jsonl", text);
        cr_assert_eq(pack((ls_pack_options){.prompt = "q", .response = "a"}, "in.jsonl", &report), LS_EFORMAT, "case %d", (int)i);
        cr_assert(strstr(ls_fail_sentence(), cases[i].words), "%s", ls_fail_sentence());
        cr_assert(stat(fixture_path("set"), &about) != 0 && stat(fixture_path("set.partial"), &about) != 0);
    }
    ls_pack_report report;
    write_file("in.jsonl", "\n\n");
    cr_assert_eq(pack((ls_pack_options){.text = "q"}, "in.jsonl", &report), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), "no text"), "%s", ls_fail_sentence());
    cr_assert_eq(pack((ls_pack_options){.text = "q"}, "missing.jsonl", &report), LS_ENOTFOUND);
    cr_assert_eq(pack((ls_pack_options){.prompt = "q"}, "in.jsonl", &report), LS_EARG);
    write_file("in.jsonl", "{\"messages\": [{\"role\": \"<|im_start|>\", \"content\": \"x\"}]}\n");
    cr_assert_eq(pack((ls_pack_options){0}, "in.jsonl", &report), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), "is no role"), "%s", ls_fail_sentence());
    write_file("bad.txt", "fine\n\xff\n");
    cr_assert_eq(pack((ls_pack_options){0}, "bad.txt", &report), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), "bad.txt:2"), "%s", ls_fail_sentence());
}
