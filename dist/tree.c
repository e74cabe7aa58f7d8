/* The fixed tree, and sums of doubles and integers in its order. No state, no communication. */
#include "dist/tree.h"

int ls_tree_top(int64_t grains)
{
    int level = 0;
    while (level < 62 && (INT64_C(1) << level) < grains)
        level++;
    return level;
}

void ls_tree_span(ls_tree_node node, int64_t grains, int64_t *begin, int64_t *end)
{
    int64_t first = node.index << node.level, past = (node.index + 1) << node.level;
    *begin = first < grains ? first : grains;
    *end = past < grains ? past : grains;
}

int ls_tree_cover(int64_t begin, int64_t end, int64_t grains, ls_tree_node nodes[128])
{
    int count = 0, top = ls_tree_top(grains);
    while (begin < end) {
        /* Go up while this is the first grain of a node that ends inside the range; the last node of a level counts as
         * whole when it reaches the last grain. */
        ls_tree_node node = {0, begin};
        while (node.level < top && node.index % 2 == 0) {
            int64_t first, past;
            ls_tree_span((ls_tree_node){node.level + 1, node.index / 2}, grains, &first, &past);
            if (past > end)
                break;
            node.level++;
            node.index /= 2;
        }
        nodes[count++] = node;
        int64_t first;
        ls_tree_span(node, grains, &first, &begin);
    }
    return count;
}

/* Leaves are pushed on a stack of partial sums; after leaf k the sums that are complete are joined, which is once for
 * each trailing one of k. What is left at the end are the nodes without a right neighbour, smallest on top. */
double ls_tree_sum_f64(const double *leaf, int64_t count)
{
    double stack[64];
    int depth = 0;
    for (int64_t k = 0; k < count; k++) {
        double sum = leaf[k];
        for (int64_t bits = k; bits & 1; bits >>= 1)
            sum = stack[--depth] + sum;
        stack[depth++] = sum;
    }
    if (depth == 0)
        return 0;
    double sum = stack[--depth];
    while (depth > 0)
        sum = stack[--depth] + sum;
    return sum;
}

int64_t ls_tree_sum_i64(const int64_t *leaf, int64_t count)
{
    int64_t sum = 0; /* exact, so any order is the tree's */
    for (int64_t k = 0; k < count; k++)
        sum += leaf[k];
    return sum;
}
