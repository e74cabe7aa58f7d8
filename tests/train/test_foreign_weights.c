/* Folders that transformers saved (tests/golden/make_hf_golden.py): read, they must give its logits, its greedy tokens,
 * and its losses along three steps of AdamW. And folders that do not fit together, refused by name. */
#include "train/foreign_weights.h"

#include "checkpoint/foreign/safetensors_writer.h"
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

/* ---- files that differ from config.json in one thing ---- */

enum { MOST = 64 };
typedef struct {
    char folder[64];
    ls_foreign *from;
    ls_foreign_tensor tensors[MOST];
    float *numbers[MOST];
    int count;
} copy;

/* The tensors of a golden folder, to be changed. */
static copy copy_of(const char *name)
{
    copy c = {.folder = "/tmp/lockstep-test-weights-XXXXXX"};
    char path[256], line[5000];
    snprintf(path, sizeof path, "tests/golden/hf/%s", name);
    cr_assert_not_null(mkdtemp(c.folder));
    cr_assert_eq(ls_foreign_open(&c.from, source_path(path)), LS_OK, "%s", ls_fail_sentence());
    for (c.count = 0; c.count < ls_foreign_count(c.from); c.count++) {
        const ls_foreign_tensor *t = ls_foreign_at(c.from, c.count);
        c.tensors[c.count] = *t;
        c.numbers[c.count] = malloc((size_t)t->count * sizeof(float));
        cr_assert_eq(ls_foreign_floats(t, 0, t->count, c.numbers[c.count]), LS_OK);
    }
    snprintf(line, sizeof line, "cp %s/config.json %s", source_path(path), c.folder);
    cr_assert_eq(system(line), 0);
    return c;
}

static ls_foreign_tensor *tensor_of(copy *c, const char *name)
{
    for (int i = 0; i < c->count; i++)
        if (!strcmp(c->tensors[i].name, name))
            return &c->tensors[i];
    cr_assert_fail("no tensor %s", name);
    return NULL;
}

static void add(copy *c, const char *name, ls_foreign_tensor tensor, float first)
{
    tensor.name = name;
    tensor.type = LS_FOREIGN_F32;
    c->numbers[c->count] = calloc((size_t)tensor.count, sizeof(float));
    c->numbers[c->count][0] = first;
    c->tensors[c->count++] = tensor;
}

/* Written and opened as a model; the copy is gone then. */
static ls_status open_copy(copy *c)
{
    char path[128], line[128];
    ls_safetensors_writer *writer;
    ls_foreign *weights;
    ls_transformer_options options;
    snprintf(path, sizeof path, "%s/model.safetensors", c->folder);
    cr_assert_eq(ls_safetensors_begin(&writer, path, c->tensors, c->count), LS_OK, "%s", ls_fail_sentence());
    for (int i = 0; i < c->count; i++)
        cr_assert_eq(ls_safetensors_put(writer, c->numbers[i], c->tensors[i].count), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_safetensors_end(writer), LS_OK, "%s", ls_fail_sentence());
    ls_status status = ls_foreign_model_open(&weights, c->folder, &options);
    cr_expect((status == LS_OK) == (weights != NULL));
    ls_foreign_close(weights);
    ls_foreign_close(c->from);
    for (int i = 0; i < c->count; i++)
        free(c->numbers[i]);
    snprintf(line, sizeof line, "rm -r %s", c->folder);
    cr_assert_eq(system(line), 0);
    return status;
}

static void refused(copy *c, const char *says)
{
    cr_expect_eq(open_copy(c), LS_EFORMAT);
    cr_expect(strstr(ls_fail_sentence(), says), "%s", ls_fail_sentence());
}

Test(foreign_weights, tensors_that_config_json_does_not_describe_are_refused_by_name)
{
    copy c = copy_of("gpt2");
    cr_assert_eq(open_copy(&c), LS_OK, "%s", ls_fail_sentence());
    c = copy_of("gpt2");
    tensor_of(&c, "transformer.h.1.ln_2.bias")->name = "transformer.h.2.ln_2.bias";
    refused(&c, "no tensor \"transformer.h.1.ln_2.bias\" among its 28");
    c = copy_of("llama3");
    add(&c, "model.layers.0.self_attn.q_proj.bias", *tensor_of(&c, "model.norm.weight"), 0);
    refused(&c, "tensor \"model.layers.0.self_attn.q_proj.bias\" belongs to no part of the model");
    c = copy_of("llama3");
    add(&c, "model.layers.2.input_layernorm.weight", *tensor_of(&c, "model.norm.weight"), 0);
    refused(&c, "tensor \"model.layers.2.input_layernorm.weight\" belongs to no part");
    c = copy_of("llama3");
    ls_foreign_tensor *t = tensor_of(&c, "model.layers.1.mlp.up_proj.weight");
    t->shape[0] = 24, t->shape[1] = 40;
    refused(&c, "\"model.layers.1.mlp.up_proj.weight\" is F32 [24, 40], the model needs [40, 24]");
    c = copy_of("llama3");
    t = tensor_of(&c, "model.norm.weight");
    t->ndim = 2, t->shape[1] = 1;
    refused(&c, "is F32 [24, 1], the model needs [24]");
}

Test(foreign_weights, what_says_nothing_may_lie_beside_the_weights)
{
    copy c = copy_of("gpt2"); /* GPT-2's first files: masks, and names without "transformer." */
    for (int i = 0; i < c.count; i++)
        c.tensors[i].name += strlen("transformer.");
    add(&c, "h.0.attn.bias", (ls_foreign_tensor){.ndim = 4, .shape = {1, 1, 2, 2}, .count = 4}, 1);
    add(&c, "h.1.attn.masked_bias", (ls_foreign_tensor){.count = 1}, -10000);
    cr_expect_eq(open_copy(&c), LS_OK, "%s", ls_fail_sentence());
    c = copy_of("llama3");
    add(&c, "model.layers.1.self_attn.rotary_emb.inv_freq", (ls_foreign_tensor){.ndim = 1, .shape = {4}, .count = 4},
        1);
    cr_expect_eq(open_copy(&c), LS_OK, "%s", ls_fail_sentence());
    c = copy_of("gpt2"); /* the head of a tied model, once as it must be, once not */
    ls_foreign_tensor *embedding = tensor_of(&c, "transformer.wte.weight");
    add(&c, "lm_head.weight", *embedding, 0);
    memcpy(c.numbers[c.count - 1], c.numbers[embedding - c.tensors], (size_t)embedding->count * sizeof(float));
    cr_expect_eq(open_copy(&c), LS_OK, "%s", ls_fail_sentence());
    c = copy_of("gpt2");
    add(&c, "lm_head.weight", *tensor_of(&c, "transformer.wte.weight"), 1);
    refused(&c, "tensor \"lm_head.weight\" is not the embedding");
}
