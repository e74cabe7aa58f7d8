/* `lockstep prove` of reinforcement learning: the rank count shows neither in what is drawn nor in what is learnt from
 * it, in all precisions, with several updates an iteration, killed and resumed between them. */
#include "tests/launch/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(void)
{
    fixture_make();
    cr_assert_eq(fixture_run("for i in 1 2 3 4 5 6 7 8 9 10 11; do echo \"{\\\"prompt\\\": \\\"how many is $i$i?\\\", "
                             "\\\"response\\\": \\\"#$i\\\"}\"; done > $FOLDER/q.jsonl && "
                             "$LOCKSTEP data tokenizer --vocabulary 257 --field prompt,response -o "
                             "$FOLDER/tokenizer.json $FOLDER/q.jsonl && "
                             "$LOCKSTEP data pack -t $FOLDER/tokenizer.json --prompt prompt --response response -o "
                             "$FOLDER/q $FOLDER/q.jsonl"),
                 0, "%s", text);
}

TestSuite(prove_rollouts, .init = begin, .fini = fixture_clean, .timeout = 200);

Test(prove_rollouts, rollouts_keep_their_bits)
{
    cr_assert_eq(fixture_run("for i in 1 2 3 4 5 6; do echo \"{\\\"prompt\\\": \\\"how many is $i$i?\\\", \\\"chosen\\\": "
                             "\\\"#$i\\\", \\\"rejected\\\": \\\"no idea\\\"}\"; done > $FOLDER/p.jsonl && "
                             "$LOCKSTEP data pack -t $FOLDER/tokenizer.json --pairs -o $FOLDER/p $FOLDER/p.jsonl && "
                             "printf 'task: reward\\nrun: %s/judge\\nseed: 3\\ndata: {train: %s/p, eval: %s/p}\\n"
                             "batch: {grain: 1, grains: 2, tokens: 64}\\nmodel: {style: llama, layers: 1, width: 16, "
                             "heads: 2}\\nmax_steps: 2\\n' > $FOLDER/judge.yaml && $LOCKSTEP train $FOLDER/judge.yaml",
                             folder, folder, folder),
                 0, "%s", text);
    static const struct {
        const char *name, *task, *arguments;
    } rows[] = {
        {"grpo", "grpo: {group: 2, max_tokens: 9, epochs: 3, beta: 0.1, missing_end: 0.5, slots: 3}",
         "--ranks 1,3 --threads 2 guard.audit_every=1"},
        {"grpo", "grpo: {group: 4, max_tokens: 7, minibatches: 2, loss: grpo, missing_end: 1}",
         "--ranks 2,4 --threads 1 precision=bf16"},
        {"ppo",
         "ppo: {group: 2, max_tokens: 9, epochs: 1, minibatches: 3, kl_coef: 0.05, kl_target: 0.01, missing_end: 0.5}",
         "--ranks 3,4 --threads 2 precision=fp16 guard.audit_every=1"},
        {"ppo",
         "ppo: {group: 1, max_tokens: 9, epochs: 2, minibatches: 1, critic: separate, critic_from: judge, "
         "reward_model: judge, rule_scale: 0.5, missing_end: 0.2}",
         "--ranks 2,4 --threads 2 guard.audit_every=1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/recipe.yaml", folder);
        FILE *out = fopen(path, "w");
        fprintf(out,
                "task: %s\nrun: %s/run\nseed: 3\ndata: {train: %s/q}\nbatch: {grain: 2, grains: 4, tokens: 40}\n"
                "model: {style: llama, layers: 1, width: 16, heads: 2}\noptimizer: {lr: 5e-3, clip_norm: "
                "0.5}\nmax_steps: 100\n%s\n",
                rows[i].name, folder, folder, rows[i].task);
        fclose(out);
        const int code = fixture_run("cd $FOLDER && $LOCKSTEP prove recipe.yaml --steps 5 %s", rows[i].arguments);
        cr_expect_eq(code, 0, "%s: %d\n%s", rows[i].arguments, code, text);
        cr_expect_eq(fixture_count("  same"), 4, "%s", text);
        cr_expect(strstr(text, "killed after step") && strstr(text, "All 5 trials agree"), "%s", text);
    }
}
