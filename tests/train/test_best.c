/* The best evaluation: which one it is, what of it is kept, and when training ends early, on any number of ranks and
 * over restarts. */
#include "train/best.h"

#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the record ---- */

static const ls_measure measures[] = {{"accuracy", true, NULL, false}, {"regret", false, NULL, false}, {0}};
static const ls_task task = {.name = "test", .measures = measures};
static double sums[2], averaged_sums[2];
static ls_train_config config = {.task = &task, .ema = {.decay = 0.9, .evaluate = true}};

static ls_run run_of_the_test(void)
{
    return (ls_run){.config = &config,
                    .eval_data = (ls_data *)sums, /* is there: nobody looks into it */
                    .ema = {.options = &config.ema},
                    .evaluation = {.counted = 10, .sums = sums},
                    .averaged = {.counted = 10, .sums = averaged_sums}};
}

/* After evaluations of `values`: b for better, - for not. */
static void follows(ls_best *best, ls_run *run, double *number, const double *values, int count, const char *want)
{
    for (int i = 0; i < count; i++) {
        *number = values[i];
        run->step++;
        cr_expect_eq(ls_best_update(best, run), want[i] == 'b', "evaluation %d of %g", i, values[i]);
    }
}

Test(best, losses_fall_and_accuracies_rise)
{
    ls_run run = run_of_the_test();
    ls_best best;
    cr_assert_eq(ls_best_watch(&best, &run, "key", "eval_loss", 0), LS_OK);
    follows(&best, &run, &run.evaluation.loss, (const double[]){3, 2, 2, 2.5, NAN, 1.9999}, 6, "bb---b");
    cr_assert_eq(best.step, 6);
    cr_assert_eq(best.value, 1.9999);
    cr_assert_eq(best.since, 0);
    run.step = 0;
    cr_assert_eq(ls_best_watch(&best, &run, "key", "accuracy", 0), LS_OK);
    cr_assert_str_eq(best.metric, "eval_accuracy");
    follows(&best, &run, &sums[0], (const double[]){NAN, 0, 5, 4, 5, 6, 3}, 7, "-bb--b-");
    cr_assert_eq(best.value, 0.6);
    cr_assert_eq(best.step, 6);
    cr_assert_eq(best.since, 1);
    run.step = 0;
    cr_assert_eq(ls_best_watch(&best, &run, "key", "eval_regret_ema", 0), LS_OK);
    follows(&best, &run, &averaged_sums[1], (const double[]){5, 4, 6}, 3, "bb-");
}

Test(best, what_is_not_better_by_min_delta_does_not_count)
{
    ls_run run = run_of_the_test();
    ls_best best;
    cr_assert_eq(ls_best_watch(&best, &run, "key", "loss_ema", 0.5), LS_OK);
    follows(&best, &run, &run.averaged.loss, (const double[]){3, 2.75, 2.5, 2.25, 2.25}, 5, "b--b-");
    cr_assert_eq(best.value, 2.25);
}

Test(best, evaluations_before_the_first_step_do_not_count)
{
    ls_run run = run_of_the_test();
    ls_best best;
    cr_assert_eq(ls_best_watch(&best, &run, "key", "eval_loss", 0), LS_OK);
    run.evaluation.loss = 1;
    cr_assert_not(ls_best_update(&best, &run));
    cr_assert_eq(best.since, 0);
    follows(&best, &run, &run.evaluation.loss, (const double[]){2}, 1, "b");
}

Test(best, a_number_that_there_is_not_is_refused)
{
    ls_run run = run_of_the_test();
    ls_best best;
    cr_assert_eq(ls_best_watch(&best, &run, "checkpoint.best", "acuracy", 0), LS_ERECIPE);
    cr_assert_str_eq(
        ls_fail_sentence(),
        "checkpoint.best: no number \"acuracy\" comes out of this recipe's evaluations; there are: eval_loss, "
        "eval_accuracy, eval_regret, eval_loss_ema, eval_accuracy_ema, eval_regret_ema");
    run.eval_data = NULL;
    cr_assert_eq(ls_best_watch(&best, &run, "checkpoint.best", "eval_loss", 0), LS_ERECIPE);
    cr_assert(strstr(ls_fail_sentence(), "data.eval"), "%s", ls_fail_sentence());
}

Test(best, a_record_of_another_number_begins_anew)
{
    ls_run run = run_of_the_test();
    ls_best best;
    run.rank = 1; /* no log */
    cr_assert_eq(ls_best_watch(&best, &run, "key", "accuracy", 0), LS_OK);
    strcpy(best.metric, "eval_loss"); /* as a checkpoint had it */
    best.value = 2, best.step = 7, best.since = 3;
    ls_best_resumed(&best, &run, "key");
    cr_assert_eq(best.step, 0);
    cr_assert_eq(best.since, 0);
    cr_assert_str_eq(best.metric, "eval_accuracy");
    best.value = 0.5, best.step = 7, best.since = 3;
    ls_best_resumed(&best, &run, "key");
    cr_assert_eq(best.step, 7, "the same number goes on");
}

/* ---- a run ---- */

static void begin(void)
{
    ls_fixture_begin();
    ls_fixture_data();
}

TestSuite(best_run, .init = begin, .fini = ls_fixture_end, .timeout = 100);

/* A learning rate that grows until the loss does, far past what another rounding could turn. */
#define TRAIN                                                                                                          \
    "lockstep train tiny.yaml optimizer.lr=2 optimizer.warmup=8 optimizer.schedule=constant eval_every=1 "             \
    "data.eval_rows=1 max_steps=8 "
#define BEST  "checkpoint.best=eval_loss checkpoint.every=3 checkpoint.keep=1 "
#define RANKS "mpirun --oversubscribe --bind-to none -n "

/* Held-out losses after steps 1, 2, ... */
static int losses_of(const char *run, double *loss)
{
    const ls_answer *answer = ls_shell("grep -o '\"eval_loss\": [0-9.]*' %s/metrics.jsonl | sed 1d", run);
    int count = 0;
    for (const char *at = answer->output; (at = strstr(at, ": ")); at += 2)
        loss[count++] = atof(at + 2);
    return count;
}

Test(best_run, the_best_checkpoint_stays_beside_the_newest)
{
    double loss[64];
    char hash[64], other[64];
    ls_expect(ls_shell(RANKS "2 " TRAIN BEST "data.eval_rows=0"), 0, "the best so far, kept as checkpoints/best", NULL);
    const int count = losses_of("run", loss);
    int best = 0;
    for (int i = 1; i < count; i++)
        best = loss[i] < loss[best] ? i : best;
    cr_assert_eq(count, 8);
    cr_assert_neq(best, 7, "or it would be the newest as well");
    char want[64];
    snprintf(want, sizeof want, "step-%08d\n", best + 1);
    cr_assert_str_eq(
        ls_shell("readlink run/checkpoints/best; ls run/checkpoints | grep -c step")->output + strlen(want), "2\n");
    cr_assert_eq(strncmp(ls_shell("readlink run/checkpoints/best")->output, want, strlen(want)), 0, "%s", want);
    ls_expect(ls_shell("lockstep ckpt info run; lockstep ckpt verify run/checkpoints/best"), 0, "best        step",
              "whole", NULL);
    const ls_answer *answer = ls_shell("lockstep eval run/checkpoints/best --data sft-test");
    ls_expect(answer, 0, "loss ", NULL);
    cr_assert_float_eq(atof(strstr(answer->output, "loss ") + 5), loss[best], 1e-5 * loss[best], "%s, not %.9g",
                       answer->output, loss[best]);

    /* a crash between a save and the link: the newest is gone on with, the link is written again */
    ls_hash_of("run/checkpoints/best", hash);
    ls_expect(ls_shell("ln -sfn step-00000008 run/checkpoints/best && " TRAIN BEST), 0, "step 8 of 8", NULL);
    ls_hash_of("run/checkpoints/best", other);
    cr_assert_str_eq(other, hash);
}

Test(best_run, a_resumed_run_goes_on_comparing)
{
    char want[64], got[64];
    ls_expect(ls_shell(TRAIN BEST "early_stop.patience=9 run=straight"), 0, NULL);
    ls_hash_of("straight", want);
    ls_expect(
        ls_shell(RANKS "3 " TRAIN BEST "early_stop.patience=9 max_steps=5 && " TRAIN BEST "early_stop.patience=9"), 0,
        "resuming", NULL);
    ls_hash_of("run", got);
    cr_assert_str_eq(got, want);
    ls_expect(
        ls_shell("test $(readlink run/checkpoints/best) = $(readlink straight/checkpoints/best) && tail -n 1 "
                 "run/metrics.jsonl > a && "
                 "tail -n 1 straight/metrics.jsonl | cmp - a && grep -c best_eval_loss a && grep -c patience_used a"),
        0, NULL);
    ls_expect(ls_shell(TRAIN "checkpoint.best=loss max_steps=11 && " TRAIN "max_steps=12 checkpoint.best="), 0,
              NULL); /* free keys */
}

Test(best_run, ends_early_at_the_same_step_on_any_rank_count)
{
    double loss[64], best = INFINITY;
    char want[64], got[64], line[64];
    int since = 0, end = 0;
    ls_expect(ls_shell(TRAIN "run=long"), 0, NULL);
    const int count = losses_of("long", loss);
    while (end < count && since < 2) {
        since = loss[end] < best ? 0 : since + 1;
        best = fmin(best, loss[end++]);
    }
    cr_assert_lt(end, count, "this run has two in a row that are not better");
    snprintf(line, sizeof line, "stopped early after step %d of 8", end);
    ls_expect(ls_shell(RANKS "3 " TRAIN "early_stop.patience=2"), 0, line, "early_stop.patience", NULL);
    ls_hash_of("run", want);
    ls_expect(ls_shell(TRAIN "early_stop.patience=2 run=alone | tail -n 1"), 0, NULL);
    ls_expect(ls_shell("tail -n 1 alone/log/rank-0000.log"), 0, line, NULL);
    ls_hash_of("alone", got);
    cr_assert_str_eq(got, want);
    ls_expect(ls_shell("cp run/metrics.jsonl before; " RANKS "2 " TRAIN
                       "early_stop.patience=2; echo code $?; cmp before run/metrics.jsonl && echo nothing done"),
              0, line, "code 0", "nothing done", NULL);
    ls_expect(ls_shell(TRAIN "early_stop.patience=3 max_steps=%d", end + 1), 0, "resuming", NULL);
    ls_expect(ls_shell("tail -n 1 run/metrics.jsonl"), 0, "patience_used", NULL);
    ls_expect(ls_shell(TRAIN "early_stop.patience=1 eval_every=0"), 2, "eval_every is 0", NULL);
}
