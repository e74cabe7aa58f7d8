/* Attention's operands in bf16 where the processor multiplies pairs (product.h): units along the width for the scores,
 * along the keys for sums over them, along the queries for sums over those. Keys and values are read as they lie; where a
 * step's keys come in pieces, or the width is odd, their rows are put together first. Probabilities and their slopes are rounded to bf16 before they are multiplied; the scale, the
 * softmax and all sums are f32. Steps begin at even keys of the walk's grid, so a pair is the same two keys however many
 * of them are seen, and what attention_tiles.h says of bits holds here too. */
#include "tensor/cpu/attention_tiles.h"
#include "tensor/cpu/counts.h"

#include <string.h>

static int64_t half(int64_t numbers)
{
    return (numbers + 1) / 2;
}

ls_pairs_room ls_pairs_room_at(float *rows, float *at)
{
    const int64_t tile = LS_KEY_TILE / 2 * LS_QUERY_TILE;
    return (ls_pairs_room){.rows = rows, .units = at, .rounded = (uint16_t *)(at + tile), .panel = at + 2 * tile};
}

void ls_pairs_stage(const ls_attention_plan *plan, const ls_query_tile *tile, int64_t head_group, const void *x,
                    float *room, float *panels, float *along)
{
    const ls_attention_args *args = plan->args;
    const int64_t lanes = ls_attention_lanes(plan, tile), units = half(args->width), panel = plan->product->width;
    uint16_t *rows = (uint16_t *)room;
    memset(rows, 0, (size_t)(lanes * units) * sizeof *room);
    for (int64_t pair = 0; pair < ls_attention_pairs(plan, tile); pair++)
        memcpy(rows + pair * 2 * units,
               (const uint16_t *)x + ls_attention_row(plan, tile, head_group, pair) * args->width,
               (size_t)args->width * sizeof *rows);
    for (int64_t lane = 0; panels && lane < lanes; lane += panel)
        plan->product->pack(LS_BF16, true, args->width, panel, rows + lane * 2 * units, 2 * units, panels + lane * units);
    for (int64_t d = 0; along && d < args->width; d += panel)
        plan->product->pack(LS_BF16, false, lanes, least(panel, args->width - d), rows + d, 2 * units,
                            along + d * half(lanes));
}

static const uint16_t *key_at(const ls_key_walk *walk, const void *x, int64_t key)
{
    const ls_attention_args *args = walk->plan->args;
    if (args->spans)
        return (const uint16_t *)x + ls_key_walk_at(walk, key);
    return (const uint16_t *)x + ((walk->tile->batch * args->keys + key) * args->kv_heads + walk->kv_head) * args->width;
}

const uint16_t *ls_pairs_rows(const ls_key_walk *walk, const void *x, float *room, int64_t *row)
{
    const ls_attention_args *args = walk->plan->args;
    const bool whole = args->spans /* rows have zeros behind them */ || (args->width % 2 == 0 && (uintptr_t)x % sizeof(float) == 0);
    if (walk->pieces == 1 && whole) {
        *row = args->spans ? args->page_row : args->kv_heads * args->width;
        return key_at(walk, x, walk->piece[0].key);
    }
    *row = 2 * half(args->width);
    uint16_t *to = (uint16_t *)room;
    for (int i = 0; i < walk->pieces; i++)
        for (int64_t key = walk->piece[i].key; key < walk->piece[i].key + walk->piece[i].keys; key++, to += *row) {
            to[*row - 1] = 0; /* of which an odd row fills a half */
            memcpy(to, key_at(walk, x, key), (size_t)args->width * sizeof *to);
        }
    return (const uint16_t *)room;
}

void ls_pairs_scores(const ls_key_walk *walk, const void *x, const float *panels, float *room, float *score)
{
    const ls_attention_plan *plan = walk->plan;
    const int64_t lanes = ls_attention_lanes(plan, walk->tile), units = half(plan->args->width), panel = plan->product->width;
    int64_t row;
    const uint16_t *rows = ls_pairs_rows(walk, x, room, &row);
    for (int64_t lane = 0; lane < lanes; lane += panel)
        for (int64_t first = 0; first < units; first += LS_PRODUCT_CHUNK)
            plan->product->multiply(ls_key_walk_keys_before(walk, lane + panel), least(LS_PRODUCT_CHUNK, units - first),
                                    (const float *)(const void *)(rows + 2 * first), row / 2, 1,
                                    panels + lane * units + first * panel, panel, score + lane, lanes, first > 0);
}

void ls_pairs_add_over_keys(const ls_key_walk *walk, const void *x, ls_tile_places at, const ls_pairs_room *room, float *to, bool add)
{
    const ls_attention_plan *plan = walk->plan;
    const int64_t pairs = ls_attention_pairs(plan, walk->tile);
    const int64_t panel = plan->product->width, cut = walk->seen ? LS_DIAGONAL_ROWS : pairs;
    int64_t row_apart;
    const uint16_t *key_row = ls_pairs_rows(walk, x, room->rows, &row_apart);
    for (int64_t d = 0; d < plan->args->width; d += panel) {
        plan->product->pack(LS_BF16, false, walk->keys, least(panel, plan->args->width - d), key_row + d, row_apart,
                            room->panel);
        for (int64_t row = 0, rows; row < pairs; row += rows) {
            rows = row ? pairs - row : least(cut, pairs);
            plan->product->multiply(rows, half(ls_key_walk_keys_before(walk, row + rows)), room->units + row * at.pair, at.pair, at.key, room->panel,
                                    panel, to + row * plan->padded + d, plan->padded, add);
        }
    }
}

void ls_pairs_add_to_keys(const ls_key_walk *walk, const float *along, const ls_pairs_room *room, float *sums)
{
    const ls_attention_plan *plan = walk->plan;
    const int64_t lanes = ls_attention_lanes(plan, walk->tile), pairs = ls_attention_pairs(plan, walk->tile);
    const int64_t cut = walk->seen ? LS_DIAGONAL_ROWS : LS_KEY_TILE;
    const float *units = (const float *)(const void *)room->rounded;
    for (int i = 0; i < walk->pieces; i++)
        for (int64_t row = 0, rows; row < walk->piece[i].keys; row += rows, units += rows * lanes / 2) {
            rows = row ? walk->piece[i].keys - row : least(cut, walk->piece[i].keys);
            const int64_t first = ls_key_walk_first_pair(walk, row) / 2;
            for (int64_t d = 0; d < plan->args->width; d += plan->product->width)
                plan->product->multiply(rows, half(pairs) - first, units + first, lanes / 2, 1,
                                        along + d * (lanes / 2) + first * plan->product->width, plan->product->width,
                                        sums + ls_key_walk_at(walk, walk->piece[i].key + row) + d, plan->kv_row, true);
        }
}
