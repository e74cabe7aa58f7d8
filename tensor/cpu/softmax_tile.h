/* The vector parts of attention and cross-entropy: what happens to a tile of scores between two matrix products.
 *
 * A tile is transposed: [keys][queries], so that queries (cross-entropy: rows) lie in the lanes and every sum over keys
 * (vocabulary) runs down a lane in ascending order. No sum crosses lanes, so a query's bits do not depend on its
 * neighbours in the tile, nor on the vector width. */
#pragma once
#include "base/type.h"
#include "tensor/numerics.h"

typedef struct {
    /* Online softmax (Milakov & Gimelshein 2018; Dao et al. 2022, algorithm 1) of one more tile, for each query i:
     *     m' = max(m, max s);  p = e^(s - m');  shrink = e^(m - m');  l = l shrink + sum p
     * score[j * ld + i], j < keys: s in, p out; p = 0 where the query does not see key j, and s may be anything there.
     * seen NULL: every query sees every key; otherwise keys is at most 64 and bit j % 32 of seen[j / 32 * queries + i]
     * says whether query i sees key j. queries is a multiple of 16. Before the first tile m = -infinity and l = 0; they
     * stay so, with shrink = 0, until the query sees a key. */
    void (*online)(int64_t keys, int64_t queries, float *score, int64_t ld, const int32_t *seen, float *m, float *l,
                   float *shrink);
    /* online of one query whose scores lie one behind the other, score[j], and of which bit j of `seen` says whether it sees key j;
     * keys is at most 64, and score has room for the next multiple of 16. With pairs score is s / scale and left, and rounded gets p in
     * bf16, 0 up to that multiple; without, scale and rounded are not looked at. */
    void (*online_row)(int64_t keys, float scale, float *score, uint64_t seen, float *m, float *l, float *shrink, uint16_t *rounded);
    /* p = e^(s - lse[i]), 0 where the query does not see the key; score is overwritten by p. */
    void (*probability)(int64_t keys, int64_t queries, float *score, int64_t ld, const int32_t *seen, const float *lse);
    /* ds = p (dp - delta[i]), 0 where the query does not see the key; dp is overwritten by ds. */
    void (*gradient)(int64_t keys, int64_t queries, const float *p, float *dp, int64_t ld, const int32_t *seen,
                     const float *delta);
    /* lse[i] = m[i] + log l[i], made in f64 with the bits of ls_math_log; -infinity where l is 0. */
    void (*log_sums)(int64_t queries, const float *m, const float *l, float *lse);
    /* x[r * width + d] *= factor[r]; width in whole vectors. */
    void (*fade)(int64_t rows, int64_t width, const float *factor, float *x);
    /* y = x factor + 0, which makes +0 of -0; y may be x. */
    void (*scale)(int64_t n, float factor, const float *x, float *y);
    /* y += x factor */
    void (*add_scaled)(int64_t n, float factor, const float *x, float *y);
    /* The same where y is bf16, rounded once. */
    void (*add_scaled_bf16)(int64_t n, float factor, const float *x, uint16_t *y);

    /* What bf16 in pairs (product.h) needs instead, rounded to bf16 where it is made; NULL on other levels. Tiles are
     * dense, and score is s / scale: what it is multiplied by. `rounded` is [keys][queries], units [keys / 2][queries].
     */
    /* p goes to units, and s is left. */
    void (*online_pairs)(int64_t keys, int64_t queries, float scale, float *score, const int32_t *seen, float *m,
                         float *l, float *shrink, float *units);
    /* p as it is goes to score. */
    void (*probability_pairs)(int64_t keys, int64_t queries, float scale, float *score, const int32_t *seen,
                              const float *lse, uint16_t *rounded);
    /* ds goes to both others, and dp is left. */
    void (*gradient_pairs)(int64_t keys, int64_t queries, const float *p, const float *dp, const int32_t *seen,
                           const float *delta, uint16_t *rounded, float *units);
    /* online where all queries see all keys, without shrink: s is left, and p goes to rounded[j * ld + i]. */
    void (*online_rounded)(int64_t keys, int64_t queries, const float *score, int64_t ld, float *m, float *l, uint16_t *rounded);
    /* x[r * ld + i] *= factor[i], i < width, which is whole vectors. */
    void (*scale_bf16)(int64_t rows, int64_t width, const float *factor, uint16_t *x, int64_t ld);
} ls_softmax_tile_kernels;

const ls_softmax_tile_kernels *ls_softmax_tile_kernels_of(ls_numerics level);
/* Those for operands of `type`: see ls_product_kernels_for. */
const ls_softmax_tile_kernels *ls_softmax_tile_kernels_for(ls_numerics level, ls_type type);
