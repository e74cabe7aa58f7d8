/* Runs a function on every rank of a loopback world, each rank a thread. Include after criterion. */
#pragma once
#include "dist/loopback.h"

#include <pthread.h>

enum { LOOPBACK_RANKS = 16 };

typedef void (*rank_function)(ls_world *world, void *context);

typedef struct {
    pthread_t thread;
    ls_world *world;
    rank_function run;
    void *context;
} rank_thread;

static void *run_rank(void *argument)
{
    rank_thread *r = argument;
    r->run(r->world, r->context);
    ls_world_close(r->world);
    return NULL;
}

static void on_every_rank(int ranks, const ls_world_options *options, rank_function run, void *context)
{
    ls_world *worlds[LOOPBACK_RANKS];
    rank_thread threads[LOOPBACK_RANKS];
    cr_assert_eq(ls_loopback_open(worlds, ranks, options), LS_OK, "%s", ls_fail_sentence());
    for (int k = 0; k < ranks; k++) {
        threads[k] = (rank_thread){.world = worlds[k], .run = run, .context = context};
        pthread_create(&threads[k].thread, NULL, run_rank, &threads[k]);
    }
    for (int k = 0; k < ranks; k++)
        pthread_join(threads[k].thread, NULL);
}
