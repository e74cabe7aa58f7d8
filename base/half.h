/* IEEE 754 binary16 (LS_F16: 1 sign, 5 exponent and 10 fraction bits) from and to f32, as VCVTPH2PS and VCVTPS2PH do it: to
 * nearest, ties to even; subnormal numbers stay; 65520 and beyond become infinity; a NaN keeps the upper bits of its payload
 * and is quiet. All choices are between numbers of 32 bits, so that a loop of them vectorises. */
#pragma once
#include <stdint.h>
#include <string.h>

static inline __attribute__((always_inline)) float ls_half_widen(uint16_t half)
{
    const uint32_t size = (uint32_t)(half & 0x7fff) << 13, infinity = UINT32_C(31) << 23, shift = UINT32_C(112) << 23;
    const uint32_t smallest = shift + (UINT32_C(1) << 23); /* 2^-14, the smallest normal half */
    const uint32_t normal = size + shift, carried = size + smallest;
    float small, base, y;
    memcpy(&small, &carried, sizeof small);
    memcpy(&base, &smallest, sizeof base);
    small -= base; /* exact */
    uint32_t bits, small_bits;
    memcpy(&small_bits, &small, sizeof small_bits);
    bits = size < UINT32_C(1) << 23 ? small_bits : size < infinity ? normal : normal + shift;
    bits |= size > infinity ? UINT32_C(0x400000) : 0;
    bits |= (uint32_t)(half & 0x8000) << 16;
    memcpy(&y, &bits, sizeof y);
    return y;
}

/* In the lower half of the result. */
static inline __attribute__((always_inline)) uint32_t ls_half_near(float x)
{
    uint32_t bits, sum_bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t size = bits & UINT32_C(0x7fffffff), infinity = UINT32_C(255) << 23;
    float sum;
    memcpy(&sum, &size, sizeof sum);
    sum += 0.5f; /* rounds to a multiple of 2^-24, as all subnormal halves are */
    memcpy(&sum_bits, &sum, sizeof sum_bits);
    const uint32_t small = sum_bits - (UINT32_C(126) << 23), normal = (size - (UINT32_C(112) << 23) + 0xfff + (size >> 13 & 1)) >> 13;
    const uint32_t beyond = size > infinity ? 0x7e00 | (size >> 13 & 0x3ff) : 0x7c00;
    const uint32_t half = size < UINT32_C(113) << 23 ? small : size < UINT32_C(143) << 23 ? normal : beyond;
    return half | (bits >> 16 & 0x8000);
}

static inline __attribute__((always_inline)) uint16_t ls_half_narrow(float x)
{
    return (uint16_t)ls_half_near(x);
}
