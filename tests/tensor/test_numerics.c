#include "tensor/cpu/cpu.h"

#include <criterion/criterion.h>
#include <string.h>

Test(numerics, a_level_that_the_processor_lacks_is_refused_by_name)
{
    ls_numerics best = ls_cpu_best_level();
    if (best < LS_NUMERICS_AVX512_BF16) {
        cr_assert_eq(ls_numerics_pin(LS_NUMERICS_AVX512_BF16), LS_EARG);
        cr_assert(strstr(ls_fail_sentence(), "avx512_bf16"), "%s", ls_fail_sentence());
        cr_assert(strstr(ls_fail_sentence(), best == LS_NUMERICS_AVX2 ? "has only avx2" : "has only"), "%s", ls_fail_sentence());
    }
    cr_assert_eq(ls_numerics_pin((ls_numerics)99), LS_EARG);
    cr_assert_eq(ls_numerics_pin(LS_NUMERICS_GENERIC), LS_OK, "nothing refused was pinned");
}

Test(numerics, a_pinned_level_stays)
{
    cr_assert_eq(ls_numerics_pin(LS_NUMERICS_GENERIC), LS_OK);
    cr_assert_eq(ls_numerics_pin(LS_NUMERICS_GENERIC), LS_OK);
    cr_assert_eq(ls_numerics_level(), LS_NUMERICS_GENERIC);
    if (ls_cpu_best_level() == LS_NUMERICS_GENERIC)
        return;
    cr_assert_eq(ls_numerics_pin(LS_NUMERICS_NATIVE), LS_EARG);
    cr_assert(strstr(ls_fail_sentence(), "generic"), "%s", ls_fail_sentence());
    cr_assert_eq(ls_numerics_level(), LS_NUMERICS_GENERIC);
}

Test(numerics, the_level_is_the_best_one_unless_pinned)
{
    cr_assert_eq(ls_numerics_level(), ls_cpu_best_level());
    cr_assert_eq(ls_numerics_pin(LS_NUMERICS_NATIVE), LS_OK, "native is what it is already");
}

/* Each Test is a process of its own, so both ids are first ones. */
Test(numerics, the_id_names_level_library_and_kernels)
{
    ls_numerics_pin(LS_NUMERICS_GENERIC);
    cr_assert(strstr(ls_numerics_id(), "cpu generic onednn-") == ls_numerics_id(), "%s", ls_numerics_id());
    cr_assert(strstr(ls_numerics_id(), " kernels-"));
}

Test(numerics, another_level_has_another_id)
{
    cr_assert_null(strstr(ls_numerics_id(), "native"));
    if (ls_cpu_best_level() > LS_NUMERICS_GENERIC)
        cr_assert_null(strstr(ls_numerics_id(), "generic"), "%s", ls_numerics_id());
}
