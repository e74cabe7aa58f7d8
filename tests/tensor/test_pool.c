#include "tensor/pool.h"

#include <criterion/criterion.h>

static ls_pool make_pool(void)
{
    ls_pool pool = {0};
    cr_assert_eq(ls_arena_create(&pool.blocks, "blocks", 1 << 20), LS_OK);
    cr_assert_eq(ls_arena_create(&pool.records, "records", 1 << 20), LS_OK);
    return pool;
}

static void free_pool(ls_pool *pool)
{
    ls_arena_free(pool->blocks);
    ls_arena_free(pool->records);
}

Test(pool, a_block_given_back_is_the_next_of_its_size_and_of_no_other)
{
    ls_pool pool = make_pool();
    void *a = ls_pool_take(&pool, 1000), *b = ls_pool_take(&pool, 1000);
    cr_assert_neq(a, b);
    ls_pool_give(&pool, a, 1000);
    ls_pool_give(&pool, b, 1000);
    cr_assert_neq(ls_pool_take(&pool, 1001), a, "one byte more is another size");
    cr_assert_eq(ls_pool_take(&pool, 1000), b, "the last one first: it is in cache");
    cr_assert_eq(ls_pool_take(&pool, 1000), a);
    free_pool(&pool);
}

Test(pool, taking_and_giving_for_ever_takes_nothing_more)
{
    ls_pool pool = make_pool();
    size_t blocks = 0, records = 0;
    for (int i = 0; i < 1000; i++) {
        void *a = ls_pool_take(&pool, 64), *b = ls_pool_take(&pool, 4096);
        ls_pool_give(&pool, a, 64);
        ls_pool_give(&pool, b, 4096);
        if (i == 0) {
            blocks = ls_arena_used(pool.blocks);
            records = ls_arena_used(pool.records);
        }
    }
    cr_assert_eq(ls_arena_used(pool.blocks), blocks);
    cr_assert_eq(ls_arena_used(pool.records), records);
    free_pool(&pool);
}

Test(pool, says_when_there_is_no_room)
{
    ls_pool pool = make_pool();
    cr_assert_null(ls_pool_take(&pool, 2 << 20));
    cr_assert_not_null(ls_pool_take(&pool, 64));
    free_pool(&pool);
}
