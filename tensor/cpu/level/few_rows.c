/* The register kernel of tensor/cpu/few_rows.h: eight columns of c for each of up to four rows of x. Compiled once a
 * level; with LS_PAIRS a number here is a pair of bf16 numbers, and its type f32 (product.h). */
#include "tensor/cpu/few_rows.h"
#include "tensor/cpu/product.h"
#include "tensor/cpu/level/stored.h"

LANES_INLINE float fused(float a, float b, float c)
{
#if defined(LS_PAIRS)
    return _mm_cvtss_f32(_mm_dpbf16_ps(_mm_set_ss(c), (__m128bh)_mm_set_ss(a), (__m128bh)_mm_set_ss(b)));
#elif defined(__AVX2__) || defined(__AVX512F__)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c; /* as lanes_fma at this level */
#endif
}

/* One column, plainly. */
LANES_INLINE void column(ls_type type, int64_t m, int64_t k, const float *x, int64_t ldx, const void *w, float *c,
                         int64_t ldc)
{
    for (int64_t r = 0; r < m; r++) {
        float whole = 0;
        for (int64_t first = 0; first < k; first += LS_PRODUCT_CHUNK) {
            const int64_t end = k - first < LS_PRODUCT_CHUNK ? k : first + LS_PRODUCT_CHUNK;
            float sum = 0;
            for (int64_t p = first; p < end; p++)
                sum = fused(x[r * ldx + p], element(type, w, p), sum);
            whole = first ? whole + sum : sum;
        }
        c[r * ldc] = whole;
    }
}

#if LANES >= 8
enum { EIGHT = 8 };

LANES_INLINE __m256 fused_8(__m256 a, __m256 b, __m256 c)
{
#if defined(LS_PAIRS)
    return _mm256_dpbf16_ps(c, (__m256bh)a, (__m256bh)b);
#else
    return _mm256_fmadd_ps(a, b, c);
#endif
}

/* turned[i] = number i of each of eight rows of w. */
LANES_INLINE void turn_8x8(ls_type type, const void *w, int64_t ldw, int64_t p, __m256 turned[EIGHT])
{
    __m256 t[EIGHT], u[EIGHT];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m256 a = load_8(type, w, 2 * i * ldw + p), b = load_8(type, w, (2 * i + 1) * ldw + p);
        t[2 * i] = _mm256_unpacklo_ps(a, b);
        t[2 * i + 1] = _mm256_unpackhi_ps(a, b);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        u[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        turned[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
        turned[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
    }
}

/* The eight rows of w behind these, which are one piece of memory where rows are dense: as many lines of them as were
 * just read. */
LANES_INLINE void bring_next(ls_type type, const void *w, int64_t ldw, int64_t p)
{
    const int64_t bytes = (int64_t)ls_type_size(type);
    if (p * bytes % 64)
        return;
    for (int i = 0; i < EIGHT; i++)
        __builtin_prefetch((const char *)w + ((EIGHT + i) * ldw + p) * bytes, 0, 3);
}

/* Eight columns; m and type are constants at each call. */
LANES_INLINE void eight(ls_type type, int m, int64_t k, const float *x, int64_t ldx, const void *w, int64_t ldw,
                        float *c, int64_t ldc)
{
    __m256 whole[LS_FEW_ROWS] = {_mm256_setzero_ps()};
    for (int64_t first = 0; first < k; first += LS_PRODUCT_CHUNK) {
        const int64_t end = k - first < LS_PRODUCT_CHUNK ? k : first + LS_PRODUCT_CHUNK;
        __m256 sum[LS_FEW_ROWS];
#pragma GCC unroll 4
        for (int r = 0; r < m; r++)
            sum[r] = _mm256_setzero_ps();
        int64_t p = first;
        for (; p + EIGHT <= end; p += EIGHT) {
            __m256 turned[EIGHT];
            bring_next(type, w, ldw, p);
            turn_8x8(type, w, ldw, p, turned);
#pragma GCC unroll 8
            for (int i = 0; i < EIGHT; i++)
#pragma GCC unroll 4
                for (int r = 0; r < m; r++)
                    sum[r] = fused_8(_mm256_broadcast_ss(x + r * ldx + p + i), turned[i], sum[r]);
        }
        for (; p < end; p++) {
            float one[EIGHT];
            for (int i = 0; i < EIGHT; i++)
                one[i] = element(type, w, i * ldw + p);
            for (int r = 0; r < m; r++)
                sum[r] = fused_8(_mm256_broadcast_ss(x + r * ldx + p), _mm256_loadu_ps(one), sum[r]);
        }
#pragma GCC unroll 4
        for (int r = 0; r < m; r++)
            whole[r] = first ? _mm256_add_ps(whole[r], sum[r]) : sum[r];
    }
#pragma GCC unroll 4
    for (int r = 0; r < m; r++)
        _mm256_storeu_ps(c + r * ldc, whole[r]);
}
#else
enum { EIGHT = INT32_MAX };
LANES_INLINE void eight(ls_type type, int m, int64_t k, const float *x, int64_t ldx, const void *w, int64_t ldw,
                        float *c, int64_t ldc)
{
    (void)type, (void)m, (void)k, (void)x, (void)ldx, (void)w, (void)ldw, (void)c, (void)ldc; /* no such vectors */
}
#endif

LANES_INLINE void columns(ls_type type, int m, int64_t n, int64_t k, const float *x, int64_t ldx, const void *w,
                          int64_t ldw, float *c, int64_t ldc)
{
    int64_t j = 0;
    for (; j + EIGHT <= n; j += EIGHT)
        eight(type, m, k, x, ldx, (const char *)w + j * ldw * (int64_t)ls_type_size(type), ldw, c + j, ldc);
    for (; j < n; j++)
        column(type, m, k, x, ldx, (const char *)w + j * ldw * (int64_t)ls_type_size(type), c + j, ldc);
}

LANES_INLINE void rows_of(ls_type type, int64_t m, int64_t n, int64_t k, const float *x, int64_t ldx, const void *w,
                          int64_t ldw, float *c, int64_t ldc)
{
    switch (m) {
    case 1: columns(type, 1, n, k, x, ldx, w, ldw, c, ldc); break;
    case 2: columns(type, 2, n, k, x, ldx, w, ldw, c, ldc); break;
    case 3: columns(type, 3, n, k, x, ldx, w, ldw, c, ldc); break;
    default: columns(type, 4, n, k, x, ldx, w, ldw, c, ldc); break;
    }
}

static void multiply(ls_type type, int64_t m, int64_t n, int64_t k, const float *x, int64_t ldx, const void *w,
                     int64_t ldw, float *c, int64_t ldc)
{
    if (type == LS_F32)
        rows_of(LS_F32, m, n, k, x, ldx, w, ldw, c, ldc);
    else
        rows_of(LS_BF16, m, n, k, x, ldx, w, ldw, c, ldc);
}

extern const ls_few_rows_kernels level_symbol(ls_few_rows_kernels);
const ls_few_rows_kernels level_symbol(ls_few_rows_kernels) = {.multiply = multiply};
