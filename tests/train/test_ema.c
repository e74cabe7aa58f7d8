/* Averaged weights: the formula over every step's weights, the same bits on any rank count and after a resume, and
 * `generate` and `eval` on them. Groups with a frozen one are on as well, so that both are proved together. */
#include "train/ema.h"

#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(void)
{
    ls_fixture_begin();
    ls_fixture_data();
}

TestSuite(ema, .init = begin, .fini = ls_fixture_end, .timeout = 100);

#define GROUPS                                                                                                         \
    "'optimizer.groups=[{match: \"embedding*\", frozen: true}, {match: \"*/mlp/*\", lr_scale: 0.1, decay_scale: 0}]'"
#define TRAIN "lockstep train tiny.yaml ema.decay=0.7 data.eval_rows=2 " GROUPS " "
#define RANKS "mpirun --oversubscribe --bind-to none -n "

Test(ema_decay, warms_up_and_stays)
{
    const ls_ema_options cold = {.decay = 0.999}, warm = {.decay = 0.999, .warmup = true};
    cr_assert_eq(ls_ema_decay(&cold, 1), 0.999);
    cr_assert_float_eq(ls_ema_decay(&warm, 1), 2.0 / 11, 1e-15);
    cr_assert_float_eq(ls_ema_decay(&warm, 90), 0.91, 1e-15);
    cr_assert_eq(ls_ema_decay(&warm, 8990), 0.999);
    cr_assert_eq(ls_ema_decay(&warm, 1000000), 0.999);
}

static float *weights_at(int step, const char *name, int64_t *count)
{
    char path[128];
    ls_state_entry entry;
    void *data;
    snprintf(path, sizeof path, "run/checkpoints/step-%08d", step);
    cr_assert_eq(ls_checkpoint_read(path, name, &entry, &data), LS_OK, "%s", ls_fail_sentence());
    *count = entry.held;
    return data;
}

/* With updates after steps 2 and 4 only, from the weights of those steps. */
Test(ema, an_average_is_that_of_the_steps_weights)
{
    static const char *const names[] = {"blocks/1/mlp/down/weight", "final_norm/gain",
                                        "blocks/0/attention/query/weight"};
    int64_t count;
    ls_expect(ls_shell(TRAIN "ema.every=2 ema.warmup=true max_steps=5 checkpoint.every=1 checkpoint.keep=9"), 0, NULL);
    for (int k = 0; k < 3; k++) {
        char name[64], averaged[64];
        float *w[5], *got, want;
        snprintf(name, sizeof name, "model/%s", names[k]);
        snprintf(averaged, sizeof averaged, "ema/%s", names[k]);
        for (int step = 1; step <= 5; step++)
            w[step - 1] = weights_at(step, name, &count);
        float *first = weights_at(1, averaged, &count); /* nothing was due: the initial weights */
        got = weights_at(5, averaged, &count);
        for (int64_t i = 0; i < count; i++) {
            want = first[i] + (float)(1 - 2.0 / 11) * (w[1][i] - first[i]);
            want = want + (float)(1 - 3.0 / 12) * (w[3][i] - want);
            cr_assert_eq(got[i], want, "%s[%d] is %.9g, not %.9g", averaged, (int)i, (double)got[i], (double)want);
        }
        cr_assert_neq(memcmp(got, w[4], (size_t)count * sizeof *got), 0, "an average is not the weights");
        for (int step = 1; step <= 5; step++)
            free(w[step - 1]);
        free(first), free(got);
    }
}

Test(ema, bits_are_those_of_one_rank_on_two_and_three_and_after_a_resume)
{
    char want[64], got[64];
    ls_expect(ls_shell(TRAIN "run=one precision=bf16"), 0, "averaged weights loss", NULL);
    ls_hash_of("one", want);
    ls_expect(ls_shell(RANKS "2 " TRAIN "run=two precision=bf16"), 0, NULL);
    ls_hash_of("two", got);
    cr_assert_str_eq(got, want);
    ls_expect(ls_shell(RANKS "3 " TRAIN "run=three precision=bf16 batch.schedule=round max_steps=4 && " TRAIN
                             "run=three precision=bf16"),
              0, "resuming", NULL);
    ls_hash_of("three", got);
    cr_assert_str_eq(got, want);
    ls_expect(
        ls_shell("for run in one two three; do grep -ho '\"eval_loss.*' $run/metrics.jsonl > $run.eval; done; wc -l < "
                 "one.eval; cmp one.eval two.eval && tail -n 1 three.eval > last && tail -n 1 one.eval | cmp - last"),
        0, "2", NULL);
    ls_expect(ls_shell(TRAIN "run=other precision=bf16 ema.every=2"), 0, NULL);
    ls_hash_of("other", got);
    cr_assert_str_neq(got, want, "the average is in the hash");
}

/* Two programs, one number. */
Test(ema, eval_and_generate_take_the_averaged_weights)
{
    ls_expect(ls_shell(TRAIN "data.eval_rows=0 max_steps=3 checkpoint.every=0"), 0, NULL);
    double ema, raw, loss;
    cr_assert_eq(sscanf(ls_shell("tail -1 run/metrics.jsonl | grep -o '[0-9.]*, \"eval_loss_ema\": [0-9.]*'")->output,
                        "%lf, \"eval_loss_ema\": %lf", &raw, &ema),
                 2);
    const ls_answer *answer = ls_shell("lockstep eval run --ema --data sft-test");
    ls_expect(answer, 0, "loss ", NULL);
    loss = atof(strstr(answer->output, "loss ") + 5);
    cr_assert_float_eq(loss, ema, 2e-6 * ema, "%.8g, not %.8g", loss, ema);
    cr_assert_gt(fabs(ema - raw), 1e-4 * ema, "or it could be the other weights");
    ls_expect(ls_shell("lockstep generate run --ema --prompt Why? -n 4 --ids"), 0, NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml run=next model.from=run model.from_ema=true max_steps=1"), 0,
              "averaged weights of run", NULL);
    cr_assert_eq(sscanf(ls_shell("head -n 1 next/metrics.jsonl | grep -o '\"eval_loss\": [0-9.]*'")->output,
                        "\"eval_loss\": %lf", &loss),
                 1);
    cr_assert_eq(loss, ema, "before its first step: %.9g, not %.9g", loss, ema);
    ls_expect(ls_shell("lockstep train tiny.yaml run=plain max_steps=2 && lockstep generate plain --ema -n 4"), 1,
              "no averaged weights", "ema.decay", NULL);
}

/* Running statistics are averaged as weights are; those of a frozen group keep their first values, 0 and 1. */
Test(ema, batch_norm_goes_with_its_weights)
{
    char want[64], got[64];
    const char *train =
        "lockstep train digits.yaml max_steps=12 eval_every=6 ema.decay=0.8 checkpoint.best=accuracy_ema "
        "'optimizer.groups=[{match: \"stem*\", frozen: true}]'";
    ls_fixture_images();
    ls_expect(ls_shell("%s run=one", train), 0, "averaged weights loss", "checkpoints/best", NULL);
    ls_hash_of("one", want);
    ls_expect(
        ls_shell(RANKS "3 %s run=three max_steps=6 && " RANKS "2 %s run=three batch.schedule=round", train, train), 0,
        "resuming", NULL);
    ls_hash_of("three", got);
    cr_assert_str_eq(got, want);
    ls_expect(ls_shell("tail -n 1 one/metrics.jsonl > a; tail -n 1 three/metrics.jsonl | cmp - a && grep -c "
                       "'\"eval_accuracy_ema\": .*\"best_eval_accuracy_ema\": ' a"),
              0, "1", NULL);

    const char *statistic[] = {"model/stages/0/0/norm1/running_variance", "ema/stages/0/0/norm1/running_variance",
                               "model/stem/norm/running_variance"};
    float *value[3];
    ls_state_entry entry;
    for (int k = 0; k < 3; k++)
        cr_assert_eq(ls_checkpoint_read("one", statistic[k], &entry, (void **)&value[k]), LS_OK, "%s",
                     ls_fail_sentence());
    double way = 0, averaged_way = 0; /* from 1 */
    for (int i = 0; i < 8; i++) {
        way += fabs((double)value[0][i] - 1);
        averaged_way += fabs((double)value[1][i] - 1);
        cr_expect_eq(value[2][i], 1);
    }
    cr_expect(0.1 * way < averaged_way && averaged_way < 0.95 * way, "an average lags behind: %g, %g", averaged_way,
              way);
    cr_assert_neq(ls_checkpoint_read("one", "ema/stem/norm/running_variance", &entry, (void **)&value[0]), LS_OK);
}
