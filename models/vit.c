/* Vision transformer. See vit.h. The blocks are the language model's (transformer_internal.h).
 * Initial weights: matrices normal with variance 1 / inputs (LeCun et al. 1998), which suits any width, so tokens begin
 * with a deviation near 1; class token and positions with 0.5, beside which the usual 0.02 would not be seen for many steps
 * (300 digits, 100 steps: 0.71 to 0.77 of others right with 0.2, 0.77 to 0.84 with 0.5); or all with init_std. Biases 0.
 * Class token and positions are not decayed. */
#include "models/vit.h"
#include "models/transformer_internal.h"
#include "tensor/ops_image.h"

#include <math.h>
#include <stdlib.h>

#define AT(field) offsetof(ls_vit_options, field)
const ls_option ls_vit_option_rows[] = {
    {"family", LS_OPTION_STRING, AT(begin.family), 0, 0, 0, "vit", NULL, "vit: a vision transformer"},
    {"from", LS_OPTION_PATH, AT(begin.from), 0, 0, 0, NULL, NULL, "run folder whose weights are the initial ones"},
    {"from_ema", LS_OPTION_BOOL, AT(begin.from_ema), 0, 0, 0, "false", NULL, "take the averaged weights of `from`"},
    {"patch", LS_OPTION_INT, AT(patch), 0, 1, 16384, "4", NULL, "side of the squares that become tokens, in pixels"},
    {"layers", LS_OPTION_INT, AT(layers), 0, 1, 1000, "6", NULL, "blocks"},
    {"width", LS_OPTION_INT, AT(width), 0, 1, 1e6, "128", NULL, "of a token"},
    {"heads", LS_OPTION_INT, AT(heads), 0, 1, 1e4, "4", NULL, "attention heads"},
    {"hidden", LS_OPTION_INT, AT(hidden), 0, 0, 1e7, "0", NULL, "of the MLP; 0: 4 width"},
    {"pool", LS_OPTION_CHOICE, AT(pool), 0, 0, 0, "class", "class|mean", "what the head reads: a learnt class token, or the mean of all tokens"},
    {"dropout", LS_OPTION_FLOAT, AT(dropout), 0, 0, 0.99, "0", NULL, "of the tokens and of each block's two outputs"},
    {"norm_eps", LS_OPTION_FLOAT, AT(norm_eps), 0, 0, 1, "1e-6", NULL, "added under the root of norms"},
    {"init_std", LS_OPTION_FLOAT, AT(init_std), 0, 0, 10, "0", NULL, "standard deviation of initial weights; 0: of matrices 1 / sqrt(inputs), of places 0.5"},
    {"recompute", LS_OPTION_BOOL, AT(recompute), LS_OPTION_FREE, 0, 0, "false", NULL, "recompute each block in backward instead of keeping its activations"},
    {0},
};
#undef AT

enum { POOL_CLASS, POOL_MEAN };

typedef struct {
    ls_vit_options options;
    ls_classifier_shape shape;
    int64_t tokens; /* with the class token */
    ls_transformer *trunk;
    ls_parameter *patch, *patch_bias, *class_token, *position, *head, *head_bias;
} vit;

static void vit_free(void *self)
{
    vit *model = self;
    if (!model)
        return;
    ls_transformer_free(model->trunk);
    free(model);
}

static ls_status check(const ls_vit_options *o, const ls_classifier_shape *shape)
{
    if (o->patch < 1 || shape->height % o->patch || shape->width % o->patch)
        return ls_fail(LS_ERECIPE, "images of %lld x %lld pixels do not divide into squares of model.patch = %lld; take a divisor of both sides, or pack images of another size",
                       (long long)shape->height, (long long)shape->width, (long long)o->patch);
    return LS_OK;
}

/* How what is not a vector begins, and whether it is decayed. */
static void settle(const vit *model, ls_parameter *p)
{
    if (p->ndim < 2)
        return;
    const bool added = p == model->position || p == model->class_token;
    const double std = model->options.init_std, inputs = (double)(p->count / p->shape[0]);
    p->no_decay = added;
    p->init.kind = LS_INIT_NORMAL;
    p->init.std = std > 0 ? std : added ? 0.5 : 1 / sqrt(inputs);
}

static ls_status add_parameters(vit *model)
{
    const ls_vit_options *o = &model->options;
    const ls_transformer_options trunk = {.style = LS_STYLE_VIT, .layers = o->layers, .width = o->width, .heads = o->heads, .hidden = o->hidden,
                                          .dropout = o->dropout, .norm_eps = o->norm_eps};
    const ls_status status = ls_transformer_trunk(&model->trunk, &trunk, 6);
    if (status != LS_OK)
        return status;
    ls_parameter_list *list = &model->trunk->list;
    model->patch = ls_parameter_list_add(list, LS_SHAPE(o->width, o->patch, o->patch, model->shape.channels), 0, "patch/weight");
    model->patch_bias = ls_parameter_list_add(list, LS_SHAPE(o->width), 0, "patch/bias");
    if (o->pool == POOL_CLASS)
        model->class_token = ls_parameter_list_add(list, LS_SHAPE(1, o->width), 0, "class_token");
    model->position = ls_parameter_list_add(list, LS_SHAPE(model->tokens, o->width), 0, "position");
    ls_transformer_add_blocks(model->trunk);
    model->head = ls_parameter_list_add(list, LS_SHAPE(model->shape.classes, o->width), 0, "head/weight");
    model->head_bias = ls_parameter_list_add(list, LS_SHAPE(model->shape.classes), 0, "head/bias");
    for (int i = 0; i < list->count; i++)
        settle(model, &list->all[i]);
    return LS_OK;
}

static ls_status vit_create(void **out, const void *options, const ls_classifier_shape *shape)
{
    *out = NULL;
    ls_status status = check(options, shape);
    if (status != LS_OK)
        return status;
    vit *model = calloc(1, sizeof *model);
    if (!model)
        return ls_fail(LS_EMEM, "no memory for the model's description");
    model->options = *(const ls_vit_options *)options;
    model->shape = *shape;
    const int64_t patch = model->options.patch;
    model->tokens = (shape->height / patch) * (shape->width / patch) + (model->options.pool == POOL_CLASS);
    status = add_parameters(model);
    if (status == LS_OK)
        *out = model;
    else
        vit_free(model);
    return status;
}

static int vit_parameters(void *self, ls_parameter **parameters)
{
    return ls_transformer_parameters(((vit *)self)->trunk, parameters);
}

/* [B, T, D] */
static ls_tensor *tokens_of(const vit *model, ls_tape *tape, int64_t images, const float *pixels)
{
    const ls_vit_options *o = &model->options;
    const ls_classifier_shape *s = &model->shape;
    const int64_t squares = (s->height / o->patch) * (s->width / o->patch);
    const ls_conv_options apart = {.stride = {o->patch, o->patch}};
    ls_tensor *x = ls_constant(tape, LS_F32, LS_SHAPE(images, s->height, s->width, s->channels), pixels);
    x = ls_cast(tape, x, model->patch->type);
    x = ls_conv(tape, x, ls_use(tape, model->patch), ls_use(tape, model->patch_bias), &apart, LS_ACT_NONE);
    x = ls_reshape(tape, x, LS_SHAPE(images, squares, o->width));
    if (model->class_token) {
        int32_t *first = ls_arena_array(ls_tape_arena(tape), int32_t, images);
        for (int64_t i = 0; first && i < images; i++)
            first[i] = 0;
        ls_tensor *token = first ? ls_embedding(tape, ls_use(tape, model->class_token), first, LS_SHAPE(images, 1)) : x;
        x = ls_concat(tape, 2, (ls_tensor *[]){token, x}, 1);
    }
    x = ls_add(tape, x, ls_use(tape, model->position));
    return ls_dropout(tape, x, o->dropout);
}

/* What a block needs besides x; copied by the recompute scope. */
typedef struct {
    const vit *model;
    int64_t images;
    int layer;
} block_context;

static ls_tensor *attend_all(void *context, ls_tape *tape, int layer, ls_tensor *q, ls_tensor *k, ls_tensor *v)
{
    (void)layer;
    const block_context *c = context;
    const ls_vit_options *o = &c->model->options;
    const int64_t B = c->images, T = c->model->tokens, H = o->heads, d = o->width / H;
    q = ls_reshape(tape, q, LS_SHAPE(B, T, H, d));
    k = ls_reshape(tape, k, LS_SHAPE(B, T, H, d));
    v = ls_reshape(tape, v, LS_SHAPE(B, T, H, d));
    ls_tensor *h = ls_attention(tape, q, k, v, false, NULL);
    return ls_reshape(tape, h, LS_SHAPE(B * T, o->width));
}

static ls_tensor *run_block(void *context, ls_tape *tape, ls_tensor *x)
{
    const block_context *c = context;
    return ls_transformer_run_block(c->model->trunk, tape, c->layer, x, NULL, attend_all, context);
}

/* [B*T, D] -> [B, D]. The norm is each token's own, so only tokens that are read need it. */
static ls_tensor *pool(const vit *model, ls_tape *tape, int64_t images, ls_tensor *x)
{
    const int64_t T = model->tokens, D = model->options.width;
    if (model->class_token) {
        x = ls_narrow(tape, ls_reshape(tape, x, LS_SHAPE(images, T, D)), 1, 0, 1);
        return ls_transformer_final_norm(model->trunk, tape, ls_reshape(tape, x, LS_SHAPE(images, D)));
    }
    x = ls_transformer_final_norm(model->trunk, tape, x);
    return ls_mean(tape, ls_reshape(tape, x, LS_SHAPE(images, T, D)), 1);
}

static ls_tensor *vit_logits(void *self, ls_tape *tape, int64_t images, const float *pixels)
{
    vit *model = self;
    ls_tensor *x = tokens_of(model, tape, images, pixels);
    x = ls_reshape(tape, x, LS_SHAPE(images * model->tokens, model->options.width));
    block_context c = {.model = model, .images = images};
    for (c.layer = 0; c.layer < model->options.layers; c.layer++)
        x = model->options.recompute ? ls_recompute(tape, run_block, &c, sizeof c, x) : run_block(&c, tape, x);
    x = pool(model, tape, images, x);
    x = ls_linear(tape, x, ls_use(tape, model->head), ls_use(tape, model->head_bias), LS_ACT_NONE);
    return ls_cast(tape, x, LS_F32);
}

const ls_classifier ls_classifier_vit = {vit_create, vit_free, vit_parameters, vit_logits};
