/* Compiled once a level. See tensor/cpu/softmax_tile.h. */
#include "tensor/cpu/softmax_tile.h"
#include "tensor/cpu/level/stored.h"

#include <math.h>
#include <stdbool.h>

#if defined(LS_PAIRS)
/* Of two rows as units of two numbers, by the processor's own rounding, which makes 0 of denormal numbers, as its
 * products do. */
LANES_INLINE lanes lanes_pair(lanes first, lanes second)
{
    static const uint16_t turns[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    return (lanes)_mm512_permutexvar_epi16(_mm512_loadu_si512(turns), both);
}
#endif

/* Where queries i.. do not see key j. */
LANES_INLINE lanes_where hidden(const int32_t *seen, int64_t queries, int64_t i, int64_t j)
{
    lanes_i word;
    memcpy(&word, seen + j / 32 * queries + i, sizeof word);
    const int32_t bit = (int32_t)(UINT32_C(1) << j % 32);
#if defined(__AVX512F__)
    return _mm512_testn_epi32_mask((__m512i)word, _mm512_set1_epi32(bit));
#else
    return (word & bit) == 0;
#endif
}

/* No lane sees the key. Only a short cut, so no level needs to take it. */
LANES_INLINE bool nobody(lanes_where unseen)
{
#if defined(__AVX512F__)
    return unseen == 0xffff;
#else
    (void)unseen;
    return false;
#endif
}

/* How a tile is walked, constants at each call: all pairs are seen; scores are multiplied by `scale` first. */
typedef struct {
    bool all, scaled;
} manner;

/* A scaled -0 becomes +0. */
LANES_INLINE lanes score_of(manner how, float scale, const float *score)
{
    return how.scaled ? lanes_fma(lanes_load(score), lanes_all(scale), (lanes){0}) : lanes_load(score);
}

/* e^(score - base) of key j and queries i.. */
LANES_INLINE lanes power_of(manner how, int64_t queries, float scale, const float *score, int64_t ld,
                            const int32_t *seen, lanes base, int64_t i, int64_t j)
{
    if (how.all)
        return lanes_exp(score_of(how, scale, score + j * ld + i) - base);
    const lanes_where unseen = hidden(seen, queries, i, j);
    if (nobody(unseen))
        return (lanes){0};
    return lanes_choose(unseen, (lanes){0}, lanes_exp(score_of(how, scale, score + j * ld + i) - base));
}

/* units [NULL: p goes to score]: [keys / 2][queries], pairs of p rounded to bf16. */
LANES_INLINE void online_lanes(manner how, int64_t keys, int64_t queries, float scale, float *score, int64_t ld,
                               const int32_t *seen, float *m, float *l, float *shrink, float *units)
{
    const lanes nothing = lanes_all(-INFINITY);
    for (int64_t i = 0; i < queries; i += LANES) {
        lanes before = lanes_load(m + i), top = before;
        for (int64_t j = 0; j < keys; j++) {
            lanes s = score_of(how, scale, score + j * ld + i);
            top = lanes_max(how.all ? s : lanes_choose(hidden(seen, queries, i, j), nothing, s), top);
        }
        lanes base =
            lanes_choose(lanes_equal(top, nothing), (lanes){0}, top); /* nothing seen yet: -inf - -inf is no number */
        lanes fade = lanes_exp(before - base), sum = {0};
        for (int64_t j = 0; j < keys && !units; j++) {
            lanes p = power_of(how, queries, scale, score, ld, seen, base, i, j);
            lanes_store(score + j * ld + i, p);
            sum += p;
        }
#if defined(LS_PAIRS)
        for (int64_t j = 0; j < keys && units; j += 2) {
            lanes p = power_of(how, queries, scale, score, ld, seen, base, i, j), next = {0};
            sum += p;
            if (j + 1 < keys) {
                next = power_of(how, queries, scale, score, ld, seen, base, i, j + 1);
                sum += next;
            }
            lanes_store(units + j / 2 * queries + i, lanes_pair(p, next));
        }
#endif
        lanes_store(m + i, top);
        lanes_store(l + i, lanes_load(l + i) * fade + sum);
        lanes_store(shrink + i, fade);
    }
}

static void online(int64_t keys, int64_t queries, float *score, int64_t ld, const int32_t *seen, float *m, float *l,
                   float *shrink)
{
    if (seen)
        online_lanes((manner){.all = false}, keys, queries, 1, score, ld, seen, m, l, shrink, NULL);
    else
        online_lanes((manner){.all = true}, keys, queries, 1, score, ld, NULL, m, l, shrink, NULL);
}

/* Where bits are 0. */
LANES_INLINE lanes_where missing(uint64_t bits)
{
#if defined(__AVX512F__)
    return (__mmask16)~bits;
#else
    lanes_i bit;
    for (int i = 0; i < LANES; i++)
        bit[i] = 1 << i;
    return (((int32_t)(uint32_t)bits - (lanes_i){0}) & bit) == 0;
#endif
}

/* Keys in the lanes. The maximum is the same in any order, powers are made one by one, and are added in ascending order: so the
 * bits are those of online. */
static void online_row(int64_t keys, float scale, float *score, uint64_t seen, float *m, float *l, float *shrink, uint16_t *rounded)
{
    enum { MOST = 64 };
#if defined(LS_PAIRS)
    const manner how = {.scaled = true};
#else
    const manner how = {.scaled = false};
#endif
    const int64_t whole = (keys + 15) / 16 * 16;
    const lanes nothing = lanes_all(-INFINITY);
    float power[MOST], top = *m, sum = 0;
    lanes tops = nothing;
    seen &= keys < MOST ? (UINT64_C(1) << keys) - 1 : UINT64_MAX;
    for (int64_t j = 0; j < whole; j += LANES)
        tops = lanes_max(lanes_choose(missing(seen >> j), nothing, score_of(how, scale, score + j)), tops);
    for (int i = 0; i < LANES; i++)
        top = tops[i] > top ? tops[i] : top;
    const float base = top == -INFINITY ? 0 : top; /* nothing seen yet */
    for (int64_t j = 0; j < whole; j += LANES) {
        const lanes p = lanes_choose(missing(seen >> j), (lanes){0}, lanes_exp(score_of(how, scale, score + j) - lanes_all(base)));
        lanes_store(power + j, p);
#if defined(LS_PAIRS)
        _mm256_storeu_si256((__m256i *)(void *)(rounded + j), (__m256i)_mm512_cvtneps_pbh((__m512)p));
#else
        lanes_store(score + j, p);
#endif
    }
    for (int64_t j = 0; j < keys; j++)
        sum += power[j];
    (void)rounded;
    const float fade_by = lanes_exp(lanes_all(*m - base))[0];
    *l = *l * fade_by + sum;
    *m = top;
    *shrink = fade_by;
}

/* rounded [NULL: none]: the same in bf16, dense. */
LANES_INLINE void probability_lanes(manner how, int64_t keys, int64_t queries, float scale, float *score, int64_t ld,
                                    const int32_t *seen, const float *lse, uint16_t *rounded)
{
    for (int64_t i = 0; i < queries; i += LANES) {
        lanes whole = lanes_load(lse + i);
        for (int64_t j = 0; j < keys; j++) {
            lanes p = power_of(how, queries, scale, score, ld, seen, whole, i, j);
            lanes_store(score + j * ld + i, p);
#if defined(LS_PAIRS)
            if (rounded)
                store_rounded(rounded + j * queries + i, p);
#else
            (void)rounded;
#endif
        }
    }
}

static void probability(int64_t keys, int64_t queries, float *score, int64_t ld, const int32_t *seen, const float *lse)
{
    if (seen)
        probability_lanes((manner){.all = false}, keys, queries, 1, score, ld, seen, lse, NULL);
    else
        probability_lanes((manner){.all = true}, keys, queries, 1, score, ld, NULL, lse, NULL);
}

LANES_INLINE lanes slope_of(bool all, int64_t queries, const float *p, const float *dp, int64_t ld, const int32_t *seen,
                            lanes mean, int64_t i, int64_t j)
{
    const lanes slope = lanes_load(p + j * ld + i) * (lanes_load(dp + j * ld + i) - mean);
    return all ? slope : lanes_choose(hidden(seen, queries, i, j), (lanes){0}, slope);
}

LANES_INLINE void gradient_lanes(bool all, int64_t keys, int64_t queries, const float *p, float *dp, int64_t ld,
                                 const int32_t *seen, const float *delta)
{
    for (int64_t i = 0; i < queries; i += LANES) {
        lanes mean = lanes_load(delta + i);
        for (int64_t j = 0; j < keys; j++)
            lanes_store(dp + j * ld + i, slope_of(all, queries, p, dp, ld, seen, mean, i, j));
    }
}

static void gradient(int64_t keys, int64_t queries, const float *p, float *dp, int64_t ld, const int32_t *seen,
                     const float *delta)
{
    if (seen)
        gradient_lanes(false, keys, queries, p, dp, ld, seen, delta);
    else
        gradient_lanes(true, keys, queries, p, dp, ld, NULL, delta);
}

#if defined(LS_PAIRS)
static void online_pairs(int64_t keys, int64_t queries, float scale, float *score, const int32_t *seen, float *m,
                         float *l, float *shrink, float *units)
{
    if (seen)
        online_lanes((manner){.all = false, .scaled = true}, keys, queries, scale, score, queries, seen, m, l, shrink,
                     units);
    else
        online_lanes((manner){.all = true, .scaled = true}, keys, queries, scale, score, queries, NULL, m, l, shrink,
                     units);
}

static void probability_pairs(int64_t keys, int64_t queries, float scale, float *score, const int32_t *seen,
                              const float *lse, uint16_t *rounded)
{
    if (seen)
        probability_lanes((manner){.all = false, .scaled = true}, keys, queries, scale, score, queries, seen, lse,
                          rounded);
    else
        probability_lanes((manner){.all = true, .scaled = true}, keys, queries, scale, score, queries, NULL, lse,
                          rounded);
}

LANES_INLINE void gradient_pairs_lanes(bool all, int64_t keys, int64_t queries, const float *p, const float *dp,
                                       const int32_t *seen, const float *delta, uint16_t *rounded, float *units)
{
    for (int64_t i = 0; i < queries; i += LANES) {
        lanes mean = lanes_load(delta + i);
        for (int64_t j = 0; j < keys; j += 2) {
            const lanes first = slope_of(all, queries, p, dp, queries, seen, mean, i, j);
            const bool two = j + 1 < keys;
            const lanes second = two ? slope_of(all, queries, p, dp, queries, seen, mean, i, j + 1) : (lanes){0};
            store_rounded(rounded + j * queries + i, first);
            if (two)
                store_rounded(rounded + (j + 1) * queries + i, second);
            lanes_store(units + j / 2 * queries + i, lanes_pair(first, second));
        }
    }
}

static void gradient_pairs(int64_t keys, int64_t queries, const float *p, const float *dp, const int32_t *seen,
                           const float *delta, uint16_t *rounded, float *units)
{
    if (seen)
        gradient_pairs_lanes(false, keys, queries, p, dp, seen, delta, rounded, units);
    else
        gradient_pairs_lanes(true, keys, queries, p, dp, NULL, delta, rounded, units);
}

static void online_rounded(int64_t keys, int64_t queries, const float *score, int64_t ld, float *m, float *l, uint16_t *rounded)
{
    for (int64_t i = 0; i < queries; i += LANES) {
        const lanes before = lanes_load(m + i);
        lanes top = before, sum = {0};
        for (int64_t j = 0; j < keys; j++)
            top = lanes_max(lanes_load(score + j * ld + i), top);
        const lanes base = lanes_choose(lanes_equal(top, lanes_all(-INFINITY)), (lanes){0}, top);
        for (int64_t j = 0; j < keys; j++) {
            const lanes p = lanes_exp(lanes_load(score + j * ld + i) - base);
            store_rounded(rounded + j * ld + i, p);
            sum += p;
        }
        lanes_store(m + i, top);
        lanes_store(l + i, lanes_load(l + i) * lanes_exp(before - base) + sum);
    }
}

static void scale_bf16(int64_t rows, int64_t width, const float *factor, uint16_t *x, int64_t ld)
{
    for (int64_t r = 0; r < rows; r++, x += ld)
        for (int64_t i = 0; i < width; i += LANES)
            store_rounded(x + i, load_lanes(LS_BF16, x, i) * lanes_load(factor + i));
}
#endif

/* ls_math_log without branches, of 1 <= x < infinity or a denormal's fellow (then the result is not used). */
LANES_INLINE double log_of(double x)
{
    const double ln2_high = 0x1.62e42fefp-1, ln2_low = 0x1.473de6af278edp-34;
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int64_t k = (int64_t)(bits >> 52) - 1023;
    bits = (bits & UINT64_C(0xfffffffffffff)) | UINT64_C(1023) << 52;
    double m;
    memcpy(&m, &bits, sizeof m);
    const bool high = m > 0x1.6a09e667f3bcdp+0;
    m = high ? m * 0.5 : m;
    k += high;
    const double s = (m - 1) / (m + 1), z = s * s;
    double tail = 1.0 / 23;
    tail = tail * z + 1.0 / 21;
    tail = tail * z + 1.0 / 19;
    tail = tail * z + 1.0 / 17;
    tail = tail * z + 1.0 / 15;
    tail = tail * z + 1.0 / 13;
    tail = tail * z + 1.0 / 11;
    tail = tail * z + 1.0 / 9;
    tail = tail * z + 1.0 / 7;
    tail = tail * z + 1.0 / 5;
    tail = tail * z + 1.0 / 3;
    tail = z * tail;
    return (double)k * ln2_high + ((double)k * ln2_low + 2 * (s + s * tail));
}

static void log_sums(int64_t queries, const float *m, const float *l, float *lse)
{
    for (int64_t i = 0; i < queries; i++) {
        const float sum = (float)((double)m[i] + log_of((double)l[i]));
        lse[i] = l[i] == 0 ? -INFINITY : sum;
    }
}

static void fade(int64_t rows, int64_t width, const float *factor, float *x)
{
    for (int64_t r = 0; r < rows; r++, x += width)
        for (int64_t d = 0; factor[r] != 1.0f && d < width; d += LANES)
            lanes_store(x + d, lanes_load(x + d) * lanes_all(factor[r]));
}

static void scale(int64_t n, float factor, const float *x, float *y)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        lanes_store(y + i, lanes_load(x + i) * lanes_all(factor) + lanes_all(0.0f));
    for (; i < n; i++)
        y[i] = x[i] * factor + 0.0f;
}

static void add_scaled(int64_t n, float factor, const float *x, float *y)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        lanes_store(y + i, lanes_load(y + i) + lanes_load(x + i) * lanes_all(factor));
    for (; i < n; i++)
        y[i] += x[i] * factor;
}

static void add_scaled_bf16(int64_t n, float factor, const float *x, uint16_t *y)
{
    int64_t i = 0;
#if LANES == 16
    for (; i + LANES <= n; i += LANES)
        store_rounded(y + i, load_lanes(LS_BF16, y, i) + (lanes_load(x + i) * lanes_all(factor) + lanes_all(0.0f)));
#endif
    for (; i < n; i++)
        y[i] = rounded_of(element(LS_BF16, y, i) + (x[i] * factor + 0.0f));
}

extern const ls_softmax_tile_kernels level_symbol(ls_softmax_tile_kernels);
const ls_softmax_tile_kernels level_symbol(ls_softmax_tile_kernels) = {
    .online = online,
    .online_row = online_row,
    .probability = probability,
    .gradient = gradient,
    .log_sums = log_sums,
    .fade = fade,
    .scale = scale,
    .add_scaled = add_scaled,
#if defined(LS_PAIRS)
    .online_pairs = online_pairs,
    .probability_pairs = probability_pairs,
    .gradient_pairs = gradient_pairs,
    .online_rounded = online_rounded,
    .scale_bf16 = scale_bf16,
#endif
    .add_scaled_bf16 = add_scaled_bf16,
};
