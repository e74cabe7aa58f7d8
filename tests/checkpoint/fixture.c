#include "fixture.h"

#include "base/log.h"
#include "dist/loopback.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_RANKS = 8 };
char sentence[2048];

typedef struct {
    ls_world *world;
    rank_body body;
    void *context;
    ls_status status;
    char sentence[2048];
} rank_thread;

static void *run_rank(void *argument)
{
    rank_thread *t = argument;
    ls_fail_clear();
    t->status = t->body(t->world, t->context);
    snprintf(t->sentence, sizeof t->sentence, "%s", t->status == LS_OK ? "" : ls_fail_sentence());
    ls_world_close(t->world);
    return NULL;
}

ls_status on_ranks(int ranks, rank_body body, void *context)
{
    ls_world *worlds[MOST_RANKS];
    pthread_t thread[MOST_RANKS];
    rank_thread rank[MOST_RANKS];
    ls_log_terminal_level(LS_LOG_ERROR);
    cr_assert_eq(ls_loopback_open(worlds, ranks, NULL), LS_OK, "%s", ls_fail_sentence());
    for (int r = 0; r < ranks; r++) {
        rank[r] = (rank_thread){.world = worlds[r], .body = body, .context = context};
        cr_assert_eq(pthread_create(&thread[r], NULL, run_rank, &rank[r]), 0);
    }
    for (int r = 0; r < ranks; r++)
        pthread_join(thread[r], NULL);
    for (int r = 1; r < ranks; r++) {
        cr_assert_eq(rank[r].status, rank[0].status, "rank %d: %s, rank 0: %s", r, rank[r].sentence, rank[0].sentence);
        cr_assert_str_eq(rank[r].sentence, rank[0].sentence, "rank %d", r);
    }
    snprintf(sentence, sizeof sentence, "%s", rank[0].sentence);
    return rank[0].status;
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about, (void)kind, (void)where;
    return remove(path);
}

void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static char folders[4][256];
static pid_t folders_of;

static void remove_folders(void)
{
    for (int i = 0; i < 4 && folders_of == getpid(); i++)
        if (folders[i][0])
            remove_tree(folders[i]);
}

const char *new_folder(void)
{
    static int next;
    const char *tmp = getenv("TMPDIR");
    char *folder = folders[next++ % 4];
    if (folder[0])
        remove_tree(folder);
    else if (folders_of != getpid())
        atexit(remove_folders);
    folders_of = getpid();
    snprintf(folder, sizeof folders[0], "%s/lockstep-checkpoint-XXXXXX", tmp ? tmp : "/tmp");
    cr_assert_not_null(mkdtemp(folder));
    return folder;
}

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
        cr_assert_eq(ls_state_add(s->tree, &entry), LS_OK, "%s", ls_fail_sentence());
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

ls_status save_body(ls_world *world, void *context)
{
    job *j = context;
    state s;
    state_make(&s, j->seed, ls_world_rank(world), ls_world_ranks(world));
    ls_checkpoint_options options = {.keep = j->keep ? j->keep : 3, .numerics = "cpu test", .recipe = "task: test\n"};
    ls_status status = ls_checkpoint_save(world, s.tree, j->run, j->step, &options);
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
        status = ls_checkpoint_latest(world, j->run, &step, path);
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

void save(const char *run, int64_t step, uint64_t seed, int ranks)
{
    job j = {.run = run, .step = step, .seed = seed, .keep = 100};
    cr_assert_eq(on_ranks(ranks, save_body, &j), LS_OK, "%s", sentence);
}
