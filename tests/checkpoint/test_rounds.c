/* Ranks with different amounts of work end together, and one that fails ends all at once. */
#include "checkpoint/rounds.h"
#include "fixture.h"

#include <criterion/criterion.h>
#include <stdatomic.h>

enum { RANKS = 4, FAILS_AFTER = 5 };

typedef struct {
    int rounds[RANKS], failing; /* failing: a rank, -1: none; it fails in round FAILS_AFTER */
    bool unprepared;            /* the failing one fails before the first round */
    atomic_int made[RANKS];
} work;

typedef struct {
    work *work;
    int rank;
} worker;

static ls_status one_round(void *context, bool *done)
{
    worker *w = context;
    int made = atomic_fetch_add(&w->work->made[w->rank], 1) + 1;
    if (w->rank == w->work->failing && made == FAILS_AFTER)
        return ls_fail(LS_EIO, "round %d of rank %d", made, w->rank);
    *done = made == w->work->rounds[w->rank];
    return LS_OK;
}

static ls_status rounds_body(ls_world *world, void *context)
{
    worker w = {context, ls_world_rank(world)};
    bool lacks = w.work->unprepared && w.rank == w.work->failing;
    return ls_rounds(world, lacks ? ls_fail(LS_EMEM, "rank %d lacks memory", w.rank) : LS_OK, one_round, &w, "test");
}

Test(rounds, all_end_when_the_last_is_done)
{
    work all = {.rounds = {1, 9, 4, 2}, .failing = -1};
    cr_assert_eq(on_ranks(RANKS, rounds_body, &all), LS_OK, "%s", sentence);
    for (int r = 0; r < RANKS; r++)
        cr_assert_eq(atomic_load(&all.made[r]), all.rounds[r], "rank %d: not once more than it needs", r);
}

Test(rounds, a_failure_ends_all_in_the_same_round)
{
    work all = {.rounds = {1, 90, 40, 20}, .failing = 2};
    cr_assert_eq(on_ranks(RANKS, rounds_body, &all), LS_EIO);
    const int want[RANKS] = {1, FAILS_AFTER, FAILS_AFTER, FAILS_AFTER};
    for (int r = 0; r < RANKS; r++)
        cr_assert_eq(atomic_load(&all.made[r]), want[r], "rank %d", r);
    work none = {.rounds = {1, 1, 1, 1}, .failing = 3, .unprepared = true};
    cr_assert_eq(on_ranks(RANKS, rounds_body, &none), LS_EMEM);
    cr_assert_eq(atomic_load(&none.made[0]), 0, "nobody begins what one is not prepared for");
}
