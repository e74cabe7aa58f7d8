#include "base/random.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* Random123's kat_vectors, the three lines "philox4x32 10". */
Test(random, philox_gives_the_published_vectors)
{
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        uint32_t got[4];
        ls_philox4x32(vectors[i].counter, vectors[i].key, got);
        cr_assert_eq(memcmp(got, vectors[i].want, sizeof got), 0, "vector %zu: %08x %08x %08x %08x", i, got[0], got[1],
                     got[2], got[3]);
    }
}

Test(random, an_element_is_a_word_of_its_counter)
{
    const ls_random stream = {.seed = UINT64_C(0x299f31d0a4093822), .slot = 0x85a308d3, .step = 0x13198a2e,
                              .purpose = 0x0370, .op = 0x7344};
    static const uint32_t want[4] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
    for (uint64_t word = 0; word < 4; word++)
        cr_assert_eq(ls_random_bits(&stream, UINT64_C(0x243f6a88) * 4 + word), want[word]);
}

Test(random, uniforms_fill_their_interval_evenly)
{
    const ls_random stream = {.seed = 17, .purpose = LS_RANDOM_TASK};
    enum { DRAWS = 1 << 16, BINS = 16 };
    int bin[BINS] = {0}, below[7] = {0};
    for (uint64_t i = 0; i < DRAWS; i++) {
        float u = ls_random_uniform(&stream, i);
        cr_assert(u >= 0 && u < 1);
        bin[(int)(u * BINS)]++;
        uint64_t b = ls_random_below(&stream, i, 7);
        cr_assert_lt(b, 7);
        below[b]++;
    }
    for (int i = 0; i < BINS; i++) /* six standard deviations */
        cr_assert_float_eq(bin[i], DRAWS / BINS, 6 * sqrt(DRAWS / BINS));
    for (int i = 0; i < 7; i++)
        cr_assert_float_eq(below[i], DRAWS / 7, 6 * sqrt(DRAWS / 7));
}

__extension__ typedef unsigned __int128 wide;

Test(random, below_is_the_high_part_of_a_128_bit_product)
{
    const ls_random stream = {.seed = 3, .purpose = LS_RANDOM_SHUFFLE};
    const uint64_t bounds[] = {1, 2, 1000003, UINT64_C(1) << 40, UINT64_MAX};
    for (uint64_t i = 0; i < 64; i++)
        for (size_t k = 0; k < sizeof bounds / sizeof *bounds; k++) {
            uint64_t bits = (uint64_t)ls_random_bits(&stream, i) << 32 | ls_random_bits(&stream, i ^ 1);
            uint64_t want = (uint64_t)((wide)bits * bounds[k] >> 64);
            cr_assert_eq(ls_random_below(&stream, i, bounds[k]), want);
        }
}

Test(random, normals_have_the_moments_of_a_normal)
{
    const ls_random stream = {.seed = 5, .purpose = LS_RANDOM_INIT};
    enum { DRAWS = 1 << 17 };
    double sum = 0, square = 0, fourth = 0;
    int beyond = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        double x = ls_random_normal(&stream, i);
        cr_assert(isfinite(x));
        sum += x;
        square += x * x;
        fourth += x * x * x * x;
        beyond += fabs(x) > 1.959964;
    }
    cr_assert_float_eq(sum / DRAWS, 0, 0.02);
    cr_assert_float_eq(square / DRAWS, 1, 0.02);
    cr_assert_float_eq(fourth / DRAWS, 3, 0.15);
    cr_assert_float_eq((double)beyond / DRAWS, 0.05, 0.005);
}

/* Weights made by an older lockstep must be made again by a newer one, on every processor. */
Test(random, normals_keep_their_bits)
{
    const ls_random stream = {.seed = 17, .slot = 2, .purpose = LS_RANDOM_INIT};
    static const uint32_t want[6] = {0xbe0c3af8, 0xbfd00f49, 0xbf6e90fd, 0x3f830555, 0x3f180739, 0x3f8a8e99};
    for (uint64_t i = 0; i < 6; i++) {
        float x = ls_random_normal(&stream, i);
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        cr_assert_eq(bits, want[i], "element %d is 0x%08x", (int)i, bits);
    }
}

Test(random, many_normals_are_the_same_as_one_by_one)
{
    const ls_random stream = {.seed = 11, .slot = 3, .step = 2, .purpose = LS_RANDOM_INIT, .op = 5};
    float many[13];
    for (uint64_t first = 0; first < 9; first++)
        for (int64_t count = 0; count <= 13; count++) {
            ls_random_normals(&stream, first, count, many);
            for (int64_t i = 0; i < count; i++) {
                const float one = ls_random_normal(&stream, first + (uint64_t)i);
                cr_assert_eq(memcmp(&one, &many[i], sizeof one), 0, "element %lld of %lld from %llu", (long long)i, (long long)count,
                             (unsigned long long)first);
            }
        }
}
