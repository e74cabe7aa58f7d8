/* Supervised fine-tuning as transformers does it: the same weights (tests/data/stories260K), the same problems in the same order, the
 * same AdamW behind the same clipping, in float64 (tests/golden/make_sft_golden.py). Ten steps on short problems of GSM8K, twenty on
 * CMATH, whose Chinese is several tokens a character. Ours are f32: losses may differ by 2e-5 of themselves, norms before clipping by 2e-4. */
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { EVERY = 10 };

static json_t *golden_of(const char *name)
{
    char path[1024];
    json_error_t error;
    snprintf(path, sizeof path, "%s/tests/golden/sft.json", getenv("LS_SOURCE"));
    json_t *root = json_load_file(path, 0, &error), *of = json_incref(json_object_get(root, name));
    cr_assert_not_null(of, "%s: %s", path, error.text);
    json_decref(root);
    return of;
}

static double number(const json_t *golden, const char *key, int i)
{
    return json_number_value(json_array_get(json_object_get(golden, key), (size_t)i));
}

static void expect_near(double got, double want, double tolerance, const char *what, int i)
{
    cr_expect_leq(fabs(got / want - 1), tolerance, "%s %d: %.9g, not %.9g (%.1e)", what, i, got, want, got / want - 1);
}

/* Fine-tunes on train.jsonl, and compares each step and each evaluation. */
static void as_transformers(const char *name, const char *prompt, const char *response, int steps)
{
    json_t *golden = golden_of(name);
    ls_expect(ls_shell("lockstep data tokenizer --vocabulary 512 --field %s,%s --out tokenizer.json train.jsonl", prompt, response), 0, NULL);
    ls_expect(ls_shell("for set in train test; do lockstep data pack --prompt %s --response %s --tokenizer tokenizer.json --out $set $set.jsonl "
                       "|| exit 1; done", prompt, response), 0, NULL);
    FILE *out = fopen("sft.yaml", "w");
    fprintf(out,
            "task: sft\nrun: run\nseed: 5\n"
            "model: {from: %s/tests/data/stories260K/hf}\n"
            "data: {train: train, eval: test, pack: false}\n"
            "batch: {grain: 4, grains: 2, tokens: 384}\n"
            "optimizer: {lr: 1e-3, betas: [0.9, 0.95], eps: 1e-8, weight_decay: 0.1, warmup: 4, min_lr_ratio: 0.1, clip_norm: 1.0}\n"
            "max_steps: %d\neval_every: %d\n",
            getenv("LS_SOURCE"), steps, EVERY);
    fclose(out);
    ls_expect(ls_shell("lockstep train sft.yaml"), 0, NULL);
    for (int i = 0; i < steps; i++) {
        cr_assert_eq(ls_metric("run", "counted_tokens", i + 1), number(golden, "counted", i), "step %d learns other tokens", i + 1);
        expect_near(ls_metric("run", "loss", i + 1), number(golden, "losses", i), 2e-5, "loss of step", i + 1);
        expect_near(ls_metric("run", "grad_norm", i + 1), number(golden, "norms", i), 2e-4, "norm of step", i + 1);
    }
    for (int i = 0; i <= steps / EVERY; i++)
        expect_near(ls_metric("run", "eval_loss", i + 1), number(golden, "held_out", i), 2e-5, "held-out loss", i);
    cr_expect_lt(ls_metric("run", "eval_loss", 0), 0.8 * ls_metric("run", "eval_loss", 1), "the held-out loss falls");
    json_decref(golden);
}

TestSuite(sft_golden, .init = ls_fixture_begin, .fini = ls_fixture_end, .timeout = 200);

Test(sft_golden, gsm8k)
{
    const char *source = getenv("LS_SOURCE");
    ls_expect(ls_shell("export LC_ALL=C; awk 'length < 600' %s/data-sets/gsm8k/train.jsonl | head -n 60 > train.jsonl; awk 'length < 600' %s/data-sets/gsm8k/test.jsonl | head -n 24 > test.jsonl", source, source), 0, NULL);
    as_transformers("gsm8k", "question", "answer", 10);
}

Test(sft_golden, cmath)
{
    const char *source = getenv("LS_SOURCE");
    ls_expect(ls_shell("head -n 120 %s/data-sets/cmath/cmath_dev.jsonl > train.jsonl && tail -n 24 %s/data-sets/cmath/cmath_dev.jsonl > test.jsonl", source, source), 0, NULL);
    as_transformers("cmath", "input", "golden", 20);
}
