/* Finding where two runs parted, on hash logs written by hand. */
#include "launch/prove/hashes.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ls_hashes *read_text(const char *text)
{
    char path[] = "/tmp/lockstep-test-hashes-XXXXXX";
    int file = mkstemp(path);
    cr_assert_geq(file, 0);
    cr_assert_eq(write(file, text, strlen(text)), (ssize_t)strlen(text));
    close(file);
    ls_hashes *hashes;
    cr_assert_eq(ls_hashes_read(&hashes, path), LS_OK, "%s", ls_fail_sentence());
    unlink(path);
    return hashes;
}

/* A log of one step with the hashes of two parameters a, b, their gradients, a moment, a task's score, and a loss. */
#define STEP(n, a, b, ga, gb, m, t, loss)                                                                              \
    "{\"step\": " #n ", \"loss\": " #loss ", \"parameters\": {\"a\": \"" #a "\", \"b\": \"" #b "\"}, \"gradients\": "  \
    "{\"g/a\": \"" #ga "\", \"g/b\": \"" #gb "\"}, \"moments\": {\"m\": \"" #m "\"}, \"task\": {\"t\": \"" #t "\"}}\n"
#define ONE STEP(1, 1, 2, 3, 4, 5, 6, 0.5)
#define TWO STEP(2, 7, 8, 9, 10, 11, 12, 0.25)

static ls_parting compare(const char *here, const char *there)
{
    ls_hashes *a = read_text(here), *b = read_text(there);
    ls_parting parting;
    ls_hashes_compare(a, b, &parting);
    ls_hashes_free(a);
    ls_hashes_free(b);
    return parting;
}

Test(hashes, equal_logs_do_not_part)
{
    cr_assert_not(compare(ONE TWO, ONE TWO).differs);
    cr_assert_not(compare(ONE TWO, ONE TWO TWO).differs, "a step done again after a resume");
}

Test(hashes, the_first_step_and_the_first_kind_are_named)
{
    static const struct {
        const char *there, *kind, *tensor, *gradient;
        int64_t step;
    } rows[] = {
        {STEP(1, 1, 0, 3, 0, 0, 0, 0.1) TWO, "parameters", "b", "g/b", 1},
        {ONE STEP(2, 7, 8, 9, 0, 0, 12, 0.25), "gradients", "g/b", "g/b", 2},
        {ONE STEP(2, 7, 8, 9, 10, 0, 0, 0.25), "moments", "m", "", 2},
        {ONE STEP(2, 7, 8, 9, 10, 11, 0, 0), "task", "t", "", 2},
        {ONE STEP(2, 7, 8, 9, 10, 11, 12, 0.26), "loss", "", "", 2},
        {ONE, "steps", "", "", 2},
        {ONE TWO STEP(2, 0, 8, 9, 10, 11, 12, 0.25), "parameters", "a", "", 2}, /* only the second time */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ls_parting parting = compare(ONE TWO, rows[i].there);
        cr_expect(parting.differs, "row %zu", i);
        cr_expect_eq(parting.step, rows[i].step, "row %zu", i);
        cr_expect_str_eq(parting.kind, rows[i].kind, "row %zu", i);
        cr_expect_str_eq(parting.tensor, rows[i].tensor, "row %zu", i);
        cr_expect_str_eq(parting.gradient, rows[i].gradient, "row %zu", i);
    }
}

Test(hashes, a_tensor_that_only_one_has_is_a_difference)
{
    ls_parting parting = compare("{\"step\": 1, \"loss\": 1, \"parameters\": {}, \"gradients\": {}, \"moments\": {}, \"task\": {}}\n",
                                 "{\"step\": 1, \"loss\": 1, \"parameters\": {\"x\": \"1\"}, \"gradients\": {}, \"moments\": {}, \"task\": {}}\n");
    cr_assert(parting.differs);
    cr_assert_str_eq(parting.tensor, "x");
    cr_assert_str_eq(parting.here, "(not there)");
}

Test(hashes, a_half_written_last_line_is_cut_and_no_other)
{
    char path[] = "/tmp/lockstep-test-hashes-XXXXXX";
    int file = mkstemp(path);
    const char text[] = ONE TWO "{\"step\": 3, \"lo";
    cr_assert_eq(write(file, text, strlen(text)), (ssize_t)strlen(text));
    close(file);
    ls_hashes *hashes;
    cr_assert_eq(ls_hashes_read(&hashes, path), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), ":3: not a line of a hash log"), "%s", ls_fail_sentence());
    cr_assert_eq(ls_hashes_count(path), 2);
    cr_assert_eq(ls_hashes_mend(path), LS_OK);
    cr_assert_eq(ls_hashes_mend(path), LS_OK);
    cr_assert_eq(ls_hashes_read(&hashes, path), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_hashes_lines(hashes), 2);
    cr_assert_eq(ls_hashes_step(hashes, 1), 2);
    cr_assert_eq(ls_hashes_last_loss(hashes), 0.25);
    ls_hashes_free(hashes);
    unlink(path);
}
