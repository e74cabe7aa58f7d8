/* See attention_tiles.h. */
#include "tensor/cpu/attention_tiles.h"
#include "tensor/cpu/counts.h"

#include <string.h>

static int64_t round_up(int64_t x, int64_t to)
{
    return (x + to - 1) / to * to;
}

/* The greatest divisor of the heads that read one key/value head that fits a tile. */
static int64_t heads_of_a_tile(int64_t group)
{
    int64_t heads = least(group, LS_QUERY_TILE);
    while (group % heads)
        heads--;
    return heads;
}

/* ---- listing tiles; with plan->tiles NULL only counting them ---- */

static void add_tiles(ls_attention_plan *plan, ls_query_tile first)
{
    int64_t step = LS_QUERY_TILE / plan->tile_heads, left = first.queries;
    for (ls_query_tile tile = first; left > 0; tile.query += step, tile.position += step, left -= step) {
        tile.queries = least(step, left);
        if (plan->tiles)
            plan->tiles[plan->tile_count] = tile;
        plan->tile_count++;
    }
}

/* The tiles since `first_tile` share keys, so they are one segment. */
static void add_segment(ls_attention_plan *plan, int64_t first_tile)
{
    if (plan->tile_count == first_tile)
        return;
    if (plan->segments)
        plan->segments[plan->segment_count] = (ls_query_segment){first_tile, plan->tile_count - first_tile};
    plan->segment_count++;
}

static int64_t run_end(const int32_t *segment, int64_t begin, int64_t count)
{
    int64_t end = begin + 1;
    while (end < count && segment[end] == segment[begin])
        end++;
    return end;
}

static void list_self(ls_attention_plan *plan, int64_t batch)
{
    const ls_attention_args *x = plan->args;
    int64_t hidden = x->keys - x->queries; /* keys before the first query; below 0 with more queries than keys */
    for (int64_t begin = 0, end; begin < x->keys; begin = end) {
        end = x->segments ? run_end(x->segments + batch * x->keys, begin, x->keys) : x->keys;
        int64_t first = begin > 0 && begin > hidden ? begin : hidden, first_tile = plan->tile_count;
        add_tiles(plan, (ls_query_tile){batch, begin, end, first - hidden, end - first, first});
        add_segment(plan, first_tile);
    }
}

/* Runs of both sides ascend, so one pass finds each query run's keys; one without any has the empty range. */
static void list_cross(ls_attention_plan *plan, int64_t batch)
{
    const ls_attention_args *x = plan->args;
    const int32_t *query_id = x->query_segments + batch * x->queries, *key_id = x->segments + batch * x->keys;
    for (int64_t begin = 0, end, key = 0; begin < x->queries; begin = end) {
        end = run_end(query_id, begin, x->queries);
        while (query_id[begin] >= 0 && key < x->keys && key_id[key] < query_id[begin])
            key++;
        bool found = query_id[begin] >= 0 && key < x->keys && key_id[key] == query_id[begin];
        int64_t key_end = found ? run_end(key_id, key, x->keys) : key, first_tile = plan->tile_count;
        add_tiles(plan, (ls_query_tile){batch, key, key_end, begin, end - begin, 0});
        add_segment(plan, first_tile);
    }
}

static void list_masked(ls_attention_plan *plan, int64_t batch)
{
    const ls_attention_args *x = plan->args;
    int64_t block = x->mask->block, first_tile = plan->tile_count;
    for (int64_t query = 0; query < x->queries; query += block)
        add_tiles(plan,
                  (ls_query_tile){batch, 0, 0, query, least(block, x->queries - query), query + x->keys - x->queries});
    add_segment(plan, first_tile);
}

/* A tile's `batch` is its span. */
static void list_spans(ls_attention_plan *plan)
{
    for (int64_t i = 0; i < plan->args->spans; i++) {
        const ls_page_span *span = &plan->args->span[i];
        int64_t first_tile = plan->tile_count;
        add_tiles(plan,
                  (ls_query_tile){i, 0, span->position + span->queries, span->row, span->queries, span->position});
        add_segment(plan, first_tile);
    }
}

static void list_tiles(ls_attention_plan *plan)
{
    plan->tile_count = plan->segment_count = 0;
    if (plan->args->spans) {
        list_spans(plan);
        return;
    }
    for (int64_t batch = 0; batch < plan->args->batch; batch++)
        if (plan->args->mask)
            list_masked(plan, batch);
        else if (plan->args->query_segments)
            list_cross(plan, batch);
        else
            list_self(plan, batch);
}

/* ---- keys and values as the kernels read them ---- */

typedef struct {
    const ls_attention_plan *plan;
    const void *from;
    float *to;
} widening;

static void widen_row(void *context, int64_t row)
{
    const widening *w = context;
    const ls_attention_args *x = w->plan->args;
    int64_t padded = w->plan->padded, rest = padded - x->width;
    for (int64_t head = 0; head < x->kv_heads; head++) {
        int64_t at = row * x->kv_heads + head;
        const char *from = (const char *)w->from + at * x->width * (int64_t)ls_type_size(x->type);
        w->plan->device->cast(w->plan->device, x->type, LS_F32, x->width, from, w->to + at * padded);
        memset(w->to + at * padded + x->width, 0, (size_t)rest * sizeof(float));
    }
}

static void widen_keys(ls_attention_plan *plan, ls_arena *scratch)
{
    const ls_attention_args *x = plan->args;
    plan->k = x->k;
    plan->v = x->v;
    plan->kv_head = plan->padded;
    plan->kv_row = x->kv_heads * plan->padded;
    if (x->spans) {
        plan->narrow = !plan->pairs && x->type != LS_F32;
        plan->kv_row = x->page_row;
        plan->kv_head = LS_PAGE * x->page_row;
        return;
    }
    if (plan->pairs || (x->type == LS_F32 && plan->padded == x->width))
        return;
    float *k = ls_arena_array(scratch, float, x->batch * x->keys * plan->kv_row);
    float *v = ls_arena_array(scratch, float, x->batch * x->keys * plan->kv_row);
    if (!k || !v)
        return;
    ls_team_run(plan->device->team, x->batch * x->keys, widen_row, &(widening){plan, x->k, k});
    ls_team_run(plan->device->team, x->batch * x->keys, widen_row, &(widening){plan, x->v, v});
    plan->k = k;
    plan->v = v;
}

/* ---- the plan ---- */

ls_status ls_attention_plan_make(ls_attention_plan *plan, ls_device *device, const ls_attention_args *args,
                                 ls_arena *scratch)
{
    ls_numerics level = ((const ls_cpu *)device->self)->level;
    *plan = (ls_attention_plan){.device = device,
                                .args = args,
                                .product = ls_product_kernels_for(level, args->type),
                                .softmax = ls_softmax_tile_kernels_for(level, args->type),
                                .few = ls_few_rows_kernels_for(level, args->type)};
    plan->pairs = plan->product->unit == 2;
    plan->tile_heads = heads_of_a_tile(args->heads / args->kv_heads);
    plan->padded = round_up(args->width, plan->product->width);
    list_tiles(plan);
    plan->tiles = ls_arena_array(scratch, ls_query_tile, plan->tile_count);
    plan->segments = ls_arena_array(scratch, ls_query_segment, plan->segment_count);
    ls_status status = ls_arena_status(scratch);
    if (status != LS_OK)
        return status;
    list_tiles(plan);
    widen_keys(plan, scratch);
    return ls_arena_status(scratch);
}

int64_t ls_attention_pairs(const ls_attention_plan *plan, const ls_query_tile *tile)
{
    return tile->queries * plan->tile_heads;
}

int64_t ls_attention_lanes(const ls_attention_plan *plan, const ls_query_tile *tile)
{
    return round_up(ls_attention_pairs(plan, tile), plan->product->width);
}

int64_t ls_attention_row(const ls_attention_plan *plan, const ls_query_tile *tile, int64_t head_group, int64_t pair)
{
    int64_t query = tile->query + pair / plan->tile_heads,
            head = head_group * plan->tile_heads + pair % plan->tile_heads;
    int64_t batch = plan->args->spans ? 0 : tile->batch;
    return (batch * plan->args->queries + query) * plan->args->heads + head;
}

/* Rows of one head are far apart, so the processor does not guess the next ones. */
enum { AHEAD = 8 };
static void touch_row(const ls_attention_args *args, const void *x, int64_t row)
{
    const int64_t bytes = args->width * (int64_t)ls_type_size(args->type);
    for (int64_t at = 0; at < bytes; at += 64)
        __builtin_prefetch((const char *)x + row * bytes + at);
}

void ls_attention_stage(const ls_attention_plan *plan, const ls_query_tile *tile, int64_t head_group, const void *x,
                        float scale, float *rows, float *panels)
{
    const ls_attention_args *args = plan->args;
    int64_t pairs = ls_attention_pairs(plan, tile), lanes = ls_attention_lanes(plan, tile),
            width = plan->product->width;
    memset(rows, 0, (size_t)(lanes * plan->padded) * sizeof *rows);
    for (int64_t pair = 0; pair < pairs; pair++) {
        int64_t from = ls_attention_row(plan, tile, head_group, pair) * args->width;
        float *row = rows + pair * plan->padded;
        if (pair + AHEAD < pairs)
            touch_row(args, x, ls_attention_row(plan, tile, head_group, pair + AHEAD));
        if (args->type == LS_F32)
            memcpy(row, (const float *)x + from, (size_t)args->width * sizeof *row);
        else
            ls_cpu_kernels_of(plan->device, args->type)->widen(args->width, (const uint16_t *)x + from, row);
        if (scale != 1.0f)
            plan->softmax->fade(1, plan->padded, &scale, row);
    }
    for (int64_t lane = 0; panels && lane < lanes; lane += width)
        plan->product->pack(LS_F32, true, args->width, width, rows + lane * plan->padded, plan->padded,
                            panels + lane * args->width);
}
