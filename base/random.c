/* Philox4x32-10: ten rounds of two 32x32 -> 64 bit products, the key advanced by Weyl constants in between.
 * Constants: Salmon et al. 2011, table 2 and section 4.3; test vectors: Random123's kat_vectors (tests/base/test_random.c). */
#include "base/random.h"

#include "base/math.h"

#include <math.h>

void ls_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)x0 * UINT32_C(0xd2511f53), b = (uint64_t)x2 * UINT32_C(0xcd9e8d57);
        x0 = (uint32_t)(b >> 32) ^ x1 ^ k0;
        x2 = (uint32_t)(a >> 32) ^ x3 ^ k1;
        x1 = (uint32_t)b;
        x3 = (uint32_t)a;
        k0 += UINT32_C(0x9e3779b9);
        k1 += UINT32_C(0xbb67ae85);
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
}

/* The four numbers that `element` is one of. The counter has 32 bits for element / 4: streams are that long, 2^34. */
static void block_of(const ls_random *stream, uint64_t element, uint32_t out[4])
{
    const uint32_t counter[4] = {(uint32_t)(element >> 2), stream->slot, stream->step,
                                 stream->purpose << 16 | (stream->op & 0xffff)};
    const uint32_t key[2] = {(uint32_t)stream->seed, (uint32_t)(stream->seed >> 32)};
    ls_philox4x32(counter, key, out);
}

uint32_t ls_random_bits(const ls_random *stream, uint64_t element)
{
    uint32_t out[4];
    block_of(stream, element, out);
    return out[element & 3];
}

float ls_random_uniform(const ls_random *stream, uint64_t element)
{
    return (float)(ls_random_bits(stream, element) >> 8) * 0x1p-24f;
}

uint64_t ls_random_below(const ls_random *stream, uint64_t element, uint64_t bound)
{
    /* 64 bits: this element's word, and its neighbour's as the lower half (elements 2i and 2i + 1 swap halves). */
    uint32_t out[4];
    block_of(stream, element, out);
    uint64_t bits = (uint64_t)out[element & 3] << 32 | out[(element & 3) ^ 1];
    uint64_t low = (bits & UINT32_MAX) * (bound & UINT32_MAX);
    uint64_t mid = (bits >> 32) * (bound & UINT32_MAX) + (low >> 32);
    uint64_t cross = (bits & UINT32_MAX) * (bound >> 32) + (mid & UINT32_MAX);
    return (bits >> 32) * (bound >> 32) + (mid >> 32) + (cross >> 32);
}

/* Elements 2i and 2i + 1 are the cosine and the sine of one pair of words (Box & Muller 1958). */
static void normal_pair(const uint32_t pair[2], float normal[2])
{
    double radius = sqrt(-2 * ls_math_log(((double)pair[0] + 1) * 0x1p-32)), sine, cosine;
    ls_math_sincos_turn(pair[1], &sine, &cosine);
    normal[0] = (float)(radius * cosine);
    normal[1] = (float)(radius * sine);
}

float ls_random_normal(const ls_random *stream, uint64_t element)
{
    uint32_t out[4];
    float normal[2];
    block_of(stream, element, out);
    normal_pair(out + (element & 2), normal);
    return normal[element & 1];
}

void ls_random_normals(const ls_random *stream, uint64_t first, int64_t count, float *out)
{
    int64_t i = 0;
    for (; i < count && ((first + (uint64_t)i) & 3); i++)
        out[i] = ls_random_normal(stream, first + (uint64_t)i);
    for (; i + 4 <= count; i += 4) {
        uint32_t block[4];
        block_of(stream, first + (uint64_t)i, block);
        normal_pair(block, out + i);
        normal_pair(block + 2, out + i + 2);
    }
    for (; i < count; i++)
        out[i] = ls_random_normal(stream, first + (uint64_t)i);
}
