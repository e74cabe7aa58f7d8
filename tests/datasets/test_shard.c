#include "tests/datasets/fixture.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(shard, .fini = fixture_clean);

static const int64_t lengths[] = {3, 1, 70000, 12, 9, 4, 65536, 2, 31};
enum { SAMPLES = sizeof lengths / sizeof *lengths };

static bool exists(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0;
}

Test(shard, what_was_written_is_read_whatever_the_shards)
{
    uint64_t hashes[4];
    for (int64_t per_shard = 1; per_shard <= 4; per_shard++) {
        char name[32];
        snprintf(name, sizeof name, "set-%d", (int)per_shard);
        fixture_pack(name, lengths, SAMPLES, per_shard, true);
        ls_shards *shards;
        cr_assert_eq(ls_shards_open(&shards, fixture_path(name), true), LS_OK, "%s", ls_fail_sentence());
        cr_assert_eq(ls_shards_samples(shards), SAMPLES);
        cr_assert_eq(ls_shards_files(shards), (SAMPLES + per_shard - 1) / per_shard);
        cr_assert_eq(ls_shards_longest(shards), 70000);
        cr_assert_eq(ls_shards_vocabulary(shards), FIXTURE_VOCABULARY);
        cr_assert_eq(ls_shards_tokenizer_hash(shards), 42);
        cr_assert_str_eq(ls_shards_source(shards), "a test");
        int64_t all = 0, unmasked = 0;
        for (int64_t s = 0; s < SAMPLES; s++) {
            const int32_t *tokens;
            const uint8_t *mask;
            int64_t count, counted = 0;
            cr_assert_eq(ls_shards_text(shards, s, &tokens, &mask, &count), LS_OK);
            cr_assert_eq(count, lengths[s]);
            cr_assert_eq(ls_shards_length(shards, s), lengths[s]);
            for (int64_t t = 0; t < count; t++) {
                cr_assert(tokens[t] == fixture_token(s, t) && mask[t] == fixture_mask(t, count, true), "sample %d token %d", (int)s, (int)t);
                counted += t > 0 && mask[t];
                unmasked += mask[t];
                cr_assert(ls_shards_sample_at(shards, all + t) == s, "token %d", (int)t);
            }
            cr_assert_eq(ls_shards_counted(shards, s), counted);
            all += count;
        }
        cr_assert_eq(ls_shards_tokens(shards), all);
        cr_assert_eq(ls_shards_unmasked(shards), unmasked);
        hashes[per_shard - 1] = ls_shards_hash(shards);
        ls_shards_free(shards);
    }
    cr_assert_neq(hashes[0], hashes[1]);
}

Test(shard, the_stream_is_all_tokens_in_order)
{
    fixture_pack("set", lengths, SAMPLES, 2, false);
    ls_shards *shards;
    cr_assert_eq(ls_shards_open(&shards, fixture_path("set"), false), LS_OK);
    int64_t sample = 0, t = 0, runs = 0;
    for (int64_t at = 0, count; at < ls_shards_tokens(shards); at += count, runs++) {
        const int32_t *tokens;
        const uint8_t *mask;
        cr_assert_eq(ls_shards_stream(shards, at, 50000, &tokens, &mask, &count), LS_OK);
        cr_assert(count >= 1 && count <= 50000);
        for (int64_t i = 0; i < count; i++) {
            cr_assert(tokens[i] == fixture_token(sample, t), "token %d", (int)(at + i));
            if (++t == lengths[sample]) {
                sample++;
                t = 0;
            }
        }
    }
    cr_assert_eq(sample, SAMPLES);
    cr_assert_gt(runs, 4);
    ls_shards_free(shards);
}

Test(shard, the_same_samples_give_the_same_bytes)
{
    fixture_pack("a", lengths, SAMPLES, 4, true);
    sleep(1); /* HDF5 likes to store the second a thing was made in */
    fixture_pack("b", lengths, SAMPLES, 4, true);
    static const char *const files[] = {"dataset.h5", "shard-00000.h5", "shard-00001.h5", "shard-00002.h5"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char a[64], b[64];
        size_t a_bytes, b_bytes;
        snprintf(a, sizeof a, "a/%s", files[i]);
        snprintf(b, sizeof b, "b/%s", files[i]);
        uint8_t *a_content = fixture_read(fixture_path(a), &a_bytes), *b_content = fixture_read(fixture_path(b), &b_bytes);
        cr_assert_eq(a_bytes, b_bytes);
        cr_assert_eq(memcmp(a_content, b_content, a_bytes), 0, "%s", files[i]);
        free(a_content);
        free(b_content);
    }
}

Test(shard, nothing_carries_the_name_before_commit_or_after_discard)
{
    ls_shard_writer *writer;
    const ls_shard_options options = {.kind = "text", .vocabulary = 10, .samples_per_shard = 1};
    const int32_t tokens[] = {1, 2, 3};
    const uint8_t mask[] = {1, 1, 1};
    cr_assert_eq(ls_shard_writer_open(&writer, fixture_path("deep/er/set/"), &options), LS_OK, "%s", ls_fail_sentence());
    for (int i = 0; i < 3; i++)
        cr_assert_eq(ls_shard_writer_add_text(writer, tokens, mask, 3), LS_OK);
    cr_assert(exists(fixture_path("deep/er/set.partial/shard-00001.h5")), "shards are written as they fill");
    cr_assert_not(exists(fixture_path("deep/er/set")));
    ls_shard_writer_discard(writer);
    cr_assert_not(exists(fixture_path("deep/er/set")));
    cr_assert_not(exists(fixture_path("deep/er/set.partial")));
}

Test(shard, leftovers_of_a_killed_run_are_cleared_and_never_read)
{
    cr_assert_eq(mkdir(fixture_path("set.partial"), 0777), 0);
    fixture_write(fixture_path("set.partial/shard-00000.h5"), (const uint8_t *)"half", 4);
    fixture_write(fixture_path("set.partial/shard-00007.h5"), (const uint8_t *)"half", 4);
    fixture_pack("set", lengths, 3, 0, false);
    cr_assert_not(exists(fixture_path("set.partial")));
    cr_assert_not(exists(fixture_path("set/shard-00007.h5")));
    ls_shards *shards;
    cr_assert_eq(ls_shards_open(&shards, fixture_path("set"), true), LS_OK);
    ls_shards_free(shards);
}

Test(shard, an_older_set_is_replaced_only_when_asked)
{
    fixture_pack("set", lengths, 3, 0, false);
    ls_shard_writer *writer;
    ls_shard_options options = {.kind = "text", .vocabulary = 10};
    cr_assert_eq(ls_shard_writer_open(&writer, fixture_path("set"), &options), LS_EEXIST);
    cr_assert(strstr(ls_fail_sentence(), "--force"));
    options.replace = true;
    cr_assert_eq(ls_shard_writer_open(&writer, fixture_path("set"), &options), LS_OK);
    const int32_t token = 5;
    const uint8_t mask = 1;
    cr_assert_eq(ls_shard_writer_add_text(writer, &token, &mask, 1), LS_OK);
    ls_shards *shards;
    cr_assert_eq(ls_shards_open(&shards, fixture_path("set"), true), LS_OK, "the old one stays readable until commit");
    cr_assert_eq(ls_shards_samples(shards), 3);
    cr_assert_eq(ls_shard_writer_commit(writer), LS_OK, "%s", ls_fail_sentence());
    const int32_t *tokens;
    const uint8_t *masks;
    int64_t count;
    cr_assert_eq(ls_shards_text(shards, 2, &tokens, &masks, &count), LS_OK, "who has the old one open keeps it");
    ls_shards_free(shards);
    cr_assert_eq(ls_shards_open(&shards, fixture_path("set"), true), LS_OK);
    cr_assert_eq(ls_shards_samples(shards), 1);
    cr_assert_not(exists(fixture_path("set.partial")), "the old one is removed");
    ls_shards_free(shards);
}

Test(shard, a_folder_with_other_files_is_never_replaced)
{
    cr_assert_eq(mkdir(fixture_path("home"), 0777), 0);
    fixture_write(fixture_path("home/thesis.tex"), (const uint8_t *)"years", 5);
    ls_shard_writer *writer;
    const ls_shard_options options = {.kind = "text", .vocabulary = 10, .replace = true};
    cr_assert_eq(ls_shard_writer_open(&writer, fixture_path("home"), &options), LS_EEXIST);
    cr_assert(strstr(ls_fail_sentence(), "thesis.tex"));
    cr_assert(exists(fixture_path("home/thesis.tex")));
}

Test(shard, two_writers_of_one_name_do_not_meet)
{
    ls_shard_writer *first, *second;
    const ls_shard_options options = {.kind = "text", .vocabulary = 10};
    cr_assert_eq(ls_shard_writer_open(&first, fixture_path("set"), &options), LS_OK);
    cr_assert_eq(ls_shard_writer_open(&second, fixture_path("set"), &options), LS_EEXIST);
    cr_assert(strstr(ls_fail_sentence(), "another process"));
    ls_shard_writer_discard(first);
}

Test(shard, wrong_samples_and_empty_sets_are_refused)
{
    ls_shard_writer *writer;
    const ls_shard_options options = {.kind = "text", .vocabulary = 10};
    const int32_t tokens[] = {1, 10};
    const uint8_t mask[] = {1, 1};
    cr_assert_eq(ls_shard_writer_open(&writer, fixture_path("set"), &options), LS_OK);
    cr_assert_eq(ls_shard_writer_add_text(writer, tokens, mask, 2), LS_EARG);
    cr_assert(strstr(ls_fail_sentence(), "id 10"), "%s", ls_fail_sentence());
    cr_assert_eq(ls_shard_writer_add_text(writer, tokens, mask, 0), LS_EARG);
    cr_assert_eq(ls_shard_writer_commit(writer), LS_EARG);
    cr_assert(strstr(ls_fail_sentence(), "no samples"));
    cr_assert_not(exists(fixture_path("set")));
    cr_assert_not(exists(fixture_path("set.partial")));
}

Test(shard, the_tokenizer_travels_with_the_set)
{
    fixture_write(fixture_path("some.json"), (const uint8_t *)"{\"a\": 1}", 8);
    ls_shard_writer *writer;
    const ls_shard_options options = {.kind = "text", .vocabulary = 10, .tokenizer_path = fixture_path("some.json"), .template_name = "plain"};
    const int32_t token = 5;
    const uint8_t mask = 1;
    cr_assert_eq(ls_shard_writer_open(&writer, fixture_path("set"), &options), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_shard_writer_add_text(writer, &token, &mask, 1), LS_OK);
    cr_assert_eq(ls_shard_writer_commit(writer), LS_OK);
    ls_shards *shards;
    cr_assert_eq(ls_shards_open(&shards, fixture_path("set"), true), LS_OK, "%s", ls_fail_sentence());
    cr_assert_str_eq(ls_shards_template(shards), "plain");
    cr_assert_str_eq(ls_shards_tokenizer_path(shards), fixture_path("set/tokenizer.json"));
    ls_shards_free(shards);
    fixture_write(fixture_path("set/tokenizer.json"), (const uint8_t *)"{\"a\": 2}", 8);
    cr_assert_eq(ls_shards_open(&shards, fixture_path("set"), true), LS_ECORRUPT);
    cr_assert(strstr(ls_fail_sentence(), "tokenizer.json"));
}

Test(shard, a_place_that_cannot_be_written_is_named)
{
    ls_shard_writer *writer;
    const ls_shard_options options = {.kind = "text", .vocabulary = 10};
    cr_assert_eq(ls_shard_writer_open(&writer, "/proc/set", &options), LS_EIO); /* read-only for everyone */
    cr_assert(strstr(ls_fail_sentence(), "/proc/set.partial: cannot make this folder"), "%s", ls_fail_sentence());
}

Test(shard, a_disk_that_fills_up_is_named_and_leaves_nothing)
{
    ls_shard_writer *writer;
    ls_status status = LS_OK;
    const ls_shard_options options = {.kind = "text", .vocabulary = 10, .samples_per_shard = 100};
    const struct rlimit small = {40000, RLIM_INFINITY}; /* no file may grow past this: a write fails as on a full disk */
    cr_assert_eq(ls_shard_writer_open(&writer, fixture_path("set"), &options), LS_OK);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    int32_t tokens[200] = {0};
    uint8_t mask[200] = {0};
    for (int i = 0; i < 300 && status == LS_OK; i++)
        status = ls_shard_writer_add_text(writer, tokens, mask, i < 100 ? 10 : 200); /* the second shard is too large */
    cr_assert_eq(status, LS_EIO);
    cr_assert(strstr(ls_fail_sentence(), "set.partial/shard-00001.h5: cannot write its "), "%s", ls_fail_sentence());
    ls_shard_writer_discard(writer);
    cr_assert(strstr(ls_fail_sentence(), "cannot write its "), "the reason outlives the cleaning up");
    cr_assert_not(exists(fixture_path("set")));
    cr_assert_not(exists(fixture_path("set.partial")));
}

/* Writes sets of 1, 2, 3, ... samples under one name, for ever. */
static _Noreturn void write_for_ever(int samples)
{
    const ls_shard_options options = {.kind = "text", .vocabulary = 100, .samples_per_shard = 2, .replace = true};
    for (;; samples = samples % 7 + 1) {
        ls_shard_writer *writer;
        const int32_t tokens[] = {samples, samples, samples}; /* tells which writing it is */
        const uint8_t mask[] = {1, 1, 1};
        if (ls_shard_writer_open(&writer, fixture_path("set"), &options) != LS_OK)
            _exit(1);
        for (int i = 0; i < samples; i++)
            if (ls_shard_writer_add_text(writer, tokens, mask, 3) != LS_OK)
                _exit(1);
        if (ls_shard_writer_commit(writer) != LS_OK)
            _exit(1);
    }
}

Test(shard, killed_anywhere_the_name_carries_a_whole_set, .timeout = 60)
{
    fixture_pack("set", lengths, 1, 0, false);
    int changed = 0;
    int64_t before = 0; /* none of the child's yet */
    for (int kill_number = 0; kill_number < 25 || changed < 2; kill_number++) {
        const pid_t child = fork();
        if (child == 0)
            write_for_ever(kill_number % 7 + 1);
        usleep((useconds_t)((2000 + kill_number * 7919 % 90000) * (1 + kill_number / 25))); /* a busy machine gets more */
        cr_assert_eq(kill(child, SIGKILL), 0);
        int how;
        cr_assert_eq(waitpid(child, &how, 0), child);
        cr_assert(WIFSIGNALED(how), "the child failed by itself, exit code %d", WEXITSTATUS(how));
        ls_shards *shards;
        cr_assert_eq(ls_shards_open(&shards, fixture_path("set"), true), LS_OK, "kill %d: %s", kill_number, ls_fail_sentence());
        const int64_t samples = ls_shards_samples(shards);
        const int32_t *tokens;
        const uint8_t *mask;
        int64_t count;
        cr_assert_eq(ls_shards_text(shards, samples - 1, &tokens, &mask, &count), LS_OK);
        cr_assert(count == 3 && (before == 0 || tokens[0] == samples), "all of one writing");
        changed += samples != before;
        before = tokens[0] == samples ? samples : 0;
        ls_shards_free(shards);
    }
}
