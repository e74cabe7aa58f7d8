/* Low-rank adapters from outside: they begin as the model they adapt, to the bit; that never changes; what they learnt
 * is merged for whoever reads the weights; and each task of language models takes them. */
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
                       "s/^run: .*/run: base/; "
                       "s/^max_steps: .*/max_steps: 12/' pairs.yaml > base.yaml && sed 's/^run: .*/run: run/; s/model: "
                       "{/model: {from: base, /' "
                       "base.yaml > lora.yaml && echo 'lora: {rank: 4, alpha: 8, targets: \"attention, up\", dropout: "
                       "0.1}' >> lora.yaml && "
                       "lockstep train base.yaml"),
              0, NULL);
}

TestSuite(lora, .init = begin, .fini = ls_fixture_end, .timeout = 240);

static bool same(const char *folder_a, const char *folder_b, const char *name)
{
    ls_state_entry a, b;
    void *x, *y;
    cr_assert_eq(ls_checkpoint_read(folder_a, name, &a, &x), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_checkpoint_read(folder_b, name, &b, &y), LS_OK, "%s", ls_fail_sentence());
    const bool equal = ls_state_elements(&a) == ls_state_elements(&b) &&
                       memcmp(x, y, (size_t)ls_state_elements(&a) * ls_type_size(a.type)) == 0;
    free(x);
    free(y);
    return equal;
}

Test(lora, it_begins_as_its_base_and_leaves_that_as_it_is)
{
    ls_expect(ls_shell("lockstep train lora.yaml optimizer.lr=1e-2"), 0, "of them frozen", NULL);
    cr_expect_eq(ls_metric("run", "eval_loss", 1), ls_metric("base", "eval_loss", 0), "B is zero: the same bits");
    cr_expect_lt(ls_metric("run", "eval_loss", 0), ls_metric("run", "eval_loss", 1) - 0.003);
    static const char *const still[] = {"model/blocks/1/attention/query/weight", "model/blocks/0/mlp/down/weight",
                                        "model/embedding/token/weight", "model/final_norm/gain"};
    for (int i = 0; i < 4; i++)
        cr_expect(same("run", "base", still[i]), "%s has moved", still[i]);
    /* 2 blocks x 5 layers x 2 matrices learn, and nothing else has moments */
    ls_expect(
        ls_shell(
            "lockstep ckpt info run > lines; grep -c 'first_moment/' lines; grep -c 'first_moment/.*lora_[ab]$' lines"),
        0, "20\n20\n", NULL);
}

Test(lora, readers_of_its_weights_get_them_merged)
{
    static const char *const plain =
        "sed 's/from: base/from: run/; s/^run: .*/run: %s/; /^lora/d' lora.yaml > plain.yaml && "
        "lockstep train plain.yaml max_steps=1 optimizer.lr=0 %s";
    char command[512];
    ls_expect(ls_shell("lockstep train lora.yaml ema.decay=0.8"), 0, NULL);
    snprintf(command, sizeof command, plain, "plain", "");
    ls_expect(ls_shell("%s", command), 0, NULL);
    cr_expect_leq(fabs(ls_metric("plain", "eval_loss", 1) / ls_metric("run", "eval_loss", 0) - 1), 1e-6);
    snprintf(command, sizeof command, plain, "averaged", "model.from_ema=true");
    ls_expect(ls_shell("%s", command), 0, "averaged weights of run", NULL);
    cr_expect_leq(fabs(ls_metric("averaged", "eval_loss", 1) / ls_metric("run", "eval_loss_ema", 0) - 1), 1e-6);
    cr_expect_neq(ls_metric("averaged", "eval_loss", 1), ls_metric("plain", "eval_loss", 1));
    /* generate reads them too: the same words from the adapters' folder, and from the merged one's; other ones from the
     * base */
    ls_expect(
        ls_shell("for f in run plain base; do lockstep generate $f --ids -n 24 --seed 3 -p 'what is' > $f.txt; done; "
                 "cmp run.txt plain.txt && ! cmp -s run.txt base.txt"),
        0, NULL);
    /* adapters of a run that begins from this one are new, on top of the merged weights */
    ls_expect(ls_shell("lockstep train lora.yaml model.from=run run=next max_steps=1 lora.rank=2 optimizer.lr=0"), 0,
              NULL);
    cr_expect_eq(ls_metric("next", "eval_loss", 1), ls_metric("plain", "eval_loss", 1));
}

Test(lora, preference_learning_takes_them)
{
    static const char *const with =
        "lockstep train pairs.yaml model.from=base 'lora={rank: 8, alpha: 32, targets: all}' optimizer.lr=1e-2";
    ls_expect(ls_shell("%s task=dpo run=dpo", with), 0, NULL);
    cr_expect_eq(ls_metric("dpo", "eval_margin", 1), 0, "the reference is the model without adapters");
    cr_expect_geq(ls_metric("dpo", "eval_accuracy", 0), 0.9, "%g", ls_metric("dpo", "eval_accuracy", 0));
    ls_expect(ls_shell("lockstep ckpt info dpo | grep -c reference/"), 1, "0\n", NULL);
    ls_expect(ls_shell("%s run=reward", with), 0, NULL);
    cr_expect_geq(ls_metric("reward", "eval_accuracy", 0), 0.9, "%g", ls_metric("reward", "eval_accuracy", 0));
    ls_expect(ls_shell("lockstep ckpt info reward | grep -c 'first_moment/reward/head'"), 0, "1\n", NULL);
    cr_expect(same("reward", "base", "model/blocks/1/mlp/down/weight") &&
              same("dpo", "base", "model/blocks/1/mlp/down/weight"));
}

Test(lora, what_does_not_fit_is_refused)
{
    ls_expect(ls_shell("lockstep train lora.yaml lora.targets=query,keys"), 2, "no layer is called \"keys\"",
              "query, key, value", NULL);
    ls_expect(ls_shell("lockstep train lora.yaml lora.targets=\"' '\""), 2, "names no layer", NULL);
    ls_expect(ls_shell("lockstep train lora.yaml lora.rank=-1"), 2, "lora.rank", NULL);
    ls_expect(ls_shell("sed 's/from: base, //' lora.yaml > alone.yaml"), 0, NULL);
    ls_expect(ls_shell("lockstep train alone.yaml model.style=gpt2 model.kv_heads=4 lora.targets=gate"), 2,
              "names no layer of this model", NULL);
    ls_expect(ls_shell("test ! -e run && echo untouched"), 0, "untouched", NULL);
    ls_expect(ls_shell("lockstep train alone.yaml max_steps=1"), 0, "nobody trained", NULL);
    ls_fixture_images();
    ls_expect(ls_shell("lockstep train digits.yaml lora.rank=4 run=digits-run"), 2, "lora.rank is 4", "classify", NULL);
}
