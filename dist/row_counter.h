/* The binary counter over lists of rows: row gradients of nodes of the tree arrive in grain order and are added in it.
 *
 * The sum of two lists has the rows of either; a row that is in one of them only is taken as it is. So a row's sum is
 * the fixed tree with the grains left out that did not look it up: absent is absent, not +0, and a node with one child
 * that has the row is that child.
 *
 *     grain       0     1      2     3          row 5 in grains 0, 2, 3:    g0 + (g2 + g3)
 *     rows        2 5   2 7    5     5 7        row 7 in grains 1, 3:       g1 + g3
 *
 * Lists lie on a stack in one arena, as the counter's sums do; addresses are reserved once for the most rows there can
 * be, memory is used for those that come. A counter belongs to one thread at a time. */
#pragma once
#include "base/arena.h"
#include "dist/counter.h"
#include "tensor/tensor.h"

typedef struct {
    int64_t rows, width; /* the most of a list */
    ls_arena *stack, *merging;
    ls_counter counter;
    ls_row_gradient list[LS_COUNTER_DEPTH]; /* of counter.held, f32 */
    ls_mark below[LS_COUNTER_DEPTH];        /* where each begins on the stack */
} ls_row_counter;

/* For lists of at most `rows` rows; `places`: ls_counter_places. */
ls_status ls_row_counter_open(ls_row_counter *counter, int64_t rows, int64_t width, int places);
void ls_row_counter_close(ls_row_counter *counter);
void ls_row_counter_reset(ls_row_counter *counter, int64_t grains);
/* Takes in the list of `node`, which is copied. LS_EMEM. */
ls_status ls_row_counter_push(ls_row_counter *counter, ls_tree_node node, const ls_row_gradient *list);

/* Room for a list of `count` rows at the end of `arena`. LS_EMEM. */
ls_status ls_row_list_take(ls_arena *arena, int64_t count, int64_t width, ls_row_gradient *list);
/* Rows and vectors of one list into another of the same count. */
void ls_row_list_copy(const ls_row_gradient *to, const ls_row_gradient *from);
/* Bytes that it takes at most. */
size_t ls_row_list_bytes(int64_t count, int64_t width);
/* The part of the list with rows in [begin, end), in place. */
ls_row_gradient ls_row_list_part(const ls_row_gradient *list, int64_t begin, int64_t end);
