#include "base/arena.h"

#include <criterion/criterion.h>
#include <string.h>

Test(arena, blocks_are_aligned_and_stay_put)
{
    ls_arena *arena;
    cr_assert_eq(ls_arena_create(&arena, "test", 1 << 20), LS_OK);
    char *a = ls_arena_take(arena, 3), *b = ls_arena_take(arena, 100);
    cr_assert_eq((uintptr_t)a % 64, 0);
    cr_assert_eq((uintptr_t)b % 64, 0);
    cr_assert_geq(b - a, 64);
    ls_mark mark = ls_arena_mark(arena);
    char *c = ls_arena_take(arena, 5000);
    ls_arena_release(arena, mark);
    cr_assert_eq(ls_arena_take(arena, 10), c, "a released block is taken again");
    ls_arena_free(arena);
}

Test(arena, a_block_too_large_is_refused_and_remembered)
{
    ls_arena *arena;
    cr_assert_eq(ls_arena_create(&arena, "small", 8192), LS_OK);
    cr_assert_null(ls_arena_take(arena, 1 << 20));
    cr_assert_not_null(ls_arena_take(arena, 64), "the rest still works");
    cr_assert_eq(ls_arena_status(arena), LS_EMEM);
    cr_assert(strstr(ls_fail_sentence(), "1048576"));
    ls_arena_free(arena);
}

Test(arena, one_block_can_be_kept_and_moves_down)
{
    ls_arena *arena;
    cr_assert_eq(ls_arena_create(&arena, "test", 1 << 20), LS_OK);
    char *before = ls_arena_take(arena, 64);
    ls_mark mark = ls_arena_mark(arena);
    char *scratch = ls_arena_take(arena, 100), *block = ls_arena_take(arena, 1000);
    for (int i = 0; i < 1000; i++)
        block[i] = (char)i;
    char *kept = ls_arena_keep(arena, mark, block, 1000);
    cr_assert_eq(kept, scratch, "it lies where the first block after the mark was");
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(kept[i], (char)i);
    char *next = ls_arena_take(arena, 1);
    cr_assert_geq(next - kept, 1000, "it is still taken");
    cr_assert_eq(ls_arena_keep(arena, mark, before, 64), before, "a block from before the mark stays");
    ls_arena_free(arena);
}
