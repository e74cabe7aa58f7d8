/* Attention, backward (Dao et al. 2022, algorithm 4): probabilities are computed again from lse.
 *
 *     delta_i = sum_d dout_i out_i          P = e^(s - lse),  s = scale q k^T
 *     dV += P^T dout                        dS = P (dout v^T - delta)
 *     dQ += scale dS k                      dK += scale dS^T q
 *
 * One item is one key/value head of one segment: nothing is shared between items, so nothing needs a lock. Inside, head
 * groups, then query tiles, then key tiles are walked in ascending order, which is the order of the sums in dK and dV
 * (over queries) and dQ (over keys). Sums are f32, added to the caller's gradients once at the end. */
#include "tensor/cpu/attention_tiles.h"
#include "tensor/cpu/counts.h"

typedef struct {
    ls_attention_plan plan;
    float *dk, *dv; /* [B, Tk, Hkv, padded], sums of all queries */
    float *rooms;   /* one for each thread */
    int64_t room;
} backward;

/* What one thread needs for a tile: rows [64, padded], panels the same transposed, tiles [64 keys, 64 queries]. */
typedef struct {
    float *q, *dout, *out /* then rows of k in pieces */, *dq, *q_panels, *dout_panels, *p, *dp, *lse, *delta;
    float *q_along, *dout_along; /* in pairs: behind half of q, of dout, which rows in bf16 leave free */
    ls_pairs_room pairs;
} workroom;

static int64_t room_size(const ls_attention_plan *plan)
{
    return LS_QUERY_TILE * (6 * plan->padded + 2 * LS_KEY_TILE + 2) + (plan->pairs ? LS_PAIRS_ROOM : 0);
}

static workroom room_of(const backward *w)
{
    int64_t wide = LS_QUERY_TILE * w->plan.padded, square = LS_QUERY_TILE * LS_KEY_TILE;
    float *at = w->rooms + ls_team_thread_number() * w->room;
    float *tiles = at + 6 * wide, *vectors = tiles + 2 * square, *pairs = vectors + 2 * LS_QUERY_TILE;
    return (workroom){.q = at,
                      .dout = at + wide,
                      .out = at + 2 * wide,
                      .dq = at + 3 * wide,
                      .q_panels = at + 4 * wide,
                      .dout_panels = at + 5 * wide,
                      .p = tiles,
                      .dp = tiles + square,
                      .lse = vectors,
                      .delta = vectors + LS_QUERY_TILE,
                      .q_along = at + wide / 2,
                      .dout_along = at + wide + wide / 2,
                      .pairs = ls_pairs_room_at(at + 2 * wide, pairs)};
}

/* Eight chains over the width, added pairwise: a fixed order that is not one long wait. */
static float dot(int64_t n, const float *a, const float *b)
{
    float sum[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int64_t j = 0; j < 8; j++)
            sum[j] += a[i + j] * b[i + j];
    for (int64_t j = 0; i + j < n; j++)
        sum[j] += a[i + j] * b[i + j];
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

static void stage_tile(const ls_attention_plan *plan, const ls_query_tile *tile, int64_t head_group, workroom *room)
{
    const ls_attention_args *x = plan->args;
    if (plan->pairs)
        ls_pairs_stage(plan, tile, head_group, x->q, room->q, room->q_panels, room->q_along);
    else
        ls_attention_stage(plan, tile, head_group, x->q, (float)x->scale, room->q, room->q_panels);
    ls_attention_stage(plan, tile, head_group, x->dout, 1.0f, room->dout, plan->pairs ? NULL : room->dout_panels);
    ls_attention_stage(plan, tile, head_group, x->out, 1.0f, room->out, NULL);
    int64_t lanes = ls_attention_lanes(plan, tile), pairs = ls_attention_pairs(plan, tile);
    for (int64_t lane = 0; lane < lanes; lane++) {
        room->lse[lane] = room->delta[lane] = 0; /* lanes of padding: q and dout are 0, so they add 0 */
        if (lane >= pairs)
            continue;
        int64_t row = ls_attention_row(plan, tile, head_group, lane), head = row % x->heads,
                query = row / x->heads % x->queries;
        room->lse[lane] = ((const float *)x->lse)[(tile->batch * x->heads + head) * x->queries + query];
        room->delta[lane] = dot(x->width, room->dout + lane * plan->padded, room->out + lane * plan->padded);
    }
    if (plan->pairs)
        ls_pairs_stage(plan, tile, head_group, x->dout, room->dout, room->dout_panels, room->dout_along);
}

/* to[rows, padded] (+)= a b: rows of b lie b_row apart. k is at most 64: one chain. */
static void add_product(const ls_attention_plan *plan, int64_t rows, int64_t k, const float *a, int64_t a_row,
                        int64_t a_k, const float *b, int64_t b_row, float *to, int64_t to_row, bool add)
{
    for (int64_t d = 0; d < plan->padded; d += plan->product->width)
        plan->product->multiply(rows, k, a, a_row, a_k, b + d, b_row, to + d, to_row, add);
}

/* sums += tile^T rows for the step's keys, each piece where it belongs; they are rows of the product, not in its sums. */
static void add_to_keys(const ls_key_walk *walk, const float *tile, const float *rows, float *sums)
{
    const ls_attention_plan *plan = walk->plan;
    const int64_t lanes = ls_attention_lanes(plan, walk->tile), pairs = ls_attention_pairs(plan, walk->tile);
    for (int i = 0; i < walk->pieces; i++)
        for (int64_t key = 0, keys; key < walk->piece[i].keys; key += keys, tile += keys * lanes) {
            keys = key || !walk->seen ? walk->piece[i].keys - key : least(LS_DIAGONAL_ROWS, walk->piece[i].keys);
            const int64_t first = ls_key_walk_first_pair(walk, key);
            add_product(plan, keys, pairs - first, tile + first, lanes, 1, rows + first * plan->padded, plan->padded,
                        sums + ls_key_walk_at(walk, walk->piece[i].key + key), plan->kv_row, true);
        }
}

/* dq (+)= tile k over the step's keys. */
static void add_to_queries(const ls_key_walk *walk, const float *tile, const float *k, int64_t k_row, float *dq, bool add)
{
    const ls_attention_plan *plan = walk->plan;
    const int64_t lanes = ls_attention_lanes(plan, walk->tile), pairs = ls_attention_pairs(plan, walk->tile);
    for (int64_t pair = 0, count; pair < pairs; pair += count) {
        count = pair || !walk->seen ? pairs - pair : least(LS_DIAGONAL_ROWS, pairs);
        add_product(plan, count, ls_key_walk_keys_before(walk, pair + count), tile + pair, 1, lanes, k, k_row,
                    dq + pair * plan->padded, plan->padded, add);
    }
}

static void key_tile(const backward *w, const ls_key_walk *walk, bool first, const workroom *room)
{
    const ls_attention_plan *plan = &w->plan;
    int64_t lanes = ls_attention_lanes(plan, walk->tile), k_row;
    ls_key_walk_scores(walk, plan->k, room->q_panels, room->out, room->p);
    plan->softmax->probability(walk->keys, lanes, room->p, lanes, walk->seen, room->lse);
    add_to_keys(walk, room->p, room->dout, w->dv);
    ls_key_walk_scores(walk, plan->v, room->dout_panels, room->out, room->dp);
    plan->softmax->gradient(walk->keys, lanes, room->p, room->dp, lanes, walk->seen, room->delta);
    add_to_keys(walk, room->dp, room->q, w->dk);
    const float *k = ls_key_walk_rows(walk, plan->k, room->out, &k_row);
    add_to_queries(walk, room->dp, k, k_row, room->dq, !first);
}

static void key_tile_in_pairs(const backward *w, const ls_key_walk *walk, bool first, const workroom *room)
{
    const ls_attention_plan *plan = &w->plan;
    const ls_attention_args *x = plan->args;
    const int64_t lanes = ls_attention_lanes(plan, walk->tile);
    ls_pairs_scores(walk, x->k, room->q_panels, room->out, room->p);
    plan->softmax->probability_pairs(walk->keys, lanes, (float)x->scale, room->p, walk->seen, room->lse, room->pairs.rounded);
    ls_pairs_add_to_keys(walk, room->dout_along, &room->pairs, w->dv);
    ls_pairs_scores(walk, x->v, room->dout_panels, room->out, room->dp);
    plan->softmax->gradient_pairs(walk->keys, lanes, room->p, room->dp, walk->seen, room->delta, room->pairs.rounded, room->pairs.units);
    ls_pairs_add_to_keys(walk, room->q_along, &room->pairs, w->dk);
    ls_pairs_add_over_keys(walk, x->k, (ls_tile_places){1, lanes}, &room->pairs, room->dq, !first);
}

/* gradient[i] += sum[i] * scale, through f32. */
static void add_to_gradient(const ls_attention_plan *plan, void *gradient, int64_t element, float *sum, float scale)
{
    const ls_attention_args *x = plan->args;
    if (x->type == LS_F32) {
        plan->softmax->add_scaled(x->width, scale, sum, (float *)gradient + element);
    } else if (x->type == LS_BF16) {
        plan->softmax->add_scaled_bf16(x->width, scale, sum, (uint16_t *)gradient + element);
    } else {
        plan->softmax->scale(x->width, scale, sum, sum); /* nobody else reads this sum */
        ls_cpu_kernels_of(plan->device, x->type)->add_real(x->width, sum, (uint16_t *)gradient + element);
    }
}

static void query_tile(const backward *w, const ls_query_tile *tile, int64_t head_group, int64_t kv_head)
{
    const ls_attention_plan *plan = &w->plan;
    const ls_attention_args *x = plan->args;
    workroom room = room_of(w);
    stage_tile(plan, tile, head_group, &room);
    ls_key_walk walk;
    bool first = true;
    ls_key_walk_begin(&walk, plan, tile, kv_head);
    for (; ls_key_walk_next(&walk); first = false) /* ascending: the order of sums */
        (plan->pairs ? key_tile_in_pairs : key_tile)(w, &walk, first, &room);
    for (int64_t pair = 0; !first && x->dq && pair < ls_attention_pairs(plan, tile); pair++)
        add_to_gradient(plan, x->dq, ls_attention_row(plan, tile, head_group, pair) * x->width,
                        room.dq + pair * plan->padded, (float)x->scale);
}

static void segment_item(void *context, int64_t item)
{
    const backward *w = context;
    const ls_attention_plan *plan = &w->plan;
    const ls_attention_args *x = plan->args;
    const ls_query_segment *segment = &plan->segments[item / x->kv_heads];
    int64_t kv_head = item % x->kv_heads, groups = x->heads / x->kv_heads / plan->tile_heads;
    for (int64_t group = kv_head * groups; group < (kv_head + 1) * groups; group++)
        for (int64_t tile = 0; tile < segment->tiles; tile++)
            query_tile(w, &plan->tiles[segment->first_tile + tile], group, kv_head);
}

static void add_keys(void *context, int64_t row)
{
    const backward *w = context;
    const ls_attention_plan *plan = &w->plan;
    const ls_attention_args *x = plan->args;
    for (int64_t head = 0; head < x->kv_heads; head++) {
        int64_t at = row * x->kv_heads + head;
        if (x->dk)
            add_to_gradient(plan, x->dk, at * x->width, w->dk + at * plan->padded,
                            plan->pairs ? (float)x->scale : 1.0f /* q was scaled */);
        if (x->dv)
            add_to_gradient(plan, x->dv, at * x->width, w->dv + at * plan->padded, 1.0f);
    }
}

static ls_status attend_backward(ls_device *device, const ls_attention_args *args, ls_arena *scratch)
{
    backward w;
    ls_status status = ls_attention_plan_make(&w.plan, device, args, scratch);
    if (status != LS_OK)
        return status;
    int64_t sums = args->batch * args->keys * w.plan.kv_row;
    w.dk = ls_arena_array(scratch, float, sums);
    w.dv = ls_arena_array(scratch, float, sums);
    w.room = room_size(&w.plan);
    w.rooms = ls_arena_array(scratch, float, ls_team_threads(device->team) * w.room);
    status = ls_arena_status(scratch);
    if (status != LS_OK)
        return status;
    device->fill(device, LS_F32, sums, 0, w.dk);
    device->fill(device, LS_F32, sums, 0, w.dv);
    ls_team_run(device->team, w.plan.segment_count * args->kv_heads, segment_item, &w);
    ls_team_run(device->team, args->batch * args->keys, add_keys, &w);
    return LS_OK;
}

ls_status ls_cpu_attention_backward(ls_device *device, const ls_attention_args *args, ls_arena *scratch)
{
    if (!args->batch || !args->queries || !args->heads)
        return LS_OK;
    if (args->type == LS_F64) {
        ls_attention_backward_f64(device, args);
        return LS_OK;
    }
    ls_mark mark = ls_arena_mark(scratch);
    ls_status status = attend_backward(device, args, scratch);
    ls_arena_release(scratch, mark);
    return status;
}
