/* `lockstep prove` of preference learning and of low-rank adapters, in all precisions. The long form is
 * bench/accept/bits. */
#include "tests/launch/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(void)
{
    fixture_make();
    cr_assert_eq(fixture_run("zcat $LS_SOURCE/data-sets/hh-rlhf-helpful/test.jsonl.gz | awk 'length < 900' | head -n "
                             "60 > $FOLDER/hh.jsonl && "
                             "$LOCKSTEP data tokenizer --vocabulary 300 --field chosen,rejected -o "
                             "$FOLDER/tokenizer.json $FOLDER/hh.jsonl && "
                             "$LOCKSTEP data pack -t $FOLDER/tokenizer.json --pairs -o $FOLDER/pairs $FOLDER/hh.jsonl"),
                 0, "%s", text);
}

TestSuite(prove_alignment, .init = begin, .fini = fixture_clean, .timeout = 110);

static void write_recipe(const char *task)
{
    char path[256];
    snprintf(path, sizeof path, "%s/recipe.yaml", folder);
    FILE *out = fopen(path, "w");
    fprintf(out,
            "run: %s/run\nseed: 3\ndata: {train: %s/pairs, epochs: 2, on_long: skip}\nbatch: {grain: 1, grains: 4, "
            "tokens: 768}\n"
            "model: {style: llama, layers: 1, width: 16, heads: 2, dropout: 0.1}\noptimizer: {lr: 5e-3, clip_norm: "
            "0.5}\n%s",
            folder, folder, task);
    fclose(out);
}

Test(prove_alignment, preferences_keep_their_bits)
{
    static const struct {
        const char *task, *arguments;
    } rows[] = {
        {"task: reward\nreward: {center: 0.01, margin: 0.1}\n", "--ranks 1,3 --threads 2 precision=fp16 loss_scale.start=4294967296"},
        {"task: dpo\n", "--ranks 2,4 --threads 1 precision=bf16 guard.audit_every=1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_recipe(rows[i].task);
        const int code = fixture_run("$LOCKSTEP prove $FOLDER/recipe.yaml --steps 5 %s", rows[i].arguments);
        cr_expect_eq(code, 0, "%s: %d\n%s", rows[i].arguments, code, text);
        cr_expect_eq(fixture_count("  same"), 4, "%s", text);
        cr_expect(strstr(text, "killed after step") && strstr(text, "All 5 trials agree"), "%s", text);
    }
}

Test(prove_alignment, adapters_keep_their_bits)
{
    static const char *const rows[] = {
        "--ranks 1,3 --threads 2 guard.audit_every=1 'lora={rank: 3, targets: all, dropout: 0.1}'",
        "--ranks 2,4 --threads 1 precision=bf16 'lora={rank: 2, targets: attention}' 'model={style: gpt2, layers: 2, "
        "width: 32, heads: 4}'",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fixture_recipe("sft");
        const int code = fixture_run("$LOCKSTEP prove $FOLDER/recipe.yaml --steps 5 %s", rows[i]);
        cr_expect_eq(code, 0, "%s: %d\n%s", rows[i], code, text);
        cr_expect(strstr(text, "killed after step") && strstr(text, "All 5 trials agree"), "%s", text);
    }
}
