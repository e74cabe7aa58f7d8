/* Low-rank adaptation (Hu et al. 2021): the weights W of chosen linear layers stay as they are, and each gets a sum of
 * rank r beside it that learns, y = x W^T + (alpha / r) dropout(x) A^T B^T          A [r, in] normal, B [out, r] zeros
 * at first, so y begins unchanged All other parameters are frozen: no gradients, no moments, no exchange. In a
 * checkpoint the two stand beside their weight
 * ("model/blocks/0/attention/query/lora_a", "lora_b"); "lora/scale" is alpha / r, so that readers can merge them
 * (ls_checkpoint_read_weight). A begins with the deviation of PEFT's, 1 / sqrt(3 in). */
#pragma once
#include "base/option.h"
#include "tensor/ops.h"

typedef struct {
    int64_t rank; /* 0: no adapters */
    double alpha;
    const char *targets; /* "attention|mlp|all" or names, "query,value" */
    double dropout;
} ls_lora_options;
extern const ls_option ls_lora_option_rows[]; /* the recipe's section `lora` */

typedef struct {
    const ls_parameter *a, *b; /* NULL: this weight has none */
} ls_adapter;

/* alpha / rank. */
double ls_lora_scale(const ls_lora_options *options);
/* LS_ERECIPE: a target that is none of query, key, value, output, gate, up, down, attention, mlp, all. */
ls_status ls_lora_check(const ls_lora_options *options);
/* Whether the layer "attention/query" is among the targets. */
bool ls_lora_has(const ls_lora_options *options, const char *layer);
/* The adapter's term for x [n, in]: [n, out]. */
ls_tensor *ls_lora_term(const ls_lora_options *options, ls_tape *tape, const ls_adapter *adapter, ls_tensor *x);
