/* What a run folder is good for after training, without the data it was trained on. */
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <string.h>

static void begin(void)
{
    ls_fixture_begin();
    ls_fixture_data();
}

TestSuite(use, .init = begin, .fini = ls_fixture_end, .timeout = 100);

Test(use, prompts_are_put_as_the_run_was_trained)
{
    ls_expect(ls_shell("lockstep train tiny.yaml max_steps=2 && rm -r sft sft-test train.jsonl tokenizer.json"), 0, NULL);
    ls_expect(ls_shell("ask='lockstep generate run --prompt Why? --temperature 0 -n 20 --ids'\n"
                       "$ask > trained; $ask --template plain > plain; $ask --template none > bare\n"
                       "cmp trained plain && ! cmp -s trained bare && echo as trained"), 0, "as trained", NULL);
    ls_expect(ls_shell("lockstep generate run --prompt Why? --template alpaca"), 2, "alpaca", "plain", NULL);
    ls_expect(ls_shell("lockstep eval run --gsm8k test.jsonl --limit 1 -m 8"), 0, "strict", NULL);
}
