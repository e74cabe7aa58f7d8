/* config.json to our options. See hugging_face.h.
 *
 * Each key is in one of three tables: those that say what the network is (read below), those that must have one value
 * because lockstep does nothing else, and those that say nothing about the network. A key in none of them is refused.
 */
#include "models/hugging_face/hugging_face.h"
#include "models/rope.h"
#include "models/transformer_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef enum { GPT2 = 1, LLAMA = 2, MISTRAL = 4, QWEN2 = 8, QWEN3 = 16, ROTARY = 30, ALL = 31 } family;

static const struct {
    const char *model_type;
    family family;
} families[] = {{"gpt2", GPT2}, {"llama", LLAMA}, {"mistral", MISTRAL}, {"qwen2", QWEN2}, {"qwen3", QWEN3}};

typedef struct {
    const char *file;
    const json_t *root;
    family family;
    ls_transformer_options *o;
} config;

/* Read one by one below. */
static const struct {
    const char *key;
    int families;
} network_keys[] = {
    {"model_type", ALL},
    {"vocab_size", ALL},
    {"tie_word_embeddings", ALL},
    {"initializer_range", ALL},
    {"n_positions", GPT2},
    {"n_embd", GPT2},
    {"n_layer", GPT2},
    {"n_head", GPT2},
    {"n_inner", GPT2},
    {"layer_norm_epsilon", GPT2},
    {"hidden_size", ROTARY},
    {"intermediate_size", ROTARY},
    {"num_hidden_layers", ROTARY},
    {"num_attention_heads", ROTARY},
    {"num_key_value_heads", ROTARY},
    {"head_dim", ROTARY},
    {"max_position_embeddings", ROTARY},
    {"rms_norm_eps", ROTARY},
    {"rope_theta", ROTARY},
    {"rope_scaling", ROTARY},
    {"rope_parameters", ROTARY},
    {"sliding_window", MISTRAL | QWEN2 | QWEN3},
    {"use_sliding_window", QWEN2 | QWEN3},
    {"max_window_layers", QWEN2 | QWEN3},
    {"layer_types", MISTRAL | QWEN2 | QWEN3},
};

/* Have to be this; what is listed twice may be either. "true", "false": no text but a truth value. */
static const struct {
    const char *key;
    int families;
    const char *value, *meaning;
} fixed_keys[] = {
    {"activation_function", GPT2, "gelu_new", "only the tanh form of GELU"},
    {"activation_function", GPT2, "gelu_pytorch_tanh", "only the tanh form of GELU"},
    {"scale_attn_weights", GPT2, "true", "attention is always scaled"},
    {"scale_attn_by_inverse_layer_idx", GPT2, "false", "attention is not scaled by its layer"},
    {"add_cross_attention", GPT2, "false", "no cross attention in the language model"},
    {"hidden_act", ROTARY, "silu", "only SwiGLU with silu"},
    {"hidden_act", ROTARY, "swish", "only SwiGLU with silu"},
    {"attention_bias", LLAMA | QWEN3, "false", "no bias behind attention"},
    {"mlp_bias", LLAMA, "false", "no bias in a SwiGLU"},
    {"use_mrope", QWEN2 | QWEN3, "false", "no positions of more than one axis"},
    {"rope_interleaved", LLAMA, "false", "weights there are in the order of halves"},
    {"is_encoder_decoder", ALL, "false", "decoders only"},
};

/* Of training, generation and files; not of the network. */
static const char *const other_keys[] = {
    "_attn_implementation_autoset",
    "_name_or_path",
    "_num_labels",
    "architectures",
    "attention_dropout",
    "attn_pdrop",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "do_sample",
    "dtype",
    "embd_pdrop",
    "eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "max_length",
    "n_ctx",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "pretraining_tp",
    "problem_type",
    "reorder_and_upcast_attn",
    "resid_pdrop",
    "return_dict",
    "sep_token_id",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "task_specific_params",
    "temperature",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
};

static const json_t *find(const config *c, const char *key)
{
    const json_t *value = json_object_get(c->root, key);
    return json_is_null(value) ? NULL : value;
}

/* A value as short text, for messages. */
static const char *show(const json_t *value, char text[64])
{
    char *all = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    snprintf(text, 64, "%.*s%s", 50, all ? all : "?", all && strlen(all) > 50 ? "..." : "");
    free(all);
    return text;
}

static bool is_value(const json_t *value, const char *wanted)
{
    if (json_is_boolean(value))
        return !strcmp(wanted, json_is_true(value) ? "true" : "false");
    return json_is_string(value) && !strcmp(json_string_value(value), wanted);
}

/* LS_OK also where the table does not know the key (*known stays). */
static ls_status check_fixed(const config *c, const char *key, const json_t *value, bool *known)
{
    const char *meaning = NULL;
    char text[64];
    for (size_t i = 0; i < sizeof fixed_keys / sizeof *fixed_keys; i++) {
        if (strcmp(fixed_keys[i].key, key) || !(fixed_keys[i].families & c->family))
            continue;
        *known = true;
        if (is_value(value, fixed_keys[i].value))
            return LS_OK;
        meaning = fixed_keys[i].meaning;
    }
    return meaning ? ls_fail(LS_EFORMAT, "%s: \"%s\" is %s, which lockstep has not: %s", c->file, key,
                             show(value, text), meaning)
                   : LS_OK;
}

static ls_status check_keys(const config *c)
{
    const char *key;
    json_t *value;
    char text[64];
    json_object_foreach((json_t *)c->root, key, value)
    {
        bool known = json_is_null(value);
        ls_status status = known ? LS_OK : check_fixed(c, key, value, &known);
        if (status != LS_OK)
            return status;
        for (size_t i = 0; i < sizeof network_keys / sizeof *network_keys; i++)
            known = known || (network_keys[i].families & c->family && !strcmp(network_keys[i].key, key));
        for (size_t i = 0; i < sizeof other_keys / sizeof *other_keys; i++)
            known = known || !strcmp(other_keys[i], key);
        if (!known)
            return ls_fail(
                LS_EFORMAT,
                "%s: \"%s\": %s is not known of a %s; if it does not change the network, take it out of the file",
                c->file, key, show(value, text), json_string_value(find(c, "model_type")));
    }
    return LS_OK;
}

/* ---- values by kind; `fallback` < 0: the key must be there ---- */

static ls_status whole(const config *c, const json_t *in, const char *key, int64_t fallback, int64_t least, int64_t *to)
{
    enum { MOST = 1 << 30 }; /* products of a few stay below 2^63 */
    const json_t *value = json_object_get(in, key);
    char text[64];
    if (!value || json_is_null(value)) {
        *to = fallback;
        return fallback < 0 ? ls_fail(LS_EFORMAT, "%s: no \"%s\", which says what the network is", c->file, key)
                            : LS_OK;
    }
    *to = json_integer_value(value);
    return json_is_integer(value) && *to >= least && *to <= MOST
               ? LS_OK
               : ls_fail(LS_EFORMAT, "%s: \"%s\" is %s, not a whole number in [%lld, %d]", c->file, key,
                         show(value, text), (long long)least, MOST);
}

static ls_status number(const config *c, const json_t *in, const char *key, double fallback, double *to)
{
    const json_t *value = json_object_get(in, key);
    char text[64];
    if (!value || json_is_null(value)) {
        *to = fallback;
        return fallback < 0 ? ls_fail(LS_EFORMAT, "%s: no \"%s\", which says what the network is", c->file, key)
                            : LS_OK;
    }
    *to = json_number_value(value);
    return json_is_number(value) && *to > 0
               ? LS_OK
               : ls_fail(LS_EFORMAT, "%s: \"%s\" is %s, not a number above 0", c->file, key, show(value, text));
}

static ls_status truth(const config *c, const char *key, bool fallback, bool *to)
{
    const json_t *value = find(c, key);
    char text[64];
    *to = value ? json_is_true(value) : fallback;
    return !value || json_is_boolean(value)
               ? LS_OK
               : ls_fail(LS_EFORMAT, "%s: \"%s\" is %s, not true or false", c->file, key, show(value, text));
}

/* ---- what only rotary models have ---- */

/* "rope_parameters" of transformers 5, or "rope_theta" and "rope_scaling" of those before. */
static ls_status read_rope(const config *c)
{
    static const char *const kinds[] = {"default", "linear", "llama3"};
    static const char *const keys[] = {"rope_type",
                                       "type",
                                       "rope_theta",
                                       "factor",
                                       "low_freq_factor",
                                       "high_freq_factor",
                                       "original_max_position_embeddings"};
    ls_transformer_options *o = c->o;
    const json_t *rope = find(c, "rope_parameters"), *value;
    if (!rope)
        rope = find(c, "rope_scaling");
    if (rope && !json_is_object(rope))
        return ls_fail(LS_EFORMAT, "%s: \"rope_parameters\" or \"rope_scaling\" is not an object", c->file);
    const char *key, *kind = json_string_value(json_object_get(rope, "rope_type"));
    kind = kind ? kind : json_string_value(json_object_get(rope, "type"));
    char text[64];
    json_object_foreach((json_t *)rope, key, value)
    {
        bool known = json_is_null(value) || (!strcmp(key, "partial_rotary_factor") && json_number_value(value) == 1);
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            known = known || !strcmp(keys[i], key);
        if (!known)
            return ls_fail(LS_EFORMAT, "%s: \"%s\": %s of its rotary positions is not known here", c->file, key,
                           show(value, text));
    }
    for (o->rope_scaling = 0; kind && o->rope_scaling < 3 && strcmp(kinds[o->rope_scaling], kind); o->rope_scaling++)
        ;
    if (o->rope_scaling == 3)
        return ls_fail(LS_EFORMAT, "%s: rotary positions of type \"%.40s\"; lockstep has default, linear and llama3",
                       c->file, kind);
    ls_status status =
        number(c, json_object_get(rope, "rope_theta") ? rope : c->root, "rope_theta", 10000, &o->rope_base);
    if (status == LS_OK && o->rope_scaling)
        status = number(c, rope, "factor", -1, &o->rope_factor);
    if (status == LS_OK && o->rope_scaling == 2)
        status = number(c, rope, "low_freq_factor", -1, &o->rope_low_freq_factor);
    if (status == LS_OK && o->rope_scaling == 2)
        status = number(c, rope, "high_freq_factor", -1, &o->rope_high_freq_factor);
    if (status == LS_OK && o->rope_scaling == 2)
        status = whole(c, rope, "original_max_position_embeddings", -1, 1, &o->rope_original_context);
    return status;
}

/* Does block `layer` look back no further than the window? As transformers fills in "layer_types". */
static ls_status slides(const config *c, int64_t layer, bool wanted, int64_t first, bool *slides)
{
    const json_t *types = find(c, "layer_types");
    const char *type = json_string_value(json_array_get(types, (size_t)layer));
    *slides = wanted && layer >= first;
    if (!types)
        return LS_OK;
    if ((int64_t)json_array_size(types) != c->o->layers || !type ||
        (strcmp(type, "full_attention") && strcmp(type, "sliding_attention")))
        return ls_fail(LS_EFORMAT,
                       "%s: \"layer_types\" does not say full_attention or sliding_attention for each of %lld layers",
                       c->file, (long long)c->o->layers);
    *slides = !strcmp(type, "sliding_attention");
    return LS_OK;
}

static ls_status read_window(const config *c)
{
    int64_t window = 0, first = 0, sliding = 0;
    bool wanted = c->family == MISTRAL;
    if (c->family == LLAMA)
        return LS_OK;
    ls_status status = c->family == MISTRAL ? LS_OK : truth(c, "use_sliding_window", false, &wanted);
    if (status == LS_OK) /* Mistral's class has 4096 where a file says nothing at all */
        status = whole(c, c->root, "sliding_window",
                       c->family == MISTRAL && !json_object_get(c->root, "sliding_window") ? 4096 : 0, 1, &window);
    if (status == LS_OK)
        status = whole(c, c->root, "max_window_layers", c->family == MISTRAL ? 0 : 28, 0, &first);
    for (int64_t layer = 0; layer < c->o->layers && status == LS_OK; layer++) {
        bool slide;
        status = slides(c, layer, wanted && window, first, &slide);
        sliding += status == LS_OK && slide;
    }
    if (status != LS_OK || !sliding)
        return status;
    if (sliding < c->o->layers || !window)
        return ls_fail(
            LS_EFORMAT,
            "%s: %lld of its %lld layers have a sliding window%s; lockstep has one for all layers or for none", c->file,
            (long long)sliding, (long long)c->o->layers, window ? "" : " that \"sliding_window\" does not give");
    c->o->window = window;
    return LS_OK;
}

static ls_status read_rotary(const config *c)
{
    ls_transformer_options *o = c->o;
    o->style = LS_STYLE_LLAMA;
    o->qkv_bias = c->family == QWEN2;
    o->qk_norm = c->family == QWEN3;
    const struct {
        const char *key;
        int64_t *to, fallback;
    } sizes[] = {
        {"hidden_size", &o->width, -1},
        {"intermediate_size", &o->hidden, -1},
        {"num_hidden_layers", &o->layers, -1},
        {"num_attention_heads", &o->heads, -1},
        {"num_key_value_heads", &o->kv_heads, c->family == LLAMA ? 0 : -1},
        {"head_dim", &o->head_width, c->family == QWEN3 ? -1 : 0},
        {"max_position_embeddings", &o->context, -1},
    };
    ls_status status = LS_OK;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && status == LS_OK; i++)
        status = whole(c, c->root, sizes[i].key, sizes[i].fallback, 1, sizes[i].to);
    if (status == LS_OK)
        status = number(c, c->root, "rms_norm_eps", 1e-6, &o->norm_eps);
    if (status == LS_OK)
        status = read_rope(c);
    ls_rope_resolve(o);
    return status == LS_OK ? read_window(c) : status;
}

static ls_status read_gpt2(const config *c)
{
    ls_transformer_options *o = c->o;
    o->style = LS_STYLE_GPT2;
    ls_rope_resolve(o); /* not used by this style; as a recipe that leaves them out has them */
    ls_status status = whole(c, c->root, "n_embd", -1, 1, &o->width);
    if (status == LS_OK)
        status = whole(c, c->root, "n_layer", -1, 1, &o->layers);
    if (status == LS_OK)
        status = whole(c, c->root, "n_head", -1, 1, &o->heads);
    if (status == LS_OK)
        status = whole(c, c->root, "n_positions", -1, 1, &o->context);
    if (status == LS_OK)
        status = whole(c, c->root, "n_inner", 4 * o->width, 1, &o->hidden);
    return status == LS_OK ? number(c, c->root, "layer_norm_epsilon", 1e-5, &o->norm_eps) : status;
}

static ls_status find_family(config *c)
{
    const char *type = json_string_value(find(c, "model_type"));
    for (size_t i = 0; type && i < sizeof families / sizeof *families; i++)
        if (!strcmp(families[i].model_type, type))
            c->family = families[i].family;
    return c->family ? LS_OK
                     : ls_fail(LS_EFORMAT,
                               "%s: \"model_type\" is %.40s; lockstep reads gpt2, llama, mistral, qwen2 and qwen3",
                               c->file, type ? type : "not given");
}

ls_status ls_hugging_face_read(const char *name, const char *text, size_t bytes, ls_transformer_options *options)
{
    json_error_t error;
    *options = (ls_transformer_options){0};
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    config c = {.file = name, .root = root, .o = options};
    ls_status status = json_is_object(root) ? find_family(&c)
                                            : ls_fail(LS_EFORMAT, "%s:%d: not a JSON object: %s", name,
                                                      root ? 1 : error.line, root ? "another value" : error.text);
    if (status == LS_OK)
        status = check_keys(&c);
    if (status == LS_OK)
        status = c.family == GPT2 ? read_gpt2(&c) : read_rotary(&c);
    if (status == LS_OK)
        status = whole(&c, root, "vocab_size", -1, 1, &options->vocabulary);
    if (status == LS_OK)
        status = truth(&c, "tie_word_embeddings", c.family == GPT2, &options->tied);
    if (status == LS_OK)
        status = number(&c, root, "initializer_range", 0.02, &options->init_std);
    json_decref(root);
    return status;
}
