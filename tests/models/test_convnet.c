#include "models/convnet.h"
#include "tests/models/workbench.h"

static const ls_classifier_shape imagenet = {224, 224, 3, 1000}, cifar = {32, 32, 3, 10};

static int64_t learnt(const ls_convnet_options *options, const ls_classifier_shape *shape, int64_t *statistics)
{
    void *model;
    ls_parameter *p;
    int64_t count = 0;
    cr_assert_eq(ls_classifier_convnet.create(&model, options, shape), LS_OK, "%s", ls_fail_sentence());
    *statistics = 0;
    for (int i = ls_classifier_convnet.parameters(model, &p); i--;)
        *(p[i].statistic ? statistics : &count) += p[i].count;
    ls_classifier_convnet.free(model);
    return count;
}

/* ResNet-20: table 6 of He et al. 2016a says 0.27M; the others are torchvision's resnet18 and resnet34. */
Test(convnet, the_published_nets_have_their_published_sizes)
{
    ls_convnet_options o = {.stem = 0, .blocks = {3, {3, 3, 3}}, .widths = {3, {16, 32, 64}}, .norm_eps = 1e-5};
    int64_t statistics;
    cr_expect_eq(learnt(&o, &cifar, &statistics), 269722);
    cr_expect_eq(statistics, 2 * (7 * 16 + 6 * 32 + 6 * 64));
    o = (ls_convnet_options){
        .stem = 1, .shortcut = 1, .blocks = {4, {2, 2, 2, 2}}, .widths = {4, {64, 128, 256, 512}}, .norm_eps = 1e-5};
    cr_expect_eq(learnt(&o, &imagenet, &statistics), 11689512);
    cr_expect_eq(statistics, 9600);
    o.blocks = (ls_option_ints){4, {3, 4, 6, 3}};
    cr_expect_eq(learnt(&o, &imagenet, &statistics), 21797672);
    o.norm = 1;
    o.groups = 32;
    cr_expect_eq(learnt(&o, &imagenet, &statistics), 21797672);
    cr_expect_eq(statistics, 0);
}

static ls_tensor *some_logits(workbench *w, void *model, const ls_classifier_shape *shape, int64_t images,
                              const float *pixels)
{
    (void)shape;
    ls_tape_reset(w->tape, 1, 0, 0);
    ls_tensor *logits = ls_classifier_convnet.logits(model, w->tape, images, pixels);
    cr_assert_eq(ls_tape_status(w->tape), LS_OK, "%s", ls_fail_sentence());
    return logits;
}

/* With group norm an image's answer is its own, to the bit; with batch norm the others show. */
Test(convnet, images_meet_in_batch_norm_alone)
{
    enum { IMAGES = 5, SIDE = 7, EACH = SIDE * SIDE * 2, CLASSES = 3 };
    static float pixels[IMAGES * EACH];
    const ls_classifier_shape shape = {SIDE, SIDE, 2, CLASSES};
    for (int i = 0; i < IMAGES * EACH; i++)
        pixels[i] = (float)(i * 37 % 101) / 50 - 1;
    for (int group = 0; group < 2; group++) {
        const ls_convnet_options o = {.blocks = {2, {1, 1}},
                                      .widths = {2, {4, 8}},
                                      .norm = group,
                                      .groups = 2,
                                      .norm_eps = 1e-5,
                                      .norm_momentum = 0.1};
        workbench w = workbench_without_model(LS_F32, 2);
        void *model;
        cr_assert_eq(ls_classifier_convnet.create(&model, &o, &shape), LS_OK, "%s", ls_fail_sentence());
        w.count = ls_classifier_convnet.parameters(model, &w.parameters);
        workbench_bind(&w);
        ls_parameters_init(w.parameters, w.count, 3, 0, w.elements, w.master);
        float together[IMAGES * CLASSES];
        memcpy(together, some_logits(&w, model, &shape, IMAGES, pixels)->data, sizeof together);
        for (int i = 0; i < IMAGES; i++) {
            const ls_tensor *alone = some_logits(&w, model, &shape, 1, pixels + i * EACH);
            cr_expect_eq(memcmp(alone->data, together + i * CLASSES, CLASSES * sizeof(float)) == 0, group, "image %d",
                         i);
        }
        ls_classifier_convnet.free(model);
        workbench_done(&w);
    }
}

/* Goyal et al. 2017: with a last gain of 0 each block is relu of its shortcut, so blocks of the first stage change
 * nothing. */
Test(convnet, a_zero_last_gain_begins_as_the_shortcut)
{
    enum { EACH = 6 * 6 };
    static float pixels[2 * EACH];
    const ls_classifier_shape shape = {6, 6, 1, 4};
    float logits[2][8];
    for (int i = 0; i < 2 * EACH; i++)
        pixels[i] = (float)(i * 29 % 31) / 15 - 1;
    for (int blocks = 1; blocks <= 2; blocks++) {
        const ls_convnet_options o = {
            .blocks = {1, {blocks}}, .widths = {1, {8}}, .zero_last_gain = true, .norm_eps = 1e-5};
        workbench w = workbench_without_model(LS_F32, 1);
        void *model;
        cr_assert_eq(ls_classifier_convnet.create(&model, &o, &shape), LS_OK, "%s", ls_fail_sentence());
        w.count = ls_classifier_convnet.parameters(model, &w.parameters);
        workbench_bind(&w);
        for (int i = 0; i < w.count;
             i++) /* the head's number depends on how many blocks there are; its weights should not */
            if (strncmp(w.parameters[i].name, "head/", 5) == 0)
                w.parameters[i].number = 1000 + i % 2;
        ls_parameters_init(w.parameters, w.count, 3, 0, w.elements, w.master);
        memcpy(logits[blocks - 1], some_logits(&w, model, &shape, 2, pixels)->data, sizeof logits[0]);
        ls_classifier_convnet.free(model);
        workbench_done(&w);
    }
    cr_expect_eq(memcmp(logits[0], logits[1], sizeof logits[0]), 0);
}

Test(convnet, what_does_not_fit_is_refused_with_its_numbers)
{
    static const struct {
        ls_convnet_options options;
        const char *words[2];
    } rows[] = {
        {{.blocks = {2, {1, 1}}, .widths = {3, {8, 8, 8}}}, {"2 stages", "3"}},
        {{.blocks = {0}, .widths = {0}}, {"0 stages", "at least one"}},
        {{.blocks = {1, {1}}, .widths = {1, {12}}, .norm = 1, .groups = 8}, {"12", "model.groups = 8"}},
        {{.blocks = {2, {1, 1}}, .widths = {2, {16, 8}}}, {"16 to 8", "projection"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        void *model;
        cr_expect_eq(ls_classifier_convnet.create(&model, &rows[i].options, &cifar), LS_ERECIPE);
        cr_expect_null(model);
        for (int k = 0; k < 2; k++)
            cr_expect(strstr(ls_fail_sentence(), rows[i].words[k]), "'%s' is not in: %s", rows[i].words[k],
                      ls_fail_sentence());
    }
}
