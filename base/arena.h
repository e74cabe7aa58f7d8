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

size_t ls_arena_used(const ls_arena *arena);
size_t ls_arena_high(const ls_arena *arena); /* the most that was ever used: what the estimate and metrics show */
/* LS_EMEM with a sentence after a take that did not fit. */
ls_status ls_arena_status(const ls_arena *arena);
