/* Task dpo from outside: it begins at its reference to the bit, its numbers are those of the same model's
 * log-probabilities, the reference never moves, and what does not fit is refused. The losses themselves are
 * test_preference.c's. */
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
    ls_fixture_pairs();
    ls_expect(ls_shell("sed 's/^task: .*/task: sft/; s/^data: .*/data: {train: answers, eval: answers-holdout}/; "
                       "s/^run: .*/run: base/; s/^max_steps: .*/max_steps: 10/' pairs.yaml > base.yaml && "
                       "sed 's/^task: .*/task: dpo/; s/lr: 3e-3/lr: 1e-3/; s/model: {/model: {from: base, /' "
                       "pairs.yaml > dpo.yaml && "
                       "lockstep train base.yaml"),
              0, NULL);
}

TestSuite(dpo, .init = begin, .fini = ls_fixture_end, .timeout = 240);

static double first(const char *run, const char *key)
{
    return ls_metric(run, key, 1);
}

static double last(const char *run, const char *key)
{
    return ls_metric(run, key, 0);
}

static float *tensor(const char *folder, const char *name, int64_t *count)
{
    ls_state_entry entry;
    void *data;
    cr_assert_eq(ls_checkpoint_read(folder, name, &entry, &data), LS_OK, "%s", ls_fail_sentence());
    *count = ls_state_elements(&entry);
    return data;
}

static void expect_same(const char *folder_a, const char *name_a, const char *folder_b, const char *name_b, bool same)
{
    int64_t n, m;
    float *a = tensor(folder_a, name_a, &n), *b = tensor(folder_b, name_b, &m);
    cr_assert_eq(n, m);
    cr_expect_eq(memcmp(a, b, (size_t)n * sizeof *a) == 0, same, "%s of %s and %s of %s", name_a, folder_a, name_b,
                 folder_b);
    free(a);
    free(b);
}

Test(dpo, it_begins_at_its_reference_to_the_bit)
{
    static const char *const precisions[] = {"f32", "bf16", "fp16"};
    for (int i = 0; i < 3; i++) {
        ls_expect(ls_shell("lockstep train dpo.yaml run=%s precision=%s max_steps=1", precisions[i], precisions[i]), 0,
                  NULL);
        cr_expect_eq(first(precisions[i], "eval_margin"), 0);
        cr_expect_eq(first(precisions[i], "train_reward_chosen"), 0);
        cr_expect_eq((float)first(precisions[i], "loss"), (float)log(2));
    }
}

Test(dpo, its_numbers_are_those_of_the_models_log_probabilities)
{
    ls_expect(ls_shell("lockstep train dpo.yaml dpo.beta=0.3"), 0, "moved towards the preferred answer", "95% interval",
              NULL);
    const double beta = 0.3;
    cr_expect_geq(last("run", "eval_accuracy"), 0.95, "%g", last("run", "eval_accuracy"));
    cr_expect_lt(last("run", "eval_loss"), 0.3, "%g", last("run", "eval_loss"));
    for (int i = 0; i < 2; i++) {
        const char *logp = i ? "eval_logp_rejected" : "eval_logp_chosen",
                   *reward = i ? "eval_reward_rejected" : "eval_reward_chosen";
        const double want = beta * (last("run", logp) - first("run", logp));
        cr_expect_leq(fabs(last("run", reward) - want), 1e-4 * fabs(want), "%s: %g, by the log-probabilities %g",
                      reward, last("run", reward), want);
    }
    cr_expect_leq(
        fabs(last("run", "eval_reward_chosen") - last("run", "eval_reward_rejected") - last("run", "eval_margin")),
        1e-4);
    /* sft's loss on the same answers, by the same weights, is a mean over tokens of the same numbers */
    const double sft = last("base", "eval_loss") * last("base", "eval_tokens");
    cr_expect_leq(fabs(-first("run", "eval_logp_chosen") * first("run", "eval_pairs") / sft - 1), 1e-5, "%g %g",
                  first("run", "eval_logp_chosen") * first("run", "eval_pairs"), sft);
}

Test(dpo, the_reference_never_moves_and_costs_no_optimiser_state)
{
    static const char *const name = "model/blocks/1/mlp/down/weight", *const copy =
                                                                          "model/reference/blocks/1/mlp/down/weight";
    static const char *const base = "base/checkpoints/step-00000010";
    ls_expect(ls_shell("lockstep train dpo.yaml max_steps=4 checkpoint.every=2"), 0, NULL);
    expect_same("run/checkpoints/step-00000004", copy, base, name, true);
    expect_same("run/checkpoints/step-00000004", name, base, name, false);
    ls_expect(
        ls_shell("lockstep ckpt info run > lines; grep -c 'model/reference/' lines; grep -c 'moment/reference/' lines"),
        1, "20\n0\n", NULL);
    /* resumed on other ranks it is the same run; begun from it, the reference is what was learnt last */
    ls_expect(
        ls_shell(
            "lockstep ckpt hash run > one; rm -r run/checkpoints/step-00000004; "
            "mpirun --oversubscribe -n 3 lockstep train dpo.yaml max_steps=4 && lockstep ckpt hash run | cmp - one"),
        0, NULL);
    ls_expect(ls_shell("lockstep train dpo.yaml model.from=run run=next max_steps=1"), 0, NULL);
    expect_same("next/checkpoints/step-00000001", copy, "run/checkpoints/step-00000004", name, true);
    cr_expect_eq(first("next", "eval_margin"), 0);
}

Test(dpo, every_loss_learns)
{
    static const char *const losses[] = {"ipo dpo.average=true", "robust dpo.label_smoothing=0.1", "hinge",
                                         "sigmoid dpo.label_smoothing=0.1", "sigmoid dpo.average=true dpo.beta=2"};
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        ls_expect(ls_shell("lockstep train dpo.yaml max_steps=12 run=loss-%zu dpo.loss=%s", i, losses[i]), 0, NULL);
        char run[16];
        snprintf(run, sizeof run, "loss-%zu", i);
        cr_expect_geq(last(run, "eval_accuracy"), 0.9, "%s: %g", losses[i], last(run, "eval_accuracy"));
        cr_expect_lt(last(run, "eval_loss"), first(run, "eval_loss"), "%s", losses[i]);
    }
}

Test(dpo, what_does_not_fit_is_refused)
{
    ls_expect(ls_shell("lockstep train dpo.yaml data.train=answers data.eval="), 2,
              "task dpo learns from preference pairs", "--pairs", NULL);
    ls_expect(ls_shell("lockstep train dpo.yaml data.train=outcomes data.eval="), 2, "answers with outcomes", NULL);
    ls_expect(ls_shell("lockstep train dpo.yaml dpo.loss=ipo dpo.label_smoothing=0.1"), 2, "label_smoothing", "ipo",
              NULL);
    ls_expect(ls_shell("lockstep train dpo.yaml dpo.label_smoothing=0.5"), 2, "label_smoothing", NULL);
    ls_expect(ls_shell("lockstep train dpo.yaml dpo.beta=0"), 2, "dpo.beta", NULL);
    ls_expect(ls_shell("test ! -e run && echo untouched"), 0, "untouched", NULL);
}
