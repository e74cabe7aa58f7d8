/* The threads of a save in the background, as a plain program: Criterion does not run under ThreadSanitizer
 * (`cmake --preset tsan`), and this does. Two ranks with a writer each; their states change as training changes them,
 * whenever the saver allows it; then what is on the disk must be what each save began with. Exit code 0: it was. */
#include "state.h"

#include "base/log.h"
#include "dist/loopback.h"

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { RANKS = 2, SAVES = 4 };

static char folder[] = "/tmp/lockstep-race-XXXXXX";

typedef struct {
    ls_world *world;
    ls_status status;
} rank;

/* The second of each two saves is waited for at once, and a pool of one page at a time is tried beside one that holds
 * all. */
static ls_status save_all(ls_world *world)
{
    ls_status status = LS_OK;
    for (int step = 1; status == LS_OK && step <= SAVES; step++) {
        job j = {.run = folder,
                 .step = step,
                 .seed = (uint64_t)step,
                 .keep = 2,
                 .best = step,
                 .buffer = step < 3 ? 1 : 4 << 20};
        status = step % 2 ? save_async_body(world, &j) : save_body(world, &j);
        j = (job){.run = folder, .seed = (uint64_t)step};
        if (status == LS_OK)
            status = load_body(world, &j);
    }
    return status;
}

static void *run(void *argument)
{
    rank *r = argument;
    r->status = save_all(r->world);
    if (r->status != LS_OK)
        fprintf(stderr, "race_saver: rank %d: %s\n", ls_world_rank(r->world), ls_fail_sentence());
    ls_world_close(r->world);
    return NULL;
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about, (void)kind, (void)where;
    return remove(path);
}

int main(void)
{
    ls_world *worlds[RANKS];
    pthread_t threads[RANKS];
    rank ranks[RANKS];
    int failed = 0;
    ls_log_terminal_level(LS_LOG_ERROR);
    if (!mkdtemp(folder) || ls_loopback_open(worlds, RANKS, NULL) != LS_OK) {
        fprintf(stderr, "race_saver: %s\n", ls_fail_sentence());
        return 1;
    }
    for (int r = 0; r < RANKS; r++) {
        ranks[r] = (rank){.world = worlds[r]};
        pthread_create(&threads[r], NULL, run, &ranks[r]);
    }
    for (int r = 0; r < RANKS; r++) {
        pthread_join(threads[r], NULL);
        failed += ranks[r].status != LS_OK;
    }
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return failed != 0;
}
