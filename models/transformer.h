/* Transformer language model, one family by configuration.
 *
 *   gpt2   learned positions, LayerNorm with bias, GELU (tanh form) MLP, biases, tied head
 *          (Radford et al. 2019)
 *   llama  rotary positions, RMSNorm, SwiGLU MLP, grouped queries, no biases
 *          (Touvron et al. 2023; Ainslie et al. 2023; Shazeer 2020); by options also biases on queries, keys and
 *          values (Qwen2), normalised queries and keys (Qwen3), heads of any width, a sliding window (Mistral), scaled
 *          rotary frequencies (Llama 3.1)
 * Both pre-norm:  x += attention(norm(x));  x += mlp(norm(x));  logits = norm(x) W_head^T */
#pragma once
#include "base/option.h"
#include "models/lora.h"
#include "models/parameters.h"
#include "tensor/block_mask.h"
#include "tensor/ops.h"

typedef struct {
    ls_model_begin begin;
    int style; /* "gpt2|llama" */
    int64_t vocabulary, layers, width, heads, kv_heads /* 0: heads */, hidden /* 0: by style */, context;
    int64_t head_width;     /* 0: width / heads */
    int64_t window;         /* positions a query sees, itself included; 0: all before it */
    bool qkv_bias, qk_norm; /* llama style only: gpt2 has the biases and no norms */
    bool tied, sparse_embedding;
    bool slot; /* an input row of its own for tokens that are not known yet, under the id `vocabulary`: docs/lud.md */
    double dropout, rope_base, norm_eps, init_std;
    bool rope_interleaved; /* llama2.c's pairs (2j, 2j+1); false: Hugging Face's halves */
    int rope_scaling;      /* "none|linear|llama3"; models/rope.h */
    double rope_factor, rope_low_freq_factor, rope_high_freq_factor;
    int64_t rope_original_context;
    bool recompute; /* one recompute scope a block */
    ls_lora_options lora;  /* of the recipe's section `lora`; rank 0: none */
} ls_transformer_options;
extern const ls_option ls_transformer_option_rows[]; /* the recipe's `model` section for family transformer */

/* Puts in what 0s stand for (kv_heads, hidden, head_width, rotary factors); vocabulary and context may stay 0.
 * LS_ERECIPE: what does not fit together. */
ls_status ls_transformer_resolve(ls_transformer_options *options);

#define LS_SLOT_NAME "embedding/slot/weight" /* the parameter of ls_transformer_options.slot */

typedef struct ls_transformer ls_transformer;

/* Makes the parameters' descriptions (names, shapes, init); data is given later by ls_parameters_bind.
 * LS_ERECIPE: width not a multiple of heads, heads of kv_heads, ... */
ls_status ls_transformer_create(ls_transformer **model, const ls_transformer_options *options);
/* With room for `more` parameters of a task's own, which ls_transformer_add appends (as ls_parameter_list_add, behind the
 * network's prefix; the name is copied) and which are among ls_transformer_parameters. */
ls_status ls_transformer_create_with(ls_transformer **model, const ls_transformer_options *options, int more);
ls_parameter *ls_transformer_add(ls_transformer *model, int ndim, const int64_t *shape, double std, const char *name);
/* Two networks in one: the second is the first as it began, with neither gradients nor optimiser state. Without adapters (lora) it is a
 * frozen copy, whose parameters "reference/..." are among ls_transformer_parameters of the first; with them it is the first one's
 * own frozen weights, without the adapters. The first must outlive it, and has room for `more` parameters. */
ls_status ls_transformer_create_with_reference(ls_transformer **model, ls_transformer **reference, const ls_transformer_options *options, int more);
/* Another network whose parameters "PREFIX..." are among those of `host`: described behind what is there, as its own if it is to learn. The
 * host must outlive it and have room for ls_transformer_most_parameters. The prefix lives as long; lora is not looked at. */
ls_status ls_transformer_create_in(ls_transformer **model, ls_transformer *host, const ls_transformer_options *options, const char *prefix);
int ls_transformer_most_parameters(const ls_transformer_options *options);
void ls_transformer_free(ls_transformer *model);
int ls_transformer_parameters(ls_transformer *model, ls_parameter **parameters); /* array owned by the model */

/* Token rows [B, T]; positions NULL: 0..T-1; segments NULL: one a row. With `mask`, of T queries and keys, which lives until the
 * tape's reset, it alone says who sees whom (segments and the model's window are not looked at); NULL: causal. */
typedef struct {
    int64_t rows, tokens;
    const int32_t *ids, *positions, *segments;
    const ls_block_mask *mask;
} ls_token_rows;

/* Hidden states before the head, [B*T, D]: feed them with the head to ls_cross_entropy_sum. */
ls_tensor *ls_transformer_hidden(ls_transformer *model, ls_tape *tape, const ls_token_rows *rows);
ls_tensor *ls_transformer_head(ls_transformer *model, ls_tape *tape);                              /* [V, D] */
ls_tensor *ls_transformer_logits(ls_transformer *model, ls_tape *tape, const ls_token_rows *rows); /* [B*T, V] */
const ls_transformer_options *ls_transformer_config(const ls_transformer *model);
