/* Incremental forward for generation: keys and values of earlier positions are kept, so a new token costs one row of
 * every matrix product. The bits are those of the full forward (tests/models/). */
#pragma once
#include "models/transformer.h"

/* Keys and values of several sequences in pages (tensor/device.h):
 *     keys, values  [layer][page][kv head][LS_PAGE positions][row]  of the weights' type
 * A page belongs to one sequence or, whole ones only, to several that begin alike. Memory comes when a page is first
 * written; a page that is given back is used again. */
typedef struct ls_kv_cache ls_kv_cache;

/* `pages` for all layers together: one holds LS_PAGE positions of one sequence in every layer. The device's memory, where it has
 * its own; it must outlive the cache. The model's weights are bound, and keep their type. */
ls_status ls_kv_cache_create(ls_kv_cache **cache, ls_device *device, const ls_transformer *model, int64_t sequences, int64_t pages);
void ls_kv_cache_free(ls_kv_cache *cache);
/* Pages that hold `positions` of one sequence. */
int64_t ls_kv_cache_pages(int64_t positions);
int64_t ls_kv_cache_length(const ls_kv_cache *cache, int64_t sequence);
/* Gives the sequence pages for `positions` in all. False: too few are free; nothing has changed. */
bool ls_kv_cache_reserve(ls_kv_cache *cache, int64_t sequence, int64_t positions);
/* `to`, which is empty, begins with what `from` holds, and gets pages for `positions`. Whole pages are shared, the last
 * one is copied. False: too few pages are free; nothing has changed. */
bool ls_kv_cache_fork(ls_kv_cache *cache, int64_t from, int64_t to, int64_t positions);
/* Forgets what stands behind the first `length` positions; the pages stay the sequence's. */
void ls_kv_cache_cut(ls_kv_cache *cache, int64_t sequence, int64_t length);
void ls_kv_cache_clear(ls_kv_cache *cache, int64_t sequence); /* gives its pages back */

/* New tokens of one sequence. */
typedef struct {
    int64_t sequence, count;
    const int32_t *ids;
} ls_extension;

/* Appends to `extensions` different sequences, each at its own length, and returns the hidden states [sum of counts, D] of the
 * new positions in that order. Inside a no-grad scope. LS_EARG on the tape: a sequence has no page for them. */
ls_tensor *ls_transformer_extend(ls_transformer *model, ls_tape *tape, ls_kv_cache *cache, int64_t extensions,
                                 const ls_extension *extension);
