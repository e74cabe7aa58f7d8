/* The exchange of a bucket. In `exact` its sums go up the fixed tree, nearest ranks first:
 *
 *     group 0: ranks 0 1      group 1: ranks 2 3         for the part that rank 3 owns
 *        0 --> 1                 2 --> 3                  1. the rank with the owner's place in each group receives and adds
 *              `-----------------------^                 2. the owner receives the groups' sums and adds
 *
 * so of what the ranks of a machine have, only its sum leaves it, and each rank sends through its own network card. Who adds
 * does not change a bit (docs/reduction.md): an addition is one of the tree's wherever it is made.
 *
 * In `fast` NCCL adds. ncclReduceScatter would want a slice of every bucket for every rank; slices are runs of whole
 * chunks, so a bucket has one owner, or a few: ncclReduce to each, in one group, moves as many bytes. */
#include "dist/nccl/buckets.h"

#include "dist/fabric.h"

#include <stdlib.h>
#include <string.h>

#define PHASE "the gradient exchange"

/* What others send of a bucket, at most. Where it is not enough for all their nodes a bucket travels in pieces. */
enum { ROOM_BUCKETS = LS_REDUCE_SLOTS };

/* ---- opening ---- */

static void find_groups(ls_nccl_buckets *b)
{
    const ls_reducer *r = b->reducer;
    const ls_peer *peers = r->world->peers;
    b->groups = 0;
    for (int rank = 0; rank < r->ranks; rank++) {
        if (rank == 0 || peers[rank].node != peers[rank - 1].node)
            b->group[b->groups++] = (ls_nccl_group){rank, 0};
        b->group[b->groups - 1].size++;
        b->group_of[rank] = b->groups - 1;
    }
    if (b->groups == ls_world_nodes(r->world))
        return;
    /* Some node's ranks are no neighbours in the tree: their sum is no node of it. */
    b->groups = 1;
    b->group[0] = (ls_nccl_group){0, r->ranks};
    memset(b->group_of, 0, (size_t)r->ranks * sizeof *b->group_of);
}

ls_status ls_nccl_buckets_open(ls_nccl_buckets *b, ls_reducer *r, int (*most)(const ls_reducer *r, int ranks))
{
    const size_t ranks = (size_t)r->ranks;
    b->reducer = r;
    b->nccl = (ls_nccl *)r->exchange;
    b->group = calloc(ranks, sizeof *b->group);
    b->group_of = calloc(ranks, sizeof *b->group_of);
    b->at = calloc(ranks * LS_COUNTER_DEPTH, sizeof *b->at);
    if (!b->group || !b->group_of || !b->at)
        return ls_fail(LS_EMEM, "no memory for an exchange over %d ranks", r->ranks);
    find_groups(b);
    int largest = 0;
    for (int g = 0; g < b->groups; g++)
        largest = b->group[g].size > largest ? b->group[g].size : largest;
    const int near_items = largest * most(r, 1), far_items = b->groups * most(r, largest);
    b->item = calloc((size_t)(near_items > far_items ? near_items : far_items), sizeof *b->item);
    if (!b->item)
        return ls_fail(LS_EMEM, "no memory for an exchange over %d ranks", r->ranks);
    /* A few buckets; with very many ranks, a chunk of each of their nodes. */
    const int64_t least = (int64_t)LS_CHUNK * (near_items + far_items);
    b->room_elements = ROOM_BUCKETS * r->bucket > least ? ROOM_BUCKETS * r->bucket : least;
    if (b->nccl->mode == LS_NCCL_FAST)
        b->room_elements = r->bucket;
    const ls_status status = r->device->allocate(r->device, (size_t)b->room_elements * sizeof(float), (void **)&b->room);
    return status == LS_OK ? LS_OK : ls_fail_at(status, "what other ranks send, in buckets of %lld elements; a smaller batch.bucket needs less", (long long)r->bucket);
}

void ls_nccl_buckets_close(ls_nccl_buckets *b)
{
    if (b->room)
        b->reducer->device->release(b->reducer->device, b->room, (size_t)b->room_elements * sizeof(float));
    free(b->group);
    free(b->group_of);
    free(b->at);
    free(b->item);
}

/* ---- who sends what ---- */

static ls_slice_range part_of(const ls_reducer *r, int64_t begin, int64_t count, int rank)
{
    const ls_slice_range slice = r->slice[rank];
    const int64_t from = slice.begin > begin ? slice.begin : begin;
    const int64_t end = slice.begin + slice.count < begin + count ? slice.begin + slice.count : begin + count;
    return (ls_slice_range){from, end > from ? end - from : 0};
}

/* The rank of `group` that adds for `owner`: the one at its place. An owner adds for itself in its own group. */
static int adder(const ls_nccl_buckets *b, int group, int owner)
{
    const int place = owner - b->group[b->group_of[owner]].first;
    return b->group[group].first + place % b->group[group].size;
}

static ls_status send(ls_nccl *n, const float *from, int64_t count, int to)
{
    return ls_nccl_check(n, ncclSend(from, (size_t)count, ncclFloat32, to, n->comm, n->stream), "ncclSend in " PHASE);
}

static ls_status receive(ls_nccl *n, float *to, int64_t count, int from)
{
    return ls_nccl_check(n, ncclRecv(to, (size_t)count, ncclFloat32, from, n->comm, n->stream), "ncclRecv in " PHASE);
}

/* ---- additions ---- */

typedef struct {
    ls_nccl *nccl;
    ls_counter counter;
    int64_t count;
    float *at[LS_COUNTER_DEPTH];
} stack;

/* Adds x, a sum of `node`, to the stack. The result lies in `to`, NULL: in x itself. */
static void push(stack *s, ls_tree_node node, float *x, float *to)
{
    const float *level[LS_COUNTER_DEPTH];
    ls_device *device = s->nccl->beside;
    const int levels = ls_counter_push(&s->counter, node), place = s->counter.depth - 1;
    for (int l = 0; l < levels; l++)
        level[l] = s->at[place + levels - 1 - l];
    if (!to)
        to = x;
    if (levels > 0 || to != x)
        device->carry(device, s->count, x, levels, level, to);
    s->at[place] = to;
}

/* The owner's last additions: onto the places of its counter, or into the root. */
typedef struct {
    stack stack;
    float *own[LS_COUNTER_DEPTH];
    float *root;
    bool counts;
    int left; /* nodes still to come */
} owned;

static owned begin_owned(const ls_nccl_buckets *b, ls_slice_range part, const ls_counter *counter, float *const *own, float *root, int nodes)
{
    const int64_t at = part.begin - b->reducer->slice[b->reducer->rank].begin;
    owned o = {.stack = {.nccl = b->nccl, .counter = *counter, .count = part.count}, .root = root ? root + at : NULL, .counts = own != NULL, .left = nodes};
    for (int p = 0; own && p < ls_counter_places(b->reducer->options.max_grains, true); p++)
        o.own[p] = o.stack.at[p] = own[p] + at;
    return o;
}

static void push_owned(owned *o, ls_tree_node node, float *x)
{
    o->left--;
    if (!o->counts) {
        push(&o->stack, node, x, o->left == 0 ? o->root : NULL);
        return;
    }
    ls_counter after = o->stack.counter;
    const int joined = ls_counter_push(&after, node);
    push(&o->stack, node, x, joined > 0 ? o->own[after.depth - 1] : NULL); /* copied at the end, if it still waits then */
}

static void end_owned(owned *o)
{
    ls_device *device = o->stack.nccl->beside;
    for (int p = 0; o->counts && p < o->stack.counter.depth; p++)
        if (o->stack.at[p] != o->own[p])
            device->carry(device, o->stack.count, o->stack.at[p], 0, NULL, o->own[p]);
}

/* ---- the two ways up ---- */

/* What is added for an owner in this group: one item for each node of its ranks, in grain order. *room: where the next sum
 * of another rank comes to lie. */
static int list_near(ls_nccl_buckets *b, const ls_nccl_plan *plan, int64_t begin, ls_slice_range part, float *const *mine, float **room)
{
    const ls_nccl_group group = b->group[b->group_of[b->reducer->rank]];
    int items = 0;
    for (int rank = group.first; rank < group.first + group.size; rank++)
        for (int k = 0; k < plan->nodes[rank].count; k++) {
            const bool own = rank == b->reducer->rank;
            b->item[items++] = (ls_nccl_item){rank, plan->nodes[rank].node[k], own ? mine[k] + (part.begin - begin) : *room};
            *room += own ? 0 : part.count;
        }
    return items;
}

/* What the owner, this rank, adds at last: the nodes of the groups. */
static int list_far(ls_nccl_buckets *b, const ls_nccl_plan *plan, ls_slice_range part, float **room)
{
    const int rank = b->reducer->rank, here = b->group_of[rank];
    int items = 0;
    for (int g = 0; g < b->groups; g++)
        for (int k = 0; k < plan->groups[g].count; k++) {
            const int from = adder(b, g, rank);
            b->item[items++] = (ls_nccl_item){from, plan->groups[g].node[k], g == here ? b->at[rank * LS_COUNTER_DEPTH + k] : *room};
            *room += g == here ? 0 : part.count;
        }
    return items;
}

static ls_status receive_items(const ls_nccl_buckets *b, int items, int64_t count)
{
    ls_status status = LS_OK;
    for (int i = 0; i < items && status == LS_OK; i++)
        if (b->item[i].from != b->reducer->rank)
            status = receive(b->nccl, b->item[i].x, count, b->item[i].from);
    return status;
}

/* Elements of a piece, by what all ranks know: sums that come from the own group, then those of other groups, find room.
 * *far: where the latter begin. */
static int64_t piece_of(const ls_nccl_buckets *b, const ls_nccl_plan *plan, int64_t *far)
{
    int64_t near = 1, groups = 0;
    for (int g = 0; g < b->groups; g++) {
        int64_t nodes = 0;
        for (int rank = b->group[g].first; rank < b->group[g].first + b->group[g].size; rank++)
            nodes += plan->nodes[rank].count;
        near = nodes > near ? nodes : near;
        groups += b->groups > 1 ? plan->groups[g].count : 0;
    }
    const int64_t piece = b->room_elements / (near + groups) / LS_CHUNK * LS_CHUNK;
    *far = near * piece;
    return piece;
}

/* Between the ranks of a group. */
static ls_status travel_near(ls_nccl_buckets *b, const ls_nccl_plan *plan, int64_t begin, int64_t count, float *const *mine)
{
    const ls_reducer *r = b->reducer;
    float *room = b->room;
    ls_status status = ls_nccl_enter(b->nccl);
    if (status != LS_OK)
        return status;
    for (int owner = 0; owner < r->ranks && status == LS_OK; owner++) {
        const ls_slice_range part = part_of(r, begin, count, owner);
        const int to = adder(b, b->group_of[r->rank], owner);
        if (part.count > 0 && to == r->rank)
            status = receive_items(b, list_near(b, plan, begin, part, mine, &room), part.count);
        for (int k = 0; part.count > 0 && to != r->rank && k < plan->nodes[r->rank].count && status == LS_OK; k++)
            status = send(b->nccl, mine[k] + (part.begin - begin), part.count, to);
    }
    return ls_nccl_leave(b->nccl, status, "ncclGroupEnd in " PHASE);
}

/* From each group to the owner. */
static ls_status travel_far(ls_nccl_buckets *b, const ls_nccl_plan *plan, int64_t begin, int64_t count, float *room)
{
    const ls_reducer *r = b->reducer;
    const int here = b->group_of[r->rank];
    ls_status status = ls_nccl_enter(b->nccl);
    if (status != LS_OK)
        return status;
    for (int owner = 0; owner < r->ranks && status == LS_OK; owner++) {
        const ls_slice_range part = part_of(r, begin, count, owner);
        if (part.count > 0 && owner == r->rank)
            status = receive_items(b, list_far(b, plan, part, &room), part.count);
        for (int k = 0; part.count > 0 && b->group_of[owner] != here && adder(b, here, owner) == r->rank && k < plan->groups[here].count && status == LS_OK; k++)
            status = send(b->nccl, b->at[owner * LS_COUNTER_DEPTH + k], part.count, owner);
    }
    return ls_nccl_leave(b->nccl, status, "ncclGroupEnd in " PHASE);
}

/* The sums of this group for owners of other groups, or of this one; where they lie is kept in b->at. */
static void add_near(ls_nccl_buckets *b, const ls_nccl_plan *plan, int64_t begin, int64_t count, float *const *mine)
{
    const ls_reducer *r = b->reducer;
    float *room = b->room;
    for (int owner = 0; owner < r->ranks; owner++) {
        const ls_slice_range part = part_of(r, begin, count, owner);
        if (part.count == 0 || adder(b, b->group_of[r->rank], owner) != r->rank)
            continue;
        stack s = {.nccl = b->nccl, .count = part.count};
        ls_counter_reset(&s.counter, r->grains);
        const int items = list_near(b, plan, begin, part, mine, &room);
        for (int i = 0; i < items; i++)
            push(&s, b->item[i].node, b->item[i].x, NULL);
        memcpy(b->at + owner * LS_COUNTER_DEPTH, s.at, (size_t)s.counter.depth * sizeof *s.at);
    }
}

/* How the sums of a piece are added by its owners at last: ls_nccl_exact's arguments. */
typedef struct {
    const ls_counter *counter;
    float *const *own;
    float *root;
} ending;

static ls_status exchange_piece(ls_nccl_buckets *b, const ls_nccl_plan *plan, int64_t begin, int64_t count, float *const *mine, const ending *end, float *far)
{
    const ls_slice_range part = part_of(b->reducer, begin, count, b->reducer->rank);
    ls_status status = travel_near(b, plan, begin, count, mine);
    float *room = b->room;
    if (status == LS_OK && b->groups > 1) {
        add_near(b, plan, begin, count, mine);
        status = travel_far(b, plan, begin, count, far);
        room = far;
    }
    if (status != LS_OK || part.count == 0)
        return status;
    const int items = b->groups > 1 ? list_far(b, plan, part, &room) : list_near(b, plan, begin, part, mine, &room);
    owned sum = begin_owned(b, part, end->counter, end->own, end->root, items);
    for (int i = 0; i < items; i++)
        push_owned(&sum, b->item[i].node, b->item[i].x);
    end_owned(&sum);
    return LS_OK;
}

ls_status ls_nccl_exact(ls_nccl_buckets *b, const ls_nccl_plan *plan, int64_t begin, int64_t count, float *const *mine,
                        const ls_counter *counter, float *const *own, float *root)
{
    const ending end = {counter, own, root};
    int64_t far;
    const int64_t piece = piece_of(b, plan, &far);
    ls_status status = LS_OK;
    for (int64_t at = 0; at < count && status == LS_OK; at += piece) {
        float *here[LS_COUNTER_DEPTH];
        for (int k = 0; k < plan->nodes[b->reducer->rank].count; k++)
            here[k] = mine[k] + at;
        status = exchange_piece(b, plan, begin + at, count - at < piece ? count - at : piece, here, &end, b->room + far);
    }
    return status;
}

ls_status ls_nccl_fast(ls_nccl_buckets *b, int64_t begin, int64_t count, const float *mine, float *sum, bool first)
{
    const ls_reducer *r = b->reducer;
    ls_nccl *n = b->nccl;
    const ls_slice_range own = part_of(r, begin, count, r->rank);
    float *place = sum + (own.begin - r->slice[r->rank].begin);
    ls_status status = ls_nccl_enter(n);
    if (status != LS_OK)
        return status;
    for (int owner = 0; owner < r->ranks && status == LS_OK; owner++) {
        const ls_slice_range part = part_of(r, begin, count, owner);
        float *to = owner != r->rank ? NULL : first ? place : b->room;
        if (part.count > 0)
            status = ls_nccl_check(n, ncclReduce(mine + (part.begin - begin), to, (size_t)part.count, ncclFloat32, ncclSum, owner, n->comm, n->stream),
                                   "ncclReduce in " PHASE);
    }
    status = ls_nccl_leave(n, status, "ncclGroupEnd in " PHASE);
    const float *before = place;
    if (status == LS_OK && !first && own.count > 0)
        n->beside->carry(n->beside, own.count, b->room, 1, &before, place);
    return status;
}

/* ---- what the schedules share ---- */

int64_t ls_nccl_bucket_count(const ls_reducer *r, int64_t bucket)
{
    const int64_t left = r->elements - bucket * r->bucket;
    return left < r->bucket ? left : r->bucket;
}

int64_t ls_nccl_bucket_number(const ls_reducer *r)
{
    return (r->elements + r->bucket - 1) / r->bucket;
}

size_t ls_nccl_slice_bytes(const ls_reducer *r)
{
    return (size_t)r->slice[r->rank].count * sizeof(float);
}

int64_t ls_nccl_chunks(int64_t count)
{
    return (count + LS_CHUNK - 1) / LS_CHUNK;
}

void ls_nccl_count_missing(const ls_reducer *r, int64_t *missing)
{
    for (int64_t bucket = 0; bucket < ls_nccl_bucket_number(r); bucket++)
        missing[bucket] = ls_nccl_bucket_count(r, bucket) / LS_CHUNK;
}

void ls_nccl_end_streams(const ls_reducer *r)
{
    ls_nccl *nccl = (ls_nccl *)r->exchange;
    if (r->in_step)
        ls_nccl_give_up(nccl);
    cudaStreamSynchronize(nccl->stream);
}

ls_status ls_nccl_end_step(ls_nccl *nccl, ls_status status)
{
    if (status == LS_OK)
        return ls_nccl_wait(nccl, "gradient exchange");
    ls_nccl_give_up(nccl);
    return status;
}


