/* How attention is cut into tiles, shared by its forward and backward pass.
 *
 *     keys of a segment ->  | 64 | 64 | 64 |..      a tile of queries: up to 64 pairs (query, head) whose heads read
 *     tile of queries   ->  | ## | ## | #. |        the same key/value head; never over the border of a segment
 *
 * Both start at the segment's first key (under a block mask: the row's) and are walked in ascending order. So a segment
 * gives the same bits wherever it stands in a packed row, and a query the same whether it comes alone (decoding) or
 * among others: keys it does not see add exact zeros, and no sum crosses queries (softmax_tile.h, product.h). For the
 * same reason a tile that nobody sees may be left out, and where blocks of a mask are smaller than a tile, those that
 * are absent: what is left moves together, and the chains run over the same numbers. Tiles of queries do not reach over
 * the border of a mask's block, so that each walks the list of one; that is how blocks below 64 change the order of
 * the sums over queries, in dk and dv. Memory is linear in the number of keys. */
#pragma once
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/few_rows.h"
#include "tensor/cpu/product.h"
#include "tensor/cpu/softmax_tile.h"

enum { LS_KEY_TILE = 64, LS_QUERY_TILE = 64 };

typedef struct {
    int64_t batch;
    int64_t key_begin, key_end; /* the segment; unused under a block mask */
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
    const ls_few_rows_kernels *few;
    bool pairs;              /* bf16 that is multiplied as it is (attention_pairs.c); k and v below are then unused */
    int64_t tile_heads;      /* query heads that share a tile */
    int64_t padded;          /* width in whole panels */
    bool narrow;             /* k and v are pages of bf16 or f16, which is widened a step at a time */
    const void *k, *v;       /* else f32; in place or a copy, so that `padded` columns may be read */
    int64_t kv_row, kv_head; /* distances of two keys, two heads in them, or in pages */
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
/* ---- the keys of a tile of queries (attention_keys.c) ---- */

enum { LS_KEY_PIECES = LS_KEY_TILE / LS_MASK_BLOCK_LEAST };

/* Where the walk over a query tile's keys stands. A step takes up to 64 keys of one place of the grid; they are
 * neighbours but under a mask of small blocks, where they come in pieces, numbered through from 0. */
typedef struct {
    const ls_attention_plan *plan;
    const ls_query_tile *tile;
    int64_t kv_head;
    int64_t next, end; /* keys, or blocks of the mask's table */
    int64_t word;      /* of block `next` */

    int64_t keys;
    int pieces;
    struct {
        int64_t key, keys; /* of the row */
    } piece[LS_KEY_PIECES];
    const int32_t *seen; /* for ls_softmax_tile_kernels; NULL: every pair */
    int32_t words[2 * LS_QUERY_TILE];
} ls_key_walk;

void ls_key_walk_begin(ls_key_walk *walk, const ls_attention_plan *plan, const ls_query_tile *tile, int64_t kv_head);
/* False after the last step. Steps are in ascending order; some pair is seen in each of a masked walk. */
bool ls_key_walk_next(ls_key_walk *walk);
/* Element where a key's row starts in plan->k, plan->v and arrays like them. */
int64_t ls_key_walk_at(const ls_key_walk *walk, int64_t key);
/* Where a causal step crosses the diagonal, half of its tile is not seen. How many of the step's keys some pair before `pair`
 * may see, and the first pair that may see the step's key `key`; none but exact zeros lie beyond. */
int64_t ls_key_walk_keys_before(const ls_key_walk *walk, int64_t pair);
int64_t ls_key_walk_first_pair(const ls_key_walk *walk, int64_t key);
/* Rows of a product over such a tile are cut here: a multiple of what the product's kernels take at once. */
enum { LS_DIAGONAL_ROWS = 30 };
/* score[key * lanes + lane] = sum over width of x[key, :] panels[:, lane] for the step's keys, chunks of the width in
 * ascending order; x: plan->k or plan->v. What no lane of a panel sees is left as it was. room: see below. */
void ls_key_walk_scores(const ls_key_walk *walk, const void *x, const float *panels, float *room, float *score);
/* The step's rows of x, *row apart: in place, or, in pieces or narrow, put together in room [64, padded]. */
const float *ls_key_walk_rows(const ls_key_walk *walk, const void *x, float *room, int64_t *row);

/* How far it is in a tile from a pair's number to the next pair's, and from a key's to the next key's; in units, along the keys too. */
typedef struct {
    int64_t pair, key;
} ls_tile_places;

/* ---- bf16 in pairs (attention_pairs.c); x is args->k or args->v ---- */

/* rows [64, units of the width]; a tile [64 keys, 64 queries] as units of two keys, and in bf16; panel [32, columns of a panel]. */
typedef struct {
    float *rows, *units, *panel;
    uint16_t *rounded;
} ls_pairs_room;
enum { LS_PAIRS_ROOM = LS_KEY_TILE / 2 * (2 * LS_QUERY_TILE + LS_PRODUCT_MAX_WIDTH) }; /* of all but the rows */
/* What lies from `at` on. */
ls_pairs_room ls_pairs_room_at(float *rows, float *at);

/* The tile's rows of x [B, Tq, H, D] in room, which is rows of ls_pairs_room, each of whole units; as panels over the width [NULL: not],
 * [lanes / panel][units][panel], and along the lanes [NULL: not], [padded / panel][lanes / 2][panel]. */
void ls_pairs_stage(const ls_attention_plan *plan, const ls_query_tile *tile, int64_t head_group, const void *x,
                    float *room, float *panels, float *along);
/* The step's rows of x, *row numbers apart: in place, or put together in room. */
const uint16_t *ls_pairs_rows(const ls_key_walk *walk, const void *x, float *room, int64_t *row);
/* score[key * lanes + lane] = sum over the width of x[key, :] panels[:, lane], as ls_key_walk_scores. */
void ls_pairs_scores(const ls_key_walk *walk, const void *x, const float *panels, float *room, float *score);
/* to[pair, padded] (+)= sum over the step's keys of tile[key, pair] x[key, :]; tile: room->units, which lie as `at` says. */
void ls_pairs_add_over_keys(const ls_key_walk *walk, const void *x, ls_tile_places at, const ls_pairs_room *room, float *to, bool add);
/* sums[key, :] += sum over the pairs (query, head) of tile[key, pair] along[pair, :], sums as the gradient of plan->k; tile:
 * room->rounded. */
void ls_pairs_add_to_keys(const ls_key_walk *walk, const float *along, const ls_pairs_room *room, float *sums);

/* ---- forward tiles of a few pairs (attention_few.c) ---- */

enum { LS_FEW_PAIRS = 8 };
/* rows [64, padded], q [pairs, padded], score [pairs, 64] as probabilities will be, m, l and shrink [pairs]; rounded [pairs, 64]: the same in pairs. */
typedef struct {
    float *rows, *q, *score, *m, *l, *shrink;
    uint16_t *rounded;
} ls_few_room;
bool ls_attention_is_few(const ls_attention_plan *plan, const ls_query_tile *tile);
/* The tile's queries as ls_few_probabilities takes them, which need the room of a whole tile. */
void ls_few_stage(const ls_attention_plan *plan, const ls_query_tile *tile, int64_t head_group, float *rows);
/* Scores of a step of the walk and their running softmax. */
void ls_few_probabilities(const ls_key_walk *walk, const ls_few_room *room);

/* f64, for gradient checks: plain loops (attention_f64.c). */
void ls_attention_f64(ls_device *device, const ls_attention_args *args);
void ls_attention_backward_f64(ls_device *device, const ls_attention_args *args);
