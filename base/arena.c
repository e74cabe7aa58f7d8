/* A bump pointer over reserved pages. See arena.h for the picture. */
#include "base/arena.h"

#include <errno.h>
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

struct ls_arena {
    char *base;
    size_t reserved, used, high, refused;
    char name[48];
};

ls_status ls_arena_create(ls_arena **out, const char *name, size_t bytes)
{
    *out = NULL;
    ls_arena *arena = calloc(1, sizeof *arena);
    if (!arena)
        return ls_fail(LS_EMEM, "arena %s: no memory for its header", name);
    bytes = (bytes + 4095) & ~(size_t)4095;
    arena->base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena->base == MAP_FAILED) {
        free(arena);
        return ls_fail(LS_EMEM, "arena %s: cannot reserve %.1f GiB of addresses (%s); raise `ulimit -v`, or set vm.overcommit_memory to 0 or 1",
                       name, (double)bytes / (1024.0 * 1024 * 1024), strerror(errno));
    }
    if (bytes > HUGE_FROM)
        madvise(arena->base, bytes, MADV_HUGEPAGE); /* a wish: refusal does no harm */
    arena->reserved = bytes;
    strncpy(arena->name, name, sizeof arena->name - 1);
    *out = arena;
    return LS_OK;
}

void ls_arena_free(ls_arena *arena)
{
    if (!arena)
        return;
    unpoison(arena->base, arena->high);
    munmap(arena->base, arena->reserved);
    free(arena);
}

void *ls_arena_take(ls_arena *arena, size_t bytes)
{
    size_t size = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
#if defined(__SANITIZE_ADDRESS__)
    size += RED_ZONE;
#endif
    if (size < bytes || size > arena->reserved - arena->used) {
        if (!arena->refused)
            arena->refused = bytes ? bytes : 1;
        return NULL;
    }
    char *block = arena->base + arena->used;
    arena->used += size;
    if (arena->used > arena->high)
        arena->high = arena->used;
    unpoison(block, bytes);
    poison(block + bytes, size - bytes);
    return block;
}

ls_mark ls_arena_mark(const ls_arena *arena)
{
    return arena->used;
}

void ls_arena_release(ls_arena *arena, ls_mark mark)
{
    if (mark < arena->used)
        poison(arena->base + mark, arena->used - mark);
    arena->used = mark;
}

void *ls_arena_keep(ls_arena *arena, ls_mark mark, void *block, size_t bytes)
{
    char *from = block, *top = arena->base + arena->used;
    if (from < arena->base + mark || from >= top) {
        ls_arena_release(arena, mark);
        return block;
    }
    char *to = arena->base + mark;
    unpoison(to, (size_t)(top - to));
    memmove(to, from, bytes);
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
    return ls_fail(LS_EMEM, "arena %s: %zu bytes asked for, %zu of %zu in use; lower batch.grain or model size", arena->name,
                   arena->refused, arena->used, arena->reserved);
}
