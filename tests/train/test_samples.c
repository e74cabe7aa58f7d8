/* samples.jsonl: its lines, what is cut off when a run goes on, and that neither rank count nor kills show in it. */
#include "train/samples.h"
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(samples, .init = ls_fixture_begin, .fini = ls_fixture_end, .timeout = 200);

static void add(ls_samples *samples, int64_t step, const char *prompt, const char *text, size_t bytes)
{
    const ls_sample sample = {.step = step,
                              .prompt = prompt,
                              .prompt_bytes = strlen(prompt),
                              .text = text,
                              .text_bytes = bytes,
                              .reward = 0.25,
                              .right = step % 2,
                              .ended = true,
                              .scored = step == 3,
                              .score = -1.5};
    cr_assert_eq(ls_samples_add(samples, &sample), LS_OK, "%s", ls_fail_sentence());
}

Test(samples, lines_are_json_and_those_of_later_steps_are_cut_off)
{
    ls_samples *samples;
    cr_assert_eq(ls_samples_open(&samples, ".", 0, 40), LS_OK, "%s", ls_fail_sentence());
    add(samples, 1, "a \"b\"\\\n", "\x01\xff\xc3", 3);
    add(samples, 2, "q", "\xc3\xa9", 2);
    add(samples, 3, "q", "", 0);
    const char longer[50] = "";
    cr_expect_eq(ls_samples_add(samples, &(ls_sample){.text = longer, .text_bytes = 41, .prompt = ""}), LS_EARG);
    ls_samples_close(samples);
    ls_expect(
        ls_shell("cat samples.jsonl"), 0,
        "{\"step\": 1, \"prompt\": \"a \\\"b\\\"\\\\\\n\", \"text\": \"\\u0001\\ufffd\\ufffd\", \"reward\": 0.25, "
        "\"right\": true, \"ended\": true}\n{\"step\": 2, \"prompt\": \"q\", \"text\": \"\xc3\xa9\", \"reward\": "
        "0.25, \"right\": false, \"ended\": true}\n{\"step\": 3, \"prompt\": \"q\", \"text\": \"\", \"reward\": "
        "0.25, \"right\": true, \"ended\": true, \"score\": -1.5}\n",
        NULL);
    ls_expect(ls_shell("printf '{\"step\": 2, \"pro' >> samples.jsonl"), 0, NULL); /* cut off by a crash */
    cr_assert_eq(ls_samples_open(&samples, ".", 2, 40), LS_OK, "%s", ls_fail_sentence());
    add(samples, 4, "q", "", 0);
    ls_samples_close(samples);
    ls_expect(ls_shell("grep -o '^{\"step\": [0-9]*' samples.jsonl | tr -d '\\n'"), 0,
              "{\"step\": 1{\"step\": 2{\"step\": 4", NULL);
}

Test(samples, neither_ranks_nor_kills_show)
{
    ls_fixture_answers();
    const char *how = "grpo.epochs=2 grpo.samples=3 grpo.samples_every=2 checkpoint.every=1 data.eval= max_steps=12";
    ls_expect(ls_shell("lockstep train grpo.yaml run=one %s && cut -d, -f1 one/samples.jsonl | tr -d '\\n'", how), 0,
              "{\"step\": 1{\"step\": 1{\"step\": 1{\"step\": 5{\"step\": 5{\"step\": 5{\"step\": 9{\"step\": 9", NULL);
    ls_expect(ls_shell("cut -d, -f2 one/samples.jsonl | head -n 3 | sort -u | wc -l"), 0, "3", NULL);
    ls_expect(ls_shell("cat one/samples.jsonl"), 0, "\"prompt\": \"q", "\"text\": \"#", "\"reward\": ", NULL);
    ls_expect(ls_shell("mpirun --oversubscribe --bind-to none -n 3 lockstep train grpo.yaml run=three %s && cmp "
                       "one/samples.jsonl three/samples.jsonl",
                       how),
              0, NULL);
    ls_expect(
        ls_shell("for steps in 1 4 5; do lockstep train grpo.yaml run=parts %s max_steps=$steps || exit 1; rm -rf "
                 "kept; cp -r parts/checkpoints kept; lockstep train grpo.yaml run=parts %s max_steps=$((steps + "
                 "4)) || exit 1; rm -r parts/checkpoints; mv kept parts/checkpoints; done; lockstep train "
                 "grpo.yaml run=parts %s && cmp one/samples.jsonl parts/samples.jsonl",
                 how, how, how),
        0, NULL);
    ls_expect(ls_shell("lockstep report one -o page.html && grep -c 'Samples over time' page.html"), 0, NULL);
}
