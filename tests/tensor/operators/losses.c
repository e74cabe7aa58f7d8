/* Losses over elements and over rows of classes, cosine similarity. */
#include "tests/tensor/operators/family.h"

/* ---- elements: argument 0 is the number of weights (0: none), argument 1 is 1 with weights of the positive class ----
 */

static float weight_at(int64_t i)
{
    return i % 5 == 3 ? 0 : 0.25f * (float)(1 + i % 7);
}

static float pos_weight_at(int64_t i)
{
    return 0.5f + 0.75f * (float)(i % 4);
}

static const float *floats(ls_tape *tape, int64_t n, float (*f)(int64_t i))
{
    float *out = ls_arena_array(ls_tape_arena(tape), float, n);
    for (int64_t i = 0; i < n; i++)
        out[i] = f(i);
    return out;
}

static const float *weights_of(ls_tape *tape, const operator_case *c)
{
    return c->argument[0] ? floats(tape, c->argument[0], weight_at) : NULL;
}

static ls_tensor *build_mse(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_mse_sum(tape, in[0], in[1], c->argument[0], weights_of(tape, c));
}

static ls_tensor *build_bce(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    int64_t classes = c->in[0].ndim ? size(c, 0, c->in[0].ndim - 1) : 1;
    return ls_bce_with_logits_sum(tape, in[0], in[1], c->argument[0], weights_of(tape, c),
                                  c->argument[1] ? floats(tape, classes, pos_weight_at) : NULL);
}

static ls_tensor *build_kl(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_kl_sum(tape, in[0], in[1], c->argument[0], weights_of(tape, c));
}

static double weighted_sum(const operator_case *c, const double *const *in, double (*f)(double, double, double))
{
    int64_t count = operator_input_count(c, 0), classes = c->in[0].ndim ? size(c, 0, c->in[0].ndim - 1) : 1;
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        double weight = c->argument[0] ? (double)weight_at(i / (count / c->argument[0])) : 1;
        sum += weight * f(in[0][i], in[1][i], c->argument[1] ? (double)pos_weight_at(i % classes) : 1);
    }
    return sum;
}

static double square_error(double x, double t, double p)
{
    (void)p;
    return (x - t) * (x - t);
}

/* -log of the probability of the target, from the probability itself */
static double binary_cross_entropy(double x, double t, double p)
{
    double probability = 1 / (1 + exp(-x));
    return -p * t * log(probability) - (1 - t) * log(1 - probability);
}

static double divergence(double log_q, double log_p, double p)
{
    (void)p;
    return exp(log_p) * (log_p - log_q);
}

static void value_mse(const operator_case *c, const double *const *in, double *out)
{
    *out = weighted_sum(c, in, square_error);
}

static void value_bce(const operator_case *c, const double *const *in, double *out)
{
    *out = weighted_sum(c, in, binary_cross_entropy);
}

static void value_kl(const operator_case *c, const double *const *in, double *out)
{
    *out = weighted_sum(c, in, divergence);
}

/* ---- rows: argument 0 is the number of weights (one a row, or 0), argument 1 the smoothing in eighths ---- */

static ls_tensor *build_soft_cross_entropy(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_soft_cross_entropy_sum(tape, in[0], in[1], (double)c->argument[1] / 8, weights_of(tape, c), NULL);
}

static ls_tensor *build_kl_of_logits(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_kl_of_logits_sum(tape, in[0], in[1], weights_of(tape, c), NULL);
}

static double log_softmax_at(const double *row, int64_t n, int64_t i)
{
    double sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += exp(row[k]);
    return row[i] - log(sum);
}

static void value_soft_cross_entropy(const operator_case *c, const double *const *in, double *out)
{
    int64_t n = size(c, 0, c->in[0].ndim - 1);
    double s = (double)c->argument[1] / 8;
    *out = 0;
    for (int64_t i = 0; i < operator_input_count(c, 0); i++)
        *out -= (c->argument[0] ? (double)weight_at(i / n) : 1) * ((1 - s) * in[1][i] + s / (double)n) *
                log_softmax_at(in[0] + i / n * n, n, i % n);
}

static void value_kl_of_logits(const operator_case *c, const double *const *in, double *out)
{
    int64_t n = size(c, 0, c->in[0].ndim - 1);
    *out = 0;
    for (int64_t i = 0; i < operator_input_count(c, 0); i++) {
        double log_p = log_softmax_at(in[1] + i / n * n, n, i % n), log_q = log_softmax_at(in[0] + i / n * n, n, i % n);
        *out += (c->argument[0] ? (double)weight_at(i / n) : 1) * exp(log_p) * (log_p - log_q);
    }
}

/* ---- cosine similarity: argument 0 is eps in eighths, 0: PyTorch's 1e-8 ---- */

static double eps_of(const operator_case *c)
{
    return c->argument[0] ? (double)c->argument[0] / 8 : 1e-8;
}

static ls_tensor *build_cosine(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_cosine_similarity(tape, in[0], in[1], eps_of(c));
}

static void value_cosine(const operator_case *c, const double *const *in, double *out)
{
    int64_t n = size(c, 0, c->in[0].ndim - 1), rows = 1;
    for (int i = 0; i < c->in[0].ndim - 1; i++)
        rows *= size(c, 0, i);
    for (int64_t r = 0; r < rows; r++) {
        double ab = 0, aa = 0, bb = 0;
        for (int64_t i = r * n; i < (r + 1) * n; i++)
            ab += in[0][i] * in[1][i], aa += in[0][i] * in[0][i], bb += in[1][i] * in[1][i];
        out[r] = ab / (fmax(sqrt(aa), eps_of(c)) * fmax(sqrt(bb), eps_of(c)));
    }
}

/* ---- drawn shapes ---- */

/* Weights for all elements, for rows of the first axis, or none. */
static void draw_elements(fuzz *f, operator_case *c)
{
    draw_same(f, c);
    int64_t count = operator_input_count(c, 0), which = fuzz_below(f, 3);
    c->argument[0] = which == 0 || !count ? 0 : which == 1 ? count : size(c, 0, 0);
    c->argument[1] = fuzz_below(f, 2);
}

/* A row is a distribution: it has a class. */
static void draw_classes(fuzz *f, operator_case *c)
{
    int64_t rows = 1;
    for (int64_t lead = 1 + fuzz_below(f, 2); lead > 0; lead--) {
        fuzz_append(c, 0, fuzz_size(f));
        rows *= size(c, 0, c->in[0].ndim - 1);
    }
    fuzz_append(c, 0, fuzz_size_from(f, 1));
    c->in[1] = c->in[0];
    c->argument[0] = fuzz_below(f, 2) ? rows : 0;
    c->argument[1] = fuzz_below(f, 3);
}

static void draw_cosine(fuzz *f, operator_case *c)
{
    draw_same(f, c);
    c->argument[0] = 8 * fuzz_below(f, 2);
}

/* clang-format off */
static const operator_case elements[] = {
    {"scalar", {{0, {0}}, {0, {0}}}, {0}},
    {"odd", {{2, {3, 7}}, {2, {3, 7}}}, {0}},
    {"a weight a row", {{2, {5, 7}}, {2, {5, 7}}}, {5}},
    {"a weight an element", {{2, {3, 5}}, {2, {3, 5}}}, {15}},
    {"weights of the positive class", {{2, {4, 6}}, {2, {4, 6}}}, {0, 1}},
    {"both weights", {{2, {4, 6}}, {2, {4, 6}}}, {4, 1}},
    {"more than a block", {{1, {600}}, {1, {600}}}, {300, 0}},
    {"size 1", {{1, {1}}, {1, {1}}}, {1}},
    {0},
};
static const operator_case classes[] = {
    {"plain", {{2, {5, 7}}, {2, {5, 7}}}, {0, 0}},
    {"weights", {{3, {2, 3, 5}}, {3, {2, 3, 5}}}, {6, 0}},
    {"smoothed", {{2, {4, 9}}, {2, {4, 9}}}, {0, 1}},
    {"smoothed, weights", {{2, {4, 3}}, {2, {4, 3}}}, {4, 2}},
    {"one row alone", {{1, {17}}, {1, {17}}}, {0, 0}},
    {"more classes than a block", {{2, {1, 530}}, {2, {1, 530}}}, {0, 1}},
    {"one class", {{2, {3, 1}}, {2, {3, 1}}}, {0, 0}},
    {0},
};
static const operator_case cosines[] = {
    {"odd", {{2, {3, 7}}, {2, {3, 7}}}, {0}},
    {"past one vector", {{3, {2, 2, 19}}, {3, {2, 2, 19}}}, {0}},
    {"one row", {{1, {5}}, {1, {5}}}, {0}},
    {"norms below eps", {{2, {4, 5}}, {2, {4, 5}}}, {40}},
    {"one norm below eps", {{2, {6, 2}}, {2, {6, 2}}}, {6}},
    {0},
};

#define BIG_CLASSES {"bench", {{2, {512, 4096}}, {2, {512, 4096}}}, {0, 0}}
const operator_description operators_losses[] = {
    {.name = "mse_sum", .inputs = 2, .build = build_mse, .value = value_mse, .cases = elements, .draw = draw_elements, .bench = BIG_TWO},
    {.name = "bce_with_logits_sum", .inputs = 2, .build = build_bce, .value = value_bce, .cases = elements, .draw = draw_elements, .bench = BIG_TWO, .low = -1, .high = 1},
    {.name = "kl_sum", .inputs = 2, .build = build_kl, .value = value_kl, .cases = elements, .draw = draw_elements, .bench = BIG_TWO, .low = -4, .high = 0},
    {.name = "soft_cross_entropy_sum", .inputs = 2, .build = build_soft_cross_entropy, .value = value_soft_cross_entropy, .cases = classes, .draw = draw_classes, .bench = BIG_CLASSES, .low = 0.1, .high = 1},
    {.name = "kl_of_logits_sum", .inputs = 2, .build = build_kl_of_logits, .value = value_kl_of_logits, .cases = classes, .draw = draw_classes, .bench = BIG_CLASSES, .low = -3, .high = 3},
    {.name = "cosine_similarity", .inputs = 2, .build = build_cosine, .value = value_cosine, .cases = cosines, .draw = draw_cosine, .bench = BIG_TWO},
    {0},
};
/* clang-format on */
