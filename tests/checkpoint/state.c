#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Sharded and replicated, every type, 0 to 5 dimensions, rows that do not fit chunks, one that is empty. */
static const ls_state_entry rows[TENSORS] = {
    {.name = "gradient/embedding", .kind = LS_STATE_GRADIENT, .type = LS_F32, .ndim = 2, .shape = {37, 1000}},
    {.name = "model/blocks/0/norm/gain", .kind = LS_STATE_PARAMETER, .type = LS_F32, .ndim = 1, .shape = {100}},
    {.name = "model/embedding/weight", .kind = LS_STATE_PARAMETER, .type = LS_F32, .ndim = 2, .shape = {37, 1000}},
    {.name = "optimizer/first_moment/embedding",
     .kind = LS_STATE_MOMENT,
     .type = LS_F32,
     .ndim = 2,
     .shape = {37, 1000}},
    {.name = "optimizer/second_moment/packed",
     .kind = LS_STATE_MOMENT,
     .type = LS_F32,
     .ndim = 5,
     .shape = {3, 5, 7, 11, 13}},
    {.name = "progress/seconds",
     .kind = LS_STATE_TASK,
     .type = LS_F64,
     .flags = LS_STATE_REPLICATED | LS_STATE_UNHASHED},
    {.name = "sampler/position", .kind = LS_STATE_TASK, .type = LS_I64, .flags = LS_STATE_REPLICATED},
    {.name = "task/codebook",
     .kind = LS_STATE_TASK,
     .type = LS_BF16,
     .flags = LS_STATE_REPLICATED,
     .ndim = 2,
     .shape = {50, 90}},
    {.name = "task/counts", .kind = LS_STATE_TASK, .type = LS_I32, .ndim = 1, .shape = {5000}},
    {.name = "task/empty",
     .kind = LS_STATE_TASK,
     .type = LS_I64,
     .flags = LS_STATE_REPLICATED,
     .ndim = 1,
     .shape = {0}},
    {.name = "task/mask", .kind = LS_STATE_TASK, .type = LS_U8, .ndim = 3, .shape = {3, 3, 2000}},
    {.name = "task/scale",
     .kind = LS_STATE_TASK,
     .type = LS_F64,
     .flags = LS_STATE_REPLICATED,
     .ndim = 1,
     .shape = {3}},
};

const ls_state_entry *state_row(int tensor)
{
    return &rows[tensor];
}

/* splitmix64 (Steele et al. 2014): any bits at all, so NaNs with payloads, infinities and denormals are among them. */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void state_values(uint64_t seed, int tensor, int64_t begin, int64_t count, void *out)
{
    size_t size = ls_type_size(rows[tensor].type);
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits = mix(mix(seed * 64 + (uint64_t)tensor) + (uint64_t)(begin + i));
        memcpy((char *)out + (size_t)i * size, &bits, size);
    }
}

static void cut(ls_state_entry *entry, int tensor, int rank, int ranks)
{
    int64_t elements = ls_state_elements(entry), chunks = (elements + LS_CHUNK - 1) / LS_CHUNK;
    if (entry->flags & LS_STATE_REPLICATED) {
        entry->held = elements;
        return;
    }
    /* fewer chunks than ranks: the first ones hold nothing of one tensor, the last ones nothing of another */
    int64_t from = (chunks * rank + tensor % ranks) / ranks, to = (chunks * (rank + 1) + tensor % ranks) / ranks;
    from = rank == 0 ? 0 : from;
    to = rank == ranks - 1 ? chunks : to;
    if (from == to) /* holds nothing */
        return;
    entry->begin = from * LS_CHUNK;
    entry->held = (to * LS_CHUNK < elements ? to * LS_CHUNK : elements) - entry->begin;
}

void state_make(state *s, uint64_t seed, int rank, int ranks)
{
    *s = (state){.tree = ls_state_create(), .seed = seed, .rank = rank, .ranks = ranks};
    for (int t = TENSORS - 1; t >= 0; t--) { /* not in order of name: the tree sorts */
        ls_state_entry entry = rows[t];
        cut(&entry, t, rank, ranks);
        entry.data = s->memory[t] = malloc((size_t)entry.held * ls_type_size(entry.type) + 1);
        state_values(seed, t, entry.begin, entry.held, entry.data);
        if (entry.flags & LS_STATE_UNHASHED) /* a clock: each rank's own */
            *(double *)entry.data += rank;
        if (ls_state_add(s->tree, &entry) != LS_OK) {
            fprintf(stderr, "the test's own state: %s\n", ls_fail_sentence());
            abort();
        }
    }
}

void state_clear(state *s)
{
    for (int t = 0; t < TENSORS; t++) {
        const ls_state_entry *entry = ls_state_find(s->tree, rows[t].name);
        memset(entry->data, 0xa5, (size_t)entry->held * ls_type_size(entry->type));
    }
}

void state_free(state *s)
{
    ls_state_free(s->tree);
    for (int t = 0; t < TENSORS; t++)
        free(s->memory[t]);
}

const char *state_difference(const state *s)
{
    for (int t = 0; t < TENSORS; t++) {
        const ls_state_entry *entry = ls_state_find(s->tree, rows[t].name);
        if (entry->kind == LS_STATE_GRADIENT)
            continue;
        size_t bytes = (size_t)entry->held * ls_type_size(entry->type);
        void *want = malloc(bytes + 1);
        state_values(s->seed, t, entry->begin, entry->held, want);
        bool same = memcmp(want, entry->data, bytes) == 0;
        free(want);
        if (!same)
            return entry->name;
    }
    return NULL;
}

static ls_checkpoint_options options_of(const job *j)
{
    return (ls_checkpoint_options){.keep = j->keep ? j->keep : 3,
                                   .keep_every = j->keep_every,
                                   .best = j->best,
                                   .buffer = 64 << 10,
                                   .numerics = "cpu test",
                                   .recipe = "task: test\n"};
}

ls_status save_body(ls_world *world, void *context)
{
    job *j = context;
    state s;
    state_make(&s, j->seed, ls_world_rank(world), ls_world_ranks(world));
    const ls_checkpoint_options options = options_of(j);
    ls_status status = ls_checkpoint_save(world, s.tree, j->run, j->step, &options);
    state_free(&s);
    return status;
}

static void overwrite(const state *s, bool task)
{
    for (int t = 0; t < TENSORS; t++) {
        const ls_state_entry *entry = ls_state_find(s->tree, rows[t].name);
        if ((entry->kind == LS_STATE_TASK) == task)
            memset(entry->data, 0x5a, (size_t)entry->held * ls_type_size(entry->type));
    }
}

ls_status save_under_way(ls_world *world, ls_saver *saver, const state *s)
{
    uint8_t votes[16];
    ls_status status = LS_OK;
    overwrite(s, true);
    for (bool over = ls_saver_in_flight(saver) < 0; status == LS_OK && !over;) {
        ls_saver_wait_taken(saver);
        overwrite(s, false);
        const uint8_t mine = (uint8_t)(ls_saver_vote(saver) << 3);
        status = ls_all_gather_bytes(world, &mine, 1, votes, "test");
        if (status == LS_OK)
            status = ls_saver_poll(saver, votes, 3, &over);
        usleep(2000); /* a step */
    }
    return status;
}

ls_status save_async_body(ls_world *world, void *context)
{
    const job *j = context;
    state s;
    state_make(&s, j->seed, ls_world_rank(world), ls_world_ranks(world));
    const ls_checkpoint_options options = options_of(j);
    const ls_saver_options how = {
        .buffer = j->buffer ? j->buffer : 64 << 10, .patience = j->patience, .read_back = j->read_back};
    ls_saver *saver;
    ls_status status = ls_agree(world, ls_saver_open(&saver, world, &how), "test");
    if (status == LS_OK)
        status = ls_saver_begin(saver, s.tree, j->run, j->step, &options);
    if (status == LS_OK)
        status = save_under_way(world, saver, &s);
    ls_saver_close(saver);
    state_free(&s);
    return status;
}

ls_status load_body(ls_world *world, void *context)
{
    job *j = context;
    state s;
    state_make(&s, j->seed, ls_world_rank(world), ls_world_ranks(world));
    state_clear(&s);
    int64_t step = -1;
    char path[4096];
    ls_status status = LS_OK;
    if (j->path)
        snprintf(path, sizeof path, "%s", j->path);
    else
        status = ls_checkpoint_latest(world, j->run, 0, &step, path);
    if (ls_world_rank(world) == 0)
        j->loaded = step;
    if (status == LS_OK && (j->path || step >= 0)) {
        status = ls_checkpoint_load(world, s.tree, path);
        const char *wrong = status == LS_OK ? state_difference(&s) : NULL;
        if (wrong)
            status = ls_fail(LS_ENUMERIC, "%s: wrong bits", wrong);
        status = ls_agree(world, status, "test");
    }
    state_free(&s);
    return status;
}

ls_status hash_body(ls_world *world, void *context)
{
    job *j = context;
    state s;
    state_make(&s, j->seed, ls_world_rank(world), ls_world_ranks(world));
    uint64_t hash = 0;
    ls_status status = ls_state_hash(world, s.tree, -1, NULL, &hash);
    if (ls_world_rank(world) == 0)
        j->hash = hash;
    state_free(&s);
    return status;
}
