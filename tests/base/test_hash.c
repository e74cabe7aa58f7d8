#include "base/hash.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *some_floats(int64_t count)
{
    float *x = malloc((size_t)count * sizeof *x);
    for (int64_t i = 0; i < count; i++)
        x[i] = (float)drand48() - 0.5f;
    return x;
}

Test(hash, every_nan_is_one_nan)
{
    static const uint32_t nans[] = {0x7fc00000, 0xffc00000, 0x7f800001, 0xffffffff};
    uint64_t first = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t x[1000] = {0};
        x[700] = nans[i];
        uint64_t hash = ls_hash_numbers(LS_F32, x, 1000, 1);
        if (i == 0)
            first = hash;
        cr_assert_eq(hash, first, "NaN 0x%08x", nans[i]);
    }
    uint32_t infinity[1000] = {0};
    infinity[700] = 0x7f800000;
    cr_assert_neq(ls_hash_numbers(LS_F32, infinity, 1000, 1), first, "infinity is no NaN");

    uint16_t a[3] = {0x3f80, 0x7fc0, 0}, b[3] = {0x3f80, 0xff81, 0};
    cr_assert_eq(ls_hash_numbers(LS_BF16, a, 3, 1), ls_hash_numbers(LS_BF16, b, 3, 1));
    uint16_t half[3] = {0x3c00, 0x7e00, 0x7c00}, other[3] = {0x3c00, 0xfc01, 0x7c00};
    cr_assert_eq(ls_hash_numbers(LS_F16, half, 3, 1), ls_hash_numbers(LS_F16, other, 3, 1));
    cr_assert_neq(ls_hash_numbers(LS_F16, half + 1, 1, 1), ls_hash_numbers(LS_F16, half + 2, 1, 1), "infinity is no NaN");
    cr_assert_neq(ls_hash_numbers(LS_I32, nans, 2, 1), ls_hash_numbers(LS_I32, nans + 1, 2, 1), "integers have no NaN");
    double c[2] = {1, NAN}, d[2] = {1, -NAN};
    cr_assert_eq(ls_hash_numbers(LS_F64, c, 2, 1), ls_hash_numbers(LS_F64, d, 2, 1));
}

Test(hash, the_canonical_nan_hashes_as_its_own_bytes)
{
    uint32_t x[600] = {0}; /* longer than the buffer that NaNs are replaced in */
    x[3] = x[599] = 0x7fc00000;
    cr_assert_eq(ls_hash_numbers(LS_F32, x, 600, 9), ls_hash_bytes(x, sizeof x, 9));
    float *y = some_floats(3000);
    cr_assert_eq(ls_hash_numbers(LS_F32, y, 3000, 9), ls_hash_bytes(y, 3000 * sizeof *y, 9));
    free(y);
}

Test(hash, ranks_that_hold_different_chunks_work_out_one_hash)
{
    enum { COUNT = 5 * LS_CHUNK + 77, CHUNKS = 6 };
    float *x = some_floats(COUNT);
    uint64_t whole[CHUNKS], parts[CHUNKS];
    ls_hash_chunks(LS_F32, x, COUNT, 0, whole);
    for (int cut = 0; cut <= CHUNKS - 1; cut++) {
        ls_hash_chunks(LS_F32, x, cut * LS_CHUNK, 0, parts);
        ls_hash_chunks(LS_F32, x + cut * LS_CHUNK, COUNT - cut * LS_CHUNK, cut, parts + cut);
        cr_assert_eq(memcmp(whole, parts, sizeof whole), 0, "cut at chunk %d", cut);
    }
    free(x);
}

Test(hash, equal_chunks_in_another_order_give_another_hash)
{
    float x[2 * LS_CHUNK] = {0};
    uint64_t chunks[2];
    ls_hash_chunks(LS_F32, x, 2 * LS_CHUNK, 0, chunks);
    cr_assert_neq(chunks[0], chunks[1]);
}

Test(hash, a_tensor_is_its_name_type_shape_and_bits)
{
    const uint64_t chunks[2] = {1, 2}, swapped[2] = {2, 1};
    const int64_t shape[2] = {64, 128}, turned[2] = {128, 64};
    uint64_t hash = ls_hash_tensor("a/b", LS_F32, 2, shape, chunks, 2);
    cr_assert_eq(ls_hash_tensor("a/b", LS_F32, 2, shape, chunks, 2), hash);
    cr_assert_neq(ls_hash_tensor("a/c", LS_F32, 2, shape, chunks, 2), hash);
    cr_assert_neq(ls_hash_tensor("a/b", LS_I32, 2, shape, chunks, 2), hash);
    cr_assert_neq(ls_hash_tensor("a/b", LS_F32, 2, turned, chunks, 2), hash);
    cr_assert_neq(ls_hash_tensor("a/b", LS_F32, 2, shape, swapped, 2), hash);
}

Test(hash, pieces_give_the_hash_of_the_whole)
{
    char bytes[10000];
    for (int i = 0; i < 10000; i++)
        bytes[i] = (char)(i * 7);
    ls_hasher *hasher = ls_hasher_create(4);
    for (size_t at = 0, n = 1; at < sizeof bytes; at += n, n = (n * 3) % 997) {
        if (n > sizeof bytes - at)
            n = sizeof bytes - at;
        ls_hasher_add(hasher, bytes + at, n);
    }
    cr_assert_eq(ls_hasher_digest(hasher), ls_hash_bytes(bytes, sizeof bytes, 4));
    cr_assert_neq(ls_hasher_digest(hasher), ls_hash_bytes(bytes, sizeof bytes, 5));
    ls_hasher_free(hasher);
}
