/* `rejection` from outside: a model that answers #7 with and without steps, and #8; what is kept is right, new and
 * enough. */
#include "tests/launch/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(void)
{
    fixture_make();
    cr_assert_eq(
        fixture_run("cd $FOLDER && for i in $(seq 1 30); do for a in '3+4=7#7' '#7' '#8'; do echo \"{\\\"question\\\": "
                    "\\\"q$i\\\", \\\"answer\\\": \\\"$a\\\"}\"; done; done > all.jsonl && "
                    "grep '\"#7' all.jsonl > q.jsonl && $LOCKSTEP data tokenizer -v 257 -f question,answer -o "
                    "tokenizer.json all.jsonl && "
                    "$LOCKSTEP data pack -t tokenizer.json --prompt question --response answer -o all all.jsonl && "
                    "printf 'task: sft\\nrun: base\\nseed: 2\\nmodel: {style: llama, layers: 1, width: 32, heads: 2, "
                    "context: 24}\\n"
                    "data: {train: all, epochs: 0}\\nbatch: {grain: 8, grains: 2, tokens: 24}\\noptimizer: {lr: "
                    "1e-2}\\nmax_steps: 80\\n' > sft.yaml && $LOCKSTEP train sft.yaml"),
        0, "%s", text);
}

TestSuite(rejection, .init = begin, .fini = fixture_clean, .timeout = 100);

static long number_before(const char *words)
{
    const char *at = strstr(text, words);
    cr_assert(at && at > text, "no \"%s\" in %s", words, text);
    while (at > text && at[-1] >= '0' && at[-1] <= '9')
        at--;
    return atol(at);
}

Test(rejection, what_is_kept_is_right_and_new_on_any_rank_count)
{
    cr_assert_eq(
        fixture_run(
            "cd $FOLDER && $LOCKSTEP rejection base --prompts q.jsonl --samples 12 -n 12 --keep 4 --out one.jsonl"),
        0, "%s", text);
    const long drawn = number_before(" answers drawn"), right = number_before(" right ("),
               kept = number_before(" kept"), alike = number_before(" right ones reason");
    cr_expect_eq(drawn, 360);
    cr_expect(right > 120 && right < 330, "%s", text);
    cr_expect_eq(kept + alike, right, "nobody had more than four ways: %s", text);
    cr_expect_eq(fixture_run("cd $FOLDER && wc -l < one.jsonl"), 0);
    cr_expect_eq(atol(text), kept);
    cr_expect_eq(fixture_run("cd $FOLDER && sort one.jsonl | uniq -d | wc -l; grep -vc '#7\"}$' one.jsonl"), 1, "%s",
                 text);
    cr_expect_str_eq(text, "0\n0\n", "no line twice, no answer but 7");
    cr_expect_eq(fixture_run("cd $FOLDER && mpirun --oversubscribe -n 3 $LOCKSTEP rejection base --prompts q.jsonl "
                             "--samples 12 -n 12 --batch 5 --out three.jsonl && cmp one.jsonl three.jsonl"),
                 0, "%s", text);
    cr_expect(strstr(text, "30 questions, 360 answers drawn"), "told once, by all together: %s", text);
    cr_expect_eq(fixture_run("cd $FOLDER && $LOCKSTEP rejection base --prompts q.jsonl --samples 12 -n 12 --keep 1 "
                             "--out few.jsonl && cut -d, -f1 few.jsonl | sort | uniq -d | wc -l"),
                 0);
    cr_expect_eq(text[strlen(text) - 2], '0', "one a question: %s", text);
    cr_expect_eq(fixture_run("cd $FOLDER && $LOCKSTEP data pack -t tokenizer.json --prompt question --response answer "
                             "-o round2 all.jsonl one.jsonl"),
                 0, "%s", text);
}

Test(rejection, right_and_wrong_answers_become_pairs)
{
    cr_assert_eq(
        fixture_run(
            "cd $FOLDER && $LOCKSTEP rejection base --prompts q.jsonl --samples 8 -n 12 --pairs 2 --out one.jsonl"),
        0, "%s", text);
    const long pairs = number_before(" pairs of a right");
    cr_expect(pairs > 30 && pairs <= 60 * 2, "%s", text);
    cr_expect_eq(
        fixture_run(
            "cd $FOLDER && wc -l < one.jsonl && grep -vc '\"chosen\":\"[^\"]*#7\",\"rejected\":\"[^\"]*\"}$' "
            "one.jsonl; "
            "grep -c '\"rejected\":\"[^\"]*#7\"' one.jsonl; cut -d, -f1 one.jsonl | uniq -c | awk '$1 > 4' | wc -l"),
        0, "%s", text);
    char want[64];
    snprintf(want, sizeof want, "%ld\n0\n0\n0\n", pairs);
    cr_expect_str_eq(text, want);
    cr_expect_eq(fixture_run("cd $FOLDER && mpirun --oversubscribe -n 3 $LOCKSTEP rejection base --prompts q.jsonl "
                             "--samples 8 -n 12 --pairs 2 --out "
                             "three.jsonl && cmp one.jsonl three.jsonl && $LOCKSTEP data pack -t tokenizer.json "
                             "--pairs --prompt question -o pairs one.jsonl"),
                 0, "%s", text);
}

Test(rejection, what_it_cannot_judge_is_refused)
{
    cr_expect_eq(fixture_run("cd $FOLDER && echo '{\"question\": \"q\"}' > bad.jsonl && $LOCKSTEP rejection base "
                             "--prompts bad.jsonl --out o.jsonl"),
                 1);
    cr_expect(strstr(text, "question 1 has no text \"answer\""), "%s", text);
    cr_expect_eq(
        fixture_run("cd $FOLDER && echo q > bad.txt && $LOCKSTEP rejection base --prompts bad.txt --out o.jsonl"), 1);
    cr_expect(strstr(text, "give it a .jsonl file"), "%s", text);
    cr_expect_eq(fixture_run("cd $FOLDER && $LOCKSTEP rejection base --prompts q.jsonl --out o.jsonl --rule best"), 2);
    cr_expect_eq(fixture_run("cd $FOLDER && $LOCKSTEP rejection base --prompts q.jsonl"), 2);
}
