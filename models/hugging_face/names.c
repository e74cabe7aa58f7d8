/* Names of tensors. See hugging_face.h. */
#include "models/hugging_face/hugging_face.h"
#include "models/transformer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What stands in front of a block's name, and behind which our own "blocks/N/" is. */
static const char gpt2_block[] = "transformer.h.", llama_block[] = "model.layers.";

typedef struct {
    const char *ours, *theirs;
    bool transposed;
    int part, parts; /* of a fused matrix: which one of how many */
} name_row;

static const name_row gpt2_names[] = {
    {"embedding/token/weight", "transformer.wte.weight", false, 0, 1},
    {"embedding/position/weight", "transformer.wpe.weight", false, 0, 1},
    {"final_norm/gain", "transformer.ln_f.weight", false, 0, 1},
    {"final_norm/bias", "transformer.ln_f.bias", false, 0, 1},
    {"head/weight", "lm_head.weight", false, 0, 1},
    {"attention_norm/gain", "ln_1.weight", false, 0, 1},
    {"attention_norm/bias", "ln_1.bias", false, 0, 1},
    {"attention/query/weight", "attn.c_attn.weight", true, 0, 3},
    {"attention/key/weight", "attn.c_attn.weight", true, 1, 3},
    {"attention/value/weight", "attn.c_attn.weight", true, 2, 3},
    {"attention/query/bias", "attn.c_attn.bias", false, 0, 3},
    {"attention/key/bias", "attn.c_attn.bias", false, 1, 3},
    {"attention/value/bias", "attn.c_attn.bias", false, 2, 3},
    {"attention/output/weight", "attn.c_proj.weight", true, 0, 1},
    {"attention/output/bias", "attn.c_proj.bias", false, 0, 1},
    {"mlp_norm/gain", "ln_2.weight", false, 0, 1},
    {"mlp_norm/bias", "ln_2.bias", false, 0, 1},
    {"mlp/up/weight", "mlp.c_fc.weight", true, 0, 1},
    {"mlp/up/bias", "mlp.c_fc.bias", false, 0, 1},
    {"mlp/down/weight", "mlp.c_proj.weight", true, 0, 1},
    {"mlp/down/bias", "mlp.c_proj.bias", false, 0, 1},
    {0},
};

static const name_row llama_names[] = {
    {"embedding/token/weight", "model.embed_tokens.weight", false, 0, 1},
    {"final_norm/gain", "model.norm.weight", false, 0, 1},
    {"head/weight", "lm_head.weight", false, 0, 1},
    {"attention_norm/gain", "input_layernorm.weight", false, 0, 1},
    {"attention/query/weight", "self_attn.q_proj.weight", false, 0, 1},
    {"attention/query/bias", "self_attn.q_proj.bias", false, 0, 1},
    {"attention/query_norm/gain", "self_attn.q_norm.weight", false, 0, 1},
    {"attention/key/weight", "self_attn.k_proj.weight", false, 0, 1},
    {"attention/key/bias", "self_attn.k_proj.bias", false, 0, 1},
    {"attention/key_norm/gain", "self_attn.k_norm.weight", false, 0, 1},
    {"attention/value/weight", "self_attn.v_proj.weight", false, 0, 1},
    {"attention/value/bias", "self_attn.v_proj.bias", false, 0, 1},
    {"attention/output/weight", "self_attn.o_proj.weight", false, 0, 1},
    {"mlp_norm/gain", "post_attention_layernorm.weight", false, 0, 1},
    {"mlp/gate/weight", "mlp.gate_proj.weight", false, 0, 1},
    {"mlp/up/weight", "mlp.up_proj.weight", false, 0, 1},
    {"mlp/down/weight", "mlp.down_proj.weight", false, 0, 1},
    {0},
};

/* The rest of a block's name behind `front` and the number, which must have no leading zero and end with end; NULL:
 * none. */
static const char *in_block(const char *name, const char *front, char end, int64_t layers, int *layer)
{
    const size_t length = strlen(front);
    char *rest;
    if (strncmp(name, front, length) || name[length] < '0' || name[length] > '9')
        return NULL;
    const long number = strtol(name + length, &rest, 10);
    if (*rest != end || number >= layers || (name[length] == '0' && rest != name + length + 1))
        return NULL;
    *layer = (int)number;
    return rest + 1;
}

static bool turned(const char *ours)
{
    return !strncmp(ours, "attention/query", 15) || !strncmp(ours, "attention/key", 13);
}

ls_status ls_hugging_face_place(const ls_transformer_options *o, const ls_parameter *p, ls_weight_place *place)
{
    int layer = -1;
    const char *rest = in_block(p->name, "blocks/", '/', o->layers, &layer);
    const char *ours = rest ? rest : p->name;
    const name_row *found = o->style == LS_STYLE_GPT2 ? gpt2_names : llama_names;
    while (found->ours && strcmp(found->ours, ours))
        found++;
    if (!found->ours)
        return ls_fail(LS_ENOTFOUND, "parameter %s has no name in Hugging Face's form of this model", p->name);
    *place = (ls_weight_place){.ndim = p->ndim, .transposed = found->transposed, .first = found->part * p->shape[0]};
    const int64_t rows = found->parts * p->shape[0], columns = p->ndim > 1 ? p->shape[1] : 1;
    place->shape[0] = found->transposed ? columns : rows;
    place->shape[1] = found->transposed ? rows : columns;
    if (o->rope_interleaved && o->style == LS_STYLE_LLAMA && turned(ours))
        place->turn = o->head_width;
    if (rest)
        snprintf(place->name, sizeof place->name, "%s%d.%s", o->style == LS_STYLE_GPT2 ? gpt2_block : llama_block,
                 layer, found->theirs);
    else
        snprintf(place->name, sizeof place->name, "%s", found->theirs);
    return LS_OK;
}

int64_t ls_weight_place_index(const ls_weight_place *place, int64_t row, int64_t column)
{
    if (place->turn) {
        const int64_t at = row % place->turn;
        row += at / 2 + (at % 2 ? place->turn / 2 : 0) - at;
    }
    row += place->first;
    return place->transposed ? column * place->shape[1] + row : row * place->shape[1] + column;
}

bool ls_hugging_face_ignored(const ls_transformer_options *o, const char *name, bool *tied_copy)
{
    static const char *const buffers[] = {"attn.bias", "attn.masked_bias", "self_attn.rotary_emb.inv_freq"};
    static const char front[] = "transformer.";
    const bool gpt2 = o->style == LS_STYLE_GPT2;
    int layer;
    *tied_copy = o->tied && !strcmp(name, "lm_head.weight");
    if (*tied_copy || (!gpt2 && !strcmp(name, "model.rotary_emb.inv_freq")))
        return true;
    const char *rest = in_block(name, gpt2 ? gpt2_block : llama_block, '.', o->layers, &layer);
    if (!rest && gpt2)
        rest = in_block(name, gpt2_block + strlen(front), '.', o->layers, &layer);
    for (size_t i = 0; rest && i < sizeof buffers / sizeof *buffers; i++)
        if (!strcmp(rest, buffers[i]))
            return gpt2 == (i < 2);
    return false;
}

const char *ls_hugging_face_short_name(const ls_transformer_options *o, const char *name)
{
    static const char front[] = "transformer.";
    const bool has = o->style == LS_STYLE_GPT2 && !strncmp(name, front, strlen(front));
    return has ? name + strlen(front) : NULL;
}
