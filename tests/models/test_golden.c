/* Both styles of the transformer, and llama with all its options, against PyTorch (tests/golden/make_golden.py, float64): logits, the gradient of every
 * parameter, and 20 steps of AdamW with clipping and a schedule. */
#include "tests/models/golden.h"

typedef struct {
    json_t *root;
    workbench bench;
    ls_token_rows rows;
    int32_t *ids, *labels, *positions, *segments;
    float *weights;
    int64_t n, unmasked;
    float *gradient; /* flat */
    int ready;
} golden;

static golden golden_of(const char *path, int threads)
{
    golden g = {.root = json_of(path)};
    const json_t *o = json_object_get(g.root, "options");
    ls_transformer_options options = {.style = strcmp(json_string_value(json_object_get(o, "style")), "gpt2") ? 1 : 0,
                                      .vocabulary = option(o, "vocabulary"),
                                      .layers = option(o, "layers"),
                                      .width = option(o, "width"),
                                      .heads = option(o, "heads"),
                                      .kv_heads = option(o, "kv_heads"),
                                      .hidden = option(o, "hidden"),
                                      .context = option(o, "context"),
                                      .head_width = option(o, "head_width"),
                                      .window = option(o, "window"),
                                      .qkv_bias = json_is_true(json_object_get(o, "qkv_bias")),
                                      .qk_norm = json_is_true(json_object_get(o, "qk_norm")),
                                      .tied = json_is_true(json_object_get(o, "tied")),
                                      .rope_base = json_number_value(json_object_get(o, "rope_base")),
                                      .rope_scaling = json_object_get(o, "rope_scaling") ? 2 : 0,
                                      .rope_factor = json_number_value(json_object_get(o, "rope_factor")),
                                      .rope_low_freq_factor = json_number_value(json_object_get(o, "rope_low_freq_factor")),
                                      .rope_high_freq_factor = json_number_value(json_object_get(o, "rope_high_freq_factor")),
                                      .rope_original_context = option(o, "rope_original_context"),
                                      .norm_eps = json_number_value(json_object_get(o, "norm_eps"))};
    g.bench = workbench_of(&options, LS_F32, threads);
    for (int i = 0; i < g.bench.count; i++)
        fill(&g.bench.parameters[i], g.bench.master + g.bench.parameters[i].offset);
    g.rows = (ls_token_rows){.rows = option(g.root, "rows"), .tokens = option(g.root, "tokens")};
    g.n = g.rows.rows * g.rows.tokens;
    g.rows.ids = g.ids = integers(g.root, "ids", g.n);
    g.rows.positions = g.positions = integers(g.root, "positions", g.n);
    g.rows.segments = g.segments = integers(g.root, "segments", g.n);
    g.labels = integers(g.root, "labels", g.n);
    g.weights = calloc((size_t)g.n, sizeof *g.weights);
    for (int64_t i = 0; i < g.n; i++) {
        g.weights[i] = (float)json_number_at(json_object_get(g.root, "weights"), (size_t)i);
        g.unmasked += g.labels[i] >= 0;
    }
    g.gradient = calloc((size_t)g.bench.elements, sizeof *g.gradient);
    return g;
}

static void golden_done(golden *g)
{
    void *all[] = {g->ids, g->labels, g->positions, g->segments, g->weights, g->gradient};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    workbench_done(&g->bench);
    json_decref(g->root);
}

static void keep_gradient(void *context, const ls_parameter *parameter, void *gradient)
{
    golden *g = context;
    memcpy(g->gradient + parameter->offset, gradient, (size_t)parameter->count * sizeof(float));
    g->ready++;
}

/* The mean loss over unmasked tokens; with it the gradients. */
static double step_loss(golden *g)
{
    workbench *w = &g->bench;
    ls_tape_reset(w->tape, 1, 0, 0);
    ls_tensor *hidden = ls_transformer_hidden(w->model, w->tape, &g->rows);
    ls_tensor *loss =
        ls_cross_entropy_sum(w->tape, hidden, ls_transformer_head(w->model, w->tape), g->labels, g->weights, NULL);
    g->ready = 0;
    ls_backward(w->tape, loss, 1.0 / (double)g->unmasked, keep_gradient, g);
    cr_assert_eq(ls_tape_status(w->tape), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(g->ready, w->count, "each parameter's gradient is handed over once");
    return (double)*(const float *)loss->data / (double)g->unmasked;
}

static void logits_and_gradients(const char *path)
{
    golden g = golden_of(path, 2);
    workbench *w = &g.bench;
    ls_tape_reset(w->tape, 1, 0, 0);
    ls_no_grad_begin(w->tape);
    ls_tensor *logits = ls_transformer_logits(w->model, w->tape, &g.rows);
    ls_no_grad_end(w->tape);
    cr_assert_eq(ls_tape_status(w->tape), LS_OK, "%s", ls_fail_sentence());
    const json_t *want = json_object_get(g.root, "logits"), *gradients = json_object_get(g.root, "gradients");
    cr_assert_eq(logits->count, (int64_t)json_array_size(want));
    cr_expect_leq(relative_error(logits->data, want), 1e-5, "logits: %g", relative_error(logits->data, want));

    double loss = step_loss(&g), golden_loss = json_number_value(json_object_get(g.root, "loss"));
    cr_expect_leq(fabs(loss / golden_loss - 1), 1e-6, "loss %.9g, PyTorch %.9g", loss, golden_loss);
    expect_gradients(w, g.gradient, gradients);
    golden_done(&g);
}

Test(golden, gpt2_logits_and_gradients_are_pytorchs)
{
    logits_and_gradients("tests/golden/gpt2.json");
}
Test(golden, llama_logits_and_gradients_are_pytorchs)
{
    logits_and_gradients("tests/golden/llama.json");
}

Test(golden, biases_head_norms_windows_and_scaled_angles_are_pytorchs)
{
    logits_and_gradients("tests/golden/qwen.json");
}

static double norm_of(const golden *g)
{
    double sum = 0;
    for (int64_t i = 0; i < g->bench.elements; i++)
        sum += (double)g->gradient[i] * (double)g->gradient[i];
    return sqrt(sum);
}

static void loss_curve(const char *path)
{
    golden g = golden_of(path, 1);
    workbench *w = &g.bench;
    const json_t *a = json_object_get(g.root, "adamw"), *betas = json_object_get(a, "betas"),
                 *curve = json_object_get(a, "loss");
    double clip = json_number_value(json_object_get(a, "clip"));
    float *first = calloc((size_t)w->elements, sizeof *first), *second = calloc((size_t)w->elements, sizeof *second);
    cr_assert_eq(json_array_size(curve), 20);
    for (size_t step = 0; step < json_array_size(curve); step++) {
        double loss = step_loss(&g), want = json_number_at(curve, step), norm = norm_of(&g),
               want_norm = json_number_at(json_object_get(a, "grad_norm"), step);
        cr_expect_leq(fabs(loss / want - 1), 1e-4, "step %zu: loss %.7g, PyTorch %.7g", step + 1, loss, want);
        cr_expect_leq(fabs(norm / want_norm - 1), 1e-3, "step %zu: gradient norm %.7g, PyTorch %.7g", step + 1, norm,
                      want_norm);
        for (int i = 0; i < w->count; i++) {
            const ls_parameter *p = &w->parameters[i];
            w->device->optimizer_step(
                w->device, &(ls_optimizer_args){
                               .kind = LS_OPTIMIZER_ADAMW,
                               .count = p->count,
                               .step = (int64_t)step + 1,
                               .lr = json_number_at(json_object_get(a, "lr"), step),
                               .beta1 = json_number_at(betas, 0),
                               .beta2 = json_number_at(betas, 1),
                               .eps = json_number_value(json_object_get(a, "eps")),
                               .weight_decay = p->no_decay ? 0 : json_number_value(json_object_get(a, "weight_decay")),
                               .scale = fmin(1, clip / (norm + 1e-6)),
                               .gradient = g.gradient + p->offset,
                               .master = w->master + p->offset,
                               .first_moment = first + p->offset,
                               .second_moment = second + p->offset});
        }
    }
    free(first), free(second);
    golden_done(&g);
}

Test(golden, gpt2_learns_along_pytorchs_curve)
{
    loss_curve("tests/golden/gpt2.json");
}
Test(golden, llama_learns_along_pytorchs_curve)
{
    loss_curve("tests/golden/llama.json");
}
Test(golden, llama_with_all_options_learns_along_pytorchs_curve)
{
    loss_curve("tests/golden/qwen.json");
}
