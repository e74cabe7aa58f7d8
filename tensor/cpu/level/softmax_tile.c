/* Compiled once a level. See tensor/cpu/softmax_tile.h. */
#include "tensor/cpu/softmax_tile.h"
#include "tensor/cpu/level/lanes.h"

#include <math.h>

LANES_INLINE lanes_i load_visible(const int32_t *visible)
{
    lanes_i y;
    memcpy(&y, visible, sizeof y);
    return y;
}

static void online(int64_t keys, int64_t queries, float *score, int64_t ld, const int32_t *visible, float *m, float *l,
                   float *shrink)
{
    const lanes nothing = lanes_all(-INFINITY);
    for (int64_t i = 0; i < queries; i += LANES) {
        lanes_i seen = load_visible(visible + i);
        lanes before = lanes_load(m + i), top = before;
        for (int64_t j = 0; j < keys; j++)
            top = lanes_max(lanes_choose((int32_t)j < seen, lanes_load(score + j * ld + i), nothing), top);
        lanes fade = lanes_exp(before - top), sum = {0};
        for (int64_t j = 0; j < keys; j++) {
            lanes p = lanes_exp(lanes_load(score + j * ld + i) - top);
            p = lanes_choose((int32_t)j < seen, p, (lanes){0});
            lanes_store(score + j * ld + i, p);
            sum += p;
        }
        lanes_store(m + i, top);
        lanes_store(l + i, lanes_load(l + i) * fade + sum);
        lanes_store(shrink + i, fade);
    }
}

static void probability(int64_t keys, int64_t queries, float *score, int64_t ld, const int32_t *visible,
                        const float *lse)
{
    for (int64_t i = 0; i < queries; i += LANES) {
        lanes_i seen = load_visible(visible + i);
        lanes whole = lanes_load(lse + i);
        for (int64_t j = 0; j < keys; j++) {
            lanes p = lanes_exp(lanes_load(score + j * ld + i) - whole);
            lanes_store(score + j * ld + i, lanes_choose((int32_t)j < seen, p, (lanes){0}));
        }
    }
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
