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

void save(const char *run, int64_t step, uint64_t seed, int ranks)
{
    job j = {.run = run, .step = step, .seed = seed, .keep = 100};
    cr_assert_eq(on_ranks(ranks, save_body, &j), LS_OK, "%s", sentence);
}

int64_t status_kib(const char *key)
{
    char line[256];
    int64_t kib = -1;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0)
            kib = atoll(line + strlen(key));
    if (file)
        fclose(file);
    return kib;
}
