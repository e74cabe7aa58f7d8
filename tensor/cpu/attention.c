/* Attention, forward: out = softmax(scale q k^T + mask) v without the matrix of scores (Dao et al. 2022,
 * "FlashAttention", algorithm 1): for each tile of queries the softmax is kept as a running maximum m, a running sum l
 * and an output that shrinks when m grows. lse = m + log l is all that backward needs. Tiles and their order:
 * attention_tiles.h. */
#include "tensor/cpu/attention_tiles.h"
#include "tensor/cpu/counts.h"

#include <math.h>
#include <string.h>

enum { ENOUGH_WORK = 1 << 17 }; /* multiply-adds of scores worth waking a team */

typedef struct {
    ls_attention_plan plan;
    float *rooms; /* one for each thread */
    int64_t room;
} forward;

/* What one thread needs for a tile. */
typedef struct {
    float *rows /* of q, then of k and of v in pieces */, *panels, *out, *score, *m, *l, *shrink;
    ls_pairs_room pairs;
} workroom;

static int64_t room_size(const ls_attention_plan *plan)
{
    return LS_QUERY_TILE * (3 * plan->padded + LS_KEY_TILE + 3) + (plan->pairs ? LS_PAIRS_ROOM : 0);
}

static workroom room_of(const forward *f)
{
    int64_t wide = LS_QUERY_TILE * f->plan.padded;
    float *at = f->rooms + ls_team_thread_number() * f->room;
    workroom room = {.rows = at, .panels = at + wide, .out = at + 2 * wide, .score = at + 3 * wide};
    room.m = room.score + LS_QUERY_TILE * LS_KEY_TILE;
    room.l = room.m + LS_QUERY_TILE;
    room.shrink = room.l + LS_QUERY_TILE;
    room.pairs = ls_pairs_room_at(room.rows, room.shrink + LS_QUERY_TILE);
    return room;
}

static void write_tile(const ls_attention_plan *plan, const ls_query_tile *tile, int64_t head_group,
                       const workroom *room)
{
    const ls_attention_args *x = plan->args;
    const int64_t pairs = ls_attention_pairs(plan, tile);
    float *lse = room->shrink; /* which the last step has used */
    plan->softmax->log_sums(pairs, room->m, room->l, lse);
    for (int64_t pair = 0; pair < pairs; pair++) {
        int64_t row = ls_attention_row(plan, tile, head_group, pair), head = row % x->heads;
        /* No key was seen: out is 0, and so are its sums. -0 becomes +0: unseen keys may have added +0 to it, or not. */
        float inverse = room->l[pair] == 0 ? 0.0f : 1.0f / room->l[pair], *sum = room->out + pair * plan->padded;
        plan->softmax->scale(x->width, inverse, sum, x->type == LS_F32 ? (float *)x->out + row * x->width : sum);
        if (x->type != LS_F32)
            ls_cpu_kernels_of(plan->device, x->type)->narrow(x->width, sum, (uint16_t *)x->out + row * x->width);
        int64_t query = row / x->heads % x->queries;
        if (x->lse)
            ((float *)x->lse)[(tile->batch * x->heads + head) * x->queries + query] = lse[pair];
    }
}

/* Scores of one step of the walk and their softmax; returns how the probabilities lie in room->score (in pairs room->pairs.units). */
static ls_tile_places probabilities(const ls_key_walk *walk, const workroom *room)
{
    const ls_attention_plan *plan = walk->plan;
    const int64_t lanes = ls_attention_lanes(plan, walk->tile);
    if (ls_attention_is_few(plan, walk->tile)) {
        ls_few_probabilities(walk, &(ls_few_room){room->rows, room->panels, room->score, room->m, room->l, room->shrink, (uint16_t *)room->pairs.units});
        return (ls_tile_places){LS_KEY_TILE / plan->product->unit, 1};
    }
    if (plan->pairs) {
        ls_pairs_scores(walk, plan->args->k, room->panels, room->rows, room->score);
        plan->softmax->online_pairs(walk->keys, lanes, (float)plan->args->scale, room->score, walk->seen, room->m, room->l, room->shrink,
                                    room->pairs.units);
    } else {
        ls_key_walk_scores(walk, plan->k, room->panels, room->rows, room->score);
        plan->softmax->online(walk->keys, lanes, room->score, lanes, walk->seen, room->m, room->l, room->shrink);
    }
    return (ls_tile_places){1, lanes};
}

/* One step of the walk: out = out shrink + p v. */
static void attend_keys(const ls_key_walk *walk, const workroom *room, bool first)
{
    const ls_attention_plan *plan = walk->plan;
    const ls_tile_places at = probabilities(walk, room);
    const int64_t pairs = ls_attention_pairs(plan, walk->tile);
    int64_t v_row;
    if (!first)
        plan->softmax->fade(pairs, plan->padded, room->shrink, room->out);
    if (plan->pairs) {
        ls_pairs_add_over_keys(walk, plan->args->v, at, &room->pairs, room->out, !first);
        return;
    }
    const float *v = ls_key_walk_rows(walk, plan->v, room->rows, &v_row);
    for (int64_t row = 0, rows; row < pairs; row += rows) {
        rows = row || !walk->seen ? pairs - row : least(LS_DIAGONAL_ROWS, pairs);
        for (int64_t d = 0; d < plan->padded; d += plan->product->width)
            plan->product->multiply(rows, ls_key_walk_keys_before(walk, row + rows), room->score + row * at.pair, at.pair, at.key, v + d, v_row,
                                    room->out + row * plan->padded + d, plan->padded, !first);
    }
}

static void attend_tile(void *context, int64_t item)
{
    const forward *f = context;
    const ls_attention_plan *plan = &f->plan;
    const ls_attention_args *x = plan->args;
    int64_t groups = x->heads / plan->tile_heads, head_group = item % groups;
    const ls_query_tile *tile = &plan->tiles[item / groups];
    int64_t lanes = ls_attention_lanes(plan, tile), pairs = ls_attention_pairs(plan, tile);
    workroom room = room_of(f);
    if (ls_attention_is_few(plan, tile))
        ls_few_stage(plan, tile, head_group, room.panels);
    else if (plan->pairs)
        ls_pairs_stage(plan, tile, head_group, x->q, room.rows, room.panels, NULL);
    else
        ls_attention_stage(plan, tile, head_group, x->q, (float)x->scale, room.rows, room.panels);
    for (int64_t lane = 0; lane < lanes; lane++) {
        room.m[lane] = -INFINITY;
        room.l[lane] = 0;
    }
    ls_key_walk walk;
    bool first = true;
    ls_key_walk_begin(&walk, plan, tile, head_group * plan->tile_heads / (x->heads / x->kv_heads));
    for (; ls_key_walk_next(&walk); first = false) /* ascending: the order of sums */
        attend_keys(&walk, &room, first);
    if (first)
        memset(room.out, 0, (size_t)(pairs * plan->padded) * sizeof *room.out);
    write_tile(plan, tile, head_group, &room);
}

/* Multiply-adds of the scores as they are computed, in whole panels; a decoding row's one query costs about as much as this many. */
static double work_of(const ls_attention_plan *plan)
{
    const ls_attention_args *x = plan->args;
    double scores = 0;
    for (int64_t i = 0; i < plan->tile_count; i++) {
        const ls_query_tile *tile = &plan->tiles[i];
        int64_t keys = x->mask ? x->keys : tile->key_end - tile->key_begin;
        scores += (double)(ls_attention_is_few(plan, tile) ? LS_FEW_PAIRS : ls_attention_lanes(plan, tile)) * (double)keys;
    }
    return scores * (double)(x->heads / plan->tile_heads) * (double)x->width;
}

static ls_status attend(ls_device *device, const ls_attention_args *args, ls_arena *scratch)
{
    forward f;
    ls_status status = ls_attention_plan_make(&f.plan, device, args, scratch);
    if (status != LS_OK)
        return status;
    f.room = room_size(&f.plan);
    f.rooms = ls_arena_array(scratch, float, ls_team_threads(device->team) * f.room);
    status = ls_arena_status(scratch);
    if (status != LS_OK)
        return status;
    int64_t items = f.plan.tile_count * (args->heads / f.plan.tile_heads);
    if (work_of(&f.plan) >= ENOUGH_WORK)
        ls_team_run(device->team, items, attend_tile, &f);
    else
        for (int64_t item = 0; item < items; item++)
            attend_tile(&f, item);
    return LS_OK;
}

ls_status ls_cpu_attention(ls_device *device, const ls_attention_args *args, ls_arena *scratch)
{
    if (!args->batch || !args->queries || !args->heads)
        return LS_OK;
    if (args->type == LS_F64) {
        ls_attention_f64(device, args);
        return LS_OK;
    }
    ls_mark mark = ls_arena_mark(scratch);
    ls_status status = attend(device, args, scratch);
    ls_arena_release(scratch, mark);
    return status;
}
