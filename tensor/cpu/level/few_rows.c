/* The register kernels of tensor/cpu/few_rows.h: sixteen columns of c for each of up to eight rows of x at once, or twelve vectors
 * of sixteen rows.
 * Compiled once a level; with LS_PAIRS a number here is a pair of bf16 numbers, and its type f32 (product.h). */
#include "tensor/cpu/few_rows.h"
#include "tensor/cpu/product.h"
#include "tensor/cpu/level/turn.h"

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
enum {
    ROWS = 8, /* of x at once: their sums and the turned numbers fill the registers */
    COLUMNS = LS_FEW_COLUMNS,
    GROUPS = COLUMNS / LANES,
    STEP = 16, /* units of k: a line of a row of f32 */
    LINE = 64,
    MOST_ROWS = LANES == 16 ? 2 * ROWS : ROWS, /* the way of larger products has narrower panels at avx2 */
};

/* The same pointer. The compiler must not see where it comes from: it would keep each address that is made of it,
 * dozens, in a register of its own. */
LANES_INLINE const void *opaque(const void *pointer)
{
    __asm__("" : "+r"(pointer));
    return pointer;
}

/* With every access checked a copy for each number of rows would take minutes to compile. */
#if defined(__SANITIZE_ADDRESS__)
#define ONE_COPY     static __attribute__((noipa))
#define UNROLL_PARTS _Pragma("GCC unroll 1")
#else
#define ONE_COPY     LANES_INLINE
#define UNROLL_PARTS _Pragma("GCC unroll 2")
#endif

/* sum[r][g] += what STEP units of k give row r and the g-th LANES columns. Whole lines of w's rows are used up when
 * they are read: rows whose length is a multiple of pages share their place in the first cache. */
LANES_INLINE void add_step(ls_type type, int m, const float *x, int64_t ldx, const char *w, int64_t row,
                           lanes sum[][GROUPS])
{
    x = opaque(x);
    UNROLL_PARTS
    for (int g = 0; g < GROUPS; g++) {
        const char *rows = opaque(w + g * LANES * row);
        UNROLL_PARTS
        for (int u = 0; u < STEP; u += LANES) {
            lanes turned[LANES];
            turn(type, rows, row, u, turned);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
#pragma GCC unroll 8
                for (int r = 0; r < m; r++)
                    sum[r][g] = lanes_add_product(lanes_all(x[r * ldx + u + i]), turned[i], sum[r][g]);
        }
    }
}

/* One unit of k. */
LANES_INLINE void add_unit(ls_type type, int m, const float *x, int64_t ldx, const char *w, int64_t row,
                           lanes sum[][GROUPS])
{
    for (int g = 0; g < GROUPS; g++) {
        float one[LANES];
        for (int i = 0; i < LANES; i++)
            one[i] = element(type, w + (g * LANES + i) * row, 0);
        for (int r = 0; r < m; r++)
            sum[r][g] = lanes_add_product(lanes_all(x[r * ldx]), lanes_load(one), sum[r][g]);
    }
}

/* COLUMNS columns of c. Meanwhile the rows of w behind these, `next` [NULL: none], are asked for: in the order of their
 * addresses, so that the processor's own prefetcher goes along, and into the second cache, as the first bears fewer
 * misses at once. */
ONE_COPY void block(ls_type type, int m, int64_t k, const float *x, int64_t ldx, const char *w, int64_t row,
                    const char *next, float *c, int64_t ldc)
{
    const int64_t bytes = stored_size(type), ahead = next ? COLUMNS * STEP * bytes : 0;
    for (int64_t first = 0; first < k; first += LS_PRODUCT_CHUNK) {
        const int64_t end = k - first < LS_PRODUCT_CHUNK ? k : first + LS_PRODUCT_CHUNK;
        lanes sum[ROWS][GROUPS];
#pragma GCC unroll 8
        for (int r = 0; r < m; r++)
#pragma GCC unroll 2
            for (int g = 0; g < GROUPS; g++)
                sum[r][g] = (lanes){0};
        int64_t p = first;
        for (; p + STEP <= end; p += STEP, next += ahead) {
            for (int64_t i = 0; i < ahead; i += LINE)
                __builtin_prefetch(next + i, 0, 2);
            add_step(type, m, x + p, ldx, w + p * bytes, row, sum);
        }
        for (; p < end; p++)
            add_unit(type, m, x + p, ldx, w + p * bytes, row, sum);
#pragma GCC unroll 8
        for (int r = 0; r < m; r++)
#pragma GCC unroll 2
            for (int g = 0; g < GROUPS; g++) {
                float *to = c + r * ldc + g * LANES;
                lanes_store(to, first ? lanes_load(to) + sum[r][g] : sum[r][g]);
            }
    }
}

/* A function for each type and number of rows, so that each has the registers for itself. */
typedef void block_function(int64_t k, const float *x, int64_t ldx, const char *w, int64_t row, const char *next,
                            float *c, int64_t ldc);
#define BLOCK(type, m)                                                                                                 \
    static void type##_##m(int64_t k, const float *x, int64_t ldx, const char *w, int64_t row, const char *next,       \
                           float *c, int64_t ldc)                                                                      \
    {                                                                                                                  \
        block(type, m, k, x, ldx, w, row, next, c, ldc);                                                               \
    }
#define NAME(type, m) type##_##m,
#define EACH_ROWS(of, type)                                                                                            \
    of(type, 1) of(type, 2) of(type, 3) of(type, 4) of(type, 5) of(type, 6) of(type, 7) of(type, 8)
EACH_ROWS(BLOCK, LS_F32)
EACH_ROWS(BLOCK, LS_BF16)
EACH_ROWS(BLOCK, LS_F16)
static block_function *const f32_blocks[ROWS] = {EACH_ROWS(NAME, LS_F32)}, *const bf16_blocks[ROWS] = {EACH_ROWS(NAME, LS_BF16)},
                      *const f16_blocks[ROWS] = {EACH_ROWS(NAME, LS_F16)};

/* Columns of c in whole blocks, the rows of x in parts of at most ROWS, as even as may be; returns how many columns. */
static int64_t blocks(ls_type type, int64_t m, int64_t n, int64_t k, const float *x, int64_t ldx, const char *w,
                      int64_t row, float *c, int64_t ldc)
{
    const int64_t passes = (m + ROWS - 1) / ROWS;
    block_function *const *function = type == LS_F32 ? f32_blocks : type == LS_F16 ? f16_blocks : bf16_blocks;
    const bool dense = row < 2 * k * stored_size(type); /* else what is asked for would mostly be what lies between the rows */
    int64_t j = 0;
    for (int64_t i = 0; dense && n >= COLUMNS && i < COLUMNS * row; i += LINE)
        __builtin_prefetch(w + i, 0, 2);
    for (; j + COLUMNS <= n; j += COLUMNS)
        for (int64_t pass = 0, r = 0, rows; pass < passes; pass++, r += rows) {
            rows = (m - r) / (passes - pass);
            const char *next = !dense || n - j < 2 * COLUMNS || pass ? NULL : w + (j + COLUMNS) * row;
            function[rows - 1](k, x + r * ldx, ldx, w + j * row, row, next, c + r * ldc + j, ldc);
        }
    return j;
}

#if LANES == 16
enum { TURNED_ROWS = 2 * LANES };

/* c[j][vectors of rows], j < columns, of x [k][vectors]. The rows of w behind these, `next` [NULL: none], are asked for as in
 * block. vectors times columns is at most 12 and constant, so that all sums live in registers. */
LANES_INLINE void turned_block(int vectors, int columns, int64_t k, const float *x, const char *w, int64_t row, const char *next, float *c)
{
    const int64_t ahead = next ? columns * LINE : 0;
    const int width = vectors * LANES;
    for (int64_t first = 0; first < k; first += LS_PRODUCT_CHUNK) {
        const int64_t end = k - first < LS_PRODUCT_CHUNK ? k : first + LS_PRODUCT_CHUNK;
        lanes sum[12][2];
#pragma GCC unroll 12
        for (int i = 0; i < columns; i++)
            sum[i][0] = sum[i][1] = (lanes){0};
        int64_t p = first;
        for (; p + STEP <= end; p += STEP, next += ahead) {
            for (int64_t i = 0; i < ahead; i += LINE)
                __builtin_prefetch(next + i, 0, 2);
            const float *from = opaque(x + p * width);
            const char *three[4]; /* an address can be one of these, plus none, one or two rows */
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                three[i] = 3 * i < columns ? opaque(w + 3 * i * row + p * (int64_t)sizeof(float)) : NULL;
#pragma GCC unroll 16
            for (int u = 0; u < STEP; u++) {
                int64_t apart = row;
                __asm__("" : "+r"(apart)); /* as in `opaque` */
                const lanes x0 = lanes_load(from + u * width), x1 = vectors == 2 ? lanes_load(from + u * width + LANES) : x0;
#pragma GCC unroll 12
                for (int i = 0; i < columns; i++) {
                    const lanes repeated = lanes_all(((const float *)(const void *)(three[i / 3] + i % 3 * apart))[u]);
                    sum[i][0] = lanes_add_product(repeated, x0, sum[i][0]);
                    if (vectors == 2)
                        sum[i][1] = lanes_add_product(repeated, x1, sum[i][1]);
                }
            }
        }
        for (; p < end; p++)
#pragma GCC unroll 12
            for (int i = 0; i < columns; i++)
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++)
                    sum[i][v] = lanes_add_product(lanes_all(((const float *)(const void *)(w + i * row))[p]), lanes_load(x + p * width + v * LANES),
                                                  sum[i][v]);
#pragma GCC unroll 12
        for (int i = 0; i < columns; i++)
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) {
                float *to = c + i * width + v * LANES;
                lanes_store(to, first ? lanes_load(to) + sum[i][v] : sum[i][v]);
            }
    }
}

typedef void turned_function(int64_t k, const float *x, const char *w, int64_t row, const char *next, float *c);
#define TURNED(vectors, columns)                                                                                        \
    static void turned_##vectors##_##columns(int64_t k, const float *x, const char *w, int64_t row, const char *next,   \
                                             float *c)                                                                 \
    {                                                                                                                  \
        turned_block(vectors, columns, k, x, w, row, next, c);                                                         \
    }
TURNED(1, 12)
TURNED(1, 4)
TURNED(1, 1)
TURNED(2, 6)
TURNED(2, 2)
TURNED(2, 1)

static void multiply_turned(int64_t width, int64_t n, int64_t k, const float *x, const float *w, int64_t ldw, float *c)
{
    static const struct {
        int64_t columns;
        turned_function *function;
    } one[] = {{12, turned_1_12}, {4, turned_1_4}, {1, turned_1_1}}, two[] = {{6, turned_2_6}, {2, turned_2_2}, {1, turned_2_1}};
    const int64_t row = ldw * (int64_t)sizeof *w;
    for (int64_t i = 0; i < 12 * row && i < n * row; i += LINE)
        __builtin_prefetch((const char *)w + i, 0, 2);
    int kind = 0;
    for (int64_t j = 0, columns; j < n; j += columns) {
        while ((columns = (width == LANES ? one : two)[kind].columns) > n - j)
            kind++;
        const char *at = (const char *)(w + j * ldw), *next = kind == 0 && n - j >= 2 * columns ? at + columns * row : NULL;
        (width == LANES ? one : two)[kind].function(k, x, at, row, next, c + j * width);
    }
}
#endif
#else
enum { MOST_ROWS = 4 };

static int64_t blocks(ls_type type, int64_t m, int64_t n, int64_t k, const float *x, int64_t ldx, const char *w,
                      int64_t row, float *c, int64_t ldc)
{
    (void)type, (void)m, (void)n, (void)k, (void)x, (void)ldx, (void)w, (void)row, (void)c,
        (void)ldc; /* no such vectors */
    return 0;
}
#endif

static void multiply(ls_type type, int64_t m, int64_t n, int64_t k, const float *x, int64_t ldx, const void *w,
                     int64_t ldw, float *c, int64_t ldc)
{
    const int64_t row = ldw * stored_size(type);
    for (int64_t j = blocks(type, m, n, k, x, ldx, w, row, c, ldc); j < n; j++)
        if (type == LS_F32)
            column(LS_F32, m, k, x, ldx, (const char *)w + j * row, c + j, ldc);
        else if (type == LS_F16)
            column(LS_F16, m, k, x, ldx, (const char *)w + j * row, c + j, ldc);
        else
            column(LS_BF16, m, k, x, ldx, (const char *)w + j * row, c + j, ldc);
}

extern const ls_few_rows_kernels level_symbol(ls_few_rows_kernels);
const ls_few_rows_kernels level_symbol(ls_few_rows_kernels) = {
    .rows = MOST_ROWS,
    .multiply = multiply,
#if LANES == 16
    .turned_rows = TURNED_ROWS,
    .multiply_turned = multiply_turned,
#endif
};
