/* Task reward from outside: it learns what people prefer in real pairs, counts what it says, keeps mean and spread for
 * whoever uses the rewards, takes a language model's weights, and refuses data without judgements. */
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
}

TestSuite(reward, .init = begin, .fini = ls_fixture_end, .timeout = 240);

static double scalar(const char *run, int step, const char *name)
{
    char path[256];
    ls_state_entry entry;
    void *data;
    snprintf(path, sizeof path, "%s/checkpoints/step-%08d", run, step);
    cr_assert_eq(ls_checkpoint_read(path, name, &entry, &data), LS_OK, "%s", ls_fail_sentence());
    const double value = entry.type == LS_F64 ? *(double *)data : (double)*(float *)data;
    free(data);
    return value;
}

/* The preferred answer of these pairs begins with "A", the other with "B": held-out ones must be told apart. Before
 * that the loss is near log 2. */
Test(reward, it_learns_what_is_preferred_and_says_how_sure_that_is)
{
    const ls_answer *answer = ls_shell("lockstep train pairs.yaml");
    ls_expect(answer, 0, "held-out pairs judged right", "95% interval", "over 41 pairs", NULL);
    cr_expect_lt(fabs(strtod(strstr(answer->output, "step 0: held-out loss ") + 22, NULL) - log(2)), 0.4);
    cr_expect_geq(ls_metric("run", "eval_accuracy", 0), 0.95, "%g", ls_metric("run", "eval_accuracy", 0));
    cr_expect_gt(ls_metric("run", "eval_margin", 0), 1);
    cr_expect_lt(ls_metric("run", "eval_accuracy_low", 0), ls_metric("run", "eval_accuracy", 0));
    cr_expect_leq(ls_metric("run", "eval_accuracy", 0), ls_metric("run", "eval_accuracy_high", 0));
    cr_expect_leq(fabs(scalar("run", 24, "reward/mean") - ls_metric("run", "eval_reward", 0)), 1e-6);
    cr_expect_leq(fabs(scalar("run", 24, "reward/deviation") - ls_metric("run", "eval_spread", 0)), 1e-6);
    /* margins ask for more than they get */
    ls_expect(ls_shell("lockstep train pairs.yaml run=wide reward.margin=3"), 0, NULL);
    cr_expect_gt(ls_metric("wide", "eval_margin", 0), ls_metric("run", "eval_margin", 0) + 0.5, "%g",
                 ls_metric("wide", "eval_margin", 0));
    /* rewards of pairs may lie anywhere; centred ones do not */
    ls_expect(ls_shell("lockstep train pairs.yaml run=centred reward.center=0.3"), 0, NULL);
    cr_expect_lt(fabs(ls_metric("centred", "eval_reward", 0)), 0.2, "%g", ls_metric("centred", "eval_reward", 0));
}

/* A pair's reward does not depend on what else is in its row or its grain, to the bit: accuracies and losses are sums
 * of them. */
Test(reward, packed_pairs_count_as_pairs_alone)
{
    ls_expect(ls_shell("lockstep train pairs.yaml max_steps=10"), 0, NULL);
    ls_expect(ls_shell("lockstep train pairs.yaml model.from=run run=packed max_steps=1 optimizer.lr=0 batch.grain=4"),
              0, NULL);
    ls_expect(ls_shell("lockstep train pairs.yaml model.from=run run=alone max_steps=1 optimizer.lr=0 data.pack=false"),
              0, NULL);
    static const char *const keys[] = {"eval_margin", "eval_reward", "eval_spread", "eval_loss"};
    for (int i = 0; i < 4; i++)
        cr_expect_leq(fabs(ls_metric("packed", keys[i], 0) / ls_metric("alone", keys[i], 0) - 1), 1e-5, "%s", keys[i]);
    cr_expect_eq(ls_metric("packed", "eval_accuracy", 0), ls_metric("alone", "eval_accuracy", 0));
}

/* In float64 from recorded rewards: what the log says of the pairs is what their rewards give. */
Test(reward, the_loss_is_a_mean_over_pairs_whatever_a_row_holds)
{
    ls_expect(
        ls_shell("lockstep train pairs.yaml max_steps=1 data.shuffle=false batch.grains=2 optimizer.lr=0 run=few"), 0,
        NULL);
    ls_expect(ls_shell("lockstep train pairs.yaml max_steps=1 data.shuffle=false batch.grains=2 optimizer.lr=0 run=one "
                       "data.pack=false"),
              0, NULL);
    ls_expect(ls_shell("grep -o 'counted_pairs\": [0-9]*' few/metrics.jsonl one/metrics.jsonl | tr -d '\\n'"), 0,
              "one/metrics.jsonl:counted_pairs\": 4", NULL);
    cr_expect_gt(ls_metric("few", "counted_pairs", 0), 4);
}

Test(reward, it_begins_with_a_language_models_weights)
{
    ls_expect(ls_shell("sed 's/^task: .*/task: sft/; s/^data: .*/data: {train: answers}/; s/^run: .*/run: base/' "
                       "pairs.yaml > base.yaml && "
                       "lockstep train base.yaml max_steps=4"),
              0, NULL);
    ls_expect(ls_shell("lockstep train pairs.yaml model.from=base max_steps=1 optimizer.lr=0"), 0, "weights of base",
              NULL);
    ls_expect(ls_shell("lockstep train base.yaml model.from=run run=back max_steps=1 optimizer.lr=0"), 0,
              NULL); /* and gives them back */
    for (int i = 0; i < 2; i++) {
        int64_t step = i ? 4 : 1;
        char path[64];
        snprintf(path, sizeof path, "%s/checkpoints/step-%08d", i ? "base" : "back", (int)step);
        ls_expect(ls_shell("lockstep ckpt info %s", path), 0, "model/blocks/1/mlp/down/weight", NULL);
    }
    ls_state_entry a, b;
    void *x, *y;
    cr_assert_eq(ls_checkpoint_read("base/checkpoints/step-00000004", "model/blocks/1/mlp/down/weight", &a, &x), LS_OK);
    cr_assert_eq(ls_checkpoint_read("back/checkpoints/step-00000001", "model/blocks/1/mlp/down/weight", &b, &y), LS_OK);
    cr_expect_eq(memcmp(x, y, (size_t)ls_state_elements(&a) * sizeof(float)), 0);
    free(x);
    free(y);
}

Test(reward, outcomes_teach_right_from_wrong)
{
    ls_expect(ls_shell("lockstep train pairs.yaml 'data={train: outcomes, eval: outcomes-holdout}'"), 0,
              "held-out answers judged right", NULL);
    cr_expect_geq(ls_metric("run", "eval_accuracy", 0), 0.95, "%g", ls_metric("run", "eval_accuracy", 0));
    ls_expect(ls_shell("lockstep train pairs.yaml run=x 'data={train: outcomes}' reward.center=0.1"), 2,
              "reward.center", "outcomes", NULL);
    ls_expect(ls_shell("lockstep train pairs.yaml run=x 'data={train: pairs, eval: outcomes}'"), 2, "outcomes",
              "different kinds", NULL);
}

Test(reward, what_does_not_fit_is_refused)
{
    ls_expect(ls_shell("lockstep train pairs.yaml data.train=answers data.eval="), 2, "preference pairs", "answers",
              "--pairs", NULL);
    ls_expect(ls_shell("lockstep train pairs.yaml task=sft"), 2, "task sft learns from", "pairs", NULL);
    ls_expect(ls_shell("lockstep train pairs.yaml task=pretrain"), 2, "judged whole", NULL);
    ls_expect(ls_shell("lockstep train pairs.yaml batch.tokens=16 model.context=16"), 2, "a pair stays in one row",
              "data.on_long", NULL);
    ls_expect(ls_shell("lockstep train pairs.yaml data.on_long=truncate"), 2, "truncate", NULL);
    ls_expect(ls_shell("test ! -e run && echo untouched"), 0, "untouched", NULL);
}

Test(reward, its_data_can_be_looked_at)
{
    ls_expect(ls_shell("lockstep data info --tokens 128 pairs"), 0,
              "each a preferred answer and a rejected one; 0 with a margin", "rows of 128      packed: ", NULL);
    ls_expect(ls_shell("lockstep data show pairs --sample 0"), 0, "-- sample 0 (preferred): ", "[A", "<|endoftext|>]",
              NULL);
    ls_expect(ls_shell("lockstep data show pairs --sample 1"), 0, "-- sample 1 (rejected): ", "[B", NULL);
    ls_expect(ls_shell("lockstep data show pairs --row 0 --tokens 128"), 0, " pairs, first sample 0", "-- segment 3",
              NULL);
    ls_expect(ls_shell("lockstep data info outcomes"), 0, "outcomes         ", "% right", NULL);
    ls_expect(ls_shell("lockstep data show outcomes --sample 0"), 0, ", outcome ", NULL);
    ls_expect(ls_shell("lockstep data verify pairs pairs-holdout outcomes"), 0, "pairs-holdout: whole", NULL);
}
