#include "models/vit.h"
#include "tests/models/workbench.h"

/* timm's vit_small_patch16_224 has 22,050,664, vit_base_patch16_224 86,567,656. */
Test(vit, the_published_nets_have_their_published_sizes)
{
    static const ls_classifier_shape imagenet = {224, 224, 3, 1000};
    static const struct {
        ls_vit_options options;
        int64_t parameters;
    } rows[] = {
        {{.patch = 16, .layers = 12, .width = 384, .heads = 6, .norm_eps = 1e-6}, 22050664},
        {{.patch = 16, .layers = 12, .width = 768, .heads = 12, .norm_eps = 1e-6}, 86567656},
        {{.patch = 16, .layers = 12, .width = 384, .heads = 6, .norm_eps = 1e-6, .pool = 1},
         22050664 - 2 * 384}, /* no class token */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        void *model;
        ls_parameter *p;
        int64_t count = 0;
        cr_assert_eq(ls_classifier_vit.create(&model, &rows[i].options, &imagenet), LS_OK, "%s", ls_fail_sentence());
        for (int k = ls_classifier_vit.parameters(model, &p); k--;)
            count += p[k].count;
        cr_expect_eq(count, rows[i].parameters, "%lld", (long long)count);
        ls_classifier_vit.free(model);
    }
}

typedef struct {
    workbench w;
    void *model;
} bench;

static bench bench_of(const ls_vit_options *options, const ls_classifier_shape *shape, ls_type compute)
{
    bench b = {.w = workbench_without_model(compute, 2)};
    cr_assert_eq(ls_classifier_vit.create(&b.model, options, shape), LS_OK, "%s", ls_fail_sentence());
    b.w.count = ls_classifier_vit.parameters(b.model, &b.w.parameters);
    workbench_bind(&b.w);
    ls_parameters_init(b.w.parameters, b.w.count, 3, 0, b.w.elements, b.w.master);
    workbench_load(&b.w);
    return b;
}

static void bench_done(bench *b)
{
    ls_classifier_vit.free(b->model);
    workbench_done(&b->w);
}

static const ls_classifier_shape small = {8, 12, 2, 5};
enum { IMAGES = 3, EACH = 8 * 12 * 2, CLASSES = 5 };
static float pixels[IMAGES * EACH];

static void fill_pixels(void)
{
    for (int i = 0; i < IMAGES * EACH; i++)
        pixels[i] = (float)(i * 37 % 101) / 50 - 1;
}

/* An image's answer is its own, to the bit, and depends on where its squares stand. */
Test(vit, images_do_not_meet_and_places_count)
{
    const ls_vit_options options = {.patch = 4, .layers = 2, .width = 16, .heads = 2, .norm_eps = 1e-6};
    for (ls_type compute = LS_F32; compute <= LS_BF16; compute++) {
        bench b = bench_of(&options, &small, compute);
        float together[IMAGES * CLASSES], exchanged[EACH];
        fill_pixels();
        ls_tape_reset(b.w.tape, 1, 0, 0);
        memcpy(together, ls_classifier_vit.logits(b.model, b.w.tape, IMAGES, pixels)->data, sizeof together);
        for (int i = 0; i < IMAGES; i++) {
            ls_tape_reset(b.w.tape, 1, 0, 0);
            const ls_tensor *alone = ls_classifier_vit.logits(b.model, b.w.tape, 1, pixels + i * EACH);
            cr_expect_eq(memcmp(alone->data, together + i * CLASSES, CLASSES * sizeof(float)), 0, "image %d", i);
        }
        memcpy(exchanged, pixels + EACH / 2, sizeof exchanged / 2); /* the upper and the lower row of squares */
        memcpy(exchanged + EACH / 2, pixels, sizeof exchanged / 2);
        ls_tape_reset(b.w.tape, 1, 0, 0);
        const ls_tensor *other = ls_classifier_vit.logits(b.model, b.w.tape, 1, exchanged);
        cr_expect_neq(memcmp(other->data, together, CLASSES * sizeof(float)), 0);
        cr_assert_eq(ls_tape_status(b.w.tape), LS_OK, "%s", ls_fail_sentence());
        bench_done(&b);
    }
}

static void keep(void *context, const ls_parameter *parameter, void *gradient)
{
    memcpy((float *)context + parameter->offset, gradient, (size_t)parameter->count * sizeof(float));
}

/* With dropout, so that the random numbers are drawn again as well. */
Test(vit, recomputing_blocks_changes_no_bit)
{
    float *gradient[2];
    int64_t elements = 0;
    fill_pixels();
    for (int recompute = 0; recompute < 2; recompute++) {
        const ls_vit_options options = {
            .patch = 4, .layers = 2, .width = 16, .heads = 2, .norm_eps = 1e-6, .dropout = 0.2, .recompute = recompute};
        static const int32_t labels[] = {4, 0, 2};
        bench b = bench_of(&options, &small, LS_F32);
        elements = b.w.elements;
        gradient[recompute] = calloc((size_t)elements, sizeof **gradient);
        ls_tape_reset(b.w.tape, 1, 2, 3);
        ls_tensor *logits = ls_classifier_vit.logits(b.model, b.w.tape, IMAGES, pixels);
        ls_tensor *loss = ls_classifier_loss(b.w.tape, logits, &(ls_classifier_targets){.labels = labels});
        ls_backward(b.w.tape, loss, 1, keep, gradient[recompute]);
        cr_assert_eq(ls_tape_status(b.w.tape), LS_OK, "%s", ls_fail_sentence());
        bench_done(&b);
    }
    cr_expect_eq(memcmp(gradient[0], gradient[1], (size_t)elements * sizeof **gradient), 0);
    free(gradient[0]);
    free(gradient[1]);
}

Test(vit, what_does_not_fit_is_refused_with_its_numbers)
{
    static const struct {
        ls_vit_options options;
        const char *words[2];
    } rows[] = {
        {{.patch = 3, .layers = 1, .width = 16, .heads = 2}, {"8 x 12", "model.patch = 3"}},
        {{.patch = 24, .layers = 1, .width = 16, .heads = 2}, {"8 x 12", "model.patch = 24"}},
        {{.patch = 4, .layers = 1, .width = 16, .heads = 3}, {"model.width is 16", "model.heads = 3"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        void *model;
        cr_expect_eq(ls_classifier_vit.create(&model, &rows[i].options, &small), LS_ERECIPE);
        cr_expect_null(model);
        for (int k = 0; k < 2; k++)
            cr_expect(strstr(ls_fail_sentence(), rows[i].words[k]), "'%s' is not in: %s", rows[i].words[k],
                      ls_fail_sentence());
    }
}
