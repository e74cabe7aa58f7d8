#include "tests/train/run_fixture.h"

#include "tests/shell.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/ls-run-XXXXXX";

void ls_fixture_begin(void)
{
    char path[8192];
    strcpy(folder, "/tmp/ls-run-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
    snprintf(path, sizeof path, "%s/launch:%s", getenv("LS_BUILD"), getenv("PATH"));
    setenv("PATH", path, 1);
    setenv("OMP_NUM_THREADS", "1", 1);
}

void ls_fixture_end(void)
{
    cr_assert_eq(chdir("/"), 0);
    ls_shell("rm -rf %s", folder);
}

const ls_answer *ls_shell(const char *format, ...)
{
    static ls_answer answer;
    char command[8192];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    answer.code = ls_run_shell(command, answer.output, sizeof answer.output);
    return &answer;
}

void ls_expect(const ls_answer *answer, int code, ...)
{
    va_list words;
    va_start(words, code);
    cr_expect_eq(answer->code, code, "exit code %d, expected %d; it said:\n%s", answer->code, code, answer->output);
    for (const char *word; (word = va_arg(words, const char *));)
        cr_expect(strstr(answer->output, word), "'%s' is not in what it said:\n%s", word, answer->output);
    va_end(words);
}

void ls_fixture_data(void)
{
    const char *source = getenv("LS_SOURCE");
    ls_expect(ls_shell("head -n 120 %s/data-sets/gsm8k/train.jsonl > train.jsonl && head -n 12 %s/data-sets/gsm8k/test.jsonl > test.jsonl", source, source), 0, NULL);
    ls_expect(ls_shell("lockstep data tokenizer --vocabulary 512 --field question,answer --out tokenizer.json train.jsonl"), 0, NULL);
    ls_expect(ls_shell("lockstep data pack --prompt question --response answer --tokenizer tokenizer.json --out sft train.jsonl"), 0, NULL);
    ls_expect(ls_shell("lockstep data pack --prompt question --response answer --tokenizer tokenizer.json --out sft-test test.jsonl"), 0, NULL);
    ls_expect(ls_shell("lockstep data pack --text question,answer --tokenizer tokenizer.json --out text train.jsonl"), 0, NULL);
    FILE *out = fopen("tiny.yaml", "w");
    fputs("task: sft\n"
          "run: run\n"
          "seed: 5\n"
          "model: {style: llama, layers: 2, width: 32, heads: 4, kv_heads: 2, dropout: 0.1}\n"
          "data: {train: sft, eval: sft-test}\n"
          "batch: {grain: 1, grains: 4, tokens: 640}\n"
          "optimizer: {lr: 3e-3, warmup: 2, decay_steps: 20}\n"
          "max_steps: 6\n"
          "checkpoint: {every: 2, keep: 2}\n",
          out);
    fclose(out);
}

void ls_fixture_images(void)
{
    const char *source = getenv("LS_SOURCE");
    ls_expect(ls_shell("lockstep data images -o digits --scale 16 --range 0..299 %s/data-sets/digits/digits.csv.gz", source), 0, NULL);
    ls_expect(ls_shell("lockstep data images -o digits-test --scale 16 --range 300..449 %s/data-sets/digits/digits.csv.gz", source), 0, NULL);
    FILE *out = fopen("digits.yaml", "w");
    fputs("task: classify\n"
          "run: run\n"
          "seed: 5\n"
          "model: {family: convnet, blocks: [1, 1], widths: [8, 16]}\n"
          "data: {train: digits, eval: digits-test}\n"
          "augment: {crop: 1, mixup: 0.2}\n"
          "batch: {grain: 10, grains: 3}\n"
          "optimizer: {name: sgd, lr: 0.1, weight_decay: 1e-3, warmup: 5, min_lr_ratio: 0}\n"
          "classify: {label_smoothing: 0.1}\n"
          "max_steps: 60\n",
          out);
    fclose(out);
}

void ls_fixture_pairs(void)
{
    FILE *pairs = fopen("pairs.jsonl", "w"), *answers = fopen("outcomes.jsonl", "w");
    for (int i = 0; i < 160; i++) {
        const int a = i * 37 % 101, b = i * 53 % 89;
        fprintf(pairs, "{\"prompt\": \"what is %d and %d?\", \"chosen\": \"A: %d\", \"rejected\": \"B: %d%s\"}\n", a, b, a + b, a * b, i % 3 ? "" : " or so");
        fprintf(answers, "{\"q\": \"what is %d and %d?\", \"a\": \"%s: %d\", \"right\": %s}\n", a, b, i % 2 ? "A" : "B", a + b, i % 2 ? "true" : "false");
    }
    fclose(pairs);
    fclose(answers);
    ls_expect(ls_shell("lockstep data tokenizer --vocabulary 300 --field prompt,chosen --out tokenizer.json pairs.jsonl"), 0, NULL);
    ls_expect(ls_shell("lockstep data pack -t tokenizer.json --pairs --holdout 0.2 -o pairs pairs.jsonl"), 0, NULL);
    ls_expect(ls_shell("lockstep data pack -t tokenizer.json --prompt q --response a --outcome right --holdout 0.2 -o outcomes outcomes.jsonl"), 0, NULL);
    ls_expect(ls_shell("lockstep data pack -t tokenizer.json --prompt prompt --response chosen --holdout 0.2 -o answers pairs.jsonl"), 0, NULL);
    FILE *out = fopen("pairs.yaml", "w");
    fputs("task: reward\n"
          "run: run\n"
          "seed: 5\n"
          "model: {style: llama, layers: 2, width: 32, heads: 4, kv_heads: 2}\n"
          "data: {train: pairs, eval: pairs-holdout}\n"
          "batch: {grain: 2, grains: 4, tokens: 128}\n"
          "optimizer: {lr: 3e-3, warmup: 5}\n"
          "max_steps: 24\n",
          out);
    fclose(out);
}

void ls_fixture_answers(void)
{
    ls_expect(ls_shell("for i in $(seq 1 40); do for n in 7 8; do echo \"{\\\"prompt\\\": \\\"q$i\\\", \\\"response\\\": \\\"#$n\\\"}\"; done; "
                       "echo \"{\\\"prompt\\\": \\\"q$i\\\", \\\"chosen\\\": \\\"#7\\\", \\\"rejected\\\": \\\"#8\\\"}\" >> pairs.jsonl; done > both.jsonl; "
                       "grep '#7' both.jsonl > right.jsonl; "
                       "lockstep data tokenizer -v 257 -f prompt,response -o tokenizer.json both.jsonl && "
                       "for d in both right; do lockstep data pack -t tokenizer.json --prompt prompt --response response -o $d $d.jsonl || exit 1; done && "
                       "lockstep data pack -t tokenizer.json --pairs -o pairs pairs.jsonl"),
              0, NULL);
    ls_expect(ls_shell("cat > sft.yaml <<'END'\n"
                       "task: sft\nrun: base\nseed: 2\nmodel: {style: llama, layers: 1, width: 32, heads: 2, context: 24}\n"
                       "data: {train: both, epochs: 0}\nbatch: {grain: 8, grains: 2, tokens: 24}\noptimizer: {lr: 1e-2, weight_decay: 0}\n"
                       "max_steps: 60\nEND\n"
                       "sed 's/^run: .*/run: run/; s/^model: {/model: {from: base, /; s/^data: .*/data: {train: right, eval: right}/; "
                       "s/grain: 8/grain: 4/; s/grains: 2/grains: 4/; s/lr: 1e-2/lr: 3e-3, schedule: constant/' sft.yaml > rl.yaml && "
                       "sed 's/^task: .*/task: grpo/; s/^max_steps: .*/max_steps: 12/' rl.yaml > grpo.yaml && "
                       "echo 'grpo: {group: 4, max_tokens: 4, slots: 5}' >> grpo.yaml && "
                       "sed 's/^task: .*/task: ppo/; s/^max_steps: .*/max_steps: 32/' rl.yaml > ppo.yaml && "
                       "echo 'ppo: {group: 1, max_tokens: 4, slots: 5, value_coef: 0.5, clip_value: 1}' >> ppo.yaml && lockstep train sft.yaml"),
              0, NULL);
}

void ls_hash_of(const char *run, char hash[64])
{
    const ls_answer *answer = ls_shell("lockstep ckpt hash %s", run);
    cr_assert_eq(answer->code, 0, "%s", answer->output);
    snprintf(hash, 64, "%.63s", answer->output);
}

double ls_metric(const char *run, const char *key, int line)
{
    const ls_answer *answer =
        line ? ls_shell("grep -o '\"%s\": [-0-9.e+]*' %s/metrics.jsonl | sed -n %dp", key, run, line)
             : ls_shell("grep -o '\"%s\": [-0-9.e+]*' %s/metrics.jsonl | tail -n 1", key, run);
    const char *colon = strchr(answer->output, ':');
    cr_assert_not_null(colon, "%s has no %s: %s", run, key, answer->output);
    return strtod(colon + 1, NULL);
}
