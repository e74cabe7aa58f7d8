/* Negative log-likelihood of token sequences under a model: what `eval` reports.
 *     nll = - sum over counted tokens t of log p(id[t] | id[0..t-1]) / count
 * A sequence longer than the context is cut into windows that do not overlap; a window's first token is predicted by the
 * window before it. Rows are batched in the order they come; per-token losses are summed in f64 in that order. */
#pragma once
#include "models/transformer.h"

typedef struct ls_score ls_score;

ls_status ls_score_open(ls_score **score, ls_transformer *model, ls_device *device);
void ls_score_close(ls_score *score);
/* `mask` [count]: which tokens are predicted and counted; NULL: all. The first token is never predicted. */
ls_status ls_score_add(ls_score *score, const int32_t *id, const uint8_t *mask, int64_t count);
/* Runs what still waits; the sum of losses and how many tokens it is over. */
ls_status ls_score_finish(ls_score *score, double *sum, int64_t *counted);
