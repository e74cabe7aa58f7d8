/* Low-rank adapters against the model whose weights they are merged into: the same loss, and by the chain rule the same
 * gradients. */
#include "models/lora.h"
#include "tests/models/workbench.h"

#include <stdio.h>

enum { TOKENS = 9, ROWS = 2, VOCABULARY = 23 };
static const char *const all = "all";

static ls_transformer_options options_of(int style, int64_t rank)
{
    return (ls_transformer_options){.style = style,
                                    .vocabulary = VOCABULARY,
                                    .layers = 2,
                                    .width = 12,
                                    .heads = 2,
                                    .kv_heads = style ? 1 : 2,
                                    .hidden = 20,
                                    .context = 16,
                                    .tied = true,
                                    .rope_base = 1e4,
                                    .norm_eps = 1e-5,
                                    .init_std = 0.3,
                                    .rope_factor = 1,
                                    .lora = {.rank = rank, .alpha = 3, .targets = all}};
}

typedef struct {
    const ls_parameter *parameters;
    float *gradient; /* flat, as the parameters' offsets say */
} sink;

static void keep(void *context, const ls_parameter *parameter, void *gradient)
{
    sink *to = context;
    memcpy(to->gradient + parameter->offset, gradient, (size_t)parameter->count * sizeof(float));
}

/* Loss of fixed rows; gradients of all that learns. */
static double run(workbench *w, float *gradient)
{
    int32_t ids[ROWS * TOKENS], labels[ROWS * TOKENS];
    for (int i = 0; i < ROWS * TOKENS; i++)
        ids[i] = i * i * 5 % VOCABULARY, labels[i] = i % 4 == 3 ? -1 : (i * 7 + 2) % VOCABULARY;
    sink to = {w->parameters, gradient};
    ls_tape_reset(w->tape, 1, 0, 0);
    const ls_token_rows rows = {.rows = ROWS, .tokens = TOKENS, .ids = ids};
    ls_tensor *hidden = ls_transformer_hidden(w->model, w->tape, &rows);
    ls_tensor *sum = ls_cross_entropy_sum(w->tape, hidden, ls_transformer_head(w->model, w->tape), labels, NULL, NULL);
    ls_backward(w->tape, sum, 1, keep, &to);
    cr_assert_eq(ls_tape_status(w->tape), LS_OK, "%s", ls_fail_sentence());
    return (double)*(float *)sum->data;
}

static const ls_parameter *find(const workbench *w, const char *name)
{
    for (int i = 0; i < w->count; i++)
        if (strcmp(w->parameters[i].name, name) == 0)
            return &w->parameters[i];
    return NULL;
}

static void expect_near(const float *got, const double *want, int64_t n, const char *what)
{
    double error = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += want[i] * want[i];
    }
    cr_expect(norm > 0 && sqrt(error / norm) < 2e-5, "%s: %g of %g", what, sqrt(error), sqrt(norm));
}

/* y = x (W + s B A)^T, so dB = s dW A^T and dA = s B^T dW, dW being the merged weight's gradient. */
static void check_layer(const workbench *lora, const float *gradient, const workbench *merged, const float *full,
                        const char *stem, double s)
{
    char name[3][96];
    snprintf(name[0], sizeof name[0], "%s/weight", stem);
    snprintf(name[1], sizeof name[1], "%s/lora_a", stem);
    snprintf(name[2], sizeof name[2], "%s/lora_b", stem);
    const ls_parameter *w = find(merged, name[0]), *a = find(lora, name[1]), *b = find(lora, name[2]);
    cr_assert(w && a && b, "%s", stem);
    const int64_t out = w->shape[0], in = w->shape[1], rank = a->shape[0];
    const float *A = lora->master + a->offset, *B = lora->master + b->offset, *dW = full + w->offset;
    double want[64 * 64] = {0};
    for (int64_t k = 0; k < rank; k++)
        for (int64_t i = 0; i < in; i++) {
            want[k * in + i] = 0;
            for (int64_t o = 0; o < out; o++)
                want[k * in + i] += s * (double)B[o * rank + k] * (double)dW[o * in + i];
        }
    expect_near(gradient + a->offset, want, rank * in, name[1]);
    for (int64_t o = 0; o < out; o++)
        for (int64_t k = 0; k < rank; k++) {
            want[o * rank + k] = 0;
            for (int64_t i = 0; i < in; i++)
                want[o * rank + k] += s * (double)dW[o * in + i] * (double)A[k * in + i];
        }
    expect_near(gradient + b->offset, want, out * rank, name[2]);
}

/* Gives both the same base weights, the first adapters that are not zero, the second the merged weights. */
static void make_weights(workbench *lora, workbench *merged, double s)
{
    ls_parameters_init(lora->parameters, lora->count, 7, 0, lora->elements, lora->master);
    for (int i = 0; i < lora->count; i++)
        if (strstr(lora->parameters[i].name, "/lora_b"))
            for (int64_t k = 0; k < lora->parameters[i].count; k++)
                lora->master[lora->parameters[i].offset + k] = 0.1f * (float)((k * 37 + i) % 11 - 5);
    for (int i = 0; i < merged->count; i++) {
        const ls_parameter *to = &merged->parameters[i], *from = find(lora, to->name);
        float *w = merged->master + to->offset;
        char name[96];
        memcpy(w, lora->master + from->offset, (size_t)to->count * sizeof *w);
        snprintf(name, sizeof name, "%.*s/lora_a", (int)(strrchr(to->name, '/') - to->name), to->name);
        const ls_parameter *a = strstr(to->name, "/weight") ? find(lora, name) : NULL;
        if (!a)
            continue;
        const ls_parameter *b = a + 1;
        const int64_t in = to->shape[1], rank = a->shape[0];
        for (int64_t k = 0; k < to->count; k++)
            for (int64_t r = 0; r < rank; r++)
                w[k] += (float)(s * (double)lora->master[b->offset + k / in * rank + r] *
                                (double)lora->master[a->offset + r * in + k % in]);
    }
}

Test(lora, gradients_are_those_of_the_merged_weights_by_the_chain_rule)
{
    static const char *const layers[2][7] = {
        {"attention/query", "attention/key", "attention/value", "attention/output", "mlp/up", "mlp/down", NULL},
        {"attention/query", "attention/key", "attention/value", "attention/output", "mlp/gate", "mlp/up", "mlp/down"}};
    for (int style = 0; style < 2; style++) {
        const ls_transformer_options with = options_of(style, 3), without = options_of(style, 0);
        workbench lora = workbench_of(&with, LS_F32, 1), merged = workbench_of(&without, LS_F32, 1);
        make_weights(&lora, &merged, 1.0);
        float *gradient = calloc((size_t)lora.elements, sizeof *gradient),
              *full = calloc((size_t)merged.elements, sizeof *full);
        const double loss = run(&lora, gradient), want = run(&merged, full);
        cr_expect_leq(fabs(loss / want - 1), 1e-6, "%.9g %.9g", loss, want);
        for (int block = 0; block < 2; block++)
            for (int l = 0; l < 7 && layers[style][l]; l++) {
                char stem[64];
                snprintf(stem, sizeof stem, "blocks/%d/%s", block, layers[style][l]);
                check_layer(&lora, gradient, &merged, full, stem, 1.0);
            }
        for (int i = 0; i < lora.count; i++) { /* nothing else has a gradient */
            const ls_parameter *p = &lora.parameters[i];
            for (int64_t k = 0; k < p->count && !strstr(p->name, "/lora_"); k++)
                cr_assert(p->frozen && gradient[p->offset + k] == 0, "%s", p->name);
        }
        free(gradient);
        free(full);
        workbench_done(&lora);
        workbench_done(&merged);
    }
}

Test(lora, targets_are_words)
{
    static const struct {
        const char *targets, *layer;
        bool has;
    } rows[] = {{"query,value", "attention/query", true},
                {"query,value", "attention/key", false},
                {"query, value", "attention/value", true},
                {"attention", "attention/output", true},
                {"attention", "mlp/up", false},
                {"mlp", "mlp/gate", true},
                {"all", "mlp/down", true},
                {"up", "mlp/up", true},
                {"all", "attention/query_norm", false},
                {"val", "attention/value", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const ls_lora_options options = {.rank = 1, .alpha = 1, .targets = rows[i].targets};
        cr_expect_eq(ls_lora_has(&options, rows[i].layer), rows[i].has, "%s %s", rows[i].targets, rows[i].layer);
    }
}
