/* Compiled once a level. See tensor/cpu/softmax_tile.h. */
#include "tensor/cpu/softmax_tile.h"
#include "tensor/cpu/level/lanes.h"

#include <math.h>

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

static void gradient(int64_t keys, int64_t queries, const float *p, float *dp, int64_t ld, const float *delta)
{
    for (int64_t i = 0; i < queries; i += LANES) {
        lanes mean = lanes_load(delta + i);
        for (int64_t j = 0; j < keys; j++)
            lanes_store(dp + j * ld + i, lanes_load(p + j * ld + i) * (lanes_load(dp + j * ld + i) - mean));
    }
}

extern const ls_softmax_tile_kernels level_symbol(ls_softmax_tile_kernels);
const ls_softmax_tile_kernels level_symbol(ls_softmax_tile_kernels) = {
    .online = online, .probability = probability, .gradient = gradient};
