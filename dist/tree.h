/* The fixed tree over grain numbers (docs/reduction.md), as arithmetic without any communication.
 *
 * Node (l, i) covers grains i*2^l .. min((i+1)*2^l, G)-1; a node without a right child is its left child. The sum over
 * all grains is node (top, 0). Everything here is a pure function of G and the range, so every rank can work it out.
 *
 *     G = 5      level 3            (3,0)
 *                level 2      (2,0)       (2,1)      (2,1), (1,2) and (0,4) are one and the same
 *                level 1   (1,0) (1,1)    (1,2)
 *                level 0   0   1 2   3    4                                                          */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct {
    int level;
    int64_t index;
} ls_tree_node;

int ls_tree_top(int64_t grains); /* the level of the root: ceil(log2 G) */
/* First and one past the last grain under a node. */
void ls_tree_span(ls_tree_node node, int64_t grains, int64_t *begin, int64_t *end);
/* The maximal nodes inside [begin, end), in grain order, each at the highest level it has; at most
 * 2 log2(end - begin) + 1. Returns how many. */
int ls_tree_cover(int64_t begin, int64_t end, int64_t grains, ls_tree_node nodes[128]);

/* Sums of leaves in the tree's order, for metrics and norms. No leaves: 0. Integers must not overflow. */
double ls_tree_sum_f64(const double *leaf, int64_t count);
int64_t ls_tree_sum_i64(const int64_t *leaf, int64_t count);
