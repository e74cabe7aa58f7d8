/* The transformer's insides, shared by its two forward passes, transformer.c (whole rows) and kv_cache.c (one token at a
 * time), and by the vision transformer (vit.c). All run the same block; what differs is where attention finds keys and
 * values, and what stands in front of the blocks and behind them. */
#pragma once
#include "models/transformer.h"

typedef struct {
    ls_parameter *attention_norm_gain, *attention_norm_bias;
    ls_parameter *query, *query_bias, *key, *key_bias, *value, *value_bias, *output, *output_bias;
    ls_parameter *query_norm_gain, *key_norm_gain; /* [head_width], of qk_norm */
    ls_parameter *mlp_norm_gain, *mlp_norm_bias;
    ls_parameter *gate, *up, *up_bias, *down, *down_bias; /* gate: llama only; biases: gpt2 only */
} ls_transformer_block;

struct ls_transformer {
    ls_transformer_options options; /* with 0s resolved */
    ls_parameter_list list, *into; /* `into` takes its parameters: its own list, or that of the one it is a reference of */
    const char *prefix;            /* of their names */
    ls_adapter *adapter;           /* [list.room], of the parameter at that place; NULL: it has none, or none are used */
    bool shared;                   /* but for this struct all is another's */
    ls_parameter *token, *position, *final_norm_gain, *final_norm_bias, *head;
    ls_parameter *slot; /* [1, D] what the id `vocabulary` begins as; NULL: there is none */
    ls_transformer_block *blocks;
    double *frequency; /* [head_width / 2] of rotary positions; NULL: none */
};

enum { LS_STYLE_GPT2, LS_STYLE_LLAMA, LS_STYLE_VIT /* GPT-2's with the exact form of GELU; not in a recipe */ };

/* A transformer without embeddings and head, whose list has room for `more` parameters beside those that
 * ls_transformer_add_blocks appends: blocks and final norm. Vocabulary and context are not looked at. */
ls_status ls_transformer_trunk(ls_transformer **trunk, const ls_transformer_options *options, int more);
void ls_transformer_add_blocks(ls_transformer *trunk);

/* How a block's attention is computed from its query, key and value rows [B*T, heads * d], after rotary positions. */
typedef ls_tensor *(*ls_attend)(void *context, ls_tape *tape, int layer, ls_tensor *q, ls_tensor *k, ls_tensor *v);

/* One pre-norm block on x [B*T, D]; positions [B*T]. */
ls_tensor *ls_transformer_run_block(const ls_transformer *model, ls_tape *tape, int layer, ls_tensor *x,
                                    const int32_t *positions, ls_attend attend, void *context);
/* Token (and, in GPT-2 style, position) embedding of n ids: [n, D]. */
ls_tensor *ls_transformer_embed(const ls_transformer *model, ls_tape *tape, int64_t n, const int32_t *ids, const int32_t *positions);
ls_tensor *ls_transformer_final_norm(const ls_transformer *model, ls_tape *tape, ls_tensor *x);
