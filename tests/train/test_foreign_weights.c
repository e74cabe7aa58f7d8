/* Folders that transformers saved (tests/golden/make_hf_golden.py): read, they must give its logits, its greedy tokens,
 * and its losses along three steps of AdamW. And folders that do not fit together, refused by name. */
#include "train/foreign_weights.h"

#include "models/generate/generate.h"
#include "tests/models/golden.h"

#include <stdio.h>
#include <unistd.h>

typedef struct {
    json_t *root;
    workbench bench;
    ls_transformer_options options;
    ls_token_rows rows;
    int32_t *ids, *labels;
    float *gradient;
} foreign;

static workbench read_model(const char *path, ls_transformer_options *options)
{
    ls_foreign *weights;
    cr_assert(ls_foreign_is_model(path));
    cr_assert_eq(ls_foreign_options(path, options), LS_OK, "%s", ls_fail_sentence());
    workbench w = workbench_of(options, LS_F32, 2);
    *options = *ls_transformer_config(w.model);
    cr_assert_eq(ls_foreign_weights_open(&weights, path, options, w.parameters, w.count), LS_OK, "%s",
                 ls_fail_sentence());
    for (int i = 0; i < w.count; i++) {
        const ls_parameter *p = &w.parameters[i];
        cr_assert_eq(ls_foreign_weights_read(weights, options, p, 0, p->count, w.master + p->offset), LS_OK, "%s",
                     ls_fail_sentence());
    }
    ls_foreign_close(weights);
    return w;
}

static foreign foreign_of(const char *name)
{
    char path[256], golden[300];
    snprintf(path, sizeof path, "tests/golden/hf/%s", name);
    snprintf(golden, sizeof golden, "%s/golden.json", path);
    foreign f = {.root = json_of(golden)};
    f.bench = read_model(source_path(path), &f.options);
    f.rows = (ls_token_rows){.rows = option(f.root, "rows"), .tokens = option(f.root, "tokens")};
    const int64_t n = f.rows.rows * f.rows.tokens;
    f.rows.ids = f.ids = integers(f.root, "ids", n);
    f.labels = calloc((size_t)n, sizeof *f.labels);
    for (int64_t i = 0; i < n; i++)
        f.labels[i] = (i + 1) % f.rows.tokens ? f.ids[i + 1] : -1;
    f.gradient = calloc((size_t)f.bench.elements, sizeof *f.gradient);
    return f;
}

static void foreign_done(foreign *f)
{
    free(f->ids), free(f->labels), free(f->gradient);
    workbench_done(&f->bench);
    json_decref(f->root);
}

static void keep_gradient(void *context, const ls_parameter *parameter, void *gradient)
{
    foreign *f = context;
    memcpy(f->gradient + parameter->offset, gradient, (size_t)parameter->count * sizeof(float));
}

static double step_loss(foreign *f)
{
    workbench *w = &f->bench;
    const double counted = (double)(f->rows.rows * (f->rows.tokens - 1));
    ls_tape_reset(w->tape, 1, 0, 0);
    ls_tensor *hidden = ls_transformer_hidden(w->model, w->tape, &f->rows);
    ls_tensor *loss =
        ls_cross_entropy_sum(w->tape, hidden, ls_transformer_head(w->model, w->tape), f->labels, NULL, NULL);
    ls_backward(w->tape, loss, 1 / counted, keep_gradient, f);
    cr_assert_eq(ls_tape_status(w->tape), LS_OK, "%s", ls_fail_sentence());
    return (double)*(const float *)loss->data / counted;
}

static void expect_logits(foreign *f)
{
    workbench *w = &f->bench;
    ls_tape_reset(w->tape, 1, 0, 0);
    ls_no_grad_begin(w->tape);
    ls_tensor *logits = ls_transformer_logits(w->model, w->tape, &f->rows);
    ls_no_grad_end(w->tape);
    cr_assert_eq(ls_tape_status(w->tape), LS_OK, "%s", ls_fail_sentence());
    const json_t *want = json_object_get(f->root, "logits");
    cr_assert_eq(logits->count, (int64_t)json_array_size(want));
    cr_expect_leq(relative_error(logits->data, want), 1e-5, "logits: %g", relative_error(logits->data, want));
}

static void expect_greedy(foreign *f)
{
    enum { PROMPT = 5, NEW = 24 };
    const ls_generate_options greedy = {.max_tokens = NEW, .top_p = 1, .stop_id = -1};
    int32_t out[NEW];
    int64_t length;
    cr_assert_eq(ls_generate(f->bench.model, f->bench.device, &greedy, 1, f->ids, (int64_t[]){0, PROMPT}, NULL, out,
                             &length, NULL, NULL),
                 LS_OK, "%s", ls_fail_sentence());
    int32_t *want = integers(f->root, "greedy", NEW);
    for (int i = 0; i < NEW; i++)
        cr_expect_eq(out[i], want[i], "token %d is %d, not %d", i, out[i], want[i]);
    free(want);
}

static void expect_losses(foreign *f)
{
    workbench *w = &f->bench;
    const json_t *a = json_object_get(f->root, "adamw"), *betas = json_object_get(a, "betas"),
                 *losses = json_object_get(f->root, "losses");
    float *first = calloc((size_t)w->elements, sizeof *first), *second = calloc((size_t)w->elements, sizeof *second);
    for (size_t step = 0; step < json_array_size(losses); step++) {
        double loss = step_loss(f), want = json_number_at(losses, step);
        cr_expect_leq(fabs(loss / want - 1), 1e-5, "step %zu: loss %.7g, not %.7g", step, loss, want);
        for (int i = 0; i < w->count; i++) {
            const ls_parameter *p = &w->parameters[i];
            w->device->optimizer_step(
                w->device, &(ls_optimizer_args){
                               .kind = LS_OPTIMIZER_ADAMW,
                               .count = p->count,
                               .step = (int64_t)step + 1,
                               .lr = json_number_value(json_object_get(a, "lr")),
                               .beta1 = json_number_at(betas, 0),
                               .beta2 = json_number_at(betas, 1),
                               .eps = json_number_value(json_object_get(a, "eps")),
                               .weight_decay = p->no_decay ? 0 : json_number_value(json_object_get(a, "weight_decay")),
                               .scale = 1,
                               .gradient = f->gradient + p->offset,
                               .master = w->master + p->offset,
                               .first_moment = first + p->offset,
                               .second_moment = second + p->offset});
        }
    }
    free(first), free(second);
}

static void as_transformers(const char *name)
{
    foreign f = foreign_of(name);
    expect_logits(&f);
    expect_greedy(&f);
    expect_losses(&f);
    foreign_done(&f);
}

Test(foreign_weights, gpt2_is_transformers)
{
    as_transformers("gpt2");
}
Test(foreign_weights, llama3_is_transformers)
{
    as_transformers("llama3");
}
Test(foreign_weights, qwen2_is_transformers)
{
    as_transformers("qwen2");
}
Test(foreign_weights, qwen3_is_transformers)
{
    as_transformers("qwen3");
}
Test(foreign_weights, mistral_is_transformers)
{
    as_transformers("mistral");
}

/* Any slice of a parameter is that part of the whole: what a rank reads for itself. */
Test(foreign_weights, a_slice_is_a_part_of_the_whole)
{
    static const char *const names[] = {"gpt2", "qwen3"};
    for (size_t n = 0; n < 2; n++) {
        char path[256];
        snprintf(path, sizeof path, "tests/golden/hf/%s", names[n]);
        ls_transformer_options options;
        workbench w = read_model(source_path(path), &options);
        ls_foreign *weights;
        cr_assert_eq(ls_foreign_weights_open(&weights, source_path(path), &options, w.parameters, w.count), LS_OK);
        for (int i = 0; i < w.count; i++) {
            const ls_parameter *p = &w.parameters[i];
            for (int64_t first = 0; first < p->count; first += 137) {
                float part[200];
                const int64_t count = p->count - first < 200 ? p->count - first : 200;
                cr_assert_eq(ls_foreign_weights_read(weights, &options, p, first, count, part), LS_OK);
                cr_expect_eq(memcmp(part, w.master + p->offset + first, (size_t)count * sizeof *part), 0,
                             "%s: %s from %lld", names[n], p->name, (long long)first);
            }
        }
        ls_foreign_close(weights);
        workbench_done(&w);
    }
}

/* stories260K in its Hugging Face form speaks the text its author published (tests/models/test_llama2c.c: from the
 * other form). */
Test(foreign_weights, stories260K_speaks_its_known_text)
{
    enum { TOKENS = 256 };
    ls_transformer_options options;
    workbench w = read_model(source_path("tests/data/stories260K/hf"), &options);
    json_t *root = json_of("tests/data/stories260K/greedy.json");
    int32_t *want = integers(root, "ids", TOKENS), out[TOKENS];
    int64_t length;
    ls_generate_options greedy = {.max_tokens = TOKENS, .top_p = 1, .stop_id = -1};
    cr_assert_eq(
        ls_generate(w.model, w.device, &greedy, 1, (int32_t[]){1}, (int64_t[]){0, 1}, NULL, out, &length, NULL, NULL),
        LS_OK);
    for (int i = 0; i < TOKENS; i++)
        cr_assert_eq(out[i], want[i], "token %d", i);
    free(want);
    json_decref(root);
    workbench_done(&w);
}
