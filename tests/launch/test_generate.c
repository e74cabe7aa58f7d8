/* `generate` and `eval` from outside, on stories260K (tests/data/stories260K/SOURCE.md): an imported model must say what its
 * author printed, token by token, and its likelihood must be that of an independent computation. */
#include "tests/launch/fixture.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void import(void)
{
    fixture_make();
    cr_assert_eq(fixture_run("cd $LS_SOURCE/tests/data/stories260K && $LOCKSTEP ckpt import stories260K.bin --tokenizer tok512.bin "
                             "--out $FOLDER/stories"), 0, "%s", text);
}

TestSuite(generate, .init = import, .fini = fixture_clean, .timeout = 100);

static json_t *golden(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/data/stories260K/greedy.json", getenv("LS_SOURCE"));
    json_t *file = json_load_file(path, 0, NULL);
    cr_assert_not_null(file);
    return file;
}

/* Its ids with spaces between them, and a newline. */
static char *golden_ids(const json_t *file)
{
    const json_t *ids = json_object_get(file, "ids");
    char *line = calloc(json_array_size(ids) + 1, 12), *at = line;
    for (size_t i = 0; i < json_array_size(ids); i++)
        at += sprintf(at, "%s%lld", i ? " " : "", (long long)json_integer_value(json_array_get(ids, i)));
    strcpy(at, "\n");
    return line;
}

Test(generate, greedy_text_has_exactly_the_golden_ids)
{
    json_t *file = golden();
    char *ids = golden_ids(file), want[8192];
    cr_assert_eq(fixture_run("$LOCKSTEP generate $FOLDER/stories --temperature 0 --max-tokens 256 --ids"), 0, "%s", text);
    cr_assert_str_eq(text, ids);
    cr_assert_eq(fixture_run("$LOCKSTEP generate $FOLDER/stories --temperature 0 --max-tokens 256 --threads 2"), 0, "%s", text);
    snprintf(want, sizeof want, "%s\n", json_string_value(json_object_get(file, "text")));
    cr_assert_str_eq(text, want);
    free(ids);
    json_decref(file);
}

Test(generate, the_likelihood_is_that_of_an_independent_computation)
{
    json_t *file = golden();
    char *ids = golden_ids(file), path[512];
    snprintf(path, sizeof path, "%s/ids", folder);
    FILE *out = fopen(path, "w");
    fputs(ids, out);
    fclose(out);
    cr_assert_eq(fixture_run("$LOCKSTEP eval $FOLDER/stories --nll $FOLDER/ids --ids"), 0, "%s", text);
    const char *loss = strstr(text, "loss ");
    cr_assert(loss && fabs(atof(loss + 5) - json_real_value(json_object_get(file, "mean_nll_of_ids"))) < 1e-4, "%s", text);
    cr_assert(strstr(text, "over 256 tokens"), "%s", text);
    cr_assert_eq(fixture_run("echo 5 512 > $FOLDER/ids; $LOCKSTEP eval $FOLDER/stories --nll $FOLDER/ids --ids"), 1, "%s", text);
    cr_assert(strstr(text, "token id 512 is not below the model's vocabulary of 512"), "%s", text);
    free(ids);
    json_decref(file);
}

Test(generate, a_prompt_says_the_same_alone_and_in_a_batch)
{
    char alone[4096];
    cr_assert_eq(fixture_run("printf 'Once upon a time\\nLily\\nThe dog saw a\\n' > $FOLDER/prompts"), 0);
    cr_assert_eq(fixture_run("$LOCKSTEP generate $FOLDER/stories --prompt 'Once upon a time' --seed 5 -n 12 --temperature 2 --ids"), 0, "%s", text);
    snprintf(alone, sizeof alone, "%.4000s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP generate $FOLDER/stories --prompts $FOLDER/prompts --seed 5 -n 12 --temperature 2 --ids"), 0, "%s", text);
    cr_assert(!strncmp(text, alone, strlen(alone)), "%s", text);
    cr_assert_eq(fixture_count("\n"), 3, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP generate $FOLDER/stories --prompt 'Once upon a time' --seed 6 -n 12 --temperature 2 --ids"), 0, "%s", text);
    cr_assert_neq(strcmp(text, alone), 0, "the seed matters");
}

Test(generate, the_lines_are_the_same_on_any_rank_count_and_batch)
{
    static const char *const ranks[] = {"", "mpirun --oversubscribe -n 2 ", "mpirun --oversubscribe -n 3 "};
    cr_assert_eq(fixture_run("head -n 7 $LS_SOURCE/data-sets/gsm8k/test.jsonl > $FOLDER/p.jsonl"), 0);
    for (int i = 0; i < 3; i++) /* 7 prompts are not a multiple of the ranks, nor 21 rows of the batch */
        cr_assert_eq(fixture_run("%s$LOCKSTEP generate $FOLDER/stories --prompts $FOLDER/p.jsonl --samples 3 --batch %d -n 9 --ids --out $FOLDER/out%d.jsonl",
                                 ranks[i], 5 * i + 1, i), 0, "%s", text);
    cr_assert_eq(fixture_run("cmp $FOLDER/out0.jsonl $FOLDER/out1.jsonl && cmp $FOLDER/out0.jsonl $FOLDER/out2.jsonl && wc -l < $FOLDER/out0.jsonl"), 0, "%s", text);
    cr_assert_str_eq(text, "21\n");
    char path[4096];
    snprintf(path, sizeof path, "%s/out0.jsonl", folder);
    FILE *file = fopen(path, "r");
    json_t *sample[3];
    for (int i = 0; i < 3; i++)
        cr_assert_not_null(sample[i] = json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL));
    fclose(file);
    cr_expect(json_object_get(sample[0], "question") && json_object_get(sample[0], "answer"), "what came in comes out");
    cr_expect_eq(json_integer_value(json_object_get(sample[2], "sample")), 2);
    cr_expect_eq(json_array_size(json_object_get(sample[1], "ids")), (size_t)json_integer_value(json_object_get(sample[1], "tokens")));
    cr_expect_not(json_equal(json_object_get(sample[0], "ids"), json_object_get(sample[1], "ids")), "samples of one prompt differ");
    for (int i = 0; i < 3; i++)
        json_decref(sample[i]);
}

Test(generate, a_stop_string_ends_a_text_before_it)
{
    cr_assert_eq(fixture_run("$LOCKSTEP generate $FOLDER/stories --prompt 'Once upon a time' -n 60 --temperature 0 --stop zzz --stop ' named'"), 0, "%s", text);
    cr_assert_str_eq(text, "Once upon a time, there was a little girl\n"); /* golden: ... a little girl named Lily */
    cr_assert_eq(fixture_run("printf 'Once upon a time\\nOnce upon a time, there\\n' > $FOLDER/p; "
                             "$LOCKSTEP generate $FOLDER/stories --prompts $FOLDER/p -n 60 --temperature 0 --stop 'rl nam' --jsonl"), 0, "%s", text);
    cr_assert_eq(fixture_count("\"text\":\", there was a little gi\""), 1, "%s", text);
    cr_assert_eq(fixture_count("\"text\":\" was a little gi\""), 1, "%s", text);
    cr_assert_eq(fixture_count("\"end\":\"stop string\""), 2, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP generate $FOLDER/stories --prompt x --stop ''"), 2, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP generate $FOLDER/stories --prompt x --samples 2"), 2, "%s", text);
}

Test(generate, gsm8k_is_counted_and_its_interval_printed)
{
    cr_assert_eq(fixture_run("head -n 3 $LS_SOURCE/data-sets/gsm8k/test.jsonl > $FOLDER/three.jsonl; "
                             "$LOCKSTEP eval $FOLDER/stories --gsm8k $FOLDER/three.jsonl --max-tokens 8 --show"), 0, "%s", text);
    cr_assert_eq(fixture_count("question: "), 3, "%s", text);
    cr_assert(strstr(text, "0 of 3 =   0.0 %   95 % interval 0.0 to 56.1 %"), "%s", text); /* Wilson: z^2 / (n + z^2) */
    cr_assert_eq(fixture_run("echo '{\"question\": 1}' > $FOLDER/bad.jsonl; $LOCKSTEP eval $FOLDER/stories --gsm8k $FOLDER/bad.jsonl"), 1);
    cr_assert(strstr(text, "bad.jsonl:1"), "%s", text);
}

Test(generate, a_folder_that_is_no_model_is_told_by_what_it_lacks)
{
    cr_assert_eq(fixture_run("$LOCKSTEP generate $FOLDER"), 1, "%s", text);
    cr_assert(strstr(text, "no recipe.yaml in it"), "%s", text);
    cr_assert_eq(fixture_run("mv $FOLDER/stories/tokenizer $FOLDER/tokenizer; $LOCKSTEP generate $FOLDER/stories"), 1, "%s", text);
    cr_assert(strstr(text, "neither tokenizer.json nor tokenizer/ in it"), "%s", text);
    cr_assert_eq(fixture_run("mv $FOLDER/tokenizer $FOLDER/stories/tokenizer; sed -i 's/layers: 5/layers: 6/' $FOLDER/stories/recipe.yaml; "
                             "$LOCKSTEP generate $FOLDER/stories"), 1, "%s", text);
    cr_assert(strstr(text, "blocks/5/"), "%s", text);
    cr_assert_eq(fixture_run("sed -i 's/layers: 6/layers: 5/; s/width: 64/width: 128/' $FOLDER/stories/recipe.yaml; "
                             "$LOCKSTEP generate $FOLDER/stories"), 1, "%s", text);
    cr_assert(strstr(text, "has another shape"), "%s", text);
}

/* A model whose slots learnt nothing gives a token a pass and plain decoding's answers at every threshold; bench/accept/lud compares the
 * sweep of one that learnt something with decodings one by one. */
Test(generate, a_sweep_has_a_line_for_each_decoding_and_is_drawn)
{
    cr_assert_eq(fixture_run("cd $FOLDER && for i in 1 2 3 4 5; do echo \"{\\\"q\\\": \\\"$i+$i=\\\", \\\"a\\\": \\\"$((i + i))\\\"}\"; done > in.jsonl && "
                             "$LOCKSTEP data tokenizer --vocabulary 257 --field q,a --out tokenizer.json in.jsonl && "
                             "$LOCKSTEP data pack --prompt q --response a -t tokenizer.json -o set in.jsonl && "
                             "printf 'task: sft\\nrun: run\\nmodel: {style: llama, layers: 1, width: 32, heads: 2, context: 40, slot: true}\\n"
                             "data: {train: set, pack: false}\\nbatch: {grain: 1, grains: 1, tokens: 40}\\nmax_steps: 1\\n' > r.yaml && $LOCKSTEP train r.yaml"),
                 0, "%s", text);
    cr_assert_eq(fixture_run("cd $FOLDER && $LOCKSTEP generate run --prompts in.jsonl --field q --template plain --max-tokens 6 --decode lud --window 3 --sweep"), 0, "%s", text);
    cr_expect_eq(fixture_count("5 of 5"), 11, "%s", text);
    cr_assert_eq(fixture_run("cat $FOLDER/run/lud.jsonl"), 0);
    cr_expect_eq(fixture_count("\"rows\": 5"), 11, "%s", text);
    cr_expect_eq(fixture_count("\"window\": 1, \"threshold\": null"), 1, "%s", text);
    cr_expect_eq(fixture_count("\"window\": 3, \"threshold\": 0.97"), 1, "%s", text);
    cr_assert_eq(fixture_run("cd $FOLDER && $LOCKSTEP report run > /dev/null && grep -c 'section id=\"lud\"' run/report.html"), 0, "%s", text);
    cr_assert_eq(fixture_run("cd $FOLDER && $LOCKSTEP generate run --prompts in.jsonl --field q --decode lud --sweep --out no/lud.jsonl"), 1, "%s", text);
    cr_expect(strstr(text, "no/lud.jsonl: No such file"), "%s", text);
    cr_assert_eq(fixture_run("cd $FOLDER && $LOCKSTEP generate run --prompts in.jsonl --sweep"), 2, "%s", text);
}
