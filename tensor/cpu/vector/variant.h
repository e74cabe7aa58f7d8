/* What one compilation of a kernel source is: element type, its arithmetic, and 16 virtual lanes.
 *
 * The build defines LS_VARIANT (avx2_bf16, ...: the suffix of all names) and one of LS_ELEMENT_F32, LS_ELEMENT_BF16,
 * LS_ELEMENT_F16, LS_ELEMENT_F64. Elementwise loops are plain C that the compiler vectorises; each element is computed alone, so the
 * width of the vectors cannot show. Sums are written on lanes: element i of a row belongs to lane i % 16, each lane is
 * summed in ascending order, and at the end lane 0 + lane 1 + ... + lane 15, from left to right, on every level. */
#pragma once
#include "base/half.h"
#include "tensor/cpu/vector/kernels.h"

#include <string.h>
#if defined(LS_ELEMENT_F16) && defined(__F16C__)
#include <immintrin.h>
#endif

#define LS_PASTE_(name, variant) ls_kernel_##name##_##variant
#define LS_PASTE(name, variant) LS_PASTE_(name, variant)
#define KERNEL(name) LS_PASTE(name, LS_VARIANT)

/* Refusing to inline would make a call of a vector loop's body, and the loop scalar: 40 times slower. */
#define always_inline static inline __attribute__((always_inline))

/* No iteration of the next loop reads what another one writes. x == y is allowed, other overlaps are not. */
#define INDEPENDENT _Pragma("GCC ivdep")

always_inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

always_inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* To nearest, ties to even, the lower half of the bits still to be dropped; a NaN stays one (rounding could carry it to
 * infinity). All choices are between numbers of 32 bits, which the compiler would else pack before it has chosen. */
always_inline uint32_t near_bf16(float x)
{
    uint32_t bits = bits_of(x);
    return x != x ? bits | UINT32_C(0x400000) : bits + 0x7fff + (bits >> 16 & 1);
}

always_inline uint16_t bf16_of(float x)
{
    return (uint16_t)(near_bf16(x) >> 16);
}

#if defined(LS_ELEMENT_F32)
typedef float real;
typedef float element;
always_inline real load(const element *x) { return *x; }
always_inline element store(real x) { return x; }
always_inline real rounded(real x) { return x; }
#elif defined(LS_ELEMENT_BF16)
typedef float real;
typedef uint16_t element;
always_inline real load(const element *x) { return float_of((uint32_t)*x << 16); }
always_inline element store(real x) { return bf16_of(x); }
always_inline real rounded(real x) { return float_of(near_bf16(x) & UINT32_C(0xffff0000)); } /* load of what is stored */
#elif defined(LS_ELEMENT_F16)
typedef float real;
typedef uint16_t element;
always_inline real load(const element *x) { return ls_half_widen(*x); }
always_inline element store(real x) { return ls_half_narrow(x); }
always_inline real rounded(real x) { return ls_half_widen(ls_half_narrow(x)); }
#elif defined(LS_ELEMENT_F64)
typedef double real;
typedef double element;
always_inline real load(const element *x) { return *x; }
always_inline element store(real x) { return x; }
always_inline real rounded(real x) { return x; }
#else
#error "the build must define the element type"
#endif
#if defined(LS_ELEMENT_BF16) || defined(LS_ELEMENT_F16)
#define LS_ELEMENT_NARROW /* 16 bits, computed in f32 */
#endif

enum {
    LANES = 16,
    BLOCK = 512, /* reals in a stack buffer between an expression and its sum; a multiple of LANES */
#if defined(__AVX512F__)
    VECTOR_BYTES = 64,
#elif defined(__AVX__)
    VECTOR_BYTES = 32,
#else
    VECTOR_BYTES = 16,
#endif
    WIDTH = VECTOR_BYTES / (int)sizeof(real), /* elements in a vector of this level */
    PARTS = LANES / WIDTH,
};
typedef real vector __attribute__((vector_size(VECTOR_BYTES)));

typedef __typeof__((vector){0} > (vector){0}) mask;

typedef struct {
    real lane[LANES];
} lanes;

/* The greater of both; a NaN wins over all. */
always_inline real greater(real a, real b)
{
    return (a > b) | (a != a) ? a : b;
}

/* Adds x[i] to lane i % 16. Call it with whole multiples of 16 until the row's last piece. */
always_inline void lanes_add(lanes *sum, const real *x, int64_t n)
{
    vector part[PARTS], v;
    memcpy(part, sum->lane, sizeof part);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int p = 0; p < PARTS; p++) {
            memcpy(&v, x + i + p * WIDTH, sizeof v);
            part[p] += v;
        }
    memcpy(sum->lane, part, sizeof part);
    for (int lane = 0; i < n; i++, lane++)
        sum->lane[lane] += x[i];
}

/* Keeps the greatest x[i] of each lane; a NaN wins over all. The rest after the last 16 goes to lanes 0, 1, ... */
always_inline void lanes_greatest(lanes *best, const real *x, int64_t n)
{
    vector part[PARTS], v;
    memcpy(part, best->lane, sizeof part);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int p = 0; p < PARTS; p++) {
            memcpy(&v, x + i + p * WIDTH, sizeof v);
            const mask wins = (v > part[p]) | (v != v);
            part[p] = (vector)(((mask)v & wins) | ((mask)part[p] & ~wins));
        }
    memcpy(best->lane, part, sizeof part);
    for (int lane = 0; i < n; i++, lane++)
        best->lane[lane] = greater(x[i], best->lane[lane]);
}

always_inline real lanes_total(const lanes *sum)
{
    real total = sum->lane[0];
    for (int lane = 1; lane < LANES; lane++)
        total += sum->lane[lane];
    return total;
}

always_inline int64_t at_most(int64_t n, int64_t limit)
{
    return n < limit ? n : limit;
}

/* Runs of numbers to reals and back; f16 by the processor's own conversions, which are those of base/half.h to the bit. */
always_inline void widen_run(int64_t n, const element *x, real *y)
{
    int64_t i = 0;
#if defined(LS_ELEMENT_F16) && defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(x + i))));
#endif
    INDEPENDENT for (; i < n; i++)
        y[i] = load(x + i);
}

always_inline void narrow_run(int64_t n, const real *x, element *y)
{
    int64_t i = 0;
#if defined(LS_ELEMENT_F16) && defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((void *)(y + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
#endif
    INDEPENDENT for (; i < n; i++)
        y[i] = store(x[i]);
}

/* x[0 .. n) as reals, n <= BLOCK: in place where they are reals already, else in `buffer`. */
always_inline const real *as_reals(const element *x, int64_t n, real buffer[BLOCK])
{
#if defined(LS_ELEMENT_NARROW)
    widen_run(n, x, buffer);
    return buffer;
#else
    (void)n, (void)buffer;
    return x;
#endif
}
