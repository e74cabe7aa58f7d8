/* A bump pointer over reserved pages, or over blocks that a source gives. See arena.h for the picture. */
#include "base/arena.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define poison(at, bytes) ASAN_POISON_MEMORY_REGION(at, bytes)
#define unpoison(at, bytes) ASAN_UNPOISON_MEMORY_REGION(at, bytes)
#else
#define poison(at, bytes) ((void)(at), (void)(bytes))
#define unpoison(at, bytes) ((void)(at), (void)(bytes))
#endif

/* The gap lets ASan see a run past the end of a block. What was never taken is not poisoned: 1 TiB of addresses may be
 * reserved, and each 8 bytes poisoned touch one. */
enum { ALIGN = 64, RED_ZONE = 64 };

/* Arenas of more addresses than this hold matrices, which are walked whole: large pages spare the translation buffers.
 * Below it the last page's rest would be most of the memory. */
enum { HUGE_FROM = 64 << 20 };

/* Blocks grow with what there is: 1 TiB is four of the least and 53 of a quarter more. */
enum { BLOCKS = 96, LEAST_BLOCK = 2 << 20 };

/* Of reserved pages the one block is all of them. Places (marks, `used`) count through the blocks as if they stood in one
 * row. */
typedef struct {
    char *memory;
    size_t begin, bytes;
} block_range;

struct ls_arena {
    size_t reserved, used, high, refused;
    block_range block[BLOCKS];
    int blocks, current; /* of the blocks the one that `used` is in */
    ls_arena_source source;
    bool in_blocks;
    ls_status status; /* the source's refusal */
    char sentence[256];
    char name[48];
};

static ls_arena *new_arena(const char *name, size_t bytes)
{
    ls_arena *arena = calloc(1, sizeof *arena);
    if (!arena) {
        ls_fail(LS_EMEM, "arena %s: no memory for its header", name);
        return NULL;
    }
    arena->reserved = (bytes + 4095) & ~(size_t)4095;
    strncpy(arena->name, name, sizeof arena->name - 1);
    return arena;
}

ls_status ls_arena_create(ls_arena **out, const char *name, size_t bytes)
{
    *out = NULL;
    ls_arena *arena = new_arena(name, bytes);
    if (!arena)
        return LS_EMEM;
    bytes = arena->reserved;
    char *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        free(arena);
        return ls_fail(LS_EMEM, "arena %s: cannot reserve %.1f GiB of addresses (%s); raise `ulimit -v`, or set vm.overcommit_memory to 0 or 1",
                       name, (double)bytes / (1024.0 * 1024 * 1024), strerror(errno));
    }
    if (bytes > HUGE_FROM)
        madvise(base, bytes, MADV_HUGEPAGE); /* a wish: refusal does no harm */
    arena->block[0] = (block_range){base, 0, bytes};
    arena->blocks = 1;
    *out = arena;
    return LS_OK;
}

ls_status ls_arena_create_in_blocks(ls_arena **out, const char *name, size_t bytes, const ls_arena_source *source)
{
    *out = new_arena(name, bytes);
    if (!*out)
        return LS_EMEM;
    (*out)->source = *source;
    (*out)->in_blocks = true;
    return LS_OK;
}

void ls_arena_free(ls_arena *arena)
{
    if (!arena)
        return;
    for (int i = 0; i < arena->blocks && arena->in_blocks; i++)
        arena->source.release(arena->source.context, arena->block[i].memory, arena->block[i].bytes);
    if (!arena->in_blocks) {
        unpoison(arena->block[0].memory, arena->high);
        munmap(arena->block[0].memory, arena->reserved);
    }
    free(arena);
}

static void *refuse(ls_arena *arena, size_t bytes)
{
    if (!arena->refused)
        arena->refused = bytes ? bytes : 1;
    return NULL;
}

/* Another block from the source, behind the last. */
static bool add_block(ls_arena *arena, size_t least)
{
    const block_range *last = arena->blocks ? &arena->block[arena->blocks - 1] : NULL;
    const size_t begin = last ? last->begin + last->bytes : 0, most = arena->reserved - begin;
    size_t bytes = begin / 4 > LEAST_BLOCK ? (begin / 4 + 4095) & ~(size_t)4095 : LEAST_BLOCK;
    bytes = bytes < least ? least : bytes > most ? most : bytes;
    if (arena->blocks == BLOCKS || least > most)
        return false;
    void *memory;
    ls_status status = arena->source.allocate(arena->source.context, bytes, &memory);
    if (status != LS_OK && bytes > least) { /* what is left may still do */
        bytes = least;
        status = arena->source.allocate(arena->source.context, bytes, &memory);
    }
    if (status != LS_OK) {
        arena->status = status;
        snprintf(arena->sentence, sizeof arena->sentence, "%s", ls_fail_sentence());
        return false;
    }
    arena->block[arena->blocks++] = (block_range){memory, begin, bytes};
    return true;
}

/* Goes on to a block with room for `size`. */
static bool find_room(ls_arena *arena, size_t size)
{
    for (;; arena->current++) {
        if (arena->current == arena->blocks && !add_block(arena, (size + 4095) & ~(size_t)4095))
            break;
        const block_range *block = &arena->block[arena->current];
        if (arena->used < block->begin)
            arena->used = block->begin;
        if (size <= block->begin + block->bytes - arena->used)
            return true;
    }
    arena->current = arena->blocks - 1 < 0 ? 0 : arena->blocks - 1;
    return false;
}

void *ls_arena_take(ls_arena *arena, size_t bytes)
{
    size_t size = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
#if defined(__SANITIZE_ADDRESS__)
    if (!arena->in_blocks) /* blocks may lie in a device's memory, which nobody poisons */
        size += RED_ZONE;
#endif
    if (size < bytes || size > arena->reserved - arena->used || (arena->in_blocks && !find_room(arena, size)))
        return refuse(arena, bytes);
    const block_range *in = &arena->block[arena->current];
    char *block = in->memory + (arena->used - in->begin);
    arena->used += size;
    if (arena->used > arena->high)
        arena->high = arena->used;
    if (!arena->in_blocks) {
        unpoison(block, bytes);
        poison(block + bytes, size - bytes);
    }
    return block;
}

ls_mark ls_arena_mark(const ls_arena *arena)
{
    return arena->used;
}

void ls_arena_release(ls_arena *arena, ls_mark mark)
{
    if (mark < arena->used && !arena->in_blocks)
        poison(arena->block[0].memory + mark, arena->used - mark);
    arena->used = mark;
    while (arena->current > 0 && arena->block[arena->current].begin > mark)
        arena->current--;
}

bool ls_arena_took(const ls_arena *arena, ls_mark mark, const void *block)
{
    const char *at = block;
    for (int i = 0; i <= arena->current && i < arena->blocks; i++) {
        const block_range *in = &arena->block[i];
        if (at < in->memory || at >= in->memory + in->bytes)
            continue;
        const size_t place = in->begin + (size_t)(at - in->memory);
        return place >= mark && place < arena->used;
    }
    return false;
}

void *ls_arena_keep(ls_arena *arena, ls_mark mark, void *block, size_t bytes)
{
    if (!ls_arena_took(arena, mark, block)) {
        ls_arena_release(arena, mark);
        return block;
    }
    char *to = arena->block[0].memory + mark;
    unpoison(to, arena->used - mark);
    memmove(to, block, bytes);
    ls_arena_release(arena, mark);
    return ls_arena_take(arena, bytes);
}

size_t ls_arena_used(const ls_arena *arena)
{
    return arena->used;
}

size_t ls_arena_high(const ls_arena *arena)
{
    return arena->high;
}

ls_status ls_arena_status(const ls_arena *arena)
{
    if (!arena->refused)
        return LS_OK;
    if (arena->status != LS_OK)
        return ls_fail(arena->status, "arena %s: %s", arena->name, arena->sentence);
    return ls_fail(LS_EMEM, "arena %s: %zu bytes asked for, %zu of %zu in use; lower batch.grain or model size", arena->name,
                   arena->refused, arena->used, arena->reserved);
}
