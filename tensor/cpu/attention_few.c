/* Tiles of a few pairs (query, head), as decoding makes them: attention_tiles.h. With pairs in the lanes most lanes would be padding, so
 * here keys lie there: scores are a product of few rows (few_rows.h), and the softmax goes along a row of keys. */
#include "tensor/cpu/attention_tiles.h"
#include "tensor/cpu/counts.h"

bool ls_attention_is_few(const ls_attention_plan *plan, const ls_query_tile *tile)
{
    return ls_attention_pairs(plan, tile) <= LS_FEW_PAIRS;
}

void ls_few_stage(const ls_attention_plan *plan, const ls_query_tile *tile, int64_t head_group, float *rows)
{
    if (plan->pairs)
        ls_pairs_stage(plan, tile, head_group, plan->args->q, rows, NULL, NULL);
    else
        ls_attention_stage(plan, tile, head_group, plan->args->q, (float)plan->args->scale, rows, NULL);
}

/* A page has memory for all its rows, and scores of what is not there yet are not looked at: so kernels get whole blocks. */
static int64_t whole_blocks(const ls_key_walk *walk, int64_t keys)
{
    return walk->plan->args->spans ? ceil_div(keys, LS_FEW_COLUMNS) * LS_FEW_COLUMNS : keys;
}

static void multiply_scores(const ls_key_walk *walk, const ls_few_room *room)
{
    const ls_attention_plan *plan = walk->plan;
    const ls_attention_args *x = plan->args;
    const int64_t pairs = ls_attention_pairs(plan, walk->tile);
    if (plan->pairs) {
        const int64_t units = ceil_div(x->width, 2);
        int64_t row;
        const uint16_t *rows = ls_pairs_rows(walk, x->k, room->rows, &row);
        plan->few->multiply(LS_F32, pairs, whole_blocks(walk, walk->keys), units, room->q, units, rows, row / 2, room->score, LS_KEY_TILE);
        return;
    }
    const ls_type type = plan->narrow ? x->type : LS_F32;
    float *score = room->score;
    for (int i = 0; i < walk->pieces; score += walk->piece[i++].keys)
        plan->few->multiply(type, pairs, whole_blocks(walk, walk->piece[i].keys), x->width, room->q, plan->padded,
                          (const char *)plan->k + ls_key_walk_at(walk, walk->piece[i].key) * (int64_t)ls_type_size(type), plan->kv_row, score, LS_KEY_TILE);
}

static uint64_t seen_by(const ls_key_walk *walk, int64_t pair)
{
    if (!walk->seen)
        return UINT64_MAX;
    const int64_t lanes = ls_attention_lanes(walk->plan, walk->tile);
    return (uint32_t)walk->seen[pair] | (uint64_t)(uint32_t)walk->seen[lanes + pair] << 32;
}

void ls_few_probabilities(const ls_key_walk *walk, const ls_few_room *room)
{
    const ls_attention_plan *plan = walk->plan;
    multiply_scores(walk, room);
    for (int64_t pair = 0; pair < ls_attention_pairs(plan, walk->tile); pair++)
        plan->softmax->online_row(walk->keys, (float)plan->args->scale, room->score + pair * LS_KEY_TILE, seen_by(walk, pair), &room->m[pair], &room->l[pair],
                                  &room->shrink[pair], room->rounded + pair * LS_KEY_TILE);
}
