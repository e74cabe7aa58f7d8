#include "base/arena.h"

#include <criterion/criterion.h>
#include <stdlib.h>
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

/* ---- in blocks ---- */

typedef struct {
    int given, taken_back;
    size_t largest, limit;
} block_source;

static ls_status give(void *context, size_t bytes, void **block)
{
    block_source *source = context;
    if (bytes > source->limit)
        return ls_fail(LS_EMEM, "test source: %zu bytes are too many", bytes);
    source->given++;
    source->largest = bytes > source->largest ? bytes : source->largest;
    *block = aligned_alloc(64, bytes);
    return LS_OK;
}

static void take_back(void *context, void *block, size_t bytes)
{
    block_source *source = context;
    (void)bytes;
    source->taken_back++;
    free(block);
}

Test(arena, blocks_are_added_kept_and_used_again)
{
    enum { MIB = 1 << 20 };
    ls_arena *arena;
    block_source source = {.limit = SIZE_MAX};
    cr_assert_eq(ls_arena_create_in_blocks(&arena, "test", (size_t)1 << 40, &(ls_arena_source){&source, give, take_back}), LS_OK);
    cr_assert_eq(source.given, 0, "nothing before the first take");
    char *a = ls_arena_take(arena, MIB);
    const ls_mark mark = ls_arena_mark(arena);
    char *b = ls_arena_take(arena, 10 * MIB), *c = ls_arena_take(arena, 40 * MIB);
    cr_assert(a && b && c);
    cr_assert_eq(source.given, 3);
    cr_assert_geq(source.largest, 40 * MIB, "a take that is larger than a block gets one of its own");
    memset(a, 1, MIB), memset(b, 2, 10 * MIB), memset(c, 3, 40 * MIB);
    cr_assert(a[MIB - 1] == 1 && b[0] == 2 && b[10 * MIB - 1] == 2 && c[0] == 3);
    cr_assert(ls_arena_took(arena, mark, b) && ls_arena_took(arena, mark, c + 1));
    cr_assert_not(ls_arena_took(arena, mark, a));
    ls_arena_release(arena, mark);
    cr_assert_not(ls_arena_took(arena, mark, b));
    cr_assert_eq(ls_arena_take(arena, 100), a + MIB, "behind the mark");
    cr_assert_eq(ls_arena_take(arena, 10 * MIB), b);
    ls_arena_release(arena, 0);
    cr_assert_eq(ls_arena_take(arena, MIB), a);
    cr_assert_eq(source.given, 3, "none is asked for again");
    ls_arena_free(arena);
    cr_assert_eq(source.taken_back, 3);
}

Test(arena, a_refusal_of_the_source_is_told)
{
    ls_arena *arena;
    block_source source = {.limit = 1 << 20};
    cr_assert_eq(ls_arena_create_in_blocks(&arena, "of a device", (size_t)1 << 40, &(ls_arena_source){&source, give, take_back}), LS_OK);
    cr_assert_not_null(ls_arena_take(arena, 100), "a block as small as need be, where a larger one is not to be had");
    cr_assert_eq(ls_arena_status(arena), LS_OK);
    cr_assert_null(ls_arena_take(arena, 2 << 20));
    cr_assert_eq(ls_arena_status(arena), LS_EMEM);
    cr_assert(strstr(ls_fail_sentence(), "of a device: test source: 2097152"), "%s", ls_fail_sentence());
    ls_arena_free(arena);
}
