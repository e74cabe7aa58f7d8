/* Forward pass of the transformer, in both styles. Reads like the papers: transformer.h names them. */
#include "models/transformer.h"
#include "models/transformer_internal.h"

static ls_tensor *use(ls_tape *tape, const ls_parameter *parameter)
{
    return parameter ? ls_use(tape, parameter) : NULL;
}

static ls_tensor *norm(const ls_transformer *model, ls_tape *tape, ls_tensor *x, const ls_parameter *gain, const ls_parameter *bias)
{
    const double eps = model->options.norm_eps;
    return model->options.style == LS_STYLE_LLAMA ? ls_rms_norm(tape, x, use(tape, gain), eps)
                                                  : ls_layer_norm(tape, x, use(tape, gain), use(tape, bias), eps);
}

static ls_tensor *activated(ls_tape *tape, ls_tensor *x, ls_activation activation)
{
    switch (activation) {
    case LS_ACT_SILU: return ls_silu(tape, x);
    case LS_ACT_GELU: return ls_gelu(tape, x);
    case LS_ACT_GELU_TANH: return ls_gelu_tanh(tape, x);
    default: return x;
    }
}

/* With low-rank adapters (lora.h) where the weight has some. */
static ls_tensor *linear(const ls_transformer *model, ls_tape *tape, ls_tensor *x, const ls_parameter *weight, const ls_parameter *bias,
                         ls_activation activation)
{
    const ls_adapter *adapter = model->adapter ? &model->adapter[weight - model->list.all] : NULL;
    if (!adapter || !adapter->a)
        return ls_linear(tape, x, use(tape, weight), use(tape, bias), activation);
    ls_tensor *y = ls_linear(tape, x, use(tape, weight), use(tape, bias), LS_ACT_NONE);
    return activated(tape, ls_add(tape, y, ls_lora_term(&model->options.lora, tape, adapter, x)), activation);
}

/* x [n, heads * d]: each head normalised, with a gain (Henry et al. 2020), and turned by its position (Su et al. 2021). */
static ls_tensor *turn(const ls_transformer *model, ls_tape *tape, ls_tensor *x, int64_t heads, const ls_parameter *gain,
                       const int32_t *positions)
{
    const ls_transformer_options *o = &model->options;
    const int64_t n = x->shape[0], d = o->head_width;
    x = ls_reshape(tape, x, LS_SHAPE(1, n, heads, d));
    if (gain)
        x = ls_rms_norm(tape, x, ls_use(tape, gain), o->norm_eps);
    x = ls_rotary_by(tape, x, positions, model->frequency, o->rope_interleaved);
    return ls_reshape(tape, x, LS_SHAPE(n, heads * d));
}

static ls_tensor *attention_part(const ls_transformer *model, ls_tape *tape, int layer, ls_tensor *x, const int32_t *positions,
                                 ls_attend attend, void *context)
{
    const ls_transformer_options *o = &model->options;
    const ls_transformer_block *b = &model->blocks[layer];
    ls_tensor *h = norm(model, tape, x, b->attention_norm_gain, b->attention_norm_bias);
    ls_tensor *q = linear(model, tape, h, b->query, b->query_bias, LS_ACT_NONE);
    ls_tensor *k = linear(model, tape, h, b->key, b->key_bias, LS_ACT_NONE);
    ls_tensor *v = linear(model, tape, h, b->value, b->value_bias, LS_ACT_NONE);
    ls_let_go(tape, h);
    if (o->style == LS_STYLE_LLAMA) {
        q = turn(model, tape, q, o->heads, b->query_norm_gain, positions);
        k = turn(model, tape, k, o->kv_heads, b->key_norm_gain, positions);
    }
    h = attend(context, tape, layer, q, k, v);
    h = linear(model, tape, h, b->output, b->output_bias, LS_ACT_NONE);
    return ls_dropout(tape, h, o->dropout);
}

static ls_tensor *mlp_part(const ls_transformer *model, ls_tape *tape, int layer, ls_tensor *x)
{
    const ls_transformer_block *b = &model->blocks[layer];
    ls_tensor *h = norm(model, tape, x, b->mlp_norm_gain, b->mlp_norm_bias), *inner;
    if (model->options.style == LS_STYLE_LLAMA) {
        ls_tensor *up = linear(model, tape, h, b->up, NULL, LS_ACT_NONE); /* first: the order of the sums in h's gradient */
        inner = ls_gated(tape, LS_ACT_SILU, linear(model, tape, h, b->gate, NULL, LS_ACT_NONE), up);
    } else {
        inner = linear(model, tape, h, b->up, b->up_bias, model->options.style == LS_STYLE_VIT ? LS_ACT_GELU : LS_ACT_GELU_TANH);
    }
    ls_let_go(tape, h);
    h = linear(model, tape, inner, b->down, b->down_bias, LS_ACT_NONE);
    ls_let_go(tape, inner);
    return ls_dropout(tape, h, model->options.dropout);
}

ls_tensor *ls_transformer_run_block(const ls_transformer *model, ls_tape *tape, int layer, ls_tensor *x,
                                    const int32_t *positions, ls_attend attend, void *context)
{
    x = ls_add_in_place(tape, x, attention_part(model, tape, layer, x, positions, attend, context));
    return ls_add_in_place(tape, x, mlp_part(model, tape, layer, x));
}

/* Tokens by their rows, and where an id is `vocabulary`, the slot's: [n, D]. The slot has no row in the head, so it is never
 * predicted. */
static ls_tensor *embed_with_slots(const ls_transformer *model, ls_tape *tape, int64_t n, const int32_t *ids)
{
    const int32_t slot = (int32_t)model->options.vocabulary;
    ls_arena *arena = ls_tape_arena(tape);
    int32_t *known = ls_arena_array(arena, int32_t, n), *from = ls_arena_array(arena, int32_t, n), *zeros = ls_arena_array(arena, int32_t, n);
    int64_t tokens = 0;
    if (!known || !from || !zeros) {
        ls_tape_raise(tape, LS_EMEM, "the arena has no room for %lld ids", (long long)n);
        return ls_use(tape, model->token); /* harmless after an error */
    }
    for (int64_t i = 0; i < n; i++)
        if (ids[i] != slot)
            known[tokens++] = ids[i];
    const int64_t slots = n - tokens;
    for (int64_t i = 0, t = 0, s = 0; i < n; i++) {
        from[i] = (int32_t)(ids[i] == slot ? tokens + s++ : t++);
        zeros[i] = 0;
    }
    if (!slots)
        return ls_embedding(tape, ls_use(tape, model->token), ids, LS_SHAPE(n));
    ls_tensor *rows = ls_embedding(tape, ls_use(tape, model->slot), zeros, LS_SHAPE(slots));
    if (tokens) {
        ls_tensor *const both[] = {ls_embedding(tape, ls_use(tape, model->token), known, LS_SHAPE(tokens)), rows};
        rows = ls_concat(tape, 2, both, 0);
    }
    return ls_gather(tape, rows, n, from);
}

ls_tensor *ls_transformer_embed(const ls_transformer *model, ls_tape *tape, int64_t n, const int32_t *ids, const int32_t *positions)
{
    ls_tensor *x = model->slot ? embed_with_slots(model, tape, n, ids) : ls_embedding(tape, ls_use(tape, model->token), ids, LS_SHAPE(n));
    if (model->position)
        x = ls_add(tape, x, ls_embedding(tape, ls_use(tape, model->position), positions, LS_SHAPE(n)));
    return ls_dropout(tape, x, model->options.dropout);
}

ls_tensor *ls_transformer_final_norm(const ls_transformer *model, ls_tape *tape, ls_tensor *x)
{
    return norm(model, tape, x, model->final_norm_gain, model->final_norm_bias);
}

/* What a block needs besides x; copied by the recompute scope, which needs it when the caller's rows are gone. */
typedef struct {
    const ls_transformer *model;
    ls_token_rows rows;
    const int32_t *positions;
    int layer;
} block_context;

static ls_tensor *attend_rows(void *context, ls_tape *tape, int layer, ls_tensor *q, ls_tensor *k, ls_tensor *v)
{
    (void)layer;
    const block_context *c = context;
    const ls_transformer_options *o = &c->model->options;
    const int64_t B = c->rows.rows, T = c->rows.tokens, d = o->head_width;
    q = ls_reshape(tape, q, LS_SHAPE(B, T, o->heads, d));
    k = ls_reshape(tape, k, LS_SHAPE(B, T, o->kv_heads, d));
    v = ls_reshape(tape, v, LS_SHAPE(B, T, o->kv_heads, d));
    ls_tensor *h = c->rows.mask ? ls_masked_attention(tape, q, k, v, c->rows.mask)
                                 : ls_window_attention(tape, q, k, v, o->window, c->rows.segments);
    return ls_reshape(tape, h, LS_SHAPE(B * T, o->heads * d));
}

static ls_tensor *run_block(void *context, ls_tape *tape, ls_tensor *x)
{
    block_context *c = context;
    return ls_transformer_run_block(c->model, tape, c->layer, x, c->positions, attend_rows, c);
}

/* 0..T-1 in every row. */
static const int32_t *counted_positions(ls_tape *tape, const ls_token_rows *rows)
{
    int32_t *positions = ls_arena_array(ls_tape_arena(tape), int32_t, rows->rows * rows->tokens);
    for (int64_t i = 0; positions && i < rows->rows * rows->tokens; i++)
        positions[i] = (int32_t)(i % rows->tokens);
    return positions;
}

ls_tensor *ls_transformer_hidden(ls_transformer *model, ls_tape *tape, const ls_token_rows *rows)
{
    block_context c = {.model = model, .rows = *rows, .positions = rows->positions};
    if (!c.positions)
        c.positions = counted_positions(tape, rows);
    if (!c.positions) {
        ls_tape_raise(tape, LS_EMEM, "the arena has no room for %lld positions", (long long)(rows->rows * rows->tokens));
        return ls_use(tape, model->token); /* harmless after an error */
    }
    ls_tensor *x = ls_transformer_embed(model, tape, rows->rows * rows->tokens, rows->ids, c.positions); /* [B*T, D] */
    for (c.layer = 0; c.layer < model->options.layers; c.layer++)
        x = model->options.recompute ? ls_recompute(tape, run_block, &c, sizeof c, x) : run_block(&c, tape, x);
    return ls_transformer_final_norm(model, tape, x);
}

ls_tensor *ls_transformer_head(ls_transformer *model, ls_tape *tape)
{
    return ls_use(tape, model->head ? model->head : model->token);
}

ls_tensor *ls_transformer_logits(ls_transformer *model, ls_tape *tape, const ls_token_rows *rows)
{
    ls_tensor *hidden = ls_transformer_hidden(model, tape, rows);
    return ls_linear(tape, hidden, ls_transformer_head(model, tape), NULL, LS_ACT_NONE);
}

const ls_transformer_options *ls_transformer_config(const ls_transformer *model)
{
    return &model->options;
}
