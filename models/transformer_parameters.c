/* The transformer's options and parameters: what there is, how it is called, and how it begins.
 * Initial weights as GPT-2: normal with init_std, the projections that write to the residual stream divided by
 * sqrt(2 layers) (Radford et al. 2019, section 2.3). */
#include "models/rope.h"
#include "models/transformer_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(ls_transformer_options, field)
const ls_option ls_transformer_option_rows[] = {
    {"style", LS_OPTION_CHOICE, AT(style), 0, 0, 0, "llama", "gpt2|llama", "gpt2: learned positions, LayerNorm, GELU, biases; llama: rotary, RMSNorm, SwiGLU"},
    {"from", LS_OPTION_PATH, AT(begin.from), 0, 0, 0, NULL, NULL, "Hugging Face folder, run folder or imported folder whose weights are the initial ones; it also says what the network is, so the keys of the network may be left out"},
    {"from_ema", LS_OPTION_BOOL, AT(begin.from_ema), 0, 0, 0, "false", NULL, "take the averaged weights of `from`"},
    {"vocabulary", LS_OPTION_INT, AT(vocabulary), 0, 0, 1e7, "0", NULL, "token ids; 0: the data's"},
    {"layers", LS_OPTION_INT, AT(layers), 0, 1, 1000, "4", NULL, "blocks"},
    {"width", LS_OPTION_INT, AT(width), 0, 1, 1e6, "256", NULL, "of the residual stream"},
    {"heads", LS_OPTION_INT, AT(heads), 0, 1, 1e4, "4", NULL, "query heads"},
    {"kv_heads", LS_OPTION_INT, AT(kv_heads), 0, 0, 1e4, "0", NULL, "key/value heads (grouped queries); 0: heads"},
    {"head_width", LS_OPTION_INT, AT(head_width), 0, 0, 1e5, "0", NULL, "of each head; 0: width / heads"},
    {"qkv_bias", LS_OPTION_BOOL, AT(qkv_bias), 0, 0, 0, "false", NULL, "llama: biases on queries, keys and values (Qwen2); gpt2 has them always"},
    {"qk_norm", LS_OPTION_BOOL, AT(qk_norm), 0, 0, 0, "false", NULL, "llama: RMSNorm of each head's queries and keys (Qwen3)"},
    {"window", LS_OPTION_INT, AT(window), 0, 0, 1e7, "0", NULL, "positions that attention looks back on, its own included (Mistral); 0: all"},
    {"hidden", LS_OPTION_INT, AT(hidden), 0, 0, 1e7, "0", NULL, "of the MLP; 0: 4 width (gpt2), 8/3 width rounded up to 32 (llama)"},
    {"context", LS_OPTION_INT, AT(context), 0, 0, 1e7, "0", NULL, "greatest number of positions; 0: batch.tokens"},
    {"tied", LS_OPTION_BOOL, AT(tied), 0, 0, 0, "true", NULL, "output head shared with the token embedding"},
    {"slot", LS_OPTION_BOOL, AT(slot), 0, 0, 0, "false", NULL, "an input row of its own for tokens not known yet: what task lud trains and generate --decode lud needs"},
    {"sparse_embedding", LS_OPTION_BOOL, AT(sparse_embedding), 0, 0, 0, "false", NULL, "update only the rows of the token embedding that the step's tokens have; needs tied: false"},
    {"dropout", LS_OPTION_FLOAT, AT(dropout), 0, 0, 0.99, "0", NULL, "of embeddings and of each block's two outputs"},
    {"rope_base", LS_OPTION_FLOAT, AT(rope_base), 0, 1, 1e12, "10000", NULL, "base of rotary angles"},
    {"rope_scaling", LS_OPTION_CHOICE, AT(rope_scaling), 0, 0, 0, "none", "none|linear|llama3", "rotary angles for a longer context: all divided by rope_factor, or the slow ones (Llama 3.1)"},
    {"rope_factor", LS_OPTION_FLOAT, AT(rope_factor), 0, 1, 1e6, "1", NULL, "how many times longer the context became"},
    {"rope_low_freq_factor", LS_OPTION_FLOAT, AT(rope_low_freq_factor), 0, 0, 1e6, "1", NULL, "llama3: waves longer than rope_original_context over this are slowed by rope_factor"},
    {"rope_high_freq_factor", LS_OPTION_FLOAT, AT(rope_high_freq_factor), 0, 0, 1e6, "4", NULL, "llama3: waves shorter than rope_original_context over this stay"},
    {"rope_original_context", LS_OPTION_INT, AT(rope_original_context), 0, 1, 1e9, "8192", NULL, "llama3: positions before the context became longer"},
    {"rope_interleaved", LS_OPTION_BOOL, AT(rope_interleaved), 0, 0, 0, "false", NULL, "turn pairs (2j, 2j+1) as llama2.c, not halves as Hugging Face"},
    {"norm_eps", LS_OPTION_FLOAT, AT(norm_eps), 0, 0, 1, "1e-5", NULL, "added under the root of norms"},
    {"init_std", LS_OPTION_FLOAT, AT(init_std), 0, 0, 10, "0.02", NULL, "standard deviation of initial weights"},
    {"recompute", LS_OPTION_BOOL, AT(recompute), LS_OPTION_FREE, 0, 0, "false", NULL, "recompute each block in backward instead of keeping its activations"},
    {0},
};
#undef AT

enum { PER_BLOCK = 16, FINAL_NORM = 2, EMBEDDINGS_AND_HEAD = 4 /* and the slot */ };

ls_status ls_transformer_resolve(ls_transformer_options *o)
{
    if (!o->kv_heads)
        o->kv_heads = o->heads;
    if (!o->hidden)
        o->hidden = o->style == LS_STYLE_LLAMA ? (8 * o->width / 3 + 31) / 32 * 32 : 4 * o->width;
    if (o->layers < 1 || o->width < 1 || o->heads < 1 || (!o->head_width && o->width % o->heads))
        return ls_fail(LS_ERECIPE, "model.width is %lld, not a multiple of model.heads = %lld; give model.head_width", (long long)o->width, (long long)o->heads);
    if (!o->head_width)
        o->head_width = o->width / o->heads;
    ls_rope_resolve(o);
    if (o->heads % o->kv_heads)
        return ls_fail(LS_ERECIPE, "model.heads is %lld, not a multiple of model.kv_heads = %lld", (long long)o->heads, (long long)o->kv_heads);
    if (o->style == LS_STYLE_LLAMA && o->head_width % 2)
        return ls_fail(LS_ERECIPE, "a head is %lld wide; rotary positions turn pairs, so width / heads (or head_width) must be even", (long long)o->head_width);
    if (o->style != LS_STYLE_LLAMA && (o->qkv_bias || o->qk_norm || o->rope_scaling))
        return ls_fail(LS_ERECIPE, "model.qkv_bias, model.qk_norm and model.rope_scaling belong to style: llama; gpt2 has its biases anyway");
    return o->style == LS_STYLE_LLAMA ? ls_rope_check(o) : LS_OK;
}

/* Appends one parameter; columns 0: one dimension. */
static ls_parameter *add(ls_transformer *model, int layer, const char *name, int64_t rows, int64_t columns, double std)
{
    const int ndim = columns ? 2 : 1;
    const int64_t shape[] = {rows, columns};
    return layer < 0 ? ls_parameter_list_add(model->into, ndim, shape, std, "%s%s", model->prefix, name)
                     : ls_parameter_list_add(model->into, ndim, shape, std, "%sblocks/%d/%s", model->prefix, layer, name);
}

static void add_block(ls_transformer *model, int i)
{
    const ls_transformer_options *o = &model->options;
    const int64_t D = o->width, d = o->head_width, q = o->heads * d, kv = o->kv_heads * d, F = o->hidden;
    const double std = o->init_std, residual = std / sqrt(2.0 * (double)o->layers);
    const bool llama = o->style == LS_STYLE_LLAMA, bias = !llama || o->qkv_bias;
    ls_transformer_block *b = &model->blocks[i];
    b->attention_norm_gain = add(model, i, "attention_norm/gain", D, 0, -1);
    b->attention_norm_bias = llama ? NULL : add(model, i, "attention_norm/bias", D, 0, 0);
    b->query = add(model, i, "attention/query/weight", q, D, std);
    b->query_bias = bias ? add(model, i, "attention/query/bias", q, 0, 0) : NULL;
    b->key = add(model, i, "attention/key/weight", kv, D, std);
    b->key_bias = bias ? add(model, i, "attention/key/bias", kv, 0, 0) : NULL;
    b->value = add(model, i, "attention/value/weight", kv, D, std);
    b->value_bias = bias ? add(model, i, "attention/value/bias", kv, 0, 0) : NULL;
    b->query_norm_gain = o->qk_norm ? add(model, i, "attention/query_norm/gain", d, 0, -1) : NULL;
    b->key_norm_gain = o->qk_norm ? add(model, i, "attention/key_norm/gain", d, 0, -1) : NULL;
    b->output = add(model, i, "attention/output/weight", D, q, residual);
    b->output_bias = llama ? NULL : add(model, i, "attention/output/bias", D, 0, 0);
    b->mlp_norm_gain = add(model, i, "mlp_norm/gain", D, 0, -1);
    b->mlp_norm_bias = llama ? NULL : add(model, i, "mlp_norm/bias", D, 0, 0);
    b->gate = llama ? add(model, i, "mlp/gate/weight", F, D, std) : NULL;
    b->up = add(model, i, "mlp/up/weight", F, D, std);
    b->up_bias = llama ? NULL : add(model, i, "mlp/up/bias", F, 0, 0);
    b->down = add(model, i, "mlp/down/weight", D, F, residual);
    b->down_bias = llama ? NULL : add(model, i, "mlp/down/bias", D, 0, 0);
}

ls_status ls_transformer_trunk(ls_transformer **out, const ls_transformer_options *options, int more)
{
    *out = NULL;
    ls_transformer *model = calloc(1, sizeof *model);
    if (!model)
        return ls_fail(LS_EMEM, "no memory for the model's description");
    model->options = *options;
    model->into = &model->list;
    model->prefix = "";
    ls_status status = ls_transformer_resolve(&model->options);
    if (status == LS_OK)
        status = ls_parameter_list_make(&model->list, (int)model->options.layers * PER_BLOCK + FINAL_NORM + more);
    if (status == LS_OK && !(model->blocks = calloc((size_t)model->options.layers, sizeof *model->blocks)))
        status = ls_fail(LS_EMEM, "no memory for %lld blocks", (long long)model->options.layers);
    if (status == LS_OK && model->options.style == LS_STYLE_LLAMA)
        status = ls_rope_frequencies(&model->options, &model->frequency);
    if (status == LS_OK)
        *out = model;
    else
        ls_transformer_free(model);
    return status;
}

void ls_transformer_add_blocks(ls_transformer *model)
{
    const ls_transformer_options *o = &model->options;
    for (int i = 0; i < o->layers; i++)
        add_block(model, i);
    model->final_norm_gain = add(model, -1, "final_norm/gain", o->width, 0, -1);
    model->final_norm_bias = o->style == LS_STYLE_LLAMA ? NULL : add(model, -1, "final_norm/bias", o->width, 0, 0);
}

ls_status ls_transformer_create(ls_transformer **out, const ls_transformer_options *options)
{
    return ls_transformer_create_with(out, options, 0);
}

/* Appends all parameters, in the order that fixes their numbers. */
static void describe(ls_transformer *model)
{
    const ls_transformer_options *o = &model->options;
    model->token = add(model, -1, "embedding/token/weight", o->vocabulary, o->width, o->init_std);
    model->token->sparse_rows = o->sparse_embedding;
    model->position = o->style == LS_STYLE_GPT2 ? add(model, -1, "embedding/position/weight", o->context, o->width, o->init_std) : NULL;
    ls_transformer_add_blocks(model);
    model->head = o->tied ? NULL : add(model, -1, "head/weight", o->vocabulary, o->width, o->init_std);
    model->slot = o->slot ? add(model, -1, LS_SLOT_NAME, 1, o->width, o->init_std) : NULL;
    if (model->slot)
        model->slot->may_be_new = true;
}

int ls_transformer_most_parameters(const ls_transformer_options *options)
{
    return (int)options->layers * PER_BLOCK + FINAL_NORM + EMBEDDINGS_AND_HEAD;
}

/* Everything but the slot is frozen; two matrices for each chosen weight are appended, which learn. */
static ls_status add_adapters(ls_transformer *model)
{
    const ls_lora_options *lora = &model->options.lora;
    const int own = model->list.count;
    model->adapter = calloc((size_t)model->list.room, sizeof *model->adapter);
    if (!model->adapter)
        return ls_fail(LS_EMEM, "no memory for the adapters of %d parameters", own);
    for (int i = 0; i < own; i++) {
        ls_parameter *w = &model->list.all[i];
        char layer[64];
        int block, end = 0;
        w->frozen = w != model->slot;
        if (sscanf(w->name, "blocks/%d/%n", &block, &end) != 1 || !end || w->ndim != 2)
            continue;
        snprintf(layer, sizeof layer, "%.*s", (int)(strlen(w->name) - strlen("/weight")) - end, w->name + end);
        if (!ls_lora_has(lora, layer))
            continue;
        const int64_t in = w->shape[1], out = w->shape[0], a[] = {lora->rank, in}, b[] = {out, lora->rank};
        ls_parameter *down = ls_parameter_list_add(&model->list, 2, a, 1 / sqrt(3 * (double)in), "blocks/%d/%s/lora_a", block, layer);
        ls_parameter *up = ls_parameter_list_add(&model->list, 2, b, 0, "blocks/%d/%s/lora_b", block, layer);
        down->always_new = up->always_new = true;
        model->adapter[i] = (ls_adapter){down, up};
    }
    if (model->list.count == own)
        return ls_fail(LS_ERECIPE, "lora.targets \"%s\" names no layer of this model", lora->targets);
    return LS_OK;
}

static int most_adapters(const ls_transformer_options *options)
{
    return options->lora.rank ? 2 * 7 * (int)options->layers : 0;
}

ls_status ls_transformer_create_with(ls_transformer **out, const ls_transformer_options *options, int more)
{
    *out = NULL;
    if (options->vocabulary < 1 || options->context < 1)
        return ls_fail(LS_ERECIPE, "model.vocabulary is %lld and model.context %lld: both must be at least 1",
                       (long long)options->vocabulary, (long long)options->context);
    if (options->sparse_embedding && options->tied)
        return ls_fail(LS_ERECIPE, "model.sparse_embedding needs model.tied: false; a head shared with the token embedding gives every row a gradient");
    ls_transformer *model;
    ls_status status = options->lora.rank ? ls_lora_check(&options->lora) : LS_OK;
    if (status == LS_OK)
        status = ls_transformer_trunk(&model, options, EMBEDDINGS_AND_HEAD + most_adapters(options) + more);
    if (status != LS_OK)
        return status;
    describe(model);
    if (options->lora.rank)
        status = add_adapters(model);
    if (status == LS_OK)
        *out = model;
    else
        ls_transformer_free(model);
    return status;
}

/* The same weights, used as they are. */
static ls_status without_adapters(const ls_transformer *model, ls_transformer **out)
{
    ls_transformer *plain = malloc(sizeof *plain);
    if (!plain)
        return ls_fail(LS_EMEM, "no memory for the model's description");
    *plain = *model;
    plain->adapter = NULL;
    plain->shared = true;
    *out = plain;
    return LS_OK;
}

ls_status ls_transformer_create_in(ls_transformer **model, ls_transformer *host, const ls_transformer_options *options, const char *prefix)
{
    const ls_status status = ls_transformer_trunk(model, options, 0);
    if (status != LS_OK)
        return status;
    (*model)->into = &host->list;
    (*model)->prefix = prefix;
    describe(*model);
    return LS_OK;
}

ls_status ls_transformer_create_with_reference(ls_transformer **model, ls_transformer **reference, const ls_transformer_options *options, int more)
{
    *reference = NULL;
    ls_status status = ls_transformer_create_with(model, options, more + (options->lora.rank ? 0 : ls_transformer_most_parameters(options)));
    if (status == LS_OK && options->lora.rank)
        return without_adapters(*model, reference);
    ls_parameter_list *list = &(*model)->list;
    const int own = status == LS_OK ? list->count : 0;
    if (status == LS_OK)
        status = ls_transformer_create_in(reference, *model, options, "reference/");
    if (status != LS_OK)
        return status;
    for (int i = own; i < list->count; i++) {
        list->all[i].copy_of = &list->all[i - own];
        list->all[i].frozen = true;
    }
    return LS_OK;
}

ls_parameter *ls_transformer_add(ls_transformer *model, int ndim, const int64_t *shape, double std, const char *name)
{
    return ls_parameter_list_add(model->into, ndim, shape, std, "%s%s", model->prefix, name);
}

void ls_transformer_free(ls_transformer *model)
{
    if (!model)
        return;
    if (model->shared) {
        free(model);
        return;
    }
    ls_parameter_list_free(&model->list);
    free(model->adapter);
    free(model->blocks);
    free(model->frequency);
    free(model);
}

int ls_transformer_parameters(ls_transformer *model, ls_parameter **parameters)
{
    *parameters = model->list.all;
    return model->list.count;
}
