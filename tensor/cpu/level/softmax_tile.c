/* Compiled once a level. See tensor/cpu/softmax_tile.h. */
#include "tensor/cpu/softmax_tile.h"
#include "tensor/cpu/level/lanes.h"

#include <math.h>
#include <stdbool.h>

/* Where queries i.. do not see key j. */
LANES_INLINE lanes_i hidden(const int32_t *seen, int64_t queries, int64_t i, int64_t j)
{
    lanes_i word;
    memcpy(&word, seen + j / 32 * queries + i, sizeof word);
    return (word & (int32_t)(UINT32_C(1) << j % 32)) == 0;
}

LANES_INLINE void online_lanes(bool all, int64_t keys, int64_t queries, float *score, int64_t ld, const int32_t *seen,
                               float *m, float *l, float *shrink)
{
    const lanes nothing = lanes_all(-INFINITY);
    for (int64_t i = 0; i < queries; i += LANES) {
        lanes before = lanes_load(m + i), top = before;
        for (int64_t j = 0; j < keys; j++) {
            lanes s = lanes_load(score + j * ld + i);
            top = lanes_max(all ? s : lanes_choose(hidden(seen, queries, i, j), nothing, s), top);
        }
        lanes base = lanes_choose(top == nothing, (lanes){0}, top); /* nothing seen yet: -inf - -inf is no number */
        lanes fade = lanes_exp(before - base), sum = {0};
        for (int64_t j = 0; j < keys; j++) {
            lanes p = lanes_exp(lanes_load(score + j * ld + i) - base);
            p = all ? p : lanes_choose(hidden(seen, queries, i, j), (lanes){0}, p);
            lanes_store(score + j * ld + i, p);
            sum += p;
        }
        lanes_store(m + i, top);
        lanes_store(l + i, lanes_load(l + i) * fade + sum);
        lanes_store(shrink + i, fade);
    }
}

static void online(int64_t keys, int64_t queries, float *score, int64_t ld, const int32_t *seen, float *m, float *l,
                   float *shrink)
{
    if (seen)
        online_lanes(false, keys, queries, score, ld, seen, m, l, shrink);
    else
        online_lanes(true, keys, queries, score, ld, NULL, m, l, shrink);
}

LANES_INLINE void probability_lanes(bool all, int64_t keys, int64_t queries, float *score, int64_t ld,
                                    const int32_t *seen, const float *lse)
{
    for (int64_t i = 0; i < queries; i += LANES) {
        lanes whole = lanes_load(lse + i);
        for (int64_t j = 0; j < keys; j++) {
            lanes p = lanes_exp(lanes_load(score + j * ld + i) - whole);
            lanes_store(score + j * ld + i, all ? p : lanes_choose(hidden(seen, queries, i, j), (lanes){0}, p));
        }
    }
}

static void probability(int64_t keys, int64_t queries, float *score, int64_t ld, const int32_t *seen, const float *lse)
{
    if (seen)
        probability_lanes(false, keys, queries, score, ld, seen, lse);
    else
        probability_lanes(true, keys, queries, score, ld, NULL, lse);
}

LANES_INLINE void gradient_lanes(bool all, int64_t keys, int64_t queries, const float *p, float *dp, int64_t ld,
                                 const int32_t *seen, const float *delta)
{
    for (int64_t i = 0; i < queries; i += LANES) {
        lanes mean = lanes_load(delta + i);
        for (int64_t j = 0; j < keys; j++) {
            lanes slope = lanes_load(p + j * ld + i) * (lanes_load(dp + j * ld + i) - mean);
            lanes_store(dp + j * ld + i, all ? slope : lanes_choose(hidden(seen, queries, i, j), (lanes){0}, slope));
        }
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

extern const ls_softmax_tile_kernels level_symbol(ls_softmax_tile_kernels);
const ls_softmax_tile_kernels level_symbol(ls_softmax_tile_kernels) = {.online = online,
                                                                       .probability = probability,
                                                                       .gradient = gradient,
                                                                       .log_sums = log_sums,
                                                                       .fade = fade,
                                                                       .scale = scale,
                                                                       .add_scaled = add_scaled};
