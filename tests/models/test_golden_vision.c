/* Convnet and vision transformer against PyTorch (tests/golden/make_golden_vision.py, float64): logits in training and
 * in evaluation, the gradient of every parameter, 20 optimiser steps of several grains, and the running statistics they
 * leave. */
#include "models/convnet.h"
#include "models/vit.h"
#include "tests/models/golden.h"

typedef struct {
    json_t *root;
    workbench bench;
    const ls_classifier *net;
    void *model;
    ls_classifier_shape shape;
    int64_t images, grains;
    int32_t *labels, *mixed_labels; /* [grains, images] */
    float *share, *pixels;
    float *sum; /* flat: the grains' gradients added up, and their terms of the running statistics */
} golden;

static const char *word(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static double real(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static ls_option_ints list(const json_t *o, const char *key)
{
    const json_t *array = json_object_get(o, key);
    ls_option_ints ints = {.count = (int)json_array_size(array)};
    for (int i = 0; i < ints.count; i++)
        ints.value[i] = (int64_t)json_number_at(array, (size_t)i);
    return ints;
}

static void make_model(golden *g)
{
    const json_t *o = json_object_get(g->root, "options");
    const ls_convnet_options convnet = {
        .stem = strcmp(word(g->root, "family"), "convnet") || strcmp(word(o, "stem"), "large") ? 0 : 1,
        .blocks = list(o, "blocks"),
        .widths = list(o, "widths"),
        .shortcut = word(o, "shortcut") && !strcmp(word(o, "shortcut"), "projection"),
        .norm = word(o, "norm") && !strcmp(word(o, "norm"), "group"),
        .groups = option(o, "groups"),
        .norm_eps = real(o, "norm_eps"),
        .norm_momentum = real(o, "norm_momentum")};
    const ls_vit_options vit = {.patch = option(o, "patch"),
                                .layers = option(o, "layers"),
                                .width = option(o, "width"),
                                .heads = option(o, "heads"),
                                .hidden = option(o, "hidden"),
                                .pool = word(o, "pool") && !strcmp(word(o, "pool"), "mean"),
                                .norm_eps = real(o, "norm_eps")};
    const bool is_vit = !strcmp(word(g->root, "family"), "vit");
    g->net = is_vit ? &ls_classifier_vit : &ls_classifier_convnet;
    const void *options = is_vit ? (const void *)&vit : &convnet;
    cr_assert_eq(g->net->create(&g->model, options, &g->shape), LS_OK, "%s", ls_fail_sentence());
}

static golden golden_of(const char *path, int threads)
{
    golden g = {.root = json_of(path)};
    const json_t *shape = json_object_get(g.root, "shape");
    g.shape = (ls_classifier_shape){.height = (int64_t)json_number_at(shape, 0),
                                    .width = (int64_t)json_number_at(shape, 1),
                                    .channels = (int64_t)json_number_at(shape, 2),
                                    .classes = (int64_t)json_number_at(shape, 3)};
    make_model(&g);
    workbench *w = &g.bench;
    *w = workbench_without_model(LS_F32, threads);
    w->count = g.net->parameters(g.model, &w->parameters);
    workbench_bind(w);
    for (int i = 0; i < w->count; i++)
        fill(&w->parameters[i], w->master + w->parameters[i].offset);
    g.images = option(g.root, "images");
    g.grains = option(g.root, "grains");
    const int64_t rows = g.images * g.grains, each = g.images * g.shape.height * g.shape.width * g.shape.channels;
    g.labels = integers(g.root, "labels", rows);
    g.mixed_labels = integers(g.root, "mixed_labels", rows);
    g.share = calloc((size_t)rows, sizeof *g.share);
    for (int64_t i = 0; i < rows; i++)
        g.share[i] = (float)json_number_at(json_object_get(g.root, "share"), (size_t)i);
    g.pixels = calloc((size_t)(each * g.grains), sizeof *g.pixels);
    for (int64_t i = 0; i < each * g.grains; i++)
        g.pixels[i] = (float)(4 * number(1000 + (int)(i / each), i % each));
    g.sum = calloc((size_t)w->elements, sizeof *g.sum);
    return g;
}

static void golden_done(golden *g)
{
    void *all[] = {g->labels, g->mixed_labels, g->share, g->pixels, g->sum};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    g->net->free(g->model);
    workbench_done(&g->bench);
    json_decref(g->root);
}

static ls_tensor *logits_of(golden *g, int64_t grain, bool training)
{
    ls_tape_reset(g->bench.tape, 1, 0, 0);
    ls_tape_fold(g->bench.tape, grain, g->grains);
    if (!training)
        ls_no_grad_begin(g->bench.tape); /* until the next reset */
    const int64_t image = g->shape.height * g->shape.width * g->shape.channels;
    return g->net->logits(g->model, g->bench.tape, g->images, g->pixels + grain * g->images * image);
}

static void add_gradient(void *context, const ls_parameter *parameter, void *gradient)
{
    golden *g = context;
    for (int64_t i = 0; i < parameter->count; i++)
        g->sum[parameter->offset + i] += ((const float *)gradient)[i];
}

/* The mean loss over the step's images; with it the sums over its grains. */
static double step_loss(golden *g)
{
    ls_tape *tape = g->bench.tape;
    const double rows = (double)(g->images * g->grains);
    double sum = 0;
    memset(g->sum, 0, (size_t)g->bench.elements * sizeof *g->sum);
    for (int64_t grain = 0; grain < g->grains; grain++) {
        const int64_t first = grain * g->images;
        const ls_classifier_targets targets = {g->labels + first, g->mixed_labels + first, g->share + first,
                                               real(g->root, "smoothing")};
        ls_tensor *loss = ls_classifier_loss(tape, logits_of(g, grain, true), &targets);
        ls_backward(tape, loss, 1 / rows, add_gradient, g);
        cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
        sum += (double)*(const float *)loss->data;
    }
    return sum / rows;
}

static void expect_logits(golden *g, const char *key, bool training)
{
    const json_t *want = json_object_get(g->root, key);
    const int64_t each = g->images * g->shape.classes;
    float *all = calloc((size_t)(each * g->grains), sizeof *all);
    for (int64_t grain = 0; grain < g->grains; grain++) {
        const ls_tensor *logits = logits_of(g, grain, training);
        cr_assert_eq(ls_tape_status(g->bench.tape), LS_OK, "%s", ls_fail_sentence());
        cr_assert(logits->count == each && logits->type == LS_F32);
        memcpy(all + grain * each, logits->data, (size_t)each * sizeof *all);
    }
    cr_assert_eq((int64_t)json_array_size(want), each * g->grains);
    cr_expect_leq(relative_error(all, want), 1e-5, "%s: %g", key, relative_error(all, want));
    free(all);
}

/* One step of the file's rule on what is learnt, and the fold of what is not. */
static void update(golden *g, const json_t *rule, size_t step)
{
    workbench *w = &g->bench;
    static float *first, *second;
    if (step == 0) {
        free(first), free(second);
        first = calloc((size_t)w->elements, sizeof *first), second = calloc((size_t)w->elements, sizeof *second);
    }
    const bool adamw = !strcmp(word(rule, "name"), "adamw");
    const json_t *betas = json_object_get(rule, "betas");
    for (int i = 0; i < w->count; i++) {
        const ls_parameter *p = &w->parameters[i];
        const ls_optimizer_args args = {.kind = adamw ? LS_OPTIMIZER_ADAMW : LS_OPTIMIZER_SGD,
                                        .count = p->count,
                                        .step = (int64_t)step + 1,
                                        .lr = json_number_at(json_object_get(rule, "rates"), step),
                                        .beta1 = adamw ? json_number_at(betas, 0) : 0,
                                        .beta2 = adamw ? json_number_at(betas, 1) : 0,
                                        .eps = adamw ? real(rule, "eps") : 0,
                                        .momentum = adamw ? 0 : real(rule, "momentum"),
                                        .nesterov = json_is_true(json_object_get(rule, "nesterov")),
                                        .weight_decay = p->no_decay ? 0 : real(rule, "weight_decay"),
                                        .scale = 1,
                                        .gradient = g->sum + p->offset,
                                        .master = w->master + p->offset,
                                        .first_moment = first + p->offset,
                                        .second_moment = second + p->offset};
        if (!p->statistic)
            w->device->optimizer_step(w->device, &args);
        for (int64_t k = p->offset; p->statistic && k < p->offset + p->count; k++)
            w->master[k] = (float)pow(1 - p->momentum, (double)g->grains) * w->master[k] + g->sum[k];
    }
}

static void agree(const char *path)
{
    golden g = golden_of(path, 2);
    workbench *w = &g.bench;
    const json_t *rule = json_object_get(g.root, "optimizer"), *curve = json_object_get(rule, "loss");
    expect_logits(&g, "logits", true);
    expect_logits(&g, "logits_evaluated", false);
    cr_assert_eq(json_array_size(curve), 20);
    for (size_t step = 0; step < json_array_size(curve); step++) {
        const double loss = step_loss(&g), want = json_number_at(curve, step);
        cr_expect_leq(fabs(loss / want - 1), step ? 1e-4 : 1e-6, "step %zu: loss %.9g, PyTorch %.9g", step + 1, loss,
                      want);
        if (step == 0)
            expect_gradients(w, g.sum, json_object_get(g.root, "gradients"));
        update(&g, rule, step);
    }
    const json_t *statistics = json_object_get(g.root, "statistics");
    size_t found = 0;
    for (int i = 0; i < w->count; i++) {
        const ls_parameter *p = &w->parameters[i];
        if (!p->statistic)
            continue;
        const double error = relative_error(w->master + p->offset, json_object_get(statistics, p->name));
        cr_expect_leq(error, 1e-4, "%s: relative error %g", p->name, error);
        found++;
    }
    cr_assert_eq(found, json_object_size(statistics), "the file has other statistics");
    golden_done(&g);
}

Test(golden_vision, a_convnet_with_batch_norm_is_pytorchs)
{
    agree("tests/golden/convnet.json");
}
/* Wide enough for tensor/cpu/winograd.c, forward and both gradients. */
Test(golden_vision, a_wide_convnet_is_pytorchs)
{
    agree("tests/golden/convnet-wide.json");
}

Test(golden_vision, a_convnet_with_large_stem_projections_and_group_norm_is_pytorchs)
{
    agree("tests/golden/convnet-large.json");
}
Test(golden_vision, a_vision_transformer_is_pytorchs)
{
    agree("tests/golden/vit.json");
}
Test(golden_vision, a_vision_transformer_that_takes_the_mean_is_pytorchs)
{
    agree("tests/golden/vit-mean.json");
}
