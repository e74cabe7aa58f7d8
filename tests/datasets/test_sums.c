/* Every byte of a data set's files counts, those that no reader looks at too. */
#include "datasets/sums.h"
#include "tests/datasets/fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(sums, .fini = fixture_clean);

static void pack(void)
{
    int64_t lengths[12];
    for (int i = 0; i < 12; i++)
        lengths[i] = 1 + i % 9;
    fixture_pack("set", lengths, 12, 25, true);
}

static void expect_named(const char *file, size_t at)
{
    const ls_status status = ls_sums_check(fixture_path("set"));
    cr_assert_eq(status, LS_ECORRUPT, "%s, byte %zu: %s", file, at, ls_status_name(status));
    cr_assert(strstr(ls_fail_sentence(), file), "%s, byte %zu: %s", file, at, ls_fail_sentence());
}

Test(sums, every_flipped_bit_and_every_cut_is_found_and_named, .timeout = 60)
{
    pack();
    cr_assert_eq(ls_sums_check(fixture_path("set")), LS_OK, "%s", ls_fail_sentence());
    static const char *const files[] = {"set/dataset.h5", "set/shard-00000.h5", "set/sums"};
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        size_t bytes;
        uint8_t *content = fixture_read(fixture_path(files[f]), &bytes);
        for (size_t at = 0; at < bytes; at += bytes < 1000 ? 1 : 29) {
            content[at] ^= (uint8_t)(1u << at % 8);
            fixture_write(fixture_path(files[f]), content, bytes);
            content[at] ^= (uint8_t)(1u << at % 8);
            expect_named(files[f], at);
            fixture_write(fixture_path(files[f]), content, at);
            expect_named(files[f], at);
        }
        fixture_write(fixture_path(files[f]), content, bytes);
        free(content);
    }
    cr_assert_eq(ls_sums_check(fixture_path("set")), LS_OK, "whole again");
}

Test(sums, a_missing_file_is_named_and_one_that_is_not_listed_is_not_ours)
{
    pack();
    fixture_write(fixture_path("set/notes"), (const uint8_t *)"mine", 4);
    cr_assert_eq(ls_sums_check(fixture_path("set")), LS_OK, "%s", ls_fail_sentence());
    unlink(fixture_path("set/shard-00000.h5"));
    cr_assert_eq(ls_sums_check(fixture_path("set")), LS_ENOTFOUND);
    cr_assert(strstr(ls_fail_sentence(), "shard-00000.h5"), "%s", ls_fail_sentence());
}

Test(sums, a_set_of_before_has_none)
{
    pack();
    unlink(fixture_path("set/sums"));
    cr_assert_eq(ls_sums_check(fixture_path("set")), LS_OK, "%s", ls_fail_sentence());
}
