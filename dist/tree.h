/* The fixed tree over grain numbers (design.md section 1), as arithmetic without any communication.
 *
 * Node (l, i) covers grains i*2^l .. min((i+1)*2^l, G)-1; a node without a right child is its left child. The sum over
 * all grains is node (top, 0). Everything here is a pure function of G and the range, so every rank can work it out. */
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
/* The maximal nodes inside [begin, end), in grain order; at most 2 log2 G. Returns how many. */
int ls_tree_cover(int64_t begin, int64_t end, int64_t grains, ls_tree_node nodes[128]);

/* Binary counter over partial sums: grains arrive in ascending order; which sums must be added now?
 * A tree-ordered sum of leaves in doubles, for metrics and norms: */
double ls_tree_sum_f64(const double *leaf, int64_t count);
int64_t ls_tree_sum_i64(const int64_t *leaf, int64_t count);
