/* Residual convolutional network. See convnet.h.
 * Initial weights: convolutions normal with variance 2 / (window * outputs) (He et al. 2015, fan-out), gains 1, biases 0,
 * head with variance 1 / (3 width), that of PyTorch's linear layers. */
#include "models/convnet.h"
#include "tensor/ops_image.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(ls_convnet_options, field)
const ls_option ls_convnet_option_rows[] = {
    {"family", LS_OPTION_STRING, AT(begin.family), 0, 0, 0, "convnet", NULL, "convnet: a residual convolutional network"},
    {"from", LS_OPTION_PATH, AT(begin.from), 0, 0, 0, NULL, NULL, "run folder whose weights are the initial ones"},
    {"from_ema", LS_OPTION_BOOL, AT(begin.from_ema), 0, 0, 0, "false", NULL, "take the averaged weights of `from`"},
    {"stem", LS_OPTION_CHOICE, AT(stem), 0, 0, 0, "small", "small|large", "small: a 3 x 3 convolution; large: 7 x 7, stride 2, and 3 x 3 max pooling, stride 2"},
    {"blocks", LS_OPTION_INTS, AT(blocks), 0, 1, 1000, "[3, 3, 3]", NULL, "residual blocks of each stage; n a stage make a net of 6n + 2 layers"},
    {"widths", LS_OPTION_INTS, AT(widths), 0, 1, 65536, "[16, 32, 64]", NULL, "channels of each stage"},
    {"shortcut", LS_OPTION_CHOICE, AT(shortcut), 0, 0, 0, "pad", "pad|projection", "past a block that changes the shape: every other pixel and zero channels, or a 1 x 1 convolution and norm"},
    {"norm", LS_OPTION_CHOICE, AT(norm), 0, 0, 0, "batch", "batch|group", "batch: over the images of a grain; group: each image alone"},
    {"groups", LS_OPTION_INT, AT(groups), 0, 1, 65536, "8", NULL, "groups of channels, with norm: group"},
    {"norm_eps", LS_OPTION_FLOAT, AT(norm_eps), 0, 0, 1, "1e-5", NULL, "added under the root of norms"},
    {"norm_momentum", LS_OPTION_FLOAT, AT(norm_momentum), 0, 0, 1, "0.1", NULL, "share of each new grain in the running statistics, with norm: batch"},
    {"zero_last_gain", LS_OPTION_BOOL, AT(zero_last_gain), 0, 0, 0, "false", NULL, "the last gain of each block begins at 0, so that the block begins as its shortcut"},
    {0},
};
#undef AT

enum { STEM_SMALL, STEM_LARGE };
enum { SHORTCUT_PAD, SHORTCUT_PROJECTION };
enum { NORM_BATCH, NORM_GROUP };
enum { PER_CONV = 5 }; /* weight, gain, bias, running mean and variance */

/* A convolution and the norm behind it. */
typedef struct {
    ls_parameter *weight, *gain, *bias, *mean, *variance; /* mean, variance: batch norm only */
    int64_t stride, padding;
} conv;

typedef struct {
    conv first, second, shortcut; /* shortcut.weight NULL: none */
    int64_t stride, padded;       /* channels of zeros behind the input's, with shortcut: pad */
} block;

typedef struct {
    ls_convnet_options options;
    ls_classifier_shape shape;
    ls_parameter_list list;
    conv stem;
    block *blocks;
    int count; /* of blocks */
    ls_parameter *head, *head_bias;
} convnet;

static void convnet_free(void *self)
{
    convnet *model = self;
    if (!model)
        return;
    ls_parameter_list_free(&model->list);
    free(model->blocks);
    free(model);
}

static ls_status check(const ls_convnet_options *o)
{
    if (o->blocks.count < 1 || o->blocks.count != o->widths.count)
        return ls_fail(LS_ERECIPE, "model.blocks names %d stages and model.widths %d: both name the same, at least one", o->blocks.count, o->widths.count);
    for (int s = 0; s < o->widths.count; s++) {
        const long long width = o->widths.value[s], before = s ? o->widths.value[s - 1] : width;
        if (o->norm == NORM_GROUP && width % o->groups)
            return ls_fail(LS_ERECIPE, "model.widths has %lld, which model.groups = %lld does not divide", width, (long long)o->groups);
        if (o->shortcut == SHORTCUT_PAD && width < before)
            return ls_fail(LS_ERECIPE, "model.widths goes from %lld to %lld, but shortcut: pad only adds channels; use shortcut: projection", before, width);
    }
    return LS_OK;
}

/* `place` is the name's beginning, `conv_name` and `norm_name` what they are called there. */
static conv add_conv(convnet *model, const char *place, const char *suffix, int64_t window, int64_t stride, int64_t inputs, int64_t outputs)
{
    ls_parameter_list *list = &model->list;
    const double std = sqrt(2.0 / (double)(window * window * outputs));
    conv c = {.stride = stride, .padding = window / 2};
    c.weight = ls_parameter_list_add(list, LS_SHAPE(outputs, window, window, inputs), std, "%s/conv%s/weight", place, suffix);
    c.gain = ls_parameter_list_add(list, LS_SHAPE(outputs), -1, "%s/norm%s/gain", place, suffix);
    c.bias = ls_parameter_list_add(list, LS_SHAPE(outputs), 0, "%s/norm%s/bias", place, suffix);
    if (model->options.norm == NORM_GROUP)
        return c;
    c.mean = ls_parameter_list_add(list, LS_SHAPE(outputs), 0, "%s/norm%s/running_mean", place, suffix);
    c.variance = ls_parameter_list_add(list, LS_SHAPE(outputs), -1, "%s/norm%s/running_variance", place, suffix);
    c.mean->statistic = c.variance->statistic = true;
    c.mean->momentum = c.variance->momentum = model->options.norm_momentum;
    return c;
}

static void add_block(convnet *model, int stage, int number, int64_t inputs)
{
    const ls_convnet_options *o = &model->options;
    const int64_t outputs = o->widths.value[stage];
    block *b = &model->blocks[model->count++];
    char place[32];
    snprintf(place, sizeof place, "stages/%d/%d", stage, number);
    b->stride = stage > 0 && number == 0 ? 2 : 1;
    b->first = add_conv(model, place, "1", 3, b->stride, inputs, outputs);
    b->second = add_conv(model, place, "2", 3, 1, outputs, outputs);
    if (o->zero_last_gain)
        b->second.gain->init.kind = LS_INIT_ZEROS;
    b->padded = outputs - inputs;
    if (o->shortcut == SHORTCUT_PROJECTION && (b->stride > 1 || inputs != outputs))
        b->shortcut = add_conv(model, place, "_shortcut", 1, b->stride, inputs, outputs);
}

static ls_status add_parameters(convnet *model)
{
    const ls_convnet_options *o = &model->options;
    int blocks = 0;
    for (int s = 0; s < o->blocks.count; s++)
        blocks += (int)o->blocks.value[s];
    const ls_status status = ls_parameter_list_make(&model->list, PER_CONV * (3 * blocks + 1) + 2);
    if (status != LS_OK)
        return status;
    model->blocks = calloc((size_t)blocks, sizeof *model->blocks);
    if (!model->blocks)
        return ls_fail(LS_EMEM, "no memory for %d blocks", blocks);
    int64_t width = o->widths.value[0];
    const bool large = o->stem == STEM_LARGE;
    model->stem = add_conv(model, "stem", "", large ? 7 : 3, large ? 2 : 1, model->shape.channels, width);
    for (int s = 0; s < o->blocks.count; s++)
        for (int i = 0; i < o->blocks.value[s]; i++) {
            add_block(model, s, i, width);
            width = o->widths.value[s];
        }
    model->head = ls_parameter_list_add(&model->list, LS_SHAPE(model->shape.classes, width), sqrt(1.0 / (3.0 * (double)width)), "head/weight");
    model->head_bias = ls_parameter_list_add(&model->list, LS_SHAPE(model->shape.classes), 0, "head/bias");
    return LS_OK;
}

static ls_status convnet_create(void **out, const void *options, const ls_classifier_shape *shape)
{
    *out = NULL;
    ls_status status = check(options);
    if (status != LS_OK)
        return status;
    convnet *model = calloc(1, sizeof *model);
    if (!model)
        return ls_fail(LS_EMEM, "no memory for the model's description");
    model->options = *(const ls_convnet_options *)options;
    model->shape = *shape;
    status = add_parameters(model);
    if (status == LS_OK)
        *out = model;
    else
        convnet_free(model);
    return status;
}

static int convnet_parameters(void *self, ls_parameter **parameters)
{
    convnet *model = self;
    *parameters = model->list.all;
    return model->list.count;
}

static ls_tensor *conv_norm(const convnet *model, ls_tape *tape, const conv *c, ls_tensor *x)
{
    const ls_convnet_options *o = &model->options;
    const ls_conv_options how = {.stride = {c->stride, c->stride}, .padding = {c->padding, c->padding}};
    x = ls_conv(tape, x, ls_use(tape, c->weight), NULL, &how, LS_ACT_NONE);
    ls_tensor *gain = ls_use(tape, c->gain), *bias = ls_use(tape, c->bias);
    return o->norm == NORM_GROUP ? ls_group_norm(tape, x, o->groups, gain, bias, o->norm_eps)
                                 : ls_batch_norm(tape, x, gain, bias, ls_use(tape, c->mean), ls_use(tape, c->variance), o->norm_eps);
}

/* Every other pixel, and channels of zeros behind (section 4.2: option A, no parameters). */
static ls_tensor *pad(const block *b, ls_tape *tape, ls_tensor *x)
{
    if (b->stride > 1)
        x = ls_pooling(tape, x, LS_POOL_MAX, (const int64_t[]){1, 1}, (const int64_t[]){b->stride, b->stride}, NULL);
    if (!b->padded)
        return x;
    const int64_t count = x->count / x->shape[3] * b->padded;
    const size_t bytes = (size_t)count * ls_type_size(x->type);
    void *zeros = ls_arena_take(ls_tape_arena(tape), bytes);
    if (!zeros)
        return x;            /* the arena's error is the tape's next one */
    memset(zeros, 0, bytes); /* 0 in every type */
    ls_tensor *empty = ls_constant(tape, x->type, LS_SHAPE(x->shape[0], x->shape[1], x->shape[2], b->padded), zeros);
    return ls_concat(tape, 2, (ls_tensor *[]){x, empty}, 3);
}

static ls_tensor *run_block(const convnet *model, ls_tape *tape, const block *b, ls_tensor *x)
{
    ls_tensor *h = ls_relu(tape, conv_norm(model, tape, &b->first, x));
    h = conv_norm(model, tape, &b->second, h);
    x = b->shortcut.weight ? conv_norm(model, tape, &b->shortcut, x) : pad(b, tape, x);
    return ls_relu(tape, ls_add(tape, h, x));
}

static ls_tensor *convnet_logits(void *self, ls_tape *tape, int64_t images, const float *pixels)
{
    const convnet *model = self;
    const ls_classifier_shape *s = &model->shape;
    static const int64_t window[] = {3, 3}, stride[] = {2, 2}, padding[] = {1, 1};
    ls_tensor *x = ls_constant(tape, LS_F32, LS_SHAPE(images, s->height, s->width, s->channels), pixels);
    x = ls_cast(tape, x, model->stem.weight->type);
    x = ls_relu(tape, conv_norm(model, tape, &model->stem, x));
    if (model->options.stem == STEM_LARGE)
        x = ls_pooling(tape, x, LS_POOL_MAX, window, stride, padding);
    for (int i = 0; i < model->count; i++)
        x = run_block(model, tape, &model->blocks[i], x);
    x = ls_global_pooling(tape, x, LS_POOL_AVERAGE);
    x = ls_linear(tape, x, ls_use(tape, model->head), ls_use(tape, model->head_bias), LS_ACT_NONE);
    return ls_cast(tape, x, LS_F32);
}

const ls_classifier ls_classifier_convnet = {convnet_create, convnet_free, convnet_parameters, convnet_logits};
