/* Incremental forward for generation: keys and values of earlier positions are kept, so a new token costs one row of
 * every matrix product. The bits are those of the full forward (tests/models/). */
#pragma once
#include "models/transformer.h"

/* Keys and values of `rows` sequences of up to `tokens` positions:
 *     keys, values  [layer][row][position][kv_heads * width of a head]
 * so that one row's keys of one layer are one dense block, read in place by attention. */
typedef struct ls_kv_cache ls_kv_cache;

/* `type` as the model's working weights. LS_EARG: tokens beyond the model's context. */
ls_status ls_kv_cache_create(ls_kv_cache **cache, const ls_transformer *model, int64_t rows, int64_t tokens, ls_type type);
void ls_kv_cache_free(ls_kv_cache *cache);
int64_t ls_kv_cache_length(const ls_kv_cache *cache, int64_t row);
void ls_kv_cache_truncate(ls_kv_cache *cache, int64_t row, int64_t length); /* 0: the row begins anew */

/* Appends ids [rows, n] to rows [first, first + rows) of the cache, each at its own length, and returns the hidden
 * states [rows * n, D] of the new positions. Inside a no-grad scope. LS_EARG on the tape: a row is full. */
ls_tensor *ls_transformer_extend(ls_transformer *model, ls_tape *tape, ls_kv_cache *cache, int64_t first, int64_t rows,
                                 int64_t n, const int32_t *ids);
