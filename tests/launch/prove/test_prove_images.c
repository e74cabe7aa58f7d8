/* `lockstep prove` of task classify: convnet with batch norm and vision transformer, augmentation on, in all
 * precisions. The long form is bench/accept/bits. */
#include "tests/launch/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(void)
{
    fixture_make();
    cr_assert_eq(fixture_run("$LOCKSTEP data images -o $FOLDER/digits --scale 16 --range 0..119 "
                             "$LS_SOURCE/data-sets/digits/digits.csv.gz"),
                 0, "%s", text);
}

TestSuite(prove_images, .init = begin, .fini = fixture_clean, .timeout = 110);

static const char convnet[] =
    "model: {family: convnet, blocks: [1, 1], widths: [32, 8], shortcut: projection}\noptimizer: {name: sgd, lr: 0.1, clip_norm: 0.5}\n";
static const char vit[] =
    "model: {family: vit, patch: 2, layers: 1, width: 16, heads: 2, dropout: 0.1}\noptimizer: {lr: 5e-3}\n";

/* 120 images in steps of 5 x 7: the fourth step has 15 images, the last grain one. */
static void write_recipe(const char *model)
{
    char path[256];
    snprintf(path, sizeof path, "%s/recipe.yaml", folder);
    FILE *out = fopen(path, "w");
    fprintf(out,
            "task: classify\nrun: %s/run\nseed: 3\ndata: {train: %s/digits, eval: %s/digits, epochs: 2}\n"
            "augment: {crop: 1, flip: true, brightness: 0.2, mixup: 0.4}\nbatch: {grain: 7, grains: 5}\nclassify: "
            "{label_smoothing: 0.1}\n%s",
            folder, folder, folder, model);
    fclose(out);
}

Test(prove_images, both_families_keep_their_bits)
{
    static const struct {
        const char *model, *arguments;
    } rows[] = {
        {convnet, "--ranks 1,3 --threads 2"},
        {convnet, "--ranks 2,5 --threads 1 precision=bf16 guard.audit_every=1 guard.replicas_every=1"},
        {vit, "--ranks 1,2 --threads 2 precision=bf16"},
        {convnet, "--ranks 1,3 --threads 1 precision=fp16 loss_scale.start=4294967296"}, /* steps are skipped, and running statistics with them */
        {vit, "--ranks 3,4 --threads 1 guard.audit_every=1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_recipe(rows[i].model);
        const int code = fixture_run("$LOCKSTEP prove $FOLDER/recipe.yaml --steps 5 %s", rows[i].arguments);
        cr_expect_eq(code, 0, "%s: %d\n%s", rows[i].arguments, code, text);
        cr_expect_eq(fixture_count("  same"), 4, "%s", text);
        cr_expect(strstr(text, "killed after step") && strstr(text, "All 5 trials agree"), "%s", text);
    }
}
