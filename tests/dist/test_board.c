/* The failure board: who comes second to it leaves with the first one's sentence, also while that is being written. */
#include "dist/board.h"
#include "dist/fabric.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "loopback_ranks.h"

enum { RANKS = 2 };

typedef struct {
    ls_status status;
    char sentence[LS_SENTENCE_SIZE];
} outcome;

/* Ranks in different collectives, with the board claimed by one that has not written yet. */
static void part(ls_world *world, void *context)
{
    outcome *mine = (outcome *)context + ls_world_rank(world);
    cr_assert_eq(ls_barrier(world, "breakfast"), LS_OK);
    atomic_store(&world->failure->claimed, 1);
    cr_assert_eq(ls_barrier(world, "lunch"), LS_OK);
    mine->status = ls_barrier(world, ls_world_rank(world) ? "dinner" : "supper");
    snprintf(mine->sentence, sizeof mine->sentence, "%s", mine->status == LS_OK ? "" : ls_fail_sentence());
}

static void *write_late(void *failure)
{
    ls_failure *f = failure;
    usleep(100000);
    f->rank = 1;
    f->code = LS_ENUMERIC;
    snprintf(f->sentence, sizeof f->sentence, "the stove is cold");
    atomic_store(&f->written, 1);
    return NULL;
}

static void part_and_hear(ls_world *world, void *context)
{
    pthread_t writer;
    if (ls_world_rank(world) == 0)
        cr_assert_eq(pthread_create(&writer, NULL, write_late, world->failure), 0);
    part(world, context);
    if (ls_world_rank(world) == 0)
        pthread_join(writer, NULL);
}

Test(board, a_failed_collective_waits_for_the_sentence_of_the_first, .timeout = 60)
{
    outcome of[RANKS] = {0};
    on_every_rank(RANKS, NULL, part_and_hear, of);
    for (int r = 0; r < RANKS; r++) {
        cr_expect_eq(of[r].status, LS_ENUMERIC, "rank %d: %d, %s", r, of[r].status, of[r].sentence);
        cr_expect_str_eq(of[r].sentence, "the stove is cold", "rank %d", r);
    }
}

Test(board, a_failed_collective_fails_though_the_first_died_over_its_sentence, .timeout = 60)
{
    outcome of[RANKS] = {0};
    on_every_rank(RANKS, NULL, part, of);
    for (int r = 0; r < RANKS; r++) {
        cr_expect_eq(of[r].status, LS_ECOMM, "rank %d: %d, %s", r, of[r].status, of[r].sentence);
        cr_expect(strstr(of[r].sentence, "'dinner'") && strstr(of[r].sentence, "come apart"), "rank %d: %s", r, of[r].sentence);
    }
}
