/* Packing of preference pairs and outcomes: each way to write one, what is learnt of it, and what is refused. */
#include "datasets/pack.h"
#include "datasets/shard.h"
#include "tests/datasets/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool one_text(void *context, const char **text, size_t *bytes)
{
    int *calls = context;
    *text = "Human: and Assistant: speak.";
    *bytes = strlen(*text);
    return (*calls)++ == 0;
}

static void begin(void)
{
    static const char *const specials[] = {"<|endoftext|>", NULL};
    ls_tokenizer *tokenizer;
    int calls = 0;
    const ls_tokenizer_training how = {.vocabulary = 270, .pattern = "gpt2", .specials = specials};
    cr_assert_eq(ls_tokenizer_train(&tokenizer, &how, one_text, &calls), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_tokenizer_write(tokenizer, fixture_path("tokenizer.json")), LS_OK, "%s", ls_fail_sentence());
    ls_tokenizer_free(tokenizer);
}

TestSuite(pack_pairs, .init = begin, .fini = fixture_clean);

static ls_status pack(ls_pack_options options, const char *lines, ls_pack_report *report)
{
    fixture_write(fixture_path("in.jsonl"), (const uint8_t *)lines, strlen(lines));
    const char *const inputs[] = {fixture_path("in.jsonl")};
    options.inputs = 1;
    options.input = inputs;
    options.tokenizer = fixture_path("tokenizer.json");
    options.out = fixture_path("set");
    options.threads = 2;
    return ls_pack(&options, report);
}

static ls_shards *packed(ls_pack_options options, const char *lines, ls_pack_report *report)
{
    ls_shards *set;
    cr_assert_eq(pack(options, lines, report), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_shards_open(&set, fixture_path("set"), true), LS_OK, "%s", ls_fail_sentence());
    return set;
}

/* A sample as text, what is learnt in [brackets]. */
static void expect_sample(const ls_shards *set, int64_t sample, const char *expected)
{
    ls_tokenizer *tokenizer;
    const int32_t *ids;
    const uint8_t *mask;
    int64_t count;
    char out[1024] = "";
    size_t used = 0;
    cr_assert_eq(ls_tokenizer_open(&tokenizer, ls_shards_tokenizer_path(set)), LS_OK);
    cr_assert_eq(ls_shards_text(set, sample, &ids, &mask, &count), LS_OK);
    for (int64_t t = 0, to; t < count; t = to) {
        char *text;
        size_t bytes;
        for (to = t + 1; to < count && mask[to] == mask[t];)
            to++;
        cr_assert_eq(ls_tokenizer_decode(tokenizer, ids + t, to - t, &text, &bytes), LS_OK);
        used += (size_t)snprintf(out + used, sizeof out - used, mask[t] ? "[%s]" : "%s", text);
        free(text);
    }
    cr_expect_str_eq(out, expected, "sample %d: %s", (int)sample, out);
    ls_tokenizer_free(tokenizer);
}

Test(pack_pairs, each_way_to_write_a_pair_gives_the_same_samples)
{
    static const char *const lines[] = {
        "{\"prompt\": \"Why?\", \"chosen\": \"So.\", \"rejected\": \"No.\"}\n",
        "{\"chosen\": \"\\n\\nHuman: Why?\\n\\nAssistant: So.\", \"rejected\": \"\\n\\nHuman: Why?\\n\\nAssistant: No. "
        "\"}\n",
        "{\"prompt\": [{\"role\": \"user\", \"content\": \"Why?\"}], \"chosen\": [{\"role\": \"assistant\", "
        "\"content\": \"So.\"}], "
        "\"rejected\": [{\"from\": \"gpt\", \"value\": \"No.\"}]}\n",
        "{\"chosen\": [{\"role\": \"user\", \"content\": \"Why?\"}, {\"role\": \"assistant\", \"content\": \"So.\"}], "
        "\"rejected\": [{\"role\": \"user\", \"content\": \"Why?\"}, {\"role\": \"assistant\", \"content\": "
        "\"No.\"}]}\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        ls_pack_report report;
        ls_shards *set = packed((ls_pack_options){.pairs = true, .replace = true}, lines[i], &report);
        cr_assert_eq(ls_shards_form_of(set), LS_SHARDS_PAIRS);
        cr_assert_eq(ls_shards_samples(set), 2, "form %d", (int)i);
        expect_sample(set, 0, "Why?\n[So.<|endoftext|>]");
        expect_sample(set, 1, "Why?\n[No.<|endoftext|>]");
        ls_shards_free(set);
    }
}

Test(pack_pairs, learnt_is_what_follows_the_first_difference)
{
    ls_pack_report report;
    ls_shards *set =
        packed((ls_pack_options){.pairs = true},
               /* the same until the last answer; parts earlier; one ends before the other; a text speaks of Human: */
               "{\"chosen\": \"\\n\\nHuman: a\\n\\nAssistant: b\\n\\nHuman: c\\n\\nAssistant: d\", \"rejected\": "
               "\"\\n\\nHuman: a\\n\\nAssistant: b\\n\\nHuman: c\\n\\nAssistant: e\", \"margin\": 1.5}\n"
               "{\"chosen\": \"\\n\\nHuman: a\\n\\nAssistant: x\\n\\nHuman: c\\n\\nAssistant: d\", \"rejected\": "
               "\"\\n\\nHuman: a\\n\\nAssistant: y\\n\\nHuman: c\\n\\nAssistant: d\"}\n"
               "{\"chosen\": \"\\n\\nHuman: a\\n\\nAssistant: b\\n\\nHuman: c\\n\\nAssistant: d\", \"rejected\": "
               "\"\\n\\nHuman: a\\n\\nAssistant: b\"}\n"
               "{\"chosen\": \"\\n\\nHuman: Human: a\\n\\nAssistant: b \\n\\nHuman\", \"rejected\": \"\\n\\nHuman: "
               "Human: a\\n\\nAssistant: c\"}\n",
               &report);
    cr_assert_eq(ls_shards_samples(set), 8);
    expect_sample(set, 0, "a\nb<|endoftext|>c\n[d<|endoftext|>]");
    expect_sample(set, 1, "a\nb<|endoftext|>c\n[e<|endoftext|>]");
    expect_sample(set, 2, "a\n[x<|endoftext|>]c\n[d<|endoftext|>]");
    expect_sample(set, 3, "a\n[y<|endoftext|>]c\n[d<|endoftext|>]");
    expect_sample(set, 4, "a\nb<|endoftext|>c\n[d<|endoftext|>]");
    expect_sample(set, 5, "a\nb<|endoftext|>");
    expect_sample(set, 6, "Human: a\n[b \n\nHuman<|endoftext|>]");
    expect_sample(set, 7, "Human: a\n[c<|endoftext|>]");
    cr_expect(ls_shards_value(set, 0) == 1.5f && ls_shards_value(set, 1) == 0 && ls_shards_value(set, 2) == 0);
    cr_expect_eq(report.kept.learnt, 2 + 2 + 4 + 4 + 2 + 0 + (ls_shards_counted(set, 6)) + 2);
    ls_shards_free(set);
}

Test(pack_pairs, equal_texts_are_left_out_and_told)
{
    ls_pack_report report;
    ls_shards *set = packed((ls_pack_options){.pairs = true, .prompt = "question"},
                            "{\"question\": \"a\", \"chosen\": \"b\", \"rejected\": \"b\"}\n"
                            "{\"question\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n",
                            &report);
    cr_expect_eq(report.alike, 1);
    cr_expect_eq(report.empty, 0);
    cr_expect_eq(ls_shards_samples(set), 2);
    ls_shards_free(set);
}

Test(pack_pairs, a_pair_is_held_out_whole)
{
    char lines[64 * 100], *at = lines;
    for (int i = 0; i < 100; i++)
        at += sprintf(at, "{\"prompt\": \"%d\", \"chosen\": \"a\", \"rejected\": \"b\"}\n", i);
    ls_pack_report report;
    ls_shards *set = packed((ls_pack_options){.pairs = true, .holdout = 0.3}, lines, &report), *held;
    cr_assert_eq(ls_shards_open(&held, fixture_path("set-holdout"), true), LS_OK);
    cr_expect(ls_shards_samples(held) > 20 && ls_shards_samples(held) < 100 &&
              ls_shards_samples(held) + ls_shards_samples(set) == 200);
    for (int64_t i = 0; i < ls_shards_samples(held); i += 2) {
        const int32_t *better, *worse;
        const uint8_t *mask;
        int64_t n, m;
        cr_assert(ls_shards_text(held, i, &better, &mask, &n) == LS_OK &&
                  ls_shards_text(held, i + 1, &worse, &mask, &m) == LS_OK);
        cr_expect(n == m && memcmp(better, worse, (size_t)(n - 2) * sizeof *better) == 0 &&
                  better[n - 2] != worse[m - 2]);
    }
    ls_shards_free(held);
    ls_shards_free(set);
}

Test(pack_pairs, outcomes_go_with_their_answers)
{
    ls_pack_report report;
    ls_shards *set = packed((ls_pack_options){.prompt = "q", .response = "a", .outcome = "right"},
                            "{\"q\": \"1+1\", \"a\": \"2\", \"right\": true}\n{\"q\": \"1+1\", \"a\": \"3\", "
                            "\"right\": 0}\n{\"q\": \"1+1\", \"a\": \"two\", \"right\": 0.75}\n",
                            &report);
    cr_assert_eq(ls_shards_form_of(set), LS_SHARDS_OUTCOMES);
    cr_expect(ls_shards_value(set, 0) == 1 && ls_shards_value(set, 1) == 0 && ls_shards_value(set, 2) == 0.75f);
    expect_sample(set, 2, "1+1\n[two<|endoftext|>]");
    ls_shards_free(set);
}

Test(pack_pairs, what_is_no_pair_is_refused_with_its_line)
{
    static const struct {
        const char *line, *said;
    } rows[] = {
        {"{\"prompt\": \"a\", \"chosen\": \"b\"}\n", "in.jsonl:1: \"rejected\" is not there"},
        {"{\"prompt\": \"a\", \"chosen\": 3, \"rejected\": \"b\"}\n", "\"chosen\" is neither"},
        {"{\"chosen\": \"b\", \"rejected\": \"c\"}\n", "no conversation of \"Human:\""},
        {"{\"prompt\": 7, \"chosen\": \"b\", \"rejected\": \"c\"}\n", "\"prompt\" is not a list of messages"},
        {"{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\", \"margin\": \"big\"}\n",
         "\"margin\" is not a number"},
        {"{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\", \"margin\": 1e300}\n", "too large"},
        {"{\"chosen\": [{\"role\": \"<|im_end|>\", \"content\": \"\"}], \"rejected\": []}\n", "is no role"},
    };
    ls_pack_report report;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cr_expect_eq(pack((ls_pack_options){.pairs = true}, rows[i].line, &report), LS_EFORMAT);
        cr_expect(strstr(ls_fail_sentence(), rows[i].said), "%s", ls_fail_sentence());
    }
    cr_expect_eq(pack((ls_pack_options){.prompt = "q", .response = "a", .outcome = "right"},
                      "{\"q\": \"1\", \"a\": \"2\", \"right\": 1.5}\n", &report),
                 LS_EFORMAT);
    cr_expect(strstr(ls_fail_sentence(), "from 0 to 1"), "%s", ls_fail_sentence());
    cr_expect_eq(pack((ls_pack_options){.pairs = true, .text = "a"}, "{}\n", &report), LS_EARG);
}
