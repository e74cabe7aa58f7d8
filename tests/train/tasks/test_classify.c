/* Task classify from outside: it learns, it counts right, its running statistics are those of the grains in order, and
 * what does not fit together is refused. */
#include "checkpoint/checkpoint.h"
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(void)
{
    ls_fixture_begin();
    ls_fixture_images();
}

TestSuite(classify, .init = begin, .fini = ls_fixture_end, .timeout = 100);

static float *tensor(const char *run, int step, const char *name, int64_t *count)
{
    char path[256];
    ls_state_entry entry;
    void *data;
    snprintf(path, sizeof path, "%s/checkpoints/step-%08d", run, step);
    cr_assert_eq(ls_checkpoint_read(path, name, &entry, &data), LS_OK, "%s", ls_fail_sentence());
    *count = ls_state_elements(&entry);
    return data;
}

Test(classify, both_families_learn_the_digits)
{
    ls_expect(ls_shell("lockstep train digits.yaml max_steps=120 augment="), 0, "150 images", "least recall", "run/confusion.txt", NULL);
    cr_expect_geq(ls_metric("run", "eval_accuracy", 0), 0.75, "%g", ls_metric("run", "eval_accuracy", 0));
    cr_expect_geq(ls_metric("run", "eval_top5", 0), ls_metric("run", "eval_accuracy", 0));
    ls_expect(ls_shell("lockstep train digits.yaml run=vit precision=bf16 max_steps=120 augment= "
                       "'model={family: vit, patch: 2, layers: 2, width: 32, heads: 4}' 'optimizer={lr: 5e-3, warmup: 10}'"), 0, NULL);
    cr_expect_geq(ls_metric("vit", "eval_accuracy", 0), 0.7, "%g", ls_metric("vit", "eval_accuracy", 0));
}

/* Rows of the file add up to the images of the class, its diagonal to the right answers. */
Test(classify, the_confusion_table_says_what_the_measures_say)
{
    ls_expect(ls_shell("lockstep train digits.yaml max_steps=25"), 0, NULL);
    char want[64], got[256];
    snprintf(want, sizeof want, "%.0f of 150\n", round(150 * ls_metric("run", "eval_accuracy", 0)));
    const ls_answer *answer = ls_shell("awk '!/^#/ && $1 != \"class\" {n = 0; for (i = 2; i <= 11; i++) n += $i; if (n != $12) print \"row\", $1, n, $12;"
                                       " r = $($1 + 2); if (sprintf(\"%%.4f\", r / n) != $13) print \"recall\", $1, r / n, $13; right += r; all += n}"
                                       " END {printf \"%%d of %%d\\n\", right, all}' run/confusion.txt");
    snprintf(got, sizeof got, "%.255s", answer->output);
    cr_expect_str_eq(got, want, "%s", got);
    ls_expect(ls_shell("cat run/confusion.txt"), 0, "# rows: the true class, columns: the answer", "top-5", NULL);
}

/* Weights stay as they are (lr 0), rows come in order: one step of four grains must leave the statistics that four steps of
 * one grain leave, up to rounding; the gradient's norm must not see them; and a short last step counts its own grains. */
Test(classify, running_statistics_fold_in_the_order_of_the_grains)
{
    static const char *const same = "optimizer.lr=0 data.shuffle=false batch.grain=25 max_steps=0 data.epochs=1 augment= model.norm_momentum=0.3";
    static const char *const names[] = {"model/stem/norm/running_mean", "model/stem/norm/running_variance",
                                        "model/stages/1/0/norm2/running_mean", "model/stages/1/0/norm2/running_variance"};
    ls_expect(ls_shell("lockstep train digits.yaml %s run=one batch.grains=1", same), 0, "step 12/12", NULL);
    ls_expect(ls_shell("mpirun --oversubscribe -n 3 lockstep train digits.yaml %s run=five batch.grains=5", same), 0, "step 3/3", NULL); /* 5 + 5 + 2 */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int64_t n, m;
        float *one = tensor("one", 12, names[i], &n), *five = tensor("five", 3, names[i], &m);
        cr_assert_eq(n, m);
        double error = 0, norm = 0;
        for (int64_t k = 0; k < n; k++) {
            error += pow((double)(one[k] - five[k]), 2);
            norm += pow((double)one[k], 2);
        }
        cr_expect_leq(sqrt(error / norm), 1e-6, "%s: %g", names[i], sqrt(error / norm));
        free(one);
        free(five);
    }
    ls_expect(ls_shell("lockstep train digits.yaml run=a max_steps=1 && lockstep train digits.yaml run=b max_steps=1 model.norm_momentum=0.9"), 0, NULL);
    cr_expect_eq(ls_metric("a", "grad_norm", 0), ls_metric("b", "grad_norm", 0));
    ls_expect(ls_shell("lockstep ckpt info a | grep running > lines; wc -l < lines; grep -c optimizer lines"), 1, "10\n0\n", NULL); /* no moments */
}

/* An image's answer does not depend on what else is in its grain: statistics are the running ones. */
Test(classify, evaluation_reads_the_running_statistics)
{
    ls_expect(ls_shell("lockstep train digits.yaml max_steps=30"), 0, NULL);
    ls_expect(ls_shell("lockstep train digits.yaml model.from=run run=a batch.grain=150 batch.grains=1 max_steps=1 optimizer.lr=0"), 0, NULL);
    ls_expect(ls_shell("lockstep train digits.yaml model.from=run run=b batch.grain=2 batch.grains=1 max_steps=1 optimizer.lr=0 augment="), 0, NULL);
    const char *first = "grep -o '\"step\": 0, \"eval_loss\": [0-9.]*' %s/metrics.jsonl | sed 's/.*: //'";
    char line[256];
    double loss[2];
    for (int i = 0; i < 2; i++) {
        snprintf(line, sizeof line, first, i ? "b" : "a");
        loss[i] = strtod(ls_shell("%s", line)->output, NULL);
    }
    cr_assert_gt(loss[0], 0);
    cr_expect_leq(fabs(loss[1] / loss[0] - 1), 1e-5, "%.9g in grains of 150, %.9g in grains of 2", loss[0], loss[1]);
    cr_expect_leq(fabs(ls_metric("run", "eval_loss", 0) / loss[0] - 1), 1e-5, "model.from takes them over");
}

Test(classify, what_does_not_fit_is_refused)
{
    static const char *const vit = "'model={family: vit, patch: 2, width: 32, heads: 4, layers: 1}'";
    ls_expect(ls_shell("lockstep train digits.yaml model.family=resnet"), 2, "model.family", "convnet, vit", NULL);
    ls_expect(ls_shell("lockstep train digits.yaml %s model.blocks=[1]", vit), 2, "model.blocks", NULL);
    ls_expect(ls_shell("lockstep train digits.yaml %s model.patch=3", vit), 2, "8 x 8", "model.patch = 3", NULL);
    ls_expect(ls_shell("lockstep train digits.yaml %s model.heads=5", vit), 2, "model.width is 32", "model.heads = 5", NULL);
    ls_expect(ls_shell("lockstep train digits.yaml model.widths=[8]"), 2, "model.blocks", "model.widths", NULL);
    ls_expect(ls_shell("lockstep train digits.yaml model.widths=[16,8]"), 2, "16 to 8", "projection", NULL);
    ls_expect(ls_shell("lockstep train digits.yaml model.norm=group model.groups=3"), 2, "model.groups = 3", NULL);
    ls_expect(ls_shell("lockstep train digits.yaml classify.label_smoothing=1"), 2, "label_smoothing", NULL);
    ls_expect(ls_shell("lockstep train digits.yaml batch.grain=1"), 2, "mixup", NULL);
    ls_expect(ls_shell("lockstep train digits.yaml task=sft classify="), 2, NULL);
    ls_expect(ls_shell("lockstep data images -o wide --size 4x16 --scale 16 %s/data-sets/digits/digits.csv.gz", getenv("LS_SOURCE")), 0, NULL);
    ls_expect(ls_shell("lockstep train digits.yaml data.eval=wide"), 2, "wide", "4 x 16", "8 x 8", NULL);
    ls_expect(ls_shell("zcat %s/data-sets/digits/digits.csv.gz | awk 'NR <= 40 {sub(/[0-9.]*$/, NR %% 12); print}' > twelve.csv && "
                       "lockstep data images -o twelve --scale 16 twelve.csv", getenv("LS_SOURCE")), 0, NULL);
    ls_expect(ls_shell("lockstep train digits.yaml data.eval=twelve"), 2, "12 classes", "10", NULL);
    ls_expect(ls_shell("test ! -e run && echo untouched"), 0, "untouched", NULL);
}

Test(classify, text_is_refused)
{
    ls_fixture_data();
    ls_expect(ls_shell("lockstep train digits.yaml data.train=sft data.eval= batch.tokens=640 augment="), 2, "classify", "sft holds text", "data images", NULL);
}
