#include "tensor/cpu/cpu.h"
#include "tensor/cpu/product.h"
#include "tests/tensor/numbers.h"

typedef struct {
    int64_t rows, width, vocabulary;
    bool weights, masked;
} shape;

/* One of each, odd sizes, more rows and words than a block, also than one that is kept for gradients. */
static const shape shapes[] = {
    {1, 1, 1, .masked = false},
    {1, 7, 2, .masked = false},
    {5, 3, 11, .weights = true},
    {33, 16, 300, .weights = true, .masked = true},
    {70, 20, 2049, .masked = true},
    {64, 8, 4500, .masked = false},
    {2100, 4, 37, .weights = true, .masked = true},
    {31, 300, 129, .weights = true},
    {130, 2, 250000, .masked = true},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static ls_type sums(ls_type type)
{
    return type == LS_F64 ? LS_F64 : LS_F32;
}

static ls_cross_entropy_args arguments(const shape *s, ls_type type)
{
    ls_cross_entropy_args x = {.type = type,
                               .rows = s->rows,
                               .width = s->width,
                               .vocabulary = s->vocabulary,
                               .x = numbers(type, s->rows * s->width, 1, 1),
                               .w = numbers(type, s->vocabulary * s->width, 2, 0.7),
                               .losses = array_of(sums(type), s->rows),
                               .dx = numbers(sums(type), s->rows * s->width, 3, 0.1),
                               .dw = numbers(sums(type), s->vocabulary * s->width, 4, 0.1)};
    int32_t *labels = calloc((size_t)s->rows, sizeof *labels);
    float *weights = calloc((size_t)s->rows, sizeof *weights);
    for (int64_t i = 0; i < s->rows; i++) {
        labels[i] = (int32_t)((i * 7919 + 3) % s->vocabulary);
        if (s->masked && i % 3 == 1)
            labels[i] = -1;
        weights[i] = s->masked && i % 5 == 2 ? 0.0f : 0.25f * (float)(1 + i % 4);
    }
    x.labels = labels;
    x.weights = s->weights ? weights : (free(weights), NULL);
    return x;
}

static void release(ls_cross_entropy_args *x)
{
    void *all[] = {(void *)x->x, (void *)x->w, (void *)x->labels, (void *)x->weights, x->losses, x->dx, x->dw};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* losses [rows], dx and dw by the formula. */
static void reference(const ls_cross_entropy_args *x, double *losses, double *dx, double *dw)
{
    double *p = calloc((size_t)x->vocabulary, sizeof *p);
    for (int64_t r = 0; r < x->rows; r++) {
        double weight = x->weights ? (double)x->weights[r] : 1, top = -INFINITY, sum = 0;
        if (x->labels[r] < 0 || weight == 0)
            continue;
        for (int64_t v = 0; v < x->vocabulary; v++) {
            p[v] = 0;
            for (int64_t d = 0; d < x->width; d++)
                p[v] += get(x->type, x->x, r * x->width + d) * get(x->type, x->w, v * x->width + d);
            top = fmax(top, p[v]);
        }
        double label = p[x->labels[r]];
        for (int64_t v = 0; v < x->vocabulary; v++)
            sum += p[v] = exp(p[v] - top);
        losses[r] = top + log(sum) - label;
        for (int64_t v = 0; v < x->vocabulary; v++) {
            double g = (p[v] / sum - (v == x->labels[r])) * weight;
            for (int64_t d = 0; d < x->width; d++) {
                dx[r * x->width + d] += g * get(x->type, x->w, v * x->width + d);
                dw[v * x->width + d] += g * get(x->type, x->x, r * x->width + d);
            }
        }
    }
    free(p);
}

static double *doubles_of(ls_type type, const void *x, int64_t count)
{
    double *y = calloc((size_t)count, sizeof *y);
    for (int64_t i = 0; x && i < count; i++)
        y[i] = get(type, x, i);
    return y;
}

/* Of bf16 in pairs p, and then the slopes of the logits, are rounded to bf16; everything else is f32. */
static double gradient_limit(const ls_device *device, ls_type type)
{
    const bool pairs = type == LS_BF16 && ls_product_kernels_for(((ls_cpu *)device->self)->level, type)->unit == 2;
    return type == LS_F64 ? 1e-12 : pairs ? tolerance(LS_BF16) : 1e-5;
}

static void agrees_with_f64(ls_type type)
{
    ls_device *device = device_of(2);
    const double of_gradients = gradient_limit(device, type);
    ls_arena *scratch = scratch_arena();
    for (int n = 0; n < SHAPES; n++) {
        const shape *s = &shapes[n];
        ls_cross_entropy_args x = arguments(s, type);
        double *losses = doubles_of(type, NULL, s->rows), *dx = doubles_of(type, NULL, s->rows * s->width),
               *dw = doubles_of(type, NULL, s->vocabulary * s->width);
        reference(&x, losses, dx, dw);
        cr_assert_eq(device->cross_entropy(device, &x, scratch), LS_OK, "%s", ls_fail_sentence());
        double limit = type == LS_F64 ? 1e-12 : 1e-5;
        cr_expect_leq(relative_error(sums(type), x.losses, losses, s->rows), limit, "shape %d: losses", n);
        cr_expect_leq(relative_error(sums(type), x.dw, dw, s->vocabulary * s->width), of_gradients, "shape %d: dw", n);
        cr_expect_leq(relative_error(sums(type), x.dx, dx, s->rows * s->width), of_gradients, "shape %d: dx", n);
        for (int64_t r = 0; r < s->rows; r++)
            if (x.labels[r] < 0)
                cr_assert_eq(get(sums(type), x.losses, r), 0, "a skipped row has no loss");
        cr_assert_eq(ls_arena_used(scratch), 0, "scratch was not given back");
        free(losses), free(dx), free(dw);
        release(&x);
    }
    ls_arena_free(scratch);
    device_done(device);
}

Test(cross_entropy, agrees_with_f64_in_f32)
{
    agrees_with_f64(LS_F32);
}
Test(cross_entropy, agrees_with_f64_in_bf16)
{
    agrees_with_f64(LS_BF16);
}
Test(cross_entropy, agrees_with_f64_in_f16)
{
    agrees_with_f64(LS_F16);
}
Test(cross_entropy, agrees_with_f64_in_f64)
{
    agrees_with_f64(LS_F64);
}

Test(cross_entropy, any_team_gives_the_same_bits)
{
    ls_arena *scratch = scratch_arena();
    ls_device *device[] = {device_of(1), device_of(2), device_of(3)};
    for (int n = 0; n < SHAPES; n++)
        for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type)) {
            const shape *s = &shapes[n];
            ls_cross_entropy_args x[3];
            for (int t = 0; t < 3; t++) {
                x[t] = arguments(s, type);
                cr_assert_eq(device[t]->cross_entropy(device[t], &x[t], scratch), LS_OK);
                cr_expect_eq(memcmp(x[0].losses, x[t].losses, (size_t)s->rows * 4), 0, "losses, shape %d, %d threads",
                             n, t + 1);
                cr_expect_eq(memcmp(x[0].dx, x[t].dx, (size_t)(s->rows * s->width) * 4), 0, "dx, shape %d, %d threads",
                             n, t + 1);
                cr_expect_eq(memcmp(x[0].dw, x[t].dw, (size_t)(s->vocabulary * s->width) * 4), 0,
                             "dw, shape %d, %d threads", n, t + 1);
            }
            for (int t = 0; t < 3; t++)
                release(&x[t]);
        }
    for (int t = 0; t < 3; t++)
        device_done(device[t]);
    ls_arena_free(scratch);
}

/* Products of f16 numbers, and below avx512_bf16 of bf16 numbers, are those of the same numbers in f32, and so is all that follows. */
static void is_widened(ls_type type)
{
    ls_device *device = device_of(2);
    ls_cpu *cpu = device->self;
    cpu->level = cpu->level > LS_NUMERICS_AVX512 ? LS_NUMERICS_AVX512 : cpu->level;
    ls_arena *scratch = scratch_arena();
    for (int n = 0; n < SHAPES; n++) {
        const shape *s = &shapes[n];
        ls_cross_entropy_args narrow = arguments(s, type), f32 = arguments(s, LS_F32);
        device->cast(device, type, LS_F32, s->rows * s->width, narrow.x, (void *)f32.x);
        device->cast(device, type, LS_F32, s->vocabulary * s->width, narrow.w, (void *)f32.w);
        cr_assert_eq(device->cross_entropy(device, &narrow, scratch), LS_OK);
        cr_assert_eq(device->cross_entropy(device, &f32, scratch), LS_OK);
        cr_expect_eq(memcmp(narrow.losses, f32.losses, (size_t)s->rows * 4), 0, "losses, shape %d", n);
        cr_expect_eq(memcmp(narrow.dx, f32.dx, (size_t)(s->rows * s->width) * 4), 0, "dx, shape %d", n);
        cr_expect_eq(memcmp(narrow.dw, f32.dw, (size_t)(s->vocabulary * s->width) * 4), 0, "dw, shape %d", n);
        release(&narrow);
        release(&f32);
    }
    device_done(device);
    ls_arena_free(scratch);
}

Test(cross_entropy, what_is_not_multiplied_in_pairs_is_widened)
{
    is_widened(LS_BF16);
    is_widened(LS_F16);
}

static void a_row_alone_gives_the_bits_it_has_among_others(ls_type type)
{
    const shape s = {70, 20, 2100, .weights = true, .masked = true};
    ls_device *device = device_of(2);
    ls_arena *scratch = scratch_arena();
    ls_cross_entropy_args whole = arguments(&s, type);
    cr_assert_eq(device->cross_entropy(device, &whole, scratch), LS_OK);
    for (int64_t row = 0; row < s.rows; row++) {
        float loss, dx[20] = {0};
        ls_cross_entropy_args x = whole;
        x.rows = 1;
        x.x = (const char *)whole.x + (size_t)(row * s.width) * ls_type_size(type);
        x.labels += row;
        x.weights += row;
        x.losses = &loss;
        x.dx = dx;
        x.dw = NULL;
        cr_assert_eq(device->cross_entropy(device, &x, scratch), LS_OK);
        cr_expect_eq(memcmp(&loss, (float *)whole.losses + row, 4), 0, "loss of row %d", (int)row);
        cr_expect_eq(memcmp(dx, (float *)whole.dx + row * s.width, sizeof dx), 0, "dx of row %d", (int)row);
    }
    release(&whole);
    ls_arena_free(scratch);
    device_done(device);
}

Test(cross_entropy, a_row_alone_gives_the_bits_it_has_among_others)
{
    a_row_alone_gives_the_bits_it_has_among_others(LS_F32);
    a_row_alone_gives_the_bits_it_has_among_others(LS_BF16);
}

Test(cross_entropy, all_rows_skipped_and_no_rows_give_zeros)
{
    ls_device *device = device_of(1);
    ls_arena *scratch = scratch_arena();
    shape s = {3, 4, 5, .masked = false};
    for (int64_t rows = 3; rows >= 0; rows -= 3) {
        ls_cross_entropy_args x = arguments(&s, LS_F32);
        for (int i = 0; i < 3; i++)
            ((int32_t *)x.labels)[i] = -1;
        x.rows = rows;
        cr_assert_eq(device->cross_entropy(device, &x, scratch), LS_OK);
        for (int i = 0; i < rows * 4; i++)
            cr_expect_eq(((float *)x.dx)[i], 0);
        for (int i = 0; i < 5 * 4; i++)
            cr_expect_eq(((float *)x.dw)[i], 0);
        release(&x);
    }
    ls_arena_free(scratch);
    device_done(device);
}

static void losses_are_the_same_bits_without_gradients(ls_type type)
{
    ls_device *device = device_of(2);
    ls_arena *scratch = scratch_arena();
    for (int n = 0; n < SHAPES; n++) {
        ls_cross_entropy_args with = arguments(&shapes[n], type), without = arguments(&shapes[n], type), plain = without;
        plain.dx = plain.dw = NULL;
        cr_assert_eq(device->cross_entropy(device, &with, scratch), LS_OK);
        cr_assert_eq(device->cross_entropy(device, &plain, scratch), LS_OK);
        cr_expect_eq(memcmp(with.losses, plain.losses, (size_t)with.rows * sizeof(float)), 0, "shape %d", n);
        release(&with);
        release(&without);
    }
    ls_arena_free(scratch);
    device_done(device);
}

Test(cross_entropy, losses_are_the_same_bits_without_gradients)
{
    losses_are_the_same_bits_without_gradients(LS_F32);
    losses_are_the_same_bits_without_gradients(LS_BF16);
}

/* p = 0.99966 is 1 in bf16, p - 1 is not 0: a model that knows its text still learns from it. */
Test(cross_entropy, the_slope_of_a_sure_label_outlives_the_rounding_of_p)
{
    ls_device *device = device_of(1);
    ls_arena *scratch = scratch_arena();
    const uint16_t x[2] = {0x4100, 0}, w[4] = {0x3f80, 0, 0, 0}; /* logits 8 and 0 */
    float loss, dx[2], dw[4];
    const ls_cross_entropy_args args = {.type = LS_BF16, .rows = 1, .width = 2, .vocabulary = 2, .x = x, .w = w, .labels = (int32_t[]){0}, .losses = &loss, .dx = dx, .dw = dw};
    cr_assert_eq(device->cross_entropy(device, &args, scratch), LS_OK);
    const double slope = -1 / (1 + exp(8));
    cr_expect_leq(fabs(dw[0] / (8 * slope) - 1), 0.01, "%g, not %g", dw[0], 8 * slope);
    cr_expect_leq(fabs(dx[0] / slope - 1), 0.01, "%g, not %g", dx[0], slope);
    ls_arena_free(scratch);
    device_done(device);
}

Test(cross_entropy, the_logits_are_never_whole)
{
    const shape s = {1024, 8, 60000, .masked = false};
    ls_device *device = device_of(2);
    ls_arena *scratch = scratch_arena();
    ls_cross_entropy_args x = arguments(&s, LS_BF16);
    cr_assert_eq(device->cross_entropy(device, &x, scratch), LS_OK);
    cr_assert_lt(ls_arena_high(scratch), (size_t)(s.rows * s.vocabulary) * sizeof(float) / 3);
    release(&x);
    ls_arena_free(scratch);
    device_done(device);
}
