/* Lexical units: maximal runs by their definition, and a file that nothing but what was written is read from. */
#include "datasets/units.h"

#include "base/random.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SAMPLES = 40, MOST = 60 };

typedef struct {
    int64_t row_ptr[SAMPLES + 1];
    float logp[SAMPLES * MOST];
} scanned;

/* Probabilities that come in runs, prompts and holes that nothing predicts. */
static scanned some_scan(void)
{
    const ls_random stream = {.seed = 7, .purpose = LS_RANDOM_DATA};
    scanned s = {.row_ptr = {0}};
    uint64_t element = 0;
    for (int i = 0; i < SAMPLES; i++) {
        const int64_t n = 1 + (int64_t)ls_random_below(&stream, element++, MOST);
        for (int64_t t = 0; t < n; t++) {
            const float u = ls_random_uniform(&stream, element++), p = u < 0.6f ? 1 - u / 10 : u - 0.55f;
            s.logp[s.row_ptr[i] + t] = t < n / 4 || t % 13 == 12 ? NAN : logf(p);
        }
        s.row_ptr[i + 1] = s.row_ptr[i] + n;
    }
    return s;
}

/* The definition: every token of [s, s + m) is above alpha, m >= 2, and it cannot be made longer on either side. */
static bool is_unit(const float *logp, int64_t n, double alpha, int64_t s, int64_t m)
{
    for (int64_t t = s; t < s + m; t++)
        if (!(exp((double)logp[t]) > alpha))
            return false;
    const bool left = s > 0 && exp((double)logp[s - 1]) > alpha, right = s + m < n && exp((double)logp[s + m]) > alpha;
    return m >= 2 && !left && !right;
}

Test(units, are_the_runs_of_their_definition)
{
    const scanned scan = some_scan();
    static const double alphas[] = {0.3, 0.5, 0.9, 0.95};
    for (size_t a = 0; a < sizeof alphas / sizeof *alphas; a++) {
        ls_units u;
        cr_assert_eq(ls_units_make(&u, alphas[a], SAMPLES, scan.row_ptr, scan.logp), LS_OK);
        int64_t found = 0;
        for (int i = 0; i < SAMPLES; i++) {
            const float *logp = scan.logp + scan.row_ptr[i];
            const int64_t n = scan.row_ptr[i + 1] - scan.row_ptr[i];
            int64_t at = u.unit_ptr[i];
            for (int64_t s = 0; s < n; s++)
                for (int64_t m = 2; s + m <= n; m++)
                    if (is_unit(logp, n, alphas[a], s, m)) {
                        cr_assert_lt(at, u.unit_ptr[i + 1], "alpha %g, sample %d: (%d, %d) is missing", alphas[a], i,
                                     (int)s, (int)m);
                        cr_expect_eq(u.unit_start[at], s);
                        cr_expect_eq(u.unit_len[at], m);
                        at++;
                        found++;
                    }
            cr_expect_eq(at, u.unit_ptr[i + 1], "alpha %g, sample %d has more than there are", alphas[a], i);
        }
        cr_expect_eq(found, u.units);
        cr_assert_gt(found, 20, "the test needs units");
        ls_units_unmake(&u);
    }
}

Test(units, a_file_gives_back_what_was_written_and_nothing_else)
{
    char path[] = "/tmp/ls-units-XXXXXX";
    close(mkstemp(path));
    const scanned scan = some_scan();
    ls_units u, got;
    ls_units_file *file;
    cr_assert_eq(ls_units_make(&u, 0.9, SAMPLES, scan.row_ptr, scan.logp), LS_OK);
    u.data_hash = 5;
    u.tokenizer_hash = 6;
    u.model_hash = 7;
    cr_assert_eq(ls_units_write(&u, path), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_units_open(&file, path, &got), LS_OK, "%s", ls_fail_sentence());
    cr_expect(got.samples == u.samples && got.tokens == u.tokens && got.units == u.units && got.alpha == 0.9);
    cr_expect(got.data_hash == 5 && got.tokenizer_hash == 6 && got.model_hash == 7);
    cr_expect_eq(memcmp(got.row_ptr, u.row_ptr, (SAMPLES + 1) * sizeof *u.row_ptr), 0);
    cr_expect_eq(memcmp(got.unit_ptr, u.unit_ptr, (SAMPLES + 1) * sizeof *u.unit_ptr), 0);
    cr_expect_eq(memcmp(got.logp, u.logp, (size_t)u.tokens * sizeof *u.logp), 0);
    cr_expect_eq(memcmp(got.unit_start, u.unit_start, (size_t)u.units * sizeof *u.unit_start), 0);
    cr_expect_eq(memcmp(got.unit_len, u.unit_len, (size_t)u.units * sizeof *u.unit_len), 0);
    ls_units_close(file);

    FILE *in = fopen(path, "rb");
    static char bytes[1 << 17], damaged[1 << 17];
    const size_t size = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    cr_assert(size > 1000 && size < sizeof bytes);
    const char *mark = memmem(bytes, size, u.unit_len, (size_t)u.units * sizeof *u.unit_len);
    cr_assert_not_null(mark);
    const size_t places[] = {(size_t)(mark - bytes), (size_t)(mark - bytes) + 9, size - 1};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        memcpy(damaged, bytes, size);
        damaged[places[i]] ^= 4;
        FILE *out = fopen(path, "wb");
        fwrite(damaged, 1, i == 2 ? size / 2 : size, out); /* the last: cut short */
        fclose(out);
        cr_expect_neq(ls_units_open(&file, path, &got), LS_OK, "damage %zu is not seen", i);
        cr_expect(strstr(ls_fail_sentence(), path), "%s", ls_fail_sentence());
    }
    ls_units_unmake(&u);
    unlink(path);
    cr_expect_eq(ls_units_open(&file, path, &got), LS_ENOTFOUND);
}

Test(units, there_may_be_none)
{
    char path[] = "/tmp/ls-units-XXXXXX";
    close(mkstemp(path));
    const int64_t row_ptr[] = {0, 3};
    const float logp[] = {NAN, -0.01f, -3};
    ls_units u;
    ls_units_file *file;
    cr_assert_eq(ls_units_make(&u, 0.9, 1, row_ptr, logp), LS_OK);
    cr_expect_eq(u.units, 0, "a run of one is none");
    cr_assert_eq(ls_units_write(&u, path), LS_OK, "%s", ls_fail_sentence());
    ls_units_unmake(&u);
    cr_assert_eq(ls_units_open(&file, path, &u), LS_OK, "%s", ls_fail_sentence());
    cr_expect_eq(u.units, 0);
    ls_units_close(file);
    unlink(path);
}
