/* Templates against what transformers' apply_chat_template makes of the same conversations with the models' own
 * templates (tests/golden/make_template_golden.py): text, ids, and the mask of what the assistant says. */
#include "datasets/template.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 16 };

static const char *source_path(const char *path)
{
    static char whole[4096];
    snprintf(whole, sizeof whole, "%s/%s", getenv("LS_SOURCE"), path);
    return whole;
}

static ls_tokenizer *open_tokenizer(const char *template_name)
{
    ls_tokenizer *tokenizer;
    const char *path = strcmp(template_name, "llama-3") == 0
                           ? "tests/data/tiny-tokenizers/llama3-style/tiktoken_small.model"
                           : "tests/data/tiny-tokenizers/qwen2-style/tiny_bpe_tokenizer.json";
    cr_assert_eq(ls_tokenizer_open(&tokenizer, source_path(path)), LS_OK, "%s", ls_fail_sentence());
    return tokenizer;
}

static int read_messages(const json_t *list, ls_message messages[MOST])
{
    const int count = (int)json_array_size(list);
    cr_assert(count > 0 && count <= MOST);
    for (int i = 0; i < count; i++) {
        const json_t *one = json_array_get(list, (size_t)i), *content = json_object_get(one, "content");
        messages[i] = (ls_message){.role = json_string_value(json_object_get(one, "role")),
                                   .text = json_string_value(content),
                                   .bytes = json_string_length(content)};
    }
    return count;
}

/* A number is an id; a text the special token of that name, whose id differs between the two forms of the tokenizer. */
static void check_ids(const json_t *row, ls_tokenizer *tokenizer, const ls_masked_ids *got, const char *text)
{
    const json_t *ids = json_object_get(row, "ids"), *mask = json_object_get(row, "mask");
    cr_expect_eq(json_array_size(ids), (size_t)got->ids.count, "%s: %lld tokens", text, (long long)got->ids.count);
    for (size_t i = 0; i < json_array_size(ids) && i < (size_t)got->ids.count; i++) {
        const json_t *id = json_array_get(ids, i);
        const int32_t want =
            json_is_string(id) ? ls_tokenizer_id(tokenizer, json_string_value(id)) : (int32_t)json_integer_value(id);
        cr_expect_eq(got->ids.id[i], want, "%s: token %zu is %d, not %d", text, i, got->ids.id[i], want);
        cr_expect_eq(got->mask[i], json_integer_value(json_array_get(mask, i)), "%s: mask %zu is %d", text, i,
                     got->mask[i]);
    }
}

Test(template, conversations_are_those_of_the_models_own_templates)
{
    json_error_t error;
    json_t *golden = json_load_file(source_path("tests/golden/templates.json"), 0, &error), *row;
    cr_assert_not_null(golden, "line %d: %s", error.line, error.text);
    size_t at, compared = 0;
    json_array_foreach(json_object_get(golden, "rows"), at, row)
    {
        const char *name = json_string_value(json_object_get(row, "template")),
                   *want = json_string_value(json_object_get(row, "text"));
        ls_tokenizer *tokenizer = open_tokenizer(name);
        ls_template template;
        ls_message messages[MOST];
        ls_masked_ids got = {0};
        char *text;
        size_t bytes;
        cr_assert_eq(ls_template_open(&template, name, tokenizer, NULL), LS_OK, "%s", ls_fail_sentence());
        const int count = read_messages(json_object_get(row, "messages"), messages);
        cr_assert_eq(ls_template_encode(&template, tokenizer, messages, count,
                                        json_is_true(json_object_get(row, "prompt")), &got),
                     LS_OK, "%s", ls_fail_sentence());
        cr_assert_eq(ls_tokenizer_decode(tokenizer, got.ids.id, got.ids.count, &text, &bytes), LS_OK);
        cr_expect_str_eq(text, want, "%s\nwanted %s\ngot    %s", name, want, text);
        if (json_is_array(json_object_get(row, "ids"))) {
            check_ids(row, tokenizer, &got, want);
            compared++;
        }
        free(text);
        ls_masked_ids_free(&got);
        ls_tokenizer_free(tokenizer);
    }
    cr_expect(at == 40 && compared >= 36, "%zu rows, %zu with ids", at, compared);
    json_decref(golden);
}

Test(template, names_and_their_older_forms)
{
    ls_tokenizer *tokenizer = open_tokenizer("llama-3");
    ls_template one, other;
    cr_assert(ls_template_open(&one, "llama-3", tokenizer, NULL) == LS_OK &&
              ls_template_open(&other, "llama3", tokenizer, NULL) == LS_OK);
    cr_expect_eq(one.kind, other.kind);
    cr_expect_eq(ls_template_open(&one, "llama", tokenizer, NULL), LS_EARG);
    cr_expect(strstr(ls_fail_sentence(), "plain|chatml|qwen|qwen-3|llama-3"), "%s", ls_fail_sentence());
    cr_expect_eq(ls_template_open(&one, "qwen", tokenizer, NULL), LS_ERECIPE);
    cr_expect(strstr(ls_fail_sentence(), "template qwen needs the token <|im_start|>"), "%s", ls_fail_sentence());
    ls_tokenizer_free(tokenizer);
}
