/* Conversions between f32 and f16 against the compiler's own, which were written elsewhere: every half, and around every place
 * where rounding turns. */
#include "base/half.h"

#include <criterion/criterion.h>
#include <math.h>

__extension__ typedef _Float16 half;

static uint16_t bits_of(half x)
{
    uint16_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

Test(half, every_half_is_widened_exactly)
{
    for (uint32_t bits = 0; bits <= 0xffff; bits++) {
        const uint16_t stored = (uint16_t)bits;
        half x;
        memcpy(&x, &stored, sizeof x);
        const float want = (float)x, got = ls_half_widen(stored);
        cr_assert((isnan(want) && isnan(got)) || !memcmp(&want, &got, sizeof got), "0x%04x is %g, not %g", bits, (double)got, (double)want);
        cr_assert(isnan(got) || ls_half_narrow(got) == stored, "0x%04x comes back as 0x%04x", bits, ls_half_narrow(got));
    }
}

static void rounds(float x)
{
    const uint16_t want = bits_of((half)x), got = ls_half_narrow(x);
    if (isnan(x))
        cr_assert((got & 0x7c00) == 0x7c00 && (got & 0x3ff), "a NaN became 0x%04x", got);
    else
        cr_assert_eq(got, want, "%a gave 0x%04x, not 0x%04x", (double)x, got, want);
}

/* Each half, the middle between it and the next, and one f32 on either side of both; then all over. */
Test(half, f32_is_rounded_to_nearest_even)
{
    for (uint32_t size = 0; size <= 0x7c00; size++) {
        const float x = ls_half_widen((uint16_t)size), next = size < 0x7bff ? ls_half_widen((uint16_t)(size + 1)) : 65536, middle = x + (next - x) / 2;
        const float near[] = {x, nextafterf(x, -1), nextafterf(x, INFINITY), middle, nextafterf(middle, -1), nextafterf(middle, INFINITY)};
        for (int i = 0; i < 6; i++)
            rounds(near[i]), rounds(-near[i]);
    }
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 1021)
        rounds(float_of((uint32_t)bits));
}

Test(half, special_numbers_are_what_ieee_754_says)
{
    cr_assert_eq(ls_half_narrow(65519.996f), 0x7bff);
    cr_assert_eq(ls_half_narrow(65520), 0x7c00, "halfway beyond the greatest: infinity");
    cr_assert_eq(ls_half_narrow(-INFINITY), 0xfc00);
    cr_assert_eq(ls_half_narrow(0x1p-24f), 1);
    cr_assert_eq(ls_half_narrow(0x1p-25f), 0, "a tie goes to even, here zero");
    cr_assert_eq(ls_half_narrow(0x3p-25f), 2, "and here two");
    cr_assert_eq(ls_half_narrow(-0x1p-30f), 0x8000);
    cr_assert_eq(ls_half_narrow(float_of(0x7f800001)), 0x7e00, "a NaN whose payload is cut off stays one");
}
