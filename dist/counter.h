/* Binary counter over partial sums: nodes of the tree arrive in grain order; which sums must be added now?
 *
 * The sums that wait for their right neighbour form a stack, newest on top. A node that arrives is added to the sums on
 * top for as long as they are its left neighbours, each time becoming their parent; a node without a right neighbour
 * becomes its parent at no cost. As when a binary number is counted up, most arrivals carry little:
 *
 *     grain        0     1      2        3        4          G = 5
 *     stack        0     0-1    0-1 2    0-3      0-4        (4 has no right neighbour, so it goes straight up)
 *
 * The stack's place is the buffer's number, so that a counter over buffers needs no other bookkeeping. */
#pragma once
#include "dist/tree.h"

enum { LS_COUNTER_DEPTH = 128 };

typedef struct {
    int64_t grains;
    int depth;
    ls_tree_node held[LS_COUNTER_DEPTH];
} ls_counter;

void ls_counter_reset(ls_counter *counter, int64_t grains);
/* Takes `node` in. Returns to how many sums on top of the stack it must be added, topmost first; the result stands
 * at the new top, which was the place of the last one added to (a new place if the answer is 0). */
int ls_counter_push(ls_counter *counter, ls_tree_node node);
/* The most places a counter ever uses for `grains` consecutive grains, beginning at grain 0 or anywhere. */
int ls_counter_places(int64_t grains, bool from_zero);

/* The same over arrays. at[p] is where the sum of place p lies and own[p] the memory that belongs to place p. x is
 * added in one pass and lands in own[]; where nothing is to be added, at[] only points to x, which must then stay until
 * ls_counter_settle has copied what is still borrowed. */
void ls_counter_carry(ls_counter *counter, ls_tree_node node, int64_t n, const float *x, const float **at,
                      float *const *own);
void ls_counter_settle(const ls_counter *counter, int64_t n, const float **at, float *const *own);
