/* Sampler: which row stands at a position of the run. A pure function of (seed, position), so nothing but the position
 * is kept over a restart, and any rank can ask about any position.
 *
 *     position p --deal--> source k, draw j of that source --(epoch j / N_k, place j mod N_k)--> row
 *
 * Permutation: row = permute(place) with one of N_k! orders chosen by (seed, source, epoch): each row exactly once an
 * epoch of its source. Not shuffled: row = place.
 * Mixture: positions are DEALT to sources, not drawn: in any stretch from 0 to n, source k has had weight_k * n rows,
 * within one. So shares are exact, batches are balanced, and j is known from p alone, without replaying the past. */
#pragma once
#include "base/error.h"
#include "base/type.h"

/* A permutation of [0, n) chosen by (seed, stream, epoch), evaluated at i alone: 8 rounds of a Feistel network with
 * Philox as its round function, on the least even number of bits (six at least) that holds n, walked along its cycle until the value
 * is below n (Black & Rogaway 2002; under four steps on average from n = 17 on). n >= 1, i < n. */
uint64_t ls_sampler_permute(uint64_t seed, uint32_t stream, uint32_t epoch, uint64_t n, uint64_t i);

typedef struct ls_sampler ls_sampler;

typedef struct {
    int sources;
    const int64_t *rows;    /* [sources], each >= 1 */
    const double *weights;  /* [sources], any positive scale; shares are rounded to 1/65536 */
    bool shuffle;
    uint64_t seed;
} ls_sampler_options;

typedef struct {
    int source;
    int64_t draw, epoch, row; /* the source's draw-th row, in its epoch */
} ls_draw;

/* LS_ERECIPE: a weight that is not positive, or below 1/65536 of all. */
ls_status ls_sampler_create(ls_sampler **sampler, const ls_sampler_options *options);
void ls_sampler_free(ls_sampler *sampler);
ls_draw ls_sampler_draw(const ls_sampler *sampler, int64_t position); /* position >= 0 */
int64_t ls_sampler_epoch_rows(const ls_sampler *sampler);             /* sum of the sources' rows (of their subsets) */

/* Between two steps a task may change what is drawn; what it sets is its own state, to be set again after a restart.
 * Subset: `rows` [count], each a row of `source`, stand for the source from now on (proxy data, ASP). NULL: all rows. */
ls_status ls_sampler_subset(ls_sampler *sampler, int source, const int64_t *rows, int64_t count);
/* Weights: the source's rows are drawn with replacement, row i with probability weights[i] / sum (PA&DA), from the
 * counter RNG by draw number. [number of rows, or of the subset]; NULL: the permutation again. */
ls_status ls_sampler_weights(ls_sampler *sampler, int source, const double *weights);
