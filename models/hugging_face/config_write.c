/* Our options to config.json. See hugging_face.h. Both ways of saying rotary positions are written: "rope_parameters"
 * for transformers 5, "rope_theta" and "rope_scaling" for those before. */
#include "models/hugging_face/hugging_face.h"
#include "models/transformer_internal.h"

#include <jansson.h>
#include <string.h>

static json_t *optional(int64_t value, bool given)
{
    return given ? json_integer(value) : json_null();
}

static json_t *gpt2(const ls_transformer_options *o)
{
    return json_pack("{s:[s], s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:f, s:f, s:f, s:f}", "architectures",
                     "GPT2LMHeadModel", "model_type", "gpt2", "n_embd", (json_int_t)o->width, "n_layer",
                     (json_int_t)o->layers, "n_head", (json_int_t)o->heads, "n_positions", (json_int_t)o->context,
                     "n_inner", (json_int_t)o->hidden, "activation_function", "gelu_new", "layer_norm_epsilon",
                     o->norm_eps, "resid_pdrop", o->dropout, "embd_pdrop", o->dropout, "attn_pdrop", 0.0);
}

/* Adds to an object what says the angles, besides the base. */
static void add_scaling(json_t *to, const ls_transformer_options *o)
{
    static const char *const kinds[] = {"default", "linear", "llama3"};
    json_object_set_new(to, "rope_type", json_string(kinds[o->rope_scaling]));
    if (o->rope_scaling)
        json_object_set_new(to, "factor", json_real(o->rope_factor));
    if (o->rope_scaling == 2) {
        json_object_set_new(to, "low_freq_factor", json_real(o->rope_low_freq_factor));
        json_object_set_new(to, "high_freq_factor", json_real(o->rope_high_freq_factor));
        json_object_set_new(to, "original_max_position_embeddings", json_integer(o->rope_original_context));
    }
}

static json_t *rotary(const ls_transformer_options *o, const char *type, const char *class)
{
    json_t *root = json_pack("{s:[s], s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:f, s:f}", "architectures", class,
                             "model_type", type, "hidden_size", (json_int_t)o->width, "intermediate_size",
                             (json_int_t)o->hidden, "num_hidden_layers", (json_int_t)o->layers, "num_attention_heads",
                             (json_int_t)o->heads, "num_key_value_heads", (json_int_t)o->kv_heads, "head_dim",
                             (json_int_t)o->head_width, "max_position_embeddings", (json_int_t)o->context, "hidden_act",
                             "silu", "rms_norm_eps", o->norm_eps, "rope_theta", o->rope_base);
    json_t *rope = json_pack("{s:f}", "rope_theta", o->rope_base);
    add_scaling(rope, o);
    json_object_set_new(root, "rope_parameters", rope);
    if (o->rope_scaling) {
        json_t *scaling = json_object();
        add_scaling(scaling, o);
        json_object_set_new(root, "rope_scaling", scaling);
    }
    return root;
}

static void add_window(json_t *root, const ls_transformer_options *o, bool qwen)
{
    json_object_set_new(root, "sliding_window", optional(o->window, o->window > 0));
    if (!qwen)
        return;
    json_object_set_new(root, "use_sliding_window", json_boolean(o->window > 0));
    json_object_set_new(root, "max_window_layers",
                        json_integer(o->window ? 0 : o->layers)); /* the window's first layer */
}

ls_status ls_hugging_face_write(const ls_transformer_options *o, const char *dtype, int32_t bos, int32_t eos,
                                char **text)
{
    json_t *root;
    *text = NULL;
    if (o->style == LS_STYLE_GPT2 && (o->window || o->kv_heads != o->heads || o->head_width * o->heads != o->width))
        return ls_fail(LS_ERECIPE, "a gpt2 there has neither a window, nor grouped queries, nor heads of another "
                                   "width; this model has (model.window, kv_heads, head_width)");
    if (o->qkv_bias && o->qk_norm)
        return ls_fail(
            LS_ERECIPE,
            "no architecture there has model.qkv_bias and model.qk_norm together: one is Qwen2's, the other Qwen3's");
    if (o->style == LS_STYLE_GPT2)
        root = gpt2(o);
    else if (o->qkv_bias)
        root = rotary(o, "qwen2", "Qwen2ForCausalLM");
    else if (o->qk_norm)
        root = rotary(o, "qwen3", "Qwen3ForCausalLM");
    else
        root = o->window ? rotary(o, "mistral", "MistralForCausalLM") : rotary(o, "llama", "LlamaForCausalLM");
    if (o->qkv_bias || o->qk_norm || o->window)
        add_window(root, o, o->qkv_bias || o->qk_norm);
    json_object_set_new(root, "vocab_size", json_integer(o->vocabulary));
    json_object_set_new(root, "tie_word_embeddings", json_boolean(o->tied));
    json_object_set_new(root, "initializer_range", json_real(o->init_std > 0 ? o->init_std : 0.02));
    json_object_set_new(root, "bos_token_id", optional(bos, bos >= 0));
    json_object_set_new(root, "eos_token_id", optional(eos, eos >= 0));
    json_object_set_new(root, "dtype", json_string(dtype));
    json_object_set_new(root, "torch_dtype", json_string(dtype));
    *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    return *text ? LS_OK : ls_fail(LS_EMEM, "no memory for config.json");
}
