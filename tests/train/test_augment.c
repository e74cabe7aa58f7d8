/* The recipe's section `augment` from outside: it changes what is trained on and nothing else, and what cannot be is
 * refused before anything is written. */
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(void)
{
    ls_fixture_begin();
    ls_fixture_images();
}

TestSuite(augment, .init = begin, .fini = ls_fixture_end, .timeout = 100);

static const char everything[] =
    "'augment={crop: 2, pad: reflect, flip: true, brightness: 0.3, contrast: 0.4, mixup: 0.3}'";

/* All values of a key in the run's metrics, one a line. */
static void metrics(const char *run, const char *key, char text[4096])
{
    snprintf(text, 4096, "%.4095s", ls_shell("grep -o '\"%s\": [-0-9.e+]*' %s/metrics.jsonl", key, run)->output);
    cr_assert(strchr(text, ':'), "%s has no %s: %s", run, key, text);
}

/* Weights that do not move: what is evaluated is the same, what is trained on is not. */
Test(augment, held_out_images_are_never_augmented)
{
    char plain[4096], augmented[4096];
    ls_expect(ls_shell("lockstep train digits.yaml run=a optimizer.lr=0 max_steps=2 model.norm_momentum=0 augment="), 0,
              NULL);
    ls_expect(
        ls_shell("lockstep train digits.yaml run=b optimizer.lr=0 max_steps=2 model.norm_momentum=0 %s", everything), 0,
        NULL);
    metrics("a", "eval_loss", plain);
    metrics("b", "eval_loss", augmented);
    cr_assert_str_eq(plain, augmented);
    metrics("a", "loss", plain);
    metrics("b", "loss", augmented);
    cr_assert_str_neq(plain, augmented, "training has not seen the section");
}

Test(augment, a_run_that_stopped_goes_on_with_the_same_images_on_other_ranks)
{
    char whole[4096], parts[4096];
    const char *line = "lockstep train digits.yaml hash_log=true optimizer.warmup=2";
    ls_expect(ls_shell("%s run=b max_steps=2 optimizer.schedule=constant %s", line, everything), 0, NULL);
    ls_expect(ls_shell("%s run=c max_steps=4 optimizer.schedule=constant %s", line, everything), 0, NULL);
    ls_expect(
        ls_shell("mpirun --oversubscribe -n 3 %s run=b max_steps=4 optimizer.schedule=constant %s", line, everything),
        0, NULL);
    snprintf(parts, sizeof parts, "%.4095s", ls_shell("lockstep ckpt hash b/checkpoints/step-00000004")->output);
    snprintf(whole, sizeof whole, "%.4095s", ls_shell("lockstep ckpt hash c/checkpoints/step-00000004")->output);
    cr_assert_str_eq(parts, whole);
}

Test(augment, what_cannot_be_is_refused_before_a_run_folder_is_made)
{
    ls_expect(ls_shell("lockstep train digits.yaml run=x augment.crop=8"), 2, "data.train", "augment.crop is 8",
              "8 x 8", NULL);
    ls_expect(ls_shell("lockstep train digits.yaml run=x augment.saturation=0.1"), 2, "augment.saturation", "grey",
              NULL);
    ls_expect(ls_shell("lockstep train digits.yaml run=x batch.grain=1"), 2, "augment.mixup", "batch.grain is 1", NULL);
    ls_expect(ls_shell("lockstep train digits.yaml run=x augment.mixup=17"), 2, "augment.mixup", "[0, 16]", NULL);
    ls_expect(ls_shell("lockstep train digits.yaml run=x augment.pad=edge"), 2, "augment.pad", "zero, reflect", NULL);
    ls_expect(ls_shell("lockstep train digits.yaml run=x augment.flop=true"), 2, "nearest: augment.flip", NULL);
    ls_expect(ls_shell("ls -d x"), 2, NULL);
}

Test(augment, text_has_nothing_to_augment)
{
    ls_fixture_data();
    ls_expect(ls_shell("lockstep train tiny.yaml run=x augment.flip=true"), 2, "sft holds text",
              "section augment is for images", NULL);
}
