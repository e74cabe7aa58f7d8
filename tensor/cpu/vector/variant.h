/* What one compilation of a kernel source is: element type, its arithmetic, and 16 virtual lanes.
 *
 * The build defines LS_VARIANT (avx2_bf16, ...: the suffix of all names) and one of LS_ELEMENT_F32, LS_ELEMENT_BF16,
 * LS_ELEMENT_F64. Elementwise loops are plain C that the compiler vectorises; each element is computed alone, so the
 * width of the vectors cannot show. Sums are written on lanes: element i of a row belongs to lane i % 16, each lane is
 * summed in ascending order, and at the end lane 0 + lane 1 + ... + lane 15, from left to right, on every level. */
#pragma once
#include "tensor/cpu/vector/kernels.h"

#include <string.h>

#define LS_PASTE_(name, variant) ls_kernel_##name##_##variant
#define LS_PASTE(name, variant) LS_PASTE_(name, variant)
#define KERNEL(name) LS_PASTE(name, LS_VARIANT)

/* No iteration of the next loop reads what another one writes. x == y is allowed, other overlaps are not. */
#define INDEPENDENT _Pragma("GCC ivdep")

static inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* To nearest, ties to even; a NaN stays one (rounding could carry it to infinity). */
static inline uint16_t bf16_of(float x)
{
    uint32_t bits = bits_of(x);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (uint16_t)(x != x ? bits >> 16 | 0x40 : rounded);
}

#if defined(LS_ELEMENT_F32)
typedef float real;
typedef float element;
static inline real load(const element *x) { return *x; }
static inline element store(real x) { return x; }
#elif defined(LS_ELEMENT_BF16)
typedef float real;
typedef uint16_t element;
static inline real load(const element *x) { return float_of((uint32_t)*x << 16); }
static inline element store(real x) { return bf16_of(x); }
#elif defined(LS_ELEMENT_F64)
typedef double real;
typedef double element;
static inline real load(const element *x) { return *x; }
static inline element store(real x) { return x; }
#else
#error "the build must define the element type"
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

typedef struct {
    real lane[LANES];
} lanes;

/* Adds x[i] to lane i % 16. Call it with whole multiples of 16 until the row's last piece. */
static inline void lanes_add(lanes *sum, const real *x, int64_t n)
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

static inline real lanes_total(const lanes *sum)
{
    real total = sum->lane[0];
    for (int lane = 1; lane < LANES; lane++)
        total += sum->lane[lane];
    return total;
}

static inline int64_t at_most(int64_t n, int64_t limit)
{
    return n < limit ? n : limit;
}

/* x[0 .. n) as reals, n <= BLOCK: in place where they are reals already, else in `buffer`. */
static inline const real *as_reals(const element *x, int64_t n, real buffer[BLOCK])
{
#if defined(LS_ELEMENT_BF16)
    for (int64_t i = 0; i < n; i++)
        buffer[i] = load(x + i);
    return buffer;
#else
    (void)n, (void)buffer;
    return x;
#endif
}
