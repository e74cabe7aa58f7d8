/* Pool of gradient blocks: exact sizes, last given is first taken.
 *
 * Backward needs few blocks of few sizes at a time, again and again; a block of the very size asked for is the common
 * case, so no splitting, no joining, and which block is taken depends on the calls alone. The lists stand in `records`,
 * apart from the blocks, which may be a device's memory. */
#pragma once
#include "base/arena.h"

typedef struct {
    ls_arena *blocks, *records;
    struct ls_pool_size *sizes;   /* a list: a model has some tens of different sizes */
    struct ls_pool_spare *unused; /* list cells without a block */
} ls_pool;

/* Forgets all blocks; the caller has emptied or will empty both arenas. */
void ls_pool_reset(ls_pool *pool);
/* A block of `bytes`, its content left over; NULL: the arena is used up. */
void *ls_pool_take(ls_pool *pool, size_t bytes);
void ls_pool_give(ls_pool *pool, void *block, size_t bytes);
