#include "datasets/tokenizer.h"
#include "launch/data_commands.h"
#include "tests/datasets/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(data_tokenizer, .fini = fixture_clean);

static void write_text(const char *name, const char *text)
{
    fixture_write(fixture_path(name), (const uint8_t *)text, strlen(text));
}

/* `lockstep data tokenizer --vocabulary 300 --out OUT MORE...`: the exit code. */
static int train(const char *out, const char *const *more)
{
    static char text[16][512];
    char *arguments[17];
    const char *const begin[] = {"lockstep data tokenizer", "--vocabulary", "300", "--out", out};
    int count = 0;
    for (int i = 0; i < 5; i++)
        arguments[count] = strcpy(text[count], begin[i]), count++;
    for (; *more; more++)
        arguments[count] = strcpy(text[count], *more), count++;
    arguments[count] = NULL;
    return ls_data_tokenizer(count, arguments);
}

static uint64_t hash_of(const char *path)
{
    ls_tokenizer *tokenizer;
    cr_assert_eq(ls_tokenizer_open(&tokenizer, path), LS_OK, "%s", ls_fail_sentence());
    uint64_t hash = ls_tokenizer_hash(tokenizer);
    ls_tokenizer_free(tokenizer);
    return hash;
}

Test(data_tokenizer, the_same_texts_in_fields_or_files_give_the_same_tokenizer)
{
    fixture_folder();
    write_text("a.jsonl", "{\"q\": \"the cat sat\", \"a\": \"on the mat\"}\n{\"q\": \"the other cat\", \"a\": \"that hat\"}\n");
    write_text("b.jsonl", "{\"text\": \"that hat\"}\n{\"text\": \"the cat sat\"}\n");
    write_text("c.jsonl", "{\"text\": \"the other cat\"}\n{\"text\": \"on the mat\"}\n");
    write_text("d.jsonl", "{\"q\": \"the cat sat\", \"a\": \"something else\"}\n");
    const char *one = fixture_path("new/folder/one.json"), *two = fixture_path("two.json"), *three = fixture_path("three.json");
    cr_assert_eq(train(one, (const char *const[]){"--field", "q,a", fixture_path("a.jsonl"), NULL}), 0, "folders are made");
    cr_assert_eq(train(two, (const char *const[]){fixture_path("b.jsonl"), fixture_path("c.jsonl"), NULL}), 0);
    cr_assert_eq(train(three, (const char *const[]){"--field", "q,a", fixture_path("d.jsonl"), NULL}), 0);
    cr_assert_eq(hash_of(one), hash_of(two));
    cr_assert_neq(hash_of(one), hash_of(three));
}

Test(data_tokenizer, a_tokenizer_that_is_there_stays_unless_forced)
{
    fixture_folder();
    write_text("a.txt", "some text, some more text\n");
    write_text("b.txt", "quite another one\n");
    const char *out = fixture_path("t.json");
    cr_assert_eq(train(out, (const char *const[]){fixture_path("a.txt"), NULL}), 0);
    uint64_t before = hash_of(out);
    cr_assert_eq(train(out, (const char *const[]){fixture_path("b.txt"), NULL}), 1);
    cr_assert(strstr(ls_fail_sentence(), "--force"), "%s", ls_fail_sentence());
    cr_assert_eq(hash_of(out), before);
    cr_assert_eq(train(out, (const char *const[]){"--force", fixture_path("b.txt"), NULL}), 0);
    cr_assert_neq(hash_of(out), before);
}

Test(data_tokenizer, bad_input_is_named_and_nothing_is_written)
{
    fixture_folder();
    write_text("a.jsonl", "{\"q\": \"x\"}\n{\"q\": 5}\n");
    write_text("empty.txt", "");
    const char *out = fixture_path("t.json");
    cr_assert_eq(train(out, (const char *const[]){"--field", "q", fixture_path("a.jsonl"), NULL}), 1);
    cr_assert(strstr(ls_fail_sentence(), "a.jsonl:2: \"q\" is a number"), "%s", ls_fail_sentence());
    cr_assert_eq(train(out, (const char *const[]){fixture_path("a.jsonl"), NULL}), 1);
    cr_assert(strstr(ls_fail_sentence(), "the keys are: q"), "%s", ls_fail_sentence());
    cr_assert_eq(train(out, (const char *const[]){fixture_path("empty.txt"), NULL}), 1);
    cr_assert(strstr(ls_fail_sentence(), "no text in it"), "%s", ls_fail_sentence());
    cr_assert_eq(train(out, (const char *const[]){fixture_path("nothing.txt"), NULL}), 1);
    cr_assert_eq(train(out, (const char *const[]){"--pattern", "gpt5", fixture_path("empty.txt"), NULL}), 2);
    cr_assert_neq(access(out, F_OK), 0);
}
