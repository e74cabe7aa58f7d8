#include "tests/tensor/kernel_cases.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 64 << 20 };

/* Every entry's outputs at one level and thread count. */
static size_t run(const kernel_case *c, ls_numerics level, int threads, ls_type type, int64_t n, char *out)
{
    ls_team *team;
    ls_device *device;
    cr_assert_eq(ls_team_create(&team, threads, 1), LS_OK);
    cr_assert_eq(ls_device_create_cpu(&device, team), LS_OK);
    ((ls_cpu *)device->self)->kernels = ls_cpu_kernels(level);
    size_t bytes = c->run(device, type, n, out);
    cr_assert_lt(bytes, ROOM);
    device->free(device);
    ls_team_free(team);
    return bytes;
}

static const ls_type types[] = {LS_F32, LS_BF16, LS_F64};

static void same(const kernel_case *c, ls_numerics level, int threads, ls_type type, int64_t n)
{
    char *want = calloc(1, ROOM), *got = calloc(1, ROOM); /* zeros between the outputs */
    size_t bytes = run(c, LS_NUMERICS_GENERIC, 1, type, n, want);
    cr_assert_eq(run(c, level, threads, type, n, got), bytes);
    for (size_t i = 0; i < bytes; i++)
        cr_assert_eq(want[i], got[i], "%s, %s, n = %d, level %d, %d threads: differs at byte %zu of %zu", c->name,
                     ls_type_name(type), (int)n, (int)level, threads, i, bytes);
    free(want), free(got);
}

/* Sizes around lanes, vectors and nothing at all. */
Test(kernels, every_level_gives_the_bits_of_the_generic_one)
{
    static const int64_t sizes[] = {0, 1, 2, 15, 16, 17, 63, 511, 513, 1000, 4099};
    for (int level = LS_NUMERICS_AVX2; level <= (int)ls_cpu_best_level(); level++)
        for (int c = 0; c < kernel_case_count; c++)
            for (int t = 0; t < 2; t++) /* f64 has one level */
                for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                    same(&kernel_cases[c], (ls_numerics)level, 1, types[t], sizes[s]);
}

/* Sizes that are dealt to the team in several pieces. */
Test(kernels, threads_do_not_change_a_bit)
{
    for (int c = 0; c < kernel_case_count; c++)
        for (int t = 0; t < 3; t++)
            for (int threads = 2; threads <= 3; threads++)
                same(&kernel_cases[c], LS_NUMERICS_GENERIC, threads, types[t], threads == 2 ? 40001 : 70000);
}

/* What the two tests above lean on: outputs are written, and a different order would show. */
Test(kernels, the_cases_are_not_empty)
{
    char *one = malloc(ROOM), *other = malloc(ROOM);
    for (int c = 0; c < kernel_case_count; c++) {
        size_t bytes = run(&kernel_cases[c], LS_NUMERICS_GENERIC, 1, LS_F32, 4099, one);
        cr_assert_gt(bytes, 4099);
        cr_assert_neq(run(&kernel_cases[c], LS_NUMERICS_GENERIC, 1, LS_BF16, 4099, other) == bytes &&
                          !memcmp(one, other, bytes), true);
    }
    free(one), free(other);
}
