/* Arena: memory that is given back all at once.
 *
 *     base                      used            high           reserved
 *     |-- live blocks, 64-aligned --|-- free, touched --|-- never touched --|
 *
 * One address range is reserved when the arena is made and pages appear when first written, so blocks never move and
 * no call reaches the heap: after the first grain a training step allocates nothing (tests/base/test_arena.c).
 * A failed allocation is sticky and returns a block that may not be used; ask ls_arena_status() once a step.
 * Not thread-safe: one arena belongs to one thread. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct ls_arena ls_arena;
typedef size_t ls_mark;

/* Reserves address space (no memory yet) of `bytes`; `name` appears in the error when it is used up.
 * LS_EMEM: the address space cannot be reserved (a ulimit -v, or vm.overcommit_memory = 2). */
ls_status ls_arena_create(ls_arena **arena, const char *name, size_t bytes);
/* The same over memory that comes in blocks: the first take gets one, and one is added whenever the last is full (at least
 * a quarter of what there is, so that they are few). They are kept until ls_arena_free; what is at the end of a block when
 * the next begins is lost until then. For memory that cannot be reserved without being had, as a device's. The host never
 * touches it here, so ls_arena_keep is not for such arenas. */
typedef struct {
    void *context;
    ls_status (*allocate)(void *context, size_t bytes, void **block);
    void (*release)(void *context, void *block, size_t bytes);
} ls_arena_source;
ls_status ls_arena_create_in_blocks(ls_arena **arena, const char *name, size_t bytes, const ls_arena_source *source);
void ls_arena_free(ls_arena *arena);

/* `bytes` at a 64-byte border, uninitialised, until the mark before it is released. NULL once the arena is used up. */
void *ls_arena_take(ls_arena *arena, size_t bytes);
#define ls_arena_array(arena, type, count) ((type *)ls_arena_take((arena), sizeof(type) * (size_t)(count)))

ls_mark ls_arena_mark(const ls_arena *arena);
/* Gives back everything taken since `mark`. ls_arena_release(arena, 0) empties it. */
void ls_arena_release(ls_arena *arena, ls_mark mark);

/* The same, but for one block taken since: it is moved down to `mark` and stays, at the address returned. A block from
 * before the mark stays where it is. */
void *ls_arena_keep(ls_arena *arena, ls_mark mark, void *block, size_t bytes);

/* Does `block` lie among what was taken since `mark`? */
bool ls_arena_took(const ls_arena *arena, ls_mark mark, const void *block);

size_t ls_arena_used(const ls_arena *arena);
size_t ls_arena_high(const ls_arena *arena); /* the most that was ever used: what the estimate and metrics show */
/* LS_EMEM with a sentence after a take that did not fit. */
ls_status ls_arena_status(const ls_arena *arena);
