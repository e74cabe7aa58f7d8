/* Rows: how the samples of one data set lie in rows of T positions. A pure function of the samples' lengths and the
 * options; which rows come when is the sampler's business.
 *
 *     packed     | s0 s0 s0 s0 | s2 s2 | s3 s3 s3 . |     several samples a row: first fit, in sample order, over the
 *     segments     0  0  0  0    1  1    2  2  2 -1       64 rows that are open; positions start again in each
 *     one each   | s0 s0 s0 s0  .  .  .  .  .  .    |     one sample a row
 *     stream     | s0 s0 s0 s0 s1 s1 s1 s1 s1 s1 s2 |     all samples joined and cut every T; one segment a row, and
 *                                                         positions 0 .. T-1, as in nanoGPT and Megatron
 *     pairs      | c0 c0 c0 | r0 r0 r0 | c1 c1 | r1 |     a pair stays in one row, and so in one grain: 2i and 2i + 1 are
 *     segments     0  0  0    1  1  1    2  2    3        segments that follow each other, the preferred answer first
 * Labels are next tokens: labels[t] = ids[t + 1] inside one sample where that token's loss_mask is 1, else -1. In a
 * stream the label of a row's last position is the first token of the next row, so each token but the first is
 * predicted exactly once an epoch, also across the borders of samples (their end-of-text token stands between). */
#pragma once
#include "datasets/loader.h"

typedef struct {
    int64_t rows, tokens;          /* T positions each */
    int64_t placed;                /* positions that hold a token, of rows * tokens */
    int64_t skipped, truncated;    /* samples longer than T */
    bool stream, pack;
    int64_t together;              /* samples that are placed as one: 2 in sets of pairs, else 1 */
    bool counts_texts;             /* what counts is not a label but a pair, or an outcome */
    /* Row r holds sample[first[r]] .. sample[first[r + 1] - 1]; both NULL: row r is sample (or pair) r, or a piece of the stream. */
    int64_t *first, *sample;
} ls_row_plan;

/* LS_ERECIPE: a sample is too long under LS_LONG_FAIL, or no rows are left; pairs and outcomes are to be streamed, or cut. */
ls_status ls_row_plan_make(ls_row_plan *plan, const ls_shards *shards, const ls_data_options *options);
void ls_row_plan_free(ls_row_plan *plan);
/* Labels >= 0 of a row; of pairs and outcomes, how many there are. Reads masks only where a sample was cut, or in a stream with masks. */
ls_status ls_row_counted(const ls_row_plan *plan, const ls_shards *shards, int64_t row, int64_t *counted);
/* Where a row's numbers go, [T] each. */
typedef struct {
    int32_t *ids, *labels, *positions, *segments;
    float *values; /* a sample's at its last position, 0 elsewhere; NULL: not wanted */
} ls_row_cells;

/* Fills one row; *sample is its first sample, *counted as ls_row_counted says. Padding: id 0, label -1, position 0,
 * segment -1. Allocates nothing. */
ls_status ls_row_fill(const ls_row_plan *plan, const ls_shards *shards, int64_t row, const ls_row_cells *cells, int64_t *sample,
                      int64_t *counted);
