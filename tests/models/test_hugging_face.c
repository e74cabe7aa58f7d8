/* config.json: read, written and read again to the same options; what lockstep does not follow is refused by its key.
 */
#include "models/hugging_face/hugging_face.h"
#include "tests/models/workbench.h"

#include <stdio.h>

static char text[1 << 16];

/* A config of tests/golden/hf with `key` set to `value` (JSON), or taken out (NULL); read into *options. */
static ls_status read_with(const char *name, const char *key, const char *value, ls_transformer_options *options)
{
    char path[256];
    snprintf(path, sizeof path, "tests/golden/hf/%s/config.json", name);
    json_t *root = json_of(path);
    if (key && value)
        cr_assert_eq(json_object_set_new(root, key, json_loads(value, JSON_DECODE_ANY, NULL)), 0, "%s", value);
    else if (key)
        cr_assert_eq(json_object_del(root, key), 0, "%s", key);
    char *all = json_dumps(root, 0);
    ls_status status = ls_hugging_face_read("config.json", all, strlen(all), options);
    free(all);
    json_decref(root);
    return status;
}

Test(hugging_face, what_a_config_says)
{
    ls_transformer_options o;
    cr_assert_eq(read_with("llama3", NULL, NULL, &o), LS_OK, "%s", ls_fail_sentence());
    cr_expect(o.style == 1 && o.width == 24 && o.hidden == 40 && o.layers == 2 && o.heads == 6 && o.kv_heads == 2);
    cr_expect(o.head_width == 8 && o.context == 64 && !o.tied && !o.qkv_bias && !o.qk_norm && !o.window);
    cr_expect(o.rope_scaling == 2 && o.rope_base == 50 && o.rope_factor == 8 && o.rope_original_context == 48);
    cr_assert_eq(read_with("qwen2", NULL, NULL, &o), LS_OK);
    cr_expect(o.qkv_bias && o.tied && o.rope_base == 1e6 && o.norm_eps == 1e-6 && !o.window);
    cr_assert_eq(read_with("qwen3", NULL, NULL, &o), LS_OK);
    cr_expect(o.qk_norm && o.head_width == 10 && o.rope_scaling == 1 && o.rope_factor == 2);
    cr_assert_eq(read_with("mistral", NULL, NULL, &o), LS_OK);
    cr_expect(o.window == 6 && o.rope_scaling == 0);
    cr_assert_eq(read_with("gpt2", NULL, NULL, &o), LS_OK);
    cr_expect(o.style == 0 && o.tied && o.hidden == 96 && o.context == 64 && o.heads == 3);
}

Test(hugging_face, what_is_left_out_is_as_transformers_fills_it_in)
{
    ls_transformer_options o;
    cr_assert_eq(read_with("mistral", "sliding_window", NULL, &o), LS_OK);
    cr_expect_eq(o.window, 4096);
    cr_assert_eq(read_with("mistral", "sliding_window", "null", &o), LS_OK);
    cr_expect_eq(o.window, 0);
    cr_assert_eq(read_with("llama3", "rope_scaling", "null", &o), LS_OK);
    cr_expect(o.rope_scaling == 0 && o.rope_base == 50);
    cr_assert_eq(read_with("llama3", "num_key_value_heads", NULL, &o), LS_OK);
    cr_expect_eq(o.kv_heads, 0, "as many as heads");
    cr_assert_eq(read_with("llama3", "tie_word_embeddings", NULL, &o), LS_OK);
    cr_expect(!o.tied);
    cr_assert_eq(read_with("gpt2", "tie_word_embeddings", NULL, &o), LS_OK);
    cr_expect(o.tied);
    cr_assert_eq(read_with("gpt2", "n_inner", "50", &o), LS_OK);
    cr_expect_eq(o.hidden, 50);
    cr_assert_eq(read_with("llama3", "whatever", "null", &o), LS_OK, "nothing is asked for");
    cr_assert_eq(read_with("qwen2", "layer_types", "[\"sliding_attention\", \"sliding_attention\"]", &o), LS_EFORMAT,
                 "without a width");
}

Test(hugging_face, what_lockstep_does_not_follow_is_refused_by_its_key)
{
    static const struct {
        const char *name, *key, *value, *says;
    } cases[] = {
        {"llama3", "model_type", "\"mamba\"", "\"model_type\" is mamba"},
        {"llama3", "model_type", NULL, "\"model_type\" is not given"},
        {"llama3", "quantization_config", "{\"bits\": 4}", "\"quantization_config\": {\"bits\":4}"},
        {"llama3", "num_experts", "8", "\"num_experts\": 8 is not known of a llama"},
        {"llama3", "sliding_window", "16", "\"sliding_window\": 16"},
        {"llama3", "attention_bias", "true", "\"attention_bias\" is true"},
        {"llama3", "mlp_bias", "true", "\"mlp_bias\" is true"},
        {"llama3", "hidden_act", "\"gelu\"", "\"hidden_act\" is \"gelu\""},
        {"llama3", "hidden_size", NULL, "no \"hidden_size\""},
        {"llama3", "hidden_size", "\"24\"", "\"hidden_size\" is \"24\""},
        {"llama3", "hidden_size", "0", "\"hidden_size\" is 0"},
        {"llama3", "hidden_size", "-24", "\"hidden_size\" is -24"},
        {"llama3", "hidden_size", "24.5", "\"hidden_size\" is 24.5"},
        {"llama3", "vocab_size", "99999999999", "\"vocab_size\" is 99999999999"},
        {"llama3", "rms_norm_eps", "-1", "\"rms_norm_eps\""},
        {"llama3", "tie_word_embeddings", "1", "\"tie_word_embeddings\" is 1"},
        {"llama3", "rope_scaling", "3", "is not an object"},
        {"llama3", "rope_scaling", "{\"rope_type\": \"yarn\", \"factor\": 4}", "type \"yarn\""},
        {"llama3", "rope_scaling", "{\"type\": \"dynamic\", \"factor\": 4}", "type \"dynamic\""},
        {"llama3", "rope_scaling", "{\"rope_type\": \"linear\"}", "no \"factor\""},
        {"llama3", "rope_scaling", "{\"rope_type\": \"linear\", \"factor\": 2, \"beta_fast\": 32}",
         "\"beta_fast\": 32"},
        {"llama3", "rope_parameters", "{\"rope_type\": \"default\", \"partial_rotary_factor\": 0.5}",
         "partial_rotary_factor"},
        {"mistral", "sliding_window", "true", "\"sliding_window\" is true"},
        {"mistral", "num_key_value_heads", NULL, "no \"num_key_value_heads\""},
        {"qwen3", "head_dim", NULL, "no \"head_dim\""},
        {"qwen2", "use_mrope", "true", "\"use_mrope\""},
        {"qwen2", "layer_types", "[\"full_attention\"]", "\"layer_types\""},
        {"qwen2", "layer_types", "[\"full_attention\", \"linear_attention\"]", "\"layer_types\""},
        {"gpt2", "activation_function", "\"relu\"", "\"activation_function\" is \"relu\""},
        {"gpt2", "scale_attn_by_inverse_layer_idx", "true", "scale_attn_by_inverse_layer_idx"},
        {"gpt2", "scale_attn_weights", "false", "scale_attn_weights"},
        {"gpt2", "add_cross_attention", "true", "add_cross_attention"},
        {"gpt2", "n_inner", "[]", "\"n_inner\" is []"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ls_transformer_options o;
        cr_expect_eq(read_with(cases[i].name, cases[i].key, cases[i].value, &o), LS_EFORMAT, "case %zu: %s", i,
                     cases[i].key);
        cr_expect(strstr(ls_fail_sentence(), cases[i].says) && strstr(ls_fail_sentence(), "config.json"),
                  "case %zu: %s", i, ls_fail_sentence());
    }
    ls_transformer_options o;
    cr_expect_eq(ls_hugging_face_read("config.json", "[", 1, &o), LS_EFORMAT);
    cr_expect_eq(ls_hugging_face_read("config.json", "[]", 2, &o), LS_EFORMAT);
    cr_expect_eq(ls_hugging_face_read("config.json", "", 0, &o), LS_EFORMAT);
}

Test(hugging_face, some_layers_with_a_window_are_refused)
{
    static const char *const configs[] = {
        "{\"use_sliding_window\": true, \"sliding_window\": 8, \"max_window_layers\": 1}",
        "{\"use_sliding_window\": true, \"sliding_window\": 8, \"max_window_layers\": 0}",
        "{\"use_sliding_window\": true, \"sliding_window\": 8, \"max_window_layers\": 2}",
        "{\"use_sliding_window\": false, \"sliding_window\": 8, \"max_window_layers\": 0}",
    };
    static const int64_t windows[] = {-1, 8, 0, 0};
    for (size_t i = 0; i < 4; i++) {
        json_t *root = json_of("tests/golden/hf/qwen2/config.json"), *more = json_loads(configs[i], 0, NULL);
        json_object_del(root, "layer_types");
        json_object_update(root, more);
        char *all = json_dumps(root, 0);
        ls_transformer_options o;
        ls_status status = ls_hugging_face_read("config.json", all, strlen(all), &o);
        cr_expect_eq(status, windows[i] < 0 ? LS_EFORMAT : LS_OK, "%s", configs[i]);
        cr_expect(status != LS_OK || o.window == windows[i], "%s: %lld", configs[i], (long long)o.window);
        cr_expect(status == LS_OK || strstr(ls_fail_sentence(), "1 of its 2 layers"), "%s", ls_fail_sentence());
        free(all);
        json_decref(root), json_decref(more);
    }
}

/* Written and read again, the options are the same. */
static void there_and_back(const ls_transformer_options *given)
{
    ls_transformer *model;
    ls_transformer_options back;
    char *written;
    cr_assert_eq(ls_transformer_create(&model, given), LS_OK, "%s", ls_fail_sentence());
    const ls_transformer_options *o = ls_transformer_config(model);
    cr_assert_eq(ls_hugging_face_write(o, "float32", 1, -1, &written), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_hugging_face_read("config.json", written, strlen(written), &back), LS_OK, "%s\n%s",
                 ls_fail_sentence(), written);
    snprintf(text, sizeof text, "%s", written);
    if (!back.head_width) /* gpt2's say it by width and heads alone */
        back.head_width = o->head_width, back.kv_heads = o->kv_heads;
    for (const ls_option *row = ls_transformer_option_rows; row->key; row++) {
        const size_t size = row->kind == LS_OPTION_BOOL     ? sizeof(bool)
                            : row->kind == LS_OPTION_CHOICE ? sizeof(int)
                                                            : 8;
        cr_expect_eq(memcmp((const char *)&back + row->offset, (const char *)o + row->offset, size), 0, "%s: %s",
                     row->key, written);
    }
    free(written);
    ls_transformer_free(model);
}

Test(hugging_face, what_is_written_reads_back_to_itself)
{
    static const char *const names[] = {"gpt2", "llama3", "qwen2", "qwen3", "mistral"};
    ls_transformer_options o;
    for (size_t i = 0; i < 5; i++) {
        char class[64];
        snprintf(class, sizeof class, "\"model_type\": \"%.5s", i == 1 ? "llama" : names[i]);
        cr_assert_eq(read_with(names[i], NULL, NULL, &o), LS_OK);
        there_and_back(&o);
        cr_expect(strstr(text, class), "%s", text);
    }
    cr_assert_eq(read_with("qwen2", NULL, NULL, &o), LS_OK);
    o.window = 5;
    there_and_back(&o);
    o.head_width = 6;
    there_and_back(&o);
    o.qk_norm = true;
    cr_expect_eq(ls_hugging_face_write(&o, "float32", 1, 2, &(char *){NULL}), LS_ERECIPE, "of no architecture");
    cr_assert_eq(read_with("gpt2", NULL, NULL, &o), LS_OK);
    o.kv_heads = 1, o.head_width = 8;
    cr_expect_eq(ls_hugging_face_write(&o, "float32", 1, 2, &(char *){NULL}), LS_ERECIPE, "GPT-2 has no groups");
}
