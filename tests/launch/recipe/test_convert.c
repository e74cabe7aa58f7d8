#include "launch/recipe/convert.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static ls_status read_as(ls_option_kind kind, const char *text, void *field)
{
    static ls_arena *arena;
    if (!arena)
        cr_assert_eq(ls_arena_create(&arena, "test", 1 << 20), LS_OK);
    ls_option option = {.key = "x", .kind = kind};
    const ls_yaml_node node = {.kind = LS_YAML_SCALAR, .text = text}, *at;
    return ls_option_read(&option, &node, field, arena, &at);
}

Test(convert, numbers_are_read_as_people_write_them)
{
    static const struct {
        const char *text;
        double value;
    } rows[] = {{"2e-5", 2e-5}, {"2E-5", 2e-5}, {"1.", 1},       {".5", 0.5},      {"-3", -3},          {"+4", 4},
                {"1k", 1000},   {"2M", 2e6},    {"1.5Ki", 1536}, {"3e-4", 3.0e-4}, {"1e308", 1e308}, {"0.1", 0.1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double value = 0;
        cr_expect_eq(read_as(LS_OPTION_FLOAT, rows[i].text, &value), LS_OK, "%s", rows[i].text);
        cr_expect_eq(value, rows[i].value, "%s", rows[i].text);
    }
    static const char *const not_numbers[] = {"", "e5", "1e", "1 k", "k", "1K", "1kk", "inf", "nan", "0x10", "1e999",
                                              "1_000", "--1", "1,5", " 1", "1k5", "infinity1", "."};
    for (size_t i = 0; i < sizeof not_numbers / sizeof *not_numbers; i++) {
        double value;
        cr_expect_eq(read_as(LS_OPTION_FLOAT, not_numbers[i], &value), LS_ERECIPE, "\"%s\"", not_numbers[i]);
    }
}

Test(convert, whole_numbers_keep_every_digit)
{
    static const struct {
        const char *text;
        int64_t value;
    } rows[] = {{"0", 0},       {"1k", 1000},     {"1Ki", 1024}, {"2M", 2000000}, {"1.5k", 1500}, {"1e6", 1000000},
                {"-17", -17},   {"0.5Ki", 512},   {"1Ti", INT64_C(1) << 40},
                {"9223372036854775807", INT64_MAX}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t value = -1;
        cr_expect_eq(read_as(LS_OPTION_INT, rows[i].text, &value), LS_OK, "%s: %s", rows[i].text, ls_fail_sentence());
        cr_expect_eq(value, rows[i].value, "%s", rows[i].text);
    }
    static const char *const not_whole[] = {"1.5", "1e-1", "0.3Ki", "9223372036854775808", "1e19", "9007199254740993.0k"};
    for (size_t i = 0; i < sizeof not_whole / sizeof *not_whole; i++) {
        int64_t value;
        cr_expect_eq(read_as(LS_OPTION_INT, not_whole[i], &value), LS_ERECIPE, "%s", not_whole[i]);
    }
}

Test(convert, how_often_is_steps_or_time)
{
    static const struct {
        const char *text, *printed;
        int64_t steps;
        double seconds;
    } rows[] = {{"0", "0", 0, 0},           {"100", "100", 100, 0},     {"100 steps", "100", 100, 0}, {"1 step", "1", 1, 0},
                {"2k", "2000", 2000, 0},    {"30 s", "30 s", 0, 30},    {"10 min", "600 s", 0, 600},  {"1.5h", "5400 s", 0, 5400},
                {"0.1 s", "0.1 s", 0, 0.1}};
    const ls_option option = {.key = "x", .kind = LS_OPTION_EVERY, .max = 1e12};
    const ls_yaml_node *at;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char printed[64] = "";
        const ls_yaml_node node = {.kind = LS_YAML_SCALAR, .text = rows[i].text};
        ls_option_every every = {-1, -1};
        cr_expect_eq(ls_option_read(&option, &node, &every, NULL, &at), LS_OK, "%s: %s", rows[i].text, ls_fail_sentence());
        cr_expect_eq(every.steps, rows[i].steps, "%s", rows[i].text);
        cr_expect_eq(every.seconds, rows[i].seconds, "%s", rows[i].text);
        FILE *out = fmemopen(printed, sizeof printed, "w");
        ls_option_print(&option, &every, out);
        fclose(out);
        cr_expect_str_eq(printed, rows[i].printed);
    }
    static const char *const wrong[] = {"", "min", "-1", "1.5 steps", "1.5", "10 minutes", "10 m", "0 s", "1e3 s", "1.2.3 s", "1e13", "10 min 5 s", "s 10"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const ls_yaml_node node = {.kind = LS_YAML_SCALAR, .text = wrong[i]};
        ls_option_every every;
        cr_expect_eq(ls_option_read(&option, &node, &every, NULL, &at), LS_ERECIPE, "\"%s\"", wrong[i]);
    }
}

Test(convert, printed_doubles_read_back_to_the_same_bits)
{
    ls_option option = {.key = "x", .kind = LS_OPTION_FLOAT};
    uint64_t bits = 88172645463325252u; /* xorshift64: any spread of patterns will do */
    for (int i = 0; i < 20000; i++) {
        bits ^= bits << 13, bits ^= bits >> 7, bits ^= bits << 17;
        double value, again;
        memcpy(&value, &bits, sizeof value);
        if (!(value - value == 0))
            continue;
        char *text;
        size_t bytes;
        FILE *out = open_memstream(&text, &bytes);
        ls_option_print(&option, &value, out);
        fclose(out);
        cr_assert_eq(read_as(LS_OPTION_FLOAT, text, &again), LS_OK, "%s", text);
        cr_assert_eq(memcmp(&value, &again, sizeof value), 0, "%s", text);
        free(text);
    }
}

Test(convert, distance_counts_letters_and_swaps)
{
    cr_assert_eq(ls_edit_distance("", ""), 0);
    cr_assert_eq(ls_edit_distance("lr", "lrr"), 1);
    cr_assert_eq(ls_edit_distance("kitten", "sitting"), 3);
    cr_assert_eq(ls_edit_distance("shedule", "schedule"), 1);
    cr_assert_eq(ls_edit_distance("wieght", "weight"), 1);
    cr_assert_eq(ls_edit_distance("abc", ""), 3);
}
