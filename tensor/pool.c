/* Blocks of exact sizes. See pool.h. */
#include "tensor/pool.h"

struct ls_pool_spare {
    void *block;
    struct ls_pool_spare *next;
};

struct ls_pool_size {
    size_t bytes;
    struct ls_pool_spare *spares;
    struct ls_pool_size *next;
};

void ls_pool_reset(ls_pool *pool)
{
    pool->sizes = NULL;
    pool->unused = NULL;
}

static struct ls_pool_size *size_of(ls_pool *pool, size_t bytes)
{
    struct ls_pool_size *size = pool->sizes;
    while (size && size->bytes != bytes)
        size = size->next;
    if (!size && (size = ls_arena_take(pool->records, sizeof *size))) {
        *size = (struct ls_pool_size){.bytes = bytes, .next = pool->sizes};
        pool->sizes = size;
    }
    return size;
}

void *ls_pool_take(ls_pool *pool, size_t bytes)
{
    struct ls_pool_size *size = size_of(pool, bytes);
    if (!size)
        return NULL;
    struct ls_pool_spare *spare = size->spares;
    if (!spare)
        return ls_arena_take(pool->blocks, bytes);
    size->spares = spare->next;
    spare->next = pool->unused;
    pool->unused = spare;
    return spare->block;
}

void ls_pool_give(ls_pool *pool, void *block, size_t bytes)
{
    struct ls_pool_size *size = size_of(pool, bytes);
    struct ls_pool_spare *spare = pool->unused;
    if (spare)
        pool->unused = spare->next;
    else
        spare = ls_arena_take(pool->records, sizeof *spare);
    if (!size || !spare)
        return; /* the block rests until the reset */
    *spare = (struct ls_pool_spare){.block = block, .next = size->spares};
    size->spares = spare;
}
