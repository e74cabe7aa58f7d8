/* A small language model for tests of the tape. See small_model.h. */
#include "tests/tensor/small_model.h"

#include "tests/tensor/reference_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 2, TOKENS = 24, WIDTH = 32, HEADS = 4, KV_HEADS = 2, HEAD = WIDTH / HEADS, HIDDEN = 48, VOCABULARY = 61 };
enum { ATTENTION_NORM, QUERY, KEY, VALUE, OUTPUT, MLP_NORM, MLP_NORM_BIAS, UP, UP_BIAS, DOWN, PER_LAYER };

static const struct {
    const char *name;
    int64_t rows, width; /* rows 0: one axis */
} layer_parameters[PER_LAYER] = {
    {"attention/norm", 0, WIDTH},
    {"attention/query", WIDTH, WIDTH},
    {"attention/key", KV_HEADS *HEAD, WIDTH},
    {"attention/value", KV_HEADS *HEAD, WIDTH},
    {"attention/output", WIDTH, WIDTH},
    {"mlp/norm", 0, WIDTH},
    {"mlp/norm_bias", 0, WIDTH},
    {"mlp/up", HIDDEN, WIDTH},
    {"mlp/up_bias", 0, HIDDEN},
    {"mlp/down", WIDTH, HIDDEN},
};

static void add_parameter(small_model *model, const char *name, int64_t rows, int64_t width)
{
    int number = model->parameters++;
    ls_parameter *p = &model->parameter[number];
    snprintf(model->name[number], sizeof model->name[number], "%s", name);
    *p = (ls_parameter){.name = model->name[number], .ndim = rows ? 2 : 1, .number = number, .type = model->type};
    p->shape[0] = rows ? rows : width;
    p->shape[1] = rows ? width : 0;
    p->count = rows ? rows * width : width;
    if (ls_type_is_narrow(model->type) && p->ndim == 1)
        p->type = LS_F32;
    p->data = malloc((size_t)p->count * ls_type_size(p->type));
    model->gradient[number] = calloc((size_t)p->count, sizeof(double));
    model->place[number] = model->places ? calloc((size_t)p->count, sizeof(float)) : NULL;
    const ls_random stream = {.seed = 1, .slot = (uint32_t)number, .purpose = LS_RANDOM_INIT};
    for (int64_t i = 0; i < p->count; i++) {
        double normal = (double)ls_random_normal(&stream, (uint64_t)i);
        reference_put(p->type, p->data, i, rows ? 0.2 * normal : 1 + 0.1 * normal);
    }
}

void small_model_create(small_model *model)
{
    model->parameters = 0;
    add_parameter(model, "embedding", VOCABULARY, WIDTH);
    for (int layer = 0; layer < model->layers; layer++)
        for (int i = 0; i < PER_LAYER; i++) {
            char name[32];
            snprintf(name, sizeof name, "blocks/%d/%s", layer, layer_parameters[i].name);
            add_parameter(model, name, layer_parameters[i].rows, layer_parameters[i].width);
        }
    add_parameter(model, "norm", 0, WIDTH);
    if (!model->tied)
        add_parameter(model, "head", VOCABULARY, WIDTH);
}

void small_model_free(small_model *model)
{
    for (int i = 0; i < model->parameters; i++) {
        free(model->parameter[i].data);
        free(model->gradient[i]);
        free(model->place[i]);
    }
}

typedef struct {
    small_model *model;
    int layer;
} block_context;

static void let_go(const small_model *model, ls_tape *tape, ls_tensor *x)
{
    if (model->lets_go)
        ls_let_go(tape, x);
}

/* x + part, with dropout. */
static ls_tensor *add_part(const small_model *model, ls_tape *tape, ls_tensor *x, ls_tensor *part)
{
    part = ls_dropout(tape, part, model->dropout);
    return model->lets_go ? ls_add_in_place(tape, x, part) : ls_add(tape, x, part);
}

static ls_tensor *block(void *context, ls_tape *tape, ls_tensor *x)
{
    const block_context *at = context;
    const ls_parameter *p = at->model->parameter + 1 + at->layer * PER_LAYER;
    int32_t positions[ROWS * TOKENS], segments[ROWS * TOKENS];
    for (int i = 0; i < ROWS * TOKENS; i++) {
        positions[i] = i % TOKENS;
        segments[i] = i % TOKENS / 10;
    }
    ls_tensor *h = ls_rms_norm(tape, x, ls_use(tape, &p[ATTENTION_NORM]), 1e-5);
    ls_tensor *q = ls_linear(tape, h, ls_use(tape, &p[QUERY]), NULL, LS_ACT_NONE);
    ls_tensor *k = ls_linear(tape, h, ls_use(tape, &p[KEY]), NULL, LS_ACT_NONE);
    ls_tensor *v = ls_linear(tape, h, ls_use(tape, &p[VALUE]), NULL, LS_ACT_NONE);
    let_go(at->model, tape, h);
    q = ls_rotary(tape, ls_reshape(tape, q, LS_SHAPE(ROWS, TOKENS, HEADS, HEAD)), positions, 10000, false);
    k = ls_rotary(tape, ls_reshape(tape, k, LS_SHAPE(ROWS, TOKENS, KV_HEADS, HEAD)), positions, 10000, false);
    v = ls_reshape(tape, v, LS_SHAPE(ROWS, TOKENS, KV_HEADS, HEAD));
    h = ls_reshape(tape, ls_attention(tape, q, k, v, true, segments), LS_SHAPE(ROWS, TOKENS, WIDTH));
    h = ls_linear(tape, h, ls_use(tape, &p[OUTPUT]), NULL, LS_ACT_NONE);
    x = add_part(at->model, tape, x, h);
    h = ls_layer_norm(tape, x, ls_use(tape, &p[MLP_NORM]), ls_use(tape, &p[MLP_NORM_BIAS]), 1e-5);
    ls_tensor *up = ls_linear(tape, h, ls_use(tape, &p[UP]), ls_use(tape, &p[UP_BIAS]), LS_ACT_GELU_TANH);
    let_go(at->model, tape, h);
    ls_tensor *inner = ls_mul(tape, up, up); /* whose making again needs what was let go too */
    let_go(at->model, tape, up);
    h = ls_linear(tape, inner, ls_use(tape, &p[DOWN]), NULL, LS_ACT_NONE);
    let_go(at->model, tape, inner);
    return add_part(at->model, tape, x, h);
}

ls_tensor *small_model_loss(small_model *model, ls_tape *tape)
{
    int32_t ids[ROWS * TOKENS], labels[ROWS * TOKENS];
    float weights[ROWS * TOKENS];
    for (int i = 0; i < ROWS * TOKENS; i++) {
        ids[i] = (i * i + 3 * i) % VOCABULARY;
        labels[i] = i % TOKENS < 5 ? -1 : (i * 11 + 2) % VOCABULARY;
        weights[i] = i % 7 == 0 ? 0.5f : 1;
    }
    ls_tensor *x = ls_embedding(tape, ls_use(tape, &model->parameter[0]), ids, LS_SHAPE(ROWS, TOKENS));
    for (int layer = 0; layer < model->layers; layer++) {
        block_context context = {model, layer};
        x = model->recompute ? ls_recompute(tape, block, &context, sizeof context, x) : block(&context, tape, x);
    }
    const ls_parameter *last = &model->parameter[1 + model->layers * PER_LAYER];
    x = ls_rms_norm(tape, x, ls_use(tape, last), 1e-5);
    x = ls_reshape(tape, x, LS_SHAPE(ROWS * TOKENS, WIDTH));
    return ls_cross_entropy_sum(tape, x, ls_use(tape, model->tied ? &model->parameter[0] : last + 1), labels, weights,
                                NULL);
}

static ls_type gradient_type(const small_model *model)
{
    return model->type == LS_F64 ? LS_F64 : LS_F32;
}

/* As the dense gradient: zeros where a row is absent. */
static void keep_rows(char *to, size_t bytes, const ls_row_gradient *rows, size_t size)
{
    const size_t row = (size_t)rows->width * size;
    memset(to, 0, bytes);
    for (int64_t i = 0; i < rows->count; i++)
        memcpy(to + (size_t)rows->row[i] * row, (char *)rows->vector + (size_t)i * row, row);
}

static void keep(void *context, const ls_parameter *parameter, void *gradient)
{
    small_model *model = context;
    model->in_place += gradient == (void *)model->place[parameter->number];
    size_t bytes = (size_t)parameter->count * ls_type_size(gradient_type(model));
    if (parameter->sparse_rows) {
        keep_rows(model->gradient[parameter->number], bytes, gradient, ls_type_size(gradient_type(model)));
    } else {
        memcpy(model->gradient[parameter->number], gradient, bytes);
        memset(gradient, 0xff, bytes); /* it may be overwritten */
    }
    model->calls[parameter->number]++;
    model->order[model->came++] = parameter->number;
}

static float *place_of(void *context, const ls_parameter *parameter)
{
    return ((small_model *)context)->place[parameter->number];
}

ls_status small_model_step(small_model *model, ls_tape *tape)
{
    memset(model->calls, 0, sizeof model->calls);
    model->came = model->in_place = 0;
    ls_tape_reset(tape, 17, 4, 8);
    if (model->places)
        ls_tape_places(tape, place_of, model);
    ls_tensor *loss = small_model_loss(model, tape);
    model->loss = reference_get(loss->type, loss->data, 0);
    ls_backward(tape, loss, 1.0 / 38, keep, model);
    return ls_tape_status(tape);
}

bool small_model_same_gradients(const small_model *a, const small_model *b, const char **first)
{
    for (int i = 0; i < a->parameters; i++)
        if (memcmp(a->gradient[i], b->gradient[i], (size_t)a->parameter[i].count * ls_type_size(gradient_type(a))) !=
            0) {
            *first = a->name[i];
            return false;
        }
    return true;
}
