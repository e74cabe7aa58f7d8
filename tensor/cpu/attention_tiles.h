/* How attention is cut into tiles, shared by its forward and backward pass.
 *
 *     keys of a segment ->  | 64 | 64 | 64 |..      a tile of queries: up to 64 pairs (query, head) whose heads read
 *     tile of queries   ->  | ## | ## | #. |        the same key/value head; never over the border of a segment
 *
 * Both start at the segment's first key and are walked in ascending order. So a segment gives the same bits wherever it
 * stands in a packed row, and a query the same whether it comes alone (decoding) or among others: keys it does not see
 * add exact zeros, and no sum crosses queries (softmax_tile.h, product.h). Memory is linear in the number of keys. */
#pragma once
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/product.h"
#include "tensor/cpu/softmax_tile.h"

enum { LS_KEY_TILE = 64, LS_QUERY_TILE = 64 };

typedef struct {
    int64_t batch;
    int64_t key_begin, key_end; /* the segment */
    int64_t query, queries;     /* of the row */
    int64_t position;           /* of the first query among the keys */
} ls_query_tile;

typedef struct {
    int64_t first_tile, tiles;
} ls_query_segment;

typedef struct {
    ls_device *device;
    const ls_attention_args *args;
    const ls_product_kernels *product;
    const ls_softmax_tile_kernels *softmax;
    int64_t tile_heads;      /* query heads that share a tile */
    int64_t padded;          /* width in whole panels */
    const float *k, *v;      /* f32; in place or a copy, so that `padded` columns may be read */
    int64_t kv_row, kv_head; /* distances of two keys, two heads in them */
    int64_t tile_count, segment_count;
    ls_query_tile *tiles;
    ls_query_segment *segments;
} ls_attention_plan;

/* Everything lives on `scratch`. LS_EMEM when it is used up. */
ls_status ls_attention_plan_make(ls_attention_plan *plan, ls_device *device, const ls_attention_args *args,
                                 ls_arena *scratch);

/* Pairs (query, head) in the tile, and the same in whole panels. */
int64_t ls_attention_pairs(const ls_attention_plan *plan, const ls_query_tile *tile);
int64_t ls_attention_lanes(const ls_attention_plan *plan, const ls_query_tile *tile);
/* Row of pair `pair` in arrays [B, Tq, H]; heads start at head_group * tile_heads. */
int64_t ls_attention_row(const ls_attention_plan *plan, const ls_query_tile *tile, int64_t head_group, int64_t pair);
/* rows[pair * padded ..] = x[row of the pair] * scale, f32; padding is 0. panels [NULL: none]: the same transposed. */
void ls_attention_stage(const ls_attention_plan *plan, const ls_query_tile *tile, int64_t head_group, const void *x,
                        float scale, float *rows, float *panels);
/* One past the last key that any query of the tile sees. */
int64_t ls_attention_last_key(const ls_attention_plan *plan, const ls_query_tile *tile);
/* visible[lane]: how many of the keys [key, key + keys) its query sees. */
void ls_attention_visible(const ls_attention_plan *plan, const ls_query_tile *tile, int64_t key, int64_t keys,
                          int32_t *visible);
/* score[key * lanes + lane] = sum over width of x[key, :] panels[:, lane], chunks of the width in ascending order. */
void ls_attention_scores(const ls_attention_plan *plan, const float *x, int64_t keys, const float *panels,
                         int64_t lanes, float *score);

/* f64, for gradient checks: plain loops (attention_f64.c). */
void ls_attention_f64(ls_device *device, const ls_attention_args *args);
void ls_attention_backward_f64(ls_device *device, const ls_attention_args *args);
