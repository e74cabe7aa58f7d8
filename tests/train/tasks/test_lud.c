/* Lexical unit decoding from outside: scan, training, text. Units and bits do not know the rank count, units are those
 * of the model's own loss, decoding above every threshold is plain decoding, and what does not belong together is
 * refused. */
#include "datasets/units.h"
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Small sums, which a model of a few seconds knows in part. */
static void begin(void)
{
    ls_fixture_begin();
    FILE *out = fopen("sums.jsonl", "w");
    for (int i = 0; i < 160; i++)
        fprintf(out, "{\"q\": \"%d+%d\", \"a\": \"the sum is %d.\"}\n", i % 7, i % 5, i % 7 + i % 5);
    fclose(out);
    out = fopen("sft.yaml", "w");
    fputs("task: sft\nrun: base\nseed: 5\nmodel: {style: llama, layers: 2, width: 32, heads: 4, kv_heads: 2}\n"
          "data: {train: sums, eval: sums, eval_rows: 40}\nbatch: {grain: 3, grains: 6, tokens: 32}\noptimizer: {lr: "
          "1e-2, warmup: 5}\nmax_steps: 60\n",
          out);
    fclose(out);
    ls_expect(ls_shell("lockstep data tokenizer --vocabulary 257 --field q,a --out tokenizer.json sums.jsonl && "
                       "lockstep data pack -t tokenizer.json --prompt q --response a -o sums sums.jsonl && "
                       "sed 's/^task: .*/task: lud\\nlud: {units: units.h5}/; s/^run: .*/run: run/; s/model: {/model: "
                       "{from: base, slot: true, /; "
                       "s/lr: 1e-2/lr: 3e-3/; s/max_steps: .*/max_steps: 5/' sft.yaml > lud.yaml && "
                       "lockstep train sft.yaml && lockstep units base --data sums --alpha 0.7 --out units.h5"),
              0, "units at alpha 0.7", NULL);
}

TestSuite(lud, .init = begin, .fini = ls_fixture_end, .timeout = 150);

static double number_after(const char *text, const char *word)
{
    const char *at = strstr(text, word);
    cr_assert_not_null(at, "no '%s' in: %s", word, text);
    return strtod(at + strlen(word), NULL);
}

Test(lud, units_are_the_models_own_and_no_rank_shows)
{
    ls_units_file *file;
    ls_units u;
    double sum = 0;
    int64_t counted = 0;
    cr_assert_eq(ls_units_open(&file, "units.h5", &u), LS_OK, "%s", ls_fail_sentence());
    cr_expect_gt(u.units, 100, "%lld units", (long long)u.units);
    for (int64_t i = 0; i < u.tokens; i++)
        if (!isnan(u.logp[i])) {
            sum -= (double)u.logp[i];
            counted++;
        }
    ls_units_close(file);
    const ls_answer *answer =
        ls_shell("lockstep eval base --data sums"); /* one row at a time, padded otherwise, added up by itself */
    cr_expect_lt(fabs(number_after(answer->output, "loss ") - sum / (double)counted), 2e-6, "%s, by the file %g",
                 answer->output, sum / (double)counted);
    cr_expect_eq(number_after(answer->output, "over "), (double)counted);
    ls_expect(ls_shell("mpirun --oversubscribe -n 3 lockstep units base --data sums --alpha 0.7 --out three.h5 && cmp "
                       "units.h5 three.h5 && echo the same"),
              0, "the same", NULL);
    ls_expect(ls_shell("lockstep units --again units.h5 --alpha 0.99 --out few.h5 && lockstep units --again few.h5 "
                       "--alpha 0.7 --out back.h5 && "
                       "cmp units.h5 back.h5 && ! cmp -s units.h5 few.h5 && echo the same"),
              0, "the same", NULL);
}

Test(lud, one_to_four_ranks_and_a_resumed_run_learn_the_same_bits)
{
    char one[64], other[64];
    ls_expect(ls_shell("lockstep train lud.yaml"), 0, "slot_loss", "first_slot_accuracy", NULL);
    ls_hash_of("run", one);
    for (int ranks = 2; ranks <= 4; ranks++) {
        ls_expect(ls_shell("mpirun --oversubscribe -n %d lockstep train lud.yaml run=on-%d batch.schedule=%s", ranks,
                           ranks, ranks == 3 ? "round" : "block"),
                  0, NULL);
        char run[16];
        snprintf(run, sizeof run, "on-%d", ranks);
        ls_hash_of(run, other);
        cr_expect_str_eq(other, one, "%d ranks", ranks);
    }
    ls_expect(ls_shell("lockstep train lud.yaml run=part max_steps=3 optimizer.decay_steps=5 && lockstep train "
                       "lud.yaml run=part max_steps=5 optimizer.decay_steps=5"),
              0, NULL);
    ls_hash_of("part", other);
    cr_expect_str_eq(other, one, "stopped and resumed");
    ls_expect(ls_shell("lockstep train lud.yaml run=else lud.placement=random"), 0, NULL);
    ls_hash_of("else", other);
    cr_expect_str_neq(other, one, "the test can fail");
}

Test(lud, above_every_threshold_or_verified_it_says_what_plain_decoding_says)
{
    ls_expect(ls_shell("lockstep train lud.yaml max_steps=30"), 0, NULL);
    ls_expect(
        ls_shell("head -n 9 sums.jsonl | sed 's/\"q\"/\"question\"/' > p.jsonl; "
                 "lockstep generate run --prompts p.jsonl --temperature 0 -n 24 --ids > plain && test -s plain && "
                 "for way in '--window 1' '--threshold 1.01' '--threshold 0 --repeats --verify' '--threshold 0.5 "
                 "--verify --batch 2'; do "
                 "lockstep generate run --prompts p.jsonl --decode lud $way -n 24 --ids > got 2> said && cmp plain got "
                 "|| echo differs: $way; done; cat said"),
        0, "tokens in", "tokens a pass", "verified", NULL);
    ls_expect(ls_shell("grep -c differs said"), 1, NULL);
    ls_expect(ls_shell("lockstep generate run --prompts p.jsonl --decode lud --threshold 0.3 -n 24 > one 2> said-1 && "
                       "mpirun --oversubscribe -n 2 lockstep generate run --prompts p.jsonl --decode lud --threshold "
                       "0.3 -n 24 > two 2> said-2 && "
                       "cmp one two && cmp said-1 said-2 && echo the same"),
              0, "the same", NULL);
    ls_expect(ls_shell("lockstep generate run --prompt 2+3 --decode lud --threshold 0 --repeats -n 8"), 0,
              "8 tokens in 2 passes: 4.000 tokens a pass", NULL);
    ls_expect(ls_shell("lockstep ckpt export run --out exported && ls exported"), 0, "is left out", "model.safetensors",
              NULL);
}

/* A short form of bench/accept/lud: what is learnt is worth something, and the threshold trades it. */
Test(lud, passes_give_more_tokens_at_the_same_text_and_fewer_as_the_threshold_rises)
{
    double tau[3];
    static const char *const thresholds[] = {"0.7", "0.9", "0.999"};
    ls_expect(
        ls_shell(
            "lockstep train lud.yaml max_steps=30 && head -n 40 sums.jsonl | sed 's/\"q\"/\"question\"/' > p.jsonl && "
            "lockstep generate run --prompts p.jsonl --temperature 0 -n 24 > plain"),
        0, NULL);
    for (int i = 0; i < 3; i++) {
        const ls_answer *answer = ls_shell("lockstep generate run --prompts p.jsonl --decode lud --threshold %s -n 24 "
                                           "> got && cmp plain got && echo the same",
                                           thresholds[i]);
        ls_expect(answer, 0, "the same", NULL);
        tau[i] = number_after(answer->output, "passes: ");
    }
    cr_expect(tau[0] >= 1.3 && tau[1] >= 1.1, "%g and %g tokens a pass", tau[0], tau[1]);
    cr_expect(tau[0] > tau[1] && tau[1] >= tau[2] && tau[2] >= 1, "%g, %g, %g", tau[0], tau[1], tau[2]);
    const ls_answer *raw =
        ls_shell("lockstep train lud.yaml run=raw max_steps=1 optimizer.lr=0 && "
                 "lockstep generate raw --prompts p.jsonl --decode lud --threshold 0.7 --verify -n 24");
    cr_expect_lt(number_after(raw->output, "passes: "), 1.05, "slots that have learnt nothing give nothing");
}

Test(lud, what_does_not_belong_together_is_refused)
{
    ls_expect(ls_shell("lockstep train lud.yaml model.slot=false"), 2, "model.slot: true", NULL);
    ls_expect(ls_shell("lockstep train lud.yaml lud.units=none.h5"), 1, "none.h5", NULL);
    ls_expect(ls_shell("lockstep train sft.yaml run=other max_steps=2 && lockstep train lud.yaml model.from=other"), 2,
              "another model than model.from", NULL);
    ls_expect(ls_shell("head -n 80 sums.jsonl > half.jsonl; lockstep data pack -t tokenizer.json --prompt q --response "
                       "a -o half half.jsonl && "
                       "lockstep train lud.yaml data.train=half"),
              2, "another data set", NULL);
    ls_expect(ls_shell("lockstep generate base --prompt 2+3 --decode lud"), 1, "no input row", NULL);
    ls_expect(ls_shell("lockstep generate base --prompt 2+3 --decode lud --temperature 1"), 2, "greedy", NULL);
    ls_expect(ls_shell("lockstep units base --data sums --alpha 1.5 --out x.h5"), 2, "between 0 and 1", NULL);
    ls_expect(ls_shell("lockstep units base --out x.h5"), 2, "--again", NULL);
}
