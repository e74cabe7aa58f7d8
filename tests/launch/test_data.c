/* `lockstep data`: what its verbs print and return. */
#include "datasets/tokenizer.h"
#include "launch/command.h"
#include "tests/datasets/fixture.h"
#include "tests/launch/data_command.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool one_text(void *context, const char **text, size_t *bytes)
{
    int *calls = context;
    *text = "six times seven is forty-two";
    *bytes = strlen(*text);
    return (*calls)++ == 0;
}

static void prepare(void)
{
    ls_tokenizer *tokenizer;
    int calls = 0;
    const ls_tokenizer_training how = {.vocabulary = 270, .pattern = "gpt2", .specials = (const char *const[]){"<|endoftext|>", NULL}};
    cr_assert_eq(ls_tokenizer_train(&tokenizer, &how, one_text, &calls), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_tokenizer_write(tokenizer, fixture_path("t.json")), LS_OK);
    ls_tokenizer_free(tokenizer);
    static const char lines[] = "{\"q\": \"6*7?\", \"a\": \"42\"}\n{\"q\": \"\\u001b[31mred?\", \"a\": \"no\"}\n";
    fixture_write(fixture_path("in.jsonl"), (const uint8_t *)lines, sizeof lines - 1);
}

TestSuite(data, .init = prepare, .fini = fixture_clean);

static void pack_set(char out[DATA_COMMAND_ROOM])
{
    cr_assert_eq(RUN(out, "pack", "-t", fixture_path("t.json"), "-o", fixture_path("set"), "--prompt", "q", "--response", "a", "-j", "1",
                     fixture_path("in.jsonl")), 0, "%s", out);
}

Test(data, pack_info_show_and_verify_tell_what_there_is)
{
    char out[DATA_COMMAND_ROOM];
    pack_set(out);
    cr_assert(strstr(out, "set: 2 samples, ") && strstr(out, "longest sample: ") && strstr(out, "in.jsonl:2"), "%s", out);
    cr_assert_eq(RUN(out, "info", "-T", "32", fixture_path("set")), 0, "%s", out);
    cr_assert(strstr(out, "samples          2") && strstr(out, "template         plain") && strstr(out, "rows of 32       packed: 1"), "%s", out);
    cr_assert_eq(RUN(out, "verify", fixture_path("set")), 0, "%s", out);
    cr_assert(strstr(out, "set: whole; 2 samples"), "%s", out);
    cr_assert_eq(RUN(out, "show", fixture_path("set")), 0, "%s", out);
    cr_assert(strstr(out, "6*7?\n[42<|endoftext|>]\n"), "%s", out);
    cr_assert_eq(RUN(out, "show", "--row", "0", "-T", "32", fixture_path("set")), 0, "%s", out);
    cr_assert(strstr(out, "-- segment 0:") && strstr(out, "-- segment 1:") && strstr(out, "-- padding:"), "%s", out);
    cr_assert(strstr(out, "6*7?\n[42<|endoftext|>]\n"), "%s", out);
}

Test(data, show_sends_no_control_characters_to_the_terminal)
{
    char out[DATA_COMMAND_ROOM];
    pack_set(out);
    cr_assert_eq(RUN(out, "show", "--sample", "1", fixture_path("set")), 0, "%s", out);
    cr_assert(strstr(out, "\\x1b[31mred?\n[no<|endoftext|>]") && !strchr(out, '\x1b'), "%s", out);
    cr_assert_eq(RUN(out, "show", "--sample", "2", fixture_path("set")), 2);
    cr_assert(strstr(out, "lockstep data show: ") && strstr(out, "there is no sample 2; it has 0 .. 1"), "%s", out);
}

Test(data, failures_are_one_sentence_and_an_exit_code)
{
    char out[DATA_COMMAND_ROOM];
    pack_set(out);
    cr_assert_eq(RUN(out, "pack", "-t", fixture_path("t.json"), "-o", fixture_path("set"), "--text", "q", fixture_path("in.jsonl")), 1);
    cr_assert(strstr(out, "lockstep data pack: ") && strstr(out, "--force"), "%s", out);
    cr_assert_eq(RUN(out, "verify", fixture_path("nothing"), fixture_path("set")), 1);
    cr_assert(strstr(out, "no data set there") && strstr(out, "set: whole"), "all are verified: %s", out);
    cr_assert_eq(RUN(out, "pakc"), 2);
    cr_assert(strstr(out, "no verb \"pakc\"") && strstr(out, "Usage:"), "%s", out);
    cr_assert_eq(RUN(out, "--help"), 0);
}

Test(data, bad_usage_ends_with_2, .exit_code = 2)
{
    char out[DATA_COMMAND_ROOM];
    RUN(out, "pack", "-o", "somewhere", "--holdout", "1.5", "x.txt"); /* argp says why, and exits */
}

/* Linked alone: the other commands are not part of this program. */
int ls_command_failed(const char *name, ls_status status)
{
    fprintf(stderr, "lockstep %s: %s\n", name, ls_fail_sentence());
    return ls_status_exit_code(status);
}
